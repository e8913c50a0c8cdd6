"Where things are, and what a test has to do without on this machine"
import os,shutil,signal,subprocess,sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastcore.xdg import xdg_cache_home

root = Path(__file__).parent.parent
sys.path.insert(0, str(root))   # for docs/, which is not installed
signal.signal(signal.SIGINT, signal.default_int_handler)   # a shell's background job has it ignored, and so would have the processes that tests interrupt

@pytest.fixture(scope='session', autouse=True)
def surroundings(tmp_path_factory):
    "One cache of rankwb for all tests, empty at first, and no model hub; other libraries keep their caches"
    home,mine = xdg_cache_home(),tmp_path_factory.mktemp('cache')
    mild = dict(HF_HOME=home/'huggingface', MPLCONFIGDIR=home/'matplotlib', HF_HUB_OFFLINE=1)
    firm = dict(XDG_CACHE_HOME=mine, TQDM_DISABLE=1, MPLBACKEND='agg')
    with pytest.MonkeyPatch.context() as env:
        for k,v in {**mild, **os.environ, **firm}.items(): env.setenv(k, str(v))
        yield

# A process for each page: a JVM, torch's threads and patched classes stay with their notebook, and a crash has a name
run_page = '''import os,sys
from pathlib import Path
os.nice(5) # the tests that run beside it go first
from nbdev.config import get_config
from nbdev.test import test_nb
cfg = get_config()
sys.exit(not test_nb(Path(sys.argv[1]), skip_flags=cfg.tst_flags.split(), basepath=cfg.config_path)[0])'''

def pytest_collection_modifyitems(items):
    "Pages go on running beside all other tests, so they are waited for last"
    items.sort(key=lambda o: getattr(o, 'originalname', None)=='test_runs')

@pytest.fixture(scope='session', autouse=True)
def runs(request, surroundings):
    "The run of every notebook that a test asks for: they begin with the first test, two at a time"
    from docs.pages import nbs
    asked = [o.callspec.params['nb'] for o in request.session.items if (o.path.name, getattr(o, 'originalname', ''))==('test_notebooks.py', 'test_runs')]
    found,env = {},os.environ|dict(OMP_NUM_THREADS=str(max(1, os.cpu_count()//2)))
    def one(p):
        if p!=asked[0]: found[asked[0]].result()   # the home page encodes the embedded collection; others find its vectors
        return subprocess.run([sys.executable, '-c', run_page, nbs/p], cwd=root, env=env, capture_output=True, text=True, timeout=900)
    with ThreadPoolExecutor(2) as ex:
        for p in asked: found[p] = ex.submit(one, p)
        yield found
        ex.shutdown(cancel_futures=True)

@pytest.fixture(scope='session')
def shared():
    "The folder of real test collections beside the clone, which is no part of the project"
    path = root.parent/'shared'
    if not (path/'data').is_dir(): pytest.skip('no ../shared/data beside the project')
    return path

@pytest.fixture(scope='session')
def browser():
    "Chromium without a window, that reaches nothing but this machine"
    found = next(filter(None, map(shutil.which, ('chromium','chromium-browser','google-chrome'))), None)
    if not found: pytest.skip('no chromium on PATH')
    from playwright.sync_api import sync_playwright
    alone = ['--no-sandbox', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1']
    with sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=found, args=alone)
        yield chromium
        chromium.close()
