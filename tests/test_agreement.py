"Agreement of rankings beside scipy and the package rbo"
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from rankwb.core.runs import Run
from rankwb.evaluation.agreement import agreement

lists = st.lists(st.integers(0, 30), min_size=1, max_size=25, unique=True)

def run(lists): return Run.from_dict({f'q{i}': {f'd{o}': float(len(l)-n) for n,o in enumerate(l)} for i,l in enumerate(lists)})

@settings(deadline=None, max_examples=200)
@given(lists, lists, st.sampled_from([.5,.9,.98]))
def test_equals_the_package(a, b, p):
    rbo = pytest.importorskip('rbo')
    found = agreement(run([a]), run([b]), p=p).per_query['rbo']['q0']
    assert found==pytest.approx(rbo.RankingSimilarity(a, b).rbo_ext(p=p), abs=1e-9)

@settings(deadline=None, max_examples=100)
@given(lists, lists)
def test_tau(a, b):
    from scipy.stats import kendalltau
    both = [o for o in a if o in b]
    found = agreement(run([a]), run([b])).per_query['tau']['q0']
    if len(both)<2: assert np.isnan(found)
    else: assert found==pytest.approx(kendalltau(range(len(both)), [b.index(o) for o in both]).statistic)

def test_several_queries_are_each_alone():
    rng = np.random.default_rng(0)
    A,B = ([rng.permutation(40)[:rng.integers(1, 30)].tolist() for _ in range(20)] for _ in range(2))
    together = agreement(run(A), run(B)).per_query
    for i,(a,b) in enumerate(zip(A, B)):
        for k,v in agreement(run([a]), run([b])).per_query.items(): assert together[k][f'q{i}']==pytest.approx(v['q0'], nan_ok=True)
