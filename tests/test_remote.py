"Embedding services on a real server on this machine, in every mood that a service can be in"
import asyncio, json, signal, socket, subprocess, sys, textwrap, time
from concurrent.futures import ThreadPoolExecutor
import numpy as np, pytest
from rankwb.core.caching import Store
from rankwb.core.data import Docs
from rankwb.core.calls import Limits, RemoteError
from rankwb.retrieval.remote import RemoteEncoder, providers
from serving import apart, bare, drip, serving, together, well

key = 'sk-very-secret-key'
texts = [f'text {i}' for i in range(20)]
fast = Limits(parallel=2, retries=3, patience=.2, timeout=1)

def vector(text, d=8): return np.random.default_rng(list(text.encode())).standard_normal(d).astype(np.float32)

def answer(asked):
    "As the services document it"
    if 'requests' in asked: return dict(embeddings=[dict(values=vector(o['content']['parts'][0]['text']).tolist()) for o in asked['requests']])
    d = asked.get('dimensions') or asked.get('output_dimension') or 8
    data = [dict(index=i, embedding=vector(t, d).tolist()) for i,t in enumerate(asked.get('input') or asked.get('texts') or [])]
    return dict(embeddings={'float': [o['embedding'] for o in data]}) if 'texts' in asked else dict(data=data, usage=dict(total_tokens=10*len(data)))

def service(mood=well): return serving(answer, mood, base='/v1')

@pytest.fixture
def store(tmp_path): return Store(tmp_path/'s.sqlite')

@pytest.fixture
def small(monkeypatch):
    "Five texts in a call"
    from dataclasses import replace
    monkeypatch.setitem(providers, 'openai', replace(providers['openai'], texts=5))

def encoder(s, store, model='openai/m', limits=fast, **kw): return RemoteEncoder(model, api_base=s.url, api_key=key, limits=limits, store=store, **kw)
def right(found, some=texts, d=8): np.testing.assert_array_equal(found, [vector(t, d) for t in some])

def failing(mood, store, some=texts, **kw):
    "What the error says, the calls that were made, and the vectors that are kept"
    with service(mood) as s:
        with pytest.raises(RemoteError) as e: encoder(s, store, **kw).encode(some, 'doc')
        said = str(e.value)
        assert key not in said and '\n' not in said and said.startswith('openai/m: ')
        return said.replace(s.url, 'URL'),s.asked

def after(k, then):
    "The first `k` calls go well"
    return lambda h, n, asked: h.give() if n<=k else then(h)

@pytest.mark.parametrize('then,says,calls', [
    (lambda h: h.give(dict(error=dict(message=f'Incorrect API key provided: {key}')), 401), 'refuses the key (401: Incorrect API key provided: …)', 1),
    (lambda h: h.give(dict(detail='not yours'), 403), 'does not allow this with this key (403: not yours)', 1),
    (lambda h: h.give(dict(message='bad parameter'), 400), 'refuses the request (400: bad parameter)', 1),
    (lambda h: h.give(b'<html><title>Not Found</title></html>', 404, Content_Type='text/html'), "knows no such model or address (404: an HTML page, 'Not Found')", 1),
    (lambda h: h.give(dict(error=dict(code='insufficient_quota', message='You exceeded your quota')), 429), 'too many requests (429: You exceeded your quota)', 1),
    (lambda h: h.give(b'', 429, Retry_After='3600'), 'asks to wait for 3,600 s', 1),
    (lambda h: h.give(b'', 429, Retry_After='0'), 'after 4 tries; allow fewer with Limits(requests=…)', 4),
    (lambda h: h.give(b'oops', 500), 'it fails (500: oops), after 4 tries', 4),
    (lambda h: h.give(b'<html><title>Log in</title></html>', 200, Content_Type='text/html'), "an HTML page, 'Log in' instead of JSON; check the address URL/embeddings", 1),
    (lambda h: h.give(b'{"data": [', 200), "instead of JSON", 1),
    (lambda h: h.give(dict(error='no')), 'something else than vectors', 1),
    (lambda h: h.connection.shutdown(socket.SHUT_RDWR), 'the connection broke', 4),
    (lambda h: h.give(b'{', Content_Length='999'), 'the connection broke', 4),
    (lambda h: h.give(dict(data=[])), 'it gave 0 vectors for 5 texts', 1),
    (lambda h: h.give(dict(data=[dict(index=0, embedding=[1.]*8)]*5)), 'not one for each', 1),
    (lambda h: h.give(dict(data=[dict(index=i, embedding=[1.]*7+[float('nan')]) for i in range(5)])), 'not finite', 1),
    (lambda h: h.give(dict(data=[dict(index=i, embedding=[1.]*7+[1e39]) for i in range(5)])), 'not finite', 1),
    (lambda h: h.give(dict(data=[dict(index=i, embedding=['x']) for i in range(5)])), 'something that is none', 1),
    (lambda h: h.give(dict(data=[dict(index=i, embedding=[]) for i in range(5)])), 'no vectors of numbers', 1),
], ids=lambda o: o if isinstance(o, str) else '')
def test_faults(then, says, calls, store, small):
    "One sentence, no more calls than make sense; what was finished is kept and not asked for again"
    one = Limits(parallel=1, retries=3, patience=.05, timeout=1)
    said,asked = failing(after(2, then), store, limits=one)
    assert says in said and said.endswith('10 of 20 new vectors are kept; the same call goes on from there')
    assert len(asked)==2+calls
    assert len(store)==10

def test_goes_on(store, small):
    with service(after(2, lambda h: h.give(b'', 403))) as s:
        enc = encoder(s, store, limits=Limits(parallel=1))
        with pytest.raises(RemoteError): enc.encode(texts, 'doc')
        s.mood = well
        right(enc.encode(texts, 'doc'))
        assert sorted(t for o in s.asked[3:] for t in o['input'])==sorted(texts[10:])
        right(encoder(s, store).encode(texts[::-1]*2, 'doc'), texts[::-1]*2)
        assert len(s.asked)==5
        u = enc.usage
        assert (u.calls,u.tokens,u.items,u.kept)==(4,200,20,10)

@pytest.mark.parametrize('mood', [
    lambda h, n, asked: h.give(b'', 429, Retry_After='0') if n<4 else h.give(),
    lambda h, n, asked, seen=set(): (h.give() if str(asked['input']) in seen else h.give(b'<title>x</title>', 502), seen.add(str(asked['input']))),
    lambda h, n, asked: h.connection.shutdown(socket.SHUT_RDWR) if n in (2,3) else h.give(),
    lambda h, n, asked: time.sleep(1.3) if n==1 else h.give(),
    lambda h, n, asked: h.give(dict(h.found, data=h.found['data'][::-1])),
    lambda h, n, asked: (time.sleep(.2*(n==1)), h.give()),
], ids=['429','502','cut','hangs','shuffled','out of turn'])
def test_right_in_the_end(mood, store, small):
    with service(mood) as s: right(encoder(s, store).encode(texts, 'doc'))

def test_drips(store):
    "A server that sends a byte now and then is given up in time"
    start = time.monotonic()
    said,asked = failing(drip, store, limits=Limits(parallel=1, retries=0, timeout=.5))
    assert 'not whole in time' in said and time.monotonic()-start<2

def test_retry_after_holds_all_threads(store, small):
    "Nobody calls while the service asks to wait"
    with service(lambda h, n, asked: h.give(b'', 429, Retry_After='0.6') if n==1 else h.give()) as s:
        right(encoder(s, store, limits=Limits(parallel=1, patience=5)).encode(texts))
        assert s.asked[1]['at']-s.asked[0]['at']>=.55

def test_limits(store, small):
    with service(together(3)) as s:
        right(encoder(s, store, limits=Limits(parallel=3)).encode(texts))
        assert s.most==3
    with service() as s:
        start = time.monotonic()
        encoder(s, store, limits=Limits(parallel=4, requests=600)).encode(texts)
        assert len(s.asked)>3 and apart([o['at'] for o in s.asked], start, .1)
    with service() as s: # 15 tokens a call as they are guessed here, 100 in a second
        start = time.monotonic()
        encoder(s, store, limits=Limits(parallel=4, tokens=6000)).encode(texts)
        assert time.monotonic()-start>.4

def test_too_long(store, small):
    "The text that is too long is named; shorter calls are found by halves"
    def reads(h, n, asked):
        size = [len(t.split()) for t in asked['input']]
        if max(size)>4: return h.give(dict(error=dict(message='maximum context length is 4 tokens')), 400)
        h.give(b'', 413) if sum(size)>5 else h.give()
    with service(reads) as s: right(encoder(s, store).encode(texts))
    said,_ = failing(reads, store, texts[:7]+['one two three four five']+texts[7:], limits=Limits(parallel=1, retries=0))
    assert "text 7, 'one two three four five'; cut it into passages" in said

def test_blank_and_empty(store):
    with service() as s:
        enc = encoder(s, store)
        assert enc.encode([]).shape==(0,8)
        got = enc.encode(['', 'a', ' \n', 'a'])
        np.testing.assert_array_equal(got, [np.zeros(8),vector('a'),np.zeros(8),vector('a')])
        assert all(o['input']==['a'] for o in s.asked)
        np.testing.assert_array_equal(encoder(s, store, dimensions=3).encode(['']), np.zeros((1,3)))
        assert encoder(s, store, query_prompt='q: ').encode(['a']).tolist()==[vector('q: a').tolist()]

@pytest.mark.parametrize('model,query,doc', [
    ('voyage/voyage-3.5', dict(input_type='query', truncation=False), dict(input_type='document', truncation=False)),
    ('cohere/embed-v4.0', dict(input_type='search_query', truncate='NONE', embedding_types=['float']), dict(input_type='search_document', truncate='NONE', embedding_types=['float'])),
    ('jina_ai/jina-embeddings-v3', dict(task='retrieval.query', truncate=False), dict(task='retrieval.passage', truncate=False)),
    ('mistral/mistral-embed', {}, {}), ('openai/text-embedding-3-large', {}, {})])
def test_wires(model, query, doc, store):
    with service() as s:
        enc = encoder(s, store, model, dimensions=4)
        right(enc.encode(texts[:3]), texts[:3], 4)
        right(enc.encode(texts[:3], 'doc'), texts[:3], 4)
        name = 'dimensions' if model.split('/')[0] in ('openai','jina_ai') else 'output_dimension'
        for asked,more in zip(s.asked, (query,doc)):
            assert {k:v for k,v in bare(asked).items() if k not in ('input','texts')}=={'model': model.split('/')[1], name: 4, **more}
            assert asked['auth']==f'Bearer {key}' and asked['path']==('/v1/embed' if 'cohere' in model else '/v1/embeddings')
    assert RemoteEncoder(model).digest!=RemoteEncoder(model, dimensions=4).digest!=enc.digest

def test_the_key_is_nowhere(store, tmp_path, monkeypatch):
    "Not in the store, in what is shown, in a fingerprint; and the one in the environment goes to its own provider only"
    import pickle
    from dataclasses import replace
    with service() as s:
        enc = encoder(s, store)
        enc.encode(texts)
        shown = repr(enc)+str(enc)+enc._repr_html_()+repr(enc.__dict__)+enc.digest+repr(enc.usage)+repr(replace(enc, dimensions=3))
        assert key not in shown
        with pytest.raises(TypeError, match='a key is not written'): pickle.dumps(enc.api_key)
        monkeypatch.setenv('OPENAI_API_KEY', 'sk-of-the-environment')
        RemoteEncoder('openai/m', api_base=s.url, limits=fast, store=Store(':memory:')).encode(['x'])
        assert s.asked[-1]['auth'] is None
    for f in tmp_path.iterdir(): assert key.encode() not in f.read_bytes()
    assert encoder(s, store).digest==RemoteEncoder('openai/m', api_base=s.url).digest
    monkeypatch.delenv('OPENAI_API_KEY')
    with pytest.raises(RemoteError, match='there is no key; set OPENAI_API_KEY'): RemoteEncoder('openai/m', store=Store(':memory:')).encode(['x'])

def test_in_an_event_loop(store):
    "As in a notebook; in a thread, because the loop of the browser tests may run in this one"
    with service() as s, ThreadPoolExecutor() as pool:
        async def inside(): return encoder(s, store).encode(texts)
        right(pool.submit(asyncio.run, inside()).result())

def test_killed(tmp_path, small):
    "kill -9 in the middle: what had come is kept"
    def slow(h, n, asked):
        if n>2: time.sleep(30)
        h.give()
    run = '''
        from dataclasses import replace
        from rankwb.core.calls import Limits
        from rankwb.retrieval.remote import RemoteEncoder, providers
        from rankwb.core.caching import Store
        providers['openai'] = replace(providers['openai'], texts=5)
        RemoteEncoder('openai/m', api_base='{}', limits=Limits(parallel=1), store=Store('{}')).encode([f'text {{i}}' for i in range(20)], 'doc')'''
    with service(slow) as s:
        p = subprocess.Popen([sys.executable, '-c', textwrap.dedent(run.format(s.url, tmp_path/'k.sqlite'))])
        until = time.monotonic()+20
        while len(s.asked)<3 and time.monotonic()<until: time.sleep(.05)
        p.kill(); p.wait()
        s.mood = well
        right(RemoteEncoder('openai/m', api_base=s.url, store=Store(tmp_path/'k.sqlite')).encode(texts, 'doc'))
        assert sorted(t for o in s.asked[3:] for t in o['input'])==sorted(texts[10:])

def test_interrupted(tmp_path):
    "Ctrl-C ends the call at once, although the service hangs"
    run = '''
        import sys
        from rankwb.core.calls import Limits
        from rankwb.retrieval.remote import RemoteEncoder, providers
        from rankwb.core.caching import Store
        try: RemoteEncoder('openai/m', api_base='{}', limits=Limits(timeout=60), store=Store(':memory:')).encode(['a'])
        except KeyboardInterrupt: sys.exit(7)'''
    with service(lambda h, n, asked: time.sleep(30)) as s:
        p = subprocess.Popen([sys.executable, '-c', textwrap.dedent(run.format(s.url))])
        until = time.monotonic()+20
        while not s.asked and time.monotonic()<until: time.sleep(.05)
        p.send_signal(signal.SIGINT)
        assert p.wait(5)==7

def test_dense(tmp_path):
    "A service as the encoder of a dense retriever: the nearest by the vectors that it gave"
    from rankwb.retrieval.dense import Dense
    docs = Docs.from_dict({f'd{i}': t for i,t in enumerate(texts)})
    with service() as s:
        enc = encoder(s, Store(tmp_path/'v.sqlite'), similarity='dot')
        run = Dense(docs, enc, k=5, dtype='float32', folder=str(tmp_path))(['x', 'text 3'])
    S = np.array([vector(t) for t in ('x','text 3')], float)@np.array([vector(t) for t in texts], float).T
    for r,want in zip(run, S): assert r.ids==[f'd{i}' for i in np.argsort(-want, kind='stable')[:5]]

def test_imports():
    "Neither litellm nor httpx is imported before it is needed"
    run = "import sys, rankwb.retrieval.remote, rankwb.retrieval.web; print([m for m in ('litellm','httpx','trafilatura','torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, '-c', run], capture_output=True, text=True).stdout.strip()=='[]'

def test_litellm(store):
    "A provider that only litellm knows, with its wire and its errors"
    litellm = pytest.importorskip('litellm')
    with service() as s:
        enc = encoder(s, store, 'gemini/gemini-embedding-001')
        right(enc.encode(texts[:3], 'doc'), texts[:3])
        assert 'RETRIEVAL_DOCUMENT' in json.dumps(s.asked[0])
    with service(lambda h, n, asked: h.give(b'', 429, Retry_After='0') if n<3 else h.give(dict(error=dict(message=f'API key not valid {key}')), 401)) as s:
        with pytest.raises(RemoteError, match='API key not valid (…|REDACTED)') as e: encoder(s, store, 'gemini/gemini-embedding-001').encode(['a'])
        assert len(s.asked)==3 and key not in str(e.value)

def test_without_litellm(store, monkeypatch):
    monkeypatch.setitem(sys.modules, 'litellm', None)
    from rankwb.core import brokers
    brokers.litellm_module.cache_clear()
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'rankwb\[remote\]'"): RemoteEncoder('gemini/gemini-embedding-001', api_key=key, store=store).encode(['a'])
    brokers.litellm_module.cache_clear()
