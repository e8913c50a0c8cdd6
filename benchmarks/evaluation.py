"""Evaluate six measures over 1,000 queries x 1,000 documents, beside pytrec_eval, ir_measures and ranx

    python benchmarks/evaluation.py            # a Markdown table
    python benchmarks/evaluation.py --docs 1000000 --repeats 9

Every library runs in a process of its own that holds nothing but its own input. The clock runs over one call that ends with the
value of every measure for every query and their means; one call warms up, then the median of the others counts. The values of all
libraries are compared for every query before any time is printed. No scores are tied, because ranx breaks ties in its own way.
"""
import argparse, gc, json, os, resource, statistics, subprocess, sys, tempfile, time
import numpy as np

MEASURES = ['AP','nDCG@10','nDCG','RR','P@10','R@100']
TREC = ['map','ndcg_cut_10','ndcg','recip_rank','P_10','recall_100']
RANX = ['map','ndcg@10','ndcg','mrr','precision@10','recall@100']
Q,K,J = 1000,1000,100 # queries, documents and judgments of each

def data(docs):
    "Document codes of rankings (Q, K) and of judgments (Q, J), half of them retrieved, and grades (Q, J)"
    rng = np.random.default_rng(0)
    both = np.stack([rng.choice(docs, K+J//2, replace=False) for _ in range(Q)])
    found = np.stack([rng.choice(K, J//2, replace=False) for _ in range(Q)])
    judged = np.concatenate([np.take_along_axis(both, found, 1), both[:,K:]], 1)
    return both[:,:K],rng.permuted(judged, axis=1),rng.integers(0, 4, (Q,J))

def dicts(docs):
    ranked,judged,grades = data(docs)
    ids = [f'd{i:07d}' for i in range(docs)]
    run = {f'q{q:04d}': {ids[d]: float(K-i) for i,d in enumerate(row)} for q,row in enumerate(ranked.tolist())}
    qrels = {f'q{q:04d}': {ids[d]: g for d,g in zip(*rows)} for q,rows in enumerate(zip(judged.tolist(), grades.tolist()))}
    return run,qrels

def arrays(docs):
    from rankwb.core.data import Qrels
    from rankwb.core.runs import Run
    ranked,judged,grades = data(docs)
    ids,queries,scores = [f'd{i:07d}' for i in range(docs)],[f'q{i:04d}' for i in range(Q)],np.tile(np.arange(K, 0, -1), Q)
    used,codes = np.unique(judged, return_inverse=True)
    qrels = Qrels(queries, np.arange(Q+1)*J, [ids[i] for i in used], codes.ravel(), grades.ravel())
    return Run(queries, np.arange(Q+1)*K, ids, ranked.ravel(), scores),qrels

# Each gives a function without arguments that is timed and returns values (measures, Q); the names say what it starts from
def rankwb_arrays(docs):
    from rankwb.evaluation.evaluate import evaluate
    run,qrels = arrays(docs)
    def call():
        e = evaluate(run, qrels, MEASURES)
        e.mean, e.per_query
        return e.values
    return call

def rankwb_dicts(docs):
    from rankwb.evaluation.evaluate import evaluate
    run,qrels = dicts(docs)
    def call():
        e = evaluate(run, qrels, MEASURES)
        e.mean, e.per_query
        return e.values
    return call

def pytrec_eval_dicts(docs):
    import pytrec_eval
    run,qrels = dicts(docs)
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, {'map','ndcg_cut.10','ndcg','recip_rank','P.10','recall.100'})
    def call():
        found = evaluator.evaluate(run)
        values = [[found[q][m] for q in run] for m in TREC]
        [statistics.fmean(v) for v in values]
        return values
    return call

def ir_measures_dicts(docs):
    import ir_measures
    run,qrels = dicts(docs)
    measures = [ir_measures.parse_measure(m) for m in MEASURES]
    evaluator = ir_measures.evaluator(measures, qrels)
    def call():
        means,found = evaluator.calc(run)
        by = {(m.measure,m.query_id): m.value for m in found}
        return [[by[m,q] for q in run] for m in measures]
    return call

def ranx_objects(docs):
    import ranx
    run,qrels = dicts(docs)
    run,qrels = ranx.Run(run),ranx.Qrels(qrels)
    def call():
        found = ranx.evaluate(qrels, run, RANX, return_mean=False)
        [np.mean(found[m]) for m in RANX]
        return [found[m] for m in RANX]
    return call

def ranx_dicts(docs):
    import ranx
    run,qrels = dicts(docs)
    def call():
        found = ranx.evaluate(ranx.Qrels(qrels), ranx.Run(run), RANX, return_mean=False)
        [np.mean(found[m]) for m in RANX]
        return [found[m] for m in RANX]
    return call

LIBRARIES = {
    'rankwb, from arrays': rankwb_arrays,
    'pytrec_eval, evaluator reused': pytrec_eval_dicts,
    'ir_measures, evaluator reused': ir_measures_dicts,
    'ranx, Run and Qrels reused': ranx_objects,
    'rankwb, from dictionaries': rankwb_dicts,
    'ranx, from dictionaries': ranx_dicts}

def child(name, docs, repeats, out):
    call = LIBRARIES[name](docs)
    values,wall,cpu = call(),[],[]
    for _ in range(repeats):
        gc.collect()
        w,c = time.perf_counter(),time.process_time()
        call()
        wall.append(time.perf_counter()-w); cpu.append(time.process_time()-c)
    np.save(out, np.asarray(values, float))
    print(json.dumps(dict(wall=statistics.median(wall), cpu=statistics.median(cpu), mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024)))

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--docs', type=int, default=100_000, help='documents to choose from')
    p.add_argument('--repeats', type=int, default=5)
    p.add_argument('--child', nargs=2, metavar=('NAME','FILE'), help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.child: return child(a.child[0], a.docs, a.repeats, a.child[1])
    found,values = {},{}
    with tempfile.TemporaryDirectory() as d:
        for i,name in enumerate(LIBRARIES):
            out = os.path.join(d, f'{i}.npy')
            cmd = [sys.executable, __file__, '--docs', str(a.docs), '--repeats', str(a.repeats), '--child', name, out]
            r = subprocess.run(cmd, capture_output=True, text=True)
            if r.returncode: sys.exit(f'{name} failed:\n{r.stderr}')
            found[name],values[name] = json.loads(r.stdout.splitlines()[-1]),np.load(out)
    first = values[(base := next(iter(LIBRARIES)))]
    apart = {name: float(np.abs(v-first).max()) for name,v in values.items()}
    if max(apart.values())>1e-9: sys.exit(f'the values differ: {apart}')
    print(f'{len(MEASURES)} measures, {Q:,} queries x {K:,} documents, {J} judgments a query, {a.docs:,} documents in all; '
          f'{Q*len(MEASURES):,} values equal to {max(apart.values()):.0e}; median of {a.repeats}\n')
    print('| | wall ms | CPU ms | wall, times the first | CPU, times the first | peak MB |\n|---|--:|--:|--:|--:|--:|')
    for name,r in found.items():
        ratios = ' | '.join(f'{r[t]/found[base][t]:.1f}' for t in ('wall','cpu'))
        print(f'| {name} | {1e3*r["wall"]:.1f} | {1e3*r["cpu"]:.1f} | {ratios} | {r["mb"]:.0f} |')
    best = {t: min((r[t]/found[base][t], n) for n,r in found.items() if not n.startswith('rankwb')) for t in ('wall','cpu')}
    print('\nFaster than the fastest of the others: ' + ', '.join(f'{x:.1f} times by {t} ({n})' for t,(x,n) in best.items()))

if __name__=='__main__': main()
