"Exact search against sorting by the definition, where floats make it hard; vectors that are kept, taken over and refused; ids in every kind of index"
import gc, json, os, subprocess, sys, threading
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
import numpy as np, pyarrow as pa, pytest
from rankwb.core.data import Docs, Queries
from rankwb.core.runs import Run
from rankwb.retrieval import indexes, nearest as module
from rankwb.retrieval.dense import Dense
from rankwb.retrieval.indexes import Binary, Exact, Index, Int8, bits, products, quantized, signs
from rankwb.retrieval.nearest import _fill_on, _Sieve, approximation, definition, floats, nearest, slack
from rankwb.retrieval.keeping import encoded
from rankwb.retrieval.vectors import Vectors, unit

rng = np.random.default_rng(0)

@dataclass(frozen=True)
class Toy:
    "An encoder that needs no files: a random vector for each word, and their sum"
    similarity:str = 'cosine'
    size:int = 24
    prompt:str = ''
    seed:int = 0
    @property
    def config(self): return dict(prompts=dict(query=self.prompt, doc=''), similarity=self.similarity, dimensions=None)
    @property
    def digest(self): return blake2b(repr(self).encode(), digest_size=32).hexdigest()
    found = (None,'a test')
    def _word(self, w): return np.random.default_rng(int.from_bytes(blake2b(f'{self.seed} {w}'.encode(), digest_size=4).digest(), 'big')).standard_normal(self.size)
    def encode(self, texts, kind='query', what=''): return np.array([sum(map(self._word, (t or ' ').split(' '))) for t in texts], np.float32).reshape(-1, self.size)

def ranking(Q, D, k, similarity='dot'):
    "The definition, and nothing else"
    S = np.stack([definition(q, D, similarity) for q in np.asarray(Q, np.float32)])
    rows = np.argsort(-S, axis=1, kind='stable')[:,:k]
    return rows,np.take_along_axis(S, rows, 1)

def same(got, want):
    assert got[0].dtype==np.int32 and got[1].dtype==np.float32
    assert np.array_equal(got[0], want[0]) and np.array_equal(got[1], want[1])

def near_ties(n, d, dtype=np.float32):
    "Vectors whose scores differ in the last digits, and copies among them"
    base = unit(rng.standard_normal((1,d)))
    D = (base + rng.choice([0, 1e-8, 1e-7, 1e-6], (n,1))*rng.standard_normal((n,d))).astype(dtype)
    D[rng.integers(n, size=n//4)] = D[rng.integers(n, size=n//4)]
    return np.concatenate([base, -base, rng.standard_normal((3,d))]).astype(np.float32),D

hard = { # queries and documents
    'any': lambda: (rng.standard_normal((40,48)), rng.standard_normal((9000,48)).astype(np.float16)),
    'ties by the million': lambda: (rng.integers(-3, 4, (17,8)), rng.integers(-3, 4, (9000,8)).astype(np.float16)),
    'near ties': lambda: near_ties(9000, 48), 'near ties, float16': lambda: near_ties(9000, 48, np.float16),
    'one document many times': lambda: (rng.standard_normal((5,32)), np.tile(rng.standard_normal((1,32)).astype(np.float32), (30_000,1))),
    'lengths of all sizes': lambda: (rng.standard_normal((5,16))*rng.lognormal(0, 5, (5,1)), (rng.standard_normal((9000,16))*rng.lognormal(0, 5, (9000,1))).astype(np.float32)),
    'huge and tiny': lambda: (np.array([[1e18,1,1e-18],[1e-30,1e-30,1e-30],[0,0,0]]), (rng.standard_normal((500,3))*10.**rng.integers(-30, 18, (500,3))).astype(np.float32)),
    'zeros': lambda: (np.zeros((2,4)), np.zeros((50,4), np.float32)), 'one': lambda: (np.ones((1,1)), np.ones((1,1), np.float16)),
    'cancelling': lambda: (np.tile([1e4,-1e4], (3,50))+rng.standard_normal((3,100)), (np.ones((3000,100))+1e-4*rng.standard_normal((3000,100))).astype(np.float32))}

@pytest.mark.parametrize('case', hard)
@pytest.mark.parametrize('similarity', ['dot','euclidean','manhattan'])
def test_exact(case, similarity, monkeypatch):
    "The ranking by the definition, whatever the blocks are; alone, among others, and by torch"
    Q,D = hard[case]()
    Q = Q.astype(np.float32)
    for k in (1,10,150):
        want = ranking(Q, D, k, similarity)
        same(nearest(Q, D, k, similarity), want)
        same(nearest(Q[-1:], D, k, similarity), [o[-1:] for o in want])
    monkeypatch.setattr(module, '_rows', 37)
    monkeypatch.setattr(module, '_area', 500)
    monkeypatch.setattr(module, '_group', 3)
    monkeypatch.setattr(module, '_many', 20)
    some = Q[:4],D[:1500]
    same(nearest(*some, 10, similarity), ranking(*some, 10, similarity))
    if similarity=='dot' or case!='huge and tiny':
        sieves = [_Sieve(10, s, partial(lambda q, rows: definition(q, D[rows], similarity), q)) for q,s in zip(Q, slack(Q, np.linalg.norm(floats(D).astype(float), axis=1).max(), similarity))]
        if len(D)>=10:
            _fill_on('cpu', sieves, Q, D, similarity)
            assert np.array_equal([s.best(10)[0] for s in sieves], ranking(Q, D, 10, similarity)[0])

def test_bound():
    "No approximation is further from the truth than half the slack, with the truth in exact fractions"
    from fractions import Fraction
    for _ in range(20):
        d = int(rng.integers(1, 400))
        Q,D = (rng.standard_normal((n,d)).astype(np.float32)*np.float32(10.**rng.integers(-6, 6)) for n in (1,40))
        exact = [sum(Fraction(float(a))*Fraction(float(b)) for a,b in zip(Q[0], x)) for x in D]
        for s in (approximation(Q, D)[0], definition(Q[0], D)):
            assert max(abs(Fraction(float(a))-b) for a,b in zip(s, exact))*2 < slack(Q, np.linalg.norm(D, axis=1).max())[0]

def test_rows_do_not_meet():
    "The score of a row is the same in any company, so nothing rests on how numpy walks through a matrix"
    D,q = rng.standard_normal((700,131)).astype(np.float32),rng.standard_normal(131).astype(np.float32)
    for f in ('dot','euclidean','manhattan'):
        S = definition(q, D, f)
        for n in (1,2,3,8,9,64,129): assert np.array_equal(np.concatenate([definition(q, D[i:i+n], f) for i in range(0, 700, n)]), S)

def test_memory():
    "A search takes the memory of some blocks and not of the matrix of scores"
    code = '''
import resource, sys, numpy as np
from rankwb.retrieval.nearest import nearest
D,Q = np.random.default_rng(0).standard_normal((200_000,32), dtype=np.float32).astype(np.float16),np.ones((512,32), np.float32)
nearest(Q[:2], D[:9000], 10)
was = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
nearest(Q, D, 10, norm=20.)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss-was)//1024)
'''
    assert int(subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout)<120 # all scores would be 410 MB

@pytest.mark.parametrize('torch', [False,True])
def test_products(torch, monkeypatch):
    "Products of 8-bit numbers are exact, of all shapes, by torch and without"
    if torch: pytest.importorskip('torch')
    else: monkeypatch.delitem(sys.modules, 'torch', raising=False)
    for m,n,d in ((1,1,1),(1,700,7),(5,33,64),(17,129,384),(3,50,3000)):
        A,B = (rng.integers(-127, 128, (o,d), dtype=np.int8) for o in (m,n))
        A[0],B[0] = 127,-127
        assert np.array_equal(products(A, B), A.astype(np.int64)@B.astype(np.int64).T)

@pytest.mark.parametrize('case', ['any','near ties, float16','one document many times','lengths of all sizes','zeros','one','cancelling'])
def test_int8_is_exact(case, tmp_path, monkeypatch):
    "8 bits first, and the same ranking"
    Q,D = hard[case]()
    v = Vectors(D, similarity='dot')
    Int8().make(v, tmp_path)
    search = Int8().open(v, tmp_path)
    for k in (1,10,150): same(search(Q, k), ranking(Q, v.array, min(k, len(D))))
    monkeypatch.setattr(indexes, '_area', 1000)
    monkeypatch.setattr(indexes, '_rows', 64)
    same(search(Q[:2], 5), ranking(Q[:2], v.array, min(5, len(D))))

def test_int8_candidates(tmp_path):
    "The candidates are those with the greatest integer products, and the best of them come out in the order of the definition"
    D,q = rng.standard_normal((3000,20)).astype(np.float32),rng.standard_normal((1,20)).astype(np.float32)
    v = Vectors(D, similarity='dot')
    Int8().make(v, tmp_path)
    rows,scores = Int8(candidates=40).open(v, tmp_path)(q, 30)
    (c,s,_),(b,*_) = quantized(D),quantized(q)
    near = (b.astype(np.int64)@c.astype(np.int64).T)[0].astype(np.float32)*s
    some = np.sort(np.argsort(-near, kind='stable')[:40])
    want = some[np.argsort(-definition(q[0], D[some]), kind='stable')][:30]
    assert np.array_equal(rows[0], want) and np.array_equal(scores[0], definition(q[0], D[want]))
    assert Int8(candidates=7).open(v, tmp_path)(q, 30)[0].shape==(1,7)

def test_binary_by_hand(tmp_path):
    "Candidates by differing bits, equal distances in the order of the documents; then the query times the signs"
    D,Q = rng.standard_normal((5000,70)).astype(np.float32),rng.standard_normal((9,70)).astype(np.float32)
    v = Vectors(D, similarity='dot')
    Binary().make(v, tmp_path)
    got = Binary(candidates=200).open(None, tmp_path)(Q, 50)
    for i,q in enumerate(Q):
        some = np.sort(np.argsort(((D>0)!=(q>0)).sum(1), kind='stable')[:200])
        s = definition(q, np.where(D[some]>0, 1, -1).astype(np.float32))
        at = np.argsort(-s, kind='stable')[:50]
        assert np.array_equal(got[0][i], some[at]) and np.array_equal(got[1][i], s[at])
    same(Binary(candidates=200).open(None, tmp_path)(Q[3:4], 50), [o[3:4] for o in got])
    assert Binary(candidates=30).open(None, tmp_path)(Q, 50)[0].shape==(9,30)

def test_binary_as_faiss_and_bpr(tmp_path):
    "FAISS' binary index finds the same distances, and the rule of BPR's own code (bpr/index.py) over them gives the same scores"
    faiss = pytest.importorskip('faiss')
    D,Q = rng.standard_normal((4000,64)).astype(np.float32),rng.standard_normal((6,64)).astype(np.float32)
    codes,asked = (np.packbits(np.where(o>0, 1, 0), axis=1) for o in (D,Q))
    index = faiss.IndexBinaryFlat(64)
    index.add(codes)
    distances,ids = index.search(asked, 4000)
    v = Vectors(D, similarity='dot')
    Binary().make(v, tmp_path)
    words = np.load(tmp_path/'bits.npy')
    assert np.array_equal(np.sort(indexes.differing(bits(Q), words), axis=1), distances)
    passages = np.unpackbits(codes[ids.ravel()]).reshape(6, 4000, -1).astype(np.float32)*2-1
    theirs = -np.sort(-np.einsum('ijk,ik->ij', passages, Q), axis=1)
    np.testing.assert_allclose(Binary(candidates=4000).open(None, tmp_path)(Q, 4000)[1], theirs, atol=1e-4)

def test_bits():
    x = rng.standard_normal((50,72)).astype(np.float32)
    assert np.array_equal(np.ascontiguousarray(bits(x).T).view(np.uint8)[:,:9], np.packbits(x>0, axis=1))
    assert np.array_equal(signs(bits(x), 72), np.where(x>0, 1, -1))

# Ids

odd = ['1','007','doc1','a b','é','x'*300,'1234567890','0','-1','doc','"quoted"',"d'","\u4e2d\u6587",'a\tb','None','nan',' 1']
texts = [f'word{i} shared{i%3} text' for i in range(len(odd))]
kinds = ['exact','int8','binary','Flat','HNSW8','IVF2,Flat','SQ8']

@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch): monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))

@pytest.mark.parametrize('kind', kinds)
def test_ids(kind, tmp_path):
    "Ids go through index, folder, search and TREC file as they are; each document finds itself, the first one too; there are as many hits as documents"
    if kind[0].isupper(): pytest.importorskip('faiss')
    docs = Docs.from_dict(dict(zip(odd, texts)))
    dense = Dense(docs, Toy(), kind if kind[0]!='I' else indexes.stage_types['Faiss'](kind, nprobe=2), k=50)
    queries = Queries.from_dict({f'q{i}': t for i,t in enumerate(texts)})
    run = dense(queries)
    assert [r.ids[0] for r in run]==odd and all(sorted(r.ids)==sorted(odd) for r in run)
    dense.save(tmp_path/'index')
    again = Dense.read(tmp_path/'index', docs, Toy(), k=50)
    assert again(queries)==run and again.fingerprint==dense.fingerprint and again==dense
    fine = [i for i,o in enumerate(odd) if not any(c.isspace() for c in o)]
    few = Dense(docs.take(np.array(fine)), Toy(), 'exact', k=50)(queries)
    few.save(tmp_path/'run.trec')
    assert [r.ids for r in Run.read(tmp_path/'run.trec')]==[r.ids for r in few]

@pytest.mark.parametrize('kind', kinds)
def test_each_query_gets_its_own(kind):
    "Alone, in any batch and in any order of documents"
    if kind[0].isupper(): pytest.importorskip('faiss')
    words = [f'w{i}' for i in range(40)]
    docs = Docs.from_dict({f'd{i}': ' '.join(rng.choice(words, 5)) for i in range(300)})
    dense = Dense(docs, Toy(), kind, k=10)
    asked = [' '.join(rng.choice(words, 3)) for _ in range(25)]
    run = dense(asked)
    for i,t in enumerate(asked):
        one = dense(t)['q1']
        assert one.ids==run[i].ids and np.array_equal(one.scores, run[i].scores)
    if kind in ('exact','int8'):
        turned = Dense(docs[::-1], Toy(), kind, k=10)(asked)
        assert all(np.array_equal(a.scores, b.scores) for a,b in zip(run, turned))

def test_nothing_asked():
    docs = Docs.from_dict({'a':'x', 'b':'y'})
    dense = Dense(docs, Toy(), k=5)
    with pytest.warns(UserWarning, match=r"finds nothing for 2 of 3 queries, whose text is empty: 'q1', 'q3'$") as told: run = dense(['', 'x', ' \n'])
    assert [r.ids for r in run]==[[],['a','b'],[]] and len(told)==1
    with pytest.warns(UserWarning, match='for 1 of 1 queries'): assert [len(r) for r in dense([''])]==[0]
    assert len(dense([]))==0

# Kept, taken over, refused

def test_stale(tmp_path):
    "Vectors belong to what was encoded and not to a name: other documents under the same name, in the same folder, get their own"
    one,two = (Docs.from_dict({'1': a, '2': b}, name='corpus') for a,b in (('x','y'),('y','x')))
    kw = dict(folder=str(tmp_path), k=1)
    assert [Dense(d, Toy(), **kw)('x')['q1'].ids for d in (one,two)]==[['1'],['2']]
    assert Dense(one, Toy(seed=1), **kw).doc_vectors.digest!=Dense(one, Toy(), **kw).doc_vectors.digest
    more = Docs.from_dict({'1':'x', '2':'y', '3':'z'}, name='corpus')
    assert Dense(more, Toy(), **kw)('z')['q1'].ids==['3']

def test_every_kind_refuses(tmp_path):
    "A folder is refused if anything in it, or asked of it, differs; the message names the item, what is there and what is expected"
    docs = Docs.from_dict({'1':'x y', '2':'y z', '3':'z x'})
    Dense(docs, Toy(), 'int8').save(tmp_path/'i')
    read = partial(Dense.read, tmp_path/'i')
    for args,kw,why in (((docs[:2],Toy()), {}, r'i is not what is asked for: docs is \w{12}…, expected \w{12}…\. Ask'), ((docs,Toy(seed=3)), {}, 'seed is 0, expected 3'),
                        ((docs,Toy(prompt='q ')), {}, "query prompt is '', expected 'q '; prompt is '', expected 'q '"), ((docs,Toy(similarity='dot')), {}, "similarity is 'cosine', expected 'dot'"),
                        ((docs,Toy()), dict(dtype='float32'), "dtype is 'float16', expected 'float32'"), ((docs,Toy()), dict(index='exact'), r"index is 'Int8\(\)', expected 'Exact\(\)'"),
                        ((docs,Toy()), dict(vectors=np.eye(3, 24)), 'vectors is None, expected')):
        with pytest.raises(ValueError, match=why): read(*args, **kw)
    assert read(docs, Toy(), 'int8', k=2)('x')==Dense(docs, Toy(), k=2)('x')
    assert read(docs, Toy(), Int8(candidates=2)).index==Int8(candidates=2)
    m = tmp_path/'i'/'manifest.json'
    was = m.read_text()
    for now,why in (('{', r'manifest.json: .*make the folder again'), (was.replace('version 1', 'version 0'), "the format is 'dense index of rankwb, version 0'"), (None, 'no manifest.json there, so this is half-written')):
        m.unlink() if now is None else m.write_text(now)
        with pytest.raises((ValueError,FileNotFoundError), match=why): read(docs, Toy())
    m.write_text(was)
    (tmp_path/'i'/'codes.npy').write_bytes((tmp_path/'i'/'codes.npy').read_bytes()[:-1])
    with pytest.raises(ValueError, match=r'codes.npy: 199 bytes where 200 were written'): read(docs, Toy())

def test_interrupted_save(tmp_path, monkeypatch):
    "What was there stays until the new folder is whole"
    docs = Docs.from_dict({'1':'x', '2':'y'})
    Dense(docs, Toy()).save(tmp_path/'i')
    other = Dense(docs, Toy(), 'int8')
    other('x')
    def stop(*a): raise KeyboardInterrupt
    with monkeypatch.context() as m:
        m.setattr('shutil.copyfile', stop)
        with pytest.raises(KeyboardInterrupt): other.save(tmp_path/'i')
    assert Dense.read(tmp_path/'i', docs, Toy()).index==Exact() and sorted(f.name for f in tmp_path.iterdir() if f.name!='cache')==['i']
    other.save(tmp_path/'i')
    assert Dense.read(tmp_path/'i', docs, Toy()).index==Int8()

def test_made_once(tmp_path, monkeypatch):
    "Documents are encoded once for all indexes; fields for searching share an index; an index that is half-written is made again"
    docs = Docs.from_dict({str(i): f'w{i}' for i in range(30)})
    kinds,encode = [],Toy.encode
    monkeypatch.setattr(Toy, 'encode', lambda self, texts, kind='query', what='': kinds.append(kind) or encode(self, texts, kind))
    made = []
    monkeypatch.setattr(Int8, 'make', lambda self, v, folder, was=Int8.make: made.append(self) or was(self, v, folder))
    for index in ('exact','int8',Int8(candidates=5),'binary'): Dense(docs, Toy(), index)('w3')
    assert kinds==['doc','query'] and made==[Int8()]
    def stop(self, v, folder):
        (folder/'codes.npy').write_bytes(b'half')
        raise KeyboardInterrupt
    docs = docs[::-1]
    with monkeypatch.context() as m:
        m.setattr(Int8, 'make', stop)
        with pytest.raises(KeyboardInterrupt): Dense(docs, Toy(), 'int8')('w3')
    assert Dense(docs, Toy(), 'int8', k=1)('w3')['q1'].ids==['3']

def test_two_processes_make_an_index(tmp_path):
    "Threads that need the same index at the same time all get it, and one is left"
    docs = Docs.from_dict({str(i): f'w{i}' for i in range(200)})
    want,got = Dense(docs, Toy(), k=5)('w3'),[]
    encoded(Toy(), docs, folder=tmp_path)
    threads = [threading.Thread(target=lambda: got.append(Dense(docs, Toy(), 'int8', k=5, folder=str(tmp_path))('w3'))) for _ in range(6)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert got==[want]*6 and len(list(tmp_path.glob('vectors/*/int8-*')))==1 and not list(tmp_path.glob('vectors/*/.*'))

@pytest.mark.parametrize('similarity', ['cosine','dot','euclidean'])
def test_given_vectors(similarity, tmp_path):
    "Vectors of others in another order and with more ids than documents are those of the documents, as if the model had made them"
    docs = Docs.from_dict({f'd{i}': f'w{i} w{i%7}' for i in range(60)})
    enc = Toy(similarity)
    order = rng.permutation(60)
    v = Vectors(np.concatenate([enc.encode([docs.texts()[i] for i in order]), rng.standard_normal((5,24))]), [f'd{i}' for i in order]+[f'other{i}' for i in range(5)])
    kw = dict(k=9, dtype='float32', folder=str(tmp_path))
    given,own = Dense(docs, enc, vectors=v, **kw),Dense(docs, enc, **kw)
    asked = [f'w{i}' for i in range(9)]
    for a,b in zip(given(asked), own(asked)):
        assert a.ids==b.ids
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-6)
    assert given.fingerprint!=own.fingerprint and given!=own
    v.array[:] = np.nan # another content is another address
    with pytest.raises(ValueError, match='not finite'): Dense(docs, enc, vectors=Vectors(v.array, v.ids), **kw)(asked)

@pytest.mark.parametrize('kind', ['exact','int8','binary','HNSW8'])
def test_other_width(kind, tmp_path):
    "Documents with vectors of another length than the queries' are of another model, also where the bits would fit"
    if kind[0].isupper(): pytest.importorskip('faiss')
    docs = Docs.from_dict({str(i): f'w{i}' for i in range(30)})
    dense = Dense(docs, Toy(), kind, vectors=rng.standard_normal((30,20)))
    with pytest.raises(ValueError, match='vectors of queries have 24 dimensions, those of documents 20; another model made them'): dense('w1')
    dense.save(tmp_path/'i')
    with pytest.raises(ValueError, match='have 24 dimensions, those of documents 20'): Dense.read(tmp_path/'i', docs, Toy())('w1')

def test_arrow_of_huggingface(tmp_path):
    "A folder of Hugging Face's datasets, with several files and batches, is mapped and read with its ids"
    datasets = pytest.importorskip('datasets')
    x = rng.standard_normal((50,6)).astype(np.float32)
    d = datasets.Dataset.from_dict(dict(docid=[f'd{i}' for i in range(50)], emb=x.tolist(), title=['']*50))
    d.save_to_disk(tmp_path/'hf', num_shards=3)
    assert Vectors.read(tmp_path/'hf')==Vectors(x, [f'd{i}' for i in range(50)])
    with pytest.raises(ValueError, match="which column holds the vector. It has docid, emb, title; say vector='…'"): Vectors.read(tmp_path/'hf', vector='vec')
    with pytest.raises(ValueError, match='expected lists of numbers'): Vectors.read(tmp_path/'hf', vector='title')

def test_opened_fast_and_mapped(tmp_path):
    "200,000 vectors are opened in a moment, and nothing is read that is not asked for"
    code = '''
import sys, time, resource, numpy as np
sys.path.insert(0, sys.argv[2])
from test_vectors import Toy
from rankwb.core.data import Docs
from rankwb.retrieval.dense import Dense
docs = Docs.read(sys.argv[1]+'/docs.arrow')
start,was = time.perf_counter(),resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
dense = Dense.read(sys.argv[1]+'/i', docs, Toy(size=128))
v = dense.doc_vectors.array
print(time.perf_counter()-start, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss-was)//1024, type(v).__name__, v.flags.writeable)
'''
    n = 200_000
    docs = Docs.from_dict({str(i): 'x' for i in range(n)})
    docs.save(tmp_path/'docs.arrow')
    Dense(docs, Toy(size=128), vectors=rng.standard_normal((n,128), dtype=np.float32)).save(tmp_path/'i')
    out = subprocess.run([sys.executable, '-c', code, tmp_path, os.path.dirname(__file__)], capture_output=True, text=True)
    seconds,mb,kind,writeable = out.stdout.split()
    assert float(seconds)<1 and int(mb)<30 and (kind,writeable)==('memmap','False'), out.stderr

def test_titles_and_instructions(monkeypatch):
    "Documents give the encoder their titles and queries their instructions, where its prompts have a place for them"
    seen = []
    class Asks(Toy):
        @property
        def config(self): return dict(prompts=dict(query='{instruction}: ', doc='', title='t '), similarity='cosine', dimensions=None)
        def encode(self, texts, kind='query', what='', titles=None, instructions=None):
            seen.append((kind, list(texts), titles and list(titles), instructions and list(instructions)))
            return super().encode([f'{a} {b}' for a,b in zip(titles or instructions or ['']*len(texts), texts)])
    docs = Docs.from_records([dict(id='1', title='A', text='x'), dict(id='2', title='', text='A\nx'), dict(id='3', title='A', text='x')])
    queries = Queries.from_records([dict(id='a', text='x', instruction='A'), dict(id='b', text='x', instruction='B'), dict(id='c', text='x', instruction='A')])
    run = Dense(docs, Asks(), k=1)(queries)
    assert seen==[('doc',['x','A\nx'],['A',''],None),('query',['x','x'],None,['A','B'])]
    assert run['a'].ids==['1'] and run['a'].scores[0]==run['c'].scores[0]>run['b'].scores[0]
