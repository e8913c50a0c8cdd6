"An experiment that is killed goes on where it was, and its files are the same bytes in every process"
import os, signal, subprocess, sys, time

# A retriever that says which query it works on, and takes its time
made = '''
import sys, time
from dataclasses import dataclass, field
from typing import ClassVar
from rankwb.core.caching import Store
from rankwb.core.data import Collection, Docs, Qrels, Queries
from rankwb.core.pipelines import Retriever
from rankwb.core.runs import Run
from rankwb.experiments.experiment import experiment
import rankwb.experiments.report

docs = Docs.from_dict({f'd{i}': f'word{i%7} word{i%5} <b>{i}</b>' for i in range(40)}, 'forty')
queries = Queries.from_dict({f'q{i}': f'word{i%7} word{i%3} query{i}' for i in range(24)})
c = Collection(docs, queries, Qrels.from_dict({f'q{i}': {f'd{i}':2, f'd{i+7}':1, 'd39':0} for i in range(24)}), name='made')

@dataclass(frozen=True)
class Slow(Retriever):
    docs:Docs = field(repr=False)
    least:int = 1
    block:ClassVar[int] = 2
    pause:ClassVar[float] = 0
    def apply(self, queries):
        time.sleep(self.pause)
        for q in queries: print(self.least, q.id, file=sys.stderr, flush=True)
        shared = lambda d,q: len(set(d.text.split()) & set(q.text.split()))
        return Run.from_dict({q.id: {d.id: n for d in self.docs if (n := shared(d, q))>=self.least} for q in queries})
'''
run = made + '''
Slow.pause = float(sys.argv[2])
ex = experiment([Slow(docs), Slow(docs, 2), Slow(docs) % 3], c, 'nDCG@5 RR', baseline='Slow()', store=Store(sys.argv[1]))
print(ex.mean)
'''

def worked(err): return [l for l in err.splitlines() if l[:1].isdigit()]

def test_killed_and_resumed(tmp_path):
    store = str(tmp_path/'store.sqlite')
    whole = subprocess.run([sys.executable, '-c', run, str(tmp_path/'other.sqlite'), '0'], capture_output=True, text=True)
    assert whole.returncode==0, whole.stderr
    assert len(worked(whole.stderr))==48    # two stages, 24 queries each; the third system shares the first stage

    with open(tmp_path/'err', 'w') as err: p = subprocess.Popen([sys.executable, '-c', run, store, '.4'], stdout=subprocess.DEVNULL, stderr=err)
    while len(worked((tmp_path/'err').read_text()))<20:
        assert p.poll() is None, (tmp_path/'err').read_text()
        time.sleep(.05)
    p.send_signal(signal.SIGKILL); p.wait()
    before = worked((tmp_path/'err').read_text())

    again = subprocess.run([sys.executable, '-c', run, store, '0'], capture_output=True, text=True)
    assert again.stdout==whole.stdout
    after = worked(again.stderr)
    assert sorted({*before, *after})==sorted(worked(whole.stderr))
    lost = len(before)+len(after)-48
    assert 0<=lost<=12, f'{lost} queries were computed twice'   # what was finished in the last two seconds, and not yet put

    third = subprocess.run([sys.executable, '-c', run, store, '0'], capture_output=True, text=True)
    assert third.stdout==whole.stdout and not worked(third.stderr)

draw = made + '''
ex = experiment({'all': Slow(docs), 'two <words>': Slow(docs, 2)}, c, 'nDCG@5 RR', baseline='all', store=None)
for name in ('bars','differences','wins','precision_recall','depth','scores'):
    getattr(ex.plot, name)().save(*(f'{sys.argv[1]}/{name}.{f}' for f in ('pdf','svg','png')))
ex.report(f'{sys.argv[1]}/report.html')
ex.save(f'{sys.argv[1]}/results')
open(f'{sys.argv[1]}/table.tex', 'w').write(ex.latex())
'''

def test_same_bytes_in_every_process(tmp_path):
    files = []
    for seed in ('1','2'):
        (tmp_path/seed).mkdir()
        p = subprocess.run([sys.executable, '-c', draw, str(tmp_path/seed)], capture_output=True, text=True, env={**os.environ, 'PYTHONHASHSEED':seed, 'TZ':f'UTC-{seed}'})
        assert p.returncode==0, p.stderr
        files.append({f.relative_to(tmp_path/seed).as_posix(): f.read_bytes() for f in sorted((tmp_path/seed).rglob('*')) if f.is_file()})
    assert files[0].keys()==files[1].keys() and len(files[0])>=6*3+4
    assert [f for f in files[0] if files[0][f]!=files[1][f]]==[]
