"""Encode texts beside plain sentence-transformers

    python benchmarks/dense.py                                    # a Markdown table
    python benchmarks/dense.py --texts 300 --repeats 3

Docstrings of the Python standard library, drawn with a seed from the collection `stdlib`, by all-MiniLM-L6-v2. Every system runs in a
process of its own; they take turns, one call each. One round warms up, then the median of the others counts, and ratios are of CPU time.
Peak memory is that of the whole process. The last column says what the vectors have to do with each other.
"""
import argparse
import numpy as np
from _turns import serve, turns

def texts(n):
    import random
    from rankwb.core.loading import load
    return random.Random(0).sample(load('stdlib').docs.texts(), n)

def sentence_transformers(size):
    def system(a):
        from rankwb.core.encoders import Encoder
        some,model = texts(a.texts),Encoder('all-MiniLM-L6-v2').load()
        return {'all': lambda: model.encode_document(some, batch_size=size, show_progress_bar=False)}
    return system

def encoder(a):
    from rankwb.core.encoders import Encoder
    some,model = texts(a.texts),Encoder('all-MiniLM-L6-v2')
    model.load()
    return {'all': lambda: model.encode(some, 'doc')}

SYSTEMS = {'rankwb': encoder, 'sentence-transformers, 32': sentence_transformers(32), 'sentence-transformers, 128': sentence_transformers(128)}

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--texts', type=int, default=1000)
    p.add_argument('--repeats', type=int, default=5)
    p.add_argument('--child', help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.child: return serve(SYSTEMS[a.child](a))
    names,_,times,memory,results = turns(__file__, SYSTEMS, ['--texts', a.texts], a.repeats)
    print(f'\n### Encoding {a.texts:,} docstrings, median of {a.repeats}\n')
    print('| | docs/s | s (CPU) | times the CPU of rankwb | peak MB | largest difference to rankwb |\n|---|--:|--:|--:|--:|--:|')
    for n in names:
        w,c = times[n,'all']
        print(f'| {n} | {a.texts/w:.1f} | {w:.1f} ({c:.1f}) | {c/times["rankwb","all"][1]:.2f} | {memory[n][0]:.0f} | {np.abs(results[n,"all"]-results["rankwb","all"]).max():.1e} |')

if __name__=='__main__': main()
