"Analysis and BM25 are those of Lucene, character by character and bit by bit: against answers that it gave once, and live where it is"
import gzip, importlib.util, json, sys
from pathlib import Path
import numpy as np, pytest

sys.path.insert(0, str(Path(__file__).parent/'lucene'))
import make_expected as lucene, oracle
from rankwb.core.data import Docs
from rankwb.retrieval.analysis import Analyzer, analyze_batch
from rankwb.retrieval.bm25 import BM25, lossy
from rankwb.retrieval.inverted import InvertedIndex
from rankwb.retrieval.tokenization import _kinds, _token, kinds, standard, whitespace

no_numba = pytest.mark.skipif(importlib.util.find_spec('numba') is None, reason="no numba here; pip install 'rankwb[numba]'")
engines = ['numpy', pytest.param('numba', marks=no_numba)]
live = pytest.mark.skipif(bool(oracle.missing()), reason=oracle.missing() or 'Lucene is here')

@pytest.fixture(scope='module')
def expected(): return json.loads(gzip.decompress(lucene.FILE.read_bytes()))

@pytest.fixture(scope='module')
def answers():
    "Lucene's answers about new strings and small collections with many ties"
    rng,texts = np.random.default_rng(5),list(lucene.strings(150, 1))
    words = np.array('a bb bb the ccc ccc ccc dd-d é … running'.split()+[f'w{i}' for i in range(40)])
    text = lambda most: ' '.join(rng.choice(words, rng.integers(0, most)))
    searches = [dict(docs=[text(n) for _ in range(300)], queries=[text(9) for _ in range(40)], k1=k1, b=b, k=k)
                for n,k1,b,k in ((5,.9,.4,7), (60,1.2,.75,20), (200,0.,1.,300), (90,3.,1.,1000), (4,.5,0.,10))]
    request = dict(tokens=texts, terms=texts, whitespace=texts, searches=searches)
    return request, lucene.ask(request)

def same_strings(texts, answers):
    for text,tokens,terms,blanks in zip(texts, *(answers[n] for n in ('tokens','terms','whitespace'))):
        assert standard(text)==tokens, ascii(text)
        assert Analyzer('english')(text)==terms, ascii(text)
        assert whitespace(text)==blanks, ascii(text)
    ids,offsets,vocabulary = analyze_batch(texts)
    names = list(vocabulary)
    for text,a,b,terms in zip(texts, offsets, offsets[1:], answers['terms']): assert [names[i] for i in ids[a:b]]==terms, ascii(text)

def found(stage, queries, engine):
    "Rows and bits of the scores for each query"
    offsets,rows,scores = stage.search(queries, engine)
    return [(rows[a:b].tolist(), scores[a:b].view(np.int32).tolist()) for a,b in zip(offsets, offsets[1:])]

def test_strings(expected):
    assert len(expected['strings'])==40*len(lucene.ALPHABETS)
    same_strings(expected['strings'], expected)

def test_kinds(expected): assert lucene.partition(_kinds())==expected['kinds']

def test_lengths(expected): assert lossy(lucene.LENGTHS).tolist()==expected['lengths']

@pytest.mark.parametrize('engine', engines)
@pytest.mark.parametrize('name', lucene.COLLECTIONS)
def test_collection(name, engine, shared, expected):
    c,known = lucene.load(name),expected['collections'][name]
    assert list(known['rankings'])==c.queries.ids.to_pylist()
    ids,differ = c.docs.ids.to_pylist(),[]
    for q,(rows,bits) in zip(known['rankings'], found(BM25(c.docs), c.queries, engine)):
        if q in known['top']: assert [[ids[r], f'{b:08x}'] for r,b in zip(rows[:10], bits)]==known['top'][q]
        if lucene.digest(rows, bits)!=known['rankings'][q]: differ.append(q)
    assert not differ

def test_published(shared):
    "The values of Anserini's regression for CACM, by trec_eval, over the order of the run"
    pytrec_eval = pytest.importorskip('pytrec_eval')
    c = lucene.load('cacm')
    order = {r.query_id: {d: float(-i) for i,d in enumerate(r.ids)} for r in BM25(c.docs)(c.queries)}
    values = pytrec_eval.RelevanceEvaluator(c.qrels.to_dict(), {'map','P.30'}).evaluate(order)
    mean = lambda m: sum(v[m] for v in values.values())/len(values)
    assert (len(values), f'{mean("map"):.4f}', f'{mean("P_30"):.4f}')==(52, '0.3123', '0.1942')

@pytest.mark.parametrize('size', [1,7,1000])
def test_batches_change_nothing(size):
    docs = Docs.from_dict({str(i): t for i,t in enumerate(lucene.strings(20, 3))})
    a,b = InvertedIndex.build(docs),InvertedIndex.build(docs, size=size)
    for f in ('starts','rows','counts','lengths'): assert np.array_equal(getattr(a, f), getattr(b, f))
    assert a.terms.equals(b.terms)

def longest(text, rule):
    "Tokens as Lucene's lexer finds them: the longest match of any rule at each place"
    c,i,out = kinds(text),0,[]
    while i<len(c):
        j = max((j for j in range(i+1, len(c)+1) if rule.fullmatch(c, i, j)), default=0)
        if j: out.append(text[i:j])
        i = j or i+1
    return out

def test_longest_match():
    "The order of alternatives in the tokenizer's expression gives the longest match everywhere"
    for text in lucene.strings(25, 4):
        if len(text)<30: assert standard(text)==longest(text, _token()), ascii(text)

def test_hostile_text_is_fast():
    "No string makes the tokenizer backtrack for long"
    from time import process_time
    start = process_time()
    for s in ('_','\u200d','_\u0301','a_','a.','1_ア_','א\'','☎\u200d','ℹ\u200d','☎\ufe0f\U000e0067','ℹ\ufe0f'): Analyzer('english')(s*20_000)
    assert process_time()-start<30

@live
def test_live_strings(answers):
    request,got = answers
    same_strings(request['tokens'], got)

@live
@pytest.mark.parametrize('engine', engines)
def test_live_searches(answers, engine):
    request,got = answers
    for s,ranked in zip(request['searches'], got['searches']):
        docs = Docs.from_dict({f'd{i}': t for i,t in enumerate(s['docs'])})
        assert found(BM25(docs, s['k1'], s['b'], s['k']), s['queries'], engine)==[(r,b) for r,b in ranked]

@live
def test_file_is_what_lucene_says(shared, expected): assert lucene.make()==expected
