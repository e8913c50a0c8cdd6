"""Make `expected.json.gz`: what Lucene 9.9.1 (the jar of Pyserini 1.6.0) says about strings of all scripts and about the collections in ../shared/data

    python tests/lucene/make_expected.py

For a collection the file holds a digest of each ranking to depth 1000 (rows and bits of the scores) and, for the first queries, the
best ten documents with the bits of their scores. It holds no text of the collections.
"""
import gzip, hashlib, json, random, subprocess, sys, tempfile
from pathlib import Path
import numpy as np

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
FILE = HERE/'expected.json.gz'
DATA = ROOT.parent/'shared/data'
COLLECTIONS = dict(cacm='cacm', vaswani='vaswani', xquad_en='xquad/xquad.en.json', xquad_es='xquad/xquad.es.json', xquad_de='xquad/xquad.de.json')
LENGTHS = [*range(300), *(2**i+d for i in range(9, 31) for d in (-1,0,1))]

def letters(*ranges): return [chr(c) for a,b in ranges for c in range(a, b)]
_ascii,_some = letters((32,127)),list(" .'a1")
ALPHABETS = { # name → characters, some of them often
    'ascii': _ascii,
    'punctuation': list("abcXYZsS0129'\".,;:_-’‘·‧․﹒＇．：;،٫٬ "),
    'latin': _ascii+letters((0xa0,0x250)),
    'greek, cyrillic': letters((0x370,0x530))+_some,
    'han, kana, full width': letters((0x3000,0x3100),(0x4e00,0x4e40),(0xff00,0xffef),(0x31f0,0x3200))+_some+['_'],
    'hangul': letters((0x1100,0x1200),(0xac00,0xac80),(0x3130,0x3190))+_some,
    'hebrew': letters((0x590,0x600),(0xfb1d,0xfb50))+list("'\"'\"'\" .a1"),
    'arabic, syriac': letters((0x600,0x780),(0x8a0,0x900),(0xfb50,0xfc00),(0xfe70,0xff00))+_some,
    'indic': letters((0x900,0xe00))+_some+list('\u200c\u200d'),
    'thai, lao, khmer, myanmar': letters((0xe00,0x10a0),(0x1780,0x1800),(0x1950,0x19e0),(0x1a20,0x1ab0),(0xa9e0,0xaa80))+_some+['\u200d'],
    'emoji': letters((0x1f000,0x1fb00),(0x2190,0x2c00),(0x2600,0x27c0),(0xe0020,0xe0080))+list('©®™#*0123 a')*6+list('\u200d\ufe0f\ufe0e\u20e3')*60
             +letters((0x1f3fb,0x1f400),(0x1f1e6,0x1f200))*10,
    'symbols': letters((0x2000,0x2c00),(0x3000,0x3040))+list(' a1'),
    'supplementary': letters((0x10000,0x12000),(0x1d400,0x1d800),(0x1e800,0x1f000),(0x20000,0x20040))+_some+list('eds'),
    'basic plane': letters((32,0xd800),(0xe000,0xfffe)),
    'long': list("ab_.'1,x\u0301𐐀😀\u200d中ก")}

def strings(
    n, # Of each alphabet
    seed,
):
    "Random strings of every alphabet, half of them of few different characters, some with an English ending"
    rng = random.Random(seed)
    for name,alphabet in ALPHABETS.items():
        for _ in range(n):
            few = rng.sample(alphabet, min(len(alphabet), rng.randint(1, 8))) if name=='long' or rng.random()<.5 else alphabet
            if name=='long': yield ''.join(rng.choices(few, [rng.random()**3 for _ in few], k=rng.randint(200, 700)))
            else: yield ''.join(rng.choices(few, k=rng.randint(1, 24)))+rng.choice(['','','ed','ing',"'s",'’S','ational','s'])

def ask(request):
    "Lucene's answers, from a process of its own"
    with tempfile.TemporaryDirectory() as d:
        given,got = Path(d)/'request.json',Path(d)/'answer.json'
        given.write_text(json.dumps(request))
        r = subprocess.run([sys.executable, str(HERE/'oracle.py'), str(given), str(got)], capture_output=True, text=True)
        if r.returncode: raise RuntimeError(f'Lucene failed:\n{r.stderr}')
        return json.loads(got.read_text())

def load(name):
    from rankwb.core.loading import load
    return load(DATA/COLLECTIONS[name])

def digest(rows, bits):
    "The address of a ranking"
    return hashlib.sha256(np.asarray(rows, '<i4').tobytes()+np.asarray(bits, '<i4').tobytes()).hexdigest()[:16]

def partition(classes):
    "The address of a division of all code points into classes, whatever the classes are called"
    names = {}
    return hashlib.sha256(bytes(names.setdefault(c, len(names)) for c in classes)).hexdigest()

def lucene_partition(kinds):
    "The same for the classes of Lucene, which has one for the letters of Hangul, to give them a type"
    return partition(kinds[ord('a')] if c==kinds[ord('가')] else c for c in kinds)

def rankings(ids, queries, answers, shown=5):
    "What is kept of Lucene's answers for one collection"
    return dict(rankings={q: digest(*a) for q,a in zip(queries, answers)},
                top={q: [[ids[r], f'{b:08x}'] for r,b in zip(*(o[:10] for o in a))] for q,a in zip(queries[:shown], answers)})

def make():
    cs,texts = {n: load(n) for n in COLLECTIONS},list(strings(40, 0))
    searches = [dict(docs=c.docs.texts(), queries=c.queries.texts(), k1=.9, b=.4, k=1000) for c in cs.values()]
    a = ask(dict(tokens=texts, terms=texts, whitespace=texts, lengths=LENGTHS, kinds=True, searches=searches))
    return dict(made_with='Pyserini 1.6.0: Anserini 1.7.1, Lucene 9.9.1; k1=0.9, b=0.4, k=1000', strings=texts, tokens=a['tokens'], terms=a['terms'],
                whitespace=a['whitespace'], lengths=a['lengths'], kinds=lucene_partition(a['kinds']),
                collections={n: rankings(c.docs.ids.to_pylist(), c.queries.ids.to_pylist(), r) for (n,c),r in zip(cs.items(), a['searches'])})

if __name__=='__main__':
    sys.path.insert(0, str(ROOT))
    FILE.write_bytes(gzip.compress(json.dumps(make(), ensure_ascii=False, separators=(',',':')).encode(), 9, mtime=0))
    print(f'{FILE.name}: {FILE.stat().st_size:,} bytes')
