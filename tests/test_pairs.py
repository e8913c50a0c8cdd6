"What all pair scorers share: rows of tokens as tokenizers write them, one score for a pair whatever stands beside it, small random networks of every family to try it on"
import string, sys, time, types
from dataclasses import dataclass
import numpy as np, pytest
from rankwb.core.reordering import pairs_of
from rankwb.core.runs import Run
from rankwb.core.data import Docs, Queries
from rankwb.reranking import pairs as module
from rankwb.reranking.pairs import PairScorer, Ready, longest_first, only_second, pair_layout
from small import alone, words # noqa: F401, `alone` is a fixture

pytest.importorskip('sentence_transformers')
rng = np.random.default_rng(0)
queries = ['sort a list', 'open file', 'Ärger – naïve 中文', 'key '*70]
texts = [' '.join(rng.choice(words, n)) for n in rng.integers(1, 40, 25)]+['', ' \n', 'list', 'list', 'sort '*100, 'a key, a key. Key!', 'Ärger – naïve 中文']
pairs = [(q,t) for q in queries for t in texts]

def tokenizer(kind, most=60):
    "A tokenizer over `words` and letters as a family of networks has it: where it puts its own tokens, segments or none"
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast
    if kind=='wordpiece':
        special = dict(pad_token='[PAD]', unk_token='[UNK]', cls_token='[CLS]', sep_token='[SEP]', mask_token='[MASK]')
        pieces = [*special.values(), *words, *string.ascii_lowercase, *('##'+c for c in string.ascii_lowercase), *':.?!,']
        t = Tokenizer(models.WordPiece({p:i for i,p in enumerate(pieces)}, unk_token='[UNK]'))
        t.normalizer,t.pre_tokenizer = normalizers.BertNormalizer(),pre_tokenizers.BertPreTokenizer()
        t.post_processor = processors.TemplateProcessing(single='[CLS] $A [SEP]', pair='[CLS] $A [SEP] $B:1 [SEP]:1', special_tokens=[('[CLS]',2),('[SEP]',3)])
        return PreTrainedTokenizerFast(tokenizer_object=t, model_max_length=most, model_input_names=['input_ids','token_type_ids','attention_mask'], **special)
    special = dict(bos_token='<s>', pad_token='<pad>', eos_token='</s>', unk_token='<unk>', mask_token='<mask>')
    if kind=='unigram':
        pieces = [('<s>',0.),('<pad>',0.),('</s>',0.),('<unk>',0.),('<mask>',0.), *(('▁'+w,-3.) for w in words), ('▁',-5.), *((c,-7.) for c in string.ascii_letters+'.,:!?')]
        t = Tokenizer(models.Unigram(pieces, unk_id=3))
        t.pre_tokenizer = pre_tokenizers.Metaspace()
    else:
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        t = Tokenizer(models.BPE({p:i for i,p in enumerate([*special.values(), *letters, 'Ġl','is'])}, [('Ġ','l'),('i','s')]))
        t.pre_tokenizer,t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False),decoders.ByteLevel()
    own = [('<s>',0),('</s>',2)]
    if kind=='decoder': t.post_processor = processors.TemplateProcessing(single='<s> $A', pair='<s> $A <s> $B', special_tokens=own)
    else: t.post_processor = processors.TemplateProcessing(single='<s> $A </s>', pair='<s> $A </s> </s> $B </s>', special_tokens=own)
    return PreTrainedTokenizerFast(tokenizer_object=t, model_max_length=most, model_input_names=['input_ids','attention_mask'], cls_token='<s>', sep_token='</s>', **special)

families = { # name → the network of transformers, its tokenizer, what its configuration is told beside its size
    'BERT': ('Bert','wordpiece',dict(max_position_embeddings=60)), 'ELECTRA': ('Electra','wordpiece',dict(max_position_embeddings=60, embedding_size=16)),
    'RoBERTa': ('Roberta','bytes',dict(max_position_embeddings=62)), 'XLM-R': ('XLMRoberta','unigram',dict(max_position_embeddings=62)), 'CamemBERT': ('Camembert','unigram',dict(max_position_embeddings=62)),
    'DistilBERT': ('DistilBert','wordpiece',dict(max_position_embeddings=60)), 'MPNet': ('MPNet','bytes',dict(max_position_embeddings=62)),
    'DeBERTa-v2': ('DebertaV2','wordpiece',dict(max_position_embeddings=60, relative_attention=True, pos_att_type='p2c|c2p', position_buckets=16, position_biased_input=False, type_vocab_size=0)),
    'ModernBERT': ('ModernBert','bytes',dict(max_position_embeddings=60, global_attn_every_n_layers=2, local_attention=16, classifier_pooling='mean')),
    'Llama': ('Llama','decoder',dict(max_position_embeddings=200)), 'Mistral': ('Mistral','decoder',dict(max_position_embeddings=200)), 'GPT-2': ('GPT2','decoder',dict(n_positions=200))}

def network(folder, family, pad=True, **labels):
    "A random sequence classifier as transformers saves it"
    import torch, transformers
    torch.manual_seed(3)
    name,kind,told = families[family]
    t,size = tokenizer(kind),dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)
    if name=='DistilBert': size = dict(dim=32, hidden_dim=48, n_layers=2, n_heads=4)
    if name=='GPT2': size = dict(n_embd=32, n_layer=2, n_head=4)
    if name in ('Llama','Mistral'): size['num_key_value_heads'] = 2
    ids = dict(pad_token_id=t.pad_token_id if pad else None, bos_token_id=t.bos_token_id, eos_token_id=t.eos_token_id)
    config = getattr(transformers, name+'Config')(vocab_size=len(t), initializer_range=.3, **size, **told, **ids, **labels)
    for o in (getattr(transformers, name+'ForSequenceClassification')(config), t): o.save_pretrained(folder)
    return str(folder)

@dataclass(frozen=True)
class Weighted(PairScorer):
    "No network: a number that every token and its place have to do with"
    def open(self):
        from transformers import AutoTokenizer
        t = AutoTokenizer.from_pretrained(self.found[0], local_files_only=True)
        return Ready(None, t, pair_layout(t), self.max_length or t.model_max_length)
    def forward(self, ready, inputs):
        import torch
        ids = inputs['input_ids']*inputs['attention_mask']
        return (ids*torch.arange(1, ids.shape[1]+1)%97).double().sum(1)

@pytest.fixture(scope='session')
def folder(tmp_path_factory):
    return network(tmp_path_factory.mktemp('bert'), 'BERT', num_labels=1)

@pytest.mark.parametrize('kind', ['wordpiece','unigram','bytes','decoder'])
@pytest.mark.parametrize('most', [7,20,60])
def test_rows_are_those_of_the_tokenizer(kind, most):
    "Ids, segments and what is cut off, of pairs that are short, long, empty"
    t = tokenizer(kind)
    layout = pair_layout(t)
    for q,d in pairs+[('','list'),('list',''),('',''),('key '*100,'sort '*100)]:
        write = lambda rule: {k: v[0] for k,v in t([q], [d], truncation=rule, max_length=most).items()} # `t(q, '')` would take the empty text for none at all
        wanted = write(True)
        a,b = module._ids(t, [q,d])
        m,n = longest_first(np.array([len(a)]), np.array([len(b)]), most-layout.size)
        row = layout.row([a[:int(m[0])],b[:int(n[0])]])
        assert {k: v.tolist() for k,v in row.items()}=={k: list(wanted[k]) for k in row}, (q, d)
        if len(a)<most-layout.size-1 and len(b):
            wanted = write('only_second')
            m,n = only_second(np.array([len(a)]), np.array([len(b)]), most-layout.size)
            assert layout.row([a[:int(m[0])],b[:int(n[0])]])['input_ids'].tolist()==list(wanted['input_ids'])

def test_all_rows_come_to_the_network_once(folder, monkeypatch):
    "Each distinct text goes through the tokenizer once, each distinct pair through the network once, whatever their order"
    seen,rows = [],[]
    real = module._ids
    monkeypatch.setattr(module, '_ids', lambda t, texts: seen.extend(texts) or real(t, texts))
    monkeypatch.setattr(Weighted, 'forward', lambda self, ready, inputs, own=Weighted.forward: rows.append(len(inputs['input_ids'])) or own(self, ready, inputs))
    w = Weighted(folder, device='cpu')
    w.load()
    seen.clear()
    some = [*pairs, *pairs[::-1]]
    scores = w.score(some)
    assert sorted(seen)==sorted([*set(queries), *set(texts)]) and sum(rows)==len(set(pairs))
    assert scores.tolist()==[*scores[:len(pairs)], *scores[:len(pairs)][::-1]]
    assert scores[:len(pairs)].tolist()==[float(w.score([p])[0]) for p in pairs]

def test_networks_that_take_turns_are_opened_once(tmp_path, monkeypatch):
    "Three that are asked again and again; where there is no room for them the last two stay, of each kind of network"
    import torch
    from rankwb.core import networks
    from rankwb.reranking.cross_encoder import CrossEncoder
    opened = []
    monkeypatch.setattr(networks, '_open', {})
    monkeypatch.setattr(CrossEncoder, 'open', lambda self, own=CrossEncoder.open: opened.append(self.model) or own(self))
    folders = [network(tmp_path/str(i), family, num_labels=1) for i,family in enumerate(('BERT','RoBERTa','ELECTRA'))]
    stages = [CrossEncoder(f, device='cpu') for f in folders]
    first = [s.score(pairs[:4]) for s in stages]
    for _ in range(3):
        for s,wanted in zip(stages, first): assert np.array_equal(s.score(pairs[:4]), wanted)
    CrossEncoder(folders[0], device='cpu', depth=3).score(pairs[:4])
    assert opened==folders
    for s in stages: s.load()
    sizes = [size for _,size,_ in networks._open.values()]
    assert sizes==[sum(p.nbytes for p in {id(p): p for p in (*s.load().net.parameters(), *s.load().net.buffers())}.values()) for s in stages]

    other = networks.kept()(lambda n: torch.nn.Linear(n, n)) # of another kind, whose first two take nothing from these
    monkeypatch.setattr(networks, 'room', lambda device: sum(sizes))
    other(1)
    assert len(networks._open)==3 and stages[1].load() and stages[2].load() and opened==folders
    monkeypatch.setattr(networks, 'room', lambda device: 0)
    other(2)
    for s in stages*2: s.load()
    assert opened==folders*3 and len(networks._open)==4

@pytest.mark.parametrize('budget', [1,64,300,100_000])
def test_batches_do_not_matter(folder, budget):
    assert Weighted(folder, device='cpu', budget=budget).score(pairs).tolist()==Weighted(folder, device='cpu').score(pairs).tolist()

def run_of(n, texts=texts, ids=None):
    ids = ids or [f'd{i}' for i in range(len(texts))]
    docs = Docs.from_records([dict(id=i, text=t) for i,t in zip(ids, texts)])
    asked = Queries.from_dict({f'q{i}': q for i,q in enumerate(queries)})
    return Run.from_dict({q: {d: -i for i,d in enumerate(ids[:n])} for q in asked.ids.to_pylist()}).attach(queries=asked, docs=docs)

def test_runs(folder, tmp_path):
    "Nothing is lost; scores never increase; what is below the depth stays; ids survive; the run that went in is as it was"
    w = Weighted(folder, device='cpu')
    for ids in (None, ['1','007','doc1','a b','é','x'*300,'1234567890'], ['1','007','doc1','é','x'*300,'1234567890']):
        run = run_of(len(ids or texts), texts[:len(ids)] if ids else texts, ids)
        before,got = run.to_dict(),w(run)
        assert run.to_dict()==before
        for q,docs in got.to_dict().items():
            assert set(docs)==set(before[q]) and (np.diff(list(docs.values()))<=0).all()
            text = dict(zip(run.docs.ids.to_pylist(), run.docs.texts()))
            asked = queries[int(q[1:])]
            assert np.allclose(list(docs.values()), w.score([(asked, text[d]) for d in docs]))
        deep = Weighted(folder, depth=3, device='cpu')(run)
        for q in before:
            assert [d for d,_ in deep[q]][3:]==list(before[q])[3:] and {d for d,_ in deep[q]}==set(before[q])
        if 'a b' in run.docs.ids.to_pylist(): continue # no TREC file can hold it, and `save` says so
        got.save(tmp_path/'run.trec')
        assert {q: list(d) for q,d in Run.read(tmp_path/'run.trec').to_dict().items()}=={q: list(d) for q,d in got.to_dict().items()}

def test_few_documents(folder):
    "None, one, two of the same text"
    w = Weighted(folder, device='cpu')
    assert list(w.rank('sort', []))==[] and w.score([]).shape==(0,)
    assert [d for d,_ in w.rank('sort', ['list'])]==['0']
    assert [d for d,_ in w.rank('sort', ['list','list','list'])]==['0','1','2']

def test_what_is_not_a_number_is_an_error(folder):
    @dataclass(frozen=True)
    class Lost(Weighted):
        def forward(self, ready, inputs): return super().forward(ready, inputs).where(inputs['attention_mask'].sum(1)>9, float('nan'))
    with pytest.raises(ValueError, match=r"are not finite.*query 'sort'.*text 'list'"): Lost(folder, device='cpu').score([('sort','list '*20),('sort','list')])
    with pytest.raises(ValueError, match=r"are not finite.*query 'q0', document 'd"): Lost(folder, device='cpu')(run_of(len(texts)))

def test_errors(folder):
    with pytest.raises(ValueError, match='no question'): Weighted(folder)(run_of(3).attach(queries=Queries.from_dict({'other': 'x'})))
    with pytest.raises(ValueError, match='nothing is left'): Weighted(folder, max_length=4, device='cpu').score(pairs)
    for name,bad in dict(depth=0, max_length=1.5, budget='x').items():
        with pytest.raises(ValueError, match=name): Weighted(folder, **{name: bad})
    with pytest.raises(ValueError, match='is for GPUs'): Weighted(folder, precision='bfloat16', device='cpu')._device()
    with pytest.raises(TypeError, match='model is a int'): Weighted(3)
    with pytest.raises(FileNotFoundError): Weighted('/no/such/folder').score(pairs)

def test_a_tokenizer_that_joins_texts_is_an_error():
    class Joined:
        def __call__(self, a, b=None, **kw):
            if isinstance(a, list): return dict(input_ids=[[ord(c) for c in o] for o in a])
            return dict(input_ids=[ord(c) for c in (a+' | '+b).replace('it |', 'it;')])
    with pytest.raises(ValueError, match='does not write a pair'): pair_layout(Joined())

def test_identity(folder, tmp_path):
    "The same files elsewhere are the same model; each field that changes a score changes the address; device, budget and depth do not"
    import shutil
    other = str(shutil.copytree(folder, tmp_path/'copy'))
    w = Weighted(folder)
    assert w.digest==Weighted(other).digest==Weighted(folder, device='cpu', budget=7, depth=3).digest
    assert len({Weighted(folder, **o).digest for o in ({}, dict(max_length=9), dict(truncation='only_second'), dict(precision='float16'))})==4
    assert repr(Weighted(folder, depth=5, device='cpu'))==f'Weighted({folder!r}, depth=5)'
    assert Weighted(folder, depth=5).fingerprint!=w.fingerprint and Weighted(folder, device='cpu').fingerprint==w.fingerprint

def test_a_row_of_the_table_fills_what_was_not_said(folder, monkeypatch):
    from rankwb.core.presets import Preset
    row = Preset('short', 'weighted', folder, dict(max_length=20, adapters=[]))
    monkeypatch.setattr('rankwb.core.presets.row_of', lambda name, engine: row if name in ('short', folder) else None)
    monkeypatch.setattr(module, 'presets', lambda: [row])
    monkeypatch.setattr(Weighted, 'engine', 'weighted')
    assert (Weighted('short').model,Weighted('short').max_length)==(folder,20)
    assert repr(Weighted('short', depth=4))=="Weighted('short', depth=4)" and Weighted(folder)==Weighted('short')
    assert repr(Weighted('short', max_length=30))==f'Weighted({folder!r}, max_length=30)'

def test_host_work_does_not_grow_with_the_number_of_queries(folder):
    "Milliseconds a pair around the network, for 10 and for 1,000 queries"
    spent = []
    for n in (10,1000):
        some = [(f'sort {i} list',f'{texts[j%25]} {j}') for i in range(n) for j in (np.arange(3000//n)+3*i)%300]
        w = Weighted(folder, device='cpu')
        w.load()
        spent.append(min(_seconds(w, some) for _ in range(2))/len(some)*1000)
    assert spent[1]<2.5*spent[0] and spent[0]<1.5, spent # a share of the second is that of the fake network

def _seconds(w, some):
    start = time.process_time()
    w.score(some)
    return time.process_time()-start
