"In-context reranking: attention of a few rows against the whole matrices of transformers for every family, scores against the authors' rule written out, and what happens where something fails"
import warnings
import numpy as np, pytest
from rankwb.core.calls import RemoteError
from rankwb.core.data import Docs, Queries
from rankwb.core.hf import HF
from rankwb.core.runs import Run
from rankwb.reranking.attention import ICR, attention, calibrated
from rankwb.reranking.windows import Full, Sliding
from small import alone, ids # noqa: F401, `alone` is a fixture

pytest.importorskip('transformers')
texts = ['A list is sorted.', 'Ärger – naïve 中文', 'the  end. ', '[2] is no number', 'sort', 'one\ntwo', 'a list, a dict, a set; all of them.']

def tokenizer():
    "Every byte a token, and one that begins a text"
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast
    pieces = ['<s>','<pad>',*sorted(pre_tokenizers.ByteLevel.alphabet())]
    t = Tokenizer(models.BPE({p:i for i,p in enumerate(pieces)}, []))
    t.pre_tokenizer,t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False),decoders.ByteLevel()
    t.post_processor = processors.TemplateProcessing(single='<s> $A', special_tokens=[('<s>',0)])
    return PreTrainedTokenizerFast(tokenizer_object=t, bos_token='<s>', pad_token='<pad>')

sizes = dict(vocab_size=258, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=2048, initializer_range=.3, head_dim=8)
families = dict(Llama={}, Mistral=dict(sliding_window=24), Qwen2=dict(use_sliding_window=True, sliding_window=24, max_window_layers=1), Qwen3={}, Gemma2=dict(sliding_window=24), Phi3=dict(pad_token_id=1))

@pytest.fixture(scope='module')
def build(tmp_path_factory):
    "A function from a family to the folder of a small random model"
    import torch, transformers
    made = {}
    def make(name, **kw):
        if (key := str((name, kw))) not in made:
            torch.manual_seed(0)
            config = getattr(transformers, f'{name}Config')(**{**sizes, **families[name], **kw})
            made[key] = tmp_path_factory.mktemp('model')
            for o in (getattr(transformers, f'{name}ForCausalLM')(config),tokenizer()): o.save_pretrained(made[key])
        return str(made[key])
    return make

def matrices(folder, ids, a):
    "What the tokens from `a` give to all tokens, from transformers' own attention, all of it"
    import torch
    from transformers import AutoModelForCausalLM
    net = AutoModelForCausalLM.from_pretrained(folder, attn_implementation='eager').eval()
    with torch.inference_mode(): found = net(input_ids=torch.tensor([ids]), output_attentions=True).attentions
    return sum(o[0].double().sum(0)[a:].mean(0) for o in found).numpy()

@pytest.mark.parametrize('name', families)
def test_families(name, build):
    "Beginnings that are shared and not, short and long, filled up in one batch"
    folder,t = build(name),tokenizer()
    heads = [['Here: ', texts[0], ' and ', texts[6]], ['Here: ', texts[1], ' and ', texts[4]], ['', texts[3], '\n', texts[2]]]
    prompts = [[*h,q] for h in heads for q in (' Which list?', ' N/A', ' a')]
    model = HF(folder, budget=10**6)
    got = model.attend(prompts, -1, [1,3])
    n = lambda text: len(text.encode())
    for p,found in zip(prompts, got):
        whole = matrices(folder, t(''.join(p))['input_ids'], 1+n(''.join(p[:4])))
        a,b = 1+n(p[0]),1+n(''.join(p[:3]))
        for ours,theirs in zip(found, (whole[a:a+n(p[1])],whole[b:b+n(p[3])])): np.testing.assert_allclose(ours, theirs, atol=1e-5)
    for one in (HF(folder, budget=1), HF(folder, context=1000, budget=10**6)):
        for o,w in zip(dict(attention(one.net, one.tokenizer, prompts, -1, [1,3], budget=one.budget)).items(), range(len(prompts))): np.testing.assert_allclose(np.concatenate(o[1]), np.concatenate(got[o[0]]), atol=1e-5)

def theirs(folder, query, docs, task, separator, prefix, suffix):
    "`_prepare_input_for_document_retrieval` and `get_sorted_docs` of the authors' in_context_reranker.py, for masked_NA_calibration with documents in reverse"
    late = dict(answer='Please answer the following question based on the information in the paragraphs above.', find='Please find information that are relevant to the following query in the paragraphs above.')[task]
    t,docs = tokenizer(),docs[::-1]
    size = lambda text: len(t(text)['input_ids'])
    def weights(query):
        text,spans = prefix+' Here are some paragraphs:',[]
        for i,d in enumerate(docs):
            start = size(text+separator)
            text += f'{separator}[{i+1}] {d}'
            spans.append((start, size(text)))
        start = size(text+separator)
        text += f'{separator}{late}{separator}Query: {query.strip()}{suffix}'
        w = matrices(folder, t(text)['input_ids'], start)
        return [w[a:b] for a,b in spans]
    scores = []
    for tok,na in zip(weights(query), weights('N/A')):
        c = tok-na
        mask = c>c.mean()-2*c.std(ddof=1)
        scores.append((tok*mask-na*mask).sum())
    return np.array(scores)[::-1]

@pytest.mark.parametrize('task,separator,prefix,suffix', [('find','\n\n','',''), ('answer',' \n\n','<s>user','<s>assistant')])
def test_scores_of_the_authors(task, separator, prefix, suffix, build):
    icr = ICR(HF(build('Llama')), task, prefix, suffix, separator)
    docs = [d.strip() for d in texts]
    places = tuple(range(len(docs)))
    [got] = icr.ask([icr.prompt('Which is sorted? ', texts, places)], [places])
    want = theirs(build('Llama'), 'Which is sorted? ', docs, task, separator, prefix, suffix)
    np.testing.assert_allclose(got, want, atol=1e-6)
    assert icr.rank('Which is sorted? ', texts).ids==[str(i) for i in np.argsort(-want)]
    plain = ICR(HF(build('Llama')), task, prefix, suffix, separator, calibrate=False)
    assert not np.allclose(plain.ask([plain.prompt('Which is sorted? ', texts, places)], [places])[0], want)

def test_run(build, tmp_path):
    "Many queries with different numbers of documents at once: as one by one; ids survive; nothing is asked twice; a tape is enough"
    docs = Docs.from_dict(dict(zip(ids, texts)))
    run = Run.from_dict({f'q{n}': {d: 9-i for i,d in enumerate(ids[:n])} for n in (0,1,2,5,7)}).attach(Queries.from_dict({f'q{n}': 'a list' if n<7 else '' for n in (0,1,2,5,7)}), docs)
    tape = str(tmp_path/'tape.jsonl')
    for algorithm in (Full(), Sliding(3, 2)):
        icr = ICR(HF(build('Qwen2'), tape=tape), algorithm=algorithm)
        found = icr(run)
        for n in (1,2,5,7): assert found[f'q{n}'].ids==[ids[int(i)] for i in icr.rank('a list' if n<7 else '', texts[:n]).ids]
        for q in found.query_ids.to_pylist(): assert sorted(found[q].ids)==sorted(run[q].ids)
        assert icr.trace(run).counts['ok']==sum(algorithm.calls(n) for n in (0,1,2,5,7))
        found.save(tmp_path/'run.parquet')
        assert Run.read(tmp_path/'run.parquet').to_dict()==found.to_dict()
        assert ICR(HF(build('Qwen2'), tape=tape, offline=True), algorithm=algorithm)(run).to_dict()==found.to_dict()

def test_too_long(build):
    "A prompt that does not fit is no ranking; others are not disturbed; with a window it fits"
    run = Run.from_dict({'long': {d: 9-i for i,d in enumerate(ids)}, 'short': {d: 9-i for i,d in enumerate(ids[:2])}})
    run = run.attach(Queries.from_dict({'long':'a list', 'short':'a list'}), Docs.from_dict({d: 'word '*30 for d in ids}))
    icr = ICR(HF(build('Llama'), context=700))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        found = icr(run)
    assert '1 could not be read' in str(told[0].message) and 'for a model that reads 700' in str(told[0].message)
    assert found['long'].ids==run['long'].ids
    assert icr.trace(run).counts==dict(ok=1, repaired=0, failed=1)
    assert ICR(HF(build('Llama'), context=700), algorithm=Sliding(3, 2)).trace(run).counts['failed']==0

def test_failures(build):
    assert calibrated([.5], [.2])==pytest.approx(.3) and np.isnan(calibrated([.5,np.nan], [.1,.1]))
    with pytest.raises(RemoteError, match='for a model that reads 50'): ICR(HF(build('Llama'), context=50)).rank('q', ['a','b'])

def test_encoder_decoder(tmp_path):
    "T5 reads in both directions; transformers with attention of their own kind are told apart"
    from transformers import T5Config, T5ForConditionalGeneration
    for o in (T5ForConditionalGeneration(T5Config(vocab_size=258, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)),tokenizer()): o.save_pretrained(tmp_path/'t5')
    with pytest.raises(ValueError, match='encoder-decoder'): HF(str(tmp_path/'t5')).attend([['a','b']], -1, [0])
