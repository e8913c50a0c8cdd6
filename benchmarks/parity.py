"""Scores beside AnswerDotAI rerankers, rank_llm, Rankify and sentence-transformers: equal, or why not

    python benchmarks/parity.py                                   # a Markdown table

Small networks with random weights, the same for both; three questions with twelve documents of 5 to 60 words each, and once with
documents that are longer than the network reads. A line says how far the scores are from each other at most, as a part of the score where
that is above 1, and for how many questions the order is the same. Probabilities are compared as logarithms. What is known of a difference
stands beside it.

Peers that are not installed are left out, and one line says so. `RANKIFY` names a folder with the source of Rankify. rerankers' mxbai lacks
`prepare_for_model` of transformers 4, which there joins and cuts two lists.
"""
import contextlib, math, os, random, sys, tempfile
from itertools import permutations
from pathlib import Path
import numpy as np
import reranking as bench

bench.shapes |= {'cross-encoder': (48,96,2), 'monot5': (32,64,2), 'yesno': (112,128,2)}

def data(low=5, high=60, n=12, queries=3):
    from rankwb.core.loading import load
    c,r = load('stdlib'),random.Random(1)
    words = ' '.join(c.docs.texts()).split()
    def span():
        size = r.randint(low, high)
        at = r.randrange(len(words)-size)
        return ' '.join(words[at:at+size])
    return [(q.rstrip('?')+'?',[span() for _ in range(n)]) for q in r.sample(c.queries.texts(), queries)]

def networks(folder):
    "The networks, and what each is called"
    import torch, transformers as t
    torch.manual_seed(0)
    tokenizer = bench.cross_encoder(t)[1]
    shape = dict(vocab_size=len(tokenizer), num_attention_heads=4, initializer_range=.2, **bench.sizes('cross-encoder'))
    made = {'bert': (t.BertForSequenceClassification(t.BertConfig(num_labels=1, **shape)),tokenizer), 'monobert': (t.BertForSequenceClassification(t.BertConfig(num_labels=2, **shape)),tokenizer),
            'electra': (t.ElectraForSequenceClassification(t.ElectraConfig(num_labels=2, embedding_size=48, **shape)),tokenizer), 't5': bench.t5(t), 'qwen': bench.causal(t)}
    for name,parts in made.items():
        for o in parts: o.save_pretrained(folder/name)

# The peers: (folder, queries with documents) → for each query the scores of its documents

def by_id(results): return {str(i): s for i,s in results}
def in_order(found, work): return [[f[str(i)] for i in range(len(docs))] for f,(_,docs) in zip(found, work)]

def rerankers(module, name, **kw):
    def peer(folder, work):
        ranker = getattr(__import__(f'rerankers.models.{module}', fromlist=[name]), name)(folder, device='cpu', dtype='float32', verbose=0, **kw)
        if module=='mxbai_v2': ranker.tokenizer.prepare_for_model = lambda a, b, max_length=None, **kw: dict(input_ids=(a+b)[:max_length])
        return in_order([by_id((r.document.doc_id, r.score) for r in ranker.rank(q, docs, doc_ids=list(range(len(docs)))).results) for q,docs in work], work)
    return peer

def rank_llm(module, name, **kw):
    def peer(folder, work):
        from rank_llm.data import Candidate, Query, Request
        ranker = getattr(__import__(f'rank_llm.rerank.{module}', fromlist=[name]), name)(folder, device='cpu', **kw)
        asked = [Request(query=Query(text=q, qid=str(i)), candidates=[Candidate(docid=str(j), score=-j, doc=dict(text=d)) for j,d in enumerate(docs)]) for i,(q,docs) in enumerate(work)]
        return in_order([by_id((c.docid, c.score) for c in r.candidates) for r in ranker.rerank_batch(asked)], work)
    return peer

def rankify(module, name, **kw):
    def peer(folder, work):
        if (source := os.environ.get('RANKIFY')) and source not in sys.path: sys.path.append(source)
        from rankify.dataset.dataset import Context, Document, Question
        ranker = getattr(__import__(f'rankify.models.{module}', fromlist=[name]), name)(model_name=folder, **kw)
        documents = [Document(question=Question(q), answers=None, contexts=[Context(text=d, id=str(i)) for i,d in enumerate(docs)]) for q,docs in work]
        found = ranker.rank(documents)
        return in_order([by_id((c.id, float(c.score)) for c in o.reorder_contexts) for o in found], work)
    return peer

def sentence_transformers(folder, work):
    import torch
    from sentence_transformers import CrossEncoder
    model = CrossEncoder(folder, device='cpu')
    return [model.predict([(q,d) for d in docs], activation_fn=torch.nn.Identity(), show_progress_bar=False) for q,docs in work]

def log(peer): return lambda folder, work: [np.log(s) for s in peer(folder, work)]

# Ours

def scored(kind, *args, **kw):
    return lambda folder, work: [kind()(folder, *args, device='cpu', **kw).score([(q,d) for d in docs]) for q,docs in work]

def cross_encoder():
    from rankwb.reranking.cross_encoder import CrossEncoder
    return CrossEncoder

def mono_t5():
    from rankwb.reranking.seq2seq import MonoT5
    return MonoT5

def upr():
    from rankwb.reranking.likelihood import UPR
    return UPR

def yes_no():
    from rankwb.reranking.causal import YesNo
    return YesNo

def cut_by_rank_llm(folder, work):
    from rank_llm.data import Candidate, Query, Result
    from rank_llm.rerank.pointwise.monot5 import MonoT5
    ranker = MonoT5(folder, device='cpu')
    def cut(q, docs):
        shown = Result(query=Query(text=q, qid='0'), candidates=[Candidate(docid=str(i), score=0, doc=dict(text=d)) for i,d in enumerate(docs)])
        return [ranker.create_prompt(shown, i)[0].removeprefix(f'Query: {q} Document: ').removesuffix(' Relevant: ') for i in range(len(docs))]
    return scored(mono_t5)(folder, [(q,cut(q, docs)) for q,docs in work])

def duo_t5(half, **kw):
    "Sums over comparisons: of both orders, or of the first with the later ones, as rank_llm has it"
    def ours(folder, work):
        from rankwb.reranking.seq2seq import DuoT5
        duo,out = DuoT5(folder, device='cpu', **kw),[]
        for q,docs in work:
            asked = [(i,j) for i,j in permutations(range(len(docs)), 2) if i<j or not half]
            s = np.zeros(len(docs))
            for (i,j),p in zip(asked, duo.compare([(q,docs[i],docs[j]) for i,j in asked])):
                s[i] += math.exp(p) if half else p
                if half: s[j] += 1-math.exp(p)
            out.append(s)
        return out
    return ours

LINES = [ # network, what it is, ours, the peer, its scores, documents longer than the network reads?, what is known of a difference
    ('bert', 'cross-encoder, one label', scored(cross_encoder), 'sentence-transformers', sentence_transformers, False, ''),
    ('bert', 'cross-encoder, one label', scored(cross_encoder), 'rerankers', rerankers('transformer_ranker', 'TransformerRanker'), False, ''),
    ('bert', 'cross-encoder, one label', scored(cross_encoder), 'Rankify', rankify('transformer_ranker', 'TransformerRanker', device='cpu'), False, ''),
    ('bert', 'the same, long documents', scored(cross_encoder), 'sentence-transformers', sentence_transformers, True, ''),
    ('bert', 'the same, long documents', scored(cross_encoder), 'rerankers', rerankers('transformer_ranker', 'TransformerRanker'), True, ''),
    ('monobert', 'monoBERT', scored(cross_encoder, label='difference'), 'rerankers', rerankers('transformer_ranker', 'TransformerRanker'), False, ''),
    ('monobert', 'monoBERT', scored(cross_encoder, label='log_softmax'), 'Rankify', rankify('monobert', 'MonoBERT'), False, 'it has one tokenizer, that of bert-large-uncased, for every network, and fetches it'),
    ('electra', 'monoELECTRA', scored(cross_encoder, label='logit'), 'rank_llm', rank_llm('pointwise.monoelectra', 'MonoELECTRA'), False, ''),
    ('t5', 'monoT5', scored(mono_t5), 'rerankers', log(rerankers('t5ranker', 'T5Ranker')), False, ''),
    ('t5', 'monoT5', scored(mono_t5), 'Rankify', rankify('monot5', 'MonoT5', device='cpu'), False, ''),
    ('t5', 'monoT5', scored(mono_t5), 'Rankify, InRanker', log(rankify('inranker', 'InRanker', device='cpu', precision='fp32')), False, ''),
    ('t5', 'monoT5', scored(mono_t5), 'rank_llm', log(rank_llm('pointwise.monot5', 'MonoT5')), False, ''),
    ('t5', 'the same, long documents', scored(mono_t5), 'rerankers', log(rerankers('t5ranker', 'T5Ranker')), True, 'it cuts the prompt at its end, and `Relevant:` with it'),
    ('t5', 'the same, long documents', scored(mono_t5), 'Rankify', rankify('monot5', 'MonoT5', device='cpu'), True, 'the same'),
    ('t5', '… without `Relevant:`', scored(mono_t5, template='Query: {query} Document: {text}'), 'rerankers', log(rerankers('t5ranker', 'T5Ranker')), True, ''),
    ('t5', 'the same, long documents', scored(mono_t5), 'rank_llm', log(rank_llm('pointwise.monot5', 'MonoT5')), True, 'it keeps 64 tokens free for an answer of one token, and writes a document anew from its tokens'),
    ('t5', '… of the documents as it cuts them', cut_by_rank_llm, 'rank_llm', log(rank_llm('pointwise.monot5', 'MonoT5')), True, ''),
    ('t5', 'duoT5, both orders', duo_t5(False), 'Rankify', rankify('duot5', 'DuoT5', device='cpu'), False, ''),
    ('t5', 'duoT5, each pair once', duo_t5(True), 'rank_llm', rank_llm('pairwise.duot5', 'DuoT5'), False, ''),
    ('t5', 'TWOLAR', scored(mono_t5, tokens=(6136,1176), rule='difference', max_length=500), 'Rankify', rankify('twolar', 'TWOLAR'), False, ''),
    ('t5', 'UPR, sum', scored(upr, mean=False), 'rerankers', rerankers('upr', 'UPRRanker'), False, ''),
    ('t5', 'UPR, sum', scored(upr, mean=False), 'Rankify', rankify('upr', 'UPR', use_gpu=False, use_bf16=False), False, ''),
    ('qwen', 'mxbai-rerank-v2', scored(yes_no, 'mxbai'), 'rerankers', rerankers('mxbai_v2', 'MxBaiV2Ranker'), False, ''),
]

def order(s): return np.argsort(-np.asarray(s), kind='stable').tolist()

def line(folder, work, network, what, ours, peer, theirs, long, known):
    try:
        with contextlib.redirect_stdout(sys.stderr): a,b = theirs(f'{folder}/{network}', work),ours(f'{folder}/{network}', work)
    except ModuleNotFoundError as e: return f'| {what} | {peer} | left out | | {e} |'
    except Exception as e: return f'| {what} | {peer} | does not run | | {known or f"{type(e).__name__}: {str(e).splitlines()[0][:100]}"} |'
    off = max(float((np.abs(np.subtract(x, y))/np.maximum(1, np.abs(y))).max()) for x,y in zip(a, b))
    same = sum(order(x)==order(y) for x,y in zip(a, b))
    return f'| {what} | {peer} | {off:.0e} | {same} of {len(work)} | {known if off>1e-5 else ""} |'

def main():
    os.environ |= dict(HF_HUB_OFFLINE='1', TQDM_DISABLE='1')
    import torch, transformers
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    short,long = data(),data(600, 700, 6, 2)
    with tempfile.TemporaryDirectory() as folder:
        networks(Path(folder))
        print('| | beside | largest difference | same order | |\n|---|---|--:|--:|---|')
        for l in LINES: print(line(folder, long if l[5] else short, *l), flush=True)

if __name__=='__main__': main()
