"""Run notebooks beside the tests, two at a time and mildly: `python tests/run_pages.py FOLDER NOTEBOOK…` writes `0.json`, `1.json`, … as they end

A process for each: a JVM, torch's threads and patched classes stay with their notebook, and a crash has a name. They are forked from one that has imported, once, what others
wrote and most of them use; none of rankwb, whose modules a page defines anew. And that is none of the tests': those that fork themselves need one without threads."""
import json,os,sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

common = 'nbdev.test execnb.shell pyarrow.compute pyarrow.parquet pandas scipy.stats matplotlib.pyplot httpx jinja2 regex torch transformers sentence_transformers'.split()

def run(page, said):
    "One page, as nbdev_test does; what it says goes to a file"
    from nbdev.config import get_config
    from nbdev.test import test_nb
    with open(said, 'w') as f:
        for o in (1,2): os.dup2(f.fileno(), o)
    cfg = get_config()
    sys.exit(not test_nb(Path(page), skip_flags=cfg.tst_flags.split(), basepath=cfg.config_path)[0])

def main(folder, *pages):
    os.nice(5)
    os.environ['OMP_NUM_THREADS'] = str(max(1, os.cpu_count()//2))
    ctx,found = get_context('forkserver'),{}
    ctx.set_forkserver_preload(common)
    def one(i):
        if i: found[0].result()   # the home page encodes the embedded collection; others find its vectors
        said = Path(folder, f'{i}.txt')
        process = ctx.Process(target=run, args=(pages[i],said))
        process.start()
        process.join(900)
        late = '' if process.exitcode is not None else 'it took more than 900 seconds'
        process.kill()
        new = Path(folder, f'{i}.new')
        new.write_text(json.dumps(dict(code=process.exitcode if not late else -1, said=(said.read_text(errors='replace')+late)[-5000:])))
        new.rename(Path(folder, f'{i}.json'))
    with ThreadPoolExecutor(2) as ex:
        for i in range(len(pages)): found[i] = ex.submit(one, i)

if __name__=='__main__': main(*sys.argv[1:])
