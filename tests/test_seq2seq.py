"monoT5, RankT5, TWOLAR and duoT5 against transformers, one prompt at a time, with the tokenizer that T5 really has"
import os
import numpy as np, pytest
from test_pairs import alone, run_of, words # noqa: F401, `alone` is a fixture
from rankwb.reranking.seq2seq import DuoT5, MonoT5
from rankwb.reranking.sorting import Bubble, Heapsort

pytest.importorskip('sentence_transformers')
rng = np.random.default_rng(1)
queries = ['sort a list', 'open file', 'naïve  \n key', '']
texts = [' '.join(rng.choice(words, n)) for n in rng.integers(1, 40, 12)]+['', ' \n', 'list', 'list', ' a key,  a key. Key!', '{query} {0} %s', 'Relevant: true']
pairs = [(q,t) for q in queries for t in texts]

def save(folder, kind='T5', **told):
    "A random T5 and a T5 tokenizer over words and letters"
    import string, torch, transformers
    torch.manual_seed(2)
    own = ['Query','Document','Document0','Document1','Relevant','true','false','no','yes','<extra_id_10>']
    pieces = [('<pad>',0.),('</s>',0.),('<unk>',0.), *(('▁'+w,-3.) for w in [*own, *words]), ('▁',-5.), *((c,-7.) for c in string.ascii_letters+string.digits+string.punctuation)]
    t = transformers.T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=512)
    config = getattr(transformers, kind+'Config')(vocab_size=len(t), d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, **told)
    net = getattr(transformers, kind+'ForConditionalGeneration')(config)
    for o in (net, t): o.save_pretrained(folder)
    return str(folder)

@pytest.fixture(scope='session')
def folder(tmp_path_factory): return save(tmp_path_factory.mktemp('t5'))

def steps(folder, prompts):
    "All logits of the first step, one prompt at a time"
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
    net,t = AutoModelForSeq2SeqLM.from_pretrained(folder).eval(),AutoTokenizer.from_pretrained(folder)
    one = lambda p: net(**t(p, return_tensors='pt'), decoder_input_ids=torch.tensor([[0]])).logits[0,0].double().numpy()
    with torch.inference_mode(): return np.stack([one(p) for p in prompts]),t.convert_tokens_to_ids

def log_softmax(l): return l[:,1]-np.logaddexp(l[:,0], l[:,1])
monot5 = 'Query: {} Document: {} Relevant:'

def test_tokenizer_is_that_of_T5(folder):
    from transformers import AutoTokenizer
    t = AutoTokenizer.from_pretrained(folder)
    assert t.tokenize('Query: sort  a\nlist')==['▁Query',':','▁sort','▁','a','▁list'] and t('sort')['input_ids'][-1]==1

def test_tokenizers_that_split_at_spaces_only():
    "Older files of T5 know no other cut than a blank that belongs to the word behind it"
    from rankwb.reranking.pairs import _ids, template_layout
    from test_pairs import tokenizer
    t = tokenizer('unigram')
    layout = template_layout(t, ['Query: ',' Document: ',' Relevant:'])
    whole = t('Query: sort list Document: a key Relevant:')['input_ids']
    assert layout.row(_ids(t, ['sort list','a key']))['input_ids'].tolist()==list(whole)
    with pytest.raises(ValueError, match='draws the words'): template_layout(t, ['Query:',' Document:',' Relevant:'])

@pytest.mark.parametrize('kind,told', [('T5',{}), ('T5',dict(tie_word_embeddings=False, feed_forward_proj='gated-gelu')), ('MT5',dict(feed_forward_proj='gated-gelu')), ('UMT5',{})])
def test_equals_transformers_one_prompt_at_a_time(tmp_path, kind, told):
    "Every rule; whether the two matrices of words are tied or not; whatever stands beside a pair"
    folder = save(tmp_path, kind, **told)
    logits,number = steps(folder, [monot5.format(*p) for p in pairs])
    two = logits[:,number(['▁false','▁true'])]
    mono = MonoT5(folder, device='cpu')
    scores = mono.score(pairs)
    assert np.abs(scores-log_softmax(two)).max()<1e-5 and scores.std()>.01
    assert np.abs(np.concatenate([mono.score([p]) for p in pairs[:9]])-scores[:9]).max()<1e-5
    assert np.abs(MonoT5(folder, rule='difference', device='cpu').score(pairs)-(two[:,1]-two[:,0])).max()<2e-5
    yes = logits[:,number(['▁no','▁yes'])]
    assert np.abs(MonoT5(folder, tokens=('▁no','▁yes'), device='cpu').score(pairs)-log_softmax(yes)).max()<1e-5
    assert np.abs(MonoT5(folder, tokens=tuple(number(['▁no','▁yes'])), device='cpu').score(pairs)-log_softmax(yes)).max()<1e-5

def test_rankt5(folder):
    logits,number = steps(folder, ['Query: {} Document: {}'.format(*p) for p in pairs])
    got = MonoT5(folder, tokens='▁<extra_id_10>', template='Query: {query} Document: {text}', rule='logit', device='cpu').score(pairs)
    assert np.abs(got-logits[:,number('▁<extra_id_10>')]).max()<1e-5

def test_the_template_is_never_cut(folder):
    "Peers cut the end of the prompt, with the question in it; ours is the prompt with a shorter document"
    mono = MonoT5(folder, max_length=40, device='cpu')
    for q in queries:
        doc = ['sort','list','key','file']*30
        room = 40-mono.load().layout.size-len(mono.load().tokenizer(q, add_special_tokens=False)['input_ids'])
        logits,number = steps(folder, [monot5.format(q, ' '.join(doc[:room]))])
        assert abs(mono.score([(q, ' '.join(doc))])[0]-log_softmax(logits[:,number(['▁false','▁true'])])[0])<1e-5

def test_a_long_query_leaves_room(folder):
    mono = MonoT5(folder, max_length=40, device='cpu')
    with pytest.warns(UserWarning, match='1 of the queries left no room'): got = mono.score([('sort '*100,'list '*50), ('sort '*100,'key '*50)])
    assert got[0]!=got[1]
    room = 40-mono.load().layout.size
    logits,number = steps(folder, [monot5.format('sort '*(room-room//2), 'list '*(room//2))])
    assert abs(got[0]-log_softmax(logits[:,number(['▁false','▁true'])])[0])<1e-5
    with pytest.raises(ValueError, match='nothing is left'): MonoT5(folder, max_length=8, device='cpu').score(pairs)

def test_errors(folder, tmp_path):
    from test_pairs import network
    with pytest.raises(ValueError, match="no token '▁sim'"): MonoT5(folder, tokens=('▁não','▁sim')[::-1], device='cpu').score(pairs)
    with pytest.raises(ValueError, match='no token 99999'): MonoT5(folder, tokens=(5,99999), device='cpu').score(pairs)
    with pytest.raises(ValueError, match='draws the words'): MonoT5(folder, template='Query:{query} Document:{text}', device='cpu').score(pairs)
    for bad in (dict(rule='softmax'), dict(tokens=('a','b','c')), dict(template='{query}'), dict(max_length=None)):
        with pytest.raises(ValueError): MonoT5(folder, **bad)
    with pytest.raises(Exception, match='Bert|weights'): MonoT5(network(tmp_path, 'BERT', num_labels=1), device='cpu').score(pairs)

def test_weights_that_are_not_numbers(tmp_path):
    from transformers import T5ForConditionalGeneration
    folder = save(tmp_path)
    net = T5ForConditionalGeneration.from_pretrained(folder)
    net.encoder.final_layer_norm.weight.data[:] = float('nan')
    net.save_pretrained(folder)
    with pytest.raises(ValueError, match='are not finite'): MonoT5(folder, device='cpu').score(pairs)
    with pytest.raises(ValueError, match='are not finite'): DuoT5(folder, device='cpu').rank('sort', texts[:3])

def test_duot5(folder):
    "Both orders of all pairs, by transformers one prompt at a time; documents of a run, in several queries"
    few = texts[:5]
    ask = [(q,a,b) for q in queries[:2] for a in few for b in few if a!=b]
    logits,number = steps(folder, ['Query: {} Document0: {} Document1: {} Relevant:'.format(*t) for t in ask])
    log = dict(zip(ask, log_softmax(logits[:,number(['▁false','▁true'])])))
    duo = DuoT5(folder, device='cpu')
    assert np.abs(duo.compare(ask)-list(log.values())).max()<1e-5
    p = {k: np.exp(v) for k,v in log.items()}
    for q in queries[:2]:
        others = lambda i: [j for j in range(5) if j!=i]
        plain = [sum(log[q,few[i],few[j]] for j in others(i)) for i in range(5)]
        both = [sum(p[q,few[i],few[j]]+1-p[q,few[j],few[i]] for j in others(i)) for i in range(5)]
        assert [int(d) for d,_ in duo.rank(q, few)]==sorted(range(5), key=lambda i: -plain[i])
        assert [int(d) for d,_ in DuoT5(folder, both='symmetric', device='cpu').rank(q, few)]==sorted(range(5), key=lambda i: -both[i])
    run = run_of(5, few)
    whole = duo(run)
    assert {q: list(d) for q,d in whole.to_dict().items() if q in ('q0','q1')}=={f'q{i}': [f'd{d}' for d,_ in duo.rank(q, few)] for i,q in enumerate(('sort a list','open file'))}
    for n in (0,1,2): assert sorted(d for d,_ in duo.rank('sort', few[:n]))==[str(i) for i in range(n)]

def test_duot5_asks_what_its_algorithm_asks(folder, monkeypatch):
    seen = []
    monkeypatch.setattr(DuoT5, '_judged', lambda self, queries, docs, at, what='': seen.append(len(at)) or np.log(np.clip(.5+(at[:,1]-at[:,2])/100, .01, .99)).astype(np.float32))
    many = [f'list {i:02}' for i in range(20)]
    assert [int(d) for d,_ in DuoT5(folder).rank('sort', many)]==list(range(20))[::-1] and seen==[20*19]
    for sorting,best in ((Heapsort(k=3),3),(Bubble(k=2),2)):
        seen.clear()
        got = [int(d) for d,_ in DuoT5(folder, sorting=sorting).rank('sort', many)]
        assert got[:best]==[19-i for i in range(best)] and sorted(got)==list(range(20)) and sum(seen)<=2*sorting.most(20)
    assert [int(d) for d,_ in DuoT5(folder, depth=5).rank('sort', many)]==[4,3,2,1,0,*range(5,20)]

def test_duot5_shares_the_room(folder):
    "Two long documents lose the same, and `Relevant:` is there; the peer's prompt loses the second document"
    duo = DuoT5(folder, max_length=50, device='cpu')
    room = 50-duo.load().layout.size-1
    a,b = ['list']*60,['key']*60
    logits,number = steps(folder, [f'Query: sort Document0: {" ".join(a[:room//2])} Document1: {" ".join(b[:room-room//2])} Relevant:'])
    assert abs(duo.compare([('sort', ' '.join(a), ' '.join(b))])[0]-log_softmax(logits[:,number(['▁false','▁true'])])[0])<1e-5
    with pytest.raises(TypeError, match='compares two'): duo.score(pairs)
    with pytest.raises(TypeError, match='triple 0'): duo.compare(pairs)
    for bad in (dict(both='x'), dict(rule='difference')):
        with pytest.raises(ValueError): DuoT5(folder, **bad)
    with pytest.raises(TypeError, match='sorting'): DuoT5(folder, sorting='heapsort')
