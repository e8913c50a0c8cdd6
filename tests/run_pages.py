"""Run notebooks beside the tests, two at a time and mildly: `python tests/run_pages.py FOLDER NOTEBOOK…` writes `0.json`, `1.json`, … as they end

A process for each: a JVM, torch's threads and patched classes stay with their notebook, and a crash has a name. And a process for all of them: tests that fork need one without threads."""
import json,os,subprocess,sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

run = '''import sys
from pathlib import Path
from nbdev.config import get_config
from nbdev.test import test_nb
cfg = get_config()
sys.exit(not test_nb(Path(sys.argv[1]), skip_flags=cfg.tst_flags.split(), basepath=cfg.config_path)[0])'''

def main(folder, *pages):
    os.nice(5)
    env,found = os.environ|dict(OMP_NUM_THREADS=str(max(1, os.cpu_count()//2))),{}
    def one(i):
        if i: found[0].result()   # the home page encodes the embedded collection; others find its vectors
        try: r = subprocess.run([sys.executable, '-c', run, pages[i]], env=env, capture_output=True, text=True, timeout=900)
        except subprocess.TimeoutExpired as e: r = subprocess.CompletedProcess(e.cmd, -1, stderr=str(e))
        new = Path(folder, f'{i}.new')
        new.write_text(json.dumps(dict(code=r.returncode, said=r.stderr[-5000:])))
        new.rename(Path(folder, f'{i}.json'))
    with ThreadPoolExecutor(2) as ex:
        for i in range(len(pages)): found[i] = ex.submit(one, i)

if __name__=='__main__': main(*sys.argv[1:])
