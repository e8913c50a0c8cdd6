"Refiners: rankings stay, passages remember themselves, and what is left is what the formulas say"
import random, warnings

import numpy as np
import pytest

from rankwb.core.answers import Answers, passages
from rankwb.core.caching import Store
from rankwb.core.execution import Executor
from rankwb.core.extractive import Extractive, sentence_scores, sentences
from rankwb.core.hf import HF
from rankwb.core.llm import Scripted
from rankwb.core.saying import Failure, prompt_text
from rankwb.core.pipelines import parse
from rankwb.core.records import Docs, Queries
from rankwb.core.runs import Run
from rankwb.core.stages import Reranker
from rankwb.core.steps import Search, perform
from rankwb.rag.context import Context
from rankwb.rag.direct import Direct
from rankwb.rag.refining import Distinct, Overlap, Recomp, ratio, refinement, survival
from rankwb.rag.selective import LLMLingua, LLMLingua2, LongLLMLingua, SelectiveContext, _compressor, self_information, units
from rankwb.rag.summaries import CreateAndRefine, Summaries, TreeSummarize
from rankwb.retrieval.bm25 import BM25

ids = ['1','007','doc1','a b','é','x'*300,'1234567890']
texts = ['Lists are sorted. Lists are long.','A file is read. It has lines.','Strings are joined. A list is not.','A heap is a list. It is fast.','Dates are parsed.','Threads wait. Locks are held.','Strings are split. A file is not.']
docs = Docs.from_records([dict(id=i, title=f'title {i[:9]}', text=t) for i,t in zip(ids, texts)])
asked = Queries.from_dict({'q 1': 'which list is sorted?', 'q2': 'what is a file?'})
run = Run.from_dict({q: {i: float(-n) for n,i in enumerate(ids)} for q in asked.ids.to_pylist()}).attach(asked, docs)

def left(run): return [[p.text for p in ps] for ps in passages(run)]

def test_the_ranking_stays():
    "Ids, order, scores and documents; each question has its own remains of the same document"
    refined = Overlap(k=2)(run)
    assert [r.ids for r in refined]==[r.ids for r in run] and np.array_equal(refined.scores, run.scores) and refined.docs.texts()==docs.texts()
    assert left(refined)[0]!=left(refined)[1]
    assert [[p.whole for p in ps] for ps in passages(refined)]==[texts]*2 and [p.title for p in passages(refined)[0]]==[p.title for p in passages(run)[0]]

def test_it_lasts_through_other_stages():
    class Backwards(Reranker):
        def apply(self, x): return Run(x.query_ids, x.offsets, x.doc_ids, np.concatenate([x.codes[a:b][::-1] for a,b in zip(x.offsets, x.offsets[1:])]), x.scores)
    refined = Overlap(k=2)(run)
    turned = Backwards()(refined)
    assert left(turned)==[o[::-1] for o in left(refined)]
    assert left(turned % 3)==[o[:3] for o in left(turned)]
    once,twice = Overlap(k=3)(run),Overlap(k=1)(Overlap(k=3)(run))
    assert passages(twice)[0][0].whole==texts[0] and ratio(twice)<ratio(once)<1

def test_answers_keep_the_whole(tmp_path):
    answers = Direct(Extractive())(Overlap(k=2)(run))
    assert answers.docs.table['text'].to_pylist()==texts and all(p.whole is not None for a in answers for p in a.found)
    assert all(next(p.text for p in a.found if p.id==i) for a in answers for i in a.shown)
    assert not any(t in answers['q 1'].calls[0].prompt for t in texts if len(sentences(t))>1)
    answers.save(tmp_path/'a.jsonl')
    back = Answers.read(tmp_path/'a.jsonl')
    assert back==answers and [p.whole for p in back[0].found]==texts
    assert '"whole"' not in (Direct(Extractive())(run).save(tmp_path/'b.jsonl') or (tmp_path/'b.jsonl').read_text())
    assert survival(answers, {'q 1': ['sorted']})==survival(Overlap(k=2)(run), {'q 1': ['sorted']})

def test_emptied_passages_take_no_place():
    refined = Overlap(k=1)(run)
    shown = Direct(Extractive(), context=Context(k=1))(refined)
    assert all(len(a.shown)==1 for a in shown)
    empty = Run.from_dict({'q2': {'e': 1.}}).attach(asked, Docs.from_dict({'e': ''}))
    assert Direct(Extractive())(empty)['q2'].shown==('e',) # a document that has no text is another thing

def test_a_method_that_searches_gets_refined_passages():
    def work():
        found, = yield [Search('which list is sorted?')]
        return found
    def both(): return perform({'q': work(), 'r': work()}, dict(search=BM25(docs) % 4 >> Overlap(k=1)))
    done = both()
    alone = passages((BM25(docs) % 4 >> Overlap(k=1))('which list is sorted?'))[0]
    assert done['q'].value==done['r'].value==alone and [bool(p.text) for p in alone].count(True)==1 and all(p.whole in texts for p in alone)

def test_kept_work_tells_refiners_apart(tmp_path):
    store = Store(tmp_path/'s.sqlite')
    first = Executor(store)
    shown = [first(r >> Direct(Extractive()), run) for r in (Overlap(k=1), Overlap(k=2))]
    assert shown[0]!=shown[1]
    again = Executor(store)
    assert [again(r >> Direct(Extractive()), run) for r in (Overlap(k=1), Overlap(k=2))]==shown and not any(w.computed for w in again.work.values())
    down = [True]
    def says(p): return Failure('503') if 'heap' in prompt_text(p) and down else 'short'
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        broken = Executor(store)(Summaries(Scripted(says=says)) >> Direct(Extractive()), run)
    down.clear()
    whole = Executor(store)(Summaries(Scripted(says=says)) >> Direct(Extractive()), run)
    assert {p.text for p in whole[0].found}=={'short'}!={p.text for p in broken[0].found}

@pytest.mark.parametrize('seed', range(10))
def test_sentences_by_brute_force(seed):
    r = random.Random(seed)
    words = 'sort list file heap date is the of'.split()
    made = [' '.join(' '.join(r.choices(words, k=r.randint(1, 6))).capitalize()+'.' for _ in range(r.randint(0, 4))) for _ in range(5)]
    some = Docs.from_dict({f'd{i}': t for i,t in enumerate(made)})
    x = Run.from_dict({'q': {f'd{i}': float(-i) for i in range(5)}}).attach(Queries.from_dict({'q': 'sort the list'}), some)
    k = r.randint(1, 6)
    pieces = [(i,s) for i,t in enumerate(made) for s in sentences(t)]
    scores = sentence_scores('sort the list', [s for _,s in pieces])
    best = sorted(sorted(range(len(pieces)), key=lambda j: (-scores[j],j))[:k])
    assert left(Overlap(k=k)(x))[0]==[' '.join(pieces[j][1] for j in best if pieces[j][0]==i) for i in range(5)]

def test_a_letter_and_a_full_stop_end_a_sentence():
    assert sentences('Paris is big. Lyon is small!')==['Paris is big.','Lyon is small!']
    x = Run.from_dict({'q': {'d': 1.}}).attach(Queries.from_dict({'q': 'small?'}), Docs.from_dict({'d': 'Paris is big. Lyon is small!'}))
    assert left(Overlap(k=1)(x))==[['Lyon is small!']]

def test_distinct_by_brute_force():
    r = random.Random(3)
    made = [' '.join(r.choices('a b c'.split(), k=6)) for _ in range(30)]
    x = Run.from_dict({'q': {f'd{i:02}': float(-i) for i in range(30)}}).attach(Queries.from_dict({'q': '?'}), Docs.from_dict({f'd{i:02}': t for i,t in enumerate(made)}))
    def runs(t): return {tuple(t.split()[i:i+2]) for i in range(5)}
    kept = []
    for t in made:
        if all(len(runs(t)&runs(o))/len(runs(t)|runs(o))<.5 for o in kept): kept.append(t)
    assert [t for t in left(Distinct(.5, words=2)(x))[0] if t]==kept and 1<len(kept)<30

def test_what_cannot_be_read_is_escaped():
    bad = '<script>alert(1)</script> <b>bold</b>'
    x = Run.from_dict({'<i>': {'<u>': 1.}}).attach(Queries.from_dict({'<i>': bad}), Docs.from_dict({'<u>': bad}))
    html = refinement(Summaries(Scripted(says=lambda p: '<b>bold</b> <img onerror=x>'))(x), '<i>')._repr_html_()
    assert not any(o in html for o in ('<script>','<b>','<img','<u>','<i>')) and '&lt;img' in html

def test_bare_arguments():
    for bad,why in ((lambda: Overlap(k=0), 'k=0'), (lambda: Overlap(k=None), 'say one of them'), (lambda: Distinct(1.5), 'at=1.5'), (lambda: SelectiveContext(Extractive()), 'loglik'), (lambda: TreeSummarize(Extractive(), fan=1), 'fan=1')):
        with pytest.raises((ValueError,TypeError), match=why): bad()
    with pytest.raises(ValueError, match='does not know its questions'): Overlap()(run._like(queries=None))

def test_prints_and_parses():
    for stage in (BM25(docs) % 3 >> Distinct(.9) >> Overlap(k=3, above=.1) >> Direct(Extractive()), BM25(docs) >> Recomp('all-MiniLM-L6-v2', k=2), Summaries(Extractive()) >> TreeSummarize(Extractive(), fan=3), CreateAndRefine(Extractive(), max_steps=4)):
        back = parse(repr(stage), docs)
        assert back==stage and back.fingerprint==stage.fingerprint

# A small GPT-2 with tokens of bytes

@pytest.fixture(scope='module')
def gpt2(tmp_path_factory):
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
    bpe,at = ByteLevelBPETokenizer(),tmp_path_factory.mktemp('gpt2')
    bpe.train_from_iterator(texts, vocab_size=320, special_tokens=['<|endoftext|>'], show_progress=False)
    PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, bos_token='<|endoftext|>', eos_token='<|endoftext|>', pad_token='<|endoftext|>', model_max_length=128).save_pretrained(at)
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=320, n_positions=128, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0, initializer_range=.3)).save_pretrained(at)
    return HF(str(at), device='cpu')

def test_self_information_is_that_of_the_model(gpt2):
    "As the authors of Selective-Context compute it: the mean over the tokens of a unit, after the token that begins a text"
    import torch
    for s in (sentences(t)[0] for t in texts):
        enc = gpt2.tokenizer(s, add_special_tokens=False, return_offsets_mapping=True)
        row = torch.tensor([[0, *enc['input_ids']]])
        with torch.inference_mode(): info = -gpt2.net(row).logits.log_softmax(-1)[0,:-1].gather(-1, row[0,1:,None])[:,0].numpy()
        spans = units(s, 'word')
        want = [info[[a<e<=b and not s[x:e].isspace() for x,e in enc['offset_mapping']]].mean() for a,b in spans]
        [o],[ends] = gpt2.loglik([''], [s]),gpt2.ends([s])
        assert np.allclose(self_information(s, o, ends, spans), want, atol=1e-4)

@pytest.mark.parametrize('unit', ['word','phrase','sentence'])
def test_selective_drops_the_percentile(gpt2, unit):
    refined = SelectiveContext(gpt2, .35, unit)(run)
    assert left(refined)[0]==left(refined)[1] and 0<ratio(refined)<1 # the question does not matter
    assert ratio(SelectiveContext(gpt2, 0., unit)(run))==1.
    n = sum(len(units(s, unit)) for t in texts for s in sentences(t))
    if unit=='word': assert abs(ratio(refined)-.65)<=2/n

def test_tree_and_refine_in_rounds():
    "A level of all questions is one call of the model"
    batches = []
    class Counting(Scripted):
        def _generate(self, items, **how):
            batches.append(len(items))
            return super()._generate(items, **how)
    TreeSummarize(Counting(says=lambda p: 'x'), fan=3)(run)
    assert batches==[6,2]
    batches.clear()
    a = CreateAndRefine(Counting(says=lambda p: 'x'), max_steps=3)(run)
    assert batches==[2,2,2] and {o.finish for o in a}=={'budget'} and all(len(o.shown)==3 for o in a)
    none = TreeSummarize(Counting(says=lambda p: 'x'))(run._like(offsets=[0,0,0], codes=[], values=[]))
    assert [o.text for o in none]==['x','x'] and [len(o.calls) for o in none]==[1,1]

# RECOMP's T5, small and with random weights

@pytest.fixture(scope='module')
def t5(tmp_path_factory):
    import re, torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration
    words,at = ['<pad>','</s>','<unk>',*sorted(set(re.findall(r'\w+|[^\w\s]', ' '.join([*texts,*asked.table['text'].to_pylist(),'Question: Document: Summary:']))))],tmp_path_factory.mktemp('t5')
    t = Tokenizer(models.WordLevel({w:i for i,w in enumerate(words)}, unk_token='<unk>'))
    t.pre_tokenizer,t.post_processor = pre_tokenizers.Whitespace(),processors.TemplateProcessing(single='$A </s>', special_tokens=[('</s>',1)])
    PreTrainedTokenizerFast(tokenizer_object=t, eos_token='</s>', pad_token='<pad>', unk_token='<unk>', model_max_length=512).save_pretrained(at)
    torch.manual_seed(2) # one of its summaries is empty
    T5ForConditionalGeneration(T5Config(vocab_size=len(words), d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, initializer_factor=3., decoder_start_token_id=0)).save_pretrained(at)
    return str(at)

@pytest.mark.parametrize('together', [False,True])
def test_summaries_of_a_t5(t5, together):
    "As RECOMP's train_hf_summarization_model.py predicts: the words of the prompt, a batch with padding, greedy, without special tokens, stripped"
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
    t,net = AutoTokenizer.from_pretrained(t5),AutoModelForSeq2SeqLM.from_pretrained(t5).eval()
    parts = ['\n'.join(texts)] if together else texts
    prompts = [f'Question: {q}\n Document: {d}\n Summary: ' for q in asked.table['text'].to_pylist() for d in parts]
    with torch.inference_mode(): made = net.generate(**t(prompts, max_length=1024, padding=True, truncation=True, return_tensors='pt'), max_length=13)
    want = [' '.join(o.split()) for o in t.batch_decode(made, skip_special_tokens=True)]
    got = left(Summaries(HF(t5, device='cpu'), prompt='recomp-t5', together=together, max_tokens=12)(run))
    n = len(parts)
    assert got==[want[i:i+n]+['']*(len(texts)-n) for i in (0,n)] and len(set(want))>1 and (together or '' in want)

def test_an_empty_summary_leaves_nothing():
    "A passage of which nothing was left is not summarised; without an answer, all passages stay"
    seen = []
    def says(p):
        seen.append(p)
        return 'short'
    twice = Summaries(Scripted(says=says))(Overlap(k=1)(run))
    assert len(seen)==2 and [[bool(t) for t in o].count(True) for o in left(twice)]==[1,1]
    nothing = Summaries(Scripted(says=lambda p: '  \n'), together=True)(run)
    assert left(nothing)==[['']*len(ids)]*2 and [a.shown for a in Direct(Extractive())(nothing)]==[(),()]
    assert f'{len(ids)} of {len(ids)} passages are not shown' in refinement(nothing, 'q2')._repr_html_()
    assert left(Summaries(Scripted(says=says), together=True)(nothing))==[['']*len(ids)]*2 and len(seen)==2
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        some = Summaries(Scripted(says=lambda p: Failure('503') if 'sorted?' in prompt_text(p) else 'short'), together=True)(run)
    assert left(some)==[texts,['short']+['']*(len(ids)-1)] and some.unsure==('q 1',) and '1 of 2 questions keep their passages whole' in str(said[0].message)

# LLMLingua-2, against the library's own class

long = ' '.join(f'{t} It is {i}.5!' for i in range(7) for t in texts)
odd = ['List of things','a\nb? c\n\nd','12 lists, 3 files.','',long,*texts]

@pytest.fixture(scope='module')
def classifiers(tmp_path_factory):
    "Folders of token classifiers with random weights, with names by which the library knows them, and without"
    import shutil, torch
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaForTokenClassification
    at,size = tmp_path_factory.mktemp('classifiers'),dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, initializer_range=.5)
    def write(name, t, trainer, net, config, pair, **special):
        t.train_from_iterator([long], trainer)
        t.post_processor = processors.TemplateProcessing(single=f'{pair[0]} $A {pair[1]}', special_tokens=[(o,t.token_to_id(o)) for o in pair])
        t = PreTrainedTokenizerFast(tokenizer_object=t, cls_token=pair[0], sep_token=pair[1], model_max_length=512, **special)
        torch.manual_seed(0)
        for o in (t,net(config(vocab_size=len(t), max_position_embeddings=514, pad_token_id=t.pad_token_id, **size))): o.save_pretrained(at/name)
        shutil.copytree(at/name, at/name[:4])
    b = Tokenizer(models.WordPiece(unk_token='[UNK]'))
    b.pre_tokenizer,b.decoder = pre_tokenizers.BertPreTokenizer(),decoders.WordPiece()
    write('bert-base-multilingual-cased', b, trainers.WordPieceTrainer(vocab_size=60, special_tokens=['[PAD]','[UNK]','[CLS]','[SEP]','[MASK]'], show_progress=False), BertForTokenClassification, BertConfig, ('[CLS]','[SEP]'), unk_token='[UNK]', pad_token='[PAD]', mask_token='[MASK]')
    u = Tokenizer(models.Unigram())
    u.normalizer,u.pre_tokenizer,u.decoder = normalizers.NFKC(),pre_tokenizers.Metaspace(),decoders.Metaspace()
    write('xlm-roberta-large', u, trainers.UnigramTrainer(vocab_size=60, special_tokens=['<s>','<pad>','</s>','<unk>','<mask>'], unk_token='<unk>', show_progress=False), XLMRobertaForTokenClassification, XLMRobertaConfig, ('<s>','</s>'), unk_token='<unk>', pad_token='<pad>', bos_token='<s>', eos_token='</s>', mask_token='<mask>')
    return at

@pytest.fixture
def by_bytes(monkeypatch):
    "Another tokenizer in the place of GPT-3.5's, which the network would have to give"
    import tiktoken, tiktoken.registry
    monkeypatch.setitem(tiktoken.registry.ENCODINGS, 'cl100k_base', tiktoken.Encoding('cl100k_base', pat_str=r'\w+|\W', mergeable_ranks={bytes([i]): i for i in range(256)}, special_tokens={}))
    _compressor.cache_clear()
    yield
    _compressor.cache_clear()

@pytest.mark.parametrize('name', ['bert-base-multilingual-cased','xlm-roberta-large'])
def test_llmlingua2_is_the_library(classifiers, by_bytes, name):
    PromptCompressor = pytest.importorskip('llmlingua').PromptCompressor
    import os, torch
    some = Docs.from_dict({f'd{i}': t for i,t in enumerate(odd)})
    x = Run.from_dict({'q2': {f'd{i}': float(-i) for i in range(len(odd))}}).attach(asked, some)
    state = random.getstate(),np.random.get_state()[1].tolist(),torch.get_rng_state().tolist(),os.environ.get('PYTHONHASHSEED')
    hows = [dict(), dict(rate=.3), dict(rate=.7, force_tokens=('\n','?')), dict(force_tokens=('.',), drop_consecutive=True), dict(rate=.2, force_digits=True), dict(rate=1.)]
    got = [left(LLMLingua2(classifiers/name[:4], device='cpu', **how)(x))[0] for how in hows]
    assert (random.getstate(),np.random.get_state()[1].tolist(),torch.get_rng_state().tolist(),os.environ.get('PYTHONHASHSEED'))==state
    with torch.random.fork_rng(): library = PromptCompressor(str(classifiers/name), device_map='cpu', use_llmlingua2=True)
    for how,o in zip(hows, got):
        how = {('force_reserve_digit' if k=='force_digits' else k): list(v) if isinstance(v, tuple) else v for k,v in how.items()}
        assert o==library.compress_prompt(list(odd), use_context_level_filter=False, **how)['compressed_prompt_list']
    random.setstate(state[0])
    one = left(LLMLingua2(classifiers/name[:4], counts=None, device='cpu')(x))[0]
    assert one!=got[0] and 0<len(one[4])<len(long)
    stage = LLMLingua2(classifiers/name[:4], .4, force_tokens=('\n',))
    assert parse(repr(stage), docs)==stage and stage.fingerprint!=LLMLingua2(classifiers/name[:4], .5, force_tokens=('\n',)).fingerprint

def test_llmlingua2_without_words_it_knows(classifiers, monkeypatch):
    pytest.importorskip('llmlingua')
    x = Run.from_dict({'q2': {'a': 2., 'b': 1.}}).attach(asked, Docs.from_dict({'a': '東京', 'b': texts[0]}))
    stage = LLMLingua2(classifiers/'bert', counts=None, device='cpu')
    with pytest.warns(UserWarning, match='1 of 2 passages stay whole'): some = stage(x)
    assert left(some)[0][0]=='東京' and left(some)[0][1]==left(stage(run[['q2']]))[0][0]!=texts[0]
    assert left(stage(x._like(offsets=[0,0], codes=[], values=[])))==[[]]
    import requests, tiktoken
    def down(name): raise requests.exceptions.ConnectionError('no network')
    monkeypatch.setattr(tiktoken, 'get_encoding', down)
    _compressor.cache_clear()
    with pytest.raises(FileNotFoundError, match='say counts=None'): LLMLingua2(classifiers/'bert', device='cpu')(x)

# LLMLingua and LongLLMLingua: SHA-256 of what the library makes of these texts by itself, with transformers 4.41, before which the cache of a model was pairs

@pytest.fixture(scope='module')
def llama(tmp_path_factory):
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    bpe,at = ByteLevelBPETokenizer(),tmp_path_factory.mktemp('llama')
    bpe.train_from_iterator(texts, vocab_size=300, special_tokens=['<s>'], show_progress=False)
    PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, bos_token='<s>', eos_token='<s>', pad_token='<s>').save_pretrained(at)
    net = LlamaForCausalLM(LlamaConfig(vocab_size=300, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=2048, bos_token_id=0, eos_token_id=0, pad_token_id=0))
    r = np.random.default_rng(0)
    for n,o in sorted(net.named_parameters()): o.data = torch.tensor(1+r.normal(size=o.shape)*.1 if o.ndim==1 else r.normal(size=o.shape)*.3, dtype=torch.float32)
    net.save_pretrained(at)
    return at

dice = random.Random(5)
many = Docs.from_dict({i: ' '.join(''.join(dice.choices('aeiostrlnd', k=dice.randint(2, 8))) for _ in range(50))+'.' for i in ids})
by_perplexity = {'LLMLingua': ['d51ce3d4cb7c','d51ce3d4cb7c'], 'LongLLMLingua': ['472e69cf11f0','4f32f6557828']}

@pytest.mark.parametrize('kind', [LLMLingua,LongLLMLingua])
def test_llmlingua_is_the_library(llama, kind):
    pytest.importorskip('llmlingua')
    import hashlib
    x = run.attach(asked, many)
    stage = kind(llama, .4, device='cpu')
    found = left(stage(x))
    assert all(o[0] and not any(o[1:]) for o in found) and 0<ratio(stage(x))<.8
    assert [hashlib.sha256(o[0].encode()).hexdigest()[:12] for o in found]==by_perplexity[kind.__name__]
    assert parse(repr(stage), docs)==stage and left(stage(run._like(offsets=[0,0,0], codes=[], values=[])))==[[],[]]

def test_llmlingua_gives_up(llama, monkeypatch):
    "The library's own assertion leaves the passages whole, and is counted"
    library = pytest.importorskip('llmlingua').PromptCompressor
    def lost(*args): raise AssertionError
    monkeypatch.setattr(library, 'get_prefix_length', lost)
    with pytest.warns(UserWarning, match='the passages of 2 of 2 questions stay whole'): assert left(LongLLMLingua(llama, device='cpu')(run))==[texts]*2
