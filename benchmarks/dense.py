"""Encode texts beside plain sentence-transformers

    python benchmarks/dense.py                                    # a Markdown table
    python benchmarks/dense.py --texts 300 --repeats 3

Docstrings of the Python standard library, from one line to many, drawn with a seed from the collection `stdlib`, by all-MiniLM-L6-v2. Every
system runs in a process of its own; they take turns, one call each. One round warms up, then the median of the others counts, and ratios are
of CPU time. Positions are what the network computed for each token of a text: what is above 1 is padding. The last line is what nobody can
do without: the products of matrices of the network for all tokens, by PyTorch, without padding, attention and all the rest. Peak memory is that of the
whole process. The last column says what the vectors have to do with each other.
"""
import argparse
import numpy as np
from _turns import serve, turns

def texts(n):
    import random
    from rankwb.core.loading import load
    return random.Random(0).sample(load('stdlib').docs.texts(), n)

def counted(model, call):
    "Tasks: the call, and how many positions and tokens the last one computed"
    seen = np.zeros(2)
    def look(module, args):
        mask = args[0]['attention_mask']
        seen[:] += mask.numel(),mask.sum().item()
    model[0].register_forward_pre_hook(look)
    def run():
        seen[:] = 0
        return call()
    return {'all': run, 'positions': lambda: seen}

def plain():
    "The network as sentence-transformers loads it"
    from sentence_transformers import SentenceTransformer
    from rankwb.core.encoders import find_model
    return SentenceTransformer(str(find_model('all-MiniLM-L6-v2')[0]), device='cpu', local_files_only=True)

def sentence_transformers(size):
    def system(a):
        some,model = texts(a.texts),plain()
        return counted(model, lambda: model.encode_document(some, batch_size=size, show_progress_bar=False))
    return system

def encoder(a):
    from rankwb.core.encoders import Encoder
    some,model = texts(a.texts),Encoder('all-MiniLM-L6-v2')
    return counted(model.load(), lambda: model.encode(some, 'doc'))

def products(a):
    import torch
    model = plain()
    tokens = sum(len(model.tokenizer(t, truncation=True, max_length=model.max_seq_length)['input_ids']) for t in texts(a.texts))
    weights = [m.weight for m in model[0].modules() if isinstance(m, torch.nn.Linear)][:-1] # without the pooler, which is not used
    inputs = {n: torch.randn(1024, n) for n in {w.shape[1] for w in weights}}
    def run():
        with torch.inference_mode():
            for _ in range(tokens//1024+1):
                for w in weights: torch.nn.functional.linear(inputs[w.shape[1]], w)
        return np.zeros(1)
    return {'all': run, 'positions': lambda: np.array([tokens,tokens])}

SYSTEMS = {'rankwb': encoder, 'sentence-transformers, 32': sentence_transformers(32), 'sentence-transformers, 128': sentence_transformers(128), 'its matrix products alone': products}

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--texts', type=int, default=1000)
    p.add_argument('--repeats', type=int, default=5)
    p.add_argument('--child', help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.child: return serve(SYSTEMS[a.child](a))
    names,_,times,memory,results = turns(__file__, SYSTEMS, ['--texts', a.texts], a.repeats)
    print(f'\n### Encoding {a.texts:,} docstrings, median of {a.repeats}\n')
    print('| | docs/s | s (CPU) | times the CPU of rankwb | positions a token | peak MB | largest difference to rankwb |\n|---|--:|--:|--:|--:|--:|--:|')
    ours = results['rankwb','all']
    for n in names:
        (w,c),(positions,tokens),found = times[n,'all'],results[n,'positions'],results[n,'all']
        off = f'{np.abs(found-ours).max():.1e}' if found.shape==ours.shape else ''
        print(f'| {n} | {a.texts/w:.1f} | {w:.1f} ({c:.1f}) | {c/times["rankwb","all"][1]:.2f} | {positions/tokens:.3f} | {memory[n][0]:.0f} | {off} |')

if __name__=='__main__': main()
