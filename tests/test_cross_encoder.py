"Cross-encoders of every family against transformers, one pair at a time, and against sentence-transformers; and what goes wrong elsewhere"
import json, os, shutil
import numpy as np, pytest
from test_pairs import alone, families, network, pairs, queries, texts, tokenizer # noqa: F401, `alone` is a fixture
from rankwb.reranking.cross_encoder import CrossEncoder, label_rule

pytest.importorskip('sentence_transformers')
some = pairs[::3]

@pytest.fixture(scope='session')
def build(tmp_path_factory):
    "A function from family and labels to the folder of a network"
    made = {}
    def make(family, **labels):
        key = family,json.dumps(labels)
        if key not in made: made[key] = network(tmp_path_factory.mktemp('net'), family, **labels)
        return made[key]
    return make

def one_by_one(folder, some, most=60, **kw):
    "The logits of transformers, one pair at a time"
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    net,t = AutoModelForSequenceClassification.from_pretrained(folder, **kw).eval(),AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode(): return np.concatenate([net(**t([q], [d], truncation=True, max_length=most, return_tensors='pt')).logits.double().numpy() for q,d in some])

@pytest.mark.parametrize('family', families)
def test_equals_transformers_one_pair_at_a_time(build, family):
    folder = build(family, num_labels=1)
    scorer = CrossEncoder(folder, max_length=60, device='cpu')
    scores = scorer.score(some)
    assert np.abs(scores-one_by_one(folder, some)[:,0]).max()<1e-5 and scores.std()>.05
    assert np.abs(scorer.score(some[::-1])[::-1]-scores).max()<1e-5
    assert np.abs(np.concatenate([scorer.score([p]) for p in some[:12]])-scores[:12]).max()<1e-5

def test_equals_sentence_transformers(build):
    import torch
    from sentence_transformers import CrossEncoder as Model
    folder = build('BERT', num_labels=1)
    model = Model(folder, device='cpu')
    wanted = model.predict([(q,d) for q,d in pairs if d], activation_fn=torch.nn.Identity())
    assert np.abs(CrossEncoder(folder, device='cpu').score([p for p in pairs if p[1]])-wanted).max()<1e-5

@pytest.mark.parametrize('family', ['BERT','RoBERTa','ELECTRA'])
def test_the_last_layer_computes_one_position(build, family):
    "The last layer sees one position at a time, and the scores are those of the whole"
    scorer = CrossEncoder(build(family, num_labels=1), device='cpu')
    layer,seen = scorer.load().net.base_model.encoder.layer[-1],[]
    layer.intermediate.register_forward_hook(lambda m, i, o: seen.append(o.shape[1]))
    scorer.score(some)
    assert set(seen)=={1}

def test_two_labels(build):
    "One number for each rule, those of transformers; peers give a list of two, sorted as words are"
    folder = build('BERT', num_labels=2)
    logits = one_by_one(folder, some)
    log = logits-np.log(np.exp(logits).sum(1, keepdims=True))
    wanted = dict(difference=logits[:,1]-logits[:,0], log_softmax=log[:,1], logit=logits[:,1], LABEL_0=log[:,0])
    for label,scores in wanted.items():
        got = CrossEncoder(folder, label=label, device='cpu').score(some)
        assert got.shape==(len(some),) and np.abs(got-scores).max()<1e-5
        assert CrossEncoder(folder, label=label, device='cpu').score(some[:1]).shape==(1,)
    with pytest.raises(ValueError, match="'difference'.*'log_softmax'.*'logit'"): CrossEncoder(folder, device='cpu').score(some)

def test_three_labels(build):
    names = {'0': 'contradiction', '1': 'entailment', '2': 'neutral'}
    folder = build('DeBERTa-v2', id2label=names, label2id={v: int(k) for k,v in names.items()})
    logits = one_by_one(folder, some)
    wanted = logits[:,1]-np.log(np.exp(logits).sum(1))
    assert np.abs(CrossEncoder(folder, label='entailment', device='cpu').score(some)-wanted).max()<1e-5
    for bad in (None, 'difference', 'entails'):
        with pytest.raises(ValueError, match="'contradiction', 'entailment', 'neutral'; what is the score"): CrossEncoder(folder, label=bad, device='cpu').score(some)
    with pytest.raises(ValueError, match='one label'): label_rule('difference', ['LABEL_0'])

def test_decoders_need_no_padding_token(tmp_path):
    "transformers refuses a batch where the files name no padding token; one pair at a time it gives what we give"
    folder = network(tmp_path, 'Llama', pad=False, num_labels=1)
    scorer = CrossEncoder(folder, max_length=60, device='cpu')
    assert np.abs(scorer.score(some)-one_by_one(folder, some)[:,0]).max()<1e-5

def test_a_decoder_that_ends_with_its_padding_token(tmp_path):
    "The last token is the last one, even if it is the one that is padded with: transformers looks at the one before"
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    folder = network(tmp_path, 'Mistral', num_labels=1)
    for name in ('config.json','tokenizer_config.json'):
        told = json.loads((tmp_path/name).read_text())
        told |= dict(pad_token_id=2) if name=='config.json' else dict(pad_token='</s>')
        (tmp_path/name).write_text(json.dumps(told))
    got = CrossEncoder(folder, last_token='</s>', max_length=60, device='cpu').score(some)
    net,t = AutoModelForSequenceClassification.from_pretrained(folder, pad_token_id=0).eval(),AutoTokenizer.from_pretrained(folder)
    ids = [t([q], [d], truncation=True, max_length=59)['input_ids'][0]+[2] for q,d in some]
    with torch.inference_mode(): wanted = [net(input_ids=torch.tensor([i])).logits.item() for i in ids]
    assert np.abs(got-wanted).max()<1e-5
    with pytest.raises(ValueError, match='no token'): CrossEncoder(folder, last_token='<eos>', device='cpu').score(some)

def test_adapters_with_their_head(tmp_path):
    "LoRA weights over a decoder without a classifier, as RankLLaMA is published: the head is in the adapter"
    pytest.importorskip('peft')
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
    from transformers.utils import logging
    full = network(tmp_path/'full', 'Llama', num_labels=1)
    net = AutoModelForSequenceClassification.from_pretrained(full)
    tuned = get_peft_model(net, LoraConfig(task_type='SEQ_CLS', r=2, target_modules=['q_proj','v_proj'], init_lora_weights=False))
    with torch.no_grad(): tuned.base_model.model.score.modules_to_save.default.weight.mul_(-2)
    tuned.save_pretrained(tmp_path/'lora')
    causal = AutoModelForCausalLM.from_pretrained(full)
    causal.config.architectures = ['LlamaForCausalLM']
    causal.save_pretrained(tmp_path/'base')
    tokenizer('decoder').save_pretrained(tmp_path/'base')
    got = CrossEncoder(str(tmp_path/'base'), adapters=str(tmp_path/'lora'), max_length=60, device='cpu')
    merged = tuned.merge_and_unload().eval()
    merged.save_pretrained(tmp_path/'merged')
    tokenizer('decoder').save_pretrained(tmp_path/'merged')
    assert np.abs(got.score(some)-one_by_one(str(tmp_path/'merged'), some)[:,0]).max()<1e-5
    assert got.digest!=CrossEncoder(str(tmp_path/'base')).digest
    with pytest.raises(ValueError, match='score.weight'): CrossEncoder(str(tmp_path/'base'), device='cpu').score(some)
    with pytest.raises(ValueError, match='these are adapters for'): CrossEncoder(str(tmp_path/'lora'), device='cpu').load()

def test_adapters_without_a_head_are_an_error(tmp_path):
    pytest.importorskip('peft')
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
    full = network(tmp_path/'full', 'Llama', num_labels=1)
    causal = AutoModelForCausalLM.from_pretrained(full)
    causal.save_pretrained(tmp_path/'base')
    tokenizer('decoder').save_pretrained(tmp_path/'base')
    get_peft_model(causal, LoraConfig(task_type='CAUSAL_LM', r=2, target_modules=['q_proj'])).save_pretrained(tmp_path/'lora')
    with pytest.raises(ValueError, match='score'): CrossEncoder(str(tmp_path/'base'), adapters=str(tmp_path/'lora'), device='cpu').score(some)

def test_an_untrained_head_is_an_error(tmp_path):
    from transformers import BertModel, BertForSequenceClassification
    folder = network(tmp_path, 'BERT', num_labels=1)
    BertForSequenceClassification.from_pretrained(folder).bert.save_pretrained(tmp_path/'bert')
    tokenizer('wordpiece').save_pretrained(tmp_path/'bert')
    with pytest.raises(ValueError, match='classifier.bias'): CrossEncoder(str(tmp_path/'bert'), device='cpu').score(some)

def test_weights_that_are_not_numbers(tmp_path):
    import torch
    from transformers import BertForSequenceClassification
    folder = network(tmp_path, 'BERT', num_labels=1)
    net = BertForSequenceClassification.from_pretrained(folder)
    net.classifier.weight.data[:] = float('nan')
    net.save_pretrained(folder)
    with pytest.raises(ValueError, match="are not finite, the first is nan for the query 'sort a list'"): CrossEncoder(folder, device='cpu').score(some)

def test_lengths(build):
    "A query longer than all that is read, nothing to read, more than there are positions"
    folder = build('BERT', num_labels=1)
    scorer = CrossEncoder(folder, max_length=12, device='cpu')
    long = [('key '*100,d) for d in texts[:5]]+[('',''),('','list'),('sort','')]
    assert np.abs(scorer.score(long)-one_by_one(folder, long, 12)[:,0]).max()<1e-5
    with pytest.raises(ValueError, match='60 positions'): CrossEncoder(folder, max_length=100, device='cpu').score(some)
    roberta = CrossEncoder(build('RoBERTa', num_labels=1), max_length=61, device='cpu')
    with pytest.raises(ValueError, match='60 positions'): roberta.score(some)
    second = CrossEncoder(folder, max_length=12, truncation='only_second', device='cpu')
    with pytest.warns(UserWarning, match='1 of the queries left no room'): second.score(long)

def test_words_and_titles(build):
    folder = build('BERT', num_labels=1)
    plain = CrossEncoder(folder, device='cpu')
    worded = CrossEncoder(folder, query_prompt='file: ', doc_prompt='line: {text} .', title_prompt='line: {title} read {text} .', device='cpu')
    docs = [dict(id='a', title='heap', text='sort'), dict(id='b', text='list'), dict(id='c', title='', text='key')]
    got = dict(worded.rank('open', docs))
    assert np.allclose([got[i] for i in 'abc'], plain.score([('file: open', t) for t in ('line: heap read sort .','line: list .','line: key .')]), atol=1e-6)
    got = dict(plain.rank('open', docs))
    assert np.allclose([got[i] for i in 'abc'], plain.score([('open', t) for t in ('heap\nsort','list','key')]), atol=1e-6)

def test_int8(build):
    "Near the scores in full, and the distance is told truly"
    from test_pairs import run_of
    folder = build('BERT', num_labels=1)
    full,eight = CrossEncoder(folder, device='cpu'),CrossEncoder(folder, precision='int8', device='cpu')
    run = run_of(len(texts))
    told = eight.deviation(run)
    a,b = full.score(pairs),eight.score(pairs)
    assert 0<np.abs(a-b).max()<full.score(pairs).std() and a.tolist()!=b.tolist()
    assert (told.queries,told.documents)==(len(queries),len(pairs)) and told.largest==pytest.approx(np.abs(a-b).max(), abs=1e-4) and .8<told.tau<1
    assert full.deviation(run).largest==0 and full.digest!=eight.digest
    assert eight.deviation(run, queries=2).queries==2
