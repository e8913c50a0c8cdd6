"Systems in processes of their own that take turns, one call each and another one first each time, so that a machine that is busy is busy for all"
import gc, json, os, resource, statistics, subprocess, sys, tempfile, time
from pathlib import Path
import numpy as np

ROOT = Path(__file__).parent.parent

def serve(tasks):
    "In the child: make the calls that the parent names on standard input; what they return goes into a file"
    print(json.dumps(list(tasks)), flush=True)
    for line in sys.stdin:
        task,path = line.split()
        gc.collect()
        w,c = time.perf_counter(),time.process_time()
        out = tasks[task]()
        w,c = time.perf_counter()-w,time.process_time()-c
        np.save(path, out)
        print(json.dumps([w, c, *memory()]), flush=True)

def memory():
    "MB of this process at most, and what of it is mapped from files now"
    if not (status := Path('/proc/self/status')).exists(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024,0
    told = dict(l.split(':') for l in status.read_text().splitlines())
    return [int(told[k].split()[0])/1024 for k in ('VmHWM','RssFile')]

def turns(file, names, args, repeats):
    "In the parent: names of systems and tasks; (name, task) → medians of wall and CPU seconds; name → peak MB, mapped MB; (name, task) → last result"
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])}
    start = lambda name: subprocess.Popen([sys.executable, file, '--child', name, *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=env)
    procs,tasks = {},[]
    for name in names:
        p = start(name)
        if line := p.stdout.readline(): procs[name],tasks = p,json.loads(line)
        else: print(f'{name} is left out: it did not start', file=sys.stderr)
    times,memory,results = {(n,t):[] for n in procs for t in tasks},{},{}
    with tempfile.TemporaryDirectory() as folder:
        for r in range(repeats+1):
            for t in tasks:
                for n in np.roll(list(procs), r).tolist():
                    p = procs[n]
                    print(t, f'{folder}/out.npy', file=p.stdin, flush=True)
                    w,c,*memory[n] = json.loads(p.stdout.readline())
                    times[n,t].append((w,c))
                    results[n,t] = np.load(f'{folder}/out.npy')
    for p in procs.values():
        p.stdin.close()
        p.wait()
    return list(procs),tasks,{k: [statistics.median(o) for o in zip(*v[1:])] for k,v in times.items()},memory,results
