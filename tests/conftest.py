"Where things are, and what a test has to do without on this machine"
import json,os,shutil,signal,subprocess,sys,time
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

def pytest_collection_modifyitems(items):
    "Pages go on running beside all other tests, so they are waited for last"
    items.sort(key=lambda o: getattr(o, 'originalname', None)=='test_runs')

@pytest.fixture(scope='session', autouse=True)
def runs(request, surroundings, tmp_path_factory):
    "What the run of a notebook came to: all that tests ask for begin to run with the first test"
    from docs.pages import nbs
    asked = [o.callspec.params['nb'] for o in request.session.items if (o.path.name, getattr(o, 'originalname', ''))==('test_notebooks.py', 'test_runs')]
    folder = tmp_path_factory.mktemp('runs')
    process = subprocess.Popen([sys.executable, root/'tests'/'run_pages.py', folder, *(nbs/p for p in asked)], cwd=root)
    def result(p):
        file = folder/f'{asked.index(p)}.json'
        while not file.exists():
            assert process.poll() is None or file.exists(), 'nobody runs the pages any more'
            time.sleep(.2)
        return json.loads(file.read_text())
    yield result
    process.terminate()
    process.wait()

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
