"What a page cannot show of the store: several processes, forks, SIGKILL, files that may not be written"
import multiprocessing as mp, os, random, signal, sqlite3, subprocess, sys, threading, time, warnings
import pytest
from rankwb.core.caching import Store, StoreError, address

posix = pytest.mark.skipif(os.name!='posix', reason='forks and signals')

def value(i):
    "10-20 KB that follow from `i` alone, so that every process can say what must be stored"
    return random.Random(i).randbytes(10_000+i%10_000)

def _share(path, seed, n, gate, out):
    "Write and read `n` values in an own order, in batches of several sizes; report what was wrong"
    try:
        store,ids,wrong,new = Store(path),list(range(n)),[],0
        random.Random(seed).shuffle(ids)
        gate.wait()
        for at in range(0, n, 7):
            some = ids[at:at+7]
            new += store.put_many({address('v', str(i)): value(i) for i in some}, stage=f'writer {seed}')
            found = store.get_many([address('v', str(i)) for i in random.Random(at).sample(range(n), 20)+some])
            wrong += [k for k,v in found.items() if v!=value(next(i for i in range(n) if address('v', str(i))==k))]
            if missing := [i for i in some if address('v', str(i)) not in found]: wrong.append(missing)
        out.put((new, wrong))
    except BaseException as e:
        out.put((0, [repr(e)]))
        raise

@pytest.mark.parametrize('start', ['fork','spawn'] if os.name=='posix' else ['spawn'])
def test_processes_share_keys(tmp_path, start):
    "Processes that open a new store at the same moment and put the same keys: each is stored once, none is lost"
    ctx,n = mp.get_context(start),120
    workers = 6 if start=='fork' else 3
    gate,out,path = ctx.Barrier(workers),ctx.Queue(),tmp_path/'s.sqlite'
    ps = [ctx.Process(target=_share, args=(path, i, n, gate, out)) for i in range(workers)]
    for p in ps: p.start()
    said = [out.get(timeout=120) for _ in ps]
    for p in ps: p.join()
    assert [w for _,w in said]==[[] for _ in ps]
    store = Store(path)
    assert sum(new for new,_ in said)==len(store)==n and store.verify()==[]
    store.close()

def test_threads_share_keys(tmp_path):
    "Threads of one process, each with its own connection"
    store,n,wrong = Store(tmp_path/'s.sqlite'),200,[]
    def work(seed):
        try:
            for i in random.Random(seed).sample(range(n), n):
                store.put(address(str(i)), value(i))
                if store.get(address(str(i)))!=value(i): wrong.append(i)
        except BaseException as e: wrong.append(e)
    threads = [threading.Thread(target=work, args=(s,)) for s in range(6)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert wrong==[] and len(store)==n and store.verify()==[]
    store.close()

def test_threads_share_memory():
    "A store in memory has one connection, which threads take in turns"
    store,wrong = Store(':memory:'),[]
    def work(seed):
        try: store.fetch([address(str(i)) for i in range(100)], lambda places: (value(i) for i in places))
        except BaseException as e: wrong.append(e)
    threads = [threading.Thread(target=work, args=(s,)) for s in range(4)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert wrong==[] and len(store)==100

@posix
@pytest.mark.filterwarnings('ignore:This process:DeprecationWarning')
def test_fork_with_open_connection(tmp_path):
    "A child that ends as usual, and with it what it inherited, leaves the parent's connection and the file alone"
    store = Store(tmp_path/'s.sqlite')
    store.put(address('parent'), b'parent')
    for i in range(5):
        pid = os.fork()
        if pid==0:
            ok = store.get(address('parent'))==b'parent' and store.put(address(f'child {i}'), b'child')
            if i%2: os._exit(not ok) # as multiprocessing ends a child
            try: sys.exit(not ok)
            finally:
                import gc
                from rankwb.core import caching
                caching._connections.clear()
                gc.collect() # as the end of an interpreter does
                os._exit(not ok)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])==0
        assert store.put(address(f'after {i}'), b'after')
        assert store.get(address(f'child {i}'))==b'child'
    assert len(store)==11 and store.verify()==[]
    store.close()

_writer = '''
import sys
from rankwb.core.caching import Store, address
sys.path.insert(0, sys.argv[2])
from test_caching import value
store,i = Store(sys.argv[1]),int(sys.argv[3])
while True:
    store.put_many({address('v', str(j)): value(j) for j in range(i, i+5)}, stage='writer')
    i += 5
    print(i, flush=True)
'''

@posix
def test_kill(tmp_path):
    "SIGKILL in a loop of puts, ten times: what was reported as put is there, batches are whole, the file is sound"
    path,here,seen = tmp_path/'s.sqlite',os.path.dirname(__file__),0
    for round_ in range(10):
        p = subprocess.Popen([sys.executable, '-c', _writer, path, here, str(seen)], stdout=subprocess.PIPE, text=True)
        for _ in range(random.Random(round_).randint(1, 12)): seen = int(p.stdout.readline())
        time.sleep(random.Random(round_).random()*.02)
        p.send_signal(signal.SIGKILL)
        seen = int((p.stdout.read().split() or [seen])[-1])
        assert p.wait()==-signal.SIGKILL
        store = Store(path)
        found = store.get_many([address('v', str(j)) for j in range(seen+10)])
        n = len(found)
        assert n in (seen, seen+5), (n, seen) # the batch that was being committed may be in, never a part of it
        assert all(found[address('v', str(j))]==value(j) for j in range(n))
        assert len(store)==n and store.verify()==[]
        with store._open() as db: assert db.execute('pragma integrity_check').fetchall()==[('ok',)]
        store.close()
        seen = n

def _change(path, sql):
    "Another program's hand in the file"
    db = sqlite3.connect(path)
    assert db.execute(sql).rowcount==1
    db.commit()
    db.close()

@pytest.mark.parametrize('sql', ["update blobs set value=zeroblob(length(value)) where id=2", "delete from blobs where id=2",
    "update blobs set value=value||x'00' where id=2", "update entries set digest=x'00' where id=2",
    f"update entries set key=x'{'0'*64}' where id=2"])
def test_damage_is_never_returned(tmp_path, sql):
    "Whatever is changed in the file, the value is missing or reported, and not given out"
    store,keys = Store(tmp_path/'s.sqlite'),[address(str(i)) for i in range(3)]
    store.put_many({k: value(i) for i,k in enumerate(keys)}, stage='BM25(k1=0.9, b=0.4)')
    store.close()
    _change(store.path, sql)
    assert len(store.verify())==1
    moved = 'set key' in sql
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        found = store.get_many(keys+['0'*64])
    assert found=={keys[0]:value(0), keys[2]:value(2)}
    assert len(told)==1 and ('0'*64 if moved else keys[1]) in str(told[0].message) and 'BM25(k1=0.9, b=0.4)' in str(told[0].message)
    assert store.fetch(keys, lambda places: [value(i) for i in places])==[value(i) for i in range(3)]
    assert store.verify()==[]
    store.close()

def test_damaged_file(tmp_path):
    "A file with overwritten pages is refused in one sentence that says what to do"
    store = Store(tmp_path/'s.sqlite')
    store.put_many({address(str(i)): value(i) for i in range(50)})
    store.close()
    data = bytearray(store.path.read_bytes())
    data[4096:20*4096] = b'\xff'*19*4096
    store.path.write_bytes(data)
    with pytest.raises(StoreError, match='s.sqlite: its file is damaged; delete it'): store.get_many([address(str(i)) for i in range(50)])
    with pytest.raises(StoreError, match='its file is damaged'): store.verify()
    store.close()

_stranger = '''
import os, sys
from rankwb.core.caching import Store, StoreError, address
if os.geteuid()==0: os.setuid(65534)
store = Store(sys.argv[1])
assert not store.writable and store.get(address('a'))==b'1' and len(store)==1 and store.verify()==[]
try: store.put(address('b'), b'2')
except StoreError as e: print(e)
try: Store(os.path.dirname(sys.argv[1])+'/new/s.sqlite').put(address('b'), b'2')
except StoreError as e: print(e)
'''

@posix
def test_read_only(tmp_path):
    "A store in a folder that may not be written is read; putting says what to do"
    store = Store(tmp_path/'ro'/'s.sqlite')
    store.put(address('a'), b'1')
    with store._open() as db: db.execute('update entries set used=used-7200') # a read would note its time, if it could
    store.close()
    for f,mode in ((store.path,0o444), (store.path.parent,0o555), *((p,0o755) for p in store.path.parents[1:4])): os.chmod(f, mode)
    try: out = subprocess.run([sys.executable, '-c', _stranger, store.path], capture_output=True, text=True)
    finally: os.chmod(store.path.parent, 0o755)
    assert out.returncode==0, out.stderr
    assert 'its file cannot be written; give it write permission, or use another file: Store(path)' in out.stdout
    assert 'set XDG_CACHE_HOME' in out.stdout

def test_waits_for_writer(tmp_path):
    "A writer waits for another one, and gives up with one sentence when that takes too long"
    store = Store(tmp_path/'s.sqlite', wait=.3)
    store.put(address('a'), b'1')
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute('begin immediate')
    assert store.get(address('a'))==b'1' # readers do not wait
    with pytest.raises(StoreError, match='another process has been writing'): store.put(address('b'), b'2')
    other.execute('rollback')
    assert store.put(address('b'), b'2')
    other.close()
    store.close()

def test_default_place(tmp_path, monkeypatch):
    "XDG_CACHE_HOME moves the store"
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    store = Store()
    assert store.path==tmp_path/'rankwb'/'store.sqlite'
    assert store.put(address('a'), b'1') and store.path.exists()
    store.close()
