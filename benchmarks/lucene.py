"""Lucene by rankwb, beside Pyserini's LuceneSearcher over the same index in the same process, and rankwb without Java

    python benchmarks/lucene.py                                # both collections, Markdown tables
    python benchmarks/lucene.py --collections synthetic --docs 10000 --repeats 9

Collections: those of benchmarks/bm25.py, 300 questions at most. Everything runs in one process with one JVM (4 GB: Pyserini keeps
every hit as an object of Java), and the systems take turns: in every round each of them asks all questions once, for 10 and for 1,000
documents. The first round warms up, then the median of the others counts. A search is from strings to ids and scores: for Pyserini
`batch_search`, and the `docid` and `score` of all hits, as its users read them. `lean` is an index without the terms of documents, the
one that is fastest to read; feedback needs the other. Pyserini's `threads` are as many as there are processors. Indexing is from the
same strings to an index on the disk in one part, rankwb by `LuceneIndex.build`, Pyserini by `LuceneIndexer.add_batch_dict`. The last
column says how many rankings are the same, id by id: those of Pyserini for what orders equal scores as Pyserini does, those of rankwb
without Java for the others.
"""
import argparse, gc, os, statistics, sys, tempfile, time, types
from pathlib import Path
import numpy as np

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT),str(ROOT/'benchmarks')]
from bm25 import synthetic, vaswani
from rankwb.core.records import Docs, Queries
from rankwb.retrieval.bm25 import BM25
from rankwb.retrieval.jvm import start_jvm
from rankwb.retrieval.lucene import Lucene
from rankwb.retrieval.lucene_index import LuceneIndex

class Encoders(types.ModuleType): # not needed, and they want torch and a key of OpenAI
    __path__ = []
    def __getattr__(self, name): return type(name, (), {})

def timed(call):
    gc.collect()
    w,c = time.perf_counter(),time.process_time()
    out = call()
    return out,time.perf_counter()-w,time.process_time()-c

def rounds(systems, repeats):
    "Medians of wall and CPU seconds for every system, which take turns, and what each gave last"
    took,gave = {n: [] for n in systems},{}
    for _ in range(repeats+1):
        for n,call in systems.items():
            gave[n],*t = timed(call)
            took[n].append(t)
    return {n: [statistics.median(o) for o in zip(*t[1:])] for n,t in took.items()},gave

def pyserini(folder, queries, k, rm3=False, threads=os.cpu_count()):
    from pyserini.search.lucene import LuceneSearcher
    searcher,ids = LuceneSearcher(str(folder)),[str(i) for i in range(len(queries))]
    searcher.set_bm25(.9, .4)
    if rm3: searcher.set_rm3()
    def search():
        found = searcher.batch_search(queries, ids, k, threads)
        return [[(h.docid, h.score) for h in found[i]] for i in ids]
    return search

def rankings(found): return [r.ids for r in found] if hasattr(found, 'query_ids') else [[d for d,_ in hits] for hits in found]

def searches(docs, queries, folder, repeats):
    asked = Queries.of(queries)
    lean,full = (LuceneIndex.build(docs, folder/n, vectors=n=='full') for n in ('lean','full'))
    for k in (10,1000):
        some = queries[:100]
        systems = {'rankwb Lucene': lambda: Lucene(docs, k=k, index=lean)(asked), "rankwb Lucene, ties='anserini'": lambda: Lucene(docs, k=k, ties='anserini', index=lean)(asked), 'Pyserini, lean': pyserini(lean.path, queries, k),
            'Pyserini, full': pyserini(full.path, queries, k), 'rankwb BM25, no Java': lambda: BM25(docs, k=k)(asked)}
        feedback = {"rankwb Lucene, rm3, ties='anserini'": lambda: Lucene(docs, k=k, feedback='rm3', ties='anserini', index=full)(asked[:100]), 'Pyserini, rm3': pyserini(full.path, some, k, rm3=True)}
        for table,n in ((systems,len(queries)), (feedback,len(some))):
            took,gave = rounds(table, repeats)
            for name,(w,c) in took.items():
                other = list(table)[-1] if table is feedback or 'Pyserini' not in name+name.replace('anserini', 'Pyserini') else 'Pyserini, lean'
                yield name,k,1e3*w/n,1e3*c/n,np.mean([a==b for a,b in zip(rankings(gave[name]), rankings(gave[other]))])

def indexing(docs, folder, repeats):
    from pyserini.index.lucene import LuceneIndexer
    ids,texts,count = docs.ids.to_pylist(),docs.texts(),iter(range(10**6))
    def ours(vectors): LuceneIndex.build(Docs.from_arrow(docs.table), folder/f'ours-{next(count)}', vectors=vectors)
    def theirs(*options):
        writer = LuceneIndexer(args=['-index', str(folder/f'theirs-{next(count)}'), '-optimize', '-threads', str(os.cpu_count()), *options])
        writer.add_batch_dict([dict(id=i, contents=t) for i,t in zip(ids, texts)])
        writer.close()
    systems = {'rankwb, lean': lambda: ours(False), 'Pyserini, lean': theirs, 'rankwb, full': lambda: ours(True), 'Pyserini, full': lambda: theirs('-storeDocvectors')}
    return rounds(systems, repeats)[0]

def report(name, docs, queries, repeats):
    with tempfile.TemporaryDirectory() as d:
        print(f'\n### {name}: {len(docs):,} texts, {len(queries)} questions; median of {repeats} rounds\n\n| search | k | ms a question (CPU) | same rankings |\n|---|--:|--:|--:|')
        for system,k,w,c,same in searches(docs, queries, Path(d), repeats): print(f'| {system} | {k:,} | {w:.3f} ({c:.3f}) | {same:.1%} |', flush=True)
        print('\n| index | s (CPU) |\n|---|--:|')
        for system,(w,c) in indexing(docs, Path(d), min(repeats, 3)).items(): print(f'| {system} | {w:.2f} ({c:.2f}) |', flush=True)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--collections', nargs='+', choices=('vaswani','synthetic'), default=['vaswani','synthetic'])
    p.add_argument('--docs', type=int, default=100_000, help='size of the synthetic collection')
    p.add_argument('--repeats', type=int, default=5)
    a = p.parse_args()
    os.environ['TQDM_DISABLE'] = '1'
    start_jvm('4g')
    sys.modules['pyserini.encode'] = Encoders('pyserini.encode')
    for name in a.collections:
        if name=='vaswani' and not (ROOT.parent/'shared/data/vaswani').is_dir():
            print('vaswani is left out: no ../shared/data/vaswani', file=sys.stderr)
            continue
        ids,texts,queries = dict(vaswani=vaswani, synthetic=synthetic)[name](a.docs)
        report(name, Docs.from_dict(dict(zip(ids, texts)), name), queries[:300], a.repeats)

if __name__=='__main__': main()
