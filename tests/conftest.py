"Where things are, and what a test has to do without on this machine"
import os,shutil,signal,sys
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
