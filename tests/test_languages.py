"Analyzers of other languages than English find what Lucene's find: against answers that it gave once, and live where it is"
import gzip, json, random, subprocess, sys
from pathlib import Path
import numpy as np, pytest

sys.path.insert(0, str(Path(__file__).parent/'lucene'))
import languages as lucene, oracle
from make_expected import ask, digest, strings
from rankwb.core.data import Docs
from rankwb.retrieval.analysis import Analyzer, Encoder, filters, recipes
from rankwb.retrieval.bm25 import BM25
from rankwb.retrieval.languages import codes, elsewhere, languages

CODES = [*lucene.PARTS]
live = pytest.mark.skipif(bool(oracle.missing()), reason=oracle.missing() or 'Lucene is here')

@pytest.fixture(scope='module')
def known(): return json.loads(gzip.decompress(lucene.FILE.read_bytes()))

def rankings(code, docs, queries, k1, b, k):
    "The address of the ranking for each question"
    stage = BM25(Docs.from_dict({f'd{i}': t for i,t in enumerate(docs)}), k1, b, k, Analyzer(code).recipe)
    offsets,rows,scores = stage.search(queries, 'numpy')
    return [digest(rows[a:b], scores[a:b].view(np.int32)) for a,b in zip(offsets, offsets[1:])]

def searched(s): return rankings(s['language'], *(s[n] for n in ('docs','queries','k1','b','k')))

@pytest.mark.parametrize('code', CODES)
def test_tokens(code, known):
    a = Analyzer(code)
    for text,tokens in zip(lucene.texts(code), known['tokens'][code], strict=True): assert ' '.join(a(text))==tokens, ascii(text)

@pytest.mark.parametrize('code', CODES)
def test_rankings(code, known): assert searched(lucene.made_up(code))==known['rankings'][code]

@pytest.mark.parametrize('code', lucene.XQUAD)
def test_xquad(code, known, shared):
    s,a = lucene.real(code),Analyzer(code)
    assert [lucene.address(a(t)) for t in s['docs']+s['queries']]==known['xquad'][code]['tokens']
    assert searched(s)==known['xquad'][code]['rankings']

@pytest.mark.parametrize('code', CODES)
def test_batch(code):
    "Many texts at once have the terms of one at a time, also a text of ASCII between others"
    texts,encode = [*lucene.texts(code, 200, 9), "L'Ami, o'neill: U.S.A. 3,000.50! «x»"],Encoder(code)
    ids,offsets = encode(texts)
    names = list(encode.vocabulary)
    for t,a,b in zip(texts, offsets, offsets[1:]): assert [n for n in (names[i] for i in ids[a:b]) if n]==Analyzer(code)(t)

def test_names():
    for code,(name,recipe) in languages.items():
        assert Analyzer(code)==Analyzer(name)==Analyzer(recipe)==eval(repr(Analyzer(code))) and str(Analyzer(code))==name
    assert {codes[c] for c in ('ha','so','sw','yo')}=={'whitespace'} and Analyzer('sw')('Habari Yako.')==['Habari','Yako.']
    assert Analyzer('en')==Analyzer('english')==Analyzer()
    used = {f for r in recipes.values() for f in r.split()[1:]}
    assert not {*filters}-used-{'snowball:finnish'}

@pytest.mark.parametrize('name,says', [('ja',"write 'cjk' for pairs"), ('thai',"dictionary .Java's"), ('el','Greek'), ('germn','near it are german'),
    ('standard lower stop:dee','near it are stop:de'), ('','there is no language'), ('standard german','there is no filter'), ('lower standard','there is no')])
def test_unknown(name, says):
    with pytest.raises(ValueError, match=says): Analyzer(name)

def test_none_is_both(): assert not {*elsewhere} & ({*languages} | {*recipes} | {*codes})

def test_english_does_not_wait():
    "The rows of the other languages and the library of stemmers are not read for English"
    code = "import sys; from rankwb.retrieval.analysis import Analyzer; Analyzer('english')('The U.S. Navy'); print([m for m in sys.modules if 'languages' in m or 'stemmers' in m])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=Path(__file__).parent.parent).stdout.strip()=='[]'

def test_hostile_tokens():
    "No stemmer or normalizer fails, whatever the token is"
    rng = random.Random(3)
    odd = [chr(c) for c in (0x27,0x2019,0x200c,0x200d,0x301,0x307,0x3099,0xff9e,0x9cd,0x983,0x94d,0xffff,0xfffe,0xe000,0x10400,0x1f600,0xd800,0x130,0x131)]
    tokens = ['', *odd, *(''.join(rng.choices(odd+list('aeiosntkxé١'), k=rng.randint(1, 12))) for _ in range(300)), 'aeiou'*51, 'ä'*255, 'ক্ষ'*80]
    for name,f in filters.items():
        for t in tokens: assert f(t) is None or isinstance(f(t), str), (name, ascii(t))

@pytest.fixture(scope='module')
def answers():
    "Lucene's answers now: what the file was made of, and new words"
    asked = lucene.request(lucene.XQUAD if lucene.DATA.is_dir() else ())
    new = {code: lucene.texts(code, 1000, 1)+[*strings(5, 1)] for code in CODES}
    searches = [lucene.made_up(code, 1) for code in CODES]
    got = ask(asked | dict(languages={c: t+new[c] for c,t in asked['languages'].items()}, searches=asked['searches']+searches))
    return got, {c: (texts, got['languages'][c][-len(texts):]) for c,texts in new.items()}, [*zip(searches, got['searches'][-len(searches):])]

@live
def test_live(answers):
    "New words, and strings of all scripts"
    _,tokens,searches = answers
    for code,pairs in tokens.items():
        for text,found in zip(*pairs, strict=True): assert Analyzer(code)(text)==found, (code, ascii(text))
    for s,ranked in searches: assert searched(s)==[digest(*r) for r in ranked], s['language']

@live
def test_stop_words_are_lucenes(answers): assert json.loads(lucene.STOP_WORDS.read_text(encoding='utf-8'))==lucene.stop_words(answers[0])

@live
def test_file_is_what_lucene_says(shared, answers, known):
    "The answers hold more after those of the file"
    got = answers[0]
    n = {c: len(lucene.texts(c)) + (len(known['xquad'][c]['tokens']) if c in known['xquad'] else 0) for c in CODES}
    first = dict(languages={c: t[:n[c]] for c,t in got['languages'].items()}, searches=got['searches'][:len(CODES)+len(lucene.XQUAD)])
    assert lucene.kept(first)==known
