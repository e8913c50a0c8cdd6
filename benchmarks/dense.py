"""Encode texts beside plain sentence-transformers, and search vectors beside numpy and FAISS

    python benchmarks/dense.py                                    # both, Markdown tables
    python benchmarks/dense.py --parts encode --texts 300 --repeats 3

`encode`: docstrings of the Python standard library, drawn with a seed from the collection `stdlib`, by all-MiniLM-L6-v2. `search`: random
vectors of 384 numbers, 256 queries at once and one alone. Every system runs in a process of its own; they take turns, one call each,
so that a machine that is busy for a while is busy for all. One round warms up, then the median of the others counts, and ratios
are of CPU time. Peak memory is that of the whole process. The last column says what the results have to do with each other.
"""
import argparse, gc, json, os, resource, statistics, subprocess, sys, tempfile, time
from pathlib import Path
import numpy as np

ROOT = Path(__file__).parent.parent

def texts(n):
    import random
    from rankwb.core.loading import load
    return random.Random(0).sample(load('stdlib').docs.texts(), n)

def sentence_transformers(size):
    def system(a):
        from rankwb.core.encoders import Encoder
        some,model = texts(a.texts),Encoder('all-MiniLM-L6-v2').load()
        return {'all': lambda: model.encode_document(some, batch_size=size, show_progress_bar=False)}
    return system

def encoder(a):
    from rankwb.core.encoders import Encoder
    some,model = texts(a.texts),Encoder('all-MiniLM-L6-v2')
    model.load()
    return {'all': lambda: model.encode(some, 'doc')}

def vectors(a):
    rng = np.random.default_rng(0)
    D,Q = (rng.standard_normal((n,384), dtype=np.float32) for n in (a.vectors,256))
    return D/np.linalg.norm(D, axis=1, keepdims=True),Q/np.linalg.norm(Q, axis=1, keepdims=True)

def argpartition(a):
    D,Q = vectors(a)
    def search(Q):
        S = Q@D.T
        some = np.argpartition(-S, a.k, axis=1)[:,:a.k]
        order = np.argsort(-np.take_along_axis(S, some, 1), axis=1)
        return np.take_along_axis(some, order, 1)
    return {'256': lambda: search(Q), '1': lambda: search(Q[:1])}

def faiss(a):
    import faiss
    D,Q = vectors(a)
    index = faiss.IndexFlatIP(384)
    index.add(D)
    return {'256': lambda: index.search(Q, a.k)[1], '1': lambda: index.search(Q[:1], a.k)[1]}

def nearest(dtype):
    def system(a):
        from rankwb.retrieval.dense import nearest
        D,Q = vectors(a)
        D = D.astype(dtype)
        return {'256': lambda: nearest(Q, D, a.k)[0], '1': lambda: nearest(Q[:1], D, a.k)[0]}
    return system

SYSTEMS = {
    'encode': {'rankwb': encoder, 'sentence-transformers, 32': sentence_transformers(32), 'sentence-transformers, 128': sentence_transformers(128)},
    'search': {'rankwb, float16': nearest('float16'), 'rankwb, float32': nearest('float32'), 'numpy argpartition': argpartition, 'FAISS flat': faiss}}

def child(part, name, a):
    "Make the calls that the parent names on standard input; the results of the last round go into a file"
    tasks = SYSTEMS[part][name](a)
    print(json.dumps(list(tasks)), flush=True)
    for line in sys.stdin:
        task,path = line.split()
        gc.collect()
        w,c = time.perf_counter(),time.process_time()
        out = tasks[task]()
        w,c = time.perf_counter()-w,time.process_time()-c
        np.save(path, out)
        print(json.dumps([w, c, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024]), flush=True)

def compare(part, a):
    "Let the systems take turns: name → task → medians of wall and CPU seconds; peak MB; results"
    start = lambda name: subprocess.Popen([sys.executable, __file__, '--child', part, name, '--texts', str(a.texts), '--vectors', str(a.vectors), '--k', str(a.k)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])})
    procs,tasks = {},{}
    for name in SYSTEMS[part]:
        p = start(name)
        line = p.stdout.readline()
        if line: procs[name],tasks = p,json.loads(line)
        else: print(f'{name} is left out: it did not start', file=sys.stderr)
    times,peak,results = {(n,t):[] for n in procs for t in tasks},{},{}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(a.repeats+1):
            for t in tasks:
                for n,p in procs.items():
                    print(t, f'{folder}/out.npy', file=p.stdin, flush=True)
                    *spent,peak[n] = json.loads(p.stdout.readline())
                    times[n,t].append(spent)
                    results[n,t] = np.load(f'{folder}/out.npy')
    for p in procs.values():
        p.stdin.close()
        p.wait()
    return list(procs),tasks,{k: [statistics.median(o) for o in zip(*v[1:])] for k,v in times.items()},peak,results

def encode(a):
    names,_,times,peak,results = compare('encode', a)
    print(f'\n### Encoding {a.texts:,} docstrings, median of {a.repeats}\n')
    print('| | docs/s | s (CPU) | times the CPU of rankwb | peak MB | largest difference to rankwb |\n|---|--:|--:|--:|--:|--:|')
    for n in names:
        w,c = times[n,'all']
        print(f'| {n} | {a.texts/w:.1f} | {w:.1f} ({c:.1f}) | {c/times["rankwb","all"][1]:.2f} | {peak[n]:.0f} | {np.abs(results[n,"all"]-results["rankwb","all"]).max():.1e} |')

def search(a):
    names,tasks,times,peak,results = compare('search', a)
    D,Q = (o.astype(np.float64) for o in vectors(a))
    exact = np.stack([np.argsort(-(D@q).astype(np.float32), kind='stable')[:a.k] for q in Q])
    print(f'\n### Searching {a.vectors:,} vectors of 384 numbers, k={a.k}, median of {a.repeats}\n')
    print('| | 256 queries: ms a query (CPU) | × | one query: ms (CPU) | × | peak MB | of the exact ranking, place by place |\n|---|--:|--:|--:|--:|--:|--:|')
    for n in names:
        cells = [f'{1e3*times[n,t][0]/int(t):.2f} ({1e3*times[n,t][1]/int(t):.2f}) | {times[n,t][1]/times["rankwb, float32",t][1]:.2f}' for t in tasks]
        print(f'| {n} | {" | ".join(cells)} | {peak[n]:.0f} | {(results[n,"256"]==exact).mean():.2%} |')
    print('\n×: CPU time in times of that of rankwb, float32.')

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--parts', nargs='+', choices=SYSTEMS, default=list(SYSTEMS))
    p.add_argument('--texts', type=int, default=1000)
    p.add_argument('--vectors', type=int, default=100_000)
    p.add_argument('--k', type=int, default=100)
    p.add_argument('--repeats', type=int, default=5)
    p.add_argument('--child', nargs=2, metavar=('PART','NAME'), help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.child: return child(*a.child, a)
    for part in a.parts: dict(encode=encode, search=search)[part](a)

if __name__=='__main__': main()
