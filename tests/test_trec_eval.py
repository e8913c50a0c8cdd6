"Hypothesis looks for a run on which a measure differs from trec_eval, or from another program that defines it"
import itertools, shutil
import numpy as np, pytest
import ir_measures as irm, pytrec_eval
from hypothesis import assume, given, settings, strategies as st
from rankwb.core.data import Qrels
from rankwb.core.runs import Run
from rankwb.evaluation.evaluate import evaluate, match, settle_ties
from rankwb.evaluation.formulas import Measure, formulas
from rankwb.evaluation.measures import parse_measures

few = settings(max_examples=60, deadline=None)
docs = ['1','10','2','9','A','Z','a','é','ü','文','doc-1','doc_2','NA','null']
score = st.sampled_from([3., 2., 1., 1+1e-9, 1-1e-9, .1, .1000000001, 0., -1.]) # two pairs are ties in 32 bits
grade = st.sampled_from([-1, 0, 0, 1, 1, 2, 3])

def judgments(): return st.dictionaries(st.sampled_from(docs), grade, min_size=1)
def ranking(): return st.dictionaries(st.sampled_from(docs), score)
def several(values): return st.dictionaries(st.sampled_from(['q1','q10','q2','7','ß']), values, min_size=1)

names = { # ours without parameters → trec_eval's
    'AP':'map', 'AP@3':'map_cut_3', 'nDCG':'ndcg', 'nDCG@3':'ndcg_cut_3', 'RR':'recip_rank', 'P@3':'P_3', 'R@3':'recall_3', 'Success@3':'success_3',
    'Rprec':'Rprec', 'IPrec@0.0':'iprec_at_recall_0.00', 'IPrec@0.25':'iprec_at_recall_0.25', 'IPrec@0.8':'iprec_at_recall_0.80', 'IPrec@1.0':'iprec_at_recall_1.00',
    'SetP':'set_P', 'SetP(relative=True)':'set_relative_P', 'SetF':'set_F', 'SetAP':'set_map', 'SetR':'set_recall', 'NumRet(rel=1)':'num_rel_ret',
    'NumRet':'num_ret', 'Bpref':'bpref', 'infAP':'infAP'}

def trec_eval(run, qrels, **kw):
    asked = {'.'.join(n.rsplit('_', 1)) if n[-1].isdigit() else n for n in names.values()}
    return pytrec_eval.RelevanceEvaluator(qrels, asked, **kw).evaluate(run)

@few
@given(several(ranking()), several(judgments()), st.sampled_from([1,2,3]), st.booleans())
def test_everything_that_trec_eval_defines(run, qrels, rel, judged_only):
    """Values of every query equal those of trec_eval, at every relevance level and with unjudged documents left out.

    Where all judgments of a query are negative, trec_eval reads what the query before left in memory, so such queries are not drawn.
    A ranking without documents can crash pytrec_eval, so it does not see those; to trec_eval they do not exist, and they count 0. One
    that has lost all its documents to judged_only gives it 0/0 in interpolated precision; here that is 0."""
    assume(all(max(g.values())>=0 for g in qrels.values()))
    full = {q: r for q,r in run.items() if r}
    assume(full.keys() & qrels.keys())
    measures = {}
    for name,theirs in names.items():
        m = parse_measures(name)[0]
        has = m.formula.defaults
        if judged_only and 'judged_only' in has: m = m(judged_only=True)
        if judged_only and name in ('infAP','NumRet'): continue # these have no judged_only, here and in ir_measures
        if rel>1 and 'rel' in has and name!='NumRet': m = m(rel=rel)
        measures[m] = theirs
    ours = evaluate({q: r for q,r in run.items() if q in qrels}, qrels, list(measures)).per_query
    theirs = trec_eval(full, qrels, relevance_level=rel, judged_docs_only_flag=judged_only)
    for m,name in measures.items():
        for q in qrels:
            expected = np.nan_to_num(theirs[q][name]) if q in full else 0
            assert ours[m][q]==pytest.approx(expected, abs=1e-9), (m, q)

@few
@given(several(ranking()), several(judgments()))
def test_same_names_same_values_as_ir_measures(run, qrels):
    """A name means the same in ir_measures wherever one of its Python providers has it.

    Its providers order ties differently, so there are none. Its `compat` takes a document that was not retrieved for one with the score 0,
    so all scores are above that."""
    assume(all(max(g.values())>=0 for g in qrels.values()))
    run = {q: {d: 99.-i for i,d in enumerate(Run.from_dict({q: r})[q].ids)} for q,r in run.items() if q in qrels and r}
    assume(run)
    text = "AP(rel=2) P(rel=2)@3 RR(rel=2) nDCG(gains={0:1,1:4})@3 Judged@3 Judged Compat Compat(p=0.5,normalize=False) Bpref(rel=2) Rprec(judged_only=True) NumRel NumQ"
    ours = evaluate(run, qrels, text)
    theirs = {(str(m.measure), m.query_id): m.value for m in irm.iter_calc([irm.parse_measure(str(m)) for m in ours.measures], qrels, run)}
    for m,q in itertools.product(ours.measures, qrels):
        if q in run or str(m) not in ('NumRel','NumQ'): assert ours.per_query[m][q]==pytest.approx(theirs[str(m),q], abs=1e-9), (m, q)

@pytest.mark.skipif(not shutil.which('perl'), reason='gdeval is a program in Perl')
def test_gdeval():
    "The exponential gain and ERR, against the program of TREC's Web track"
    rng = np.random.default_rng(0)
    run = {f'{q}': {f'd{d}': float(-i) for i,d in enumerate(rng.permutation(60)[:rng.integers(1, 40)])} for q in range(40)}
    qrels = {f'{q}': {f'd{d}': int(rng.choice([-2,0,0,1,2,3,4])) for d in rng.permutation(60)[:20]} for q in range(45)}
    text = "nDCG(dcg='exp-log2')@5 nDCG(dcg='exp-log2')@20 ERR@5 ERR@20"
    ours = evaluate(run, qrels, text)
    theirs = {(str(m.measure), m.query_id): m.value for m in irm.gdeval.iter_calc([irm.parse_measure(str(m)) for m in ours.measures], qrels, run)}
    assert len(theirs)==4*45 and sum(v>0 for v in theirs.values())>100
    for m,q in itertools.product(ours.measures, qrels): assert ours.per_query[m][q]==pytest.approx(theirs[str(m),q], abs=5.1e-6), (m, q)

# Fixture of ir_measures (tests/test_providers.py, test_empty; Apache-2.0): no run, a part, a whole run x no, some, all judgments
_qrels = {'0': {'D0':0, 'D1':1, 'D2':1, 'D3':2, 'D4':0}, '1': {'D0':1, 'D3':2, 'D5':2}}
_run = {'0': {'D0':.8, 'D2':.7, 'D1':.3, 'D3':.4, 'D4':.1}, '1': {'D1':.8, 'D3':.7, 'D4':.3, 'D2':.4}}

@pytest.mark.parametrize('run,qrels,measure,expected', [
    ({}, _qrels, 'P@5', {'0':0, '1':0}), ({}, _qrels, 'ERR@5', {'0':0, '1':0}), ({}, _qrels, 'Judged@5', {'0':0, '1':0}), ({}, _qrels, 'Compat(p=0.8)', {'0':0, '1':0}),
    ({'0':_run['0']}, _qrels, 'P@5', {'0':.6, '1':0}), ({'0':_run['0']}, _qrels, 'ERR@5', {'0':.10175, '1':0}), ({'0':_run['0']}, _qrels, 'RR@5', {'0':.5, '1':0}),
    ({'0':_run['0']}, _qrels, 'Judged@5', {'0':1, '1':0}), ({'0':_run['0']}, _qrels, 'Compat(p=0.8)', {'0':0.4744431703672816, '1':0}),
    (_run, {'0':_qrels['0']}, 'P@5', {'0':.6}), (_run, {'0':_qrels['0']}, 'ERR@5', {'0':.10175}), (_run, {'0':_qrels['0']}, 'Compat(p=0.8)', {'0':0.4744431703672816})])
@pytest.mark.filterwarnings('ignore:1 of 2 queries')
def test_which_queries_count(run, qrels, measure, expected):
    found = evaluate(run, qrels, measure)
    assert list(found.per_query[measure])==list(expected)
    assert list(found.per_query[measure].values())==pytest.approx(list(expected.values()), abs=1e-5)
    assert found.mean[measure]==pytest.approx(np.mean(list(expected.values())), abs=1e-5)

@few
@given(several(ranking()), several(judgments()), st.integers(1, 6))
def test_a_cutoff_is_the_run_cut(run, qrels, k):
    "RR of the first k documents is RR@k, whatever is tied"
    run = {q: r for q,r in run.items() if q in qrels}
    assume(run)
    run = Run.from_dict(run)
    top = run.take(np.arange(len(run)))._like(offsets=np.concatenate([[0], np.cumsum(np.minimum(np.diff(run.offsets), k))]),
        codes=np.concatenate([run.codes[a:a+k] if a+k<=b else run.codes[a:b] for a,b in itertools.pairwise(run.offsets)]),
        values=np.concatenate([run.scores[a:min(a+k, b)] for a,b in itertools.pairwise(run.offsets)]))
    for m in ('RR','AP','RBP','ERR','Judged'):
        assert evaluate(run, qrels, f'{m}@{k}').values.tolist()==evaluate(top, qrels, m).values.tolist(), m
    for m in ('P','R','Success','nDCG'): assert evaluate(run, qrels, f'{m}@{k}').values.tolist()==evaluate(top, qrels, f'{m}@{k}').values.tolist(), m

@few
@given(several(ranking()), several(judgments()), st.randoms(use_true_random=False), st.sampled_from([1,16,1<<20]))
def test_layout_does_not_matter(run, qrels, rnd, cells):
    "The order of queries, the dictionaries of documents and the size of the table of grades leave every value as it is"
    run = {q: r for q,r in run.items() if q in qrels}
    assume(run)
    a,j = Run.from_dict(run),Qrels.from_dict(qrels)
    order,wide = list(range(len(a))),['x1', *rnd.sample(docs, len(docs)), 'x2']
    rnd.shuffle(order)
    b = a.take(order)
    b = b._like(doc_ids=wide, codes=[wide.index(b.doc_ids[int(c)].as_py()) for c in b.codes])
    rows = [(q,d,g) for q,ds in qrels.items() for d,g in ds.items()]
    rnd.shuffle(rows)
    shuffled = Qrels.from_columns(*zip(*rows))
    all_measures = 'AP nDCG@3 RR P@2 R@2 Bpref infAP Rprec Judged@2 RBP ERR Compat SetF IPrec@0.3 NumRel NumRet'
    x,y = evaluate(a, j, all_measures),evaluate(b, shuffled, all_measures)
    for m in x.measures: assert y.per_query[m]==pytest.approx(x.per_query[m], abs=1e-12)
    h,k = match(a, j),match(b, j, cells=cells)
    assert (h.query.tolist(), h.rank.tolist(), h.grade.tolist())==(k.query.tolist(), k.rank.tolist(), k.grade.tolist())

@few
@given(several(ranking()), several(judgments()))
def test_ties_settled_for_and_against_bound_the_value(run, qrels):
    run = {q: r for q,r in run.items() if q in qrels}
    assume(run)
    run,qrels = Run.from_dict(run),Qrels.from_dict(qrels)
    measures = 'RR AP nDCG nDCG@2 P@2 R@2 ERR RBP Bpref Rprec Success@1 AP(rel=2)'
    low,mid,high = (evaluate(r, qrels, measures).values for r in (settle_ties(run, qrels, False), run, settle_ties(run, qrels)))
    assert (low<=mid+1e-12).all() and (mid<=high+1e-12).all()

# Any measure with any parameters
values = {'cutoff':st.integers(1, 10**6), 'rel':st.integers(0, 9), 'max_rel':st.integers(1, 9), 'judged_only':st.booleans(), 'relative':st.booleans(),
          'normalize':st.booleans(), 'dcg':st.sampled_from(['log2','exp-log2']), 'gains':st.dictionaries(st.integers(-2, 9), st.integers(0, 9), min_size=1),
          'p':st.floats(.001, .999), 'beta':st.decimals(0, 9, places=3).map(float), 'recall':st.decimals(0, 1, places=3).map(float)}

@given(st.sampled_from(sorted(n for n,f in formulas.items() if f.of=='rankings')).flatmap(lambda n: st.tuples(st.just(n), st.fixed_dictionaries({k: values[k] for k in formulas[n].defaults}))))
def test_what_is_printed_parses_back(drawn):
    name,params = drawn
    m = Measure(name, params)
    assert parse_measures(str(m))==[m] and hash(parse_measures(str(m))[0])==hash(m)
    assert Measure(name, dict(reversed(params.items())))==m

@given(st.text(max_size=30))
def test_any_text_is_a_measure_or_a_ValueError(text):
    try: assert all(isinstance(m, Measure) for m in parse_measures(text))
    except ValueError as e: assert str(e)
