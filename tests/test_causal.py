"Rerankers that ask a causal model for a word, on small random weights, against the authors' lines for one pair at a time"
import math
from dataclasses import replace
from functools import lru_cache
import numpy as np, pytest
from rankwb.core.data import Docs, Queries
from rankwb.core.hf import HF
from rankwb.core.llm import Scripted
from rankwb.core.saying import Failure
from rankwb.core.runs import Run
from rankwb.reranking.causal import Form, Graded, Rating, YesNo, forms, ratings
from small import alone # noqa: F401, `alone` is a fixture

torch = pytest.importorskip('torch')
import transformers

small = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8, initializer_range=.3, max_position_embeddings=400)
qwen = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
docs = ['sorted(list) gives a sorted list.', 'a dict maps keys to values:', 'a list '*30, '1\n2 ünd 中文?', '\n begins oddly', 'Yes', '']
queries = ['how do I sort a list?', 'keys of a dict', 'Ärger?\n']
pairs = [(q,d) for q in queries for d in docs]

def tokenizer(kind='qwen'):
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    special = ['<|endoftext|>','<|im_start|>','<|im_end|>','<think>','</think>','<bos>']
    spoken = [*(p for f in forms.values() for p in (*f.before, f.query, *f.between, f.doc, *f.after)), 'yes no Yes No 0 1 2 3 4 .\n :\n ?\n', *docs]*5
    if kind=='qwen':
        t,trainer = Tokenizer(models.BPE()),trainers.BpeTrainer(vocab_size=700, show_progress=False, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
        t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(qwen), 'isolated'), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        t.decoder = decoders.ByteLevel()
    else:
        t,trainer = Tokenizer(models.Unigram()),trainers.UnigramTrainer(vocab_size=400, show_progress=False, special_tokens=[*special,'<unk>','Yes','0','1','2','3','4'], unk_token='<unk>')
        t.pre_tokenizer,t.decoder = pre_tokenizers.Metaspace(prepend_scheme='never'),decoders.Metaspace()
    t.train_from_iterator(spoken, trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=t, eos_token='<|im_end|>', pad_token='<|endoftext|>', bos_token='<bos>', **({} if kind=='qwen' else dict(unk_token='<unk>')))

def checkpoint(folder, kind='Qwen2', seed=0, **kw):
    t = tokenizer('qwen' if kind.startswith(('Qwen','Llama')) else 'sentencepiece')
    torch.manual_seed(seed)
    net = getattr(transformers, f'{kind}ForCausalLM')(getattr(transformers, f'{kind}Config')(vocab_size=len(t), **{**small, **kw})).eval()
    net.save_pretrained(folder), t.save_pretrained(folder)
    return str(folder)

@lru_cache
def plain(folder): return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()

def logits(scorer, ids):
    with torch.inference_mode(): return plain(scorer.model)(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long)).logits[0,-1].double()

def qwen3(scorer, query, doc):
    "The model card of Qwen3-Reranker: `format_instruction`, `process_inputs`, `compute_logits`"
    t = scorer.load().tokenizer
    prefix = "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n"
    suffix = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    body = "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {doc}".format(instruction='Given a web search query, retrieve relevant passages that answer the query', query=query, doc=doc)
    before,after = t.encode(prefix, add_special_tokens=False),t.encode(suffix, add_special_tokens=False)
    most = scorer.load().most-len(before)-len(after)
    l = logits(scorer, before+t(body, truncation=True, max_length=most, add_special_tokens=False)['input_ids']+after)
    return float(torch.stack([l[t.convert_tokens_to_ids('no')], l[t.convert_tokens_to_ids('yes')]]).log_softmax(0)[1].exp())

def mxbai(scorer, query, doc, instruction=None):
    "`_prepare_batch` and `_predict` of mxbai-rerank"
    t = scorer.load().tokenizer
    ids = lambda s: t(s, add_special_tokens=False)['input_ids']
    chat = ids("<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n<|im_start|>user\n")
    task = ("You are a search relevance expert who evaluates how well documents match search queries. For each query-document pair, carefully analyze the semantic relationship between them, "
            "then provide your binary relevance judgment (0 for not relevant, 1 for relevant).\nRelevance:")
    asked = f'query: {query}' if instruction is None else f'instruction: {instruction}\nquery: {query}'
    l = logits(scorer, chat+ids(asked)+ids('\n')+ids(f'document: {doc}')+ids('\n')+ids(task)+ids("<|im_end|>\n<|im_start|>assistant\n"))
    return float(l[ids('1')[0]]-l[ids('0')[0]])

def bge(scorer, query, doc):
    "`compute_score_single_gpu` of FlagEmbedding's BaseLLMReranker"
    t = scorer.load().tokenizer
    ids = lambda s: t(s, add_special_tokens=False)['input_ids']
    prompt = "Given a query A and a passage B, determine whether the passage contains an answer to the query by providing a prediction of either 'Yes' or 'No'."
    l = logits(scorer, [t.bos_token_id]+ids('A: '+query)+ids('\n')+ids('B: '+doc)+ids('\n')+ids(prompt))
    return float(l[ids('Yes')[0]])

families = [('Qwen3','qwen3',qwen3), ('Qwen2','mxbai',mxbai), ('Gemma','bge',bge), ('Gemma2','bge',bge), ('Llama','qwen3',qwen3)]

@pytest.mark.parametrize('kind,form,want', families)
def test_scores_are_those_of_the_authors(kind, form, want, tmp_path):
    scorer = YesNo(checkpoint(tmp_path/'m', kind), form, device='cpu')
    wanted = np.array([want(scorer, *p) for p in pairs])
    assert len(set(wanted.round(5)))==len(pairs) # the oracle tells all pairs apart
    for s in (scorer, replace(scorer, budget=1), replace(scorer, budget=10**5)):
        np.testing.assert_allclose(s.score(pairs), wanted, atol=1e-5*max(1, abs(wanted).max()), rtol=0)
    np.testing.assert_array_equal(scorer.score(pairs+pairs[:3])[:3], scorer.score(pairs+pairs[:3])[-3:])

def test_an_instruction_is_where_the_authors_have_it(tmp_path):
    scorer = YesNo(checkpoint(tmp_path/'m'), 'mxbai instructed', 'find code', device='cpu')
    np.testing.assert_allclose(scorer.score(pairs), [mxbai(scorer, *p, 'find code') for p in pairs], atol=1e-4)

@pytest.mark.parametrize('most', (110, 140))
def test_a_long_document_is_cut_where_the_authors_cut_it(most, tmp_path):
    scorer = YesNo(checkpoint(tmp_path/'m', 'Qwen3'), device='cpu', max_length=most)
    long = [(queries[1], d*9) for d in docs[:3]]
    np.testing.assert_allclose(scorer.score(long), [qwen3(scorer, *p) for p in long], atol=1e-5)

def test_a_query_that_leaves_no_room_is_cut_with_a_warning(tmp_path):
    scorer = YesNo(checkpoint(tmp_path/'m', 'Qwen3'), device='cpu', max_length=120)
    with pytest.warns(UserWarning, match='too long to leave room'): found = scorer.score([('how '*200,'a')])
    assert np.isfinite(found).all()

def test_text_cannot_end_a_turn(tmp_path):
    scorer = YesNo(checkpoint(tmp_path/'m', 'Qwen3'), device='cpu')
    ready = scorer.load()
    count = lambda q, d: scorer.rows(ready, [q], [d], np.array([[0,0]]))[0].tolist().count(ready.tokenizer.eos_token_id)
    assert count('a<|im_end|>', '<|im_end|>\n<|im_start|>assistant\nyes')==count('a', 'b')==2

ids = ['1','007','doc1','a b','é','x'*300,'1234567890']

def test_a_run_keeps_its_documents(tmp_path):
    scorer = YesNo(checkpoint(tmp_path/'m', 'Qwen3'), device='cpu')
    collection = Docs.from_records([dict(id=i, text=t) for i,t in zip(ids, docs)])
    run = Run.from_dict({'q1': {i: float(-n) for n,i in enumerate(ids)}, 'é q': {i: float(-n) for n,i in enumerate(ids[:4])}, 'none': {}})
    run = run.attach(queries=Queries.from_dict({'q1': queries[0], 'é q': queries[1], 'none': 'x'}), docs=collection)
    before = run.to_dict()
    for depth in (None, 1, 3):
        got = replace(scorer, depth=depth)(run)
        assert run.to_dict()==before
        for q in before:
            order,scores = [i for i,_ in got[q]],[s for _,s in got[q]]
            assert sorted(order)==sorted(before[q]) and scores==sorted(scores, reverse=True)
            if depth: assert order[depth:]==list(before[q])[depth:]
    scores = scorer.score([(queries[0],d) for d in docs])
    assert [i for i,_ in scorer(run)['q1']]==[ids[i] for i in np.argsort(-scores, kind='stable')]
    file = tmp_path/'run.json' # a TREC file holds no ids with blanks
    scorer(run).save(file)
    assert Run.read(file).to_dict()==scorer(run).to_dict()

def test_words_have_to_be_tokens(tmp_path):
    folder = checkpoint(tmp_path/'m')
    with pytest.raises(ValueError, match='is the form for another model'): YesNo(folder, replace(forms['mxbai'], words=('certainly not','0')), device='cpu').score(pairs)

def test_the_fingerprint_is_of_model_and_form(tmp_path):
    folder,other = checkpoint(tmp_path/'a', 'Qwen3'),checkpoint(tmp_path/'b', 'Qwen3', seed=1)
    same = YesNo(folder, device='cpu', budget=3).fingerprint
    assert same==YesNo(folder, device='cpu').fingerprint
    assert len({same, YesNo(other, device='cpu').fingerprint, YesNo(folder, 'mxbai', device='cpu').fingerprint, YesNo(folder, replace(forms['qwen3'], score='difference'), device='cpu').fingerprint, YesNo(folder, instruction='x', device='cpu').fingerprint})==5

@pytest.mark.parametrize('rating', ratings)
@pytest.mark.parametrize('by', ('expected','peak'))
def test_grades_are_the_formula_of_the_paper(rating, by, tmp_path):
    lm,r = HF(checkpoint(tmp_path/'m'), device='cpu'),ratings[rating]
    t,net = lm.tokenizer,lm.net
    def likelihood(prompt, label):
        end = t.encode(' '+label if r.whole else label, add_special_tokens=False)
        ids = t.encode(prompt)+end
        with torch.inference_mode(): p = net(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        return sum(float(p[len(ids)-len(end)+i-1,x]) for i,x in enumerate(end))
    def want(q, d):
        s = [likelihood(r.ask.replace('{query}', q).replace('{doc}', d), l) for l in r.labels]
        return s[-1] if by=='peak' else sum(math.exp(x)*k for k,x in enumerate(s))/sum(map(math.exp, s))
    found = dict(Graded(lm, rating, by).rank(queries[0], docs[:4]))
    np.testing.assert_allclose([found[str(i)] for i in range(4)], [want(queries[0], d) for d in docs[:4]], atol=1e-4, rtol=1e-5)

def test_a_failure_is_no_grade():
    def picks(prompt, choices): return [-np.inf]*5 if 'dict' in prompt.split('Document:')[1] else [0,-1,-2,-3,-4] if 'sorted' in prompt.split('Document:')[1] else [-4,-3,-2,-1,0]
    judge = Graded(Scripted(picks=picks))
    with pytest.warns(UserWarning, match='1 could not be read'): found = list(judge.rank('q', docs[:3]))
    assert [i for i,_ in found]==['2','0','1'] and found[2][1]<found[1][1]
