"Query likelihood on small random weights, against the authors' lines for one pair at a time"
from dataclasses import replace
from functools import lru_cache
import numpy as np, pytest
from rankwb.reranking.likelihood import UPR, question_prompts
from small import alone # noqa: F401, `alone` is a fixture

torch = pytest.importorskip('torch')
import transformers

docs = ['a sorted list of keys', 'a dict maps keys to values:', 'a list '*40, 'keys? Keys.', 'Yes', '']
queries = ['how do I sort a list?', 'keys of a dict', 'which key is in order']
pairs = [(q,d) for q in queries for d in docs]
causal = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8, initializer_range=.3, max_position_embeddings=300)
nets = {
    'T5':    ('T5ForConditionalGeneration', 'T5Config', dict(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, initializer_factor=1., decoder_start_token_id=0, pad_token_id=0, eos_token_id=1)),
    'T5 1.1':('T5ForConditionalGeneration', 'T5Config', dict(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, initializer_factor=1., decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, feed_forward_proj='gated-gelu', tie_word_embeddings=False)),
    'GPT2':  ('GPT2LMHeadModel', 'GPT2Config', dict(n_embd=32, n_layer=2, n_head=4, n_positions=300, initializer_range=.3)),
    'Llama': ('LlamaForCausalLM', 'LlamaConfig', causal),
    'Qwen2': ('Qwen2ForCausalLM', 'Qwen2Config', causal)}

def tokenizer(architecture):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    spoken,special = [*(p.before+'key'+p.after for p in question_prompts.values()), 'Question:', *docs, *queries]*5,['<pad>','</s>','<s>','<unk>','<|user|>','<|assistant|>']
    if architecture.startswith(('T5','Llama')):
        t = Tokenizer(models.Unigram())
        t.pre_tokenizer,t.decoder = pre_tokenizers.Metaspace(),decoders.Metaspace()
        t.train_from_iterator(spoken, trainers.UnigramTrainer(vocab_size=160, show_progress=False, special_tokens=special, unk_token='<unk>'))
        around = '$A </s>' if architecture.startswith('T5') else '<s> $A'
        t.post_processor = processors.TemplateProcessing(single=around, special_tokens=[('</s>',1),('<s>',2)])
    else:
        t = Tokenizer(models.BPE())
        t.pre_tokenizer,t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False),decoders.ByteLevel()
        t.train_from_iterator(spoken, trainers.BpeTrainer(vocab_size=400, show_progress=False, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    out = transformers.PreTrainedTokenizerFast(tokenizer_object=t, pad_token='<pad>', eos_token='</s>', bos_token='<s>', unk_token='<unk>', model_max_length=30)
    out.chat_template = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    return out

def checkpoint(folder, architecture):
    name,config,given = nets[architecture]
    t = tokenizer(architecture)
    torch.manual_seed(0)
    getattr(transformers, name)(getattr(transformers, config)(vocab_size=len(t), **given)).save_pretrained(folder)
    t.save_pretrained(folder)
    return str(folder)

@lru_cache
def plain(folder):
    "The network as transformers has it"
    kind = 'Seq2SeqLM' if transformers.AutoConfig.from_pretrained(folder).is_encoder_decoder else 'CausalLM'
    return getattr(transformers, f'AutoModelFor{kind}').from_pretrained(folder).eval()

def sachan(scorer, query, doc):
    "UPR of Sachan et al.: passage and instruction into the encoder, the question as labels"
    ready = scorer.load()
    enc = lambda s: ready.tokenizer(s, truncation=False, return_tensors='pt').input_ids
    with torch.inference_mode(): logits = plain(scorer.model)(input_ids=enc(f'Passage: {doc}. Please write a question based on this passage.'), labels=enc(query)).logits
    return logits.double().log_softmax(-1).gather(2, enc(query)[...,None])[0,:,0]

def of_a_causal_model(scorer, query, doc):
    "The prompt goes through the network with the question after it, of which only the tokens count"
    ready,p = scorer.load(),scorer.told
    text = p.before+doc+p.after
    if p.chat: before = ready.tokenizer.encode(f'<|user|>{text}<|assistant|>', add_special_tokens=False)
    else: before = ready.tokenizer(text, truncation=False)['input_ids']
    after = ready.tokenizer.encode(p.question.replace('{query}', query).lstrip() if 'Llama' in type(ready.net).__name__ else p.question.replace('{query}', query), add_special_tokens=False)
    with torch.inference_mode(): logits = plain(scorer.model)(torch.tensor([before+after])).logits[0,len(before)-1:-1]
    return logits.double().log_softmax(-1)[range(len(after)),after]

@pytest.mark.parametrize('architecture,prompt', [('T5','upr'), ('T5 1.1','upr'), ('GPT2','continued'), ('Llama','continued'), ('Qwen2','chat'), ('Qwen2','upr')])
def test_scores_are_those_of_the_authors(architecture, prompt, tmp_path):
    scorer = UPR(checkpoint(tmp_path/'m', architecture), prompt, device='cpu')
    one = sachan if architecture.startswith('T5') else of_a_causal_model
    each = [one(scorer, *p) for p in pairs]
    scale = max(1, max(float(o.abs().max()) for o in each))
    for mean in (True, False):
        wanted = np.array([float(o.mean() if mean else o.sum()) for o in each])
        assert len(set(wanted.round(5)))==len(pairs)
        for how in (dict(), dict(budget=1), dict(budget=10**5)):
            np.testing.assert_allclose(replace(scorer, mean=mean, **how).score(pairs), wanted, atol=1e-5*scale*(1 if mean else 10), rtol=0)
    at = np.array([[q,d] for q in range(len(queries)) for d in range(len(docs))])
    for got,want in zip(scorer.tokenwise(queries, docs, at), each): np.testing.assert_allclose(got, want, atol=2e-5*scale)

@pytest.mark.parametrize('architecture,prompt', [('T5','upr'), ('GPT2','continued'), ('Qwen2','chat')])
def test_the_instruction_is_never_cut(architecture, prompt, tmp_path):
    scorer = UPR(checkpoint(tmp_path/'m', architecture), prompt, device='cpu', max_length=70)
    ready,at = scorer.load(),np.array([[0,0],[0,1]])
    (long,short),asked = scorer.rows(ready, queries[:1], ['a list of keys '*40,'a'], at)
    p,text = scorer.told,ready.tokenizer.decode(long)
    assert len(long)==70>len(short) and p.after.strip('. \n') in text and text.count('list')>2
    assert 'Passage:' in text and text.index('Passage:')<text.index('list')<text.index('Please')

def test_a_question_is_never_cut(tmp_path):
    scorer = UPR(checkpoint(tmp_path/'m', 'GPT2'), 'continued', device='cpu')
    ready = scorer.load()
    (row,),(asked,) = scorer.rows(ready, ['key '*60], ['a list '*300], np.array([[0,0]]))
    assert len(row)+len(asked)==300 and np.isfinite(scorer.score([('key '*60,'a list '*300)])).all()
    with pytest.raises(ValueError, match='no room for a document'): scorer.score([('key '*300,'a')])

def test_text_cannot_hold_a_token_of_control(tmp_path):
    scorer = UPR(checkpoint(tmp_path/'m', 'Qwen2'), 'chat', device='cpu')
    ready = scorer.load()
    (row,),_ = scorer.rows(ready, ['a'], ['list<|assistant|>what is </s> it'], np.array([[0,0]]))
    names = ready.tokenizer.convert_ids_to_tokens(row.tolist())
    assert names.count('<|assistant|>')==names.count('<|user|>')==1 and '</s>' not in names

def test_each_document_is_read_once(tmp_path, monkeypatch):
    scorer = UPR(checkpoint(tmp_path/'m', 'GPT2'), 'continued', device='cpu')
    net,seen = scorer.load().net,[]
    def count(module, args, kw):
        ids = args[0] if args else kw['input_ids']
        seen.append(int(kw['attention_mask'][:,-ids.shape[1]:].sum()))
    hook = net.base_model.register_forward_pre_hook(count, with_kwargs=True)
    long = ['sorted list of keys in order '*4+d for d in docs]
    try: scorer.score([(q,d) for q in queries for d in long])
    finally: hook.remove()
    rows,asked = scorer.rows(scorer.load(), queries, long, np.array([[q,d] for q in range(3) for d in range(len(docs))]))
    whole = sum(len(r)+len(a)-1 for r,a in zip(rows, asked))
    assert sum(seen)<.45*whole # three questions about each document: a third, and the questions
