"Rerankers behind a real server on this machine, in the words of each service and in every mood"
import asyncio, json, socket, threading, time, warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from rankwb.core.caching import Store
from rankwb.core.calls import Limits, RemoteError
from rankwb.core.data import Docs, Queries
from rankwb.core.pipelines import parse
from rankwb.core.runs import Run
from rankwb.reranking.remote import RemoteReranker, endpoints

key = 'sk-very-secret-key'
fast = Limits(parallel=2, retries=2, patience=.1, timeout=1)

def worth(query, text): return float(np.random.default_rng(list((query+text).encode())).standard_normal())

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        server,asked = self.server,json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        with server.lock: server.asked.append(dict(asked, path=self.path, auth=self.headers['Authorization'], headers=dict(self.headers)))
        try: server.mood(self, len(server.asked), asked, self.answer(asked))
        except (BrokenPipeError,ConnectionResetError): pass
    def answer(self, asked):
        "As the services document it"
        kind = self.server.kind
        texts = asked[{'mixedbread':'input', 'tei':'texts', 'isaacus':'texts'}.get(kind, 'documents')]
        texts = [t['text'] for t in texts] if kind=='pinecone' else texts
        score = 'score' if kind in ('mixedbread','tei','isaacus','pinecone') else 'relevance_score'
        rows = sorted(({'index': i, score: worth(asked['query'], t)} for i,t in enumerate(texts)), key=lambda o: -o[score])[:asked.get('top_n') or asked.get('top_k')]
        return {'cohere': dict(id='1', results=rows, meta=dict(api_version=dict(version='2'), billed_units=dict(search_units=1))),
                'jina_ai': dict(model='m', object='list', usage=dict(total_tokens=9), results=rows),
                'voyage': dict(object='list', data=rows, model='m', usage=dict(total_tokens=9)),
                'mixedbread': dict(object='list', data=rows, model='m', usage=dict(prompt_tokens=9, total_tokens=9), top_k=len(texts), return_input=False),
                'isaacus': dict(results=rows, usage=dict(input_tokens=9)), 'pinecone': dict(model='m', data=rows, usage=dict(rerank_units=1)),
                'tei': rows, 'server': dict(id='1', model='m', usage=dict(total_tokens=9), results=rows)}[kind]
    def give(self, body, status=200, **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for k,v in ({'Content-Type':'application/json', 'Content-Length': str(len(body))}|{k.replace('_', '-'):v for k,v in headers.items()}).items(): self.send_header(k, v)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *a): pass

@contextmanager
def service(mood=lambda h, n, asked, found: h.give(found), kind='cohere'):
    s = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    s.daemon_threads,s.mood,s.asked,s.kind,s.lock,s.url = True,mood,[],kind,threading.Lock(),f'http://127.0.0.1:{s.server_port}'
    threading.Thread(target=s.serve_forever, args=(.02,), daemon=True).start()
    try: yield s
    finally: s.shutdown(); s.server_close()

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
        e,asked = endpoints[kind],[{k: v for k,v in o.items() if k not in ('headers','auth','path')} for o in s.asked]
        assert all(o['path']==f'/{e.path}' for o in s.asked)
        assert ('model' in asked[0])==(kind!='tei') and all(asked[0].get(k)==v for k,v in e.extra.items())
        assert not e.top or asked[0][e.top]==7 # the distinct texts: all of them
        if kind=='pinecone': assert s.asked[0]['headers']['Api-Key']==key and s.asked[0]['headers']['X-Pinecone-API-Version']=='2024-10' and asked[0]['documents'][0]=={'text':'text 0'}
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

def change(f): return lambda h, n, asked, found: h.give(dict(found, results=f(found['results'])))

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
    (change(lambda rows: rows[:6]+rows[:1]), 'or not one for each', 3),
    (change(lambda rows: [o|dict(index=o['index']+1) for o in rows]), 'or not one for each', 3),
    (change(lambda rows: [o|dict(relevance_score=None) for o in rows]), 'something else than an answer', 3),
    (change(lambda rows: [o|dict(relevance_score=float('nan')) for o in rows]), 'not a finite number', 3),
], ids=lambda o: o if isinstance(o, str) else '')
def test_faults(mood, says, calls):
    "One sentence, no more calls than make sense, and never an order that nobody gave"
    run = ranking()
    with service(mood) as s:
        with pytest.raises(RemoteError) as e: reranker(s, limits=Limits(parallel=1, retries=2, patience=.05, timeout=.3))(run)
        assert says in str(e.value) and key not in str(e.value) and '\n' not in str(e.value) and len(s.asked)==calls

def test_one_query_fails():
    run,store = ranking(),Store(':memory:')
    mood = lambda h, n, asked, found: h.give(b'', 400) if asked['query']=='two' and not h.server.well else h.give(found)
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
