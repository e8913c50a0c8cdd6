"PairRM against LLM-Blender's rule on small random weights: texts that fit and texts that are cut, single comparisons and scores, ties, and the ranks that were taken for an order"
import json
import numpy as np, pytest
from rankwb.core.data import Docs, Queries
from rankwb.core.runs import Run
from rankwb.reranking.pairrm import PairRM
from rankwb.reranking.sorting import AllPairs, Bubble, Heapsort
from small import alone, ids # noqa: F401, `alone` is a fixture

pytest.importorskip('transformers')
words = 'a the fox sea red blue snow day in where is ?'.split()
rng = np.random.default_rng(0)
texts = [' '.join(rng.choice(words, n)) for n in (3,9,1,14,6,40,5)]
query = ' '.join(rng.choice(words, 20))

@pytest.fixture(scope='module')
def made(tmp_path_factory):
    "The folder of a small DeBERTa with a head, in the form of llm-blender/PairRM-hf; its tokenizer, its network and its head"
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import DebertaV2Config, DebertaV2Model, PreTrainedTokenizerFast
    known = ['[PAD]','[CLS]','[SEP]','[UNK]','[MASK]',*words]
    t = Tokenizer(models.WordLevel({w:i for i,w in enumerate(known)}, '[UNK]'))
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.post_processor = processors.TemplateProcessing(single='[CLS] $A [SEP]', pair='[CLS] $A [SEP] $B [SEP]', special_tokens=[('[CLS]',1),('[SEP]',2)])
    t = PreTrainedTokenizerFast(tokenizer_object=t, **{f'{k}_token': f'[{k.upper()}]' for k in ('pad','cls','sep','unk','mask')})
    t.add_tokens(['<|source|>','<|candidate1|>','<|candidate2|>','<|candidate|>'])
    torch.manual_seed(0)
    config = DebertaV2Config(vocab_size=len(t), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, relative_attention=True, position_buckets=16, norm_rel_ebd='layer_norm',
                             share_att_key=True, pos_att_type=['p2c','c2p'], position_biased_input=False, max_position_embeddings=64, type_vocab_size=0, initializer_range=.3)
    net = DebertaV2Model(config).eval()
    head = torch.nn.Sequential(torch.nn.Dropout(.05), torch.nn.Linear(64, 32), torch.nn.Tanh(), torch.nn.Dropout(.05), torch.nn.Linear(32, 2)).eval()
    folder = tmp_path_factory.mktemp('pairrm')
    for o in (config,t): o.save_pretrained(folder)
    state = {**{f'pretrained_model.{k}':v for k,v in net.state_dict().items()}, **{f'head_layer.{k}':v for k,v in head.state_dict().items()}}
    save_file({k: v.contiguous() for k,v in state.items()}, folder/'model.safetensors', metadata=dict(format='pt'))
    return str(folder),t,net,head

def theirs(made, query, a, b, source=1224, candidate=412):
    "`tokenize_pair` and `DebertaV2PairRM.forward`"
    import torch
    _,t,net,head = made
    s = t.encode('<|source|>'+query, max_length=source, truncation=True)
    most = (source+2*candidate-len(s))//2
    ids = torch.tensor([s+t.encode('<|candidate1|>'+a, max_length=most, truncation=True)+t.encode('<|candidate2|>'+b, max_length=most, truncation=True)])
    with torch.inference_mode():
        seen = net(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        at = lambda mark: seen[ids==t.convert_tokens_to_ids(mark)]
        left,right = (head(torch.cat([at('<|source|>'), at(m)], -1)) for m in ('<|candidate1|>','<|candidate2|>'))
    return (left-right).mean(-1).item()

def matrix(made, query, docs, **kw): return np.array([[theirs(made, query, a, b, **kw) if i!=j else 0 for j,b in enumerate(docs)] for i,a in enumerate(docs)])

@pytest.mark.parametrize('fields,limits', [({},{}), (dict(query_length=12, max_length=32),dict(source=12, candidate=10)), (dict(query_length=30, max_length=61),dict(source=31, candidate=15))])
def test_comparisons(made, fields, limits):
    "Whole texts and cut ones; what a short question leaves is for the documents; in any batch the same"
    for q in (query,'fox'):
        if limits.get('source')==31 and q==query: continue # an odd number of tokens: 30 of them are the question's here
        m = matrix(made, q, texts, **limits)
        want = m-m.T
        for budget in (1,10**6): np.testing.assert_allclose(PairRM(made[0], budget=budget, **fields).compare(q, texts), want, atol=1e-5)
        scores = want.mean(1) # get_scores_from_cmps, policy max_logits
        assert PairRM(made[0], **fields).rank(q, texts).ids==[str(i) for i in np.argsort(-scores, kind='stable')]

def test_products_of_onednn(made):
    import torch
    from rankwb.core.products import has_onednn
    assert {o.weight.layout!=torch.strided for o in PairRM(made[0], device='cpu').load().net.modules() if type(o) is torch.nn.Linear}=={has_onednn()}

def ranks_from_scores(scores): return [sorted(scores, reverse=True).index(s)+1 for s in scores] # LLM-Blender's get_ranks_from_scores

def test_ranks_are_no_order(made):
    "Sorting by their ranks gives our order; taking ranks for places, as a well-known toolkit does, gives another, and loses a document where two are equal"
    m = matrix(made, query, texts)
    ranks = ranks_from_scores((m-m.T).mean(1).tolist())
    ours = PairRM(made[0]).rank(query, texts).ids
    assert ours==[str(i) for i in np.argsort(ranks, kind='stable')]
    assert [str(r-1) for r in ranks]!=ours
    equal = ranks_from_scores([.5,.2,.5])
    assert equal==[1,3,1] and len({r-1 for r in equal})==2
    assert PairRM(made[0]).rank(query, ['a fox','a fox','a fox']).ids==['0','1','2']

def test_run(made, tmp_path):
    "Many queries at once as one by one, with every algorithm; ids survive; those below depth stay"
    run = Run.from_dict({f'q{n}': {d: 9-i for i,d in enumerate(ids[:n])} for n in (0,1,2,5,7)}).attach(Queries.from_dict({f'q{n}': query if n%2 else 'fox' for n in (0,1,2,5,7)}), Docs.from_dict(dict(zip(ids, texts))))
    for algorithm in (AllPairs(), Heapsort(3), Bubble(2)):
        s = PairRM(made[0], algorithm)
        found = s(run)
        for n in (1,2,5,7): assert found[f'q{n}'].ids==[ids[int(i)] for i in s.rank(query if n%2 else 'fox', texts[:n]).ids]
        found.save(tmp_path/'run.parquet')
        assert Run.read(tmp_path/'run.parquet').to_dict()==found.to_dict()
    short = PairRM(made[0], depth=3)(run)['q7'].ids
    assert sorted(short[:3])==sorted(ids[:3]) and short[3:]==ids[3:]

def test_marks(made):
    "A document cannot say where a candidate begins"
    p = PairRM(made[0])
    for odd in ('<|candidate1|>','<|source|>','[SEP]'):
        np.testing.assert_allclose(p.compare('fox', [f'a {odd} fox', 'sea', 'the sea']), p.compare('fox', ['a   fox', 'sea', 'the sea']), atol=1e-6)

def test_other_files(made, tmp_path):
    "Files without a head, and files without marks"
    import shutil
    from safetensors.torch import load_file, save_file
    shutil.copytree(made[0], tmp_path/'no head')
    save_file({k: v for k,v in load_file(f'{made[0]}/model.safetensors').items() if not k.startswith('head')}, tmp_path/'no head'/'model.safetensors', metadata=dict(format='pt'))
    with pytest.raises(ValueError, match='head_layer.1.weight is not in its files'): PairRM(str(tmp_path/'no head')).rank('a', ['b','c'])
    shutil.copytree(made[0], tmp_path/'no marks')
    o = json.loads((tmp_path/'no marks'/'tokenizer.json').read_text())
    o['added_tokens'] = [t for t in o['added_tokens'] if '|' not in t['content']]
    (tmp_path/'no marks'/'tokenizer.json').write_text(json.dumps(o))
    c = json.loads((tmp_path/'no marks'/'tokenizer_config.json').read_text())
    (tmp_path/'no marks'/'tokenizer_config.json').write_text(json.dumps({k: v for k,v in c.items() if 'added' not in k and 'extra' not in k}))
    with pytest.raises(ValueError, match='no PairRM'): PairRM(str(tmp_path/'no marks')).rank('a', ['b','c'])
