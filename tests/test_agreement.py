"Agreement of rankings beside scipy and what the package rbo gives"
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from rankwb.core.runs import Run
from rankwb.evaluation.agreement import agreement

lists = st.lists(st.integers(0, 30), min_size=1, max_size=25, unique=True)

def run(lists): return Run.from_dict({f'q{i}': {f'd{o}': float(len(l)-n) for n,o in enumerate(l)} for i,l in enumerate(lists)})

# Two lists, p, and RankingSimilarity(a, b).rbo_ext(p) of the package rbo 0.1.3, which wants numpy below 2
recorded = [
    ([27,12,24,28,13], [1,8,16,15,12], .9, 0.13122),
    ([29,25,26,9,15,11,18,6], [16,4,9], .9, 0.108567627),
    ([4,24,3], [19,25,8,17,22,29,4,9], .5, 0.002092634),
    ([3,23,2,21,10,15,17,29,11,13,25,6,28,24,14,20,8,4,0,16], [29,0,2,23,12,22,21,20,28,19,15,10,7,18,27,3,9,14,25,24,8,17,1,26,16], .98, 0.651653637),
    ([28], [16,15,3,9,17,26], .9, 0.),
    ([22,3,17,10,27,6,19,25,18,9,14,2], [19,25,12,10,18,7,9,5,6,22,1,8], .7, 0.102892933),
    ([1,2,3,4,5], [2,1,3,7], .9, 0.71775)]

@pytest.mark.parametrize('a,b,p,rbo', recorded)
def test_equals_the_package(a, b, p, rbo):
    for x,y in ((a,b),(b,a)): assert agreement(run([x]), run([y]), p=p).per_query['rbo']['q0']==pytest.approx(rbo, abs=1e-8)

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
