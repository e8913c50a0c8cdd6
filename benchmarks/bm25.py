"""Index texts and search them with BM25, beside bm25s (numpy and numba) and Pyserini

    python benchmarks/bm25.py                                # both collections, Markdown tables
    python benchmarks/bm25.py --collections synthetic --docs 10000 --repeats 9

Collections: `vaswani` (11,429 real abstracts, 93 questions, from ../shared/data; left out where that is absent) and `synthetic`
(words drawn from a Zipf distribution, a seed, 1,000 questions). Every system runs in a process of its own and starts from strings:
`index` is tokenising and indexing, `search` is analysing all questions and ranking, in one call. bm25s uses its own tokenizer with
its English stop words and PyStemmer's English stemmer; Pyserini a lean index (no positions, vectors or texts), its batch search, and
the ids and scores of all hits. All use k1=0.9, b=0.4. One call warms up, then the median of the others counts. A second table has BM25, query
likelihood (mu=1000) and BM25 with RM3 (Anserini's defaults) at k=1000; for it the systems take turns, and Pyserini has an index with
document vectors. Peak memory is that of
the whole process; in brackets what it held before it started, mostly the texts.
The last column is how much of Pyserini's top 10 a system finds (Pyserini rounds scores to four decimals before it breaks ties).
"""
import argparse, gc, json, os, resource, statistics, subprocess, sys, tempfile, time
from pathlib import Path
import numpy as np
from _turns import serve, turns

ROOT = Path(__file__).parent.parent
K1,B,MU,DEPTHS,MODELS = .9,.4,1000.,(10,1000),('BM25','QLD','BM25+RM3')

def vaswani(docs):
    from rankwb.core.loading import load
    c = load(ROOT.parent/'shared/data/vaswani')
    return c.docs.ids.to_pylist(),c.docs.texts(),c.queries.texts()

def words(rng, n):
    "`n` distinct words of two to five syllables"
    syllables = np.array([c+v for c in 'b c d f g h k l m n p r s t v w br st th pl'.split() for v in 'a e i o u en ar ing'.split()])
    out = {}
    while len(out)<n: out.update(dict.fromkeys(map(''.join, (rng.choice(syllables, l) for l in rng.integers(2, 6, n)))))
    return np.array(list(out)[:n], object)

def synthetic(docs):
    "Texts of about 60 words whose frequencies fall as 1/(rank+10), with sentences; questions of 3 to 8 words out of one document"
    rng = np.random.default_rng(0)
    vocabulary = words(rng, 200_000)
    p = np.cumsum(1/(np.arange(len(vocabulary))+10))
    sizes = np.maximum(rng.lognormal(4, .5, docs).astype(int), 5)
    drawn = vocabulary[np.searchsorted(p, rng.random(sizes.sum())*p[-1])]
    texts = ['. '.join(' '.join(t[i:i+12]) for i in range(0, len(t), 12))+'.' for t in np.split(drawn, np.cumsum(sizes)[:-1])]
    queries = [' '.join(rng.choice(t.replace('.', '').split(), rng.integers(3, 9))) for t in (texts[i] for i in rng.integers(0, docs, 1000))]
    return [f'd{i:07d}' for i in range(docs)],texts,queries

def rankwb(engine):
    def system(ids, texts, queries, folder):
        import pyarrow as pa
        from rankwb.core.data import Docs, Queries
        from rankwb.retrieval.bm25 import BM25
        from rankwb.retrieval.feedback import RM3
        from rankwb.retrieval.inverted import InvertedIndex
        from rankwb.retrieval.likelihood import QLD
        if engine=='numba': import numba
        table,asked,made = pa.table(dict(id=ids, text=texts)),Queries.of(queries),{}
        fresh = lambda: Docs.from_arrow(table)
        def index(docs): made.update(docs=docs, index=InvertedIndex.build(docs))
        def search(k, model='BM25'):
            base = QLD(made['docs'], MU, k, index=made['index']) if model=='QLD' else BM25(made['docs'], K1, B, k, index=made['index'])
            return (RM3(base) if model=='BM25+RM3' else base)(asked)
        def top(run): return [[int(d) for d in run.codes[a:a+10][:b-a]] for a,b in zip(run.offsets, run.offsets[1:])]
        return fresh,index,search,top
    return system

def bm25s(backend):
    def system(ids, texts, queries, folder):
        import bm25s, Stemmer
        made,stemmer = {},Stemmer.Stemmer('english')
        def tokenize(texts): return bm25s.tokenize(texts, stopwords='en', stemmer=stemmer, show_progress=False)
        def index(_):
            made['r'] = bm25s.BM25(k1=K1, b=B, method='lucene', backend=backend)
            made['r'].index(tokenize(texts), show_progress=False)
        def search(k, model=None): return made['r'].retrieve(tokenize(queries), k=min(k, len(texts)), show_progress=False)
        def top(found): return [[int(d) for d,s in zip(*row) if s>0][:10] for row in zip(*found)]
        return (lambda: None),index,search,top
    return system

def pyserini(ids, texts, queries, folder):
    import types
    sys.path.insert(0, str(ROOT/'tests/lucene'))
    import oracle
    oracle.start()
    class Encoders(types.ModuleType): # not needed, and they want torch and a key of OpenAI
        __path__ = []
        def __getattr__(self, name): return type(name, (), {})
    sys.modules['pyserini.encode'] = Encoders('pyserini.encode')
    from pyserini.index.lucene import LuceneIndexer
    from pyserini.search.lucene import LuceneSearcher
    places,made,qids = {d:i for i,d in enumerate(ids)},{},[str(i) for i in range(len(queries))]
    def index(_, *more):
        path = os.path.join(folder, str(len(made.setdefault('all', [])))); made['all'].append(0)
        writer = LuceneIndexer(args=['-index', path, '-optimize', *more])
        writer.add_batch_dict([dict(id=i, contents=t) for i,t in zip(ids, texts)])
        writer.close()
        made['lean' if not more else 'full'] = path
    def opened(kind):
        if kind=='full' and kind not in made: index(None, '-storeDocvectors')
        return made.get(kind+' open') or made.setdefault(kind+' open', LuceneSearcher(made[kind]))
    def search(k, model=None):
        searcher = opened('full' if model else 'lean')
        searcher.set_qld(MU) if model=='QLD' else searcher.set_bm25(K1, B)
        searcher.set_rm3() if model=='BM25+RM3' else searcher.unset_rm3()
        return [[(h.docid, h.score) for h in hits] for hits in map(searcher.batch_search(queries, qids, k).get, qids)]
    return (lambda: None),index,search,lambda found: [[places[d] for d,_ in hits[:10]] for hits in found]

SYSTEMS = {'rankwb, numba': rankwb('numba'), 'rankwb, numpy': rankwb('numpy'), 'bm25s, numba': bm25s('numba'), 'bm25s, numpy': bm25s('numpy'),
           'Pyserini': pyserini}
COLLECTIONS = {'vaswani': vaswani, 'synthetic': synthetic}

def timed(call, prepare, repeats):
    "Medians of wall and CPU seconds of `call`, after one that does not count"
    wall,cpu = [],[]
    for _ in range(repeats+1):
        given = prepare()
        gc.collect()
        w,c = time.perf_counter(),time.process_time()
        call(given)
        wall.append(time.perf_counter()-w); cpu.append(time.process_time()-c)
    return statistics.median(wall[1:]),statistics.median(cpu[1:])

def child(name, data, repeats):
    mb = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024
    ids,texts,queries = json.loads(Path(data).read_text())
    before = mb()
    with tempfile.TemporaryDirectory() as folder:
        fresh,index,search,top = SYSTEMS[name](ids, texts, queries, folder)
        out = dict(index=timed(index, fresh, repeats))
        for k in DEPTHS: out[str(k)] = timed(lambda _: search(k), lambda: None, repeats)
        found = top(search(10))
    print(json.dumps(dict(out, top=found, before=before, mb=mb(), queries=len(queries), texts=len(texts), words=sum(len(t.split()) for t in texts))))

def report(collection, docs, repeats, names):
    found = {}
    with tempfile.TemporaryDirectory() as d:
        (data := Path(d)/'data.json').write_text(json.dumps(COLLECTIONS[collection](docs)))
        for name in names:
            cmd = [sys.executable, __file__, '--child', name, str(data), '--repeats', str(repeats)]
            r = subprocess.run(cmd, capture_output=True, text=True, cwd=ROOT, env={**os.environ, 'PYTHONPATH': str(ROOT)})
            if r.returncode: print(f'{name} is left out: {r.stderr.strip().splitlines()[-1]}', file=sys.stderr)
            else: found[name] = json.loads(r.stdout.splitlines()[-1])
    if not found: sys.exit('nothing could be measured')
    first,lucene = next(iter(found.values())),found.get('Pyserini', {}).get('top')
    print(f'\n### {collection}: {first["texts"]:,} texts of {first["words"]/first["texts"]:.0f} words, {first["queries"]} questions; median of {repeats}\n')
    print('| | index s (CPU) | search k=10, ms a question (CPU) | search k=1000, ms a question (CPU) | peak MB (before) | of Pyserini\'s top 10 |\n|---|--:|--:|--:|--:|--:|')
    for name,r in found.items():
        ms = [[1e3*s/r['queries'] for s in r[str(k)]] for k in DEPTHS]
        same = statistics.fmean(len(set(a)&set(b))/max(len(b), 1) if b else not a for a,b in zip(r['top'], lucene)) if lucene else float('nan')
        print(f'| {name} | {r["index"][0]:.2f} ({r["index"][1]:.2f}) | ' + ' | '.join(f'{w:.3f} ({c:.3f})' for w,c in ms) + f' | {r["mb"]:.0f} ({r["before"]:.0f}) | {same:.1%} |')
    ratio = lambda a,b,what: f'{found[a][what][1]/found[b][what][1]:.1f}' if a in found and b in found else '–'
    print('\nTimes the CPU time of rankwb, numba:\n\n| | index | k=10 | k=1000 |\n|---|--:|--:|--:|')
    for name in list(found)[1:]: print(f'| {name} | ' + ' | '.join(ratio(name, 'rankwb, numba', w) for w in ('index',*map(str, DEPTHS))) + ' |')


def models(name, data, kind):
    "In a child: BM25, query likelihood and RM3, when the parent asks for them; each gives the ten best rows of every question"
    sys.stdout = os.fdopen(os.dup(1), 'w')
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1) # where Java writes its log
    ids,texts,queries = json.loads(Path(data).read_text())
    with tempfile.TemporaryDirectory() as folder:
        fresh,index,search,top = SYSTEMS[name](ids, texts, queries, folder)
        if name!='Pyserini': index(fresh())
        def task(model): return lambda: np.array([[*rows, *[-1]*10][:10] for rows in top(search(1000, model))])
        serve({m: task(m) for m in MODELS})

def compare(collection, docs, repeats, names):
    "Systems that take turns at the formulas that they have"
    with tempfile.TemporaryDirectory() as d:
        ids,texts,queries = made = COLLECTIONS[collection](docs)
        (data := Path(d)/'data.json').write_text(json.dumps(made))
        found,tasks,times,_,results = turns(__file__, [n for n in names if 'bm25s' not in n], [data, 'models'], repeats)
    if not found: return
    print('\nThe three formulas at k=1000, taking turns; ms a question (CPU), and how many of Pyserini\'s first ten are found:\n')
    print('| | ' + ' | '.join(tasks) + ' |\n|---|' + '--:|'*len(tasks))
    def same(a, b): return statistics.fmean(len(set(x)&set(y)-{-1})/max(len(set(y)-{-1}), 1) if set(y)-{-1} else 1 for x,y in zip(a.tolist(), b.tolist()))
    for n in found:
        ms = [[1e3*o/len(queries) for o in times[n,t]] for t in tasks]
        over = [f', {same(results[n,t], results["Pyserini",t]):.1%}' if 'Pyserini' in found else '' for t in tasks]
        print(f'| {n} | ' + ' | '.join(f'{w:.3f} ({c:.3f}){o}' for (w,c),o in zip(ms, over)) + ' |')

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--collections', nargs='+', choices=COLLECTIONS, default=list(COLLECTIONS))
    p.add_argument('--systems', nargs='+', choices=SYSTEMS, default=list(SYSTEMS))
    p.add_argument('--docs', type=int, default=100_000, help='size of the synthetic collection')
    p.add_argument('--repeats', type=int, default=5)
    p.add_argument('--child', nargs='+', help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.child: return models(*a.child) if a.child[-1]=='models' else child(*a.child, a.repeats)
    for c in a.collections:
        if c=='vaswani' and not (ROOT.parent/'shared/data/vaswani').is_dir(): print('vaswani is left out: no ../shared/data/vaswani', file=sys.stderr)
        else:
            report(c, a.docs, a.repeats, a.systems)
            compare(c, a.docs, a.repeats, a.systems)

if __name__=='__main__': main()
