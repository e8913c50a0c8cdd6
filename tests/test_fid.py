"Fusion in decoder against the authors' formulas on small random T5s: what is written, what attention is a score, whose end counts; windows and tournaments with models that know"
import re, warnings
import numpy as np, pytest
from rankwb.core.data import Docs, Queries
from rankwb.core.llm import Scripted
from rankwb.core.saying import Reply
from rankwb.core.runs import Run
from rankwb.reranking.fid import FiD, LiT5Distill, LiT5Score, ListT5, passages
from rankwb.reranking.windows import Sliding, Tournament
from small import alone, ids # noqa: F401, `alone` is a fixture

pytest.importorskip('transformers')
words = '<pad> </s> <unk> [ ] > 1 2 3 4 5 6 7 Search Query : Passage Relevance Ranking Index , Context question context a the fox sea red blue snow day'.split()
rng = np.random.default_rng(0)
texts = [' '.join(rng.choice(words[-8:], n)) for n in (3,9,1,14,6,20,5)]

def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast
    t = Tokenizer(models.WordLevel({w:i for i,w in enumerate(words)}, '<unk>'))
    t.pre_tokenizer,t.post_processor = pre_tokenizers.BertPreTokenizer(),processors.TemplateProcessing(single='$A </s>', special_tokens=[('</s>',1)])
    return PreTrainedTokenizerFast(tokenizer_object=t, pad_token='<pad>', eos_token='</s>', unk_token='<unk>')

@pytest.fixture(scope='module', params=['tied','gated'])
def folder(request, tmp_path_factory):
    "A T5 as of 2019, and one as of version 1.1"
    import torch
    from transformers import T5Config, T5ForConditionalGeneration
    new = dict(feed_forward_proj='gated-gelu', tie_word_embeddings=False, initializer_factor=1.5) if request.param=='gated' else dict(initializer_factor=2.)
    torch.manual_seed(27 if request.param=='gated' else 24) # some answers end, some are cut
    net = T5ForConditionalGeneration(T5Config(vocab_size=len(words), d_model=32, d_kv=8, d_ff=48, num_layers=3, num_heads=4, decoder_start_token_id=0, **new)).eval()
    path = tmp_path_factory.mktemp('t5')
    for o in (net,tokenizer()): o.save_pretrained(path)
    return str(path)

def stepwise(folder, texts, max_length, max_tokens):
    "A generated text, token by token without a cache, from passages that are filled up; and what every step gives to every token of the input"
    import torch
    from transformers import T5ForConditionalGeneration
    t,net = tokenizer(),T5ForConditionalGeneration.from_pretrained(folder, attn_implementation='eager').eval()
    e = t(texts, padding='max_length', truncation=True, max_length=max_length, return_tensors='pt')
    with torch.inference_mode():
        h,mask = net.encoder(**e).last_hidden_state.reshape(1, -1, 32),e.attention_mask.reshape(1, -1)
        made = [0]
        while len(made)<=max_tokens and 1 not in made:
            o = net(encoder_outputs=(h,), attention_mask=mask, decoder_input_ids=torch.tensor([made]), output_attentions=True)
            made.append(int(o.logits[0,-1].argmax()))
        norms = [torch.norm(b.layer[1].EncDecAttention.v(h).view(1, -1, 4, 8).transpose(1, 2), dim=-1)[:,:,None] for b in net.decoder.block]
        stored = torch.stack([(n*a).mean(1)[0] for n,a in zip(norms, o.cross_attentions)])
    return t.decode(made, skip_special_tokens=True),stored,e.attention_mask.bool(),len(made)-1

def normswoquery(stored, mask, query):
    "`aggregate_value` and `get_woquery_score` of LiT5's model.py"
    layers,rows,_ = stored.shape
    scores = stored.view(layers, rows, len(mask), -1).masked_fill(~mask, 0.).sum(0)
    asked = np.arange(mask.shape[1])<query
    return (scores.numpy()*~asked).sum((0,2))/(256*layers)

questions = ['red fox','the sea a blue day','snow']

def test_written(folder):
    "As with passages filled up to one length; in any batch the same"
    for kind,prompt in (('distill',lambda q: LiT5Distill(FiD(folder)).prompt(q, texts, range(7))), ('list',lambda q: ListT5(FiD(folder)).prompt(q, texts[:5], range(5)))):
        want = [stepwise(folder, [m['content'] for m in prompt(q)], 18, 12)[0] for q in questions]
        for budget in (1,300,10**6):
            got = FiD(folder, max_length=18, budget=budget).generate([prompt(q) for q in questions], max_tokens=12)
            assert [o.text for o in got]==want
            assert all(o.tokens<=12 and (o.finish=='stop' or o.tokens==12) for o in got)

def test_products_of_onednn(folder):
    "Of the encoder, which does nearly all of the work; a decoder of T5 takes hold of weights"
    import torch
    from rankwb.core.products import has_onednn
    packed = lambda net: {o.weight.layout!=torch.strided for o in net.modules() if type(o) is torch.nn.Linear}
    net = FiD(folder, device='cpu').load()[0]
    assert packed(net.encoder)=={has_onednn()} and packed(net.decoder)=={False}

def test_score(folder):
    "The authors' aggregation of what they store, for answers that end and answers that are cut"
    n = lambda text: len(tokenizer().tokenize(text))
    want,lengths = [],set()
    for q in questions:
        _,stored,mask,length = stepwise(folder, [f'question: {q} context: {d}' for d in texts], 18, 19)
        want.append(normswoquery(stored, mask, n(f'question: {q}')))
        lengths.add(length)
    assert len(lengths)>1
    for budget in (1,10**6):
        score = LiT5Score(FiD(folder, max_length=18, budget=budget))
        for q,w in zip(questions, want):
            found = score.rank(q, texts)
            assert found.ids==[str(i) for i in np.argsort(-w, kind='stable')]
            np.testing.assert_allclose([s for _,s in found], np.sort(w)[::-1], rtol=1e-4)
        got = score.model.drawn([[f'question: {q} context: {d}' for d in texts] for q in questions], [f'question: {q}' for q in questions])
        for g,w in zip(got, want): np.testing.assert_allclose(g, w, rtol=1e-4)

def test_wrapped(folder, tmp_path):
    "Files that the authors' wrapper of the encoder wrote: encoder.encoder.block.0.module"
    import shutil
    from safetensors.torch import load_file, save_file
    shutil.copytree(folder, tmp_path/'wrapped')
    renamed = lambda k: re.sub(r'^encoder\.block\.(\d+)\.', r'encoder.encoder.block.\1.module.', k) if '.block.' in k else re.sub(r'^encoder\.', 'encoder.encoder.', k)
    save_file({renamed(k): v for k,v in load_file(f'{folder}/model.safetensors').items()}, tmp_path/'wrapped'/'model.safetensors', metadata=dict(format='pt'))
    prompt = [passages(texts[:3])]
    a,b = (FiD(str(o)).generate(prompt, max_tokens=12)[0] for o in (folder,tmp_path/'wrapped'))
    assert a==b

def test_other_network(tmp_path):
    from transformers import BertConfig, BertModel
    for o in (BertModel(BertConfig(vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)),tokenizer()): o.save_pretrained(tmp_path)
    with pytest.raises(Exception): FiD(str(tmp_path)).generate([passages(['a'])])
    with pytest.raises(TypeError, match='passage by passage'): LiT5Score(Scripted(says=len))

def test_run(folder, tmp_path):
    "Rankings of several lengths at once are as one by one; those below depth stay; ids survive; a tape is enough"
    docs = Docs.from_dict(dict(zip(ids, texts)))
    run = Run.from_dict({f'q{n}': {d: 9-i for i,d in enumerate(ids[:n])} for n in (0,1,2,5,7)}).attach(Queries.from_dict({f'q{n}': questions[n%3] for n in (0,1,2,5,7)}), docs)
    tape = str(tmp_path/'tape.jsonl')
    stages = LiT5Score(FiD(folder)),LiT5Distill(FiD(folder, tape=tape), Sliding(3, 2), 9),ListT5(FiD(folder, tape=tape))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore') # random networks write nonsense
        for s in stages:
            found = s(run)
            for n in (1,2,5,7): assert found[f'q{n}'].ids==[ids[int(i)] for i in s.rank(questions[n%3], texts[:n]).ids]
            found.save(tmp_path/'run.parquet')
            assert Run.read(tmp_path/'run.parquet').to_dict()==found.to_dict()
        assert LiT5Distill(FiD(folder, tape=tape, offline=True), Sliding(3, 2), 9)(run).to_dict()==stages[1](run).to_dict()
    short = LiT5Score(FiD(folder), depth=3)(run)['q7'].ids
    assert sorted(short[:3])==sorted(ids[:3]) and short[3:]==ids[3:]

def knows(form, last=False):
    "A model that knows that smaller numbers are better"
    def says(prompt):
        number = [int(re.search(r'number (\d+)', m['content'])[1]) for m in prompt]
        order = [i+1 for i in sorted(range(len(number)), key=lambda i: number[i], reverse=last)]
        return form(order)
    return Scripted(says=says, name=f'knows {last}')

brackets = lambda order: ' > '.join(f'[{i}]' for i in order)
@pytest.mark.parametrize('n', [1,2,5,10,19,20,21,25,30,100])
def test_oracle(n):
    "The best ten come to the top in as many calls as the algorithm has"
    turned = [f'number {n-1-i}' for i in range(n)]
    run = Run.from_dict({'q': {str(i): float(n-i) for i in range(n)}}).attach(Queries.from_dict({'q':'q'}), Docs.from_dict({str(i): t for i,t in enumerate(turned)}))
    slide = LiT5Distill(knows(brackets))
    five = ListT5(knows(lambda o: ' '.join(map(str, o)), last=True))
    for s,calls in ((slide,Sliding(20, 10).calls(n)),(five,Tournament(5, 2).rehearse(list(range(n))[::-1]).calls)):
        got = [n-1-int(i) for i in s(run)['q'].ids]
        assert sorted(got)==list(range(n)) and got[:10]==list(range(n))[:10]
        assert len(s.trace(run))==calls and s.trace(run).counts['ok']==calls

def test_first_of_five_is_the_worst():
    "What a well-known toolkit keeps of each five are the two least relevant"
    said = ListT5(knows(lambda o: ' '.join(map(str, o)), last=True))
    five = [f'number {i}' for i in (3,0,4,1,2)]
    [answer] = said.ask([said.prompt('q', five, range(5))], [range(5)])
    assert answer.text=='3 1 5 4 2'
    assert said.read(answer, range(5)).value==[1,3,4,0,2]
    kept = [five[int(i)-1] for i in answer.text.split()[:2]]
    assert kept==['number 4','number 3']

@pytest.mark.parametrize('text,verdict', [('','failed'), ('no',  'failed'), ('[1] > [1]','repaired'), ('[3] > [9]','repaired'), ('[2] > [1] > [3]','ok'), ('Error code: 400, 3 over','failed'), ('[２] > [1] > [3]','ok')])
def test_noise(text, verdict):
    "Nothing is lost, whatever is written"
    s = LiT5Distill(Scripted(says=lambda prompt: text, name=text))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        assert sorted(s.rank('q', ['a','b','c']).ids)==['0','1','2']
    assert s.read(Reply(text), (0,1,2)).verdict==verdict
