"What somebody gets who installs the package and knows nothing of notebooks"
import importlib,re,statistics,subprocess,sys,zipfile
from pathlib import Path
from shutil import copy,copytree,ignore_patterns

import pytest
from conftest import root

from docs.pages import cfg

lib = root/'rankwb'
files = {str(f.relative_to(root)) for f in lib.rglob('*') if f.is_file() and '__pycache__' not in f.parts}
modules = sorted(f.removesuffix('.py').replace('/','.') for f in files if f.endswith('.py') and '/_' not in f)

def python(code): return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout

def test_import_is_cheap():
    code = 'from time import perf_counter as now; at = now(); import rankwb; print(now()-at)'
    assert statistics.median(float(python(code)) for _ in range(7))<.3

heavy = {'torch','transformers','sentence_transformers','pandas','scipy','statsmodels','matplotlib','sklearn','numba',
         'ipywidgets','IPython','jnius','pyserini','faiss','ir_datasets'}

@pytest.mark.parametrize('module', ['rankwb','rankwb.all'])
def test_import_loads_nothing_heavy(module):
    assert not heavy & set(python(f'import sys, {module}; print(*sys.modules)').split())

@pytest.mark.parametrize('module', modules)
def test_exports_are_there(module):
    m = importlib.import_module(module)
    assert not [o for o in getattr(m, '__all__', ()) if not hasattr(m, o)]
    assert m.__doc__, 'a module begins with the promise of its notebook'

def test_version():
    import rankwb
    assert rankwb.__version__==cfg['version']
    assert f"\n## {cfg['version']}\n" in (root/'CHANGELOG.md').read_text(encoding='utf-8')

def test_what_a_pipeline_may_name_has_one_meaning():
    "Stages, models and algorithms are read from their text by their names alone"
    from rankwb.core.stages import stage_types
    known = {o for m in modules for o in vars(importlib.import_module(m)).values() if isinstance(o, type) and o.__module__.startswith('rankwb.') and o.__name__ in stage_types}
    named = [o for o in known if issubclass(o, tuple({c.__mro__[-2] for c in stage_types.values() if isinstance(c, type)}))]
    assert len(named)>100 and len({o.__name__ for o in named})==len(named)

def test_what_a_class_lacks_is_said_in_one_place():
    "`needed` says it for every method that a class has to write; no module writes the sentence by hand"
    by_hand = [m for m in modules if m!='rankwb.core.stages' and re.search(r'lacks \w+\(self', Path(importlib.import_module(m).__file__).read_text(encoding='utf-8'))]
    assert not by_hand
    for name,method in {'core.pipelines.Combination':'combine(self, runs)', 'rag.refining.Refiner':'left(self, asked, found)', 'rag.adaptive.Triage':'judge(self, queries)', 'rag.reading.Answering':'work(self, q)',
                        'retrieval.indexes.Index':'open(self, vectors, folder)', 'retrieval.chunking.ByDocument':'scores(self, g)', 'retrieval.scoring.Lexical':'gain(self, index)', 'retrieval.feedback.Feedback':'learn(self, index)'}.items():
        module,cls = name.rsplit('.', 1)
        base = getattr(importlib.import_module(f'rankwb.{module}'), cls)
        bare = object.__new__(type('Bare', (base,), {}))
        with pytest.raises(TypeError, match=rf'^Bare lacks {re.escape(method)}$'): getattr(bare, method.split('(')[0])(None)

@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    "The wheel of the project, made from a copy, since setuptools leaves its traces"
    src = tmp_path_factory.mktemp('src')
    copytree(lib, src/'rankwb', ignore=ignore_patterns('__pycache__'))
    for o in ('settings.ini','setup.py','README.md','LICENSE'): copy(root/o, src)
    alone = ['-q', '--no-deps', '--no-build-isolation', '--no-index']
    pip = [sys.executable, '-m', 'pip', 'wheel', *alone, '-w', src/'dist', src]
    r = subprocess.run(pip, capture_output=True, text=True)
    assert r.returncode==0, r.stderr
    return zipfile.ZipFile(next((src/'dist').glob('*.whl')))

def test_wheel_holds_every_file(wheel):
    names = wheel.namelist()
    assert {n for n in names if n.startswith('rankwb/')}==files
    assert {n.split('/')[0] for n in names}=={'rankwb', f"rankwb-{cfg['version']}.dist-info"}

def test_wheel_says_what_settings_say(wheel):
    def read(name): return next(wheel.read(n).decode() for n in wheel.namelist() if n.endswith(f'.dist-info/{name}'))
    meta = read('METADATA').splitlines()
    said = {'Version': '', 'Requires-Python': '>=', 'License-Expression': ''}
    for (k,v),key in zip(said.items(), ('version','min_python','license')): assert f'{k}: {v}{cfg[key]}' in meta
    wanted = [l for l in meta if l.startswith('Requires-Dist: ') and 'extra ==' not in l]
    assert len(wanted)==len(cfg['requirements'].split())
    assert {f'Provides-Extra: {o}' for o in ('lucene','numba','faiss','irds','bench','dev')} <= set(meta)
    assert 'rankwb = rankwb.apps.cli:program' in read('entry_points.txt')
