"Language models of transformers on small random weights, against transformers itself, one prompt at a time"
import json
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest
from rankwb.core.caching import Store
from rankwb.core.hf import HF, open_lm
from rankwb.core.saying import Failure, until
from rankwb.core.prefixes import following, shared
from rankwb.core.products import has_onednn, pack
from small import alone # noqa: F401, `alone` is a fixture

torch = pytest.importorskip('torch')
import transformers

small = dict(vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=8, initializer_range=.3,
             max_position_embeddings=160, bos_token_id=0, eos_token_id=1, pad_token_id=2)
own = dict(vocab_size=300, bos_token_id=0, eos_token_id=1, pad_token_id=2)
nets = { # architecture → class, configuration
    'GPT2':    ('GPT2LMHeadModel', 'GPT2Config', dict(own, n_embd=32, n_layer=3, n_head=4, n_positions=160, initializer_range=.3)),
    'GPTNeo':  ('GPTNeoForCausalLM', 'GPTNeoConfig', dict(own, hidden_size=32, num_layers=2, num_heads=4, attention_types=[[['global','local'],1]], window_size=8, max_position_embeddings=160, initializer_range=.3)),
    'GPTJ':    ('GPTJForCausalLM', 'GPTJConfig', dict(own, n_embd=32, n_layer=2, n_head=4, rotary_dim=4, n_positions=160, initializer_range=.3)),
    'OPT':     ('OPTForCausalLM', 'OPTConfig', dict(own, hidden_size=32, word_embed_proj_dim=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=160, init_std=.3)),
    'BLOOM':   ('BloomForCausalLM', 'BloomConfig', dict(own, hidden_size=32, n_layer=2, n_head=4, initializer_range=.3)),
    'Llama':   ('LlamaForCausalLM', 'LlamaConfig', small),
    'Mistral': ('MistralForCausalLM', 'MistralConfig', dict(small, sliding_window=12)),
    'Qwen2':   ('Qwen2ForCausalLM', 'Qwen2Config', small),
    'Qwen3':   ('Qwen3ForCausalLM', 'Qwen3Config', small),
    'Gemma2':  ('Gemma2ForCausalLM', 'Gemma2Config', dict(small, sliding_window=12, query_pre_attn_scalar=8, final_logit_softcapping=5., attn_logit_softcapping=4.)),
    'Gemma3':  ('Gemma3ForCausalLM', 'Gemma3TextConfig', dict(small, sliding_window=12, layer_types=['sliding_attention','full_attention','sliding_attention'])),
    'Granite': ('GraniteForCausalLM', 'GraniteConfig', dict(small, logits_scaling=3., embedding_multiplier=2.)),
    'T5':      ('T5ForConditionalGeneration', 'T5Config', dict(vocab_size=300, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, initializer_factor=1., decoder_start_token_id=2, pad_token_id=2, eos_token_id=1)),
    'BART':    ('BartForConditionalGeneration', 'BartConfig', dict(own, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=48,
                decoder_ffn_dim=48, max_position_embeddings=160, init_std=.3, decoder_start_token_id=1, forced_eos_token_id=None))}
seq2seq = ('T5','BART')

def tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    t = Tokenizer(models.BPE())
    t.pre_tokenizer,t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False),decoders.ByteLevel()
    t.train_from_iterator(['a sorted list of keys and values is kept in order']*9, trainers.BpeTrainer(vocab_size=300, show_progress=False, special_tokens=['<s>','</s>','<pad>','<|user|>'], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=t, bos_token='<s>', eos_token='</s>', pad_token='<pad>', model_max_length=40)

def net(architecture, seed=0, **kw):
    name,config,given = nets[architecture]
    torch.manual_seed(seed)
    model = getattr(transformers, name)(getattr(transformers, config)(**{**given, **kw})).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim==1: p.add_(torch.randn_like(p)*.1)
    return model

def checkpoint(folder, architecture='Llama', model=None, **kw):
    (model or net(architecture, **kw)).save_pretrained(folder)
    t = tokenizer()
    t.chat_template = "{% for m in messages %}<|user|>{{ m['content'] }}{% endfor %}"
    t.save_pretrained(folder)
    return str(folder)

rng = np.random.default_rng(0)
words = 'a sorted list of keys and values is kept in order'.split()
text = lambda n: ' '.join(rng.choice(words, n))
start = text(22)
prompts = [f'{start} {q} {text(n)}' for q in ('keys?','in order? a list?') for n in (1,7,3,12)]+['a', text(9), start]

def rows_of(architecture):
    t = tokenizer()
    return [np.array(t(p)['input_ids']) for p in prompts]

def one(model, ids, after=()):
    "Log-probabilities after `ids` and each of `after`, in one pass for one row"
    with torch.inference_mode():
        if model.config.is_encoder_decoder:
            fed = torch.tensor([[model.config.decoder_start_token_id, *map(int, after)]])
            return model(input_ids=torch.tensor([list(map(int, ids))]), decoder_input_ids=fed).logits[0].float().log_softmax(-1).numpy()
        row = [*map(int, ids), *map(int, after)]
        return model(torch.tensor([row])).logits[0,len(ids)-1:].float().log_softmax(-1).numpy()

@pytest.mark.parametrize('architecture', nets)
def test_what_follows_is_what_transformers_says_of_each_row_alone(architecture):
    model,rows = net(architecture),rows_of(architecture)
    ends = [rng.integers(5, 300, n) for n in rng.integers(0, 6, len(rows))]
    wanted = [rng.integers(5, 300, (len(e)+1, 2)) for e in ends]
    want = [np.take_along_axis(one(model, r, e), w, 1) for r,e,w in zip(rows, ends, wanted)]
    own = architecture in seq2seq
    fed = [np.concatenate([[model.config.decoder_start_token_id], e]) for e in ends] if own else [np.concatenate([r,e]) for r,e in zip(rows, ends)]
    assert own or any(l for l,_ in shared(fed, [len(w) for w in wanted])) # there is something to share
    for how in (dict(), dict(reuse=False), dict(budget=1), dict(budget=100)):
        seen = set()
        for places,found in following(model, fed, wanted, rows if own else None, **how):
            for i,o in zip(places, found):
                np.testing.assert_allclose(o, want[i], atol=2e-5, rtol=0, err_msg=f'{architecture} {how} row {i}')
                seen.add(i)
        assert seen==set(range(len(rows)))

@pytest.mark.parametrize('architecture', nets)
def test_abilities_are_those_of_one_prompt_at_a_time(architecture, tmp_path):
    model = net(architecture) # as transformers has it
    lm = HF(checkpoint(tmp_path/'m', architecture, model), device='cpu')
    t,own = tokenizer(),architecture in seq2seq
    ids = [t(p)['input_ids'] for p in prompts]
    a,b = (t.encode(c, add_special_tokens=False) for c in 'ab')
    np.testing.assert_allclose(lm.choose(prompts, 'ab'), [one(model, i)[-1][[a[0],b[0]]] for i in ids], atol=2e-5, rtol=0)
    ends = [' a list', 'keys', ' in order and'][:len(prompts)]*4
    for i,e,got in zip(ids, ends, lm.loglik(prompts, ends[:len(prompts)])):
        cut = t.encode(e, add_special_tokens=False)
        np.testing.assert_allclose(got, one(model, i, cut[:-1])[range(len(cut)),cut], atol=2e-5, rtol=0)
    for p,i,r in zip(prompts, ids, lm.generate(prompts, max_tokens=6)):
        i = torch.tensor([i])
        with torch.inference_mode(): made = model.generate(i, attention_mask=torch.ones_like(i), max_new_tokens=6, do_sample=False, pad_token_id=2)[0,1 if own else i.shape[1]:]
        assert r.text==t.decode(made, skip_special_tokens=True), p
        assert r.asked==i.shape[1] and r.finish==('stop' if 1 in made.tolist() else 'length')

@pytest.mark.parametrize('architecture', ('Llama','T5'))
def test_layers_multiply_by_onednn_but_the_head_does_not(architecture, tmp_path):
    folder = checkpoint(tmp_path/'m', architecture)
    def layouts(**kw):
        net,_ = open_lm(folder, **kw)
        head = net.get_output_embeddings()
        return {o.weight.layout for o in net.modules() if type(o) is torch.nn.Linear and o is not head},head.weight.layout
    assert layouts()==({torch._mkldnn if has_onednn() else torch.strided},torch.strided)
    assert layouts(precision='bfloat16')==({torch.strided},torch.strided)

def test_a_network_with_code_of_its_own_keeps_its_weights():
    class Own(transformers.LlamaForCausalLM): pass
    model = Own(transformers.LlamaConfig(**small)).eval()
    assert {o.weight.layout for o in pack(model).modules() if type(o) is torch.nn.Linear}=={torch.strided}

def test_a_drawn_reply_depends_on_nothing_but_its_prompt_and_seed(tmp_path):
    lm = HF(checkpoint(tmp_path/'m'), device='cpu')
    draw = lambda lm, p, **kw: [r.text for r in lm.generate(p, max_tokens=8, temperature=1., **kw)]
    from dataclasses import replace
    from rankwb.core.caching import Store
    other = replace(lm, budget=10**6, store=Store(tmp_path/'other.sqlite'))
    together = draw(lm, prompts, seed=5)
    assert draw(other, prompts[::-1], seed=5)[::-1]==together
    assert [draw(replace(lm, budget=1, store=Store(tmp_path/f'{i}.sqlite')), [p], seed=5)[0] for i,p in enumerate(prompts[:3])]==together[:3]
    assert draw(lm, prompts, seed=6)!=together
    several = draw(lm, prompts[:1], n=3, seed=5)
    assert several[0]==together[0] and len(set(several))==3

def test_logprobs_are_those_of_the_tokens_that_were_made(tmp_path):
    lm = HF(checkpoint(tmp_path/'m'), device='cpu')
    for how in (dict(), dict(temperature=.7, seed=1)):
        for p,r in zip(prompts[:4], lm.generate(prompts[:4], max_tokens=5, logprobs=True, **how)):
            ids,t = lm.tokens([p])[0].tolist(),lm.tokenizer
            names = {t.decode([i]): i for i in range(len(t)) if '\ufffd' not in t.decode([i])}
            for word,chance in r.logprobs:
                if word not in names: break # bytes that are no whole sign
                np.testing.assert_allclose(chance, one(lm.net, ids)[-1][names[word]], atol=1e-4)
                ids.append(names[word])
            assert len(r.logprobs)==r.tokens-(r.finish=='stop') # the token that ends a reply is none of its text

def thinks_aloud(folder):
    "A model that begins and ends thoughts wherever it likes, and writes special tokens"
    path = checkpoint(folder, vocab_size=len(tokenizer())+3)
    t = transformers.AutoTokenizer.from_pretrained(path)
    t.add_tokens(['<think>','</think>'])
    t.add_tokens(['[M]'], special_tokens=True)
    t.save_pretrained(path)
    model = transformers.AutoModelForCausalLM.from_pretrained(path)
    with torch.no_grad():
        head = model.get_output_embeddings().weight
        for i in range(len(t)): head[i] *= .5 if '\ufffd' in t.decode([i]) else 1
        for o in ('</think>','[M]','</s>'): head[t.convert_tokens_to_ids(o)] *= 1.8
    model.save_pretrained(path)
    return HF(path, device='cpu', store=Store(':memory:'))

def special(t): return {*t.all_special_ids, t.convert_tokens_to_ids('[M]')}

def of_the_text(t, made, end, think, stop, raw):
    "Places of the tokens of the text among those that were made, by their bytes"
    from tokenizers import pre_tokenizers
    from transformers.convert_slow_tokenizer import bytes_to_unicode
    byte,own = {c: b for b,c in bytes_to_unicode().items()},t.get_added_vocab()
    spell = lambda i: b'' if not raw and i in special(t) else (o.encode() if (o := t.convert_ids_to_tokens(i)) in own else bytes(byte[c] for c in o))
    spelled = [spell(i) for i in (made[:-1] if raw and made[-1]==end else made)]
    whole,at,start = b''.join(spelled),np.cumsum([0, *map(len, spelled)]),0
    before,close,after = whole.partition(b'</think>')
    if not raw and (think or whole.lstrip().startswith(b'<think>') or (close and b'<think>' not in before)): start = len(whole)-len(after.lstrip())
    cut = min([i for s in stop if (i := whole.find(s.encode(), start))>=0], default=len(whole))
    return [i for i,(a,b) in enumerate(zip(at, at[1:])) if b>max(a, start) and a<cut] if cut>start else []

@pytest.mark.parametrize('raw', [False,True])
def test_logprobs_are_those_of_the_tokens_of_the_text(tmp_path, raw):
    "By transformers, and by the bytes of the tokens: no thought, no special token, no stop string, no end; and what a server would tell is the same"
    from test_chat import one as served, says, token
    lm = thinks_aloud(tmp_path/'m')
    t,end,some,seen = lm.tokenizer,lm.net.generation_config.eos_token_id,[f'a list of {"keys "*n}{mark}' for n in range(10) for mark in ('','<think>')],{}
    stops = [(),('e',),('s','l','k')]
    for stop in stops:
        for p,r in zip(some, lm.generate(some, max_tokens=24, stop=stop, logprobs=True, raw=raw)):
            ids = t(p)['input_ids']
            with torch.inference_mode(): made = lm.net.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), max_new_tokens=24, do_sample=False, pad_token_id=2)[0,len(ids):].tolist()[:r.tokens]
            told,places = one(lm.net, ids, made[:-1])[range(len(made)),made],of_the_text(t, made, end, p.endswith('<think>'), stop, raw)
            assert len(r.logprobs)==len(places), (p, stop, r)
            np.testing.assert_allclose([c for _,c in r.logprobs], told[places], atol=1e-4)
            named = ''.join(w for w,_ in r.logprobs)
            if '\ufffd' not in named: assert named.strip().startswith(r.text.strip()) and len(named.strip())<len(r.text.strip())+12
            for what,yes in dict(thought=bool(r.reasoning), stopped=bool(r.stop), ended=made[-1]==end, special=any(i in special(t) for i in made[:-1]), all=len(places)==len(made)).items(): seen[what] = seen.get(what, 0)+yes
            words = [t.decode([i]) for i in made if i not in special(t)]
            if not raw and not p.endswith('<think>') and '\ufffd' not in ''.join(words) and t.decode(made, skip_special_tokens=True)==''.join(words) and words:
                chat = served(says(''.join(words), logprobs=[token(w, float(c)) for w,c in zip(words, told[[i for i,o in enumerate(made) if o not in special(t)]])]), stop=list(stop), logprobs=True)
                assert (chat.text,chat.reasoning,[w for w,_ in chat.logprobs])==(r.text,r.reasoning,[w for w,_ in r.logprobs])
                seen['chat'] = seen.get('chat', 0)+1
    assert all(seen[what]>3 for what in ('stopped','ended','special','all')), seen
    if not raw: assert seen['thought']>5 and seen['chat']>5, seen

def test_nothing_is_cut_in_silence(tmp_path):
    lm = HF(checkpoint(tmp_path/'m'), device='cpu') # its tokenizer would cut at 40 tokens, its network at 160
    long = 'a '*400
    assert len(lm.tokens([start*3])[0])>40
    for found in (lm.generate([long,'a'], max_tokens=2), lm.choose([long,'a'], 'ab'), lm.loglik([long,'a'], ['b','b']), lm.loglik(['a','a'], [long,'b'])):
        assert isinstance(found[0], Failure) and 'reads 160' in found[0] and not isinstance(found[1], Failure)
    r = lm.generate(['a '*70], max_tokens=60)[0]
    assert r.asked+r.tokens<=160 and (r.finish=='stop' or r.asked+r.tokens==160)

def test_habits_of_a_checkpoint_do_not_count(tmp_path):
    model = net('Qwen2')
    plain = HF(checkpoint(tmp_path/'a', model=model), device='cpu').generate(prompts, max_tokens=6)
    model.generation_config = transformers.GenerationConfig(do_sample=True, temperature=1.7, top_k=3, top_p=.5, repetition_penalty=1.9, no_repeat_ngram_size=1, eos_token_id=1)
    assert [r.text for r in HF(checkpoint(tmp_path/'b', model=model), device='cpu').generate(prompts, max_tokens=6)]==[r.text for r in plain]

def test_the_digest_is_of_the_content(tmp_path):
    a,b = HF(checkpoint(tmp_path/'a'), device='cpu'),HF(checkpoint(tmp_path/'b'), device='cpu', budget=7)
    assert a.digest==b.digest!=HF(checkpoint(tmp_path/'c', seed=1), device='cpu').digest
    assert len({HF(a.model, device='cpu', **o).digest for o in (dict(), dict(chat=True), dict(thinking=False), dict(context=9), dict(precision='bfloat16'))})==5

def test_weights_that_are_missing_are_an_error(tmp_path):
    folder = checkpoint(tmp_path/'m', tie_word_embeddings=False)
    from safetensors.torch import load_file, save_file
    file = Path(folder)/'model.safetensors'
    save_file({k: v for k,v in load_file(file).items() if 'lm_head' not in k}, file, metadata=dict(format='pt'))
    with pytest.raises(ValueError, match='lm_head.weight'): HF(folder, device='cpu').generate(['a'])

def test_a_choice_is_one_token(tmp_path):
    lm = HF(checkpoint(tmp_path/'m'), device='cpu')
    with pytest.raises(ValueError, match='is 2 tokens|is 3 tokens'): lm.choose(['a'], ['sorted list','a'])
    with pytest.raises(TypeError, match='prompt'): lm.choose([3], 'ab')

def test_messages_go_through_the_template(tmp_path):
    lm = HF(checkpoint(tmp_path/'m'), device='cpu')
    said = [dict(role='user', content='a list')]
    np.testing.assert_array_equal(lm.tokens([said])[0], HF(lm.model, device='cpu', chat=True).tokens(['a list'])[0])
    assert lm.tokens([said])[0][0]==tokenizer().convert_tokens_to_ids('<|user|>')
    assert lm.tokens([[*said, dict(role='assistant', content='keys')]])[0].tolist()==tokenizer().encode('<|user|>a list<|user|>keys', add_special_tokens=False)

# --- where a choice stands, and what a decoder begins with

def spaced(kind):
    "A tokenizer that puts a space before a text: as Llama 2 does it, as Mistral does it, as T5 does it"
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    said = ['the answer is [ A ] or ( B ) : Passage A , Passage B . Yes No [A] > [B] [ [ A A B B [Yes] [No] ]Yes ]No']*9
    signs,alphabet = ['<unk>','<s>','</s>','<pad>',*(['[INST]','[/INST]'] if kind=='mistral' else [])],list('▁[]()/<>:,.ABINSTYesNoPasgethwnirfu')
    if kind=='t5':
        words = [f'▁{w}' for w in 'Passage A B Yes No the answer is or'.split()]
        t = Tokenizer(models.Unigram([*((s, 0.) for s in signs), *((w, -2.) for w in words), *((c, -9.) for c in alphabet)], 0))
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme='always')
    else:
        t = Tokenizer(models.BPE(unk_token='<unk>'))
        if kind=='llama': t.normalizer = normalizers.Sequence([normalizers.Prepend('▁'), normalizers.Replace(' ', '▁')])
        else: t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme='first', split=False)
        split,t.pre_tokenizer = t.pre_tokenizer,pre_tokenizers.Metaspace(prepend_scheme='always') # words are learnt
        t.train_from_iterator(said, trainers.BpeTrainer(vocab_size=120, show_progress=False, special_tokens=signs, initial_alphabet=alphabet))
        t.pre_tokenizer = split if kind!='llama' else None
    t.decoder = decoders.Metaspace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=t, unk_token='<unk>', bos_token='<s>', eos_token='</s>', pad_token='<pad>')

def spaced_model(folder, kind, template=None):
    torch.manual_seed(0)
    t = spaced(kind)
    own = dict(vocab_size=len(t), bos_token_id=1, eos_token_id=2, pad_token_id=3)
    model = net('T5', **own, decoder_start_token_id=3) if kind=='t5' else net({'llama':'Llama', 'mistral':'Mistral'}[kind], **own)
    model.save_pretrained(folder)
    t.chat_template = template
    t.save_pretrained(folder)
    return HF(str(folder), device='cpu'),model,t

@pytest.mark.parametrize('kind', ('llama','mistral'))
def test_a_choice_is_the_token_where_it_stands(kind, tmp_path):
    lm,model,t = spaced_model(tmp_path/'m', kind)
    labels = t.convert_tokens_to_ids(['A','▁A'])
    assert len({*labels, 0})==3 # two tokens, both known
    for prompt,choices in (('the answer is [', 'AB'), ('the answer is: [A] > [', 'AB'), ('the answer is:', [' A',' B']), ('Passage', [' A',' B']), ('the answer is:', [' Yes',' No']), ('the answer is ['*30, 'AB')):
        head = t(prompt)['input_ids']
        wholes = [t(prompt+c)['input_ids'] for c in choices]
        assert all(w[:-1]==head for w in wholes) # transformers cuts the prompt as before, and the choice into one token
        np.testing.assert_allclose(lm.choose([prompt], choices)[0], one(model, head)[-1][[w[-1] for w in wholes]], atol=2e-5, rtol=0)
    both = lm.choose(['the answer is [','the answer is'], ['A'])
    assert lm.single(['A'], 'the answer is [')==labels[0]!=labels[1]==lm.single([' A'], 'the answer is:') and both[0]!=both[1]
    with pytest.raises(ValueError, match='is 2 tokens|is 3 tokens'): lm.choose(['a ['], ['AB'])

llama2 = "{% for m in messages %}{% if m['role']=='user' %}[INST] {{ m['content'] }} [/INST]{% else %} {{ m['content'] }}{% endif %}{% endfor %}"

@pytest.mark.parametrize('kind', ('llama','mistral'))
@pytest.mark.parametrize('space', (True,False))
def test_a_reply_begins_as_the_template_writes_it(kind, space, tmp_path):
    lm,model,t = spaced_model(tmp_path/'m', kind, llama2 if space else llama2.replace(' {{ m[\'content\'] }}{% endif', '{{ m[\'content\'] }}{% endif'))
    asked = [dict(role='user', content='Yes or No :')]
    head = t(f'[INST] Yes or No : [/INST]', add_special_tokens=False)['input_ids']
    wholes = [t(f'[INST] Yes or No : [/INST]{" "*space}{c}', add_special_tokens=False)['input_ids'] for c in ('Yes','No')]
    assert all(w[:-1]==head for w in wholes) and wholes[0][-1]==t.convert_tokens_to_ids('▁Yes' if space else 'Yes')
    np.testing.assert_allclose(lm.choose([asked], ['Yes','No'])[0], one(model, head)[-1][[w[-1] for w in wholes]], atol=2e-5, rtol=0)
    begun = [*asked, dict(role='assistant', content='Passage')]
    text = f'[INST] Yes or No : [/INST]{" "*space}Passage'
    ids = [t(text+c, add_special_tokens=False)['input_ids'] for c in (' A',' B')]
    np.testing.assert_allclose(lm.choose([begun], [' A',' B'])[0], one(model, ids[0][:-1])[-1][[i[-1] for i in ids]], atol=2e-5, rtol=0)

def test_a_decoder_begins_with_the_last_words_of_the_assistant(tmp_path):
    "As the authors of setwise ask Flan-T5: the decoder reads <pad> Passage, the next token is a label"
    lm,model,t = spaced_model(tmp_path/'m', 't5')
    texts = ['the answer is A or B : Yes','Passage A']
    begun = lambda p: [dict(role='user', content=p), dict(role='assistant', content='Passage')]
    head = t('Passage', add_special_tokens=False)['input_ids']
    labels = [t(f'Passage {c}', add_special_tokens=False)['input_ids'] for c in 'AB']
    assert all(l[:-1]==head for l in labels)
    for p,got in zip(texts, lm.choose([begun(p) for p in texts], [' A',' B'])):
        np.testing.assert_allclose(got, one(model, t(p)['input_ids'], head)[-1][[l[-1] for l in labels]], atol=2e-5, rtol=0)
    for p,got in zip(texts, lm.choose(texts, ['A','B'])):
        np.testing.assert_allclose(got, one(model, t(p)['input_ids'])[-1][[t(c, add_special_tokens=False)['input_ids'][0] for c in 'AB']], atol=2e-5, rtol=0)
    mixed = [begun(texts[0]), texts[0], begun(texts[1])]
    for p,r in zip(mixed, lm.generate(mixed, max_tokens=5, logprobs=True)):
        text,start = (p,[3]) if isinstance(p, str) else (p[0]['content'],[3,*head])
        ids = torch.tensor([t(text)['input_ids']])
        with torch.inference_mode(): made = model.generate(ids, attention_mask=torch.ones_like(ids), decoder_input_ids=torch.tensor([start]), max_new_tokens=5, do_sample=False)[0,len(start):]
        assert r.text.strip()==t.decode(made, skip_special_tokens=True) and len(r.logprobs)==sum(int(o) not in t.all_special_ids for o in made)
    end = t(text_target='A')['input_ids']
    got = lm.loglik([begun(texts[0])], ['A'])[0]
    np.testing.assert_allclose(got, one(model, t(texts[0])['input_ids'], [*head, *end[:-1]])[len(head):][range(len(end)),end], atol=2e-5, rtol=0)
    with pytest.raises(ValueError, match='no chat template'): lm.choose([[dict(role='system', content='A'), *begun('B')]], [' A'])

def test_thoughts_stop_nothing_here_or_there():
    "A stop string counts in what a model says, not in what it says to itself: the same for a network and for a server"
    from types import SimpleNamespace
    from rankwb.core import chat, replies
    for raw,stop in (('<think>a\nb</think>c\nd', '\n'), ('a\nb', '\n'), ('<think>a\nb', '\n'), ('x</think>y STOP z', 'STOP'), ('<think>STOP</think>', 'STOP'), ('nothing', 'STOP')):
        served = chat._reply((dict(message=dict(content=raw), finish_reason='length' if '</' not in raw else 'stop'), 1, 2, 0.), [stop], False)
        fake = SimpleNamespace(decode=lambda o, **kw: raw if len(o)>1 else ''),SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=9))
        made = replies._reply(fake[1], fake[0], 1, [], [1,9], None, False, [stop], (), 0.)
        assert (made.text,made.stop,made.reasoning)==(served.text,served.stop,served.reasoning)

def test_what_was_chosen_before_is_known_as_such(tmp_path):
    from rankwb.core.traces import call_of
    lm = HF(checkpoint(tmp_path/'m'), device='cpu')
    first,again = lm.choose(['a list'], 'ab')[0],lm.choose(['a list'], 'ab')[0]
    assert first.tolist()==again.tolist() and repr(first)==repr(again)
    assert [call_of('q', 1, '', 'a list', o).kept for o in (first,again)]==[False,True]
    for ask in (lambda lm: lm.choose(['a list','a'], 'ab'), lambda lm: lm.loglik(['a list','a'], ['b ab',''])):
        first,again = ask(HF(lm.model, device='cpu', store=Store(':memory:'))),ask(lm)
        again = ask(lm)
        assert [(o.asked,o.tokens,o.kept) for o in first]==[(o.asked,o.tokens,False) for o in again if o.kept] and again[0].ms==0<first[0].ms
    ids = lambda text: len(lm.tokenizer(text)['input_ids'])
    assert [o.asked for o in lm.choose(['a list','a'], 'ab')]==[ids('a list'),ids('a')] and lm.loglik(['a list'], ['b ab'])[0].asked==ids('a list')+len(lm.tokenizer('b ab', add_special_tokens=False)['input_ids'])-1 # the last one is not read

def test_passages_are_cut_without_the_model_when_it_is_replayed(tmp_path):
    "Where the tokens of a text end stands on the tape, as everything else that was asked"
    import shutil
    from rankwb.core.answers import Passage
    from rankwb.rag.context import Context
    path = checkpoint(tmp_path/'m')
    found,tape = [Passage(f'd{i}', f'a sorted list of keys {"and values "*i}', f'keys {i}') for i in range(5)],str(tmp_path/'tape.jsonl')
    context = Context(budget=45, each=12)
    packed = context.pack(found, HF(path, device='cpu', tape=tape, store=Store(':memory:')))
    t = tokenizer()
    assert packed.cut and packed.left and packed.tokens<=45
    for p in packed.passages: assert p.text==found[int(p.id[1:])].text.strip() or len(t(p.text, add_special_tokens=False)['input_ids'])<=12
    assert HF(path, device='cpu').ends(['a sorted list','']) == [[b for _,b in t('a sorted list', add_special_tokens=False, return_offsets_mapping=True)['offset_mapping']],[]]
    shutil.rmtree(path)
    assert context.pack(found, HF(path, device='cpu', tape=tape, offline=True))==packed

marks = [f'[M{i}]' for i in range(60)]

def speaks_in_marks(folder):
    "A model a sixth of whose tokens are special ones, such as those with which Self-RAG speaks of its own answer"
    path = checkpoint(folder, vocab_size=360)
    t = transformers.AutoTokenizer.from_pretrained(path)
    t.add_tokens(marks, special_tokens=True)
    t.save_pretrained(path)
    return HF(path, device='cpu', store=Store(':memory:'))

def test_raw_replies_are_those_of_transformers(tmp_path):
    "With special tokens, and with stop strings wherever they stand"
    lm = speaks_in_marks(tmp_path/'m')
    some = [f'a list of {"keys "*n}' for n in range(8)]
    def alone(p, **kw):
        ids = torch.tensor([lm.tokenizer(p)['input_ids']])
        made = lm.net.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False, **kw)[0,ids.shape[1]:].tolist()
        return lm.tokenizer.decode(made[:-1] if made[-1]==lm.net.generation_config.eos_token_id else made)
    raw,usual = (lm.generate(some, max_tokens=20, raw=raw, logprobs=True) for raw in (True,False))
    assert [r.text for r in raw]==[alone(p) for p in some] and sum(m in r.text for r in raw for m in marks)>3
    for a,b in zip(raw, usual):
        left = a.text
        for m in marks: left = left.replace(m, '')
        assert a.tokens==b.tokens and tuple((w,p) for w,p in a.logprobs if w not in marks)==b.logprobs and (left==b.text or '\ufffd' in left)
    fired = 0
    for stop in sorted({m for r in raw for m in marks if m in r.text} | {s for r in raw for i in range(0, len(r.text), 4) if (s := r.text[i:i+2]).isprintable() and s.isascii() and len(s)==2})[:24]:
        for p,r,w in zip(some, lm.generate(some, max_tokens=20, stop=stop, raw=True), raw):
            theirs = alone(p, stop_strings=[stop], tokenizer=lm.tokenizer)
            assert (r.text,r.stop)==until(theirs, [stop])==until(w.text, [stop]) and (r.finish,r.tokens<=w.tokens)==('stop' if stop in theirs else w.finish,True)
            fired += bool(r.stop)
    assert fired>20

@pytest.mark.parametrize('kind', ('llama','mistral'))
def test_a_reply_goes_on_where_the_prompt_ends(kind, tmp_path):
    "A tokenizer that takes the space before a text away leaves it where one word follows another"
    model,_,_ = spaced_model(tmp_path, kind)
    prompts = ['the answer is', 'Passage A', 'Yes No', 'or the answer', '( A ) or']
    for prompt,reply in zip(prompts, found := model.generate(prompts, max_tokens=6, logprobs=True)):
        ids = model.tokens([prompt])[0]
        made = model.net.generate(torch.from_numpy(ids)[None], max_new_tokens=6, do_sample=False)[0].tolist()
        assert model.tokenizer.decode(made, skip_special_tokens=True)==prompt+reply.text
        assert prompt+reply.text==prompt+''.join(w for w,_ in reply.logprobs)
    assert any(r.text.startswith(' ') for r in found)
