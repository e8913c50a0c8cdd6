"Readers whose model is behind a real server in every mood: what is tried again, which question stays without an answer, and what is never paid for twice"
import json, re, signal, socket, subprocess, sys, textwrap, time, warnings, zlib
from dataclasses import replace
from pathlib import Path
import pytest
from conftest import root
from rankwb.core.answers import Answer, Answers, Passage
from rankwb.core.caching import Store
from rankwb.core.calls import Limits, RemoteError
from rankwb.core.chat import Chat
from rankwb.core.llm import Scripted
from rankwb.core.records import Docs, Queries
from rankwb.core.recorded import replay
from rankwb.core.steps import Search, perform
from rankwb.core.tapes import Tape
from rankwb.core.templates import Template, templates
from rankwb.core.traces import Call, Trace
from rankwb.evaluation.evaluate import evaluate
from rankwb.rag.adaptive import AdaptiveRAG, Complexity
from rankwb.rag.corag import CoRAG
from rankwb.rag.direct import ClosedBook, Direct
from rankwb.rag.flare import FLARE, FLAREInstruct
from rankwb.rag.ircot import IRCoT
from rankwb.rag.iter_retgen import IterRetGen
from rankwb.rag.react import ReAct
from rankwb.rag.rearag import ReaRAG
from rankwb.rag.replug import REPLUG
from rankwb.rag.rq_rag import RQRAG
from rankwb.rag.search_loops import SearchLoop
from rankwb.rag.self_ask import SelfAsk
from rankwb.rag.summaries import TreeSummarize
from rankwb.rag.sure import SuRe
from rankwb.rag.thought import ChainOfThought, SelfConsistency
from rankwb.retrieval.bm25 import BM25
from serving import bare, drip, serving, well

homes = dict(Alba='Rome', Bert='Oslo', Cleo='Cairo', Dora='東京', Emil='Lima', Fritz='Zürich')
rivers = dict(Rome='Tiber', Oslo='Akerselva', Cairo='Nile', Lima='Rímac', Zürich='Limmat') | {'東京': 'Sumida'}
docs = Docs.from_dict({f'{n} 007': f'{n} lives in {c} .' for n,c in homes.items()} | {f'{c}é': f'{c} lies on the {r} .' for c,r in rivers.items()})
queries = Queries.from_dict({n: f'On which river does {n} live?' for n in homes})
golds = {n: [rivers[c]] for n,c in homes.items()}
fast = Limits(parallel=2, retries=3, patience=.2, timeout=20)

def who(asked): return re.findall(r'river does (\w+) live', asked['messages'][-1]['content'])[-1]

def answer(asked):
    "A model that reads: the river if a passage has it, otherwise the town"
    shown,town = asked['messages'][-1]['content'],homes[who(asked)]
    text = rivers[town] if rivers[town] in shown else town if f'lives in {town}' in shown else 'nowhere'
    return dict(choices=[dict(finish_reason='stop', message=dict(role='assistant', content=text))], usage=dict(prompt_tokens=10, completion_tokens=2))

def served(mood=well): return serving(answer, mood, base='/v1', healed=False)

def chat(s, limits=fast, **kw): return Chat('openai/m', s.url, api_key='sk-very-secret', limits=limits, price=(1.,10.), **({} if kw else dict(store=Store(':memory:'))), **kw)

def direct(llm): return BM25(docs) % 2 >> Direct(llm)
def twice(llm): return IterRetGen(llm, BM25(docs) % 2, T=2)

towns,ends = homes,{n: rivers[c] for n,c in homes.items()} # what the first and the second search lead to
methods = pytest.mark.parametrize('method,right', [(direct,towns), (twice,ends)], ids=['direct','iterative'])

@methods
def test_a_good_day(method, right):
    with served() as s:
        found = method(chat(s))(queries)
        assert found.to_dict()==right and not found.unsure and not any(a.error for a in found)
        assert len(s.asked)==len(queries)*(1+(method is twice)) and all(c.cost==(10*1+2*10)/1e6 for c in found.trace if c.kind=='model')

# One question goes wrong ------------------------------------------------------------------------------------------------

ill = dict(
    timeout=(lambda h: time.sleep(1.5), 'gave no answer within 1 s'),
    drips=(lambda h: drip(h, 0, None), 'was not whole in time'),
    garbage=(lambda h: h.give(b'\x00\xff{"choices": [{"mess'), 'instead of JSON'),
    page=(lambda h: h.give(b'<html><title>Log in</title></html>'), "an HTML page, 'Log in'"),
    other=(lambda h: h.give(dict(choices=[dict(index=0)])), 'something else than an answer'),
    nothing=(lambda h: h.give(dict(choices=[])), 'refuses the request'),
    cut=(lambda h: h.connection.shutdown(socket.SHUT_RDWR), 'the connection broke'),
    half=(lambda h: h.give(b'{"choices"', Content_Length='999'), 'the connection broke'),
    null=(lambda h: h.give(dict(choices=[dict(finish_reason='stop', message=dict(role='assistant', content=None))])), 'it gives no answer (its message has no content)'),
    filtered=(lambda h: h.give(dict(choices=[dict(finish_reason='content_filter', message=dict(content=''))])), 'it gives no answer (content_filter)'),
    refused=(lambda h: h.give(dict(choices=[dict(finish_reason='stop', message=dict(content=None, refusal='I will not.'))])), 'it gives no answer (I will not.)'),
    long=(lambda h: h.give(dict(error=dict(code='context_length_exceeded', message='maximum context length is 10')), 400), 'show it fewer or shorter documents'),
    fails=(lambda h: h.give(b'oops', 500), 'it fails (500: oops)'))

@methods
@pytest.mark.parametrize('then,says', ill.values(), ids=ill)
def test_one_question(then, says, method, right):
    "It has no answer, says why, and counts as none; the others have theirs, and only it is asked again"
    mood = lambda h, n, asked: then(h) if who(asked)=='Cleo' and not h.server.healed else h.give()
    with served(mood) as s:
        reader = method(chat(s, replace(fast, retries=0, timeout=1 if 'within' in says or 'in time' in says else 20)))
        with pytest.warns(UserWarning, match='1 of 6 questions got no answer'): found = reader(queries)
        lost = found['Cleo']
        assert lost.text is None and says in lost.error and lost.finish=='failed' and '\n' not in lost.error and 'sk-very' not in lost.error
        assert found.unsure==('Cleo',) and {q: t for q,t in found.to_dict().items() if t is not None}=={q: t for q,t in right.items() if q!='Cleo'}
        assert [c.verdict for c in lost.calls if c.kind=='model']==['failed'] and lost.calls[-1].note==lost.error and lost.found and not lost.shown
        e = evaluate(found, golds, 'EM F1 Contains Answered')
        assert e.unanswered==('Cleo',) and e.counts['EM']==5 and e.mean['EM']==(method is twice) and e.mean['Answered']==5/6
        s.healed,before = True,len(s.asked)
        again = reader(queries)
        assert again.to_dict()==right and {who(o) for o in s.asked[before:]}=={'Cleo'}
        assert {c.query for c in again.trace if c.kind=='model' and not c.kept}=={'Cleo'}

def test_the_second_call():
    "What came before a call that failed is in the trace of the answer that is none"
    mood = lambda h, n, asked: h.give(b'oops', 500) if who(asked)=='Cleo' and 'lies on the Nile' in str(asked) else h.give()
    with served(mood) as s, pytest.warns(UserWarning, match='1 of 6'):
        found = twice(chat(s, replace(fast, retries=0)))(queries)
    assert [(c.kind,c.verdict,c.answer if c.kind=='model' else c.found[0]) for c in found['Cleo'].calls]==[('search','ok','Cleo 007'), ('model','ok','Cairo'), ('search','ok','Cleo 007'), ('model','failed','')]
    assert found['Cleo'].text is None and found['Dora'].text=='Sumida'

# Patience ---------------------------------------------------------------------------------------------------------------

def at_first(then):
    "The first call for each question goes wrong"
    seen = set()
    def mood(h, n, asked):
        new = who(asked) not in seen
        seen.add(who(asked))
        then(h) if new else h.give()
    return mood

passing = {
    '429': lambda: lambda h, n, asked: h.give(b'', 429, Retry_After='0') if n<4 else h.give(),
    '429 with a wait': lambda: lambda h, n, asked: h.give(b'', 429, Retry_After='0.1') if n==1 else h.give(),
    '503': lambda: at_first(lambda h: h.give(b'', 503, Retry_After='0')),
    'cut': lambda: lambda h, n, asked: h.connection.shutdown(socket.SHUT_RDWR) if n in (2,5) else h.give(),
    'hangs': lambda: lambda h, n, asked: time.sleep(1.2) if n==1 else h.give()}

@methods
@pytest.mark.parametrize('mood', passing.values(), ids=passing)
def test_passes(mood, method, right):
    "What passes is waited for: everything is answered, nobody is warned, and it is counted"
    with served(mood()) as s, warnings.catch_warnings():
        warnings.simplefilter('error')
        llm = chat(s, replace(fast, timeout=.8))
        assert method(llm)(queries).to_dict()==right
        assert llm.usage.retries>0 and llm.usage.calls==len(queries)*(1+(method is twice))

# Nothing helps ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('then,says', [
    (lambda h: h.give(dict(error=dict(message='Incorrect API key provided: sk-very-secret')), 401), 'refuses the key (401: Incorrect API key provided: …)'),
    (lambda h: h.give(b'', 402), 'wants to be paid'),
    (lambda h: h.give(dict(error=dict(code='insufficient_quota', message='spent')), 429), 'too many requests (429: spent)'),
    (lambda h: h.give(b'', 429, Retry_After='3600'), 'asks to wait for 3,600 s')], ids=['key','money','quota','tomorrow'])
def test_in_the_middle(then, says):
    "The key is refused after 8 of 12 calls: one sentence, nothing is an answer, and the next run pays for the other 4"
    with served(lambda h, n, asked: h.give() if n<=8 or h.server.healed else then(h)) as s:
        llm = chat(s, replace(fast, parallel=1))
        with pytest.raises(RemoteError) as e: twice(llm)(queries)
        assert says in str(e.value) and 'sk-very' not in str(e.value) and '\n' not in str(e.value)
        assert '2 of 6 new answers are kept; the same call goes on from there' in str(e.value) and len(s.asked)==9
        s.healed = True
        found = twice(llm)(queries)
        assert found.to_dict()==ends and len(s.asked)==13
        assert sum(c.kept for c in found.trace if c.kind=='model')==8

def test_all_fail():
    "Where no question at all has an answer, that is an error, and no table of zeros"
    with served(lambda h, n, asked: h.give(dict(choices=[]))) as s:
        with pytest.raises(RemoteError, match='none of 6 questions got an answer; the first: '): direct(chat(s))(queries)

def test_no_server():
    with served() as s: gone = chat(s, replace(fast, retries=0))
    with pytest.raises(RemoteError, match='cannot be reached'): direct(gone)(queries)

def test_an_empty_answer_is_one():
    "A model that says nothing has answered: that is measured as wrong, and is no failure"
    with served(lambda h, n, asked: h.give(answer(asked) if who(asked)!='Cleo' else dict(choices=[dict(finish_reason='stop', message=dict(content=''))]))) as s:
        found = twice(chat(s))(queries)
    e = evaluate(found, golds, 'EM Answered')
    assert found['Cleo'].text=='' and not found.unsure and (e.counts['EM'],e.mean['EM'],e.mean['Answered'])==(6,5/6,1)

# A search fails ---------------------------------------------------------------------------------------------------------

def test_search_fails():
    "The retriever is what cannot be reached: every question says so"
    class Away(BM25):
        def apply(self, x): raise RemoteError('the index is away')
    with served() as s:
        with pytest.raises(RemoteError, match='none of 6 questions got an answer; the first: the index is away'): IterRetGen(chat(s), Away(docs) % 2)(queries)
        assert not s.asked

# Killed -----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('where', ['tape','store'])
def test_killed(tmp_path, where):
    "kill -9 in the second round: the same run goes on from there, and no call that was answered is made again"
    def slow(h, n, asked):
        if n>8: time.sleep(30)
        h.give()
    there = dict(tape=dict(tape=str(tmp_path/'t.jsonl'), store=Store(':memory:')), store=dict(store=Store(tmp_path/'s.sqlite')))[where]
    said = ', '.join(f'{k}={v!r}' for k,v in there.items())
    run = f'''
        import sys
        sys.path.insert(0, {str(root/"tests")!r})
        from test_answering_faults import *
        twice(Chat('openai/m', {{!r}}, limits=Limits(parallel=1), {said}))(queries)'''
    with served(slow) as s:
        p = subprocess.Popen([sys.executable, '-c', textwrap.dedent(run.format(s.url))], cwd=tmp_path)
        until = time.monotonic()+60
        while len(s.asked)<9 and p.poll() is None and time.monotonic()<until: time.sleep(.05)
        p.send_signal(signal.SIGKILL)
        assert p.wait()==-signal.SIGKILL
        paid,s.mood = [json.dumps(bare(o)) for o in s.asked[:8]],well
        found = twice(Chat('openai/m', s.url, **there))(queries)
        asked = [json.dumps(bare(o)) for o in s.asked[9:]]
    assert found.to_dict()==ends and len(asked)==4 and not set(asked)&set(paid) and len({*asked,*paid})==12
    assert sum(c.kept for c in found.trace if c.kind=='model')==8

def test_searches_are_written_down_as_they_come(tmp_path):
    "A run of many searches that is ended in the middle goes on where it was"
    asked = []
    class Index(BM25):
        def apply(self, x):
            asked.append(len(x))
            if len(asked)==2: raise KeyboardInterrupt
            return super().apply(x)
    many,reader = Queries.from_dict({f'q{i}': f'Where does Alba live {i}?' for i in range(300)}),Direct(Scripted(says=lambda m: 'here'))
    build = lambda: (Index(docs) % 1).recorded(tmp_path/'s.jsonl') >> reader
    with pytest.raises(KeyboardInterrupt): build()(many)
    assert len(Tape(tmp_path/'s.jsonl'))==1+128
    assert set(build()(many).to_dict().values())=={'here'} and asked==[128,128,128,44]

@pytest.mark.parametrize('where', ['tape','store'])
def test_a_broken_retriever(tmp_path, where):
    "Its error ends the batch and says what was at work for whom; when it is mended, no search and no call is made again"
    there = dict(tape=lambda: dict(tape=str(tmp_path/'t.jsonl'), store=Store(':memory:')), store=lambda: dict(store=Store(tmp_path/'s.sqlite')))[where]
    asked,broken = [],[True]
    class Index(BM25):
        def apply(self, x):
            asked.append((x.ids.to_pylist(), x.texts()))
            if broken and len(asked)==2: raise ValueError("cannot read '東京'")
            return super().apply(x)
    build = lambda s: IterRetGen(Chat('openai/m', s.url, api_key='sk-very-secret', **there()), (Index(docs) % 2).recorded(tmp_path/'searches.jsonl'), T=2)
    with served() as s:
        with pytest.raises(ValueError, match="^cannot read '東京'") as e: build(s)(queries)
        note, = e.value.__notes__
        assert str(e.value)=="cannot read '東京'"
        assert note.startswith("Index(k1=0.9, b=0.4) % 2 was at work for 6 questions: 'Alba', 'Bert', 'Cleo', 'Dora', 'Emil', …; ") and 'sk-very-secret' not in note
        assert [i for i,_ in asked]==[[f'{n} · search' for n in homes]]*2 and len(s.asked)==6
        broken.clear()
        found = build(s)(queries)
    assert found.to_dict()==ends and len(s.asked)==12 and sum(c.kept for c in found.trace if c.kind=='model')==6
    assert len(asked)==3 and asked[2]==asked[1] # those of the first round were on the tape

def test_a_search_names_its_question():
    "What a retriever says of a query without words can be understood by whoever asked a question"
    asked = Queries.from_dict({'007': 'On which river does Alba live?', 'b é': 'the of'})
    with warnings.catch_warnings(record=True) as w:
        warnings.simplefilter('always')
        IRCoT(Scripted(says=lambda p: 'It is the Tiber.'), BM25(docs) % 2, max_steps=1)(asked)
    assert "finds nothing for 1 of 2 queries, of which the 'english' analyzer leaves no term: b é · search ('the of')" in str(w[0].message)

def test_names_of_searches():
    "Several of one question have names of their own, and what several questions ask for is searched once, for the first of them"
    seen = []
    class Index(BM25):
        def apply(self, x):
            seen.append(dict(zip(x.ids.to_pylist(), x.texts())))
            return super().apply(x)
    def work(*texts): return (yield [Search(t) for t in texts])
    done = perform({'a': work('Alba','Bert'), 'a · search': work('Bert','Cleo'), 'b': work('Alba','Alba')}, dict(search=Index(docs) % 1))
    assert seen==[{'a · search': 'Alba', 'a · search 2': 'Bert', 'a · search · search': 'Cleo'}]
    assert [[ps[0].id for ps in d.value] for d in done.values()]==[['Alba 007','Bert 007'],['Bert 007','Cleo 007'],['Alba 007']*2]

# Saved, and played ------------------------------------------------------------------------------------------------------

def lasting(path):
    "The bytes of saved answers, without the time and the money that these calls took"
    return [json.dumps({k: [{x: y for x,y in c.items() if x not in ('ms','kept','cost')} for c in v] if k=='calls' else v for k,v in json.loads(line).items()}) for line in path.read_text(encoding='utf-8').splitlines()]

@methods
def test_saved(tmp_path, method, right):
    "Answers, traces and tapes are read as they were written, also where there is no answer"
    mood = lambda h, n, asked: h.give(b'oops', 500) if who(asked)=='Cleo' else h.give()
    with served(mood) as s, pytest.warns(UserWarning): found = method(chat(s, replace(fast, retries=0), tape=str(tmp_path/'t.jsonl'), store=Store(':memory:')))(queries)
    found.save(tmp_path/'a.jsonl')
    found.save(tmp_path/'a.jsonl.gz')
    found.trace.save(tmp_path/'c.jsonl')
    for name in ('a.jsonl','a.jsonl.gz'):
        again = Answers.read(tmp_path/name, name=found.name)
        assert again==found and list(again)==list(found) and again.digest==found.digest and repr(again)==repr(found) and again.run==found.run
        again.save(tmp_path/f'b{name}')
        assert (tmp_path/f'b{name}').read_bytes()==(tmp_path/name).read_bytes()
    assert Trace.read(tmp_path/'c.jsonl')==found.trace
    tape,copy = Tape(tmp_path/'t.jsonl'),Tape(tmp_path/'copy.jsonl')
    for o in map(json.loads, (tmp_path/'t.jsonl').read_text(encoding='utf-8').splitlines()): copy.put(o.pop('key'), o)
    assert (tmp_path/'copy.jsonl').read_bytes()==(tmp_path/'t.jsonl').read_bytes()
    assert len(copy)==len(tape)==1+5*(1+(method is twice)) # the name of the model, and what it answered

@methods
def test_played(tmp_path, method, right):
    "With no model and no index the same comes out, byte by byte, and the server is not asked"
    calls,searches = str(tmp_path/'calls.jsonl'),str(tmp_path/'searches.jsonl')
    build = lambda llm,retriever: retriever % 2 >> Direct(llm) if method is direct else IterRetGen(llm, retriever % 2, T=2)
    with served() as s:
        live = build(chat(s, tape=calls), BM25(docs).recorded(searches))(queries)
        base,n = s.url,len(s.asked)
        before = [Path(o).read_bytes() for o in (calls,searches)]
        offline = lambda: build(Chat('openai/m', base, tape=calls, offline=True), replay(searches))(queries)
        first,second = offline(),offline()
        assert len(s.asked)==n
    assert first==live and first.digest==second.digest==live.digest and first.to_dict()==right
    for o,name in ((live,'live'),(first,'first'),(second,'second')): o.save(tmp_path/f'{name}.jsonl')
    assert lasting(tmp_path/'live.jsonl')==lasting(tmp_path/'first.jsonl')==lasting(tmp_path/'second.jsonl')
    assert (tmp_path/'first.jsonl').read_bytes()==(tmp_path/'second.jsonl').read_bytes() # nothing takes time where a tape is played, also behind `% 2`
    assert all(c.kept and c.ms==0 and c.cost in (0,None) for c in first.trace if c.kind=='model')
    assert [Path(o).read_bytes() for o in (calls,searches)]==before
    assert (evaluate(first, golds, 'EM F1').values==evaluate(live, golds, 'EM F1').values).all()

def test_played_elsewhere(tmp_path):
    "In a process without the documents, and where any connection is an error"
    calls,searches = tmp_path/'calls.jsonl',tmp_path/'searches.jsonl'
    with served() as s:
        live = IterRetGen(chat(s, tape=str(calls)), BM25(docs).recorded(str(searches)) % 2, T=2)(queries)
        base = s.url
    run = f'''
        import socket, sys
        def never(*a, **kw): raise AssertionError('a connection')
        socket.socket.connect = never
        from rankwb.core.chat import Chat
        from rankwb.core.records import Queries
        from rankwb.core.recorded import replay
        from rankwb.rag.iter_retgen import IterRetGen
        found = IterRetGen(Chat('openai/m', {base!r}, tape={str(calls)!r}, offline=True), replay({str(searches)!r}) % 2, T=2)(Queries.from_dict({dict(zip(queries.ids.to_pylist(), queries.texts()))!r}))
        print(found.digest)'''
    out = subprocess.run([sys.executable, '-c', textwrap.dedent(run)], capture_output=True, text=True, cwd=tmp_path)
    assert out.stdout.strip()==live.digest, out.stderr

def test_not_on_the_tape(tmp_path):
    "What was not recorded is an error that names it, and no empty answer"
    calls,searches = str(tmp_path/'calls.jsonl'),str(tmp_path/'searches.jsonl')
    with served() as s:
        build = lambda llm,r: IterRetGen(llm, r % 2, T=2)
        build(chat(s, tape=calls), BM25(docs).recorded(searches))(queries[:3])
        base = s.url
    played = build(Chat('openai/m', base, tape=calls, offline=True), replay(searches))
    assert played(queries[:3]).to_dict()=={n: ends[n] for n in list(homes)[:3]}
    with pytest.raises(LookupError, match='not on the tape'): played(queries)
    with pytest.raises(LookupError, match='1 of 1 calls are not on the tape'): (replay(searches) % 2 >> Direct(Chat('openai/m', base, tape=calls, offline=True), max_tokens=7))(queries[:1])

def test_names_the_difference(tmp_path):
    "A prompt, a setting or a model that was changed since is named"
    calls = str(tmp_path/'calls.jsonl')
    with served() as s:
        direct(chat(s, tape=calls))(queries)
        played = lambda model='openai/m', **kw: (BM25(docs) % 2 >> Direct(Chat(model, s.url, tape=calls, offline=True), **kw))(queries)
        assert played().to_dict()==towns
        with pytest.raises(LookupError, match='the same was asked with max_tokens=64 instead of 7'): played(max_tokens=7)
        with pytest.raises(LookupError, match='the nearest that is says “.*Answer the question with a few words.*” where this says “.*Be brief'): played(prompt=Template(templates['direct'].user, 'Be brief.'))
        with pytest.raises(LookupError, match="has no answers of Chat\\('openai/other'.*; it has those of Chat\\('openai/m'"): played('openai/other')
        with pytest.raises(LookupError, match='none.jsonl does not exist; a tape is written by'): Chat('openai/m', s.url, tape=str(tmp_path/'none.jsonl'), offline=True).generate(['x'])

def test_half_a_character(tmp_path):
    "A reply that is cut in the middle of a character is text all the same: it is searched for, saved, and played"
    calls = str(tmp_path/'calls.jsonl')
    with serving(lambda asked: dict(choices=[dict(finish_reason='stop', message=dict(role='assistant', content='in caf\ud83d \ud83d\ude00'))]), base='/v1') as s:
        live = twice(chat(s, tape=calls))(queries)
        again = twice(Chat('openai/m', s.url, tape=calls, offline=True))(queries)
    assert set(live.to_dict().values())=={'in caf\ufffd \U0001f600'}
    live.save(tmp_path/'a.jsonl')
    assert Answers.read(tmp_path/'a.jsonl')==live==again

def test_stop_is_reported(tmp_path):
    "The string that a reply came to is no part of it, and stands in the trace"
    with serving(lambda asked: dict(choices=[dict(finish_reason='stop', message=dict(role='assistant', content='So the answer is: Rome.\nQ: and more'))]), base='/v1') as s: found = IRCoT(chat(s), BM25(docs) % 2)(queries)
    found.save(tmp_path/'a.jsonl')
    for c in Answers.read(tmp_path/'a.jsonl').trace:
        if c.kind=='model': assert (c.answer,c.stop)==('So the answer is: Rome.','\n')
    assert "up to &#39;\\n&#39;" in found.trace._repr_html_()

@pytest.mark.parametrize('text', [None, '', 'caf\ud83d', 'e\u0301 東京 \u2028\x85\r\n\0', '"\\\\', 'x'*1_000_000], ids=['none','empty','half','odd','quotes','long'])
def test_odd_texts_are_kept(tmp_path, text):
    found = Answers([Answer(i, f'Who is {i}?', text, '' if text is not None else 'no answer', 'answered', (Passage(i, text or ''),), (i,), Trace([Call(i, 1, 'answer', text or '', text or '')])) for i in ('1','007','a b','é','a\tb\nc','x'*300)], 'odd')
    for name in ('a.jsonl','a.jsonl.gz'):
        found.save(tmp_path/name)
        assert Answers.read(tmp_path/name, 'odd')==found and list(Answers.read(tmp_path/name))==list(found)
    found.trace.save(tmp_path/'t.jsonl')
    assert Trace.read(tmp_path/'t.jsonl')==found.trace

@pytest.mark.parametrize('line,says', [
    ('{"query": "a", "question": "b", "text": null}', 'an answer has a text or an error'),
    ('{"query": 1, "question": "b", "text": "x"}', 'query=1 is no text'),
    ('{"query": "a", "question": "b", "text": ["x"]}', 'is no text'),
    ('{"query": "a", "question": "b", "text": "x", "found": [{"id": "1"}]}', 'text'),
    ('{"query": "a", "question": "b", "text": "x", "score": 1}', 'score'), ('[1]', 'line 2'), ('{"query"', 'line 2')])
def test_reading_says_where(tmp_path, line, says):
    (tmp_path/'a.jsonl').write_text('{"query": "q", "question": "?", "text": "x"}\n'+line+'\n', encoding='utf-8')
    with pytest.raises(ValueError, match=r'a\.jsonl, (answer|line) 2: ') as e: Answers.read(tmp_path/'a.jsonl')
    assert says in str(e.value)

# Every method ------------------------------------------------------------------------------------------------------------

phrases = ('So the answer is: {0}.', '{0}', ' Yes.\nFollow up: Where is {0}?', '{0} is a town. It lies on a river.', ' I look.\nAction 1: Search[{0}]', ' I know.\nAction 2: Finish[{0}]', '<search>{0}</search>', '<answer>{0}</answer>',
           '(a) {0} (b) Oslo', 'True', 'Passage 1', 'A was [Search({0})]', '```\n{{"function": "search", "parameters": {{"query": "{0}"}}}}\n```', '```\n{{"function": "finish", "parameters": {{"answer": "{0}"}}}}\n```')
def drawn(asked, *also): return zlib.crc32(json.dumps([asked['messages'], *also]).encode())

def any_answer(asked):
    "One of the things that some method wants to hear, always the same to the same prompt"
    h = drawn(asked)
    text = phrases[h%len(phrases)].format(list(homes.values())[h//99%6])
    tokens = [dict(token=w, logprob=-(zlib.crc32(w.encode())%100)/40, top_logprobs=[dict(token='B', logprob=-.1)]) for w in re.findall(r'\s*\S+', text)]
    return dict(choices=[dict(finish_reason='stop', message=dict(role='assistant', content=text), **(dict(logprobs=dict(content=tokens)) if asked.get('logprobs') else {}))])

search = BM25(docs) % 2
every = dict(closed=ClosedBook, thought=lambda lm: search >> ChainOfThought(lm), votes=lambda lm: search >> SelfConsistency(lm, n=3), sure=lambda lm: search >> SuRe(lm), mixture=lambda lm: search >> REPLUG(lm, mix='answers'),
             ircot=lambda lm: IRCoT(lm, search, max_steps=3), self_ask=lambda lm: SelfAsk(lm, search, max_steps=2), react=lambda lm: ReAct(lm, search, max_steps=3), flare=lambda lm: FLARE(lm, search, max_steps=3), instruct=lambda lm: FLAREInstruct(lm, search),
             rearag=lambda lm: ReaRAG(lm, search, max_steps=3), corag=lambda lm: CoRAG(lm, search, max_steps=2), loop=lambda lm: SearchLoop(lm, search, 'search-r1'), rq=lambda lm: RQRAG(lm, search, max_steps=1), tree=lambda lm: search >> TreeSummarize(lm),
             adaptive=lambda lm: AdaptiveRAG(Complexity(lm), ClosedBook(lm), search >> Direct(lm), IRCoT(lm, search, max_steps=3)))

@pytest.mark.filterwarnings('ignore::UserWarning')
@pytest.mark.parametrize('name', every)
def test_every_method(name):
    "Whatever call goes wrong, in whatever way: its question has no answer and says why, and all others have the answer of a good day"
    many = Queries.from_dict({f'{n} {i}': f'On which river does {n} live in the year {i}?' for n in homes for i in range(2)})
    sick = [then for k,(then,_) in ill.items() if k not in ('timeout','drips')]
    def moods(h, n, asked): sick[d//7%len(sick)](h) if (d := drawn(asked, 'sick'))%7==0 or 'Cleo live in the year 1' in str(asked) else h.give()
    found = []
    for mood in (well, moods):
        with serving(any_answer, mood, base='/v1') as s: found.append(every[name](Chat('openai/m', s.url, limits=Limits(parallel=8, retries=0), store=Store(':memory:')))(many))
    good,got = found
    assert not good.unsure and 0<len(got.unsure)<len(got)
    for a in got:
        if a.text is None: assert a.error.startswith('openai/m: ') and a.finish=='failed' and not a.shown and any(c.verdict=='failed' for c in a.calls)
        elif name!='votes': assert a.text==good[a.query].text and [c.prompt for c in a.calls]==[c.prompt for c in good[a.query].calls] # a vote goes on without the voices that are lost
