"Diagnosis of readers: identities that must hold whatever the reader does"
import warnings
from itertools import permutations
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from rankwb.core.answers import Answer, Answers, Passage
from rankwb.core.data import Collection
from rankwb.core.llm import Scripted
from rankwb.core.saying import Failure
from rankwb.core.qrels import Qrels
from rankwb.core.rankings import Run
from rankwb.core.records import Docs, Queries
from rankwb.core.traces import Call, Trace
from rankwb.evaluation.evaluate import evaluate
from rankwb.rag.context import Context
from rankwb.rag.cost import Weighed, frontier, pareto, risk_coverage
from rankwb.rag.depth import bounds, depth_sweep, overlaid, strangers
from rankwb.rag.direct import ClosedBook, Direct
from rankwb.rag.influence import Variant, influence, prefixes, run_of, sampled, shapley
from rankwb.rag.outcomes import cells, outcomes
from rankwb.rag.position import evidence, falsified, noise, noises, position
from rankwb.retrieval.bm25 import BM25

quick = settings(max_examples=15, deadline=None)
ids = ['1','007','doc1','a b','é','x · y','x'*300,'1234567890','<b>q</b>']
pytestmark = pytest.mark.filterwarnings('ignore:.*got no answer:UserWarning')

def shown(messages):
    "Which of the facts 1, 2, … stand in a prompt, as a set of bits"
    text = messages[-1]['content'].rpartition('Question:')[0]
    return sum(1<<j for j in range(12) if f'Fact {j+1}.' in text)

def asked(messages): return messages[-1]['content'].rpartition('Question:')[2].removesuffix('Answer:').strip()

def facts(k): return tuple(Passage(f'p{j+1}', f'Fact {j+1}.', score=float(k-j)) for j in range(k))
def one(k, q='q'): return run_of([Variant(q, 'Which?', 'v', facts(k))])
def game(s): return Direct(Scripted(says=lambda m: 'yes' if s[shown(m)] else 'no'))

class Counting(Scripted):
    batches = []
    def _generate(self, items, **how):
        self.batches.append(len(items))
        yield from super()._generate(items, **how)

def priced(texts, cost=.001, about=lambda i: {}):
    return Answers([Answer(f'q{i}', '?', t, '' if t is not None else 'lost', calls=Trace([Call(f'q{i}', 1, 'answer', '', t or '', cost=cost)]), about=about(i)) for i,t in enumerate(texts)])

# outcomes

@quick
@given(st.lists(st.tuples(st.sampled_from(['yes','no',None]), st.booleans()), min_size=1, max_size=12))
def test_every_question_is_in_one_outcome(told):
    p = Passage('p', 'It is a yes.')
    answers = Answers(Answer(f'q{i}', '?', t, '' if t else 'lost', found=(p,), shown=('p',) if e else ()) for i,(t,e) in enumerate(told))
    o = outcomes(answers, {f'q{i}': 'yes' for i in range(len(told))})
    name = lambda t, e: 'unanswered' if t is None else {('yes',True):'grounded', ('yes',False):'parametric', ('no',True):'missed', ('no',False):'absent'}[t,e]
    assert o.cell==tuple(name(*x) for x in told)
    assert sum(o.counts.values())==len(told)==len(o) and set(o.counts)==set(cells)
    assert sum(len(o[c]) for c in cells)==len(told)

@quick
@given(st.lists(st.tuples(*[st.sampled_from(['yes','no',None])]*2), min_size=2, max_size=30))
def test_changes_are_those_of_mcnemar(told):
    from statsmodels.stats.contingency_tables import mcnemar
    golds = {f'q{i}': 'yes' for i in range(len(told))}
    a,b = (outcomes(priced([t[i] for t in told]), golds) for i in (0,1))
    c,back = a.against(b),b.against(a)
    assert (c.helps,c.hurts,c.both,c.neither)==(back.hurts,back.helps,back.both,back.neither)
    assert sum(map(len, (c.helps,c.hurts,c.both,c.neither,c.apart)))==len(told)
    assert len(c.apart)==sum(None in t for t in told)
    n = [[len(c.both),len(c.hurts)],[len(c.helps),len(c.neither)]]
    if len(c.helps)+len(c.hurts): assert c.p==pytest.approx(min(1, mcnemar(n, exact=True).pvalue))
    else: assert c.p==1

def test_what_is_not_known_is_in_no_cell():
    answers,golds = priced(['yes','no','yes']),dict(q0='yes', q2='yes')
    with pytest.warns(UserWarning, match='have no gold answers'): o = outcomes(answers, golds)
    assert o.query_ids==('q0','q2')
    docs = Docs.from_records([dict(id='d', text='t')])
    judged = Collection(docs, Queries.from_dict({f'q{i}': '?' for i in range(3)}), Qrels.from_dict(dict(q0=dict(d=1), q1=dict(d=1), q2=dict(d=1))), golds)
    o = outcomes(answers, judged, evidence='ContextRecall')
    assert (set(o.query_ids),o.unknown)==({'q0','q2'},('q1',))
    with pytest.raises(ValueError, match='different questions'): o.against(outcomes(priced(['yes']), dict(q0='yes')))

def test_what_has_no_answer_is_refused_or_invented():
    "As SQuAD 2 counts: a refusal is right and an answer wrong, whatever counts as evidence; an answer that is lost is neither"
    p = Passage('p', 'It is a yes.')
    texts = dict(right='yes', wrong='no', refuses='unknown', silent='', invents='yes', lost=None)
    answers = Answers(Answer(q, '?', t, '' if t is not None else 'lost', found=(p,), shown=('p',)) for q,t in texts.items())
    golds = dict(right='yes', wrong=['yes'], refuses=[''], silent='', invents=('',), lost='')
    judged = Collection(Docs.from_records([dict(id='p', text=p.text)]), Queries.from_dict(dict.fromkeys(texts, '?')), Qrels.from_dict({q: dict(p=1) for q in texts}), {q: (g,) if isinstance(g, str) else tuple(g) for q,g in golds.items()})
    for measure in ('Contains','EM',"F1(rule='squad2')"):
        for known,evidence in ((golds,'HasEvidence'), (judged,'HasEvidence'), (judged,'ContextRecall')):
            o = outcomes(answers, known, measure, evidence)
            assert dict(zip(o.query_ids, o.cell))==dict(right='grounded', wrong='missed', refuses='refused', silent='refused', invents='invented', lost='unanswered') and o.unknown==()
    assert o['refused'].query_ids.to_pylist()==['refuses','silent'] and '3 of 6 have no answer that could be found and are in no cell: 2 were refused, which is right, and 1 were answered all the same' in o._repr_html_()
    assert o.plot().data[list(cells)].sum(axis=1).tolist()==pytest.approx([1.]) and o.to_pandas()['outcome'].tolist()==list(o.cell)
    before = outcomes(Answers(Answer(q, '?', 'yes', found=(p,), shown=('p',)) for q in texts), golds, 'EM')
    c = outcomes(answers, golds, 'EM').against(before)
    assert (c.helps,c.hurts,c.both,c.neither,c.apart)==(('refuses','silent'),('wrong',),('right',),('invents',),('lost',))

# influence

@quick
@given(st.integers(1, 4).flatmap(lambda k: st.lists(st.booleans(), min_size=2**k, max_size=2**k)))
def test_shapley_is_the_mean_over_all_orders(s):
    k = len(s).bit_length()-1
    o = influence(game(s), one(k), {'q · v': 'yes'}, 'EM')
    v,D = np.array(s, float),2**k-1
    orders = np.array(list(permutations(range(k))))
    added = np.array([[v[sum(1<<i for i in r[:r.tolist().index(j)+1])]-v[sum(1<<i for i in r[:r.tolist().index(j)])] for j in range(k)] for r in orders])
    assert o.shapley[0]==pytest.approx(added.mean(0))
    assert o.shapley[0].sum()==pytest.approx(v[D]-v[0]) and (o.everything[0],o.nothing[0])==(v[D],v[0])
    assert o.leave[0].tolist()==[v[D]-v[D-(1<<j)] for j in range(k)]
    assert o.keep[0].tolist()==[v[1<<j]-v[0] for j in range(k)]
    assert sampled(dict(enumerate(v.tolist())), orders)[0]==pytest.approx(added.mean(0))

@quick
@given(st.lists(st.booleans(), min_size=32, max_size=32), st.integers(0, 99))
def test_orders_that_are_drawn_sum_to_the_whole(s, seed):
    o = influence(game(s), one(5), {'q · v': 'yes'}, 'EM', exact=4, n=6, seed=seed)
    assert o.shapley[0].sum()==pytest.approx(float(s[31])-float(s[0]))
    again = influence(game(s), one(5), {'q · v': 'yes'}, 'EM', exact=4, n=6, seed=seed)
    assert again.shapley[0].tolist()==o.shapley[0].tolist() and again.answers==o.answers

@given(st.lists(st.floats(-1, 1), min_size=3, max_size=6))
def test_values_that_add_up_are_found_again(w):
    k = len(w)
    s = {S: sum(x for j,x in enumerate(w) if S>>j&1) for S in range(2**k)}
    assert shapley(s, k)==pytest.approx(w, abs=1e-12)
    values,error = sampled(s, np.array([np.random.default_rng(i).permutation(k) for i in range(5)]))
    assert values==pytest.approx(w, abs=1e-12) and error==pytest.approx(0, abs=1e-9)

def test_the_textbook_reader():
    o = influence(Direct(Scripted(says=lambda m: 'yes' if shown(m)>>2&1 else 'no')), one(5), {'q · v': 'yes'}, 'EM')
    for worth in (o.leave, o.keep, o.shapley): assert worth[0]==pytest.approx([0,0,1,0,0])
    assert prefixes(np.array([[1,0]])).tolist()==[[0,2,3]]

def test_a_set_without_an_answer_is_no_zero():
    says = lambda m: Failure('down') if shown(m)==0b011 else 'yes'
    o = influence(Direct(Scripted(says=says)), one(3), {'q · v': 'yes'}, 'EM')
    assert np.isnan(o.leave[0]).tolist()==[False,False,True] and not np.isnan(o.keep[0]).any() and np.isnan(o.shapley[0]).all()
    o._repr_html_(), o.plot()

def test_own_answer_that_is_lost_leaves_nothing_to_hang_on():
    says = lambda m: Failure('down') if shown(m)==0b11 else 'yes'
    two = run_of([Variant('q', 'Which?', 'v', facts(2)), Variant('r', 'Who?', 'v', facts(1))])
    o = influence(Direct(Scripted(says=says)), two, measure='EM')
    assert np.isnan(o.shapley[0]).all() and o.shapley[1].tolist()==[0]

@pytest.mark.parametrize('q', ids)
def test_ids_survive(q):
    run = Run.from_dict({q: dict(p1=2, p2=1)}, queries=Queries.from_dict({q: 'Which?'}), docs=Docs.from_records([dict(id='p1', text='Fact 1.'), dict(id='p2', text='Fact 2.')]))
    o = influence(game([0,1,0,1]), run, {q: 'yes'}, 'EM')
    assert o.query_ids==(q,) and o.shapley[0].tolist()==[1,0] and len(o.of(q))==4
    assert '<b>' not in o._repr_html_().replace('<b style', '')
    assert depth_sweep(game([0,1,0,1]), run, {q: 'yes'}, 'EM', ks=(0,1)).query_ids==(q,)

def test_variants_refuse_what_cannot_be():
    with pytest.raises(ValueError, match='different texts'): run_of([Variant('q', '?', 'v', (Passage('p', 'a'),)), Variant('q', '?', 'w', (Passage('p', 'b'),))])
    with pytest.raises(TypeError, match='expected a reader'): influence(BM25(Docs.from_records([dict(id='a', text='b')])), one(2))
    with pytest.raises(TypeError, match='takes questions, so that nobody can show it other passages'): influence(ClosedBook(Scripted(says=str)), one(2))
    with pytest.raises(ValueError, match='at least 2'): influence(game([1]), one(2), {'q · v': 'yes'}, exact=1, n=1)
    with pytest.raises(ValueError, match='at most 60'): influence(game([1]), one(61), {'q · v': 'yes'})
    with pytest.raises(ValueError, match='no question has passages'): influence(game([1]), one(2), dict(other='yes'))

def test_scores_that_fall_are_kept():
    assert run_of([Variant('q', '?', 'v', facts(3))]).scores.tolist()==[3,2,1]
    assert run_of([Variant('q', '?', 'v', facts(3)[::-1])]).scores.tolist()==pytest.approx([1,1/2,1/3])

# a world of facts

def world(n=6, noise=40):
    names = [f'q{i}' for i in range(n)]
    docs = Docs.from_records([dict(id=f'gold{i}', text=f'Answer{i} it is.') for i in range(n)]+[dict(id=f'x{i}', text=f'Bread {i}.') for i in range(noise)])
    return Collection(docs, Queries.from_dict({q: f'Which, {q}?' for q in names}), Qrels.from_dict({q: {f'gold{i}': 1} for i,q in enumerate(names)}), {q: f'Answer{i}' for i,q in enumerate(names)}, 'facts')

def ranked(c, places, k=8):
    "The gold document of question i at places[i], or nowhere"
    def order(i, at):
        rest = [f'x{j}' for j in range(k)]
        return rest if at is None else [*rest[:at], f'gold{i}', *rest[at:]]
    return Run.from_dict({f'q{i}': {d: -float(r) for r,d in enumerate(order(i, at))} for i,at in enumerate(places)}, queries=c.queries, docs=c.docs)

def finds(messages):
    i = asked(messages).removeprefix('Which, q').removesuffix('?')
    return f'Answer{i}' if f'Answer{i} it' in messages[-1]['content'] else 'no idea'

@quick
@given(st.lists(st.none()|st.integers(0, 6), min_size=6, max_size=6))
def test_depth_finds_the_place(places):
    c = world()
    run,ks = ranked(c, places),(0,1,2,3,5,7)
    o = depth_sweep(Direct(Scripted(says=finds)), run, c, 'EM HasEvidence Calls', ks=ks)
    assert o.series['EM'].tolist()==[[float(at is not None and at<k) for at in places] for k in ks]==o.series['HasEvidence'].tolist()
    assert (np.diff(o.series['HasEvidence'], axis=0)>=0).all() and (o.series['Calls']==1).all()
    for i,k in enumerate(ks[1:], 1): assert o.series['EM'][i].tolist()==evaluate(Direct(Scripted(says=finds))(run % k), c, 'EM').values[0].tolist()

def test_nothing_shown_is_the_closed_book():
    c = world()
    lm = Scripted(says=lambda m: f'Answer{len(asked(m)) % 6}')
    o = depth_sweep(Direct(lm, prompt='closed'), ranked(c, [0]*6), c, 'EM', ks=(0,))
    assert [a.text for a in o.answers]==[a.text for a in ClosedBook(lm)(c.queries)]

@quick
@given(st.lists(st.none()|st.integers(0, 6), min_size=6, max_size=6), st.lists(st.integers(0, 2), min_size=6, max_size=6))
def test_steps_sum_to_one(places, reads):
    c = world()
    def says(m):
        i = int(asked(m).removeprefix('Which, q').removesuffix('?'))
        return f'Answer{i}' if reads[i]==2 else finds(m) if reads[i]==1 else 'no idea'
    b = bounds(Direct(Scripted(says=says)), ranked(c, places) % 5, c, 'EM', closed=ClosedBook(Scripted(says=says)))
    s = b.steps
    assert sum(s[n] for n in ('by heart','retrieval','retriever gap','reader gap')).tolist()==[1]*6
    assert b.values['oracle'].tolist()==[float(r>0) for r in reads] and b.values['closed'].tolist()==[float(r==2) for r in reads]==b.values['random'].tolist()
    assert b.values['rag'].tolist()==[float(r==2 or r==1 and at is not None and at<5) for r,at in zip(reads, places)]

def test_bounds_count_what_they_leave_out():
    c = world()
    says = lambda m: Failure('down') if 'q1?' in asked(m) and 'Bread' in m[-1]['content'] else finds(m)
    b = bounds(Direct(Scripted(says=says)), ranked(c, [0,0,None,0,0,0]) % 3, c, 'EM', deeper=ranked(c, [0,0,None,0,0,0]))
    assert (b.query_ids,b.without,b.lost)==(('q0','q3','q4','q5'),('q2',),('q1',))
    assert 'q1' not in b.query_ids and '1 questions are left out: no answer' in b._repr_html_()
    with pytest.raises(ValueError, match='1 at best'): bounds(Direct(Scripted(says=finds)), ranked(c, [0]*6), c, 'TokensRead')

@given(st.integers(0, 50))
@quick
def test_strangers_are_no_evidence(seed):
    c = world(6, 12)
    judged = Collection(c.docs, c.queries, Qrels.from_dict({f'q{i}': {f'x{i}': 1, f'x{i+6}': 0} for i in range(6)}), c.answers)
    drawn = strangers(judged, c.queries.ids.to_pylist(), 16, seed)
    for i,(q,ps) in enumerate(drawn.items()):
        assert {p.id for p in ps}==set(c.docs.ids.to_pylist())-{f'gold{i}',f'x{i}'} and len(ps)==16
    assert drawn==strangers(judged, c.queries.ids.to_pylist(), 16, seed) and drawn['q3']==strangers(judged, ['q3'], 16, seed)['q3']

def test_curves_of_several_readers():
    c = world()
    run = ranked(c, [0,2,None,1,0,3])
    a,b = (depth_sweep(Direct(Scripted(says=f, name=n)), run, c, 'EM', ks=(0,1,3)) for n,f in dict(finds=finds, never=lambda m: 'no').items())
    o = overlaid(dict(a=a, b=b))
    assert o.series['a'].tolist()==a.series['EM'].tolist() and not o.series['b'].any() and set(o.about['fingerprint'])=={'a','b'}
    o._repr_html_(), o.plot()._repr_png_()
    with pytest.raises(ValueError, match='differ'): overlaid(dict(a=a, b=depth_sweep(Direct(Scripted(says=finds)), run, c, 'EM', ks=(0,1))))

# noise and position

@pytest.mark.parametrize('kind', noises)
def test_noise_around_the_evidence(kind):
    c,counts,seeds = world(),(0,1,3),(0,1)
    o = noise(Direct(Scripted(says=finds)), ranked(c, [2]*6), c, 'EM', counts, [kind], seeds)
    assert (o.series[kind]==1).all() and not o.left
    for a in o.answers:
        j = int(a.query.split(f'{kind} ')[1].split()[0])
        i = a.query.split(' · ')[0].removeprefix('q')
        assert len(a.shown)==j+1 and a.shown.count(f'gold{i}')==1
        assert sum(f'Answer{i} it' in p.text for p in a.context)==1

@given(st.integers(2, 6), st.integers(0, 9))
@quick
def test_position_puts_it_there(k, seed):
    c = world()
    first = Direct(Scripted(says=lambda m: finds([dict(m[-1], content='\n\n'.join([m[-1]['content'].split('\n\n')[0].split('\n')[0], m[-1]['content'][m[-1]['content'].index('Question:'):]]))])))
    o = position(first, ranked(c, [2]*6), c, 'EM', k=k, seeds=(seed,))
    assert o.mean('near')[:,0].tolist()==[1]+[0]*(k-1)
    for a in o.answers: assert a.shown.index(f'gold{a.query[1]}')==int(a.query.split('place ')[1].split()[0])-1 and len(a.shown)==k
    rest = {tuple(i for i in a.shown if i!='gold0') for a in o.answers if a.query.startswith('q0 ·')}
    assert len(rest)==1
    back = position(Direct(first.model, context=Context(order='reversed')), ranked(c, [2]*6), c, 'EM', k=k, seeds=(seed,))
    assert back.mean('near')[:,0].tolist()==o.mean('near')[::-1,0].tolist()

def test_noise_leaves_out_and_counts():
    c = world()
    assert set(evidence(ranked(c, [None]*6), c, c.queries.ids.to_pylist()))=={f'q{i}' for i in range(6)}
    bare = Collection(c.docs, c.queries, None, c.answers)
    assert set(evidence(ranked(bare, [None,3,None,None,0,None]), bare, list(bare.answers)))=={'q1','q4'}
    o = noise(Direct(Scripted(says=finds)), ranked(bare, [None,3,None,None,0,None]), bare, 'EM', (0,2), ['near'])
    assert (o.query_ids,o.left)==(('q1','q4'),('q0','q2','q3','q5'))
    assert '4 more are left out' in o._repr_html_()

def test_false_evidence():
    p = Passage('p', 'Rome, ROME and Romeo (Rome).', 'Rome')
    assert falsified(p, ('Rome',), r'\1', 'x').text==r'\1, \1 and Romeo (\1).'
    assert falsified(p, ('Rome',), 'Rome the second', 'x') is None and falsified(p, ('Oslo',), 'Rome', 'x') is None and falsified(p, ('',), 'Rome', 'x') is None

def test_each_diagnosis_is_one_call_of_the_model():
    c,lm = world(),Counting(says=finds)
    run,reader = ranked(c, [2]*6),Direct(lm)
    for f in (lambda: influence(reader, run % 4, c, 'EM'), lambda: depth_sweep(reader, run, c, 'EM', ks=(0,1,3)), lambda: bounds(reader, run % 4, c, 'EM'),
              lambda: noise(reader, run, c, 'EM', (0,1,3)), lambda: position(reader, run, c, 'EM', k=4)):
        Counting.batches.clear()
        f()
        assert len(Counting.batches)==1

def test_one_question_has_no_interval():
    c = world(1)
    run,reader = ranked(c, [0]),Direct(Scripted(says=finds))
    for o in (influence(reader, run % 2, c, 'EM'), depth_sweep(reader, run, c, 'EM', ks=(0,1)), bounds(reader, run % 2, c, 'EM'), noise(reader, run, c, 'EM', (0,1)), position(reader, run, c, 'EM', k=3)):
        o._repr_html_(), o.plot()._repr_png_()
        assert not (o.to_pandas().get('low', np.array([np.nan]))>-9).any()

# cost

@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=8))
def test_front(points):
    c,q = zip(*points)
    on = pareto(c, q).tolist()
    beaten = lambda i: any(c[j]<=c[i] and q[j]>=q[i] and (c[j],q[j])!=(c[i],q[i]) for j in range(len(c)))
    assert sorted(on)==[i for i in range(len(c)) if not beaten(i)]
    assert [c[i] for i in on]==sorted(c[i] for i in on) and [q[i] for i in on]==sorted(q[i] for i in on)

def test_frontier_says_what_it_lacks():
    golds = {f'q{i}': 'yes' for i in range(4)}
    a,b = priced(['yes']*4),priced(['no']*4, None)
    with pytest.raises(ValueError, match='b: Dollars is not known'): frontier(dict(a=a, b=b), golds, 'EM', 'Dollars')
    with pytest.raises(ValueError, match='at least two'): frontier(dict(a=a), golds)
    with pytest.raises(ValueError, match='F1 is no cost'): frontier(dict(a=a, b=b), golds, 'EM', 'F1')
    with pytest.raises(TypeError, match='systems is a Answers; expected a dictionary'): frontier(a, golds)
    o = frontier(dict(a=a, b=b), golds, 'EM', 'Calls')
    assert (o.front,o.steps)==((0,),()) and 'dominated' in o._repr_html_()

@quick
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6), st.integers(0, 3))
def test_ties_are_the_mean_over_orders(told, silent):
    golds = {f'q{i}': 'yes' for i in range(len(told)+silent)}
    answers = priced([*('yes' if r else 'no' for _,r in told), *[None]*silent])
    sure = dict(zip(golds, (k for k,_ in told)))
    o = risk_coverage(answers, golds, 'EM', lambda a: sure[a.query])
    def area(order): return np.mean(np.cumsum([1-told[i][1] for i in order])/np.arange(1, len(told)+1))
    falling = [p for p in permutations(range(len(told))) if all(told[a][0]>=told[b][0] for a,b in zip(p, p[1:]))]
    assert o.aurc==pytest.approx(np.mean([area(p) for p in falling]))
    assert o.best<=o.aurc+1e-12 and o.best==pytest.approx(min(map(area, permutations(range(len(told))))))
    assert len(o)==len(told)+silent and o.coverage[-1]==pytest.approx(len(told)/len(o))
    for t in o.thresholds:
        given = [r for k,r in told if k>=t['confidence']]
        assert (t['answers'],t['risk'])==(len(given),pytest.approx(1-np.mean(given)))
    low,high = o.band(resamples=50)
    assert (low<=high).all() and (high<=1).all() and (low>=0).all()

def test_confidences():
    golds = dict(q0='yes', q1='yes')
    with pytest.raises(ValueError, match='SelfConsistency'): risk_coverage(priced(['yes','no']), golds, 'EM')
    with pytest.raises(ValueError, match='votes, logprob, retrieval'): risk_coverage(priced(['yes']), golds, 'EM', 'feeling')
    o = risk_coverage(priced(['no','yes'], about=lambda i: dict(votes=dict(a=3, b=1)) if i else {}), golds, 'EM')
    assert (o.query_ids,o.confidence.tolist())==(('q1','q0'),[.75,-np.inf])
    assert risk_coverage(priced(['I do not know.','yes']), golds, 'EM', lambda a: 1).silent==('q0',)
    assert risk_coverage(priced(['I do not know.','yes']), golds, 'EM', lambda a: 1, refusals=False).silent==()
    assert Weighed(Scripted(says=lambda m: 'Lima'))(one(1))[0].about=={}

# what is shown

def test_figures_carry_what_they_show(tmp_path):
    from rankwb.experiments.figures import read_manifest
    c = world()
    run,reader,golds = ranked(c, [0,2,None,1,0,3]),Direct(Scripted(says=finds)),{f'q{i}': 'yes' for i in range(6)}
    made = dict(outcomes=outcomes(reader(run % 2), c).plot(), influence=influence(reader, run % 3, c, 'EM').plot(), depth=depth_sweep(reader, run, c, 'EM', ks=(0,1,3)).plot(lines=dict(oracle=1.)),
                bounds=bounds(reader, run % 3, c, 'EM').plot(), noise=noise(reader, run, c, 'EM', (0,1)).plot(), position=position(reader, run, c, 'EM', k=3).plot(),
                frontier=frontier(dict(a=priced(['yes']*3+['no']*3), b=priced(['yes']*5+['no'], .01)), golds, 'EM', 'Dollars').plot(),
                risk_coverage=risk_coverage(priced(['yes','no']*3), golds, 'EM', lambda a: int(a.query[1:])).plot())
    for name,plot in made.items():
        plot.save(tmp_path/f'{name}.svg')
        assert read_manifest(tmp_path/f'{name}.svg')['figure']==name and len(plot.data)

def test_texts_of_a_collection_do_not_run():
    bad = '<script>alert(1)</script>'
    docs = Docs.from_records([dict(id=bad, text=f'{bad} yes', title=bad), dict(id='b', text='no')])
    run = Run.from_dict({bad: {bad: 2, 'b': 1}, 'r': {'b': 1}}, queries=Queries.from_dict({bad: bad, 'r': bad}), docs=docs)
    c = Collection(docs, run.queries, Qrels.from_dict({bad: {bad: 1}, 'r': {bad: 1}}), {bad: 'yes', 'r': 'yes'})
    reader = Direct(Scripted(says=lambda m: bad, name=bad))
    answers = reader(run)
    named = Answers(answers, bad)
    shown = [outcomes(named, c), outcomes(named, c).against(outcomes(answers, c)), influence(reader, run, c), depth_sweep(reader, run, c, ks=(0,1)), bounds(reader, run % 1, c, rel=1),
             frontier({bad: named, 'b': answers}, c), risk_coverage(named, c, confidence='retrieval')]
    for o in shown: assert '<script' not in o._repr_html_() and 'alert(1)' in o._repr_html_(), type(o)
