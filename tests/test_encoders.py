"Every family of encoders on small random weights, against the formula of its authors written out with plain transformers"
import json, string
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
import numpy as np, pytest
from rankwb.core.data import Docs, Queries
from rankwb.core.encoders import Encoder, find_model
from rankwb.core.networks import Network, poolings
from rankwb.core.prompts import inputs
from small import alone # noqa: F401, `alone` is a fixture

torch = pytest.importorskip('torch')
pytest.importorskip('sentence_transformers')
import torch.nn.functional as F
import transformers
from transformers import AutoModel, AutoTokenizer

words = 'a sorted list of keys and values is kept in order the dict maps each key to one value open a file read every line split join heap queue thread lock time date parse what'.split()
rng = np.random.default_rng(0)
texts = [' '.join(rng.choice(words, n)) for n in (1, 3, 24, 9, 17, 2, 5, 12)]+['Ärger – naïve 中文 #1', 'a list', 'Keys? Keys!']
task = 'Given a web search query, retrieve relevant passages that answer the query'
small = dict(vocab_size=400, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, initializer_range=.3)
decoder = dict(small, num_key_value_heads=2, head_dim=8, pad_token_id=0, bos_token_id=2, eos_token_id=3, max_position_embeddings=260)
nets = { # architecture → class of the network, its configuration, its tokenizer
    'BERT':       ('BertModel', 'BertConfig', dict(small, max_position_embeddings=260), 'wordpiece'),
    'DistilBERT': ('DistilBertModel', 'DistilBertConfig', dict(vocab_size=400, dim=32, hidden_dim=48, n_layers=2, n_heads=4, initializer_range=.3, max_position_embeddings=260), 'wordpiece'),
    'MPNet':      ('MPNetModel', 'MPNetConfig', dict(small, max_position_embeddings=262, pad_token_id=0), 'wordpiece'),
    'RoBERTa':    ('RobertaModel', 'RobertaConfig', dict(small, max_position_embeddings=262, pad_token_id=0), 'roberta'),
    'XLM-R':      ('XLMRobertaModel', 'XLMRobertaConfig', dict(small, max_position_embeddings=262, pad_token_id=0), 'sentencepiece'),
    'ModernBERT': ('ModernBertModel', 'ModernBertConfig', dict(small, pad_token_id=0, max_position_embeddings=260), 'wordpiece'),
    'NomicBERT':  ('NomicBertModel', 'NomicBertConfig', dict(small, pad_token_id=0, max_position_embeddings=260), 'wordpiece'),
    'GTE':        ('GteModel', 'GteConfig', dict(small, pad_token_id=0, max_position_embeddings=260), 'sentencepiece'),
    'T5':         ('T5EncoderModel', 'T5Config', dict(vocab_size=400, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, initializer_factor=3., pad_token_id=0, eos_token_id=3), 'sentencepiece end'),
    'Llama':      ('LlamaModel', 'LlamaConfig', decoder, 'llama'),
    'Mistral':    ('MistralModel', 'MistralConfig', decoder, 'sentencepiece begin'),
    'Qwen2':      ('Qwen2Model', 'Qwen2Config', decoder, 'bytes end'),
    'Qwen3':      ('Qwen3Model', 'Qwen3Config', decoder, 'bytes end left'),
    'GPT':        ('OpenAIGPTModel', 'OpenAIGPTConfig', dict(vocab_size=400, n_positions=260, n_embd=32, n_layer=2, n_head=4, initializer_range=.3), 'bytes end'),
    'Gemma3':     ('Gemma3TextModel', 'Gemma3TextConfig', dict(decoder, use_bidirectional_attention=True, layer_types=['full_attention']*2), 'sentencepiece begin end')}
special = ['[PAD]','[UNK]','<s>','</s>','[MASK]','[CLS]','[SEP]','<|user|>','<|embed|>','<|eot_id|>','<|start_header_id|>','<|end_header_id|>','<|endoftext|>','<|im_end|>','<|end_of_text|>','\n','\n\n']

@lru_cache
def learned(kind):
    "Pieces learned from a few sentences"
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    spoken = [*texts, task, 'Instruct: Query: query: passage: title: none | text: Represent the question for retrieving documents: user document search result', *string.ascii_letters, *string.punctuation]
    if kind=='wordpiece':
        t,trainer = Tokenizer(models.WordPiece(unk_token='[UNK]')),trainers.WordPieceTrainer(vocab_size=400, special_tokens=special)
        t.normalizer,t.pre_tokenizer = normalizers.BertNormalizer(),pre_tokenizers.BertPreTokenizer()
    elif kind=='sentencepiece':
        t,trainer = Tokenizer(models.Unigram()),trainers.UnigramTrainer(vocab_size=400, special_tokens=special, unk_token='[UNK]')
        t.pre_tokenizer,t.decoder = pre_tokenizers.Metaspace(),decoders.Metaspace()
    else:
        t,trainer = Tokenizer(models.BPE()),trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
        t.pre_tokenizer,t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False),decoders.ByteLevel()
    t.train_from_iterator(spoken, trainer)
    return t.to_str()

@lru_cache
def tokenizer(kind):
    "A tokenizer of the kind that the family has"
    from tokenizers import Tokenizer, processors
    words_,t = kind=='wordpiece',Tokenizer.from_str(learned('wordpiece' if kind=='wordpiece' else 'sentencepiece' if kind.startswith('sentencepiece') else 'bytes'))
    begin,end = {'wordpiece':('[CLS]','[SEP]'), 'roberta':('<s>','</s>'), 'sentencepiece':('<s>','</s>'), 'llama':('<s>','')}.get(kind, ('<s>' if 'begin' in kind else '', '</s>' if 'end' in kind.split() else ''))
    around = f'{begin} $A {end}'.strip()
    t.post_processor = processors.TemplateProcessing(single=around, pair=f'{around} $B:1 {end}:1' if words_ else None, special_tokens=[(o, t.token_to_id(o)) for o in special])
    names = dict(pad_token='[PAD]', unk_token='[UNK]', mask_token='[MASK]', cls_token='[CLS]', sep_token='[SEP]', bos_token='<s>', eos_token='</s>')
    if kind=='llama': del names['pad_token'] # as Llama has it
    out = transformers.PreTrainedTokenizerFast(tokenizer_object=t, padding_side='left' if 'left' in kind else 'right', model_max_length=250, **names,
                                               model_input_names=['input_ids','token_type_ids','attention_mask'] if words_ else ['input_ids','attention_mask'])
    if kind in ('llama','sentencepiece begin'): out.chat_template = "{% for m in messages %}<|user|>{{ m['content'] }}{% endfor %}" # into which no text may get
    return out

def net(architecture, seed=0, **kw):
    name,config,given,_ = nets[architecture]
    torch.manual_seed(seed)
    model = getattr(transformers, name)(getattr(transformers, config)(**given, **kw)).eval()
    with torch.no_grad():
        for p in model.parameters(): # biases and norms are drawn too, so that nothing can be left out unseen
            if p.ndim==1: p.add_(torch.randn_like(p)*.1)
    return model

def checkpoint(folder, architecture, model=None, **kw):
    "A plain checkpoint: weights, configuration and tokenizer in a folder"
    (model or net(architecture, **kw)).save_pretrained(folder)
    tokenizer(nets[architecture][3]).save_pretrained(folder)
    return str(folder)

def saved(folder, architecture, pooling='mean', after=(), **kw):
    "A checkpoint written by sentence-transformers"
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    plain = checkpoint(folder/'plain', architecture)
    text = dict(text=dict(method='forward', method_output_name='last_hidden_state'))
    SentenceTransformer(modules=[Transformer(plain, modality_config=text, module_output_name='token_embeddings'), Pooling(32, pooling), *after], device='cpu', **kw).save(str(folder/'model'), create_model_card=False)
    return str(folder/'model')

def loaded(folder, cls=AutoModel): return cls.from_pretrained(folder).eval(),AutoTokenizer.from_pretrained(folder)

def same(enc, kind, want, texts=texts, eps=1e-5, distinct=True, **kw):
    "`enc` gives the vectors `want`, whatever stands together in a batch"
    want = np.asarray(want, np.float32)
    got = enc.encode(texts, kind, **kw)
    np.testing.assert_allclose(got, want, atol=eps*max(1, np.abs(want).max()), rtol=0)
    for o in (replace(enc, budget=1), replace(enc, budget=10**6)): close(o.encode(texts, kind, **kw), got)
    assert not distinct or len(np.unique(want.round(4), axis=0))==len(want) # the oracle tells the texts apart
    return got

def close(a, b):
    cos = (a*b).sum(1)/np.maximum(np.linalg.norm(a, axis=1)*np.linalg.norm(b, axis=1), 1e-30)
    assert cos.min()>.9999, cos.min()

@torch.inference_mode()
def one_by_one(fn, some=texts): return np.stack([np.asarray(fn(t)).reshape(-1) for t in some])

# Pooling

def pooled(H, how):
    "Pooling of the vectors of one text's tokens, as the books have it"
    w = np.arange(1, len(H)+1)[:,None]
    return dict(cls=lambda: H[0], mean=lambda: H.mean(0), mean_sqrt_len_tokens=lambda: H.sum(0)/np.sqrt(len(H)), weightedmean=lambda: (H*w).sum(0)/w.sum(), max=lambda: H.max(0), lasttoken=lambda: H[-1])[how]()

@pytest.mark.parametrize('how', [p for p in poolings if p not in ('pooler','ance')])
@pytest.mark.parametrize('architecture', ['BERT','Qwen3','Mistral'])
def test_pooling(tmp_path, architecture, how):
    "Each pooling, padded on the right and on the left: a text's vector is that of the text alone"
    folder = checkpoint(tmp_path, architecture)
    model,tok = loaded(folder)
    want = one_by_one(lambda t: pooled(model(**tok(t, return_tensors='pt')).last_hidden_state[0].numpy(), how))
    for kind in ('query','doc'): same(Encoder(folder, pooling=how), kind, want, distinct=architecture=='BERT' or how!='cls')

def test_pooler(tmp_path):
    folder = checkpoint(tmp_path, 'BERT')
    model,tok = loaded(folder)
    same(Encoder(folder, pooling='pooler'), 'doc', one_by_one(lambda t: model(**tok(t, return_tensors='pt')).pooler_output))

@pytest.mark.parametrize('architecture', [a for a in nets if a!='T5'])
def test_architectures(tmp_path, architecture):
    "Whatever is inside: alone, in a batch, at the greatest length"
    folder = checkpoint(tmp_path, architecture)
    model,tok = loaded(folder)
    enc,some = Encoder(folder, pooling='mean', max_length=20),texts+['a key '*40]
    same(enc, 'doc', one_by_one(lambda t: model(**tok(t, return_tensors='pt', truncation=True, max_length=20)).last_hidden_state[0].mean(0), some), some)
    assert enc.load()[0].preprocess(some)['input_ids'].shape[1]==20

def test_padding_is_no_token(tmp_path):
    "The mean over the padding, as in a toolkit's index of Contriever, moves a text's vector; here it does not"
    folder = checkpoint(tmp_path, 'BERT')
    model,tok = loaded(folder)
    pair = ['a list', texts[2]]
    with torch.inference_mode(): naive = model(**tok(pair, padding=True, return_tensors='pt')).last_hidden_state.mean(1)[0].numpy()
    alone = Encoder(folder, pooling='mean').encode(pair[:1], 'doc')[0]
    assert np.abs(naive-alone).max()>.05
    close(Encoder(folder, pooling='mean', budget=10**6).encode(pair, 'doc')[:1], alone[None])

# What a folder does not say

def test_nothing_is_guessed(tmp_path):
    folder = checkpoint(tmp_path, 'BERT')
    with pytest.raises(ValueError, match='no modules.json, so nothing says how .* pooling= one of cls, mean'): Encoder(folder).encode(['a'])

def test_own_pooling_is_kept_or_replaced(tmp_path):
    from sentence_transformers.sentence_transformer.modules import Normalize
    folder = saved(tmp_path, 'BERT', 'mean', [Normalize()])
    model,tok = loaded(folder)
    for told,how in ((None,'mean'), ('cls','cls')):
        h = one_by_one(lambda t: pooled(model(**tok(t, return_tensors='pt')).last_hidden_state[0].numpy(), how))
        same(Encoder(folder, pooling=told), 'doc', h/np.linalg.norm(h, axis=1, keepdims=True))
    with pytest.raises(ValueError, match="pooling='pooler' is for checkpoints without modules.json"): Encoder(folder, pooling='pooler').load()

def test_random_weights_are_an_error(tmp_path):
    "Where transformers draws weights at random and writes a line about it into the log"
    folder = checkpoint(tmp_path, 'BERT')
    config = json.loads((tmp_path/'config.json').read_text())
    (tmp_path/'config.json').write_text(json.dumps(dict(config, num_hidden_layers=3)))
    with pytest.raises(ValueError, match='16 weights of BertModel are not in its files, the first is encoder.layer.2'): Encoder(folder, pooling='cls').load()
    (tmp_path/'config.json').write_text(json.dumps(config))
    whole = Path(saved(tmp_path/'saved', 'BERT'))
    (whole/'config.json').write_text(json.dumps(json.loads((whole/'config.json').read_text())|dict(num_hidden_layers=3)))
    with pytest.raises(ValueError, match='16 weights of BertModel are not in its files'): Encoder(str(whole)).load()
    bare = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False)
    checkpoint(tmp_path/'bare', 'BERT', bare)
    Encoder(str(tmp_path/'bare'), pooling='cls').load()
    with pytest.raises(ValueError, match='2 weights of BertModel are not in its files, the first is pooler'): Encoder(str(tmp_path/'bare'), pooling='pooler').load()

def test_digests(tmp_path):
    "Addresses of version 0.1.0 still hold, and every field that changes the vectors has another"
    assert Encoder().digest=='a3500e72debc53818c23151272cdbc24f64f1e2ed96225cffacf5d5a83b83355'
    folder,other = checkpoint(tmp_path/'a', 'BERT'),checkpoint(tmp_path/'b', 'BERT', seed=1)
    kinds = [{}, dict(pooling='cls'), dict(pooling='mean'), dict(pool_prompt=False), dict(normalize=True), dict(dimensions=8), dict(layer_norm=True), dict(bidirectional=True), dict(special_tokens=False),
             dict(segments=True), dict(last_token='</s>'), dict(query_length=9), dict(query_length=9, query_fill='[MASK]'), dict(query_model=other), dict(adapters=other), dict(title_prompt='{title} '),
             dict(query_prompt='{instruction} '), dict(query_prompt='{instruction} ', instruction='x')]
    assert len({Encoder(folder, **kw).digest for kw in kinds})==len(kinds)
    assert Encoder(folder, query_model=folder).digest!=Encoder(folder).digest

# Families, by the code of their cards

def test_e5(tmp_path):
    "intfloat/e5-base-v2"
    folder = checkpoint(tmp_path, 'BERT')
    model,tok = loaded(folder)
    @torch.inference_mode()
    def card(some):
        batch = tok(some, max_length=512, padding=True, truncation=True, return_tensors='pt')
        last_hidden = model(**batch).last_hidden_state.masked_fill(~batch['attention_mask'][..., None].bool(), 0.0)
        return F.normalize(last_hidden.sum(dim=1)/batch['attention_mask'].sum(dim=1)[..., None], p=2, dim=1).numpy()
    enc = Encoder(folder, pooling='mean', normalize=True, query_prompt='query: ', doc_prompt='passage: ')
    same(enc, 'query', card([f'query: {t}' for t in texts]))
    same(enc, 'doc', card([f'passage: {t}' for t in texts]))

def test_bge(tmp_path):
    "BAAI/bge-base-en-v1.5"
    folder,instruction = checkpoint(tmp_path, 'BERT'),'Represent this sentence for searching relevant passages: '
    model,tok = loaded(folder)
    @torch.inference_mode()
    def card(some): return F.normalize(model(**tok(some, padding=True, truncation=True, return_tensors='pt'))[0][:, 0], p=2, dim=1).numpy()
    enc = Encoder(folder, pooling='cls', normalize=True, query_prompt=instruction)
    same(enc, 'query', card([instruction+t for t in texts]))
    same(enc, 'doc', card(texts))

def test_contriever(tmp_path):
    "facebook/contriever"
    folder = checkpoint(tmp_path, 'BERT')
    model,tok = loaded(folder)
    batch = tok(texts, padding=True, truncation=True, return_tensors='pt')
    with torch.inference_mode(): token_embeddings,mask = model(**batch)[0],batch['attention_mask']
    token_embeddings = token_embeddings.masked_fill(~mask[..., None].bool(), 0.)
    same(Encoder(folder, pooling='mean', similarity='dot'), 'doc', token_embeddings.sum(dim=1)/mask.sum(dim=1)[..., None])

def test_tas_b(tmp_path):
    "sebastian-hofstaetter/distilbert-dot-tas_b-b256-msmarco"
    folder = checkpoint(tmp_path, 'DistilBERT')
    model,tok = loaded(folder)
    same(Encoder(folder, pooling='cls', similarity='dot'), 'query', one_by_one(lambda t: model(**tok(t, return_tensors='pt'))[0][:,0,:].squeeze(0)))

def last_token_pool(last_hidden_states, attention_mask):
    "E5-Mistral, SFR-Embedding, Qwen3-Embedding"
    if attention_mask[:, -1].sum()==attention_mask.shape[0]: return last_hidden_states[:, -1]
    sequence_lengths = attention_mask.sum(dim=1)-1
    return last_hidden_states[torch.arange(last_hidden_states.shape[0]), sequence_lengths]

def test_qwen3_embedding(tmp_path):
    "Qwen/Qwen3-Embedding-0.6B: padded on the left, the last token, the first dimensions; instructions of the task and of each query"
    folder = saved(tmp_path, 'Qwen3', 'lasttoken')
    model,tok = loaded(folder)
    assert tok.padding_side=='left'
    @torch.inference_mode()
    def card(some, dim=32):
        batch = tok(some, padding=True, truncation=True, max_length=250, return_tensors='pt')
        return F.normalize(last_token_pool(model(**batch).last_hidden_state, batch['attention_mask'])[:, :dim], p=2, dim=1).numpy()
    enc = Encoder(folder, query_prompt='Instruct: {instruction}\nQuery:', instruction=task, normalize=True, dimensions=20)
    same(enc, 'query', card([f'Instruct: {task}\nQuery:{t}' for t in texts], 20))
    same(enc, 'doc', card(texts, 20))
    own = ['find code', '', 'find a list']*3+['find code', '']
    same(enc, 'query', card([f'Instruct: {i or task}\nQuery:{t}' for t,i in zip(texts, own)], 20), instructions=own)

@pytest.mark.parametrize('add', [True, False])
def test_e5_mistral(tmp_path, add):
    "intfloat/e5-mistral-7b-instruct: the vector is that of </s>, whether or not the tokenizer puts it there, and where a text is cut"
    model = net('Mistral')
    folder = checkpoint(tmp_path, 'Mistral', model)
    tok = tokenizer('sentencepiece begin end' if add else 'sentencepiece begin')
    tok.save_pretrained(folder)
    @torch.inference_mode()
    def card(some, max_length=24):
        bare = tokenizer('sentencepiece begin')
        ids = [o+[bare.eos_token_id] for o in bare(some, max_length=max_length-1, return_attention_mask=False, padding=False, truncation=True)['input_ids']]
        batch = bare.pad(dict(input_ids=ids), padding=True, return_attention_mask=True, return_tensors='pt')
        return F.normalize(last_token_pool(model(**batch).last_hidden_state, batch['attention_mask']), p=2, dim=1).numpy()
    enc = Encoder(folder, pooling='lasttoken', normalize=True, last_token='</s>', max_length=24, query_prompt='Instruct: {instruction}\nQuery: ', instruction='find code')
    same(enc, 'doc', card(texts+['a key '*40]), texts+['a key '*40])
    same(enc, 'query', card([f'Instruct: find code\nQuery: {t}' for t in texts[:2]+texts[3:]]), texts[:2]+texts[3:])
    if not add:
        wrong = replace(enc, last_token=None).encode(texts, 'doc')
        assert np.abs(wrong-card(texts)).max()>.1 # the word before </s> says something else
    with pytest.raises(ValueError, match="the tokenizer has no token '<end>'"): replace(enc, last_token='<end>').encode(['a'])

def test_instructor(tmp_path):
    "hkunlp/instructor-large: the words of the instruction are read, and left out of the mean (InstructorEmbedding 1.0.2)"
    from sentence_transformers.base.modules import Dense
    from sentence_transformers.sentence_transformer.modules import Normalize
    torch.manual_seed(5)
    dense = Dense(32, 16, bias=False, activation_function=None)
    folder = saved(tmp_path, 'T5', 'mean', [dense, Normalize()])
    model,tok = loaded(folder, transformers.T5EncoderModel)
    @torch.inference_mode()
    def card(instruction, some):
        batch = tok([instruction+t for t in some], padding='max_length', truncation='longest_first', return_tensors='pt', max_length=250)
        alone = tok([instruction]*len(some), padding='max_length', return_tensors='pt', max_length=250)['attention_mask'][:, 1:] # without its </s>
        expanded = torch.zeros_like(batch['attention_mask'])
        expanded[:, :alone.size(1)] = alone
        mask = (batch['attention_mask']*(1-expanded)).unsqueeze(-1).float()
        mean = (model(**batch)[0]*mask).sum(1)/torch.clamp(mask.sum(1), min=1e-9)
        return F.normalize(mean@dense.linear.weight.T, p=2, dim=1).numpy()
    said = dict(query='Represent the question for retrieving documents:', doc='Represent the document:')
    enc = Encoder(folder, query_prompt=said['query'], doc_prompt=said['doc'], pool_prompt=False)
    for kind in said: same(enc, kind, card(said[kind], texts))
    assert np.abs(replace(enc, pool_prompt=True).encode(texts)-enc.encode(texts)).max()>.05

def everywhere(n, mask):
    "A mask with which every token sees every other that is no padding"
    return torch.zeros(len(mask), 1, n, n).masked_fill(mask[:, None, None, :]==0, float('-inf'))

def test_gritlm(tmp_path):
    "GritLM/GritLM-7B (gritlm.py, attn='bb', pooling_method='mean')"
    folder,instruction = checkpoint(tmp_path, 'Mistral'),'<|user|>\nfind code\n<|embed|>\n'
    model,tok = loaded(folder)
    @torch.inference_mode()
    def card(instruction, some):
        batch = tok([instruction+t for t in some], padding=True, truncation=True, return_tensors='pt', max_length=250)
        h = model(input_ids=batch['input_ids'], attention_mask=everywhere(batch['input_ids'].shape[1], batch['attention_mask']))[0]
        batch['attention_mask'][:, :len(tok(instruction)['input_ids'])] = 0
        return F.normalize((h*batch['attention_mask'].unsqueeze(-1).float()).sum(1)/batch['attention_mask'].sum(1, keepdim=True).float(), dim=-1).numpy()
    enc = Encoder(folder, pooling='mean', pool_prompt=False, bidirectional=True, normalize=True, query_prompt='<|user|>\n{instruction}\n<|embed|>\n', instruction='find code', doc_prompt='<|embed|>\n')
    same(enc, 'query', card(instruction, texts))
    same(enc, 'doc', card('<|embed|>\n', texts))
    own = ['find code', '', 'find a list']*3+['find a list of keys', '']
    want = np.concatenate([card(f'<|user|>\n{i or "find code"}\n<|embed|>\n', [t]) for t,i in zip(texts, own)])
    same(enc, 'query', want, instructions=own)
    assert np.abs(replace(enc, bidirectional=False).encode(texts)-enc.encode(texts)).max()>.05

def test_no_way_back(tmp_path):
    "A network that goes on reading from left to right is not taken for one that reads both ways"
    folder = checkpoint(tmp_path, 'GPT')
    with pytest.raises(ValueError, match='OpenAIGPTModel reads from left to right only'): Encoder(folder, pooling='mean', bidirectional=True).load()

def lora(folder, base, seed):
    "Random LoRA weights for a network"
    peft = pytest.importorskip('peft')
    torch.manual_seed(seed)
    model = peft.get_peft_model(base, peft.LoraConfig(r=4, lora_alpha=16, target_modules=['q_proj','v_proj','o_proj']))
    with torch.no_grad():
        for n,p in model.named_parameters():
            if 'lora_' in n: p.copy_(torch.randn_like(p)*.3)
    model.save_pretrained(folder)
    return model.eval()

def test_llm2vec(tmp_path):
    "McGill-NLP/LLM2Vec-Meta-Llama-3-8B-Instruct-mntp-supervised: two adapters, no causal mask, the mean over the text without the instruction (llm2vec.py)"
    folder = checkpoint(tmp_path/'base', 'Llama')
    mntp = lora(tmp_path/'mntp', net('Llama'), 1).merge_and_unload()
    model = lora(tmp_path/'supervised', mntp, 2)
    tok = AutoTokenizer.from_pretrained(folder, padding_side='left')
    tok.pad_token = tok.eos_token
    @torch.inference_mode()
    def card(some, instruction=''):
        cut = [f'<|start_header_id|>user<|end_header_id|>\n\n{f"{instruction} !@#$%^&*(){t}" if instruction else f"!@#$%^&*(){t}"}<|eot_id|>'.split('!@#$%^&*()') for t in some]
        batch = tok([''.join(c) for c in cut], return_tensors='pt', padding=True, truncation=True, max_length=250)
        h = model(input_ids=batch['input_ids'], attention_mask=everywhere(batch['input_ids'].shape[1], batch['attention_mask']), position_ids=(batch['attention_mask'].cumsum(1)-1).clamp(0)).last_hidden_state
        return torch.stack([h[i, -len(tok(c[1], add_special_tokens=False)['input_ids']):].mean(dim=0) for i,c in enumerate(cut)]).numpy()
    user = '<|start_header_id|>user<|end_header_id|>\n\n'
    enc = Encoder(folder, adapters=(str(tmp_path/'mntp'),str(tmp_path/'supervised')), pooling='mean', pool_prompt=False, bidirectional=True, instruction='find code:', max_length=250,
                  query_prompt=user+'{instruction} {text}<|eot_id|>', doc_prompt=user+'{text}<|eot_id|>', last_token='<|eot_id|>')
    count = lambda t: len(tok(t, add_special_tokens=False)['input_ids'])
    alike = [t for t in texts+sorted({*words}-{*texts}) if count('code: '+t)-count('code:')==count(t)] # llm2vec counts the tokens of a text without the space before it, and pools over one too many or too few where that is not the same
    assert 4<=len(alike)
    same(enc, 'query', card(alike, 'find code:'), alike)
    same(enc, 'doc', card(texts))
    assert np.abs(replace(enc, adapters=enc.adapters[:1]).encode(texts)-enc.encode(texts)).max()>.05
    with pytest.raises(ValueError, match='these are adapters for .*; give that as the model, and these in adapters='): Encoder(str(tmp_path/'mntp'), pooling='mean').load()

def test_wrong_adapter(tmp_path):
    folder = checkpoint(tmp_path/'base', 'Llama')
    lora(tmp_path/'lora', net('Llama'), 1)
    Encoder(folder, adapters=str(tmp_path/'lora'), pooling='mean').load()
    file = tmp_path/'lora'/'adapter_model.safetensors'
    from safetensors.torch import load_file, save_file
    save_file({k: v for k,v in load_file(file).items() if 'layers.1' not in k}, file)
    with pytest.raises(ValueError, match='this adapter is not for LlamaModel'): Encoder(folder, adapters=str(tmp_path/'lora'), pooling='mean').load()

def test_promptriever(tmp_path):
    "samaya-ai/promptriever-llama2-7b-v1: a word to each query, behind it; RepLLaMA is the same without (repllama_models.py of mteb 2)"
    folder = checkpoint(tmp_path/'base', 'Llama')
    model = lora(tmp_path/'lora', net('Llama'), 3)
    tok = AutoTokenizer.from_pretrained(folder)
    tok.pad_token = tok.eos_token
    @torch.inference_mode()
    def card(some, max_length=40):
        ids = [o+[tok.eos_token_id] for o in tok([t.strip() for t in some], max_length=max_length-1, return_attention_mask=False, padding=False, truncation=True)['input_ids']]
        batch = tok.pad(dict(input_ids=ids), padding=True, pad_to_multiple_of=8, return_attention_mask=True, return_tensors='pt')
        h = model(**batch).last_hidden_state
        return F.normalize(h[torch.arange(len(h)), batch['attention_mask'].sum(dim=1)-1], p=2, dim=-1).numpy()
    enc = Encoder(folder, adapters=str(tmp_path/'lora'), pooling='lasttoken', normalize=True, last_token='</s>', max_length=40, query_prompt='query:  {text} {instruction}', instruction='', doc_prompt='passage:  ')
    told = ['only code is kept in order', '', 'a date, no time']*3+['', 'each line']
    queries = Queries.from_dict({f'q{i}': dict(text=t, instruction=o) for i,(t,o) in enumerate(zip(texts, told))})
    asked = inputs(enc, queries, 'query')
    assert asked==dict(texts=texts, instructions=told)
    same(enc, 'query', card([f'query:  {t} {o}' for t,o in zip(texts, told)]), **asked)
    same(enc, 'query', card([f'query:  {t}' for t in texts]))
    same(enc, 'doc', card([f'passage:  {t}' for t in texts+['a key '*40]]), texts+['a key '*40])

titles = ['Heap', '', 'A long title of a list', 'Keys', '', 'Dict', '', '', '中文', 'a', 'b']

def test_dpr(tmp_path):
    "facebook/dpr-*: two networks, passages with their titles (Pyserini's _dpr.py; segments are all 0 in DPR's own biencoder.py)"
    config = transformers.DPRConfig(**nets['BERT'][2])
    for name,cls in dict(ctx=transformers.DPRContextEncoder, question=transformers.DPRQuestionEncoder).items():
        torch.manual_seed(len(name))
        cls(config).save_pretrained(tmp_path/name)
        tokenizer('wordpiece').save_pretrained(tmp_path/name)
    (ctx,tok),(question,_) = loaded(tmp_path/'ctx', transformers.DPRContextEncoder),loaded(tmp_path/'question', transformers.DPRQuestionEncoder)
    passage = lambda t, h: ctx(tok(h, text_pair=t, return_tensors='pt')['input_ids'] if h else tok(t, return_tensors='pt')['input_ids']).pooler_output
    enc = Encoder(str(tmp_path/'ctx'), query_model=str(tmp_path/'question'), similarity='dot', title_prompt='{title} [SEP] ')
    with torch.inference_mode(): want = np.concatenate([passage(t, h).numpy() for t,h in zip(texts, titles)])
    docs = Docs.from_dict({f'd{i}': dict(text=t, title=h or None) for i,(t,h) in enumerate(zip(texts, titles))})
    told = inputs(enc, docs, 'doc')
    assert told==dict(texts=texts, titles=titles)
    same(enc, 'doc', want, titles=titles)
    same(enc, 'query', one_by_one(lambda t: question(tok(t, return_tensors='pt')['input_ids']).pooler_output))
    wrong,_ = loaded(tmp_path/'ctx') # what AutoModel makes of the network for passages: that for questions, with weights drawn at random
    assert type(wrong).__name__=='DPRQuestionEncoder'
    with pytest.raises(ValueError, match='DPRContextEncoder has its own pooling'): replace(enc, pooling='mean').encode(['a'], 'doc')

class AnceEncoder(transformers.PreTrainedModel):
    "As in Pyserini's _ance.py"
    config_class,base_model_prefix = transformers.RobertaConfig,'ance_encoder'
    all_tied_weights_keys = {}
    def __init__(self, config):
        super().__init__(config)
        self.roberta,self.embeddingHead,self.norm = transformers.RobertaModel(config),torch.nn.Linear(config.hidden_size, 24),torch.nn.LayerNorm(24)
        torch.nn.init.normal_(self.norm.weight)
    def forward(self, ids, mask): return self.norm(self.embeddingHead(self.roberta(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0, :]))

@pytest.mark.parametrize('prefix', ['', 'ance_encoder.'])
@pytest.mark.parametrize('format', ['safetensors', 'bin'])
def test_ance(tmp_path, prefix, format):
    "castorini/ance-msmarco-passage, under either of the names that its weights have"
    from safetensors.torch import save_file
    torch.manual_seed(0)
    model = AnceEncoder(transformers.RobertaConfig(**nets['RoBERTa'][2])).eval()
    state = {prefix+k: v.contiguous() for k,v in model.state_dict().items()}
    if format=='bin': torch.save(state, tmp_path/'pytorch_model.bin')
    else: save_file(state, tmp_path/'model.safetensors', metadata=dict(format='pt'))
    model.config.save_pretrained(tmp_path)
    tok = tokenizer('roberta')
    tok.save_pretrained(tmp_path)
    enc = Encoder(str(tmp_path), pooling='ance', similarity='dot', query_length=12)
    card = lambda most: lambda t: model(*(tok(t, return_tensors='pt', truncation=True, max_length=most)[k] for k in ('input_ids','attention_mask')))
    same(enc, 'doc', one_by_one(card(250)))
    short = [t for t in texts if len(t)<60] # longer ones are all cut alike
    same(enc, 'query', one_by_one(card(12), short), short)
    with pytest.raises(ValueError, match='no embeddingHead with a norm, so this is no ANCE'): Encoder(checkpoint(tmp_path/'plain', 'RoBERTa'), pooling='ance').load()

def test_tct_colbert(tmp_path):
    "castorini/tct_colbert-v2-hnp-msmarco (Pyserini's _tct_colbert.py): no tokens but its own, queries filled up with [MASK], the mean from the fifth token on"
    folder = checkpoint(tmp_path, 'BERT')
    model,tok = loaded(folder)
    def query(t):
        batch = tok('[CLS] [Q] '+t+'[MASK]'*36, max_length=36, truncation=True, add_special_tokens=False, return_tensors='pt')
        return np.average(model(**batch).last_hidden_state.numpy()[:, 4:, :], axis=-2)
    def doc(t): return model(**tok('[CLS] [D] '+t, max_length=250, truncation=True, add_special_tokens=False, return_tensors='pt')).last_hidden_state[0, 4:].mean(0)
    enc = Encoder(folder, pooling='mean', pool_prompt=False, special_tokens=False, similarity='dot', query_prompt='[CLS] [Q] ', query_length=36, query_fill='[MASK]', doc_prompt='[CLS] [D] ',
                  title_prompt='[CLS] [D] {title} ')
    same(enc, 'query', one_by_one(query))
    same(enc, 'doc', one_by_one(doc))
    same(enc, 'doc', one_by_one(doc, [f'{h} {t}' if h else t for t,h in zip(texts, titles)]), titles=titles)
    close(enc.encode(['a key '*40]), one_by_one(query, ['a key '*40]))

def test_simlm(tmp_path):
    "intfloat/simlm-base-msmarco-finetuned (encode_main.py): title and passage are segments of their own"
    folder = checkpoint(tmp_path, 'BERT')
    model,tok = loaded(folder)
    enc = Encoder(folder, pooling='cls', normalize=True, segments=True, title_prompt='{title} [SEP] ')
    with torch.inference_mode(): h = np.concatenate([model(**(tok(h, text_pair=t, return_tensors='pt') if h else tok(t, return_tensors='pt'))).last_hidden_state[:,0].numpy() for t,h in zip(texts, titles)])
    same(enc, 'doc', h/np.linalg.norm(h, axis=1, keepdims=True), titles=titles)
    assert np.abs(replace(enc, segments=False).encode(texts, 'doc', titles=titles)-enc.encode(texts, 'doc', titles=titles)).max()>.01
    with pytest.raises(ValueError, match='this tokenizer gives no token_type_ids'): Encoder(checkpoint(tmp_path/'r', 'RoBERTa'), pooling='cls', segments=True).encode(['a'])

def test_embeddinggemma(tmp_path):
    "google/embeddinggemma-300m: sees both ways, two linear layers, a prompt with the title or with none"
    from sentence_transformers.base.modules import Dense
    from sentence_transformers.sentence_transformer.modules import Normalize
    torch.manual_seed(3)
    up,down = Dense(32, 48, bias=False, activation_function=None),Dense(48, 32, bias=False, activation_function=None)
    folder = saved(tmp_path, 'Gemma3', 'mean', [up, down, Normalize()], prompts=dict(query='task: search result | query: ', document='title: none | text: '))
    model,tok = loaded(folder)
    def card(t):
        batch = tok(t, return_tensors='pt')
        n = batch['input_ids'].shape[1]
        h = model(input_ids=batch['input_ids'], attention_mask=dict(full_attention=everywhere(n, batch['attention_mask']))).last_hidden_state[0].mean(0)
        return F.normalize(h@up.linear.weight.T@down.linear.weight.T, p=2, dim=0)
    enc = Encoder(folder, title_prompt='title: {title} | text: ')
    same(enc, 'query', one_by_one(lambda t: card('task: search result | query: '+t)))
    same(enc, 'doc', one_by_one(lambda t: card('title: none | text: '+t)))
    told = dict(zip(texts, titles))
    same(enc, 'doc', one_by_one(lambda t: card(f'title: {told[t] or "none"} | text: {t}')), titles=titles)

def test_nomic(tmp_path):
    "nomic-ai/nomic-embed-text-v1.5: mean 0 and variance 1 before the vector is cut"
    folder = checkpoint(tmp_path, 'NomicBERT')
    model,tok = loaded(folder)
    def card(t, dim):
        e = model(**tok(t, return_tensors='pt')).last_hidden_state.mean(1)
        return F.normalize(F.layer_norm(e, normalized_shape=(e.shape[1],))[:, :dim], p=2, dim=1)
    for dim in (32,12): same(Encoder(folder, pooling='mean', layer_norm=True, normalize=True, dimensions=dim, doc_prompt='search_document: '), 'doc', one_by_one(lambda t: card('search_document: '+t, dim)))

def test_dimensions(tmp_path):
    folder = saved(tmp_path, 'BERT')
    from sentence_transformers import SentenceTransformer
    st = SentenceTransformer(folder, device='cpu', truncate_dim=7)
    same(Encoder(folder, dimensions=7), 'doc', st.encode(texts))
    same(Encoder(folder, dimensions=7, normalize=True), 'doc', st.encode(texts, normalize_embeddings=True))
    assert Encoder(folder, dimensions=7).encode([]).shape==(0,7)
    with pytest.raises(ValueError, match='its vectors have 32 dimensions'): Encoder(folder, dimensions=33).encode(texts)

# Prompts

def test_prompts_that_melt(tmp_path):
    "A prompt that ends in a space: counting its tokens would leave out the first word of the text, as sentence-transformers 6.2 does"
    folder = checkpoint(tmp_path, 'Qwen2')
    model,tok = loaded(folder)
    prompt = 'Query: '
    def card(t):
        batch = tok(prompt+t, return_tensors='pt', return_offsets_mapping=True)
        inside = np.array([end>len(prompt) or begin==end for begin,end in batch.pop('offset_mapping')[0].tolist()]) # characters of the text, or </s>
        return model(**batch).last_hidden_state[0].numpy()[inside].mean(0)
    enc = Encoder(folder, pooling='mean', pool_prompt=False, query_prompt=prompt)
    same(enc, 'query', one_by_one(card, texts[:8]), texts[:8])
    ends_in_space = enc.load()[0]._get_prompt_length(prompt)
    assert ends_in_space==len(tok('Query:', add_special_tokens=False)['input_ids'])+1

def test_wrong_use(tmp_path):
    folder = checkpoint(tmp_path, 'BERT')
    enc = Encoder(folder, pooling='cls', query_prompt='Instruct: {instruction} Query: ')
    with pytest.raises(ValueError, match='the prompt asks for an instruction; give instruction='): enc.encode(['a'])
    with pytest.raises(ValueError, match='reads no titles with a doc'): enc.encode(['a'], 'doc', titles=['b'])
    with pytest.raises(ValueError, match='reads no instructions with a query'): Encoder(folder, pooling='cls').encode(['a'], instructions=['b'])
    with pytest.raises(ValueError, match='2 texts but 1 instructions'): enc.encode(['a','b'], instructions=['c'])
    with pytest.raises(ValueError, match=r'has no \{instruction\} that instruction= could fill'): Encoder(folder, pooling='cls', instruction='find code').encode(['a'])
    with pytest.raises(ValueError, match="pooling='first': expected one of cls"): Encoder(folder, pooling='first')
    static = tmp_path/'static'
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    SentenceTransformer(modules=[StaticEmbedding(tokenizer('wordpiece').backend_tokenizer, embedding_dim=8)], device='cpu').save(str(static), create_model_card=False)
    with pytest.raises(ValueError, match='there is no pooling in this model'): Encoder(str(static), pool_prompt=False).load()
    with pytest.raises(ValueError, match='are for transformers, and this model begins with StaticEmbedding'): Encoder(str(static), query_length=9).load()

def test_nothing_is_fetched_to_be_looked_at(tmp_path, monkeypatch):
    "An encoder of a model that is not here shows what was set, without a word to the hub"
    import huggingface_hub
    monkeypatch.setattr(huggingface_hub, 'snapshot_download', lambda *a, **kw: pytest.fail('the hub was asked'))
    shown = Encoder('some/model', query_prompt='query: ', pooling='cls', adapters='some/lora')._repr_html_()
    assert 'not fetched yet' in shown and 'query: ' in shown and 'some/lora' in shown
    assert find_model('some/model', fetch=False) is None

@pytest.mark.parametrize('how', ['mean','cls','lasttoken','max','weightedmean'])
@pytest.mark.parametrize('architecture', ['BERT','Qwen3'])
def test_empty(tmp_path, architecture, how):
    "An empty text is a finite vector, alone and among others, and changes nobody else's"
    enc = Encoder(checkpoint(tmp_path, architecture), pooling=how)
    got = enc.encode(['', 'a list', ' '], 'doc')
    assert np.isfinite(got).all()
    close(got[1:2], enc.encode(['a list'], 'doc'))
