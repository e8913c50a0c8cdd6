"Indexes of FAISS: made again to the byte, searched alone as in a batch, with what FAISS itself finds; indexes of others; and none without FAISS"
import json, os, subprocess, sys
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest
from rankwb.core.data import Docs
from rankwb.core.pipelines import parse
from rankwb.retrieval import approximate as module
from rankwb.retrieval.approximate import Faiss, FaissFile, recall
from rankwb.retrieval.dense import Dense
from rankwb.retrieval.indexes import Binary, Exact, Int8
from rankwb.retrieval.nearest import definition, nearest
from rankwb.retrieval.vectors import Vectors, unit
from test_vectors import Toy

faiss = pytest.importorskip('faiss')
rng = np.random.default_rng(0)
centres = rng.standard_normal((40,32))
D,Q = (unit(centres[rng.integers(40, size=n)]+.5*rng.standard_normal((n,32))).astype(np.float32) for n in (3000,60))
vectors = Vectors(D, similarity='cosine')
factories = ['Flat','HNSW16','HNSW16,SQ8','IVF16,Flat','IVF16,SQ8','PQ8x4','IVF16,PQ8x4','OPQ8,IVF16,PQ8x4','PQ16x4fs','PCA16,Flat','NSG16','SQfp16']

@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch): monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))

@pytest.fixture(scope='module')
def made(tmp_path_factory):
    "Index → the folder where it is"
    folders = {}
    def get(index):
        if index.made not in folders:
            folders[index.made] = tmp_path_factory.mktemp('index')
            index.make(vectors, folders[index.made])
        return folders[index.made]
    return get

def same(a, b): return all(np.array_equal(x, y) for x,y in zip(a, b))

@pytest.mark.parametrize('factory', factories)
def test_factory(factory, made, tmp_path):
    "FAISS finds the same documents when it is used without us; each with its exact score; alone as in a batch; from a file that is the same again"
    index = Faiss(factory)
    search = index.open(vectors, made(index))
    got = search(Q, 10)
    theirs = faiss.read_index(str(made(index)/'index.faiss'))
    S,I = theirs.search(Q, 10)
    assert np.mean([len(set(a)&set(b)) for a,b in zip(got[0], I)])>9.8 # the last of them may nearly tie
    for rows,scores,q in zip(*got, Q):
        found = rows[rows>=0]
        assert np.array_equal(scores[:len(found)], definition(q, D[found])) and (np.diff(scores[:len(found)])<=0).all()
    assert all(same(search(Q[i:i+1], 10), [o[i:i+1] for o in got]) for i in range(0, 60, 7))
    assert same(search(Q[::-1], 10), [o[::-1] for o in got])
    index.make(vectors, tmp_path)
    assert (tmp_path/'index.faiss').read_bytes()==(made(index)/'index.faiss').read_bytes()
    raw = replace(index, refine=0).open(None, made(index))(Q, 10)
    assert (raw[0]==I).mean()>.98
    np.testing.assert_allclose(raw[1][raw[0]>=0], S[raw[0]>=0], atol=1e-3)
    many = replace(index, refine=50).open(vectors, made(index))(Q, 10)
    if 'IVF' not in factory and factory!='PCA16,Flat': assert np.isin(nearest(Q, D, 10)[0], many[0]).mean()>.99

def test_process_settings_stay(made):
    "What FAISS is told for the time of a search is undone, also after an error"
    was = faiss.omp_get_max_threads(),faiss.cvar.distance_compute_blas_threshold
    Faiss('Flat').open(vectors, made(Faiss('Flat')))(Q, 3)
    with pytest.raises(ValueError): Faiss('IVF5000,Flat').make(vectors, Path('nowhere'))
    assert (faiss.omp_get_max_threads(),faiss.cvar.distance_compute_blas_threshold)==was

def test_another_machine_would_say_the_same(tmp_path):
    "Other numbers of threads in the process give the same file"
    code = '''
import sys, numpy as np
from pathlib import Path
from rankwb.retrieval.approximate import Faiss
from rankwb.retrieval.vectors import Vectors
D = np.random.default_rng(1).standard_normal((2000,24)).astype(np.float32)
for name in ('HNSW16','IVF16,PQ6x4'):
    (at := Path(sys.argv[1])/name).mkdir(parents=True)
    Faiss(name, sample=1500).make(Vectors(D, similarity='dot'), at)
'''
    for n in ('1','2'): subprocess.run([sys.executable, '-c', code, tmp_path/n], check=True, capture_output=True, env={**os.environ, 'OMP_NUM_THREADS':n, 'OPENBLAS_NUM_THREADS':n})
    for name in ('HNSW16','IVF16,PQ6x4'): assert len({(tmp_path/n/name/'index.faiss').read_bytes() for n in ('1','2')})==1

def test_seed_and_sample(tmp_path):
    "The seed says which vectors train"
    files = set()
    for i,kw in enumerate((dict(seed=0), dict(seed=1), dict(seed=0, sample=999))):
        (tmp_path/str(i)).mkdir()
        Faiss('IVF16,Flat', **{'sample':1000} | kw).make(vectors, tmp_path/str(i))
        files.add((tmp_path/str(i)/'index.faiss').read_bytes())
    assert len(files)==3

def test_fewer_than_k(made):
    "What FAISS calls row -1 is no document"
    index = Faiss('IVF16,Flat')
    rows,scores = index.open(vectors, made(index))(Q, 2900)
    assert ((rows<0)==np.isneginf(scores)).all() and (rows<0).any() and all(len(set(r[r>=0]))==(r>=0).sum() for r in rows)
    docs = Docs.from_dict({f'd{i}': f'w{i} w{i%5}' for i in range(40)})
    run = Dense(docs, Toy(), 'IVF4,Flat', k=40)([f'w{i}' for i in range(9)])
    sizes = [len(r) for r in run]
    assert max(sizes)<40 and all(len(set(r.ids))==len(r) and np.isfinite(r.scores).all() for r in run)
    assert [len(r) for r in Dense(docs, Toy(), 'Flat', k=1000)(['w1'])]==[40]

def test_recall_by_hand(made):
    index = Faiss('IVF16,Flat')
    exact = nearest(Q, D, 10)[0]
    table = recall(index, vectors, made(index), Q, (1,10), nprobe=(1,4,16))
    for row in table.itertuples():
        found = replace(index, nprobe=row.nprobe).open(vectors, made(index))(Q, 10)[0]
        assert row._3==np.mean([len(set(a)&set(b))/10 for a,b in zip(exact, found)])
    assert table['recall@10'].is_monotonic_increasing and table['recall@10'].iloc[-1]==1 and table.compared.iloc[-1]==1 and table.compared.iloc[0]<.2
    with pytest.raises(ValueError, match='threads cannot be tried without making another index; expected one of efSearch, nprobe, refine'): recall(index, vectors, made(index), Q, threads=(1,2))
    assert recall(Exact(), vectors, None, Q, (5,))['recall@5'][0]==1

@pytest.mark.parametrize('similarity', ['dot','euclidean','manhattan'])
def test_similarities(similarity, tmp_path):
    "The metric is that of the model, and its scores have our sign"
    v = Vectors(D*rng.lognormal(0, .3, (3000,1)).astype(np.float32), similarity=similarity)
    Faiss('Flat').make(v, tmp_path)
    want = nearest(Q, v.array, 20, similarity)
    for refine,eps in ((2,0),(0,1e-3)):
        got = Faiss('Flat', refine=refine).open(v, tmp_path)(Q, 20)
        np.testing.assert_allclose(got[1], want[1], atol=eps)
    assert np.array_equal(Faiss('Flat', refine=2).open(v, tmp_path)(Q, 20)[0], want[0])

@pytest.mark.parametrize('factory,fields,why', [
    ('HNWS32', {}, r"FAISS cannot make 'HNWS32' of 32 dimensions with the similarity 'cosine': could not parse index string HNWS32"),
    ('LSH', {}, r"FAISS cannot make 'LSH' of 32 dimensions with the similarity 'cosine'"), ('PQ7', {}, r"FAISS cannot make (Faiss\()?'PQ7'"),
    ('IVF5000,Flat', {}, r'FAISS cannot make .*Number of training points \(3000\) should be at least as large as number of clusters \(5000\)'),
    ('HNSW16', dict(nprobe=3), r"Faiss\('HNSW16', nprobe=3\): nprobe is nothing that an index of this kind has"),
    ('Flat', dict(efSearch=3), 'efSearch is nothing')])
def test_wrong(factory, fields, why, tmp_path):
    with pytest.raises(ValueError, match=why) as e: Faiss(factory, **fields).make(vectors, tmp_path)
    assert '\n' not in str(e.value) and '/' not in str(e.value).split('FAISS cannot')[0]

@pytest.mark.parametrize('kw', [dict(nprobe=0), dict(efSearch=1.5), dict(refine=-1), dict(threads=0), dict(sample=True)])
def test_wrong_fields(kw):
    with pytest.raises(ValueError, match='expected an integer of at least'): Faiss('Flat', **kw)

def test_prints_and_parses():
    docs = Docs.from_dict({'a':'x'})
    for index in (Faiss('HNSW32'), Faiss('IVF16,PQ8x4', nprobe=3, refine=4, seed=2), Int8(candidates=9), Binary(50), FaissFile('some/where', efSearch=9)):
        dense = Dense(docs, 'all-MiniLM-L6-v2', index)
        if not index.ready: assert parse(repr(dense), docs)==dense
    assert repr(Dense(docs, 'all-MiniLM-L6-v2', 'HNSW32'))=="Dense('all-MiniLM-L6-v2', index='HNSW32')" and repr(Int8())=='Int8()' and repr(Binary(50))=='Binary(50)'
    assert Faiss('HNSW32', efSearch=5).digest!=Faiss('HNSW32').digest

def test_without_faiss(monkeypatch, tmp_path):
    "One sentence that says what to install; and nothing else needs FAISS"
    monkeypatch.setitem(sys.modules, 'faiss', None)
    docs = Docs.from_dict({'1':'x', '2':'y'})
    for f in (lambda: Dense(docs, Toy(), 'HNSW32')('x'), lambda: FaissFile(str(tmp_path)).open(), lambda: module.flat_vectors(tmp_path)):
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'rankwb\[faiss\]'$"): f()
    for kind in ('exact','int8','binary'): assert Dense(docs, Toy(), kind, k=1)('y')['q1'].ids==['2']
    code = "import sys; sys.modules['faiss']=None; import rankwb.retrieval.dense, rankwb.retrieval.approximate; print([m for m in ('torch','pandas','faiss') if sys.modules.get(m)])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout=='[]\n'

# Indexes of others

@pytest.fixture
def pyserini(tmp_path):
    "A folder as Pyserini writes it, whose rows are in another order than the documents"
    words = [f'w{i} w{i%5}' for i in range(60)]
    docs = Docs.from_dict({i: t for i,t in zip(['007','1','doc1','a b','é',*map(str, range(100, 155))], words)})
    order = rng.permutation(60)
    index = faiss.IndexFlatIP(24)
    index.add(unit(Toy().encode([words[i] for i in order])))
    (tmp_path/'p').mkdir()
    faiss.write_index(index, str(tmp_path/'p'/'index'))
    (tmp_path/'p'/'docid').write_text(''.join(f'{docs.ids[int(i)]}\n' for i in order), encoding='utf-8')
    return docs,tmp_path/'p'

def test_index_of_pyserini(pyserini, monkeypatch):
    "Rows of the index are the documents with its ids; nothing is encoded but the questions; its vectors can be taken over"
    docs,folder = pyserini
    asked = [f'w{i} w{i%5}' for i in range(12)]
    want = Dense(docs, Toy(), dtype='float32', k=7)(asked)
    with monkeypatch.context() as m:
        kinds,encode = [],Toy.encode
        m.setattr(Toy, 'encode', lambda self, texts, kind='query', what='': kinds.append(kind) or encode(self, texts, kind))
        dense = Dense(docs, Toy(), FaissFile(str(folder)), k=7)
        got = dense(asked)
    assert kinds in ([],['query'])
    for a,b in zip(got, want):
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)
        assert a.ids[0]==b.ids[0]
    taken = Dense(docs, Toy(), vectors=str(folder), dtype='float32', k=7)(asked)
    assert [r.ids[0] for r in taken]==[r.ids[0] for r in want]
    with pytest.raises(ValueError, match='the index is in a folder already'): dense.save(folder/'x')

def test_index_of_pyserini_refused(pyserini):
    docs,folder = pyserini
    dense = lambda docs=docs, enc=Toy(): Dense(docs, enc, FaissFile(str(folder)))('w1')
    with pytest.raises(ValueError, match="another metric than 'euclidean'"): dense(enc=Toy('euclidean'))
    with pytest.raises(ValueError, match='the index has 24 dimensions, the queries 7: they are of another model'): dense(enc=Toy(size=7))
    with pytest.raises(ValueError, match='60 vectors for 59 documents'): dense(docs[1:])
    with pytest.raises(KeyError, match="'007' is not an id"): dense(Docs.from_dict({**{i:'' for i in docs.ids.to_pylist() if i!='007'}, 'new':''}))
    ids = (folder/'docid').read_text().splitlines()
    (folder/'docid').write_text('\n'.join(ids[1:]))
    with pytest.raises(ValueError, match='60 vectors but 59 ids in docid'): dense()
    (folder/'docid').write_text('\n'.join(ids))
    (folder/'index').write_bytes((folder/'index').read_bytes()[:100])
    with pytest.raises(ValueError, match='is no index of FAISS'): dense()

def test_vectors_outlive_their_index(pyserini):
    "The memory of a mapped index stays while an array looks into it"
    import gc
    a = module.flat_vectors(pyserini[1])[3:]
    b = a.copy()
    gc.collect()
    assert np.array_equal(a, b) and not a.flags.writeable
    coded = faiss.index_factory(24, 'PQ4x4')
    coded.train(b)
    coded.add(b)
    faiss.write_index(coded, str(pyserini[1]/'index'))
    with pytest.raises(ValueError, match='IndexPQ holds codes and no vectors; search it as it is: index=FaissFile'): module.flat_vectors(pyserini[1])
