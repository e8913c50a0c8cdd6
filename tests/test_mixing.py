"What goes around a reranker: depth that adapts, calibration, and the first stage mixed in"
from dataclasses import dataclass
import numpy as np, pytest
from rankwb.core.caching import Store
from rankwb.core.data import Docs, Queries
from rankwb.core.execution import Executor
from rankwb.core.pipelines import Reranker, parse
from rankwb.core.qrels import Qrels
from rankwb.core.reordering import by_scores, pairs_of
from rankwb.core.runs import Run
from rankwb.reranking.mixing import Adaptive, Platt, Same, reliability

rng = np.random.default_rng(0)

@dataclass(frozen=True)
class Number(Reranker):
    "The score is what the text says"
    pointwise = True
    def apply(self, run):
        p = pairs_of(run)
        return by_scores(run, [float(p.docs[d]) for _,d in p.at])

def world(m=12, most=60):
    docs = Docs.from_dict({f'd{i}': f'{v:.3f}' for i,v in enumerate(rng.standard_normal(200).round(1))})
    run = Run.from_dict({f'q{i}': {f'd{j}': float(-n) for n,j in enumerate(rng.permutation(200)[:rng.integers(0, most)])} for i in range(m)})
    return run.attach(Queries.from_dict({f'q{i}': f'question {i}' for i in range(m)}), docs)

@pytest.mark.parametrize('step', [1,7,20])
@pytest.mark.parametrize('patience', [1,3])
def test_adaptive_is_the_definition(step, patience):
    "Beside a loop over one query at a time"
    run,k = world(),5
    values = {d: float(t) for d,t in zip(run.docs.ids.to_pylist(), run.docs.texts())}
    stage = Adaptive(Number(), k, step, patience)
    found,spent = stage(run),stage.spent(run)
    for r,f in zip(run, found):
        read,best,calm,ids = 0,[],0,r.ids
        while read<len(ids) and calm<patience:
            new = [values[d] for d in ids[read:read+step]]
            bar = sorted(best)[-k] if len(best)>=k else -np.inf
            calm = 0 if max(new)>bar else calm+1
            best,read = best+new,min(read+step, len(ids))
        assert spent[r.query_id]==read
        assert f.ids==sorted(ids[:read], key=lambda d: -values[d])+ids[read:]
        assert (np.diff(f.scores)<=0).all()

def test_adaptive_reads_all_where_the_step_is_large():
    run = world()
    assert Adaptive(Number(), step=1000)(run).to_dict()==Number()(run).to_dict()
    assert len(Adaptive(Number())(run.take([])))==0

def test_adaptive_from_a_store(tmp_path):
    run,stage = world(),Adaptive(Number(), 5, 7)
    store = Store(tmp_path/'s.sqlite')
    first = Executor(store)(stage, run)
    e = Executor(store)
    again = e(stage, run)
    assert [r.ids for r in first]==[r.ids for r in again]==[r.ids for r in stage(run)]
    assert sum(w.computed for w in e.work.values())==0

def test_platt_equals_sklearn():
    calibration = pytest.importorskip('sklearn.calibration')
    run = world(20)
    scored = Number()(run)
    values = {d: float(t) for d,t in zip(run.docs.ids.to_pylist(), run.docs.texts())}
    grades = {r.query_id: {d: int(rng.random()<1/(1+np.exp(-2*values[d]+1))) for d in r.ids if rng.random()<.8} for r in run if len(r)}
    qrels = Qrels.from_dict({q: g for q,g in grades.items() if g})
    fit = Platt.fit(scored, qrels)
    pairs = [(values[d],g) for q in grades for d,g in grades[q].items()]
    a,b = calibration._sigmoid_calibration(np.array([s for s,_ in pairs]), np.array([y for _,y in pairs]))
    assert fit.a==pytest.approx(-a, rel=1e-3) and fit.b==pytest.approx(-b, rel=1e-3, abs=1e-3)
    assert [r.ids for r in fit(scored)]==[r.ids for r in scored]
    assert reliability(fit(scored), qrels).error<.12
    assert parse(repr(fit))==fit

def test_separable_scores_stay_finite():
    run = Run.from_dict({'q': {'a':2., 'b':1., 'c':-1., 'd':-2.}})
    fit = Platt.fit(run, Qrels.from_dict({'q': dict(a=1, b=1, c=0, d=0)}))
    assert 0<fit.a<10 and (fit(run).scores>0).all() and (fit(run).scores<1).all()

def test_same_is_the_same():
    run = world()
    assert Same()(run).to_dict()==run.to_dict()

@dataclass(frozen=True)
class Deep(Reranker):
    "The score is what the text says, for the first of them; `seen` has what was read"
    depth: int|None = None
    sign: int = 1
    pointwise = True
    def apply(self, run):
        p = pairs_of(run, self.depth)
        return by_scores(run, [self.sign*float(p.docs[d]) for _,d in p.at], self.depth)

def test_cascade():
    "1,000, 100, 10: each stage orders what is above its depth, and leaves the rest; cut off, they are the same"
    docs = Docs.from_dict({f'd{i}': f'{v:.4f}' for i,v in enumerate(rng.standard_normal(1500))})
    run = Run.from_dict({f'q{i}': {f'd{j}': float(-n) for n,j in enumerate(rng.permutation(1500)[:m])} for i,m in enumerate((1200,1000,99,10,3,0))})
    run = run.attach(Queries.from_dict({f'q{i}': 'x' for i in range(6)}), docs)
    values = {d: float(t) for d,t in zip(docs.ids.to_pylist(), docs.texts())}
    found = (Deep(1000) >> Deep(100, -1) >> Deep(10))(run)
    for r,f in zip(run, found):
        a = sorted(r.ids[:1000], key=lambda d: -values[d])+r.ids[1000:]
        b = sorted(a[:100], key=lambda d: values[d])+a[100:]
        assert f.ids==sorted(b[:10], key=lambda d: -values[d])+b[10:]
        assert (np.diff(f.scores)<=0).all() and sorted(f.ids)==sorted(r.ids)
    cut = (Deep(1000) % 100 >> Deep(sign=-1) % 10 >> Deep())(run)
    assert [r.ids for r in cut]==[r.ids[:10] for r in found]

def test_interpolation():
    "A weighted sum of both stages, on one scale, of what both have"
    from rankwb.retrieval.fusion import combsum
    run = world()
    found = combsum(Same(), Number(), weights=(.3,.7), norm='min-max')(run)
    scale = lambda x: (x-x.min())/(x.max()-x.min()) if len(x) and x.max()>x.min() else np.zeros(len(x)) # as ranx has it
    for r,s,f in zip(run, Number()(run), found):
        second = dict(s)
        want = dict(zip(r.ids, .3*scale(r.scores.astype(float))+.7*scale(np.array([second[d] for d in r.ids], float))))
        assert set(f.ids)==set(r.ids)
        np.testing.assert_allclose([x for _,x in f], [want[d] for d in f.ids], atol=1e-5)
        assert (np.diff([x for _,x in f])<=0).all()
