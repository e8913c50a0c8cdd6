"Methods that think, search and think again: whatever a model says they end within their budget, and all questions go on together"
import json, warnings
from dataclasses import dataclass, field
from math import exp
import pytest
from hypothesis import given, settings, strategies as st
from rankwb.core.answers import Answers, Passage
from rankwb.core.data import Docs
from rankwb.core.hf import HF
from rankwb.core.llm import Scripted
from rankwb.core.saying import Failure, Reply
from rankwb.core.records import Queries
from rankwb.core.rankings import Run
from rankwb.core.stages import Retriever
from rankwb.core.templates import Template, templates
from rankwb.rag.context import Context
from rankwb.rag.direct import ClosedBook, Direct
from rankwb.rag.flare import FLARE, FLAREInstruct
from rankwb.rag.influence import influence
from rankwb.rag.ircot import IRCoT, ircot_query, is_reasoning, without_wh
from rankwb.rag.iter_retgen import IterRetGen
from rankwb.rag.ralm import InContextRALM
from rankwb.rag.react import ReAct
from rankwb.rag.refining import Refiner
from rankwb.rag.self_ask import SelfAsk
from rankwb.rag.thought import ChainOfThought, SelfConsistency, answer_part
from rankwb.rag.viewer import Reviewed
from small import alone # noqa: F401, `alone` is a fixture

docs = Docs.from_records([dict(id=f'd{i}', title=f'T{i}' if i%2 else '', text=f'Passage {i}. It is short. So the answer is: {i}.') for i in range(9)])

@dataclass(frozen=True)
class Two(Retriever):
    "Two passages for a query that has letters, and how often it was called"
    called:list = field(default_factory=list, compare=False, repr=False)
    def apply(self, queries):
        self.called.append(len(queries))
        found = {q.id: {f'd{len(q.text)%9}': 2., f'd{(len(q.text)+1)%9}': 1.} if q.text.strip() else {} for q in queries}
        return Run.from_dict(found).over(queries.ids).attach(queries, docs)

@dataclass(frozen=True)
class Counted(Scripted):
    "A model that knows how often it was called"
    called:list = field(default_factory=list, compare=False, repr=False)
    def _generate(self, items, **how):
        self.called.append(len(items))
        yield from super()._generate(items, **how)

methods = { # name → how it is made, most calls of the model, most searches
    'thought':         (lambda lm,two: two >> ChainOfThought(lm), 2, 0),
    'consistency':     (lambda lm,two: two >> SelfConsistency(lm, n=3), 4, 0),
    'ralm':            (lambda lm,two: InContextRALM(lm, two, s=4, max_tokens=10), 3, 3),
    'iter-retgen':     (lambda lm,two: IterRetGen(lm, two, T=3), 3, 3),
    'self-ask':        (lambda lm,two: SelfAsk(lm, two, max_steps=2), 6, 3),
    'ircot':           (lambda lm,two: IRCoT(lm, two, max_steps=3), 4, 3),
    'ircot, reader':   (lambda lm,two: IRCoT(lm, two, max_steps=3, reader='thought'), 4, 3),
    'react':           (lambda lm,two: ReAct(lm, two, max_steps=3), 7, 3),
    'flare':           (lambda lm,two: FLARE(lm, two, max_steps=3), 7, 4),
    'flare, instruct': (lambda lm,two: FLAREInstruct(lm, two, max_steps=3), 5, 4)}
ends = ('','answered','forced','budget','unreadable')

said = st.lists(st.sampled_from(['So the answer is: ','the final answer is','Follow up: ','Intermediate answer: ','Who is he?','Thought 1:','Thought 2: ','Action 1: ','Action 2: ','Action:','Search[','Lookup[','Finish[',']','[Search(',')]','Observation 1:',
    'Thus, ','Rome','J.R.R. Tolkien wrote it. ','50% ','.','\n','\n\n','Question: ','是的。',' ','{{ question }}','<think>','</think>','[1]']), max_size=7).map(''.join)
chance = st.sampled_from([0.,-.01,-.5,-2.,-9.,float('-inf')])

@st.composite
def replies(draw):
    "A reply with tokens that may spell it or not"
    text = draw(said)
    pieces = [text[i:i+3] for i in range(0, len(text), 3)] or ['</s>']
    if draw(st.integers(0, 5))==0: pieces = ['�','x']
    return Reply(text, draw(st.sampled_from(['stop','length'])), draw(st.sampled_from(['','\n',')]'])), 1, len(pieces), tuple((p, draw(chance)) for p in pieces))

@pytest.mark.filterwarnings('ignore:.*were repaired')
@pytest.mark.parametrize('name', methods)
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_noise(name, data):
    "Every question ends with an answer, within its budget, and with passages that were found; the answer is plain JSON"
    make,calls,searches = methods[name]
    script = data.draw(st.lists(replies() if 'flare' in name else st.one_of(said, replies()), min_size=1, max_size=9))
    turn = iter(range(1000))
    question = data.draw(st.sampled_from(['Who?','So the final answer is: 7','?','{{ x }} {% endfor %}','Action 1: Finish[no]','x'*200]))
    a = make(Scripted(says=lambda p: script[next(turn)%len(script)]), Two())(question)['q1']
    assert isinstance(a.text, str) and not a.error and a.finish in ends and a.text==a.text.strip()
    assert sum(c.kind=='model' for c in a.calls)<=calls and sum(c.kind=='search' for c in a.calls)<=searches
    assert set(a.shown)<={p.id for p in a.found} and len(set(a.shown))==len(a.shown)
    assert json.loads(json.dumps(a.about))==a.about

questions = Queries.from_dict({f'q{i}': f'Question {i}?' for i in range(100)})
def lp(text, *chances, **kw): return Reply(text, logprobs=tuple((f' {w}', p) for w,p in zip(text.split(), [*chances, *[-.01]*99])), **kw)
def after(p): return p[-1]['content'] if isinstance(p, list) and p[-1]['role']=='assistant' else p.rsplit('A:', 1)[1] if isinstance(p, str) else ''
scripts = { # name → what a model says after what it has said, calls of the model, calls of the retriever
    'thought':         (lambda p: 'So the answer is: x', 1, 1),
    'consistency':     (lambda p: 'So the answer is: x', 1, 1),
    'ralm':            (lambda p: Reply(' w w w w', 'length'), 3, 3),
    'iter-retgen':     (lambda p: 'x', 3, 3),
    'self-ask':        (lambda p: ' x.\nSo the final answer is: x' if after(p) else ' Yes.\nFollow up: Who?', 2, 2),
    'ircot':           (lambda p: 'So the answer is: x.' if after(p) else 'Ada was Bob. Cid was Dan.', 2, 2),
    'ircot, reader':   (lambda p: 'So the answer is: x.' if after(p) else 'Ada was Bob. Cid was Dan.', 3, 2),
    'react':           (lambda p: ' x\nAction 2: Finish[x]' if after(p) else ' x\nAction 1: Search[y]', 2, 1),
    'flare':           (lambda p: lp('So the answer is x.') if after(p) else lp(' Ada was Bob. And', -.01, -1.), 3, 2),
    'flare, instruct': (lambda p: ' B. So the answer is x.' if after(p) else 'A was [Search(y)]', 2, 2)}

@pytest.mark.parametrize('name', scripts)
def test_together(name):
    "A hundred questions are as many calls as one"
    says,calls,searches = scripts[name]
    lm,two = Counted(says=says),Two()
    answers = methods[name][0](lm, two)(questions)
    n = 3 if name=='consistency' else 1
    assert set(answers.to_dict().values())=={'w w w w w w w w w w w w' if name=='ralm' else 'x'}
    assert lm.called==[100*n]*calls and len(two.called)==searches
    single = methods[name][0](Scripted(says=says), Two())(Queries.from_dict(dict(q7='Question 7?')))
    assert [c.prompt for c in answers['q7'].calls]==[c.prompt for c in single['q7'].calls]

@pytest.mark.parametrize('name', scripts)
def test_one_fails(name, tmp_path):
    "A question whose call failed has no answer, and says why; the others have theirs; all of it is kept"
    says = scripts[name][0]
    lm = Scripted(says=lambda p: Failure('503: overloaded') if 'Question 1?' in (p if isinstance(p, str) else p[-1 if p[-1]['role']=='user' else -2]['content']) or 'question 1?' in str(p) else says(p))
    with pytest.warns(UserWarning, match='1 of 3 questions got no answer'): answers = methods[name][0](lm, Two())(questions[:3])
    assert answers.unsure==('q1',) and answers['q1'].error=='503: overloaded'
    answers.save(tmp_path/'a.jsonl')
    assert Answers.read(tmp_path/'a.jsonl')==answers

def test_queries_of_the_authors():
    "What `is_reasoning_sentence`, `remove_wh_words` and the retriever of github.com/StonyBrookNLP/ircot give for these, recorded"
    reasoning = {'Thus, of the two, only Allure was founded in 1990s.':True, 'Thusly.':False, 'So: yes':False, 'so far':True, 'That is, two':True, 'that is two':False, 'Therefor':False, 'THEREFORE.':True, 'Henceforth B.':True,
                 '1.5 + 2 = 3.5':True, 'It is 10,000.5 - 1 = 9 now':True, '3 + 4 = x':False, '3+4=7':False, '2 - 0':False, '':False}
    assert {s: is_reasoning(s) for s in reasoning}==reasoning
    wh = {'who is older Jeremy Horn or Renato Sobral ?':'older Jeremy Horn or Renato Sobral ?', 'What is known as the Kingdom':'known as the Kingdom', 'Who? WHY':'Who?', 'Where does it start':'it start', 'is':''}
    assert {s: without_wh(s) for s in wh}==wh
    assert ircot_query('Who was it?', ['A is B.', 'Thus, C.'])=='A B.' and ircot_query('Who was it?', ['So be it.'])=='was it?'

def test_prompts_of_the_authors():
    "What the programs of the authors send, recorded"
    two = [Passage('a','one','T1'), Passage('b','two','T2')]
    ralm = lambda n,q: templates['ralm'].render(question=q, passages=two[:n], so_far='')
    assert ralm(0, 'Who is older')=='Answer these questions:\nQ: who is older?\nA:'
    assert ralm(1, 'When did it start?')=='T1\n\none\n\nBased on this text, answer these questions:\nQ: when did it start?\nA:'
    assert ralm(2, 'Who')=='T1\n\none\n\nT2\n\ntwo\n\nBased on these texts, answer these questions:\nQ: who?\nA:'
    flare = templates['flare'].plain.render(question='Q?', passages=two, so_far='')
    assert flare.startswith('Question: When did the director of film Hypocrite (Film) die?\nAnswer: The film Hypocrite was directed by Miguel Morayta. Miguel Morayta died on 19 June 2013. So the answer is 19 June 2013.\n\nQuestion: Are both')
    assert flare.endswith('\n\nSearch results ranked based on relevance in descending order:\n[1]: T1: one\n[2]: T2: two\nQuestion: Q?\nAnswer:') and flare.count('Question: ')==9
    assert templates['react'].plain.render(question='Q?', so_far='').endswith('\nAction 3: Finish[yes]\n\nQuestion: Q?\nThought 1:')
    assert templates['ircot'].plain.render(question='Q?', passages=two, so_far='A b.').endswith('\n\nWikipedia Title: T1\none\n\nWikipedia Title: T2\ntwo\n\nQ: Q?\nA: A b.')
    shots = [said for name in ('ircot','flare') for _,said in templates[name].examples]
    assert [answer_part(o) for o in shots]==['20','SMLE','no','19 June 2013','no','no','Genghis Khan','Martin Hodge','August 25, 1963','Twenty Plus Two','Prithvipati Shah']

@pytest.fixture(scope='module')
def letters(tmp_path_factory):
    "A small random model that writes letters, each of them a token"
    torch,transformers = pytest.importorskip('torch'),pytest.importorskip('transformers')
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    marks = ['<s>','</s>','<unk>',*' \n?:.QA']
    alphabet = [*marks, *(c for c in 'abcdefghijklmnopqrstuvwxyzBCDEFGHIJ')]
    t = Tokenizer(models.WordLevel({c: i for i,c in enumerate(alphabet)}, unk_token='<unk>'))
    t.pre_tokenizer,t.decoder = pre_tokenizers.Split(Regex(r'[\s\S]'), 'isolated'),decoders.Fuse()
    t = transformers.PreTrainedTokenizerFast(tokenizer_object=t, bos_token='<s>', eos_token='</s>', unk_token='<unk>', clean_up_tokenization_spaces=False)
    torch.manual_seed(3)
    net = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=len(alphabet), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, initializer_range=.5, max_position_embeddings=400,
        bos_token_id=0, eos_token_id=1, pad_token_id=1, tie_word_embeddings=False))
    with torch.no_grad(): net.lm_head.weight[:len(marks)] = 0
    folder = tmp_path_factory.mktemp('letters')
    net.save_pretrained(folder), t.save_pretrained(folder)
    return HF(str(folder))

@dataclass(frozen=True)
class Nothing(Retriever):
    "Finds nothing"
    def apply(self, queries): return Run.from_dict({q: {} for q in queries.ids.to_pylist()}).over(queries.ids).attach(queries, docs)

def test_strides_are_one_text(letters):
    "Where nothing is found, what a model says in strides and in drafts is what it says in one go"
    prompt = Template('Q: {{ question }}\nA: {{ so_far }}', chat=False)
    asked = ['who is it?','a','what was that?']
    whole = [o.text for o in letters.generate([f'Q: {q}\nA: ' for q in asked], max_tokens=24)]
    assert all(len(o)==24 and o.isalpha() for o in whole) and len(set(whole))==3
    for s in (1,5,24,30):
        answers = InContextRALM(letters, Nothing(), prompt=prompt, s=s, max_tokens=24)(asked)
        assert [a.text for a in answers]==whole and [a.finish for a in answers]==['budget']*3
        assert {sum(c.kind=='model' for c in a.calls) for a in answers}=={-(-24//s)}
    for look in (5,24):
        answers = FLARE(letters, Nothing(), prompt=prompt, theta=0, look=look, max_tokens=24, start=False)(asked)
        assert [a.about['text'] for a in answers]==whole and not any(c.kind=='search' for a in answers for c in a.calls)

def test_query_of_a_draft(letters):
    "The query is what the model was sure of, by its own log-probabilities; the last tokens are those of its tokenizer"
    prompt = Template('Q: {{ question }}\nA: {{ so_far }}', chat=False)
    o, = letters.generate(['Q: who\nA: '], max_tokens=12, logprobs=True)
    ps = sorted(p for _,p in o.logprobs)
    a = FLARE(letters, Nothing(), prompt=prompt, theta=1, beta=exp((ps[5]+ps[6])/2), look=12, start=False, max_steps=1)('who')['q1']
    wanted = ''.join(c if p>=(ps[5]+ps[6])/2 else ' ' for c,p in zip(o.text, [p for _,p in o.logprobs]))
    assert [c.prompt for c in a.calls if c.kind=='search']==[' '.join(wanted.split())]
    b = InContextRALM(letters, Nothing(), prompt=prompt, s=6, l=7, max_tokens=12)('who')['q1']
    assert [c.prompt for c in b.calls if c.kind=='search']==['who', f'who {o.text[:6]}'[-7:].strip()]

# What stands in a prompt, and what does not ---------------------------------------------------------------------------------------------

many = Docs.from_records([dict(id=f'd{i}', text=f'Passage {i} of many.') for i in range(130)])

@dataclass(frozen=True)
class Deep(Retriever):
    "Every document for a query that has letters"
    def apply(self, queries): return Run.from_dict({q.id: {f'd{i}': 130.-i for i in range(130)} if q.text.strip('? ') else {} for q in queries}).over(queries.ids).attach(queries, many)

def told(system, asked):
    "Answers, and what was said meanwhile"
    with warnings.catch_warnings(record=True) as w:
        warnings.simplefilter('always')
        found = system(Queries.from_dict(asked) if isinstance(asked, dict) else asked)
    return found,[str(o.message) for o in w]

readers = {'direct': lambda lm, deep, **kw: deep >> Direct(lm, **kw), 'thought': lambda lm, deep, **kw: deep >> ChainOfThought(lm, **kw), 'iter-retgen': lambda lm, deep, **kw: IterRetGen(lm, deep, T=2, **kw)}

@pytest.mark.parametrize('name', readers)
def test_a_whole_ranking_in_a_prompt(name):
    "It is said once for a batch, before the model is asked, and not where somebody said how many are read"
    make,at = readers[name],[]
    def says(p):
        at.append(len(w))
        return 'the answer is: x'
    with warnings.catch_warnings(record=True) as w:
        warnings.simplefilter('always')
        found = make(Scripted(says=says), Deep())(['Who?','Where?','When?'])
    assert [len(a.shown) for a in found]==[130]*3 and at[0]==1 and len(w)==1
    assert '130 passages stand in one prompt; `retriever % k` or Context(k=…) says how many are read' in str(w[0].message)
    lm = Scripted(says=lambda p: 'the answer is: x')
    for system in (make(lm, Deep() % 100), make(lm, Deep(), context=Context(k=130)), make(lm, Deep(), context=Context(budget=10_000))): assert told(system, 'Who?')[1]==[]
    again = make(lm, Deep())
    assert [len(told(again, 'Who?')[1]) for _ in range(2)]==[1,1]

@pytest.mark.parametrize('name', readers)
def test_nothing_in_a_prompt(name):
    "One warning names the questions, however many there are, and the answers show it"
    lm = Scripted(says=lambda p: '?' if name=='iter-retgen' else 'the answer is: ?')
    asked = {'1':'Who?', 'b é':'?', 'c':'', **{f'e{i}': '?' for i in range(9)}}
    found,said = told(readers[name](lm, Deep() % 3), asked)
    assert len(said)==1 and "11 of 12 questions were answered without a passage in the prompt, as nothing was found: b é ('?'), c (''), e0 ('?'), e1 ('?'), e2 ('?'), …" in said[0]
    assert found['b é'].finish==dict(direct='nothing found').get(name, found['1'].finish)
    frame = found.to_pandas().set_index('query_id')
    assert frame.loc['b é',['found','answer']].tolist()==[0,frame.loc['1','answer']] and frame.loc['b é','shown']==[] and frame.loc['1','found']==3
    page = Reviewed(found)
    assert page.of_kind('no passage in the prompt')==[q for q in asked if q!='1'] and 'nothing was found' in page.ask('c').snapshot()

def test_a_budget_too_small_for_a_passage():
    found,said = told(Deep() % 3 >> Direct(Scripted(says=lambda p: 'x'), context=Context(budget=1)), 'Who?')
    assert found[0].shown==() and found[0].calls[0].note=='3 passages left out'
    assert len(said)==1 and "1 of 1 questions were answered without a passage in the prompt, as what was found for some was left out: q1 ('Who?')" in said[0]

def test_where_no_passage_is_wanted():
    "Closed books, k=0, a refiner that leaves nothing, and a question without an answer: nothing is said of passages"
    lm = Scripted(says=lambda p: 'x')
    @dataclass(frozen=True)
    class Nothing(Refiner):
        def left(self, asked, found): return [['']*len(ps) for ps in found],()
    for system in (ClosedBook(lm), Deep() % 3 >> Direct(lm, context=Context(k=0)), Deep() % 3 >> Nothing() >> Direct(lm)): assert told(system, ['Who?','Where?'])[1]==[]
    found,said = told(Deep() % 3 >> Direct(Scripted(says=lambda p: 'x' if 'Who' in p[-1]['content'] else Failure('gone'))), ['Who?','?'])
    assert len(said)==1 and '1 of 2 questions got no answer' in said[0]

def test_a_variant_without_passages_is_meant():
    "Where a page takes passages away to see what follows, nobody is warned of it"
    found,said = told(lambda asked: influence(Direct(Scripted(says=lambda p: 'x')), (Deep() % 2)(asked), {'q1':'x'}), 'Who?')
    assert said==[] and 'q1 · none' in found.answers.query_ids.to_pylist()
