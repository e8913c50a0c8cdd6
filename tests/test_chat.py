"Language models behind a real server on this machine, in every mood that a server can be in"
import asyncio, math, pickle, signal, socket, subprocess, sys, textwrap, time, types
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
import numpy as np, pytest
from rankwb.core.caching import Store
from rankwb.core.calls import Limits, RemoteError
from rankwb.core.chat import Chat, _chances, _reaching
from rankwb.core.llm import LM
from rankwb.core.saying import Failure, Reply
from serving import apart, bare, drip, serving, together, well

key = 'sk-very-secret-key'
fast = Limits(parallel=2, retries=3, patience=.2, timeout=1)

def says(text='fine', finish='stop', logprobs=None, **message):
    "An answer as OpenAI documents it"
    o = dict(index=0, finish_reason=finish, message=dict(role='assistant', content=text, **message))
    if logprobs is not None: o['logprobs'] = dict(content=logprobs)
    return dict(id='chatcmpl-1', object='chat.completion', model='m', choices=[o], usage=dict(prompt_tokens=10, completion_tokens=2, total_tokens=12))

def token(t, p, top=()): return dict(token=t, logprob=p, bytes=list(t.encode()), top_logprobs=[dict(token=a, logprob=b, bytes=list(a.encode())) for a,b in top])

def served(mood=well): return serving(lambda asked: says(), mood, base='/v1')

def chat(s, model='openai/m', limits=fast, store=None, **kw): return Chat(model, s.url, api_key=key, limits=limits, store=store or Store(':memory:'), **kw)
def always(*a, **kw): return lambda h, n, asked: h.give(*a, **kw)
def one(body, **how):
    "The reply to one prompt"
    with served(always(body)) as s: return chat(s).generate(['p'], **how)[0]

# Errors --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('then,says_,calls', [
    (lambda h: h.give(dict(error=dict(message=f'Incorrect API key provided: {key}')), 401), 'refuses the key (401: Incorrect API key provided: …)', 1),
    (lambda h: h.give(dict(detail='not yours'), 403), 'does not allow this with this key (403: not yours)', 1),
    (lambda h: h.give(dict(error=dict(message='The model `m` does not exist')), 404), 'knows no such model or address (404: The model `m` does not exist)', 1),
    (lambda h: h.give(b'', 402), 'wants to be paid', 1),
    (lambda h: h.give(dict(error=dict(code='insufficient_quota', message='You exceeded your quota')), 429), 'too many requests (429: You exceeded your quota)', 1),
    (lambda h: h.give(b'', 429, Retry_After='3600'), 'asks to wait for 3,600 s', 1),
    (lambda h: h.give(b'', 429, Retry_After='0'), 'after 4 tries; allow fewer with Limits(requests=…)', 4),
    (lambda h: h.give(dict(error=dict(code=401, message='no auth'))), 'refuses the key (401: no auth)', 1),
    (lambda h: h.give(b'oops', 500), 'it fails (500: oops), after 4 tries', 8),
    (lambda h: h.connection.shutdown(socket.SHUT_RDWR), 'the connection broke', 8),
], ids=lambda o: o if isinstance(o, str) else '')
def test_of_no_use(then, says_, calls):
    "What will not change ends everything, in one sentence; what had come is kept and not asked for again"
    store,prompts = Store(':memory:'),[f'p{i}' for i in range(20)]
    with served(lambda h, n, asked: h.give() if n<=5 else then(h)) as s:
        llm = chat(s, limits=Limits(parallel=1, retries=3, patience=.05, timeout=1), store=store)
        with pytest.raises(RemoteError) as e: llm.generate(prompts)
        said = str(e.value)
        assert says_ in said and key not in said and '\n' not in said
        assert said.endswith(' of 20 new answers are kept; the same call goes on from there')
        assert len(s.asked)==5+calls and len(store)==5
        s.mood = well
        assert all(o.text=='fine' for o in llm.generate(prompts))
        assert sorted(o['messages'][0]['content'] for o in s.asked[5+calls:])==sorted(prompts[5:])

@pytest.mark.parametrize('then,says_', [
    (lambda h: h.give(dict(error=dict(code='context_length_exceeded', message="This model's maximum context length is 4096 tokens, 3 over")), 400), 'show it fewer or shorter documents, or ask for fewer max_tokens'),
    (lambda h: h.give(dict(error=dict(type='exceed_context_size_error', message='the request exceeds the available context size')), 400), 'show it fewer or shorter documents'),
    (lambda h: h.give(b'', 413), 'show it fewer or shorter documents'),
    (lambda h: h.give(dict(error=dict(message="Unsupported parameter: 'temperature'")), 400), "refuses the request (400: Unsupported parameter: 'temperature')"),
    (lambda h: h.give(b'<html><title>Log in</title></html>', 200, Content_Type='text/html'), "an HTML page, 'Log in' instead of JSON; check the address"),
    (lambda h: h.give(b'{"choices": [', 200), 'instead of JSON'),
    (lambda h: h.give(dict(error='no')), 'refuses the request (400: no)'),
    (lambda h: h.give(dict(choices=[])), 'refuses the request'),
    (lambda h: h.give(dict(choices=[{}])), 'something else than an answer'),
    (lambda h: h.give(dict(choices=[dict(message=dict(content=[1]), finish_reason='stop')])), 'something else than an answer'),
    (lambda h: h.give(b'[1]'), 'where an object was expected'),
    (lambda h: h.give(says('[1] > ', 'content_filter')), 'it gives no answer (content_filter)'),
    (lambda h: h.give(says(None, 'tool_calls')), 'it gives no answer (tool_calls)'),
    (lambda h: h.give(says(None, refusal='I cannot.')), 'it gives no answer (I cannot.)'),
    (lambda h: time.sleep(1.2), 'gave no answer within 0.4 s'),
    (lambda h: h.give(b'{', Content_Length='999'), 'the connection broke'),
], ids=lambda o: o if isinstance(o, str) else '')
def test_one_fails(then, says_):
    "What is wrong with one prompt is a `Failure`, the rest goes on, and the failure is asked for again"
    with served(lambda h, n, asked: then(h) if asked['messages'][0]['content']=='p1' and not h.server.well else h.give()) as s:
        s.well = False
        llm = chat(s, limits=Limits(parallel=2, retries=0, timeout=.4))
        found = llm.generate(['p0','p1','p2','p3'])
        assert isinstance(found[1], Failure) and says_ in found[1] and key not in found[1] and '\n' not in found[1]
        assert [o.text for o in found if isinstance(o, Reply)]==['fine']*3
        s.well = True
        again = llm.generate(['p0','p1','p2','p3'])
        assert [o.text for o in again]==['fine']*4 and [o.kept for o in again]==[True,False,True,True]

def test_error_text_is_no_ranking():
    "rank_llm reads the digits of an error as an order"
    from rankwb.core.data import Docs
    from rankwb.reranking.asking import Asking, Reading
    @dataclass(frozen=True)
    class All(Asking):
        def order(self, n): return (yield [tuple(range(n))])[0] if n else ()
        def prompt(self, query, docs, question): return query
        def ask(self, prompts, questions): return self.model.generate(prompts)
        def read(self, answer, question): return Reading([int(c)-1 for c in answer.text])
    error = dict(error=dict(message='max 4096 tokens, 3 over, code 5'))
    with served(lambda h, n, asked: h.give(says('21345')) if asked['messages'][0]['content']=='good' else h.give(error, 400)) as s:
        reranker = All(chat(s))
        assert reranker.rank('good', list('abcde')).ids==['1','0','2','3','4']
        with pytest.raises(RemoteError, match='max 4096 tokens'): reranker.rank('bad', list('abcde')) # nothing but failures
        from rankwb.core.runs import Run
        from rankwb.core.records import Queries
        run = Run.from_dict({q: {f'd{i}': 9-i for i in range(5)} for q in ('good','bad')}).attach(Queries.from_dict(dict(good='good', bad='bad')), Docs.from_dict({f'd{i}': 'x' for i in range(5)}))
        with pytest.warns(UserWarning, match='1 could not be read'): out = reranker(run)
        assert out['bad'].ids==run['bad'].ids and out['good'].ids==['d1','d0','d2','d3','d4']

@pytest.mark.parametrize('mood', [
    lambda h, n, asked: h.give(b'', 429, Retry_After='0') if n<4 else h.give(),
    lambda h, n, asked, seen=set(): (h.give() if str(asked['messages']) in seen else h.give(b'<title>x</title>', 502), seen.add(str(asked['messages']))),
    lambda h, n, asked: h.connection.shutdown(socket.SHUT_RDWR) if n in (2,3) else h.give(),
    lambda h, n, asked: time.sleep(1.3) if n==1 else h.give(),
    lambda h, n, asked: h.give(dict(error=dict(code=503, message='upstream'))) if n==1 else h.give(),
], ids=['429','502','cut','hangs','error with status 200'])
def test_right_in_the_end(mood):
    with served(mood) as s: assert [o.text for o in chat(s).generate([f'p{i}' for i in range(6)])]==['fine']*6

def test_drips():
    "A server that sends a byte now and then is given up in time"
    start = time.monotonic()
    with served(drip) as s, pytest.raises(RemoteError, match='not whole in time'): chat(s, limits=Limits(retries=0, timeout=.5)).generate(['p'])
    assert time.monotonic()-start<3

def test_limits():
    with served(together(3)) as s:
        chat(s, limits=Limits(parallel=3)).generate([f'p{i}' for i in range(9)])
        assert s.most==3
    with served() as s:
        start = time.monotonic()
        chat(s, limits=Limits(parallel=4, requests=600)).generate([f'p{i}' for i in range(5)])
        assert len(s.asked)==5 and apart([o['at'] for o in s.asked], start, .1)
    with served(lambda h, n, asked: h.give(b'', 429, Retry_After='0.6') if n==1 else h.give()) as s:
        chat(s, limits=Limits(parallel=1, patience=5)).generate(['a','b'])
        assert s.asked[1]['at']-s.asked[0]['at']>=.55

# Keeping -------------------------------------------------------------------------------------------------------------

def test_the_key_is_nowhere(tmp_path, monkeypatch):
    tape,store = tmp_path/'t.jsonl',Store(tmp_path/'s.sqlite')
    with served() as s:
        llm = chat(s, tape=str(tape), store=store)
        llm.generate(['p'])
        assert key not in repr(llm)+str(llm)+llm._repr_html_()+repr(llm.__dict__)+llm.digest+repr(llm.usage)
        assert llm.digest==Chat('openai/m', s.url).digest and llm==Chat('openai/m', s.url) and hash(llm)==hash(Chat('openai/m', s.url))
        with pytest.raises(TypeError, match='a key is not written'): pickle.dumps(llm.api_key)
        monkeypatch.setenv('OPENAI_API_KEY', 'sk-of-the-environment')
        Chat('openai/m', s.url, store=Store(':memory:')).generate(['p'])
        assert s.asked[-1]['auth'] is None # not to a server of somebody else
    for f in tmp_path.iterdir(): assert key.encode() not in f.read_bytes()
    monkeypatch.delenv('OPENAI_API_KEY')
    with pytest.raises(RemoteError, match='there is no key; set OPENAI_API_KEY'): Chat('openai/m', store=Store(':memory:')).generate(['p'])
    again = Chat('openai/m', s.url, tape=str(tape), offline=True)
    assert again.generate(['p'])[0].text=='fine'
    with pytest.raises(LookupError, match='not on the tape'): again.generate(['q'])

def test_in_an_event_loop():
    "As in a notebook; in a thread, because the loop of the browser tests may run in this one"
    with served() as s, ThreadPoolExecutor() as pool:
        async def inside(): return chat(s).generate(['a','b'])
        assert [o.text for o in pool.submit(asyncio.run, inside()).result()]==['fine']*2

@pytest.mark.parametrize('where', ['tape','store'])
def test_killed(tmp_path, where):
    "kill -9 in the middle: what had come is kept, and is not paid for again"
    def slow(h, n, asked):
        if n>3: time.sleep(30)
        h.give()
    run = '''
        from rankwb.core.caching import Store
        from rankwb.core.calls import Limits
        from rankwb.core.chat import Chat
        Chat('openai/m', '{}', limits=Limits(parallel=1), {}).generate([f'p{{i}}' for i in range(6)])'''
    there = dict(tape=dict(tape=str(tmp_path/'t.jsonl')), store=dict(store=Store(tmp_path/'s.sqlite')))[where]
    said = ', '.join(f'{k}={v!r}' for k,v in there.items())
    with served(slow) as s:
        p = subprocess.Popen([sys.executable, '-c', textwrap.dedent(run.format(s.url, said))])
        until = time.monotonic()+20
        while len(s.asked)<4 and time.monotonic()<until: time.sleep(.05)
        p.kill(); p.wait()
        s.mood = well
        assert len(Chat('openai/m', s.url, **(dict(store=Store(':memory:'))|there)).generate([f'p{i}' for i in range(6)]))==6
        assert sorted(o['messages'][0]['content'] for o in s.asked[4:])==['p3','p4','p5']

def test_interrupted():
    "Ctrl-C ends the call at once, although the server hangs"
    run = '''
        import sys
        from rankwb.core.caching import Store
        from rankwb.core.chat import Chat
        try: Chat('openai/m', '{}', store=Store(':memory:')).generate(['a'])
        except KeyboardInterrupt: sys.exit(7)'''
    with served(lambda h, n, asked: time.sleep(30)) as s:
        p = subprocess.Popen([sys.executable, '-c', textwrap.dedent(run.format(s.url))])
        until = time.monotonic()+20
        while not s.asked and time.monotonic()<until: time.sleep(.05)
        p.send_signal(signal.SIGINT)
        assert p.wait(5)==7

def test_usage():
    with served() as s:
        llm = chat(s, price=(1.,10.))
        llm.generate(['a','b','a'])
        llm.generate(['b'])
        u = llm.usage
        assert (u.calls,u.tokens,u.made,u.items,u.kept)==(2,24,4,3,1)
        assert math.isclose(u.cost, (20*1+4*10)/1e6)
        assert chat(s).usage.cost is None
        with pytest.raises(ValueError, match='two numbers'): chat(s, price=1.)

# Generating ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('body,how,want', [
    (says('Paris.\nQ: next'), dict(stop='\nQ:'), ('Paris.','stop','\nQ:','')), # left in by the server
    (says('Paris. The'), dict(stop='\n'), ('Paris. The','stop','','')), # taken out, or the end: OpenAI does not tell
    (dict(says(), choices=[dict(message=dict(content='Paris.'), finish_reason='stop', stop_reason='\n')]), dict(stop=('\n','x')), ('Paris.','stop','\n','')), # vLLM tells
    (dict(says(), choices=[dict(message=dict(content='Paris.'), finish_reason='stop', stop_reason=128009)]), dict(stop='\n'), ('Paris.','stop','','')), # a token that ends
    (says('Paris. The', 'length'), {}, ('Paris. The','length','','')),
    (says('a\nb', 'length'), dict(stop='\n'), ('a','stop','\n','')),
    (says('1 2 3 4 5 6'), dict(stop=('7','8','9','0','5')), ('1 2 3 4 ','stop','5','')),
    (says('[2] > [1]', reasoning_content='[1]?'), {}, ('[2] > [1]','stop','','[1]?')), # DeepSeek, SGLang
    (says('[2] > [1]', reasoning='[1]?'), {}, ('[2] > [1]','stop','','[1]?')), # vLLM, OpenRouter
    (says('<think>\n[1]?\n</think>\n\n[2] > [1]'), {}, ('[2] > [1]','stop','','[1]?')),
    (says('[1]?</think>[2] > [1]'), {}, ('[2] > [1]','stop','','[1]?')), # the template began to think
    (says('<think>[1]? [2]?', 'length'), {}, ('','length','','[1]? [2]?')),
    (says('<think>a\nb</think>c\nd'), dict(stop='\n'), ('c','stop','\n','a\nb')),
    (says(None, 'length', reasoning_content='hm'), {}, ('','length','','hm')),
    (says(''), {}, ('','stop','',''))])
def test_reply(body, how, want):
    o = one(body, **how)
    assert (o.text,o.finish,o.stop,o.reasoning)==want and (o.asked,o.tokens)==(10,2)

def test_no_content_is_no_answer():
    "An empty text is one; a message without any is none"
    for body in (says(None), dict(says(), choices=[dict(message=dict(role='assistant'), finish_reason='stop')])):
        with pytest.raises(RemoteError, match='its message has no content'): one(body)

@pytest.mark.parametrize('prompt,body,stop,want', [ # everything as one text: what the model thought is put back where the server told it apart
    ('p', says('[2] > [1]', reasoning_content='[1]?'), (), ('<think>[1]?\n</think>\n\n[2] > [1]','')),
    ('p', says('<think>a\nb</think>c\nd'), '\n', ('<think>a','\n')), # also where a server takes no notice of the string
    ('p', says(None, reasoning_content='who? <search>Ada'), '</search>', ('<think>who? <search>Ada','')), # SGLang and some vLLM stop in a thought; this one does not tell
    ('p', dict(choices=[dict(message=dict(content=None, reasoning='who? <search>Ada'), finish_reason='stop', stop_reason='</search>')]), '</search>', ('<think>who? <search>Ada','</search>')),
    ([dict(role='user', content='p'), dict(role='assistant', content='<think>Well,')], says('so.', reasoning_content=' hm'), (), (' hm\n</think>\n\nso.','')),
    ([dict(role='user', content='p'), dict(role='assistant', content='<think>a</think>b')], says('c'), (), ('c',''))])
def test_raw(prompt, body, stop, want):
    with served(always(body)) as s:
        o = chat(s).generate([prompt], stop=stop, raw=True)[0]
        assert (o.text,o.stop,o.reasoning)==(*want,'') and s.asked[0].get('stop')==([stop] if stop else None)

def test_a_stop_string_in_a_thought():
    "Where a server ends the reply in the middle of a thought, there is no answer, and no empty one"
    for body in (says(None, reasoning_content='Question: is it'), says('<think>Question: is it')):
        with served(always(body)) as s:
            with pytest.raises(RemoteError, match="it said nothing after its thought .*extra={'stop': None}"): chat(s).generate(['p'], stop='Question:')
            assert chat(s).generate(['p'])[0].text=='' # nobody asked for an end, so this is what it said
    for body,want in ((says('', reasoning_content='hm', finish='length'),'length'), (says('<think>hm</think>'),'stop')):
        with served(always(body)) as s: assert [(o.text,o.finish) for o in chat(s).generate(['p'], stop='x')]==[('',want)]

def test_scripts_networks_and_servers_agree():
    "The same text, cut in the same place"
    from types import SimpleNamespace
    from rankwb.core import chat, replies
    from rankwb.core.llm import Scripted
    net,decode = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=9)),lambda text: SimpleNamespace(decode=lambda o, **kw: text if len(o) else '')
    for text in ('<think>a b\nc</think>d e\nf', '<think>a b</think>d', 'd e\nf', '<think>a\nb', 'x <think>a</think>'):
        for raw in (False,True):
            s = Scripted(says=lambda p: text).generate(['p'], stop='\n', raw=raw)[0]
            n = replies._reply(net, decode(text), 1, [], [1,9], None, False, ['\n'], (), 0., raw)
            c = chat._reply((dict(message=dict(content=text), finish_reason='length'), 1, 2, 0.), ('\n',), False, raw)
            assert (s.text,s.stop,s.reasoning)==(n.text,n.stop,n.reasoning)==(c.text,c.stop,c.reasoning)

def test_logprobs():
    "Of the tokens that the text is made of, without thoughts, stop strings and what ends a turn"
    made = [token(t, -i) for i,t in enumerate(['<think>','hm','</think>','\n\n','Par','is','.\n','Q','<|im_end|>'])]
    o = one(says('<think>hm</think>\n\nParis.\nQ', logprobs=made), stop='\n', logprobs=True)
    assert o.text=='Paris.' and o.logprobs==(('Par',-4.),('is',-5.),('.\n',-6.))
    store = Store(':memory:')
    with served(always(says('fine', logprobs=[token('fine', -.25)]))) as s:
        first,again = (chat(s, store=store).generate(['p'], logprobs=True)[0] for _ in range(2))
        assert first==again and first.logprobs==(('fine',-.25),) and again.kept
    with served() as s, pytest.raises(RemoteError, match='it gave no log-probabilities'): chat(s).generate(['p'], logprobs=True)
    broken = one(says('é', logprobs=[token('\ufffd', -1), token('\ufffd', -2)]), logprobs=True)
    assert broken.logprobs==(('\ufffd',-1.),('\ufffd',-2.))

def test_what_is_sent(monkeypatch):
    talk = [dict(role='system', content='s'), dict(role='user', content='u'), dict(role='assistant', content='a'), dict(role='user', content='u2')]
    with served() as s:
        chat(s).generate([talk], max_tokens=7)
        chat(s, extra=dict(temperature=None, reasoning_effort='low')).generate(['p'], n=2, temperature=.5, seed=3, stop=list('123456'))
        chat(s, model='deepseek/deepseek-chat').generate(['p'], temperature=.5)
        asked = [bare(o) for o in s.asked]
        assert asked[0]==dict(model='m', messages=talk, max_tokens=7, temperature=0)
        assert sorted(o['seed'] for o in asked[1:3])==[3,4] and all(o['stop']==list('1234') and 'temperature' not in o and o['reasoning_effort']=='low' for o in asked[1:3])
        assert asked[3]==dict(model='deepseek-chat', messages=[dict(role='user', content='p')], max_tokens=256, temperature=.5)
        assert {o['path'] for o in s.asked}=={'/v1/chat/completions'} and {o['auth'] for o in s.asked}=={f'Bearer {key}'}
        from rankwb.core import chat as module
        from dataclasses import replace
        monkeypatch.setitem(module.services, 'openai', replace(module.services['openai'], base=s.url)) # OpenAI itself
        Chat('openai/m', api_key=key, store=Store(':memory:')).generate(['p'], max_tokens=9)
        assert s.asked[-1]['max_completion_tokens']==9 and 'max_tokens' not in s.asked[-1]
    assert len({Chat('openai/m', 'http://a').digest, Chat('openai/m', 'http://b').digest, Chat('openai/n', 'http://a').digest, Chat('openai/m', 'http://a', extra={'x':1}).digest, Chat('openai/m', 'http://a', completions=True).digest})==5

# Choosing ------------------------------------------------------------------------------------------------------------

def rank_llm(told, yes=('yes','Yes','YES'), no=('no','No','NO')):
    "Its rule (VllmHandlerWithOpenAISDK.score_from_top_logprobs)"
    p = [sum(math.exp(v) for t,v in told if t.strip() in some) for some in (yes,no)]
    return p[0]/sum(p)

@pytest.mark.parametrize('told', [[('yes',-.1),('no',-2.)], [('YES',-.2),('No',-1.5)], [('yes ',-.1),('no',-2.)], [(' yes',-1.),('Yes',-1.2),('no',-2.),('NO',-9.),('maybe',-.5)], [('yes',-.05)]])
def test_choose_as_rank_llm(told):
    spelled = ['yes','Yes','YES','no','No','NO']
    with served(always(says('yes', logprobs=[token('yes', -.1, told)]))) as s:
        [p] = chat(s).choose(['p'], spelled)
        assert {k: v for k,v in s.asked[0].items() if k in ('max_tokens','logprobs','top_logprobs','temperature')}==dict(max_tokens=1, logprobs=True, top_logprobs=20, temperature=0)
    p = np.exp(p)
    np.testing.assert_allclose(p[:3].sum()/p.sum(), rank_llm(told), rtol=1e-12)

def test_choose():
    ps = lambda told, choices: _chances(list(told.items()), choices).tolist()
    assert ps({'A':-1.,'B':-2.}, ['B','A','C'])==[-2.,-1.,-math.inf]
    assert ps({'a':-1.,'A':-2.}, ['A'])==[-2.]
    assert ps({' yes':-1.,'yes':-2.}, ['yes',' yes'])==[-2.,-1.]
    assert ps({'yes\n':-1.}, [' yes','yes'])==[-1.,-math.inf] # each token counts once
    assert ps({'A':-9999.,'B':-.1}, ['A','B'])==[-math.inf,-.1]
    assert ps({'\n':-1.,'A':-2.}, ['\n','A'])==[-1.,-2.]
    with served(lambda h, n, asked: h.give(says('x', logprobs=[token('<think>', -.1, [('<think>',-.1),('Hm',-3.)] if 'deep' in asked['messages'][0]['content'] else [('A',-1.)])]))) as s:
        found = chat(s).choose(['deep','p'], ['A','B'])
        assert isinstance(found[0], Failure) and "none of the choices is among the 2 likeliest next tokens, of which '<think>' is the first" in found[0]
        assert found[1].tolist()==[-1.,-math.inf]
    with served() as s, pytest.raises(RemoteError, match='it gave no log-probabilities'): chat(s).choose(['p'], ['A'])
    with pytest.raises(TypeError, match='mistral tells no probabilities'): Chat('mistral/m').choose(['p'], ['A'])

def test_completions():
    body = dict(choices=[dict(text='A is', finish_reason='length', logprobs=dict(tokens=['A',' is'], token_logprobs=[-.5,-1.], top_logprobs=[{'A':-.5,' B':-1.},{' is':-1.}]))], usage=dict(prompt_tokens=1, completion_tokens=2))
    with served(always(body)) as s:
        llm = chat(s, completions=True, model='openai/base')
        assert llm.generate(['p'], logprobs=True)[0].logprobs==(('A',-.5),(' is',-1.))
        assert llm.choose(['p'], ['B','A'])[0].tolist()==[-1.,-.5]
        assert {o['path'] for o in s.asked}=={'/v1/completions'} and s.asked[0]['prompt']=='p' and s.asked[1]['logprobs']==20

# How likely a text is ------------------------------------------------------------------------------------------------

def echo(text, tokens, lps, **kw): return dict(text=text, logprobs=dict(tokens=tokens, token_logprobs=lps, **kw))

@pytest.mark.parametrize('c,context,continuation,want', [
    (echo('ab cd ef!', ['ab',' cd',' ef','!'], [None,-1,-2,-3]), 'ab cd', ' ef', [-2]),
    (echo('ab cd ef!', ['ab',' cd',' ef','!'], [None,-1,-2,-3]), 'ab ', 'cd ef', [-1,-2]), # a token that reaches over the border
    (echo('ab cd!', ['<s>','ab',' cd','!'], [None,-1,-2,-3]), 'ab', ' cd', [-2]), # the beginning of the text as a token
    (echo('né?!', ['n','\ufffd','\ufffd','?','!'], [None,-1,-2,-3,-4], text_offset=[0,1,1,2,3]), 'n', 'é?', [-2,-3]), # half a letter has no length
])
def test_reaching(c, context, continuation, want): assert _reaching(c, context, continuation).tolist()==want

def test_loglik_faults():
    def against(body, context='a b', says_=''):
        with served(always(dict(choices=[body]))) as s, pytest.raises(RemoteError, match=says_): chat(s, completions=True).loglik([context], [' c'])
    against(dict(text='!', logprobs=dict(tokens=['!'], token_logprobs=[-1])), says_='does not repeat the prompt')
    against(dict(text='a b c!'), says_='it gave no log-probabilities')
    against(echo(' c!', [' c','!'], [None,-1]), '', says_='a continuation needs a context')
    with served() as s:
        with pytest.raises(TypeError, match='say completions=True where the server'): chat(s).loglik(['a'], ['b'])
        with pytest.raises(TypeError, match='can only be asked about a text'): chat(s, completions=True).loglik([[dict(role='user', content='a')]], ['b'])
        with pytest.raises(TypeError, match='UPR asks its model to loglik'): LM.of(chat(s), 'UPR', 'loglik')
        assert not s.asked

def test_loglik_of_a_model():
    "A server with real weights and a real tokenizer: the sum is what the weights say"
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer,tok.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False),decoders.ByteLevel()
    tok.train_from_iterator(['how do I sort a list of words in place']*3, trainers.BpeTrainer(vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=tok.get_vocab_size(), n_embd=32, n_layer=2, n_head=2, n_positions=128)).eval()
    def scored(text):
        ids = tok.encode(text).ids
        with torch.no_grad(): lp = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        return ids,[None]+[lp[i-1,t].item() for i,t in enumerate(ids) if i]
    def answer(h, n, asked):
        assert asked['echo'] and asked['max_tokens']==1
        ids,lps = scored(asked['prompt'])
        h.give(dict(choices=[echo(asked['prompt']+'!', [tok.decode([i]) for i in ids]+['!'], lps+[-1.])], usage=dict(prompt_tokens=len(ids))))
    pairs = [('sort a list', ' of words'), ('how do I ', 'sort'), ('in pl', 'ace'), ('a', ' list\n in place')]
    with served(answer) as s: found = chat(s, completions=True).loglik(*zip(*pairs))
    for (context,continuation),o in zip(pairs, found):
        ids,lps = scored(context+continuation)
        ends = np.cumsum([len(tok.decode([i])) for i in ids])
        assert o.tolist()==[p for p,e in zip(lps, ends) if e>len(context)]

# litellm -------------------------------------------------------------------------------------------------------------

@pytest.fixture
def stub(monkeypatch):
    "A module that stands for litellm, and what it was asked"
    from rankwb.core import brokers
    class Answer(dict):
        def model_dump(self): return dict(self)
    class RateLimitError(Exception): status_code = 429
    def completion(**kw):
        asked.append(kw)
        if len(asked)==1: raise RateLimitError('slow down')
        return Answer(says('fine', logprobs=[token('fine', -.1, [('A',-1.)])]))
    asked = []
    monkeypatch.setitem(sys.modules, 'litellm', types.SimpleNamespace(completion=completion))
    brokers.litellm_module.cache_clear()
    yield asked
    brokers.litellm_module.cache_clear()

def test_litellm(stub):
    llm = Chat('bedrock/anthropic.claude', api_key=key, store=Store(':memory:'), limits=fast)
    assert llm.generate(['p'], stop='\n', max_tokens=9)[0].text=='fine' and llm.usage.retries==1
    assert stub[1]==dict(model='bedrock/anthropic.claude', messages=[dict(role='user', content='p')], max_tokens=9, temperature=0., stop=['\n'], timeout=1, num_retries=0, max_retries=0, api_key=key)
    assert llm.choose(['p'], ['A'])[0].tolist()==[-1.]
    with pytest.raises(ValueError, match='spoken to directly'): Chat('bedrock/m', completions=True)

def test_imports():
    "Neither httpx nor litellm is imported before it is needed"
    run = "import sys, rankwb.core.chat, rankwb.core.extractive, rankwb.reranking.remote; print([m for m in ('litellm','httpx','torch','transformers') if m in sys.modules])"
    assert subprocess.run([sys.executable, '-c', run], capture_output=True, text=True).stdout.strip()=='[]'
