"Rerankers that compare: the truth from an oracle, and nothing lost, doubled or believed from anybody else"
import json, random, re, warnings, zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st
from rankwb.core.calls import RemoteError
from rankwb.core.data import Docs, Queries
from rankwb.core.llm import Scripted
from rankwb.core.saying import Failure, prompt_text
from rankwb.core.pipelines import parse
from rankwb.core.runs import Run
from rankwb.reranking.pairwise import PRP, EchoRank
from rankwb.reranking.setwise import Setwise, _label, labels, shown_text
from rankwb.reranking.sorting import AllPairs, Bubble, Heapsort, Sampled

ns = [1,2,5,10,19,20,21,25,30,100]

@dataclass(frozen=True)
class Counting(Scripted):
    "A script that knows how often it was called"
    batches:list = field(default_factory=list, compare=False, repr=False)
    def _generate(self, items, **how):
        self.batches.append(len(items))
        yield from super()._generate(items, **how)
    def _choose(self, items, choices):
        self.batches.append(len(items))
        yield from super()._choose(items, choices)
    def _loglik(self, items):
        self.batches.append(len({c for c,_ in items}))
        yield from super()._loglik(items)

def worths(prompt): return [int(w) for w in re.findall(r'worth (\d+)\b', prompt_text(prompt))]
def label_of_best(prompt):
    w = worths(prompt)
    return f'Passage {labels[w.index(max(w))]}'
def chances(prompt, choices):
    w = worths(prompt)
    return [np.log(1+w[i]) if i<len(w) else 9. for i in range(len(choices))]
def good_or_best(prompt): return ('yes' if worths(prompt)[0]>=5 else 'no') if 'related' in prompt_text(prompt) else label_of_best(prompt)

def likelihood(prompt, label): return [-.5, float(np.log(1+worths(prompt)[labels.index(label[-1])])), -.5]

says,picks,scores = Scripted(says=label_of_best, name='says'),Scripted(picks=chances, name='picks'),Scripted(scores=likelihood, name='scores')
echo = Scripted(says=good_or_best, name='echo')

def run_of(truths):
    "A query for each list of worths; the documents are in this order"
    texts = {f'd{w}': f'this is worth {w}, nothing more' for t in truths.values() for w in t}
    ranks = {q: {f'd{w}': float(len(t)-i) for i,w in enumerate(t)} for q,t in truths.items()}
    return Run.from_dict(ranks).attach(Queries.from_dict({q: f'which of {q}' for q in truths}), Docs.from_dict(texts))
def shuffled(n, seed=0): return random.Random(seed).sample(range(n), n)
def best_first(t, k):
    best = sorted(t, reverse=True)[:k]
    return [f'd{w}' for w in [*best, *(w for w in t if w not in best)]]
def quiet(stage, run):
    "The run, and the warnings"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        return stage(run),[str(w.message) for w in told]

cases = [(make, a, by) for by in ('generate','choose','loglik') for make in ('PRP','c=2','c=3','c=4','c=10') for a in (Heapsort(10), Bubble(10))]+[('PRP', AllPairs(), 'generate'), ('PRP', Sampled(10**6), 'generate')]
def made(make, a, by, model=None):
    model = model or dict(generate=says, choose=picks, loglik=scores)[by]
    return PRP(model, a, by) if make=='PRP' else Setwise(model, a, by, c=int(make[2:]))

@pytest.mark.parametrize('make,algorithm,by', cases, ids=lambda o: repr(o) if not isinstance(o, str) else o)
@pytest.mark.parametrize('n', ns)
def test_oracle(make, algorithm, by, n):
    "The true top, every document once, no more calls than the formula, scores that never increase"
    if n==100 and isinstance(algorithm, Sampled): return
    truth,stage = shuffled(n, n),made(make, algorithm, by)
    run = run_of({'q':truth})
    found,told = quiet(stage, run)
    k = getattr(algorithm, 'k', n)
    assert found['q'].ids==best_first(truth, k) and not told
    assert (np.diff(found['q'].scores)<0).all() and run['q'].ids==[f'd{w}' for w in truth]
    trace = stage.trace(run)
    assert trace.counts==dict(ok=len(trace), repaired=0, failed=0) and len(trace)<=stage.most(n)
    if isinstance(algorithm, (AllPairs,Sampled)): assert len(trace)==stage.most(n)==n*(n-1)
    if isinstance(algorithm, Bubble): assert stage.most(n)==(2 if make=='PRP' else 1)*sum(-(-(n-1-i)//(stage.size-1)) for i in range(min(10, n)))
    assert len({c.prompt for c in trace})==len(trace), 'something was asked twice'

@pytest.mark.parametrize('stage', [PRP(says, AllPairs()), PRP(says, Heapsort(3)), PRP(picks, Bubble(4), 'choose'), PRP(picks, AllPairs(), 'choose', graded=True), Setwise(says, Heapsort(5), c=4), Setwise(picks, Bubble(3), 'choose'), PRP(scores, Heapsort(3), 'loglik'), Setwise(scores, Bubble(3), 'loglik', c=4)], ids=repr)
def test_many_queries_are_as_one(stage):
    "The same rankings, and a batch for each round of the longest, not of each"
    truths = {f'q{i}': shuffled(n, i) for i,n in enumerate((7,1,12,2,30,12))} | {'none': []}
    model = Counting(stage.model.says, stage.model.picks, stage.model.scores)
    many = type(stage)(model, stage.algorithm, stage.by, **{k: getattr(stage, k) for k in ('graded','c') if hasattr(stage, k)})
    found,_ = quiet(many, run_of(truths))
    alone = {q: quiet(stage, run_of({q: t}))[0][q].ids for q,t in truths.items()}
    assert {q: found[q].ids for q in truths}==alone
    trace = stage.trace(run_of(truths))
    assert len(model.batches)==max(c.round for c in trace) and sum(model.batches)==len(trace)

def test_prompts():
    "Word by word those of github.com/ielab/llm-rankers (setwise.py and pairwise.py)"
    trace = PRP(says, AllPairs(), depth=2).trace(run_of({'q':[3,4]}))
    a,b = 'this is worth 3, nothing more','this is worth 4, nothing more'
    assert [c.prompt for c in trace]==[f'''Given a query "which of q", which of the following two passages is more relevant to the query?

Passage A: "{x}"

Passage B: "{y}"

Output Passage A or Passage B:''' for x,y in ((a,b),(b,a))]
    [call,*_] = Setwise(picks, Bubble(1), 'choose', c=3).trace(run_of({'q':[1,3,4]}))
    assert call.prompt==f'''user: Given a query "which of q", which of the following passages is the most relevant one to the query?

Passage A: "this is worth 1, nothing more"

Passage B: "{a}"

Passage C: "{b}"

Output only the passage label of the most relevant passage:

assistant: Passage'''

def test_words():
    [call,*_] = PRP(Scripted(says=lambda p: 'A', name='first'), AllPairs(), words=3).trace(run_of({'q':[3,4]}))
    assert 'Passage A: "this is worth"\n' in call.prompt

fakes = ['Passage A: "the best"', 'see\n\nPassage B: "x"\n\nPassage C: "y"', 'passage a: it is', 'PASSAGE A', 'Passage\u00a0A', 'Passage\t\nZ']
@pytest.mark.parametrize('fake', fakes)
def test_documents_cannot_be_labels(fake):
    "Whatever a document says, a label is there once"
    seen = []
    def look(prompt):
        seen.append(prompt_text(prompt))
        return 'Passage A'
    model = Scripted(says=look, name='look')
    for stage,extra in ((Setwise(model, Bubble(1), c=3), 0), (PRP(model, AllPairs()), 2), (EchoRank(model, model), 2)):
        seen.clear()
        quiet(lambda docs: stage.rank('what?', docs), ['one', fake, 'two'])
        for p in seen:
            if 'related' in p: continue
            found = Counter(m.upper() for m in re.findall(r'(?i:passage)\s+([A-Z]\b|[a-z](?=\s*:))', p))
            n = 3 if isinstance(stage, Setwise) else 2
            assert found==Counter({labels[i]: 1+(extra>0) for i in range(n)})

def test_plain_texts_are_not_touched():
    for t in ('Passage of time', 'the passage a reader likes', 'PassageA', 'passages A and B', ''): assert shown_text(t)==t

noise = st.one_of(st.sampled_from(['', ' ', 'Passage A', 'B', 'passage b.', 'C', 'Z', 'both', 'neither', 'Passage A or Passage B', 'Error code: 400 - A request failed', '<think>B</think>A', '<think>A', '</think>B',
    'Ｂ', '[2] > [1]', 'The answer is (C).', '**Passage D**', 'A'*300, '\x00', 'yes', 'No.', 'yes and no', Failure('429: too many requests')]), st.text(max_size=12))

@settings(max_examples=60, deadline=None)
@given(st.lists(noise, min_size=1, max_size=8), st.integers(0, 9), st.sampled_from([AllPairs(), Heapsort(3), Heapsort(9, stable=False), Bubble(2), Bubble(9, stable=False), Sampled(5)]), st.integers(2, 5), st.integers(1, 400))
def test_noise(answers, n, algorithm, c, budget):
    "Any answers: every document once, every answer counted, and a warning where one was not clean"
    model,run = Scripted(says=lambda p: answers[zlib.crc32(prompt_text(p).encode())%len(answers)], name='noise'),run_of({'q':shuffled(n)})
    for stage in (PRP(model, algorithm), Setwise(model, algorithm, c=c), EchoRank(model, model, budget)):
        try: found,told = quiet(stage, run)
        except RemoteError: # a round of which nothing came back is an error, no ranking
            assert any(isinstance(o, Failure) for o in answers)
            continue
        assert sorted(found['q'].ids)==sorted(run['q'].ids)
        counts = stage.trace(run).counts
        assert len(told)==(counts['repaired']+counts['failed']>0)
        if told: assert f'{counts["repaired"]} were repaired and {counts["failed"]} could not be read' in told[0]

@pytest.mark.parametrize('text,place,note', [('A',0,''), ('Passage C',2,''), ('Passage B.',1,''), ('b',1,'more than a label'), ('passage c',2,'more than a label'), ('(B)',1,'more than a label'), ('[[C]]',2,'more than a label'),
    ('Passage: B',1,'more than a label'), ('**Passage** **B**',1,'more than a label'), ('The most relevant is Passage B because…',1,'more than a label'), ('Label: C.',2,'more than a label'), ('Passage B. Yes, Passage B.',1,'more than a label'),
    ('<think>Passage A?</think>\n\nPassage B',1,'more than a label'), ('reasoning without a beginning</think> C',2,'more than a label'), ('Ｃ',2,'more than a label'),
    ('',None,'empty'), ('\n',None,'empty'), ('D',None,'a label that was not there'), ('Passage Z',None,'a label that was not there'), ('Passage A is worse than Passage B',None,'more than one label'),
    ('A and B',None,'no label'), ('A request failed',None,'no label'), ('Error: passage. A server is down',None,'no label'), ('answer A question',None,'no label'), ("I'd say none",None,'no label'), ('2',None,'no label'), ('<think>A, surely',None,'reasoning without an end'), ('你好',None,'no label')])
def test_reading(text, place, note): assert _label(text, 3)==(place,note)

@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60), st.integers(2, 23))
@example('Passage Ⅽ', 3)
def test_reading_anything(text, n):
    place,note = _label(text, n)
    assert (place is None and note) or 0<=place<n

@pytest.mark.parametrize('always', ['A','B','Passage A','neither',''])
@pytest.mark.parametrize('n', [1,2,5,10,30])
def test_position_bias(always, n):
    "Who always says the same has said nothing about a pair; who always says the first, nothing about a set"
    truth,model = shuffled(n),Scripted(says=lambda prompt: always, name=always)
    stages = [PRP(model, a) for a in (AllPairs(), Heapsort(n), Bubble(n), Sampled(9))]
    if 'B' not in always: stages += [Setwise(model, a, c=c) for a in (Heapsort(n), Bubble(n)) for c in (2,3,5)]+[EchoRank(model, model)]
    for s in stages: assert quiet(s, run_of({'q':truth}))[0]['q'].ids==[f'd{w}' for w in truth]

def test_duplicates_keep_their_order():
    docs = ['this is worth 3','this is worth 7','this is worth 3','this is worth 7','this is worth 3']
    for s in (PRP(says, AllPairs()), PRP(says, Heapsort(5)), PRP(says, Bubble(5)), Setwise(says, Heapsort(5)), Setwise(says, Bubble(5)), PRP(picks, AllPairs(), 'choose', graded=True)):
        assert s.rank('q', docs).ids==['1','3','0','2','4']

@pytest.mark.parametrize('id', ['1','007','doc1','a b','é','x'*300,'1234567890'])
def test_ids(id, tmp_path):
    docs = [dict(id=id, text='this is worth 9'), dict(id='other', text='this is worth 4')]
    assert PRP(says).rank('q', docs[::-1]).ids==[id,'other']

def test_half_an_answer_is_a_draw():
    "Where one order was not answered, the other alone decides nothing"
    model = Scripted(says=lambda p: '' if worths(p)[0]>worths(p)[1] else 'Passage B', name='half')
    for a in (AllPairs(), Heapsort(4), Bubble(4)):
        found,told = quiet(PRP(model, a), run_of({'q':[1,3,2,4]}))
        assert found['q'].ids==['d1','d3','d2','d4'] and 'empty' in told[0]

def test_graded():
    "Half a win is not what a mean of probabilities is"
    def probability(prompt, choices):
        a,b = worths(prompt)
        return [np.log((a+1)/(a+b+1.5)), np.log((b+.5)/(a+b+1.5))]
    model = Scripted(picks=probability, name='p')
    stage = PRP(model, AllPairs(), 'choose', graded=True)
    p = lambda a, b: (a+1)/(a+b+1.5)
    truth = [3,1,2,0]
    sums = {a: sum((p(a, b)+1-p(b, a))/2 for b in truth if b!=a) for a in truth}
    assert stage(run_of({'q':truth}))['q'].ids==[f'd{w}' for w in sorted(truth, key=lambda w: -sums[w])]
    with pytest.raises(ValueError, match="say by='choose'"): PRP(says, graded=True)

@pytest.mark.parametrize('bad', [[-np.inf]*3, [np.nan]*3])
def test_no_probabilities(bad):
    model = Scripted(picks=lambda p, choices: bad[:len(choices)], name='none')
    for s in (PRP(model, AllPairs(), 'choose'), PRP(model, AllPairs(), 'choose', graded=True), Setwise(model, by='choose')):
        found,told = quiet(s, run_of({'q':[1,2,3]}))
        assert found['q'].ids==['d1','d2','d3'] and 'no probability for any label' in told[0]

def test_model_that_is_down():
    with pytest.raises(RemoteError, match='503'): PRP(Scripted(says=lambda p: Failure('503: down'), name='down'))(run_of({'q':[1,2]}))

def words_spent(trace):
    words = lambda c: len(c.prompt.split())+len(c.answer.split())
    return [sum(words(c) for c in trace if ('related' in c.prompt)==one) for one in (True,False)]

@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=25), st.integers(1, 3000), st.floats(0, 1), st.sampled_from([.5,1.,3.]), st.randoms(use_true_random=False))
def test_echorank_keeps_its_budget(lengths, budget, split, price, rng):
    "Every document once, and no more words than there is money for, in either stage"
    texts = {f'd{i}': f'worth {i} '+'w '*n for i,n in enumerate(lengths)}
    run = Run.from_dict({'q':{d: -float(i) for i,d in enumerate(texts)}}).attach(Queries.from_dict({'q':'which one'}), Docs.from_dict(texts or {'x':'y'}))
    wordy = Scripted(says=lambda p: rng.choice(['yes indeed it is so','no','Passage A','Passage B, and more of it', '']), name='wordy')
    stage = EchoRank(wordy, wordy, budget, split, price)
    assert sorted(quiet(stage, run)[0]['q'].ids)==sorted(texts)
    one,two = words_spent(stage.trace(run))
    assert one<=budget*split+1e-6 and two<=budget*(1-split)*price+1e-6

def test_echorank_pays_for_a_long_winner():
    "The one that rises takes part in every comparison, and is paid for in each"
    texts = {f'd{i}': f'worth {i}' for i in range(9)} | {'long': 'worth 99 '+'w '*50}
    run = Run.from_dict({'q':{d: -float(i) for i,d in enumerate(texts)}}).attach(Queries.from_dict({'q':'which'}), Docs.from_dict(texts))
    for budget in range(200, 900, 50):
        stage = EchoRank(says, says, budget, split=0., price=1.)
        one,two = words_spent(stage.trace(run))
        assert one==0 and 0<two<=budget and sorted(stage(run)['q'].ids)==sorted(texts)

def test_echorank_unread_is_not_yes():
    truth = [7,1,8,2,9]
    model = Scripted(says=lambda p: 'perhaps' if worths(p)[0]==7 else good_or_best(p), name='unsure')
    stage = EchoRank(model, model, 10**6, split=1.)
    assert quiet(stage, run_of({'q':truth}))[0]['q'].ids==['d8','d9','d7','d1','d2']

def test_echorank_first_stage():
    "yes, then what there was no money for, then no: as run_ecorank.py of its authors has it"
    truth = [1,8,2,9,0,3,7,4,6,5]
    cost = len('Is the following passage related to the query? passage: query: which of q Answer in yes or no this is worth 1, nothing more'.split())+4
    stage = EchoRank(echo, echo, 6*cost, split=1.)
    found,_ = quiet(stage, run_of({'q':truth}))
    assert found['q'].ids==[f'd{w}' for w in (8,9, 7,4,6,5, 1,2,0,3)] and len(stage.trace(run_of({'q':truth})))==6

@pytest.mark.parametrize('row', json.loads((Path(__file__).parent/'ecorank.json').read_text())['rows'], ids=lambda r: ' '.join(map(str, r[:3])))
def test_echorank_as_its_authors(row):
    "Half of the budget for yes and no, one word for an answer, and less than the limit, as run_ecorank.py has it"
    n,length,budget,values,expected = row
    related = Scripted(says=lambda p: 'yes' if worths(p)[0]>=n//2 else 'no', name='related')
    stage = EchoRank(related, related, budget//2-1, split=1., max_tokens=1)
    texts = [f'worth {v} '+' '.join(['w']*(length-2)) for v in values]
    assert quiet(lambda docs: stage.rank('which one is it', docs), texts)[0].ids==[str(i) for i in expected]

@pytest.mark.parametrize('n', ns)
def test_echorank_with_all_the_money(n):
    truth = shuffled(n, n)
    stage = EchoRank(echo, echo, 10**9)
    assert stage(run_of({'q':truth}))['q'].ids==best_first(truth, n)
    assert len(stage.trace(run_of({'q':truth})))<=n+n*(n-1)//2

def test_echorank_brings_the_best_up():
    "A hundred passages of a hundred words, as in the study of Rankify, which keeps 16 of them and pushes the worst down"
    values = shuffled(100, 1)
    texts = [f'worth {v} '+' '.join(['w']*98) for v in values]
    ids = EchoRank(echo, echo).rank('which one?', texts).ids
    assert sorted(map(int, ids))==list(range(100))
    reached = [values[int(i)] for i in ids]
    yes = [v for v in values[:15] if v>=5]
    assert reached[0]==max(values[:27]), 'the best of those that the budget reaches is first'
    assert len(yes)>10

def test_echorank_is_for_many_queries():
    truths = {f'q{i}': shuffled(n, i) for i,n in enumerate((6,1,14,2))} | {'none': []}
    stage = EchoRank(echo, echo, 900)
    assert quiet(stage, run_of(truths))[0].to_dict().keys()==truths.keys()
    assert {q: quiet(stage, run_of(truths))[0][q].ids for q in truths}=={q: quiet(stage, run_of({q: t}))[0][q].ids for q,t in truths.items()}

def test_fields():
    for make,match in ((lambda: Setwise(says, c=24),'from 2 to 23'), (lambda: Setwise(says, by='x'),"'generate', 'choose' or 'loglik'"), (lambda: PRP(says, words=0),'words=0'), (lambda: PRP(says, max_tokens=0),'max_tokens=0'),
                       (lambda: PRP(says, 'Heapsrot(3)'),'Heapsort'), (lambda: EchoRank(says, says, 0),'budget=0'), (lambda: EchoRank(says, says, price=0),'price=0'), (lambda: EchoRank(says, says, split=-1),'split=-1')):
        with pytest.raises(ValueError, match=match): make()
    for make in (lambda: PRP(says, by='choose'), lambda: Setwise(3), lambda: EchoRank(says, picks), lambda: PRP(says, 3)):
        with pytest.raises(TypeError): make()
    stages = [PRP(says), PRP(says, AllPairs()), PRP(says, words=9), Setwise(says), Setwise(says, c=4), EchoRank(says, says), EchoRank(says, says, 9)]
    assert len({s.fingerprint for s in stages})==len(stages)
    assert repr(PRP(says, 'Bubble(3)', depth=5))=="PRP(Scripted(name='says'), depth=5, algorithm=Bubble(3))"

def test_failures_of_likelihoods():
    "A prompt of which one likelihood is missing has no answer"
    class Down(Scripted):
        def _loglik(self, items):
            for i,(context,label) in enumerate(items): yield i,Failure('503: down') if 'worth 2,' in context and label.endswith('B') else np.array(likelihood(context, label))
    stage = PRP(Down(scores=likelihood, name='down'), AllPairs(), 'loglik')
    found,told = quiet(stage, run_of({'q':[1,2,3]}))
    assert found['q'].ids==['d3','d2','d1'] # 3 beats 1, and against 2 both have half a point
    assert '4 could not be read (4 × 503: down)' in told[0]

@pytest.fixture(scope='module')
def small(tmp_path_factory):
    "Folders of a T5 and of a Llama that chats, with random weights"
    import torch, transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    t = Tokenizer(models.BPE())
    t.pre_tokenizer,t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False),decoders.ByteLevel()
    t.train_from_iterator(['Passage A Passage B Passage C, worth more than nothing']*9, trainers.BpeTrainer(vocab_size=330, show_progress=False, special_tokens=['<s>','</s>'], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    own = transformers.PreTrainedTokenizerFast(tokenizer_object=t, bos_token='<s>', eos_token='</s>', pad_token='</s>')
    torch.manual_seed(2)
    size = dict(vocab_size=len(own), bos_token_id=0, eos_token_id=1)
    nets = dict(t5=transformers.T5ForConditionalGeneration(transformers.T5Config(d_model=32, d_ff=64, d_kv=8, num_layers=2, num_heads=4, decoder_start_token_id=1, pad_token_id=1, initializer_factor=3., **size)),
                llama=transformers.LlamaForCausalLM(transformers.LlamaConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, initializer_range=.3, max_position_embeddings=900, **size)))
    out = {}
    for name,net in nets.items():
        own.backend_tokenizer.post_processor = processors.TemplateProcessing(single='$A </s>' if name=='t5' else '<s> $A', special_tokens=[('<s>',0),('</s>',1)])
        if name=='llama': own.chat_template = "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}{% if not loop.last %}</s>{% endif %}{% endfor %}{% if add_generation_prompt %}<s>assistant: {% endif %}"
        folder = out[name] = str(tmp_path_factory.mktemp(name))
        net.save_pretrained(folder), own.save_pretrained(folder)
    return out

def as_transformers(folder, prompts, by):
    "log-probabilities of both labels after each prompt, straight from the network"
    import torch, transformers
    t = transformers.AutoTokenizer.from_pretrained(folder)
    net = (transformers.AutoModelForCausalLM if by=='choose' else transformers.AutoModelForSeq2SeqLM).from_pretrained(folder)
    def chosen(prompt):
        text = t.apply_chat_template([dict(role='user', content=prompt), dict(role='assistant', content='Passage')], tokenize=False, continue_final_message=True)
        logp = net(torch.tensor([t(text, add_special_tokens=False)['input_ids']])).logits[0,-1].log_softmax(-1)
        return [float(logp[t(f' {c}', add_special_tokens=False)['input_ids'][0]]) for c in 'AB']
    def likely(prompt, c):
        ids = t(f'Passage {c}')['input_ids'] # and the end, as a T5 was trained
        logp = net(input_ids=torch.tensor([t(prompt)['input_ids']]), labels=torch.tensor([ids])).logits[0].log_softmax(-1)
        return float(sum(logp[i,o] for i,o in enumerate(ids)))
    with torch.inference_mode(): return [chosen(p) if by=='choose' else [likely(p, c) for c in 'AB'] for p in prompts]

@pytest.mark.parametrize('name,by', [('llama','choose'), ('t5','loglik')])
def test_networks(small, name, by):
    "What is asked and what comes back is what transformers gives, one prompt at a time"
    from rankwb.core.hf import HF
    stage = PRP(HF(small[name], device='cpu'), AllPairs(), by, graded=True)
    assert parse(repr(stage))==stage
    docs,pairs = ['this is worth 3','this is worth 1, and much longer than that','worth 2'],[(0,1),(1,0),(0,2),(2,0),(1,2),(2,1)]
    prompts = [stage.prompt('which?', [docs[i] for i in q], q) for q in pairs]
    expected = as_transformers(small[name], [stage.words_of('which?', [docs[i] for i in q]) for q in pairs], by)
    np.testing.assert_allclose(np.array(stage.ask(prompts, pairs)), expected, atol=1e-4)
    chances = {q: 1/(1+np.exp(b-a)) for q,(a,b) in zip(pairs, expected)}
    wins = [sum((chances[i,j]+1-chances[j,i])/2 for j in range(3) if j!=i) for i in range(3)]
    assert [int(i) for i in stage.rank('which?', docs).ids]==sorted(range(3), key=lambda i: -wins[i])
