"""Search vectors beside numpy, torch and FAISS, and measure what indexes find

    python benchmarks/vectors.py                                  # all parts, Markdown tables
    python benchmarks/vectors.py --parts search --vectors 1000000 --repeats 3
    python benchmarks/vectors.py --parts search --k 1000

`search`: vectors of 384 numbers that lie as real ones do, each between two docstrings of the standard library by all-MiniLM-L6-v2 with a
little noise; 256 queries at once, and one alone. They lie in files that are mapped, except for FAISS, which copies them. Every system runs in a process
of its own; they take turns, one call each. One round warms up, then the median of the others counts, and ratios are of CPU time.

`recall`: the docstrings themselves and the questions of the collection `stdlib`; what each index finds of the exact ranking, how large it is,
and what share of the vectors it compares.

`sizes`: what it takes to make an index and to search it, for some numbers of vectors.
"""
import argparse, tempfile, time
from pathlib import Path
import numpy as np
from _turns import serve, turns

def real():
    "A retriever over the standard library, and its questions"
    from rankwb.core.loading import load
    from rankwb.retrieval.dense import Dense
    c = load('stdlib')
    return Dense(c.docs, 'all-MiniLM-L6-v2', dtype='float32'),c.queries

def prepare(folder, n):
    "Files of n documents and 256 queries in every form"
    from rankwb.retrieval.indexes import Int8
    from rankwb.retrieval.vectors import Vectors, unit
    rng,R = np.random.default_rng(0),np.asarray(real()[0].doc_vectors.array)
    def mixed(n):
        (a,b),w = R[rng.integers(len(R), size=(2,n))],rng.random((n,1), dtype=np.float32)
        return unit(w*a+(1-w)*b+.02*rng.standard_normal((n,384), dtype=np.float32))
    out = {t: np.lib.format.open_memmap(folder/f'{t}.npy', 'w+', t, (n,384)) for t in ('float32','float16')}
    for i in range(0, n, 10_000):
        out['float32'][i:i+10_000] = v = mixed(min(10_000, n-i))
        out['float16'][i:i+10_000] = v
    np.save(folder/'queries.npy', mixed(256))
    Int8().make(Vectors(out['float16'], similarity='cosine', norm=1.001), folder)

def files(a):
    folder = Path(a.folder)
    return {t: np.load(folder/f'{t}.npy', mmap_mode='r') for t in ('float32','float16')},np.load(folder/'queries.npy')

def rankwb(index, dtype):
    def system(a):
        import torch # as it is after queries were encoded
        from rankwb.retrieval.indexes import Exact, Int8
        from rankwb.retrieval.vectors import Vectors
        D,Q = files(a)
        search = dict(exact=Exact(device='cpu'), int8=Int8())[index].open(Vectors(D[dtype], similarity='cosine', norm=1.001), a.folder)
        return {'256': lambda: search(Q, a.k)[0], '1': lambda: search(Q[:1], a.k)[0]}
    return system

def argpartition(a):
    D,Q = files(a)
    def search(Q):
        S = Q@D['float32'].T
        some = np.argpartition(-S, a.k, axis=1)[:,:a.k]
        return np.take_along_axis(some, np.argsort(-np.take_along_axis(S, some, 1), axis=1), 1)
    return {'256': lambda: search(Q), '1': lambda: search(Q[:1])}

def topk(a):
    import torch, warnings
    warnings.simplefilter('ignore')
    D,Q = files(a)
    D,Q = torch.from_numpy(D['float32']),torch.from_numpy(Q)
    search = lambda Q: (Q@D.T).topk(a.k).indices.numpy()
    return {'256': lambda: search(Q), '1': lambda: search(Q[:1])}

def flat(a):
    import faiss
    D,Q = files(a)
    index = faiss.IndexFlatIP(384)
    index.add(D['float32'])
    return {'256': lambda: index.search(Q, a.k)[1], '1': lambda: index.search(Q[:1], a.k)[1]}

SYSTEMS = {'rankwb, exact, float32': rankwb('exact','float32'), 'rankwb, exact, float16': rankwb('exact','float16'), 'rankwb, int8': rankwb('int8','float16'),
           'numpy, matmul and argpartition': argpartition, 'torch, matmul and topk': topk, 'FAISS, IndexFlatIP': flat}

def search(a):
    from rankwb.retrieval.nearest import definition
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), a.vectors)
        names,tasks,times,memory,results = turns(__file__, SYSTEMS, ['--folder', folder, '--k', a.k], a.repeats)
        a.folder = folder
        D,Q = files(a)
        step = 20_000
        score = lambda D, q: np.concatenate([definition(q, D[i:i+step]) for i in range(0, len(D), step)])
        exact = {t: np.stack([np.argsort(-score(D[t], q), kind='stable')[:a.k] for q in Q[:16]]) for t in D}
    print(f'\n### Searching {a.vectors:,} vectors of 384 numbers, k={a.k}, median of {a.repeats}\n')
    print('| | 256 queries: ms a query (CPU) | × | one query: ms (CPU) | × | peak MB | of these mapped | as defined, place by place |\n|---|--:|--:|--:|--:|--:|--:|--:|')
    for n in names:
        cells = [f'{1e3*times[n,t][0]/int(t):.2f} ({1e3*times[n,t][1]/int(t):.2f}) | {times[n,t][1]/times["rankwb, exact, float32",t][1]:.2f}' for t in tasks]
        want = exact['float32' if n.endswith('float32') or 'rankwb' not in n else 'float16']
        print(f'| {n} | {" | ".join(cells)} | {memory[n][0]:.0f} | {memory[n][1]:.0f} | {(results[n,"256"][:16]==want).mean():.2%} |')
    print('\n×: CPU time in times of that of exact search over float32.')

def recall(a):
    from rankwb.retrieval.approximate import Faiss, recall as measured
    from rankwb.retrieval.indexes import Binary, Int8
    dense,questions = real()
    dense.doc_vectors
    print(f'\n### {len(dense.docs):,} docstrings, {len(questions):,} questions\n')
    print('| index | made in s | MB | | recall@1 | recall@10 | recall@100 | vectors compared |\n|---|--:|--:|---|--:|--:|--:|--:|')
    tried = [(Int8(), dict(candidates=(100,150,None))), (Binary(), dict(candidates=(100,300,1000))), (Faiss('HNSW32'), dict(efSearch=(16,64,256))), (Faiss('IVF64,Flat'), dict(nprobe=(1,4,16))),
             (Faiss('SQ8'), dict(refine=(1,2))), (Faiss('PQ48'), dict(refine=(1,2,4))), (Faiss('OPQ48,IVF64,PQ48x4fs'), dict(nprobe=(4,16), refine=(1,4)))]
    for index,asked in tried:
        with tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            index.make(dense.doc_vectors, folder)
            spent,size = time.process_time()-start,sum(f.stat().st_size for f in Path(folder).iterdir())/1e6
            rows = measured(index, dense.doc_vectors, folder, dense.query_vectors(questions), (1,10,100), **asked).to_dict('records')
        for row in rows:
            said = ', '.join(f'{k}={row[k]:g}' if row[k]==row[k] else f'{k}=None' for k in asked)
            print(f'| {index!r} | {spent:.1f} | {size:.1f} | {said} | {row["recall@1"]:.3f} | {row["recall@10"]:.3f} | {row["recall@100"]:.3f} | {row["compared"]:.1%} |')

def sizes(a):
    import torch # as it is after queries were encoded
    from rankwb.retrieval.approximate import Faiss
    from rankwb.retrieval.indexes import Exact, Int8
    from rankwb.retrieval.vectors import Vectors
    print('\n### From which size on it pays to compare with some\n')
    print('| vectors | index | made in s | one query: ms | 256 queries: ms a query | recall@10 |\n|--:|---|--:|--:|--:|--:|')
    for n in a.sizes:
        exact = None
        for index in (Exact(device='cpu'), Int8(), Faiss('HNSW32', efSearch=64), Faiss(f'IVF{int(4*n**.5)},Flat', nprobe=16)):
            with tempfile.TemporaryDirectory() as folder:
                prepare(Path(folder), n)
                a.folder = folder
                D,Q = files(a)
                v = Vectors(D['float16'], similarity='cosine', norm=1.001)
                start = time.process_time()
                index.made.make(v, folder)
                made,search = time.process_time()-start,index.open(v, folder)
                def spent(Q, repeats):
                    times = []
                    for _ in range(repeats):
                        start = time.process_time()
                        found = search(Q, 10)[0]
                        times.append(time.process_time()-start)
                    return 1e3*sorted(times)[repeats//2],found
                one,(many,found) = spent(Q[:1], 21)[0],spent(Q, 3)
            exact = found if exact is None else exact
            hits = np.mean([np.isin(a, b).mean() for a,b in zip(exact, found)])
            print(f'| {n:,} | {index!r} | {made:.1f} | {one:.2f} | {many/256:.3f} | {hits:.3f} |', flush=True)
    print('\nAll times are of the CPU.')

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--parts', nargs='+', choices=('search','recall','sizes'), default=('search','recall','sizes'))
    p.add_argument('--vectors', type=int, default=100_000)
    p.add_argument('--sizes', type=int, nargs='+', default=(10_000,100_000))
    p.add_argument('--k', type=int, default=100)
    p.add_argument('--repeats', type=int, default=5)
    p.add_argument('--child', help=argparse.SUPPRESS)
    p.add_argument('--folder', help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.child: return serve(SYSTEMS[a.child](a))
    for part in a.parts: dict(search=search, recall=recall, sizes=sizes)[part](a)

if __name__=='__main__': main()
