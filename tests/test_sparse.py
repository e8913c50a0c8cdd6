"Learned sparse retrieval: every kind of model against sentence-transformers, against the formulas and the code of the authors, and against Lucene's impact index"
import importlib.util, json, subprocess, sys, types
from pathlib import Path
import numpy as np, pytest
from rankwb.core.data import Docs, Queries
from rankwb.core.pipelines import parse
from rankwb.core.runs import Run
from rankwb.retrieval import checkpoints, sparse as module
from rankwb.retrieval.expansion import SparseEncoder
from rankwb.retrieval.sparse import Sparse, impacts, term_weights
from small import alone, bert, few, ids, wordpiece, words # noqa: F401, `alone` is a fixture

pytest.importorskip('sentence_transformers')
rng = np.random.default_rng(0)
texts = [' '.join(rng.choice(words, n)) for n in rng.integers(1, 30, 40)]+['', 'list', 'list', 'Ärger – naïve 中文', ' \n', 'sort '*100, 'a key, a key. Key!']

def tokenizer(): return wordpiece(40)
def config(): return bert(tokenizer())

@pytest.fixture(scope='session')
def network(tmp_path_factory):
    "A random masked language model as transformers saves it, in which most logits are negative"
    import torch
    from transformers import BertForMaskedLM
    torch.manual_seed(0)
    net,folder = BertForMaskedLM(config()),tmp_path_factory.mktemp('network')
    net.cls.predictions.bias.data -= 1
    for o in (net,tokenizer()): o.save_pretrained(folder)
    return str(folder)

@pytest.fixture(scope='session')
def build(network, tmp_path_factory):
    "A function from the name of a case to the folder of its model"
    import torch
    from sentence_transformers import SparseEncoder as Model
    from sentence_transformers.sentence_transformer.modules import Pooling
    from sentence_transformers.sparse_encoder.modules import Router, SparseAutoEncoder, SparseStaticEmbedding, SpladePooling, Transformer
    made = {}
    def splade(strategy='max', activation='relu'): return [Transformer(network, transformer_task='fill-mask'), SpladePooling(strategy, activation)]
    def routed(weight): return [Router.for_query_document([SparseStaticEmbedding(tokenizer(), weight=weight)], splade())]
    def csr():
        torch.manual_seed(1)
        return [Transformer(network), Pooling(32, 'mean'), SparseAutoEncoder(32, 64, k=9)]
    def distilled():
        from transformers import DistilBertConfig, DistilBertForMaskedLM
        torch.manual_seed(2)
        net,folder = DistilBertForMaskedLM(DistilBertConfig(vocab_size=len(tokenizer()), dim=32, hidden_dim=48, n_layers=2, n_heads=4, max_position_embeddings=40, initializer_range=.3)),tmp_path_factory.mktemp('distilled')
        for o in (net,tokenizer()): o.save_pretrained(folder)
        return [Transformer(str(folder), transformer_task='fill-mask'), SpladePooling()]
    idf = torch.rand(len(tokenizer()), generator=torch.Generator().manual_seed(0))
    known = {'max': (splade(),{}), 'sum': (splade('sum'),{}), 'two logarithms': (splade(activation='log1p_relu'),{}), 'the heaviest': (splade(),dict(max_active_dims=6)),
             'prompts': (splade(),dict(prompts=dict(query='sort key: ', document='file: '))), 'cosine': (splade(),dict(similarity_fn_name='cosine')),
             'idf': (routed(idf),{}), 'bag of words': (routed(None),{}), 'autoencoder': (csr(),{}), 'DistilBERT': (distilled(),{})}
    def make(case):
        if case=='network': return network
        if case not in made:
            modules,kw = known[case]
            Model(modules=modules, device='cpu', **kw).save(made.setdefault(case, str(tmp_path_factory.mktemp('model'))), create_model_card=False)
        return made[case]
    return make

cases = ['max','sum','two logarithms','the heaviest','prompts','cosine','idf','bag of words','autoencoder','DistilBERT','network']

@pytest.mark.parametrize('case', cases)
def test_equals_sentence_transformers(build, case):
    "The library's own weights, one text at a time and in its own batches"
    from sentence_transformers import SparseEncoder as Model
    enc,st = SparseEncoder(build(case), device='cpu'),Model(build(case), device='cpu')
    for kind,encode in dict(query=st.encode_query, doc=st.encode_document).items():
        mine = enc.encode(texts, kind)
        assert mine.dtype==np.float32 and mine.shape==(len(texts),len(enc.vocabulary))
        np.testing.assert_allclose(mine.toarray(), encode(texts, batch_size=32).to_dense().numpy(), atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(mine.toarray()[few(len(texts))], encode([texts[i] for i in few(len(texts))], batch_size=1).to_dense().numpy(), atol=1e-5, rtol=1e-5)
    assert enc.config['similarity']==st.similarity_fn_name

@pytest.mark.parametrize('case', ['network','autoencoder'])
def test_products_of_onednn(build, case, monkeypatch):
    "The same weights as without; a layer whose weights another one reads, as in an autoencoder, is not packed"
    import torch
    from transformers import PreTrainedModel
    from rankwb.core.products import has_onednn
    enc = SparseEncoder(build(case), device='cpu')
    within = {id(o) for n in enc.load().modules() if isinstance(n, PreTrainedModel) for o in n.modules()}
    layers = [(id(o) in within,o.weight.layout!=torch.strided) for o in enc.load().modules() if type(o) is torch.nn.Linear]
    assert sum(inside for inside,_ in layers)>=12 and all(packed==(inside and has_onednn()) for inside,packed in layers)
    mine = enc.encode(texts, 'doc').toarray()
    monkeypatch.setattr(checkpoints, 'pack', lambda net: net)
    monkeypatch.setattr(checkpoints, '_loaded', checkpoints._loaded.__wrapped__)
    assert not any(o.weight.layout!=torch.strided for o in enc.load().modules() if type(o) is torch.nn.Linear)
    plain = enc.encode(texts, 'doc').toarray()
    assert plain.std()>.01 and np.abs(mine-plain).max()<1e-5

def test_terms_are_known_before_any_text(build, monkeypatch):
    "An index that was killed before its parts were joined asks a network that has read nothing for its terms"
    monkeypatch.setattr(checkpoints, '_loaded', checkpoints._loaded.__wrapped__)
    for case in cases:
        enc = SparseEncoder(build(case), device='cpu')
        assert enc.vocabulary==([*map(str, range(64))] if case=='autoencoder' else tokenizer().convert_ids_to_tokens(range(len(tokenizer()))))

def test_formula(build):
    "The code of the authors of SPLADE, on the logits of transformers"
    import torch
    from transformers import AutoModelForMaskedLM
    net,t = AutoModelForMaskedLM.from_pretrained(build('network')).eval(),tokenizer()
    f = t(texts, padding=True, truncation=True, return_tensors='pt')
    with torch.inference_mode(): w = torch.log(1+torch.relu(net(**f).logits))*f['attention_mask'][...,None]
    for case,want in dict(max=w.max(1).values, sum=w.sum(1)).items():
        np.testing.assert_allclose(SparseEncoder(build(case)).encode(texts, 'doc').toarray(), want.numpy(), atol=1e-5, rtol=1e-5)

@pytest.mark.parametrize('case', ['max','idf'])
def test_a_text_alone_or_in_company(build, case):
    "A query to the bit; a document but for the last bits"
    enc = SparseEncoder(build(case))
    together = {kind: enc.encode(texts, kind) for kind in ('query','doc')}
    for i in range(0, len(texts), 5):
        q,d = (enc.encode([texts[i]], kind) for kind in ('query','doc'))
        assert np.array_equal(q.indices, together['query'][[i]].indices) and np.array_equal(q.data, together['query'][[i]].data)
        a,b = d.toarray()[0],together['doc'][[i]].toarray()[0]
        assert a@b>=.9999*np.linalg.norm(a)*np.linalg.norm(b)

def test_settings(build):
    "Lengths, prompts and the number of terms change what is computed, and the digest with it"
    from sentence_transformers import SparseEncoder as Model
    folder = build('max')
    st = Model(folder, device='cpu')
    st.max_seq_length = 9
    short = SparseEncoder(folder, max_length=9)
    np.testing.assert_allclose(short.encode(texts, 'doc').toarray(), st.encode_document(texts).to_dense().numpy(), atol=1e-5)
    few,asked = SparseEncoder(folder, max_terms=3),SparseEncoder(folder, query_prompt='sort ')
    assert np.diff(few.encode(texts).indptr).max()==3
    np.testing.assert_allclose(asked.encode(['key']).toarray(), SparseEncoder(folder).encode(['sort key']).toarray(), atol=1e-6)
    assert len({o.digest for o in (short, few, asked, SparseEncoder(folder), SparseEncoder(folder, similarity='cosine'))})==5
    assert SparseEncoder(folder, device='cpu', budget=100).digest==SparseEncoder(folder).digest

def test_another_model_for_queries(build):
    "Each kind of text goes to its model"
    both = SparseEncoder(build('max'), query_model=build('idf'))
    assert np.array_equal(both.encode(texts).toarray(), SparseEncoder(build('idf')).encode(texts).toarray())
    assert np.array_equal(both.encode(texts, 'doc').toarray(), SparseEncoder(build('max')).encode(texts, 'doc').toarray())
    assert both.digest not in (SparseEncoder(build('max')).digest, SparseEncoder(build('idf')).digest)

def test_by_name():
    "A preset is known by its name, and so are its neighbours; one for another engine is not taken"
    docs = Docs.from_dict(dict(a='list'))
    stage = Sparse(docs, 'splade-v3', k=7)
    assert stage.model==SparseEncoder('naver/splade-v3') and repr(stage)=="Sparse('splade-v3', k=7)" and parse(repr(stage), docs)==stage
    assert Sparse(docs, 'efficient-splade-V-large').model.query_model=='naver/efficient-splade-V-large-query'
    assert repr(Sparse(docs, SparseEncoder('naver/splade-v3', max_length=100)))=="Sparse(SparseEncoder('naver/splade-v3', max_length=100))"
    with pytest.raises(ValueError, match="'colbertv2' is a model for the engine 'late', and 'sparse' was asked for"): Sparse(docs, 'colbertv2')
    with pytest.raises(KeyError, match='near: splade-v3'): Sparse(docs, 'splade-v33')

def test_no_such_model(build, tmp_path):
    "What gives no weights, or has no trained weights for them, is refused"
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from safetensors.torch import load_file, save_file
    SentenceTransformer(modules=[Transformer(build('network')), Pooling(32, 'mean')], device='cpu').save(str(tmp_path/'dense'), create_model_card=False)
    with pytest.raises(ValueError, match='which gives no weights of terms; expected a SparseEncoder'): SparseEncoder(str(tmp_path/'dense')).encode(['list'])
    for o in (Path(build('network')).iterdir()): (tmp_path/'headless').mkdir(exist_ok=True); (tmp_path/'headless'/o.name).write_bytes(o.read_bytes())
    w = load_file(tmp_path/'headless'/'model.safetensors')
    save_file({k:v for k,v in w.items() if not k.startswith('cls.')}, tmp_path/'headless'/'model.safetensors', metadata=dict(format='pt'))
    with pytest.raises(ValueError, match='weights of BertForMaskedLM are not in its files, the first is cls.predictions'): SparseEncoder(str(tmp_path/'headless')).encode(['list'])
    broken = tmp_path/'broken'
    broken.mkdir()
    for o in Path(build('network')).iterdir(): (broken/o.name).write_bytes(o.read_bytes())
    save_file({k: torch.full_like(v, torch.nan) if k.endswith('transform.dense.bias') else v for k,v in w.items()}, broken/'model.safetensors', metadata=dict(format='pt'))
    with pytest.raises(ValueError, match='gives a weight of nan; expected numbers greater than 0'): SparseEncoder(str(broken)).encode(['list'])

# uniCOIL, and the encoders of Pyserini

def pyserini(name):
    "A file of Pyserini's encoders, without the rest of the package, which wants a JVM"
    if (spec := importlib.util.find_spec('pyserini')) is None: pytest.skip('no Pyserini here')
    base = types.ModuleType('pyserini.encode')
    base.DocumentEncoder,base.QueryEncoder = type('DocumentEncoder', (), {}),type('QueryEncoder', (), {})
    with pytest.MonkeyPatch.context() as m:
        m.setitem(sys.modules, 'pyserini', types.ModuleType('pyserini'))
        m.setitem(sys.modules, 'pyserini.encode', base)
        spec = importlib.util.spec_from_file_location(name, Path(spec.submodule_search_locations[0])/'encode'/f'{name}.py')
        out = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(out)
    return out

@pytest.fixture(scope='session')
def unicoil(tmp_path_factory):
    "uniCOIL with random weights, in the layout of castorini's checkpoints"
    import torch
    from transformers import BertModel, BertPreTrainedModel
    class UniCoilEncoder(BertPreTrainedModel):
        def __init__(self, config):
            super().__init__(config)
            self.bert,self.tok_proj = BertModel(config),torch.nn.Linear(config.hidden_size, 1)
            self.post_init()
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp('unicoil')
    for o in (UniCoilEncoder(config()),tokenizer()): o.save_pretrained(folder)
    return str(folder)

some = [t for t in texts if len(t.split())<30]

def whole(stage, texts):
    "Whole numbers of the terms of questions"
    x,names = stage.query_weights(texts),stage.model.vocabulary
    return [{names[i]: int(w) for i,w in zip(x.indices[a:b], x.data[a:b])} for a,b in zip(x.indptr, x.indptr[1:])]

def weights(enc, texts, kind): return [{t: float(w) for t,w,_ in enc.terms(o, kind)} for o in texts]

def test_unicoil_equals_pyserini(unicoil):
    "Documents by the maximum, queries by the sum, as the authors' code has it; and its whole numbers"
    theirs,enc = pyserini('_unicoil'),SparseEncoder(unicoil)
    theirs.UniCoilEncoder.all_tied_weights_keys = {} # what transformers 5 wants of a class that is older
    docs = theirs.UniCoilDocumentEncoder(unicoil, device='cpu').encode(some)
    for mine,yours in zip(weights(enc, some, 'doc'), docs):
        yours = {t:w for t,w in yours.items() if w}
        assert mine.keys()==yours.keys() and np.allclose([mine[t] for t in yours], [*yours.values()], atol=1e-5)
    q = theirs.UniCoilQueryEncoder(unicoil)
    stage = Sparse(Docs.from_dict(dict(a='list')), enc, quantize=51.2)
    for t,mine in zip(some, whole(stage, some)):
        if t.strip(): assert mine=={k:w for k,w in q.encode(t).items() if w}

def test_splade_equals_pyserini(build):
    "Weights of documents and queries in 256 steps up to 5"
    theirs,enc,docs = pyserini('_splade'),SparseEncoder(build('network')),Docs.from_dict({str(i):t for i,t in enumerate(some)})
    stage = Sparse(docs, enc, quantize=51.2)
    index = stage.indexed()
    for i,yours in enumerate(theirs.SpladeDocumentEncoder(build('network'), device='cpu').encode(some)): assert index.vector(i)=={k:w for k,w in yours.items() if w}
    q = theirs.SpladeQueryEncoder(build('network'))
    for t,mine in zip(some, whole(stage, some)):
        if t.strip(): assert mine=={k:w for k,w in q.encode(t).items() if w}

# Search

def corpus(n=60): return Docs.from_dict({f'd{i}':t for i,t in enumerate(texts*2+['heap '*i for i in range(n-2*len(texts))])}, name='corpus')

no_numba = pytest.mark.skipif(importlib.util.find_spec('numba') is None, reason="no numba here; pip install 'rankwb[numba]'")

@pytest.mark.parametrize('case,engine', [('max','numpy'), pytest.param('max','numba', marks=no_numba), ('cosine','numpy'), ('idf','numpy')])
def test_search_equals_sentence_transformers(build, case, engine):
    "The inner products, or cosines, of the library over all pairs; equal ones in the order of the documents"
    from sentence_transformers import SparseEncoder as Model
    docs,st = corpus(),Model(build(case), device='cpu')
    asked = [t for t in texts[::4] if t.strip()]
    S = st.similarity(st.encode_query(asked), st.encode_document(docs.texts())).numpy()
    offsets,rows,scores = Sparse(docs, build(case), k=20).search(asked, engine)
    for i,s in enumerate(S):
        part = slice(*offsets[i:i+2])
        assert part.stop-part.start==min(20, np.count_nonzero(s>0))
        np.testing.assert_allclose(scores[part], np.sort(s)[::-1][:part.stop-part.start], atol=1e-4)
        np.testing.assert_allclose(scores[part], s[rows[part]], atol=1e-4)
        same = np.flatnonzero(np.diff(scores[part])==0)
        assert (np.diff(rows[part])[same]>0).all()

def test_index_is_what_was_encoded(build, monkeypatch):
    "Documents in several parts, with texts that stand in more than one"
    monkeypatch.setattr(checkpoints, '_part', 16)
    docs,enc = corpus(),SparseEncoder(build('max'))
    index = term_weights(enc, docs)
    np.testing.assert_allclose(index.vectors.toarray(), enc.encode(docs.texts(), 'doc').toarray(), atol=1e-5)
    assert np.array_equal(index.lengths, np.diff(index.vectors.indptr))
    rounded = impacts(index, 100)
    want = np.rint(index.vectors.toarray().astype(float)*100)
    assert np.array_equal(rounded.vectors.toarray(), want) and rounded.counts.dtype.kind=='u' and (rounded.counts>0).all()
    assert np.array_equal(rounded.lengths, (want>0).sum(1))

def test_interrupted(build, monkeypatch):
    "What was finished stays, and what was kept is found without torch"
    monkeypatch.setattr(checkpoints, '_part', 16)
    docs,enc,calls,encode = corpus(),SparseEncoder(build('max')),[],SparseEncoder.encode
    def stop(self, texts, *a):
        calls.append(len(texts))
        if len(calls)==3: raise KeyboardInterrupt
        return encode(self, texts, *a)
    monkeypatch.setattr(SparseEncoder, 'encode', stop)
    with pytest.raises(KeyboardInterrupt): term_weights(enc, docs)
    term_weights(enc, docs)
    n = len(calls)
    assert calls[2]==calls[3] and sum(calls)==len(set(docs.texts()))+calls[2] # the part that was interrupted is the only one that was begun twice
    term_weights(SparseEncoder(build('max')), docs)
    assert len(calls)==n

def test_second_time_without_torch(build, tmp_path):
    docs = corpus()
    docs.save(tmp_path/'docs.arrow')
    want = Sparse(docs, build('max'), k=5)(['sort a list','open'])
    code = '''
import sys
from rankwb.core.data import Docs
from rankwb.retrieval.sparse import Sparse
s = Sparse(Docs.read(sys.argv[1]), sys.argv[2], k=5)
print([(d,round(x, 5)) for r in s(['sort a list','open']) for d,x in r], [m for m in ('torch','sentence_transformers','transformers') if m in sys.modules])
'''
    out = subprocess.run([sys.executable, '-c', code, tmp_path/'docs.arrow', build('max')], capture_output=True, text=True)
    assert out.stdout.strip()==f'{[(d,round(x, 5)) for r in want for d,x in r]} []', out.stderr

def test_ids_and_the_edges(build, tmp_path):
    "Ids survive; an empty question finds nothing, with one warning; a great k finds the corpus"
    docs = Docs.from_dict({i: f'list {words[n]} sort' for n,i in enumerate(ids)})
    stage = Sparse(docs, build('max'), k=10**6)
    queries = Queries.from_dict({'q 1':'list', 'é':'', '007':' \n', 'q4':'sort'})
    with pytest.warns(UserWarning, match=r"finds nothing for 2 of 4 queries, in which the model sees no term: é \(''\), 007") as said: run = stage(queries)
    assert len(said)==1 and [len(r) for r in run]==[len(ids), 0, 0, len(ids)]
    assert sorted(run['q 1'].ids)==sorted(ids)
    assert parse(repr(stage), docs)==stage
    plain = Docs.from_dict({i: t for i,t in zip(docs.ids.to_pylist(), docs.texts()) if ' ' not in i})
    run = Sparse(plain, build('max'))(Queries.from_dict(dict(q1='list', q2='sort')))
    run.save(tmp_path/'run.trec')
    assert [r.ids for r in Run.read(tmp_path/'run.trec')]==[r.ids for r in run]

def test_explained(build):
    docs,stage = corpus(),Sparse(corpus(), build('max'), quantize=100)
    run = stage('sort the list')
    for d,s in list(run['q1'])[:5]:
        why = stage.explain('sort the list', d)
        assert why.score==np.float32(s) and np.isclose(sum(o[-1] for o in why.rows), s)
        assert all(float(w).is_integer() for row in why.rows for w in row[1:])

_lucene = '''
import json, sys
import numpy as np
from rankwb.core.data import Docs
from rankwb.retrieval.impacts import LuceneIndex
from rankwb.retrieval.sparse import Sparse
docs,asked = Docs.read(sys.argv[1]),json.loads(sys.argv[3])
stage = Sparse(docs, sys.argv[2], k=25, quantize=float(sys.argv[4]))
index = stage.indexed()
lucene = LuceneIndex.from_impacts(docs.ids, index.vectors, index.terms)
for a,b in zip(stage.search(asked), lucene.search_impacts(stage.query_weights(asked), 25)): assert np.array_equal(a, b), (a,b)
print(len(stage.search(asked)[1]), len(np.unique(stage.search(asked)[2])))
'''

def test_equals_lucene(build, tmp_path):
    "Lucene's impact index gives the same documents in the same order with the same scores, with many ties"
    docs = Docs.from_dict({f'd{i}':t for i,t in enumerate(texts*5)})
    docs.save(tmp_path/'docs.arrow')
    out = subprocess.run([sys.executable, '-c', _lucene, tmp_path/'docs.arrow', build('max'), json.dumps([t for t in texts if t.strip()]), '3'], capture_output=True, text=True)
    if out.returncode and 'rankwb[lucene]' in out.stderr: pytest.skip('no Lucene here')
    assert out.returncode==0, out.stderr[-3000:]
    found,different = map(int, out.stdout.split()[-2:])
    assert found>500 and different<found/3
