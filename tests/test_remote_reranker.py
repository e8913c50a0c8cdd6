"Rerankers behind a real server on this machine, in the words of each service and in every mood"
import asyncio, json, socket, time, warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from rankwb.core.caching import Store
from rankwb.core.calls import Limits, RemoteError
from rankwb.core.data import Docs, Queries
from rankwb.core.pipelines import parse
from rankwb.core.runs import Run
from rankwb.reranking.remote import RemoteReranker, endpoints
from serving import bare, serving, well

key = 'sk-very-secret-key'
fast = Limits(parallel=2, retries=2, patience=.1, timeout=1)

def worth(query, text): return float(np.random.default_rng(list((query+text).encode())).standard_normal())

def answer(kind, asked):
    "As the services document it"
    texts = asked[{'mixedbread':'input', 'tei':'texts', 'isaacus':'texts', 'nvidia':'passages'}.get(kind, 'documents')]
    texts = [t['text'] for t in texts] if kind in ('pinecone','nvidia') else texts
    query = asked['query']['text'] if kind=='nvidia' else asked['query']
    score = 'logit' if kind=='nvidia' else 'score' if kind in ('mixedbread','tei','isaacus','pinecone') else 'relevance_score'
    rows = sorted(({'index': i, score: worth(query, t)} for i,t in enumerate(texts)), key=lambda o: -o[score])[:asked.get('top_n') or asked.get('top_k')]
    return {'cohere': dict(id='1', results=rows, meta=dict(api_version=dict(version='2'), billed_units=dict(search_units=1))),
            'jina_ai': dict(model='m', object='list', usage=dict(total_tokens=9), results=rows),
            'voyage': dict(object='list', data=rows, model='m', usage=dict(total_tokens=9)),
            'mixedbread': dict(object='list', data=rows, model='m', usage=dict(prompt_tokens=9, total_tokens=9), top_k=len(texts), return_input=False),
            'isaacus': dict(results=rows, usage=dict(input_tokens=9)), 'pinecone': dict(model='m', data=rows, usage=dict(rerank_units=1)),
            'nvidia': dict(rankings=rows, usage=dict(prompt_tokens=9, total_tokens=9)),
            'tei': rows, 'server': dict(id='1', model='m', usage=dict(total_tokens=9), results=rows)}[kind]

def service(mood=well, kind='cohere'): return serving(partial(answer, kind), mood, kind=kind)

def reranker(s, limits=fast, store=None, **kw): return RemoteReranker(f'{s.kind}/m', api_base=s.url, api_key=key, limits=limits, store=store or Store(':memory:'), **kw)

def ranking(n=12, queries=('one','two','three'), text=lambda i: f'text {i%7}'):
    docs = Docs.from_dict({f'd{i}': text(i) for i in range(n)})
    return Run.from_dict({f'q{j}': {f'd{i}': 99-i for i in range(j, n)} for j in range(len(queries))}).attach(Queries.from_dict({f'q{j}': q for j,q in enumerate(queries)}), docs)

def right(out, run, depth=None, of=('q0','q1','q2','x','1')):
    "Sorted by what each text is worth, equal ones in the old order, and the rest below"
    texts,queries = run.docs.to_dict(),run.queries.to_dict()
    for q,r in zip(run.query_ids.to_pylist(), run):
        if q not in of: continue
        head,tail = r.ids[:depth],r.ids[len(r.ids[:depth]):]
        assert out[q].ids==sorted(head, key=lambda d: -np.float32(worth(queries[q]['text'], texts[d]['text'])))+tail
        assert (np.diff([s for _,s in out[q]])<=0).all()

@pytest.mark.parametrize('kind', endpoints)
def test_services(kind):
    run = ranking()
    with service(kind=kind) as s:
        r = reranker(s, price=1.)
        right(r(run), run)
        e,asked = endpoints[kind],[bare(o) for o in s.asked]
        first = next(o for o in asked if o['query'] in ('one', {'text':'one'})) # two are asked at a time, in any order
        assert all(o['path']==f'/{e.path}' for o in s.asked)
        assert ('model' in asked[0])==(kind!='tei') and all(asked[0].get(k)==v for k,v in e.extra.items())
        assert not e.top or asked[0][e.top]==7 # the distinct texts: all of them
        if kind=='nvidia': assert first['passages'][0]=={'text':'text 0'} and first['truncate']=='NONE'
        if kind=='pinecone': assert s.asked[0]['headers']['Api-Key']==key and s.asked[0]['headers']['X-Pinecone-API-Version']=='2024-10' and first['documents'][0]=={'text':'text 0'}
        else: assert s.asked[0]['auth']==f'Bearer {key}'
        assert r.usage.tokens=={'cohere':3,'pinecone':3,'tei':0}.get(kind, 27) and r.usage.unit==('searches' if kind in ('cohere','pinecone') else 'tokens')
        assert key not in repr(r)+r._repr_html_()+repr(r.__dict__)+r.fingerprint+repr(r.usage) and parse(repr(r))==r

@pytest.mark.parametrize('kind', endpoints)
@pytest.mark.parametrize('batch,depth', [(1,None), (5,10), (None,3), (None,1000)])
def test_depth_and_batch(kind, batch, depth):
    run = ranking()
    with service(kind=kind) as s: right(reranker(s, batch=batch, depth=depth)(run), run, depth)

@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(['a','b','','  ','c','a']), max_size=9))
def test_equal_and_blank(texts):
    "Equal texts have equal scores; what has no text is below; nothing is lost"
    with service() as s:
        out = reranker(s).rank('x', texts)
        want = sorted(range(len(texts)), key=lambda i: -np.float32(worth('x', texts[i])) if texts[i].strip() else np.inf)
        assert out.ids==[str(i) for i in want]
        assert all(t.strip() for o in s.asked for t in o['documents']) and all(len(set(o['documents']))==len(o['documents']) for o in s.asked)

def change(f): return lambda h, n, asked: h.give(dict(h.found, results=f(h.found['results'])))

@pytest.mark.parametrize('mood,says,calls', [
    (lambda h, *a: h.give(dict(message=f'invalid api token {key}'), 401), 'refuses the key (401: invalid api token …)', 1),
    (lambda h, *a: h.give(dict(detail='model not found'), 404), 'knows no such model or address', 1),
    (lambda h, *a: h.give(b'', 429, Retry_After='3600'), 'asks to wait for 3,600 s', 1),
    (lambda h, *a: h.give(b'', 429, Retry_After='0'), 'after 3 tries', 3),
    (lambda h, *a: h.give(b'oops', 500), 'it fails (500: oops), after 3 tries', 6),
    (lambda h, *a: h.connection.shutdown(socket.SHUT_RDWR), 'the connection broke', 6),
    (lambda h, *a: time.sleep(.6), 'gave no answer within 0.3 s', 6),
    (lambda h, *a: h.give(dict(message='too long'), 400), 'refuses the request (400: too long)', 3),
    (lambda h, *a: h.give(b'<html><title>Sign in</title></html>', Content_Type='text/html'), "an HTML page, 'Sign in' instead of JSON; check the address", 3),
    (lambda h, *a: h.give(b'{"results": ['), 'instead of JSON', 3),
    (lambda h, *a: h.give([dict(index=0, score=1)]), 'where an object was expected', 3),
    (lambda h, *a: h.give(dict(error='no')), 'it gave no results, but {"error": "no"}', 3),
    (lambda h, *a: h.give(dict(results='no')), 'something else than an answer', 3),
    (change(lambda rows: []), 'it gave 0 scores for 7 documents', 3),
    (change(lambda rows: rows[:5]), 'it gave 5 scores for 7 documents', 3), # the best five, as a default of top_n gives them
    (change(lambda rows: sorted(rows, key=lambda o: o['index'])[:6]+[r for r in rows if r['index']==2]), 'it gave 7 scores for 7 documents, none for the documents 6 and several for the documents 2', 3),
    (change(lambda rows: [o|dict(index=o['index']+1) for o in rows]), 'none for the documents 0 and some for what was not asked: 7', 3),
    (change(lambda rows: [o|dict(relevance_score=None) for o in rows]), 'something else than an answer', 3),
    (change(lambda rows: [o|dict(relevance_score=float('nan')) for o in rows]), 'a score that is not a finite number for the document 0', 3),
], ids=lambda o: o if isinstance(o, str) else '')
def test_faults(mood, says, calls):
    "One sentence, no more calls than make sense, and never an order that nobody gave"
    run = ranking()
    with service(mood) as s:
        with pytest.raises(RemoteError) as e: reranker(s, limits=Limits(parallel=1, retries=2, patience=.05, timeout=.3))(run)
        assert says in str(e.value) and key not in str(e.value) and '\n' not in str(e.value) and len(s.asked)==calls

# request → answer, as the documentation of each service shows them, and the order that is meant
documented = {
    'cohere': (dict(model='rerank-v3.5', top_n=3), dict(results=[dict(index=1, relevance_score=.999071), dict(index=2, relevance_score=.32713068), dict(index=0, relevance_score=.1867867)],
               id='07734bd2-2473-4f07-94e1-0d9f0e6843cf', meta=dict(api_version=dict(version='2', is_experimental=False), billed_units=dict(search_units=1))), [1,2,0]), # docs.cohere.com/reference/rerank
    'jina_ai': (dict(model='jina-reranker-v3', top_n=3, return_documents=False), dict(model='jina-reranker-v2-base-multilingual', usage=dict(total_tokens=815),
               results=[dict(index=0, document=dict(text='x'), relevance_score=.8783142566680908), dict(index=2, document=dict(text='z'), relevance_score=.7624675869941711), dict(index=1, relevance_score=.1)]), [0,2,1]), # docs.newapi.pro/api/jinaai-rerank
    'voyage': (dict(model='rerank-2.5', top_k=3, return_documents=False, truncation=False), dict(object='list', data=[dict(relevance_score=.4375, index=0), dict(relevance_score=.421875, index=1), dict(relevance_score=.1, index=2)],
               model='rerank-lite-1', usage=dict(total_tokens=26)), [0,1,2]), # docs.voyageai.com/reference/reranker-api
    'pinecone': (dict(model='bge-reranker-v2-m3', top_n=3, return_documents=False, parameters=dict(truncate='NONE')), dict(model='bge-reranker-v2-m3', data=[dict(index=2, score=.48357219, document=dict(id='vec3', text='z')),
               dict(index=0, score=.048405956), dict(index=1, score=.0006563728)], usage=dict(rerank_units=1)), [2,0,1]), # docs.pinecone.io/reference/api/2024-10/inference/rerank
    'nvidia': (dict(model='nvidia/llama-nemotron-rerank-1b-v2', truncate='NONE'), dict(rankings=[dict(index=0, logit=-1.2421875), dict(index=2, logit=-5.41015625), dict(index=1, logit=-8.2421875)],
               usage=dict(prompt_tokens=123, total_tokens=123)), [0,2,1]), # docs.nvidia.com/nim/nemo-retriever/text-reranking, using-reranking
    'server': (dict(model='BAAI/bge-reranker-large', top_n=3), dict(results=[dict(index=0, relevance_score=.3886180520057678), dict(index=1, relevance_score=.0055549247190356255), dict(index=2, relevance_score=0.)]), [0,1,2])} # docs.openvino.ai, ovms_docs_rest_api_rerank

@pytest.mark.parametrize('kind', documented)
def test_documented(kind):
    "A request has the fields that are documented and no others; the answer that is shown is read by index"
    says,found,order = documented[kind]
    with serving(lambda asked: found, well, kind=kind) as s:
        r = RemoteReranker(f'{kind}/{says["model"]}', api_base=s.url, api_key=key, limits=fast, store=Store(':memory:'))
        assert r.rank('q', ['x','y','z']).ids==[str(i) for i in order]
        asked,e = bare(s.asked[0]),endpoints[kind]
        assert asked=={**says, 'query': dict(text='q') if kind=='nvidia' else 'q', e.docs: [dict(text=t) for t in 'xyz'] if e.wrap else ['x','y','z']}==r.request('q', ['x','y','z'])

@pytest.mark.parametrize('kind', endpoints)
def test_trace(kind):
    "Every call with what was sent and what came; kept ones are not made again, and there is no key in it"
    run,store = ranking(),Store(':memory:')
    with service(kind=kind) as s:
        r = reranker(s, store=store, batch=3, price=1e6)
        trace = r.trace(run)
        assert len(trace)==len(s.asked)==9 and trace.counts==dict(ok=9, repaired=0, failed=0) and not any(c.kept for c in trace)
        assert [c.query for c in trace]==[q for q in ('q0','q1','q2') for _ in range(3)] and trace[0].what=='3 texts from rank 1' and trace[2].what=='1 texts from rank 7'
        assert sorted(c.prompt for c in trace)==sorted(json.dumps(bare(o)) for o in s.asked)
        assert all(c.ms>0 and c.answer[0]==('[' if kind=='tei' else '{') for c in trace)
        assert sum(c.cost for c in trace)==r.usage.tokens==(9*(1 if kind in ('cohere','pinecone') else 0 if kind=='tei' else 9)) and sum(c.asked for c in trace)==(0 if kind in ('cohere','pinecone','tei') else 81)
        again = r.trace(run)
        right(r(run), run)
        assert len(s.asked)==9 and all(c.kept and not c.ms for c in again) and key not in repr(list(trace))+repr(list(again))

def test_trace_of_errors():
    run = ranking()
    with service(lambda h, n, asked: h.give(b'', 400) if asked['query']=='two' else h.give()) as s: trace = reranker(s).trace(run)
    assert [c.verdict for c in trace]==['ok','failed','ok'] and 'refuses the request' in trace[1].note and trace[1].answer==''
    with service(lambda h, *a: h.give(b'', 401)) as s, pytest.raises(RemoteError, match='refuses the key'): reranker(s).trace(run)

def test_one_query_fails():
    run,store = ranking(),Store(':memory:')
    mood = lambda h, n, asked: h.give(b'', 400) if asked['query']=='two' and not h.server.well else h.give()
    with service(mood) as s:
        s.well = False
        with pytest.raises(RemoteError, match="1 of 3 queries have no scores, the first is 'q1'"): reranker(s, store=store)(run)
        with pytest.warns(UserWarning, match='Their documents stay in their order'): out = reranker(s, store=store, on_error='keep')(run)
        assert out['q1'].ids==run['q1'].ids
        right(out, run, of=('q0','q2'))
        assert sum(o['query']!='two' for o in s.asked)==2
        s.well = True
        right(reranker(s, store=store)(run), run)
        assert len(s.asked)==5
        with service(lambda h, *a: h.give(b'', 401)) as t, pytest.raises(RemoteError, match='refuses the key'): reranker(t, on_error='keep')(run) # a refused key is no matter of one query

def test_kept():
    "By content: another id, another order of queries, the same texts"
    store,run = Store(':memory:'),ranking()
    with service() as s:
        reranker(s, store=store)(run)
        other = Run.from_dict({'x': {f'e{i}': 50-i for i in range(12)}}).attach(Queries.from_dict({'x':'one'}), Docs.from_dict({f'e{i}': f'text {i%7}' for i in range(12)}))
        right(reranker(s, store=store)(other), other)
        assert len(s.asked)==3
        reranker(s, store=store, extra=dict(max_tokens_per_doc=100))(other)
        assert len(s.asked)==4 and s.asked[3]['max_tokens_per_doc']==100

def test_ids_and_files(tmp_path):
    ids = ['1','007','doc1','a b','é','x'*300,'1234567890']
    docs = Docs.from_dict({d: f'text of {i}' for i,d in enumerate(ids)})
    run = Run.from_dict({'1': {d: 9-i for i,d in enumerate(ids)}}).attach(Queries.from_dict({'1':'q'}), docs)
    with service() as s: out = reranker(s)(run)
    right(out, run)
    out.save(tmp_path/'r.parquet')
    assert Run.read(tmp_path/'r.parquet')['1'].ids==out['1'].ids

def test_blank_queries():
    run = ranking(queries=('',' one ','\t'))
    with service() as s, warnings.catch_warnings(record=True) as w:
        warnings.simplefilter('always')
        out = reranker(s)(run)
    assert len(w)==1 and 'have no words, and their documents stay in their order: q0, q2' in str(w[0].message)
    assert [out[q].ids==run[q].ids for q in ('q0','q2')]==[True]*2 and len(s.asked)==1

def test_in_an_event_loop():
    run = ranking()
    with service() as s, ThreadPoolExecutor() as pool:
        async def inside(): return reranker(s)(run)
        right(pool.submit(asyncio.run, inside()).result(), run)

def test_keys(monkeypatch):
    monkeypatch.delenv('COHERE_API_KEY', raising=False)
    with pytest.raises(RemoteError, match='there is no key; set COHERE_API_KEY'): RemoteReranker('cohere/rerank-v3.5', store=Store(':memory:')).rank('a', ['b'])
    monkeypatch.setenv('COHERE_API_KEY', 'sk-of-the-environment')
    with service() as s:
        RemoteReranker('cohere/m', api_base=s.url, store=Store(':memory:')).rank('a', ['b'])
        assert s.asked[0]['auth'] is None
