"Every algorithm for windows with a model that is always right, and with one that says anything: the order and the calls of the papers, nothing lost"
import random
from itertools import permutations
from math import ceil

import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from rankwb.core.rounds import rounds
from rankwb.core.stages import stage_types
from rankwb.reranking.consistency import PermutationSelfConsistency, borda, centres, contradictions, kemeny, reciprocal
from rankwb.reranking.windows import Full, Sliding, TopDown, Tournament, Windows

sizes = (1,2,5,10,19,20,21,25,30,100)
algorithms = [Sliding(), Sliding(20, 10, passes=3), Sliding(10, 5), Sliding(4, 4), Sliding(7, 3), Full(), TopDown(), TopDown(together=True), TopDown(10, 5, budget=25),
              TopDown(6, 1, budget=1), Tournament(), Tournament(winners=1), Tournament(8, 3, k=4), PermutationSelfConsistency(Sliding(), m=3), PermutationSelfConsistency(TopDown(), m=4, by='borda'),
              PermutationSelfConsistency(Full(), m=2, by='rrf', seed=5)]

def shuffled(n, seed=0): return random.Random(seed*1000+n).sample(range(n), n)

def near(n, seed=0):
    "A right order that is not far from the one of the first stage"
    rng = random.Random(seed)
    return sorted(range(n), key=lambda p: p+rng.gauss(0, n/8))

def on_paper(right, window, step, passes=1):
    "The loop of the paper of RankGPT, for any number of documents: the order, and the windows that it sees"
    rank,order,seen = {p: i for i,p in enumerate(right)},list(range(len(right))),[]
    if len(right)<2: return order,seen
    for _ in range(passes):
        end = len(right)
        while True:
            start = max(0, end-window)
            seen.append(tuple(order[start:end]))
            order[start:end] = sorted(order[start:end], key=rank.get)
            if start==0: break
            end -= step
    return order,seen

@pytest.mark.parametrize('n', sizes)
@pytest.mark.parametrize('window,step,passes', [(20,10,1), (20,10,3), (10,5,1), (20,5,1), (4,4,2), (3,1,1)])
def test_sliding_is_the_loop_of_the_paper(n, window, step, passes):
    right = shuffled(n)
    found = Sliding(window, step, passes).rehearse(right)
    order,seen = on_paper(right, window, step, passes)
    assert list(found.order)==order and [w for r in found.rounds for w in r]==seen
    assert found.calls==Sliding(window, step, passes).calls(n)==(0 if n<2 else passes*(1+ceil(max(0, n-window)/step)))
    assert order[:passes*(window-step)]==right[:passes*(window-step)]

def test_the_counts_that_rank_llm_pins_and_the_one_it_misses():
    assert [Sliding(20, 10).calls(n) for n in (25,30,8,40,100)]==[2,2,1,3,9]
    assert Sliding(20, 10).calls(10)==1 and Sliding(20, 10).rehearse(shuffled(10)).order==tuple(shuffled(10))

@pytest.mark.parametrize('n', sizes)
@pytest.mark.parametrize('algorithm', algorithms, ids=repr)
def test_with_a_model_that_is_right(algorithm, n):
    for right in (shuffled(n), near(n), list(range(n)), list(range(n))[::-1]):
        found = algorithm.rehearse(right)
        assert sorted(found.order)==list(range(n))
        assert (found.calls==0)==(n<2)
        assert all(0<=p<n for r in found.rounds for w in r for p in w)
        if hasattr(algorithm, 'calls') and not isinstance(getattr(algorithm, 'of', None), TopDown): assert found.calls==algorithm.calls(n)

@pytest.mark.parametrize('n', sizes)
@pytest.mark.parametrize('algorithm,top', [(Sliding(), 10), (Full(), 100), (TopDown(budget=100), 10), (TopDown(budget=100, together=True), 10), (TopDown(12, 3, budget=100), 3), (Tournament(), 10), (Tournament(winners=1, k=3), 3),
                                           (PermutationSelfConsistency(Sliding(), m=3), 10), (PermutationSelfConsistency(Full(), m=5, by='borda'), 100)], ids=repr)
def test_the_best_are_at_the_top(algorithm, top, n):
    for seed in range(3): assert list(algorithm.rehearse(shuffled(n, seed)).order[:top])==shuffled(n, seed)[:top]

@given(st.sampled_from(algorithms), st.integers(0, 40), st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_with_a_model_that_says_anything(algorithm, n, seed):
    rng = random.Random(seed)
    [order] = rounds([algorithm.order(n)], lambda asked: [tuple(rng.sample(w, len(w))) for _,w in asked])
    assert sorted(order)==list(range(n))

def partitioned(right, places, window, k, budget):
    "Top-down partitioning as the paper says it, by recursion"
    best = lambda some: sorted(some, key=right.index)
    first,rest = best(places[:window]),places[window:]
    if len(first)<window: return first
    above,pivot,below = first[:k-1],first[k-1],first[k:]
    while rest and len(above)<budget:
        part,rest = best([pivot, *rest[:window-1]]),rest[window-1:]
        above,below = above+part[:part.index(pivot)],below+part[part.index(pivot)+1:]
    if len(above)==k-1: return [*above, pivot, *below, *rest]
    return [*partitioned(right, above[:budget], window, k, budget), *above[budget:], pivot, *below, *rest]

@pytest.mark.parametrize('n', sizes)
@pytest.mark.parametrize('window,k,budget', [(20,10,20), (10,5,10), (10,5,25), (20,2,20), (5,4,30)])
def test_top_down_is_the_recursion_of_the_paper(n, window, k, budget):
    for right in (shuffled(n), near(n), list(range(n))):
        assert list(TopDown(window, k, budget).rehearse(right).order)==partitioned(right, list(range(n)), window, k, budget)

def test_what_the_code_of_the_authors_of_tdpart_gives():
    right = [4,0,12,2,3,16,17,5,1,7,18,9,11,10,6,19,8,23,14,15,13,21,26,20,30,31,22,24,25,32,37,46,43,33,36,28,40,38,35,29,34,52,27,49,41,44,47,42,48,59,39,51,50,45,58,54,53,57,55,56]
    theirs = [4,0,12,2,3,16,17,5,1,7,9,6,8,18,11,10,14,15,13,19,23,21,26,20,22,24,25,27,30,31,32,33,36,28,35,29,34,37,43,40,38,41,44,42,39,45,46,52,49,47,48,51,50,54,53,59,58,57,55,56]
    found = TopDown(window=10, k=5, budget=10).rehearse(right)
    assert list(found.order)==theirs and found.calls==8

@pytest.mark.parametrize('n', sizes)
def test_partitions_of_top_down_are_one_batch(n):
    right = near(n)
    found = TopDown(together=True).rehearse(right)
    after = any(p>19 for p in right[:10])
    assert found.calls==(0 if n<2 else 1+ceil(max(0, n-20)/19)+after) and len(found.rounds)==(n>1)+(n>20)+after

@pytest.mark.parametrize('n,seed,best,calls', [(26, 1, [4,18,2,8,3,15,14,20,12,6], 48), (47, 2, [3,5,45,23,10,19,16,38,13,2], 64)])
def test_what_the_code_of_the_authors_of_listt5_gives(n, seed, best, calls):
    found = Tournament().rehearse(random.Random(seed).sample(range(n), n))
    assert list(found.order)==[*best, *(p for p in range(n) if p not in best)] and found.calls==calls

def test_windows_of_a_tournament():
    assert all(len(w)==5 and list(w)==sorted(w) for r in Tournament().rehearse(shuffled(47)).rounds for w in r)
    asked = [frozenset(w) for r in Tournament().rehearse(shuffled(100)).rounds for w in r]
    assert len(asked)==len(set(asked))
    assert Tournament().rehearse([1,0]).rounds==(((0,0,0,1,1),),)

# the smallest distance, as the integer programme of the paper's own package finds it
@pytest.mark.parametrize('seed,least', list(enumerate((266,258,254,243))))
def test_kemeny_is_as_near_as_the_authors_of_permutation_self_consistency_get(seed, least):
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(16), (6,1)), axis=1)
    assert contradictions(kemeny(orders), orders)==least<=contradictions(kemeny(orders, exact=0), orders)<=contradictions(borda(orders), orders)

@given(st.integers(1, 6), st.integers(1, 7), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_kemeny_is_the_nearest_of_all_orders(n, m, seed):
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(n), (m,1)), axis=1)
    assert contradictions(kemeny(orders), orders)==min(contradictions(o, orders) for o in permutations(range(n)))

def test_a_large_knot_is_a_permutation():
    orders = np.random.default_rng(3).permuted(np.tile(np.arange(60), (5,1)), axis=1)
    assert sorted(kemeny(orders))==list(range(60))

@pytest.mark.parametrize('by', centres)
def test_answers_that_agree_are_the_answer(by):
    right = shuffled(30)
    assert centres[by]([right]*5)==right
    assert sorted(centres[by]([shuffled(9, s) for s in range(4)]))==list(range(9))

def test_equal_means_keep_the_old_order():
    assert borda([[0,1,2],[2,1,0]])==reciprocal([[1,0],[0,1]])+[2]==[0,1,2]

def test_reciprocal_ranks_begin_after_sixty():
    one,two = [0,2,3,1,4,5,6,7,8,9],[2,3,4,1,5,6,7,8,9,0] # of the first ranks 1 and 10, of the second 4 and 4: 1/61+1/70 < 2/64, and 1/1+1/10 > 2/4
    found = reciprocal([one, two])
    assert found.index(1)<found.index(0)

def test_shuffles_come_from_the_seed_alone():
    asked = lambda seed: PermutationSelfConsistency(Full(), m=3, seed=seed).rehearse(range(12)).rounds
    assert asked(1)==asked(1)!=asked(2)
    assert len(asked(1))==1 and len(set(asked(1)[0]))==3

@pytest.mark.parametrize('algorithm', [*algorithms, PermutationSelfConsistency()], ids=repr)
def test_what_is_printed_makes_it_again(algorithm):
    again = eval(repr(algorithm), dict(stage_types))
    assert again==algorithm and again.digest==algorithm.digest and hash(again)==hash(algorithm)

def test_digests_tell_what_differs():
    some = [*algorithms, Sliding(21), Sliding(20, 9), TopDown(budget=21), Tournament(dummy=20), PermutationSelfConsistency(Sliding(20, 9), m=3), PermutationSelfConsistency(Sliding(), m=3, seed=1)]
    assert len({a.digest for a in some})==len(some)

@pytest.mark.parametrize('make', [lambda: Sliding(1), lambda: Sliding(20, 21), lambda: Sliding(20, 0), lambda: Sliding(20, 10, 0), lambda: Sliding(20.), lambda: TopDown(10, 10), lambda: TopDown(budget=9), lambda: TopDown(k=0),
                                  lambda: Tournament(5, 3), lambda: Tournament(k=0), lambda: PermutationSelfConsistency(m=0), lambda: PermutationSelfConsistency(by='mean'), lambda: PermutationSelfConsistency(seed=-1), lambda: PermutationSelfConsistency(Sliding(True))])
def test_fields_that_make_no_sense(make):
    with pytest.raises(ValueError, match='expected'): make()

def test_what_is_no_algorithm():
    with pytest.raises(TypeError, match='expected an algorithm'): PermutationSelfConsistency('sliding')
    with pytest.raises(TypeError, match='lacks order'): Windows().order(3)
