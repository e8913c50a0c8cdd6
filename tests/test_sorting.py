"The sorting algorithms against the truth, against the code of the setwise paper, and against those who contradict themselves"
import hashlib, json, random
from collections import Counter
from math import ceil
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from rankwb.core.stages import stage_types
from rankwb.core.rounds import once, together
from rankwb.reranking.sorting import AllPairs, Bubble, Heapsort, Sampled, Sorting

ns,sizes = [1,2,5,10,19,20,21,25,30,100],[2,3,4,10,20]

def oracle(truth):
    "Prefers the best; where several are, all of them alike"
    def prefer(places):
        best = [truth[p]==max(truth[q] for q in places) for p in places]
        return [b/sum(best) for b in best]
    return prefer

def contrary(seed):
    "Says what it says for no reason, and the same each time"
    def prefer(places):
        known = sorted(places)
        h = int(hashlib.sha256(f'{seed} {known}'.encode()).hexdigest(), 16)
        if len(known)==2 and h%3==2: return [.5,.5]
        return [float(p==known[h%3 if len(known)==2 else h%len(known)]) for p in places]
    return prefer

def asked(rounds): return [c for r in rounds for c in r]
def by_worth(truth): return sorted(range(len(truth)), key=lambda i: -truth[i]) # stable
def top(truth, k):
    best = by_worth(truth)[:k]
    return [*best, *(i for i in range(len(truth)) if i not in best)]

@pytest.mark.parametrize('n', ns)
@pytest.mark.parametrize('distinct', [True, False])
def test_truth(n, distinct):
    "With an oracle: exactly the order on paper, equal documents in their old order, comparisons as the formula says"
    rng = random.Random(n)
    truth = rng.sample(range(n), n) if distinct else [rng.randrange(1+n//3) for _ in range(n)]
    order,rounds = AllPairs().play(n, oracle(truth))
    assert order==by_worth(truth) and len(asked(rounds))==n*(n-1)//2==AllPairs().most(n) and len(rounds)==(n>1)
    assert Sampled(n*n).play(n, oracle(truth))[0]==by_worth(truth)
    for k in {1,3,10,n}:
        for size in sizes:
            order,rounds = Heapsort(k).play(n, oracle(truth), size)
            assert order==top(truth, k) and len(asked(rounds))<=Heapsort(k).most(n, size)
            order,rounds = Bubble(k).play(n, oracle(truth), size)
            assert order==top(truth, k)
            assert len(asked(rounds))==Bubble(k).most(n, size)==sum(ceil((n-1-i)/(size-1)) for i in range(min(k, n)))
            if size==2: assert len(rounds)==max(0, n-1+min(k, n-1)-1)

@pytest.mark.parametrize('n', ns)
@pytest.mark.parametrize('k', [1, 10])
def test_worst_case(n, k):
    "The bound for a heap is reached: by one who always prefers what was not ahead, so that everything sinks to a leaf"
    last = lambda places: [*[0.]*(len(places)-1), 1.]
    for size in (2,3,4):
        made = len(asked(Heapsort(k, stable=False).play(n, last, size)[1]))
        assert made<=Heapsort(k).most(n, size)
    full = {7:(2,3), 15:(2,3), 13:(4,)} # heaps whose levels are all full
    for m,fit in full.items():
        for size in fit: assert len(asked(Heapsort(1, stable=False).play(m, last, size)[1]))==Heapsort(1).most(m, size)

rows = json.loads((Path(__file__).parent/'llm_rankers.json').read_text())['rows']

@pytest.mark.parametrize('row', rows, ids=lambda r: ' '.join(map(str, r[:4])))
def test_as_llm_rankers(row):
    "The order and the number of comparisons that github.com/ielab/llm-rankers has with the same contrary comparator"
    kind,size,n,k,calls,expected = row
    algorithm = dict(heap=Heapsort(k, stable=False), bubble=Bubble(k, stable=False), all=AllPairs())[kind]
    order,rounds = algorithm.play(n, contrary(n), size)
    made = asked(rounds)
    if kind=='bubble': made = {tuple(sorted(c)) if size==2 else c for c in made} # it goes on where a pass found something to change; here nothing is asked twice
    assert len(made)==calls
    if kind!='all': assert order[:k]==expected
    else: # equal sums are in no particular order there
        wins = Counter()
        for i,j in made:
            p,q = contrary(n)((i,j))
            wins[i] += p
            wins[j] += q
        assert [wins[i] for i in order]==[wins[i] for i in expected]==sorted(wins.values(), reverse=True)

algorithms = st.one_of(st.just(AllPairs()), st.builds(Heapsort, st.integers(1, 12), st.booleans()), st.builds(Bubble, st.integers(1, 12), st.booleans()),
                       st.builds(Sampled, st.integers(1, 80), st.integers(0, 5)))

@settings(max_examples=150, deadline=None)
@given(algorithms, st.integers(0, 12), st.integers(2, 6), st.randoms(use_true_random=False))
def test_nothing_is_lost(algorithm, n, size, rng):
    "Whatever the answers are, and if they change from one time to the next"
    def moody(places): return [rng.random() for _ in places]
    order,rounds = algorithm.play(n, moody, size)
    assert sorted(order)==list(range(n))
    assert len(asked(rounds))<=algorithm.most(n, size)
    for r in rounds:
        assert r, 'a round without a question'
        for c in r: assert 2<=len(c)<=size and len(set(c))==len(c) and set(c)<=set(range(n))

@settings(max_examples=60, deadline=None)
@given(algorithms, st.integers(0, 40), st.integers(2, 6))
def test_nothing_said_nothing_moved(algorithm, n, size):
    "Ties everywhere, or always the first: the old order"
    if not getattr(algorithm, 'stable', True): return
    assert algorithm.play(n, lambda places: [1/len(places)]*len(places), size)[0]==list(range(n))
    if not isinstance(algorithm, Sampled): assert algorithm.play(n, lambda places: [1.]+[0.]*(len(places)-1), size)[0]==list(range(n))

@pytest.mark.parametrize('size', [2,3,5])
def test_rounds_are_independent(size):
    "What is asked in a round shares no document, where the answer moves one"
    for algorithm in (Heapsort(10), Bubble(10)):
        for r in algorithm.play(60, contrary(3), size)[1]:
            used = [p for c in r for p in c]
            assert len(used)==len(set(used))

@pytest.mark.parametrize('n', [2,5,9,10,50])
@pytest.mark.parametrize('pairs', [1,7,45,100])
def test_sample(n, pairs):
    "No pair twice, no document in more than two more pairs than another; reported as it is"
    drawn = Sampled(pairs, seed=3).drawn(n)
    each = Counter({i: 0 for i in range(n)})
    each.update(p for pair in drawn for p in pair)
    assert len(set(drawn))==len(drawn)==min(pairs, n*(n-1)//2) and all(i<j for i,j in drawn)
    assert max(each.values())-min(each.values())<=2
    assert Sampled(pairs, seed=3).report(n)==dict(documents=n, pairs=len(drawn), of=n*(n-1)//2, least=min(each.values()), most=max(each.values()), seed=3)

def test_sample_is_the_same_for_ever():
    assert Sampled(6, seed=1).drawn(6)==[(0,3),(3,5),(4,5),(2,4),(1,2),(0,1)] # random() of Python is the same in every version
    n,seen = 8,Counter(p for seed in range(600) for p in Sampled(8, seed).drawn(8))
    assert len(seen)==28 and max(seen.values())<1.3*min(seen.values()), 'some pairs are drawn more often than others'

def test_graded_sums_are_exact():
    "Duplicates have equal sums, in whatever order their terms come"
    strength = [.1,.7,.30000000000000004,.7,.2,.7,.1]
    def prefer(places):
        a,b = (strength[p] for p in places)
        return (.5,.5) if a==b else (a/(a+b), 1-a/(a+b))
    assert AllPairs().play(7, prefer)[0]==by_worth(strength)

@pytest.mark.parametrize('o', [AllPairs(), Heapsort(), Heapsort(3, stable=False), Bubble(4), Bubble(stable=False), Sampled(9), Sampled(9, seed=2)], ids=repr)
def test_text(o):
    assert Sorting.of(repr(o))==o and eval(repr(o), dict(stage_types))==o and Sorting.of(o) is o
    assert o.digest==Sorting.of(repr(o)).digest

def test_of():
    assert len({o.digest for o in (AllPairs(), Heapsort(), Heapsort(9), Heapsort(stable=False), Bubble(), Bubble(9), Sampled(9), Sampled(9, 1))})==8
    assert Sorting.of('AllPairs')==AllPairs()
    for bad,error in (('Heapsrot(3)',ValueError), ('Heapsort(',ValueError), ('Heapsort(0)',ValueError), ('Heapsort(x)',ValueError), (None,TypeError), (3,TypeError)):
        with pytest.raises(error): Sorting.of(bad)
    for make in (lambda: Heapsort(True), lambda: Bubble(2.), lambda: Sampled(0), lambda: Bubble('3')):
        with pytest.raises(ValueError, match='expected an integer of at least 1'): make()

def test_together_and_once():
    def count(n):
        total = 0
        for i in range(n): total += sum((yield [i, n]))
        return total
    def run(work):
        answers,seen = None,[]
        while True:
            try: seen.append(work.send(answers))
            except StopIteration as e: return e.value,seen
            answers = [10*q for q in seen[-1]]
    assert run(together(map(count, [0,2,1])))==([0,50,10], [[0,2,0,1],[1,2]])
    assert run(once(count(3)))==(120, [[0,3],[1],[2]])
    assert run(once(together(map(count, [2,2]))))==([50,50], [[0,2],[1]])
