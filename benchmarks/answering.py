"""An iterative method over all questions together beside the same method on one question after the other

    python benchmarks/answering.py                                # two Markdown tables
    python benchmarks/answering.py --questions 20 --repeats 1

Iter-RetGen with three rounds on questions of the collection `stdlib`: search, answer, search with the answer, and so on, two passages of at most
60 tokens in a prompt and 16 tokens of an answer. `together` is how rankwb does it: in each round one search and one call of the model for all
questions. `one by one` is the loop of other toolkits, with the same classes: the method is run on each question alone. The first table has a
Llama of random weights in the process (hidden 256, 4 layers), the second a server on this machine that takes a fixed time for
each request, as one far away does, and is asked by one or by several calls at a time. Nothing is kept between runs. The answers of both ways are
compared, question by question, before a time is printed.
"""
import argparse, contextlib, json, os, subprocess, sys, tempfile, threading, time, zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import numpy as np
from _turns import serve, turns

rounds = 3

def save(folder):
    "A causal model, random, and its tokenizer"
    import torch, transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from rankwb.core.loading import load
    transformers.utils.logging.disable_progress_bar()
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer,bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False),decoders.ByteLevel()
    bpe.train_from_iterator(load('stdlib').docs.texts()[:1500], trainers.BpeTrainer(vocab_size=4000, show_progress=False, special_tokens=['<s>','</s>'], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    own = transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token='<s>', eos_token='</s>')
    own.chat_template = '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:'
    torch.manual_seed(0)
    net = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=len(own), hidden_size=256, intermediate_size=688, num_hidden_layers=4, num_attention_heads=4, max_position_embeddings=2048,
                                                                 initializer_range=.1, bos_token_id=0, eos_token_id=1))
    net.save_pretrained(folder), own.save_pretrained(folder)

def data(a):
    "Questions, and what searches for them"
    from rankwb.core.loading import load
    from rankwb.retrieval.bm25 import BM25
    c = load('stdlib')
    bm25 = BM25(c.docs)
    bm25('warm up')
    return c.queries[:a.questions],bm25 % 2

# Models -----------------------------------------------------------------------------------------------------------------

class Slow(BaseHTTPRequestHandler):
    "Answers after a fixed time with words of the prompt; a GET tells how many requests there were"
    protocol_version = 'HTTP/1.1'
    def log_message(self, *a): pass
    def do_GET(self): self.say(dict(asked=self.server.asked))
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        with self.server.lock: self.server.asked += 1
        time.sleep(self.server.latency)
        words = asked['messages'][-1]['content'].split()
        text = ' '.join(words[zlib.crc32(f'{i}{words}'.encode())%len(words)] for i in range(8))
        self.say(dict(choices=[dict(index=0, finish_reason='stop', message=dict(role='assistant', content=text))], usage=dict(prompt_tokens=len(words), completion_tokens=8)))
    def say(self, o):
        body = json.dumps(o).encode()
        self.send_response(200)
        for k,v in {'Content-Type': 'application/json', 'Content-Length': str(len(body))}.items(): self.send_header(k, v)
        self.end_headers()
        self.wfile.write(body)

def server(latency):
    "In a process of its own: say the port, and serve until the end"
    s = ThreadingHTTPServer(('127.0.0.1', 0), Slow)
    s.daemon_threads,s.latency,s.asked,s.lock,s.request_queue_size = True,latency,0,threading.Lock(),128
    print(s.server_port, flush=True)
    s.serve_forever()

def local(a):
    "The model in this process, anew for every run"
    from rankwb.core.hf import HF
    class Counted(HF):
        keeps,calls = False,0
        def _generate(self, *args, **kw):
            Counted.calls += 1
            return HF._generate(self, *args, **kw)
    return (lambda: Counted(a.folder, device='cpu')),lambda: Counted.calls

def remote(a, parallel):
    "The model behind the server"
    from rankwb.core.caching import Store
    from rankwb.core.calls import Limits
    from rankwb.core.chat import Chat
    return (lambda: Chat('openai/slow', f'http://127.0.0.1:{a.port}/v1', limits=Limits(parallel=parallel), store=Store(':memory:'))),lambda: 0

# Systems ----------------------------------------------------------------------------------------------------------------

def together(reader, queries): return [x for x in reader(queries)]
def one_by_one(reader, queries): return [x for i in range(len(queries)) for x in reader(queries[i:i+1])]

SYSTEMS = {'HF, together': (together,local), 'HF, one by one': (one_by_one,local),
           **{f'server, together, {n} at a time': (together,lambda a,n=n: remote(a, n)) for n in (4,16,64)}, 'server, one by one': (one_by_one,lambda a: remote(a, 4))}

def task(a):
    "All questions once; a number for each answer, the calls of the model by method, and how often it was asked at once"
    from rankwb.rag.context import Context
    from rankwb.rag.iter_retgen import IterRetGen
    way,kind = SYSTEMS[a.child]
    (queries,search),(model,count) = data(a),kind(a)
    def run():
        before,llm = count(),model()
        found = way(IterRetGen(llm, search, T=rounds, context=Context(each=60), max_tokens=16), queries)
        steps = sum(c.kind=='model' for x in found for c in x.calls)
        return np.array([*(zlib.crc32(x.text.encode()) for x in found), steps, count()-before or llm.usage.calls], float)
    return {'all': run}

# ------------------------------------------------------------------------------------------------------------------------

def table(names, a):
    procs,_,times,memory,out = turns(__file__, names, [f for k in ('questions','latency','threads','folder','port') for f in (f'--{k}', getattr(a, k))], a.repeats)
    first,base = out[procs[0],'all'],times[procs[-1],'all']
    for n in procs:
        if not np.array_equal(out[n,'all'][:-1], first[:-1]): raise SystemExit(f'{n}: other answers than {procs[0]}')
    asked = 'batches' if names[0].startswith('HF') else 'requests'
    print(f'\n| {a.questions} questions × {rounds} rounds | {asked} | wall s | questions a s | × faster | CPU s | peak MB |\n|---|--:|--:|--:|--:|--:|--:|')
    for n in procs:
        w,c = times[n,'all']
        print(f'| {n.split(", ", 1)[1]} | {out[n,"all"][-1]:,.0f} | {w:.1f} | {a.questions/w:.1f} | {base[0]/w:.1f} | {c:.1f} | {memory[n][0]:.0f} |')

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name,n in dict(questions=100, repeats=3, threads=1).items(): p.add_argument(f'--{name}', type=int, default=n)
    p.add_argument('--latency', type=float, default=.2, help='seconds that the server takes for a request')
    for name in ('child','folder','port','serve'): p.add_argument(f'--{name}', help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.serve: return server(float(a.serve))
    if a.child:
        import torch
        torch.set_num_threads(a.threads)
        with contextlib.redirect_stdout(sys.stderr): tasks = task(a)
        return serve(tasks)
    with tempfile.TemporaryDirectory() as a.folder:
        save(Path(a.folder))
        a.port = 0
        table([n for n in SYSTEMS if n.startswith('HF')], a)
        s = subprocess.Popen([sys.executable, __file__, '--serve', str(a.latency)], stdout=subprocess.PIPE, text=True)
        try:
            a.port = int(s.stdout.readline())
            table([n for n in SYSTEMS if n.startswith('server')], a)
        finally: s.kill(), s.wait()

if __name__=='__main__': main()
