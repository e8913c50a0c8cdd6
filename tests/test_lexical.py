"Query likelihood and feedback are those of Lucene and Anserini, document by document and bit by bit; and what holds for every lexical retriever"
import gzip, importlib.util, json, sys, warnings
from collections import Counter
from pathlib import Path
import numpy as np, pytest

sys.path.insert(0, str(Path(__file__).parent/'lucene'))
import lexical, oracle
from make_expected import load
from rankwb.core.caching import Store
from rankwb.core.data import Docs, Queries
from rankwb.core.execution import Executor
from rankwb.core.pipelines import parse
from rankwb.core.runs import Run
from rankwb.retrieval.analysis import Analyzer
from rankwb.retrieval.bm25 import BM25
from rankwb.retrieval.feedback import RM3, Axiomatic, Rocchio
from rankwb.retrieval.inverted import InvertedIndex
from rankwb.retrieval.likelihood import QLD, QLJM
from rankwb.retrieval.scoring import bags, weighted

no_numba = pytest.mark.skipif(importlib.util.find_spec('numba') is None, reason="no numba here; pip install 'rankwb[numba]'")
engines = ['numpy', pytest.param('numba', marks=no_numba)]
live = pytest.mark.skipif(bool(oracle.missing()), reason=oracle.missing() or 'Lucene is here')
pytestmark = pytest.mark.filterwarnings('ignore:.*of which the .* analyzer leaves no term')

@pytest.fixture(scope='module')
def expected(): return json.loads(gzip.decompress(lexical.FILE.read_bytes()))['collections']

def same(known, docs, queries):
    "All systems of which `known` has digests"
    for name,was in known.items():
        text,by_id = lexical.of_name(name)
        now = lexical.kept(lexical.ours(text, docs, queries, by_id))
        assert now==was, f'{name}: {[q for q,a,b in zip(queries.ids.to_pylist(), now, was) if a!=b] if isinstance(was, list) else "some question"} differ'

def made_up(seed=0, **kw):
    ids,texts,asked = lexical.made_up(seed, **kw)
    return Docs.from_dict(dict(zip(ids, texts))),Queries.of(asked)

@pytest.fixture(scope='module')
def small(): return made_up()

def test_made_up(small, expected): same(expected['made up'], *small)

@pytest.mark.parametrize('name', lexical.REAL)
def test_collection(name, shared, expected):
    c = load(name)
    same(expected[name], c.docs, c.queries)

PUBLISHED = { # Anserini's regression for CACM: AP, P@30
    'BM25()': ('0.3123','0.1942'), 'RM3(BM25())': ('0.3648','0.2224'), 'Axiomatic(BM25())': ('0.3077','0.1955'),
    'QLD()': ('0.3265','0.1942'), 'RM3(QLD())': ('0.3629','0.2250'), 'Axiomatic(QLD())': ('0.2907','0.1840')}

@pytest.mark.parametrize('text', PUBLISHED)
def test_published(text, shared):
    pytrec_eval = pytest.importorskip('pytrec_eval')
    c = load('cacm')
    order = {r.query_id: {d: float(-i) for i,d in enumerate(r.ids)} for r in parse(text, c.docs)(c.queries)}
    values = pytrec_eval.RelevanceEvaluator(c.qrels.to_dict(), {'map','P.30'}).evaluate(order)
    mean = lambda m: f'{sum(v[m] for v in values.values())/len(values):.4f}'
    assert (len(values), mean('map'), mean('P_30'))==(52, *PUBLISHED[text])

LIVE = ['QLD(mu=12.5)', 'QLJM(lam=1)', 'RM3(BM25(k1=2.0, b=1.0), fb_terms=3, fb_docs=2)', 'RM3(QLD(mu=300), fb_terms=40, filter_terms=False)',
        'Rocchio(QLJM(), alpha=0, beta=0.3, gamma=0.7)', 'Rocchio(BM25(), fb_docs=50, fb_terms=2)', 'Axiomatic(BM25(), fb_docs=7, pool=56, seed=3)']

@live
def test_live(expected):
    "What Lucene says now: about the systems above, on collections it has not seen, and about the made-up one in the file"
    fresh = {seed: lexical.made_up(seed, n, 12) for seed,n in ((1,100), (2,300))}
    both = [(s, t) for s in LIVE for t in (False,True)]
    again = [lexical.of_name(n) for n in expected['made up']]
    plan = [lexical.asked(*o, both) for o in fresh.values()] + [lexical.asked(*lexical.made_up(0), again)]
    *new,old = lexical.ask(dict(lexical=plan))['lexical']
    assert [lexical.kept(a) for a in old]==list(expected['made up'].values())
    for (ids,texts,asked),got in zip(fresh.values(), new):
        docs,queries = Docs.from_dict(dict(zip(ids, texts))),Queries.of(asked)
        for (text,ties),a in zip(both, got): assert lexical.ours(text, docs, queries, ties)==a, (text, ties)

STAGES = ['BM25()', 'QLD()', 'QLJM()', 'RM3(BM25(), fb_docs=3)', 'Rocchio(QLD(), fb_docs=3)', 'Axiomatic(QLJM(), pool=50)']

@pytest.mark.parametrize('text', STAGES[:3])
@pytest.mark.parametrize('k', [1,7,1000])
def test_engines(text, k, small):
    pytest.importorskip('numba')
    docs,queries = small
    own = weighted(queries, [{t: .1+w*i for i,(t,w) in enumerate(b.items())} for b in bags(queries)])
    stage = parse(text[:-1]+f'k={k})', docs)
    for q in (queries,own):
        for a,b in zip(stage.search(q, 'numpy'), stage.search(q, 'numba')): assert np.array_equal(a, b)

@pytest.mark.parametrize('text', STAGES)
def test_explanations(text, small):
    "Every score is the sum of what its explanation says"
    docs,queries = small
    stage,queries = parse(text, docs),queries[:6]
    for q,r in zip(queries, stage(queries)):
        for d,s in list(r)[::11]: assert stage.explain(q.text, d).score==s
    assert stage.explain('nowhere', docs.ids[0].as_py()).score==0

@pytest.mark.parametrize('text', STAGES)
def test_a_query_is_alone(text, small):
    docs,queries = small
    stage = parse(text, docs)
    run = stage(queries)
    for i in (0,9,len(queries)-3): assert stage(queries[i:i+1])[0]==run[i]

@pytest.mark.parametrize('text', STAGES)
def test_index_from_disk(text, small, tmp_path):
    "The same with arrays that are mapped, and with a k beyond the corpus"
    docs,queries = small
    stage = parse(text, docs)
    base = getattr(stage, 'base', stage)
    base.indexed().save(tmp_path/'index')
    kw = {f: getattr(base, f) for f in base.ranges} | dict(k=10**6, index=InvertedIndex.read(tmp_path/'index', check=True))
    again = type(base)(docs, **kw)
    if base is not stage: again = type(stage)(again, **{f: getattr(stage, f) for f in stage.ranges})
    assert again(queries)==stage(queries)

IDS = ['1', '007', 'doc1', 'a b', 'é', 'x'*300, '1234567890']

@pytest.mark.parametrize('text', STAGES)
def test_ids(text, tmp_path):
    docs = Docs.from_dict({i: f'word{n} word{n} common{n%2} alpha' for n,i in enumerate(IDS)})
    queries = Queries.from_dict({i: f'word{n}' for n,i in enumerate(IDS)})
    stage = parse(text.replace('fb_docs=3', 'fb_docs=1'), docs)
    index = getattr(stage, 'base', stage).indexed()
    index.save(tmp_path/'index')
    assert InvertedIndex.read(tmp_path/'index').docs==docs.digest
    run = stage(queries)
    assert [r.ids[0] for r in run]==IDS
    run.save(tmp_path/'run.json')
    assert Run.read(tmp_path/'run.json')==run
    plain = run[[i for i in IDS if ' ' not in i]]
    plain.save(tmp_path/'run.trec')
    assert [(r.query_id, r.ids) for r in Run.read(tmp_path/'run.trec')]==[(r.query_id, r.ids) for r in plain]

@pytest.mark.filterwarnings('default')
@pytest.mark.parametrize('text', STAGES)
def test_one_warning(text, small):
    docs,_ = small
    with pytest.warns(UserWarning) as caught: run = parse(text, docs)(Queries.from_dict(dict(stop='the of', none='', some=docs[0].text)))
    assert len(caught)==1 and "stop ('the of'), none ('')" in str(caught[0].message)
    assert [len(r)>0 for r in run]==[False,False,True]
    assert len(parse(text, docs)(Queries.from_dict({})))==0

@pytest.mark.parametrize('text', STAGES[3:])
def test_first_search_is_shared(text, small, tmp_path):
    "Both searches are kept: the first is that of the base, and a second run works on nothing"
    docs,queries = small
    stage,store,queries = parse(text, docs),Store(tmp_path/'store.sqlite'),queries[:20]
    first = Executor(store)
    plain,run = first(stage.base, queries),first(stage, queries)
    assert [(w.queries,w.computed) for w in first.work.values()]==[(40,40)]
    assert run==stage(queries) and run.queries is queries and run.name==repr(stage)
    again = Executor(store)
    assert (again(stage.base, queries),again(stage, queries))==(plain,run)
    assert [(w.queries,w.computed) for w in again.work.values()]==[(40,0)]
    assert stage.cached()(queries)==run

@pytest.mark.parametrize('format', ['jsonl','arrow','parquet'])
def test_weighted_queries_in_files(format, small, tmp_path):
    docs,queries = small
    bm25 = BM25(docs)
    again = RM3(bm25).expanded(queries, bm25(queries))
    again.save(tmp_path/f'q.{format}')
    read = Queries.read(tmp_path/f'q.{format}')
    assert bags(read)==bags(again) and bm25(read)==bm25(again)

def test_vectors(small):
    docs,_ = small
    index = InvertedIndex.build(docs)
    for row in range(0, len(docs), 7): assert index.vector(row)==dict(Counter(Analyzer('english')(docs.texts(rows=[row])[0])))
    assert index.cf.tolist()==[sum(index.postings(t).values()) for t in index.terms.to_pylist()]

def test_collections_smaller_than_the_pool():
    docs = Docs.from_dict({str(i): t for i,t in enumerate('red apple|green apple|red car|blue car|blue sky|grey sky'.split('|'))})
    for s in (Axiomatic(BM25(docs)), RM3(BM25(docs)), Rocchio(QLD(docs))): assert set(s('apple')[0].ids[:2])=={'0','1'}

def test_a_term_that_all_hold_teaches_nothing():
    docs = Docs.from_dict({str(i): f'all w{i}' for i in range(20)})
    assert Axiomatic(BM25(docs))('all')==BM25(docs)('all')

def test_scores_of_zero_teach_nothing():
    "Where every document is worth nothing, what was found keeps its order and weights stay finite"
    docs = Docs.from_dict({str(i): 'long '*50+f'w{i} w{i}' for i in range(12)})
    qld = QLD(docs)
    assert qld('long')[0].scores.max()==0 and qld('long')[0].ids==[str(i) for i in range(12)]
    assert RM3(qld)('long')[0].ids==qld('long')[0].ids
    assert all(np.isfinite(w) for w in bags(RM3(qld).expanded(Queries.of('long'), qld('long')))[0].values())

@pytest.mark.parametrize('make,error,words', [
    (lambda d: QLD(d, mu=0), ValueError, 'QLD: mu=0; expected a number above 0'),
    (lambda d: QLD(d, mu='1000'), ValueError, "mu='1000'; expected a number"),
    (lambda d: QLJM(d, lam=1.5), ValueError, 'lam=1.5; expected a number above 0 and at most 1'),
    (lambda d: BM25(d, k1=-1), ValueError, 'k1=-1; expected a number of at least 0'),
    (lambda d: BM25(d, k=True), ValueError, 'k=True; expected an integer of at least 1'),
    (lambda d: QLD([]), TypeError, 'QLD searches Docs, not list'),
    (lambda d: QLD(d, index=InvertedIndex.build(d[:3])), ValueError, 'QLD: the index was made from 3 other documents'),
    (lambda d: QLD(d, index=InvertedIndex.build(d, 'whitespace')), ValueError, "made by the analyzer 'whitespace', not 'english'"),
    (lambda d: RM3(BM25(d) % 5), TypeError, 'RM3 asks a formula over an index twice'),
    (lambda d: RM3(BM25(d, k=3)), ValueError, 'RM3: fb_docs=10 of what BM25(k1=0.9, b=0.4, k=3) finds, which is 3 at most'),
    (lambda d: RM3(BM25(d), original_query_weight=1.5), ValueError, 'original_query_weight=1.5; expected a number from 0 to 1'),
    (lambda d: Rocchio(BM25(d), gamma=-1), ValueError, 'gamma=-1; expected a number of at least 0'),
    (lambda d: Axiomatic(BM25(d), seed=.5), ValueError, 'seed=0.5; expected an integer'),
    (lambda d: BM25(d)(weighted(Queries.of('a'), [dict(cat=float('nan'))])), ValueError, "the term 'cat' has the weight nan"),
    (lambda d: BM25(d)(Queries.from_dict(dict(a=dict(text='a', terms='b c')))), ValueError, "its column 'terms' holds string"),
    (lambda d: BM25(d).search('a', 'cuda'), ValueError, "engine 'cuda': expected 'numpy', 'numba' or None")])
def test_errors(make, error, words, small):
    with pytest.raises(error) as e: make(small[0])
    assert words in str(e.value)
