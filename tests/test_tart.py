"TART on small random weights: the authors' network and their pairs, written out with transformers and padded as they do it"
import os
import numpy as np, pytest
from test_pairs import alone, queries, run_of, texts, words # noqa: F401, `alone` is a fixture
from rankwb.reranking.tart import TART

pytest.importorskip('sentence_transformers')
os.environ['OMP_NUM_THREADS'] = '1' # the network is tiny: threads would wait for one another
task = 'open a key'
pairs = [(q,t) for q in [*queries, ''] for t in texts]

def save(folder, labels=2, bos='<s>', classifier=True):
    "A random encoder of T5 with a linear layer, in files as the authors' class writes them"
    import string, torch
    from safetensors.torch import save_file
    from transformers import T5Config, T5EncoderModel, T5Tokenizer
    torch.manual_seed(4)
    pieces = [('<pad>',0.),('</s>',0.),('<unk>',-9.), *(('▁'+w,-3.) for w in words), ('▁',-5.), *((c,-7.) for c in string.ascii_letters+string.punctuation)]
    t = T5Tokenizer(vocab=pieces, extra_ids=0)
    if bos: t.add_special_tokens(dict(bos_token=bos))
    config = T5Config(vocab_size=len(t), d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, num_labels=labels, initializer_factor=2., architectures=['EncT5ForSequenceClassification'])
    encoder,last = T5EncoderModel(config),torch.nn.Linear(32, labels)
    weights = {k: v for k,v in encoder.state_dict().items() if k!='encoder.embed_tokens.weight'}|{f'classifier.{k}': v for k,v in last.state_dict().items() if classifier}
    for o in (config,t): o.save_pretrained(folder)
    save_file({k: v.contiguous() for k,v in weights.items()}, f'{folder}/model.safetensors', metadata=dict(format='pt'))
    return str(folder)

@pytest.fixture(scope='session')
def folder(tmp_path_factory): return save(tmp_path_factory.mktemp('tart'))

def theirs(folder, pairs, most=512, instruction=''):
    "`EncT5ForSequenceClassification.forward` of what `EncT5Tokenizer` writes, and the softmax of their `rerank`"
    import torch
    from safetensors.torch import load_file
    from tokenizers import processors
    from transformers import T5Config, T5EncoderModel, T5Tokenizer
    t,weights = T5Tokenizer.from_pretrained(folder),load_file(f'{folder}/model.safetensors')
    t.backend_tokenizer.post_processor = processors.TemplateProcessing(single='<s> $A </s>', pair='<s> $A </s> $B </s>', special_tokens=[(o, t.convert_tokens_to_ids(o)) for o in ('<s>','</s>')])
    net = T5EncoderModel(T5Config.from_pretrained(folder)).eval()
    net.load_state_dict({k: v for k,v in weights.items() if not k.startswith('classifier')}, strict=False)
    queries = ['{0} [SEP] {1}'.format(instruction, q) if instruction else q for q,_ in pairs]
    batch = t(queries, [d for _,d in pairs], padding=True, truncation=True, max_length=most, return_tensors='pt')
    with torch.inference_mode(): h = net(input_ids=batch['input_ids'], attention_mask=batch['attention_mask']).last_hidden_state[:,0,:]
    return (h@weights['classifier.weight'].T+weights['classifier.bias']).softmax(1)[:,1].numpy()

@pytest.mark.parametrize('instruction', ['', task, 'Find a passage: [SEP] it answers the question.'])
@pytest.mark.parametrize('most', [None, 30])
def test_scores_are_those_of_the_authors(folder, instruction, most):
    "Whole pairs and pairs that are cut, in batches of any size, whatever stands beside a pair"
    wanted = theirs(folder, pairs, most or 512, instruction)
    assert len(set(wanted.round(5)))>20 and wanted.std()>.02
    np.testing.assert_allclose(TART(folder, instruction, max_length=most, device='cpu', budget=10**6).score(pairs), wanted, atol=1e-5)
    np.testing.assert_allclose(TART(folder, instruction, max_length=most, device='cpu', budget=1).score(pairs[::-9])[::-1], wanted[::-9][::-1], atol=1e-5)

def test_products_of_onednn(folder):
    import torch
    from rankwb.core.products import has_onednn
    assert {o.weight.layout!=torch.strided for o in TART(folder, device='cpu').load().net.modules() if type(o) is torch.nn.Linear}=={has_onednn()}

def test_the_instruction_is_what_changes_the_order(folder):
    run = run_of(len(texts))
    plain,told = TART(folder, device='cpu'),TART(folder, task, device='cpu')
    a,b = plain(run),told(run)
    assert [r.ids for r in a]!=[r.ids for r in b] and plain.fingerprint!=told.fingerprint
    for r,q in zip(b, queries): np.testing.assert_allclose(r.scores, np.sort(theirs(folder, [(q,t) for t in texts], instruction=task))[::-1], atol=1e-5)

@pytest.mark.parametrize('told,says', [(dict(labels=3), 'has 3 labels; TART has two'), (dict(bos=''), 'has no <s>'), (dict(classifier=False), 'are not in its files')])
def test_other_files(tmp_path, told, says):
    "No label is guessed, and no weights are random"
    with pytest.raises(ValueError, match=says): TART(save(tmp_path, **told), device='cpu').score([('a','b')])
