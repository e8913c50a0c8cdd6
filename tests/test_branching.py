"Methods that branch, judge and mix: prompts as published, calls as prescribed, one batch a round, an answer whatever a model says, and mixtures against transformers"
import hashlib, json, math, random, re, warnings
import numpy as np, pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from rankwb.core.answers import Answers, Passage
from rankwb.core.data import Docs
from rankwb.core.llm import Scripted
from rankwb.core.saying import Failure, Reply
from rankwb.core.rankings import Run
from rankwb.core.records import Queries
from rankwb.core.reordering import by_scores
from rankwb.core.stages import Reranker, Retriever
from rankwb.core.templates import templates
from rankwb.rag.adaptive import AdaptiveRAG, ByRule, Complexity
from rankwb.rag.context import Context
from rankwb.rag.corag import CoRAG
from rankwb.rag.crag import CRAG, ClusteredRAG
from rankwb.rag.direct import ClosedBook, Direct
from rankwb.rag.fid import FiDReader
from rankwb.rag.rearag import ReaRAG
from rankwb.rag.replug import REPLUG, Mixture, shares_of, weighted
from rankwb.rag.rq_rag import RQRAG
from rankwb.rag.search_loops import SearchLoop, loops, steps_so_far
from rankwb.rag.self_rag import SelfRAG, reflections
from rankwb.rag.sure import SuRe
from small import alone, ids # noqa: F401, `alone` is a fixture

two = [Passage('1', 'Text one.', 'T1'),Passage('2', 'Text two.', 'T2')]
chain = [('q1','a1'),('q2','a2')]
asked = { # (template, what it is filled with) → SHA-256 of the prompt that the functions of the authors' code make of that
    'sure-candidates': (dict(passages=two, question='Who?', number='two', form='(a) xx, (b) yy'), 'a537fefbca5d5bc9'),
    'sure-summary': (dict(passages=two, question='Who?', choices='(a) Ada (b) Bob', prediction='(b) Bob'), '17173e340d277559'),
    'sure-validity': (dict(question='Who?', prediction='Bob', summary='S'), 'c63b063d7e696b4f'),
    'sure-ranking': (dict(question='Who?', first='S1', second='S2'), '443f739324e807d8'),
    'search-o1': (dict(question='Who?', limit=10), 'b9908b661e2921bf'),
    'search-o1-distil': (dict(before='B', query='Q', passages=two), '8ddc1140130f0bbb'),
    'simpledeepsearcher': (dict(question='Who?', limit=10), '7e60c989516577e9'),
    'simpledeepsearcher-distil': (dict(before='B', query='Q', passages=two), 'c90ec5a0826fa1bf'),
    'autorefine': (dict(question='Who?'), '8f53cba1a5602d0e'),
    'search-r1': (dict(question='Who?'), '0b39ece532d7d630'),
    'r1-searcher': (dict(question='Who?'), 'de9c3a42730833b1'),
    'corag-query': (dict(question='Who?', steps=chain, task='answer'), '10627423409b2777'),
    'corag-answer': (dict(question='Who?', steps=chain, task='answer', passages=two), '99a8c2a5431f17ef'),
    'corag-step': (dict(question='Who?', passages=two), '8339266cb8c68b88'),
    'rearag-observe': (dict(question='Who?', passages=two), '37d465b21d83fd04'),
    'rearag-searches': (dict(question='Who?', searches=chain), 'ea778010caa8115a'),
    'rearag-short': (dict(question='Who?', answer='Ada'), '231efb432218154b')}

@pytest.mark.parametrize('name', asked)
def test_prompts(name):
    values,digest = asked[name]
    prompt = templates[name].render(**values)
    text = prompt if isinstance(prompt, str) else prompt[-1]['content']
    assert hashlib.sha256(text.encode()).hexdigest()[:16]==digest

def test_prompts_without_steps():
    find = lambda name: hashlib.sha256(templates[name].render(question='Who?', steps=[], task='answer', passages=two)[-1]['content'].encode()).hexdigest()[:16]
    assert [find('corag-query'),find('corag-answer')]==['6885b3e7e0ece993','f045ead0aad14ab9']
    assert hashlib.sha256(templates['rearag'].system.encode()).hexdigest()[:16]=='1162c3b40fd317b8'

def o1_steps(text):
    "The lines of Search-o1's run_search_o1.py that make the previous steps"
    begin,result = '<|begin_search_query|>','<|begin_search_result|>'
    told = ''.join(f'Step {i+1}: {s}\n\n' for i,s in enumerate(text.replace('\n\n', '\n').split('\n')))
    prev = told.split('\n\n')
    if len(prev)<=5: return '\n\n'.join(prev).strip('\n')
    told = ''
    for i,s in enumerate(prev):
        if i==0 or i>=len(prev)-4 or begin in s or result in s: told += s+'\n\n'
        elif told[-len('\n\n...\n\n'):]!='\n\n...\n\n': told += '...\n\n'
    return told.strip('\n')

@pytest.mark.parametrize('seed', range(30))
def test_steps_so_far(seed):
    rng = random.Random(seed)
    text = '\n'.join(rng.choice(['a','b c','<|begin_search_query|>x<|end_search_query|>','<|begin_search_result|>y']) for _ in range(rng.randint(1, 14)))
    assert steps_so_far(text)==o1_steps(text)

# A world in which everything is found

docs = Docs.from_records([dict(id=i, title=f'T{n}', text=f'Text {n} of many. It says more. And more.') for n,i in enumerate(ids)])

class All(Retriever):
    "Every document, and how often and for how many queries it was asked"
    batches = []
    def apply(self, queries):
        All.batches.append(len(queries))
        return Run.from_columns([q.id for q in queries for _ in ids], ids*len(queries), np.tile(np.arange(len(ids), 0, -1.), len(queries)), order='given').over(queries.ids).attach(queries, docs)

class Even(Reranker):
    "By the length of the text"
    batches = []
    def apply(self, run):
        Even.batches.append(len(run))
        return by_scores(run, [1/len(o) for o in run.docs.take(run.doc_rows()).texts()])

class Batches(Scripted):
    "A model that notes the sizes of its batches"
    sizes = []
    def _generate(self, items, **how):
        Batches.sizes.append(('generate',len(items)))
        return super()._generate(items, **how)
    def _choose(self, items, choices):
        Batches.sizes.append(('choose',len(items)))
        return super()._choose(items, choices)
    def _loglik(self, items):
        Batches.sizes.append(('loglik',len(items)))
        return super()._loglik(items)

def hundred(n=100): return Queries.from_dict({f'q{i}': f'Question {i}?' for i in range(n)})
def content(prompt): return prompt if isinstance(prompt, str) else prompt[-1]['content']

def run_of(queries): return All()(queries)

def counted(reader, x):
    "Its answers, what the model was asked in which batches, and how many batches of searches there were"
    Batches.sizes.clear(), All.batches.clear(), Even.batches.clear()
    found = reader(x)
    assert all(a.text is not None for a in found) and len(found)==len(x)
    return found,list(Batches.sizes),list(All.batches)

def flat(p,c): return [math.log(1/len(c))]*len(c)

# The scripts of the study of the peers: outputs in order → queries, calls, and what is answered

def scripted(make, *said):
    "The answer, the batches of queries, and how many calls of the model there were"
    left,All.batches[:] = list(said),[]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        a = make(Scripted(says=lambda p: left.pop(0)))('What?')['q1']
    assert not left
    searches = {}
    for c in a.calls:
        if c.kind=='search': searches.setdefault(c.round, []).append(c.prompt)
    return a.text,list(searches.values()),sum(c.kind=='model' for c in a.calls)

def test_scripts():
    loop = lambda name,**kw: lambda lm: SearchLoop(lm, All() % 2, name, **kw)
    r1 = loop('search-r1')
    assert scripted(r1, '<search>x</search>', '<answer>Paris</answer>')==('Paris',[['x']],2)
    assert scripted(r1, '<search>a..<search>b</search>', '<answer>z</answer>')==('z',[['b']],2)
    assert scripted(r1, '<search>a</search><search>b</search>', '<answer>z</answer>')==('z',[['a']],2) # as the authors' loop; FlashRAG's takes b
    assert scripted(loop('search-r1', max_steps=2), '<search>x</search>', '<search>y</search>', 'Rome</answer>')==('Rome',[['x'],['y']],3) # FlashRAG: No valid answer found
    assert scripted(loop('o2-searcher'), '<search><query>a</query><query>b</query></search>', '<answer>z</answer>')==('z',[['a','b']],2)
    assert scripted(lambda lm: CoRAG(lm, All() % 2, max_steps=2, documents='steps'), 'o1', 'o2', 'o3', 'o4', 'o5')==('o5',[['o1'],['o3']],5)
    call = lambda name,key,value: f"Thought 1: t\nAction 1:\n```\n{{'function': '{name}', 'parameters': {{'{key}': '{value}'}}}}\n```"
    assert scripted(lambda lm: ReaRAG(lm, All() % 2), call('search','query','x'), 'obs', call('finish','answer','Rome'), 'Rome')==('Rome',[['x']],4)

# 100 questions are as many calls as there are rounds

def test_batches_of_sure():
    def says(m):
        shown = content(m)
        return '(a) x (b) y (c) z' if 'candidates' in shown else 'True' if '[True' in shown else 'Passage 1' if 'Your Task' in shown else f's {hash(shown)}'
    found,sizes,_ = counted(SuRe(Batches(says=says), candidates=3), run_of(hundred()))
    assert [n for _,n in sizes]==[100,300,900] and all(len(a.calls)==1+3+3+6 for a in found)

@pytest.mark.parametrize('k', range(2, 6))
def test_calls_of_sure(k):
    def says(m):
        shown = content(m)
        return ' '.join(f'({c}) A{c}' for c in 'abcde'[:k]) if 'candidates' in shown else 'True' if '[True' in shown else 'Passage 1' if 'Your Task' in shown else 's'
    a = SuRe(Scripted(says=says), candidates=k)(run_of(hundred(1)))[0]
    assert len(a.calls)==1+k+k+k*(k-1) and a.about['wins']==[k-1.]*k and a.text=='Aa'
    assert templates['sure-candidates'].render(passages=[], question='?', number='two', form='(a) xx, (b) yy')[-1]['content'].startswith('Below are 0 passages')

def test_batches_of_self_rag():
    said = Reply('[Relevant]It is.[Fully supported][Utility:5]', logprobs=(('…',-.5),))
    _,sizes,searches = counted(SelfRAG(Batches(says=lambda p: said, picks=flat), All() % 2), hundred())
    assert sizes==[('choose',100),('generate',200),('choose',200),('choose',200),('choose',200)] and searches==[100]
    more = Reply('[Relevant]It is.', stop='[Retrieval]', logprobs=(('…',-.5),))
    found,sizes,searches = counted(SelfRAG(Batches(says=lambda p: more, picks=flat), All() % 2, max_steps=3, beam=2), hundred())
    assert {a.finish for a in found}=={'budget'} and len(searches)==3

@pytest.mark.parametrize('moves,depth', [(('rewrite',),3), (('rewrite','decompose'),2), (('rewrite','decompose','disambiguate'),2)])
def test_batches_of_rq_rag(moves, depth):
    b = len(moves)
    says = lambda p: Reply('x', logprobs=(('x',-.1),)) if p.endswith('[A_Response]') else f'query {len(p)}'
    found,sizes,searches = counted(RQRAG(Batches(says=says), All() % 1, moves=moves, max_steps=depth), hundred(20))
    nodes = [b**i for i in range(depth+1)]
    assert len(sizes)==2*depth+1 and len(searches)==depth
    for a in found: assert (sum(c.kind=='model' for c in a.calls), sum(c.kind=='search' for c in a.calls))==(sum(nodes)+sum(nodes[1:]), sum(nodes[1:]))

@pytest.mark.parametrize('name', loops)
def test_batches_of_search_loops(name):
    tags = loops[name]
    part = tags.part or ('','')
    def says(prompt):
        shown = content(prompt) if isinstance(prompt, str) else '\n'.join(m['content'] for m in prompt[1:]) or prompt[-1]['content']
        if 'Task Instruction' in shown: return f'**Final Information** fact {shown.count("Step")}'
        n = (prompt if isinstance(prompt, str) else str(prompt)).count('fact ' if tags.distil else 'Text 0')
        return f'{tags.answer[0]}x{tags.answer[1]}' if n>=2 else f'{tags.query[0]}{part[0]}about {n}{part[1]}{tags.query[1]}'
    found,sizes,searches = counted(SearchLoop(Batches(says=says), All() % 1, name), hundred())
    assert [k for k,_ in sizes]==['generate']*(5 if tags.distil else 3) and searches==[1,1] # all ask for the same
    assert {(a.text,a.finish) for a in found}=={('x','answered')}

def test_batches_of_corag():
    def says(m):
        shown = content(m)
        return f'small {shown.count("Intermediate query")}' if 'follow-up' in shown else 'x'
    found,sizes,searches = counted(CoRAG(Batches(says=says), All() % 2), hundred())
    assert [n for _,n in sizes]==[100,1,100,1,100,1,100] and searches==[100,1,1,1]
    found,sizes,_ = counted(CoRAG(Batches(says=says, scores=lambda c,t: [-1.]*4), All() % 2, chains=3), hundred())
    assert all(len(a.about['chains'])==3 for a in found) and sum(k=='loglik' for k,_ in sizes)==1 and max(c.round for a in found for c in a.calls)==3*3+2

def test_batches_of_corag_trees():
    "A hundred questions are as many rounds as one; each rollout, wherever it is, draws with the others of its number"
    def says(m):
        shown = content(m)
        says.n += 1
        return f'small {shown.count("Intermediate query")}, {says.n % 3}' if 'follow-up' in shown else 'x'
    def rounds(n):
        says.n = 0
        found,sizes,_ = counted(CoRAG(Batches(says=says, scores=lambda c,t: [-len(c[-1]['content'])]), All() % 2, max_steps=2, expand=3), hundred(n))
        return len(sizes),max(c.round for a in found for c in a.calls),{a.finish for a in found}
    assert rounds(1)==rounds(100)==(10,12,{'answered'})

class World(Scripted):
    "A model that draws as a hash says, and what it was asked"
    def _generate(self, items, max_tokens, stop, temperature, logprobs):
        w,drawn = self.says,{}
        for i,(prompt,seed) in enumerate(items):
            text = content(prompt)
            if 'follow-up question' not in text: yield i,Reply(f'{"f" if "main query by combining" in text else "a"}{w.number(text)%1000}')
            else:
                at = drawn.setdefault(text, [])
                at.append(seed)
                if seed>=w.first: which = len(at)-1
                else: which = ('r',w.drawn.setdefault(text, [0]).append(0) or len(w.drawn[text])-1)
                yield i,Reply(f'd{text.count("Intermediate query ")} q{w.number(text, which, "q")%w.variants}?')

class Hashes:
    def __init__(self, seed, variants, n, first): self.seed,self.variants,self.n,self.first,self.drawn = seed,variants,n,first,{}
    def number(self, *o): return int(hashlib.md5('|'.join(map(str, [self.seed,*o])).encode()).hexdigest(), 16)

trees = ('2e140212 72c93cee bbf36861 9505646a 6bbe736e d1bcc477 c4da0568 47abd7aa 5b75e9f1 4b1b6e43 24cf924f 6f3cac66 a2b33b40 e3fac4e2 2d7c2161 a4c0445f 71e91c88 ed58177e d35b0f12 cff29bcd').split()

@pytest.mark.parametrize('seed', range(20))
def test_trees_of_corag(seed):
    "The chain, the answer, the number of replies and the prompts of all calls that the authors' code makes in the same world; SHA-256 of what it gave"
    rng = random.Random(seed)
    L,E,R,B = rng.randint(1, 4),rng.randint(2, 4),rng.randint(0, 3),rng.randint(1, 3)
    w = Hashes(seed, rng.choice([2,3,5,50]), int(1.5*E), 1000*(R+1))
    corpus = Docs.from_records([dict(id=str(i), title=f'T{i}', text=f'Text {i}.') for i in range(50)])
    class Find(Retriever):
        def apply(self, queries):
            rows = [(q.id,d,-float(j)) for q in queries for j,d in enumerate(dict.fromkeys(str(int(hashlib.md5(f'{q.text}|{j}'.encode()).hexdigest(), 16)%50) for j in range(3)))]
            return Run.from_columns(*map(list, zip(*rows)), order='given').over(queries.ids).attach(queries, corpus)
    lm = World(says=w, scores=lambda c,t: [-(w.number(c[-1]['content'], j)%997)/100 for j in range(5)])
    a = CoRAG(lm, Find(), max_steps=L, expand=E, rollouts=R, beam=B)(f'Question {seed}?')['q1']
    model = [c for c in a.calls if c.kind=='model']
    asked = sorted({c.prompt.removeprefix('user: ').removesuffix('\n⟶ No relevant information found') for c in model})
    assert hashlib.sha256(json.dumps([a.about['steps'],a.text,len(model),asked]).encode()).hexdigest()[:8]==trees[seed]

def test_batches_of_rearag():
    def says(m):
        if '#Context' in content(m): return 'seen'
        if '[Reference' in content(m): return 'x'
        n = sum(o['role']=='observation' for o in m)
        return f"```\n{{'function': 'search', 'parameters': {{'query': 'about {n}'}}}}\n```" if n<3 else '```\n{"function": "finish", "parameters": {"answer": "x"}}\n```'
    found,sizes,searches = counted(ReaRAG(Batches(says=says), All() % 2), hundred())
    assert len(sizes)==3*2+2 and len(searches)==3 and {len(a.calls) for a in found}=={3*3+2}

def test_batches_of_the_others():
    lm = Batches(says=lambda p: Reply('x', logprobs=(('x',-.1),)), picks=lambda p,c: np.log([.9]+[.1/(len(c)-1)]*(len(c)-1)))
    queries,run = hundred(),run_of(hundred())
    n = len(ids)
    assert counted(REPLUG(lm, mix='answers'), run)[1]==[('generate',100*n)]
    assert counted(REPLUG(lm, mix='words', words=(' a',' b'), max_tokens=3), run)[1]==[('choose',100*n)]*3
    assert counted(FiDReader(lm), run)[1]==[('generate',100)]
    assert counted(CRAG(lm, Even(), All() % 2, upper=9., lower=-9.), run)[1]==[('generate',100)] and len(Even.batches)==2 and All.batches==[100]
    found,sizes,_ = counted(AdaptiveRAG(Complexity(lm), ClosedBook(lm), All() % 2 >> Direct(lm), ReaRAG(lm, All())), queries)
    assert sizes==[('choose',100),('generate',100)] and {a.about['judged'] for a in found}=={'A'}

def test_batches_of_clusters():
    class Letters:
        "An encoder that counts"
        calls = 0
        digest = 'letters'
        def encode(self, texts, kind):
            Letters.calls += 1
            return np.array([[len(t),t.count('e')] for t in texts], np.float32)
    lm = Batches(says=lambda m: f'review {len(content(m))}')
    found,sizes,_ = counted(ClusteredRAG(lm, encoder=Letters(), clusters=2), run_of(hundred(20)))
    assert [k for k,_ in sizes]==['generate']*2 and Letters.calls==1
    for a in found: assert sorted(i for g in a.about['groups'] for i in g)==sorted(ids)==sorted(a.shown)

# Answers come back in their places

@pytest.mark.parametrize('seed', range(3))
def test_adaptive_places(seed):
    rng = random.Random(seed)
    labels = {f'Question {i}?': rng.choice('ABC') for i in range(60)}
    lm = lambda name: Scripted(says=lambda m: f"{name}: {re.search(r'Question [0-9]+', content(m))[0]}", name=name)
    reader = AdaptiveRAG(ByRule(lambda texts: [labels[t] for t in texts]), ClosedBook(lm('A')), All() % 2 >> Direct(lm('B')), SearchLoop(lm('C'), All(), 'search-r1', max_steps=1))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        found = reader(hundred(60))
    assert found.query_ids.to_pylist()==[f'q{i}' for i in range(60)]
    for a in found: assert a.text.startswith(labels[a.question]) and a.text.endswith(a.question[:-1]) and a.about['judged']==labels[a.question]

def test_adaptive_without_a_judge():
    "A question for which the judge fails has no answer; the others do"
    lm = Scripted(says=lambda m: 'x', picks=lambda p,c: flat(p, c))
    class Half(Scripted):
        def _choose(self, items, choices):
            for i,p in enumerate(items): yield i,Failure('503') if '3' in p else np.array([0.,-1.,-2.])
    with warnings.catch_warnings(): 
        warnings.simplefilter('ignore')
        found = AdaptiveRAG(Complexity(Half(picks=flat)), ClosedBook(lm), All() >> Direct(lm))(hundred(12))
    assert [a.query for a in found if a.text is None]==['q3'] and found['q3'].error=='503' and found['q3'].finish=='failed'

# Whatever a model says, every question has an answer, within the budget

pieces = st.sampled_from(['', ' ', 'Paris', '(a) x (b) y', 'True', 'Passage 2', '[DONE]', '[Retrieval]', '[Relevant]', '[Fully supported]', '[Utility:3]', '[EOS]', '[A_Response]', '<search>', '</search>', '<search> </search>', '<search>a</search>', '<query>b</query>',
    '<answer>', '</answer>', '<answer>c</answer>', '<think>', '</think>', '<|begin_search_query|>', '<|end_search_query|>', '<|begin_of_query|>d<|end_of_query|>', '\\boxed{', '}', '{', '**Final Information**', '```', "{'function': 'search', 'parameters': {'query': 'e'}}",
    '```\n{"function": "finish", "parameters": {"answer": "f"}}\n```', '"', 'Intermediate query 1: g', '\n', '\x00', '东京', '\ud800'.encode('utf-8', 'replace').decode(), '<|user|>', '{{ question }}', '[1]'])
noise = st.lists(st.lists(pieces | st.text(max_size=12), max_size=5).map(' '.join), min_size=1, max_size=6)
steady = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

class Noisy(Scripted):
    "A model that says what a list says, again and again, and counts"
    def _own_digest(self): return f'noisy {self.name}'
    def _generate(self, items, **how):
        for i,o in super()._generate(items, **how):
            self.count['n'] = self.count.get('n', 0)+1
            yield i,Reply(o.text, o.finish, o.stop, o.asked, o.tokens, tuple((w,-.5) for w in o.text.split()) if how.get('logprobs') else ())
    @property
    def count(self): return self.__dict__.setdefault('_count_', {})

def noisy(texts, chances, name):
    "The same texts and chances in turn"
    state = dict(n=0)
    def next_():
        state['n'] += 1
        return state['n']
    return Noisy(says=lambda p: texts[next_()%len(texts)], picks=lambda p,c: [chances[(next_()+j)%len(chances)] for j in range(len(c))], scores=lambda a,b: [-1.]*max(1, len(b.split())), name=name)

readers = { # name → model to a reader, and most replies for a question
    'sure': (lambda lm: SuRe(lm, candidates=3), 1+3+3+6),
    'self-rag': (lambda lm: SelfRAG(lm, All() % 2, max_steps=3), 1+2*(1+2+2)),
    'rq-rag': (lambda lm: RQRAG(lm, All() % 1, moves=('rewrite','decompose')), 3+6+4),
    **{f'loop {n}': ((lambda n: lambda lm: SearchLoop(lm, All() % 2, n, max_steps=3))(n), 3*2+1) for n in loops},
    'corag': (lambda lm: CoRAG(lm, All() % 2, max_steps=2, chains=2), 2*(8+2)+1),
    'corag tree': (lambda lm: CoRAG(lm, All() % 2, max_steps=2, expand=2, rollouts=1), 2*3+2*2+2*(4+1)+1),
    'rearag': (lambda lm: ReaRAG(lm, All() % 2, max_steps=4), 4*2+1),
    'replug': (lambda lm: REPLUG(lm, mix='answers'), len(ids)),
    'replug words': (lambda lm: REPLUG(lm, mix='words', words=(' a',' b'), max_tokens=3), 0),
    'fid': (lambda lm: FiDReader(lm), 1),
    'crag': (lambda lm: CRAG(lm, Even(), All() % 2, upper=.5, lower=.01), 1),
    'adaptive': (lambda lm: AdaptiveRAG(Complexity(lm), ClosedBook(lm), All() % 2 >> Direct(lm), ReaRAG(lm, All() % 2, max_steps=2)), 5)}

@pytest.mark.parametrize('name', readers)
def test_noise(name):
    make,most = readers[name]
    @steady
    @given(noise, st.lists(st.floats(-9, 0)|st.just(-math.inf), min_size=1, max_size=5), st.sampled_from(['Who?', '', '<search>x</search> [Relevant]', '{{ 7*7 }}', '\n[1] <|user|>']))
    def check(texts, chances, question):
        lm = noisy(texts, chances, name)
        reader,queries = make(lm),Queries.from_dict(dict(q1=question, q2='What else?'))
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            found = reader(queries if reader.takes=='Queries' else run_of(queries))
        assert [type(a.text) for a in found]==[str,str], [a.error for a in found]
        assert lm.count.get('n', 0)<=2*most
        for a in found:
            assert set(a.shown)<=set(p.id for p in a.found) and len(set(a.shown))==len(a.shown)
            assert all(c.parent is None or c.parent<i for i,c in enumerate(a.calls))
            assert json.loads(json.dumps(a.about))==a.about
    check()

def test_saved(tmp_path):
    "What the methods tell of themselves is plain: saved and read, answers are equal"
    lm = noisy(['(a) x (b) y', 'True', '<search>a</search>', '<answer>b</answer>'], [-1.,-2.], 'saved')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for name,(make,_) in readers.items():
            reader = make(lm)
            found = reader(hundred(3) if reader.takes=='Queries' else run_of(hundred(3)))
            found.save(tmp_path/'a.jsonl')
            assert Answers.read(tmp_path/'a.jsonl', found.name)==found and found.to_pandas().answer.notna().all(), name

def test_down():
    "A question in which a call fails has no answer; the others are answered"
    says = lambda p: Failure('503') if 'Question 1?' in str(p) else Reply('x', logprobs=(('x',-.1),))
    lm = Scripted(says=says, picks=flat, scores=lambda a,b: [-1.]*4)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for name,(make,_) in readers.items():
            if name in ('replug words',): continue
            reader = make(lm)
            found = reader(hundred(4) if reader.takes=='Queries' else run_of(hundred(4)))
            assert [a.query for a in found if a.text is None]==['q1'] and found['q1'].error=='503', name

# Networks: small, with random weights

def letters(folder, marks=(), kind='GPT2', **more):
    "A causal model of letters, and its tokenizer, with special tokens `marks`"
    import torch, transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    chars = ['</s>', *map(chr, range(32, 127)), '\n']
    t = Tokenizer(models.WordLevel({c: i for i,c in enumerate(chars)}, '</s>'))
    t.pre_tokenizer,t.decoder = pre_tokenizers.Split('', 'isolated'),decoders.Fuse()
    own = transformers.PreTrainedTokenizerFast(tokenizer_object=t, eos_token='</s>', pad_token='</s>', additional_special_tokens=list(marks))
    torch.manual_seed(3)
    size = dict(GPT2=dict(n_embd=32, n_layer=2, n_head=4, n_positions=160), Llama=dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=160))[kind]
    config = getattr(transformers, f'{kind}Config')(vocab_size=len(own), initializer_range=.4, bos_token_id=0, eos_token_id=0, pad_token_id=0, **size, **more)
    net = getattr(transformers, f'{kind}{"LMHeadModel" if kind=="GPT2" else "ForCausalLM"}')(config)
    net.save_pretrained(folder), own.save_pretrained(folder)
    return str(folder)

def mixed_by_hand(net, t, prompts, shares, n):
    "The formula of REPLUG: every prompt alone, the whole text for every token"
    import torch
    rows,made = [t(p)['input_ids'] for p in prompts],[]
    with torch.inference_mode():
        for _ in range(n):
            p = sum(w*net(torch.tensor([r])).logits[0,-1].double().softmax(-1) for r,w in zip(rows, shares))
            y = int(p.argmax())
            made.append((y,float(p[y].log())))
            if y==t.eos_token_id: break
            rows = [[*r,y] for r in rows]
    return made

@pytest.mark.parametrize('kind', ['GPT2','Llama'])
def test_mixtures(tmp_path, kind):
    "Prompts of many lengths, in batches of several sizes"
    from rankwb.core.hf import HF
    hf = HF(letters(tmp_path, kind=kind))
    rng = random.Random(0)
    asked = [([''.join(rng.choices('abcdef ', k=rng.randint(1, 30))) for _ in range(rng.randint(1, 5))],rng.sample(range(9), 5)) for _ in range(7)]
    prompts = [weighted(ps, shares_of(s[:len(ps)])) for ps,s in asked]
    net,t = hf.opened
    expected = [mixed_by_hand(net, t, ps, shares_of(s[:len(ps)]), 6) for ps,s in asked]
    for budget in (None,40):
        found = Mixture(HF(hf.model, budget=budget)).generate(prompts, max_tokens=6, logprobs=True)
        for r,e in zip(found, expected):
            assert [o for o,_ in r.logprobs]==[t.decode([y]) for y,_ in e]
            np.testing.assert_allclose([p for _,p in r.logprobs], [p for _,p in e], atol=2e-5)
    one = Mixture(hf).generate([weighted(['abc','abc'], [.3,.7]), weighted(['abc'], [1.])], max_tokens=6)
    assert one[0].text==one[1].text==hf.generate(['abc'], max_tokens=6)[0].text
    stop = expected[0] and t.decode([expected[0][2][0]])
    cut, = Mixture(hf).generate(prompts[:1], max_tokens=6, stop=(stop,))
    assert cut.stop==stop and stop not in cut.text
    kept = Mixture(hf).generate(prompts[:1], max_tokens=6, logprobs=True)[0]
    assert kept.kept and kept==Mixture(HF(hf.model, budget=40)).generate(prompts[:1], max_tokens=6, logprobs=True)[0]

def test_replug_reads_scores(tmp_path):
    "The retriever's scores are the weights, and a context that leaves passages out leaves out their weight"
    from rankwb.core.hf import HF
    hf = HF(letters(tmp_path))
    queries,run = hundred(2),run_of(hundred(2))
    a = REPLUG(hf, context=Context(k=2))(run)['q0']
    np.testing.assert_allclose(list(a.about['shares'].values()), shares_of([7.,6.]))
    net,t = hf.opened
    prompts = [f'Knowledge: T{n}: Text {n} of many. It says more. And more.\nQuestion: Question 0?\nAnswer:' for n in (0,1)]
    assert a.text==t.decode([y for y,_ in mixed_by_hand(net, t, prompts, shares_of([7.,6.]), 10)], skip_special_tokens=True).partition('\n')[0].strip()
    words = REPLUG(hf, mix='words', words=tuple('abc'), max_tokens=1, context=Context(k=2))(run)['q0'].text
    import torch
    with torch.inference_mode(): p = sum(w*net(torch.tensor([t(o)['input_ids']])).logits[0,-1].softmax(-1) for o,w in zip(prompts, shares_of([7.,6.])))
    assert words=='abc'[int(p[t.convert_tokens_to_ids(list('abc'))].argmax())]

def test_reflection_tokens(tmp_path):
    "Special tokens are not in a decoded text; they are put back where they stood"
    from rankwb.core.hf import HF
    marks = tuple(t for o in reflections.values() for t in o)
    hf = HF(letters(tmp_path, marks))
    net,t = hf.opened
    import torch
    with torch.no_grad(): net.lm_head.weight[-len(marks):] *= 1.3 # so that they are written
    prompts = [f'a question {i}' for i in range(30)]
    replies,bare = (hf.generate(prompts, max_tokens=12, logprobs=True, raw=raw) for raw in (True,False))
    with torch.inference_mode():
        for p,r in zip(prompts, replies):
            made = net.generate(torch.tensor([t(p)['input_ids']]), max_new_tokens=12, do_sample=False, pad_token_id=0)[0,len(t(p)['input_ids']):]
            whole = t.decode(made, skip_special_tokens=False).partition('</s>')[0]
            assert r.text==whole
    assert sum(any(m in r.text for m in marks) for r in replies)>5 and not any(m in r.text for m in marks for r in bare)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        found = SelfRAG(hf, All() % 1, max_tokens=8)(hundred(3))
    assert all(a.text is not None and not any(m in a.text for m in marks) for a in found)
    assert sum(any(m in c.answer for m in marks) for c in found.trace if c.what.startswith('segment')) and any(c.what.startswith(('support','utility')) for c in found.trace)
    calls = found['q0'].calls
    with torch.inference_mode(): p = net(torch.tensor([t(calls[0].prompt)['input_ids']])).logits[0,-1].log_softmax(-1)[t.convert_tokens_to_ids(list(reflections['retrieve']))]
    assert calls[0].answer==', '.join(f'{c!r} {x:.4f}' for c,x in zip(reflections['retrieve'], p.tolist()))

def test_search_loop_on_a_network(tmp_path):
    "A network whose chat template goes on with what was said so far"
    from rankwb.core.hf import HF
    folder = letters(tmp_path)
    import transformers
    t = transformers.AutoTokenizer.from_pretrained(folder)
    t.chat_template = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}{{ '' if loop.last and m.role=='assistant' else '\n' }}{% endfor %}{% if add_generation_prompt %}a:{% endif %}"
    t.save_pretrained(folder)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        a = SearchLoop(HF(folder), All() % 1, 'r1-searcher', prompt='Q {{ question }}', max_steps=1, max_tokens=6)(hundred(2))['q1']
    assert a.finish=='unreadable' and len(a.calls)==2 and a.calls[1].prompt.startswith('user: Q Question 1?\n\nassistant: '+a.calls[0].answer)

# FiD, with 100 passages of other lengths, is in test_fid.py for its model; here the reader

def test_fid_reads_in_batches():
    seen = []
    reader = FiDReader(Scripted(says=lambda p: seen.append(p) or 'x'), context=Context(k=3))
    found = reader(run_of(hundred(4)))
    assert [len(p) for p in seen]==[3]*4 and found['q0'].shown==tuple(ids[:3])
    assert seen[0][1]==dict(role='passage', content='question: Question 0? title: T1 context: Text 1 of many. It says more. And more.')

def test_ids_survive():
    for name in ('sure','crag','replug','fid'):
        make,_ = readers[name]
        lm = noisy(['(a) x (b) y'], [-1.], name)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            a = make(lm)(run_of(hundred(1)))[0]
        assert set(a.shown)==set(ids) if name!='crag' else set(a.shown)<=set(ids) and len(a.shown)>1, name

def test_corrective_actions():
    "Against the authors' process_flag, for bounds and scores of all kinds"
    rng = np.random.default_rng(0)
    for _ in range(200):
        lower,upper = np.sort(rng.normal(size=2))
        scores = rng.normal(size=rng.integers(1, 6))
        flags = ['2' if s>=upper else '1' if s>=lower else '0' for s in scores]
        expected = 'correct' if '2' in flags else 'ambiguous' if '1' in flags else 'incorrect'
        assert CRAG(Scripted(says=str), Even(), All(), upper=float(upper), lower=float(lower)).action(float(scores.max()))==expected
