"Late interaction: every form of model against its authors' rules and sentence-transformers, exact search against brute force, PLAID against its rules written out"
import json, shutil, string, subprocess, sys
from pathlib import Path
import numpy as np, pytest
from rankwb.core.data import Docs, Queries
from rankwb.core.pipelines import parse
from rankwb.core.reordering import shares
from rankwb.core.runs import Run
from rankwb.retrieval import checkpoints, late_interaction as module
from rankwb.retrieval.late_interaction import ColBERT, ColBERTReranker, maxsim
from rankwb.retrieval.multivectors import TokenEncoder, TokenVectors, token_vectors
from rankwb.retrieval.plaid import Codec, PLAID, compressed, train
from small import alone, bert, few, ids, wordpiece, words # noqa: F401, `alone` is a fixture

pytest.importorskip('sentence_transformers')
rng = np.random.default_rng(0)
texts = [' '.join(rng.choice([*words,',','.'], n)) for n in rng.integers(1, 25, 40)]+['', 'list', 'list', 'Ärger – naïve 中文', ' \n', 'sort '*100, 'a key, a key. Key!', '...']

def tokenizer(): return wordpiece(48, ('[unused0]','[unused1]'), string.punctuation)

told = dict(query_token_id='[unused0]', doc_token_id='[unused1]', query_maxlen=12, doc_maxlen=20, attend_to_mask_tokens=False, mask_punctuation=True)

@pytest.fixture(scope='session')
def build(tmp_path_factory):
    "A function from the settings of a model to its folder, in the form of Stanford's code or of PyLate; all have the same random weights"
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import BertModel
    torch.manual_seed(0)
    net = BertModel(bert(tokenizer()))
    linear,base = torch.randn(16, 32),tmp_path_factory.mktemp('base')
    for o in (net,tokenizer()): o.save_pretrained(base)
    def stanford(folder, **kw):
        shutil.copytree(base, folder, dirs_exist_ok=True)
        save_file({f'bert.{k}':v for k,v in load_file(base/'model.safetensors').items()}|{'linear.weight': linear}, folder/'model.safetensors', metadata=dict(format='pt'))
        (folder/'config.json').write_text(json.dumps(json.loads((base/'config.json').read_text())|dict(architectures=['HF_ColBERT'])))
        (folder/'artifact.metadata').write_text(json.dumps(told|kw))
    def pylate(folder, **kw):
        shutil.copytree(base, folder, dirs_exist_ok=True)
        (folder/'1_Dense').mkdir()
        save_file({'linear.weight': linear}, folder/'1_Dense'/'model.safetensors')
        dense = dict(in_features=32, out_features=16, bias=False, activation_function='torch.nn.modules.linear.Identity', use_residual=False)
        (folder/'1_Dense'/'config.json').write_text(json.dumps(dense))
        types = 'sentence_transformers.models.Transformer','pylate.models.Dense.Dense'
        (folder/'modules.json').write_text(json.dumps([dict(idx=i, name=str(i), path=p, type=t) for i,(p,t) in enumerate(zip(('','1_Dense'), types))]))
        (folder/'sentence_bert_config.json').write_text(json.dumps(dict(max_seq_length=19, do_lower_case=False)))
        own = dict(model_type='ColBERT', query_prefix='[unused0] ', document_prefix='[unused1] ', query_length=12, document_length=20, do_query_expansion=True,
                   attend_to_expansion_tokens=False, skiplist_words=[*string.punctuation], prompts={}, similarity_fn_name='MaxSim')
        (folder/'config_sentence_transformers.json').write_text(json.dumps({k:v for k,v in (own|kw).items() if v is not None}))
    made = {}
    def make(form='stanford', **kw):
        key = form,*sorted(kw.items(), key=str)
        if str(key) not in made:
            made[str(key)] = tmp_path_factory.mktemp('model')
            dict(stanford=stanford, pylate=pylate)[form](made[str(key)], **kw)
        return str(made[str(key)])
    make.net,make.linear = net.eval(),linear
    return make

def by_the_rules(build, text, kind, query=12, doc=20, attend=False, skip=True, expand=True):
    "What colbert/modeling does with a text: tokenization/query_tokenization.py, doc_tokenization.py, colbert.py"
    import torch
    t,marker = tokenizer(),dict(query=5, doc=6)[kind]
    f = t(text, truncation=True, max_length=dict(query=query, doc=doc)[kind]-1, padding='max_length' if kind=='query' and expand else False)
    tokens,mask = ([*f[k][:1], o, *f[k][1:]] for k,o in (('input_ids',marker),('attention_mask',1)))
    if kind=='query': tokens = [t.mask_token_id if i==t.pad_token_id else i for i in tokens]
    if kind=='query' and attend: mask = [1]*len(mask)
    with torch.inference_mode(): v = build.net(torch.tensor([tokens]), attention_mask=torch.tensor([mask])).last_hidden_state[0]@build.linear.T
    skipped = {t.encode(p, add_special_tokens=False)[0] for p in string.punctuation} if skip and kind=='doc' else set()
    return torch.nn.functional.normalize(v[[i not in skipped for i in tokens]], dim=-1).numpy()

stanford = {'as it is': ({},{}), 'masks are attended to': (dict(attend_to_mask_tokens=True), dict(attend=True)), 'with punctuation': (dict(mask_punctuation=False), dict(skip=False)),
            'other lengths': (dict(query_maxlen=9, doc_maxlen=31), dict(query=9, doc=31))}
pylate = {'as it is': ({},{}), 'without its type': (dict(model_type=None), {}), 'masks are attended to': (dict(attend_to_expansion_tokens=True), dict(attend=True)),
          'no masks': (dict(do_query_expansion=False), dict(expand=False)), 'no words left out': (dict(skiplist_words=[]), dict(skip=False)), 'other lengths': (dict(query_length=9, document_length=31), dict(query=9, doc=31))}

def check(folder, build, rules, **kw):
    from sentence_transformers import MultiVectorEncoder
    enc,st = TokenEncoder(folder, device='cpu', **kw),None if kw else MultiVectorEncoder(folder, device='cpu')
    for kind in ('query','doc'):
        mine = enc.encode(texts, kind)
        for t,v in zip(texts, mine): np.testing.assert_allclose(v, by_the_rules(build, t, kind, **rules), atol=1e-5)
        if st:
            for size,at in ((1,few(len(texts))),(32,range(len(texts)))):
                yours = dict(query=st.encode_query, doc=st.encode_document)[kind]([texts[i] for i in at], batch_size=size, convert_to_numpy=True)
                assert all(np.allclose(mine[i], b, atol=1e-5) for i,b in zip(at, yours))

@pytest.mark.parametrize('case', stanford)
def test_checkpoint_of_stanford(build, case): check(build('stanford', **stanford[case][0]), build, stanford[case][1])

@pytest.mark.parametrize('case', pylate)
def test_model_of_pylate(build, case): check(build('pylate', **pylate[case][0]), build, pylate[case][1])

def test_products_of_onednn(build, monkeypatch):
    "The same vectors as without"
    import torch
    from rankwb.core.products import has_onednn
    enc,layers = TokenEncoder(build('stanford'), device='cpu'),lambda: [o.weight.layout!=torch.strided for o in enc.load()[0].modules() if type(o) is torch.nn.Linear]
    assert len(layers())>=12 and set(layers())=={has_onednn()}
    mine = np.concatenate(enc.encode(texts, 'doc'))
    monkeypatch.setattr(checkpoints, 'pack', lambda net: net)
    monkeypatch.setattr(checkpoints, '_loaded', checkpoints._loaded.__wrapped__)
    assert not any(layers())
    plain = np.concatenate(enc.encode(texts, 'doc'))
    assert plain.std()>.01 and np.abs(mine-plain).max()<1e-5

def test_modernbert(tmp_path):
    "The network of GTE-ModernColBERT, whose tokenizer knows no types of tokens: alone, in company, and by the library"
    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from transformers import ModernBertConfig, ModernBertModel, PreTrainedTokenizerFast
    torch.manual_seed(0)
    net = ModernBertModel(ModernBertConfig(vocab_size=len(tokenizer()), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64, pad_token_id=0,
                                           bos_token_id=2, cls_token_id=2, eos_token_id=3, sep_token_id=3, reference_compile=False, attn_implementation='sdpa'))
    special = dict(pad_token='[PAD]', unk_token='[UNK]', cls_token='[CLS]', sep_token='[SEP]', mask_token='[MASK]')
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer().backend_tokenizer, model_max_length=48, model_input_names=['input_ids','attention_mask'], **special)
    for o in (net,fast): o.save_pretrained(tmp_path/'net')
    expansion = dict(strategy='fixed', attend=False, length=12)
    modules = [Transformer(str(tmp_path/'net'), query_expansion=expansion, document_length=20), Dense(32, 16, bias=False, activation_function=torch.nn.Identity(), module_input_name='token_embeddings'),
               MultiVectorMask([*string.punctuation]), Normalize(module_input_name='token_embeddings')]
    MultiVectorEncoder(modules=modules, device='cpu', prompts=dict(query='key: ', document='value: ')).save(str(tmp_path/'model'), create_model_card=False)
    enc,st = TokenEncoder(str(tmp_path/'model')),MultiVectorEncoder(str(tmp_path/'model'), device='cpu')
    for kind,encode in dict(query=st.encode_query, doc=st.encode_document).items():
        for a,b in zip(enc.encode(texts, kind), encode(texts, convert_to_numpy=True)): np.testing.assert_allclose(a, b, atol=1e-5)
    assert {len(v) for v in enc.encode(texts)}=={12}

def test_by_name():
    docs = Docs.from_dict(dict(a='list'))
    for stage in (ColBERT(docs, 'colbertv2', k=7), PLAID(docs, 'answerai-colbert-small-v1', bits=4)): assert parse(repr(stage), docs)==stage
    assert ColBERT(docs, 'colbertv2').model==TokenEncoder('colbert-ir/colbertv2.0') and repr(ColBERT.reranker('colbert-ir/colbertv2.0'))=="ColBERTReranker('colbertv2')"
    with pytest.raises(ValueError, match="'splade-v3' is a model for the engine 'sparse', and 'late' was asked for"): ColBERT(docs, 'splade-v3')

def test_lengths_that_are_told(build):
    check(build(), build, dict(query=16, doc=25), query_length=16, max_length=25)
    check(build('pylate', do_query_expansion=False), build, dict(query=8, doc=25, expand=False), query_length=8, max_length=25)
    assert TokenEncoder(build(), query_length=16).digest!=TokenEncoder(build()).digest!=TokenEncoder(build('stanford', query_maxlen=9)).digest

@pytest.mark.parametrize('form', ['stanford','pylate'])
def test_a_text_alone_or_in_company(build, form):
    "A query to the bit; a document but for the last bits"
    enc = TokenEncoder(build(form))
    q,d = enc.encode(texts),enc.encode(texts, 'doc')
    for i in range(0, len(texts), 5):
        assert np.array_equal(enc.encode([texts[i]])[0], q[i])
        alone = enc.encode([texts[i]], 'doc')[0]
        assert alone.shape==d[i].shape and ((alone*d[i]).sum(1)>.9999).all()

def test_no_such_model(build, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    SentenceTransformer(modules=[Transformer(build()), Pooling(32, 'mean')], device='cpu').save(str(tmp_path/'dense'), create_model_card=False)
    with pytest.raises(ValueError, match='which was not made for late interaction; expected a checkpoint of ColBERT or PyLate'): TokenEncoder(str(tmp_path/'dense')).encode(['list'])
    shutil.copytree(build(), tmp_path/'silent')
    (tmp_path/'silent'/'artifact.metadata').unlink()
    with pytest.raises(ValueError, match='there is no artifact.metadata, which says how long queries and documents are'): TokenEncoder(str(tmp_path/'silent')).encode(['list'])
    for v,t in zip(TokenEncoder(str(tmp_path/'silent'), query_length=12, max_length=20).encode(texts[:5]), texts): np.testing.assert_allclose(v, by_the_rules(build, t, 'query'), atol=1e-5)

# Search

def brute(Q, D): return np.array([sum(max(float(np.dot(q, d)) for d in doc) for q in Q) for doc in D])

def integers(n, d=8, most=7): return [rng.integers(-2, 3, (m,d)).astype(np.float32) for m in rng.integers(1, most, n)]

def joined(D, dtype=np.float32, places=None):
    v = np.concatenate(D).astype(dtype)
    return TokenVectors(v, np.cumsum([0, *map(len, D)]), np.arange(len(D)) if places is None else places, float(np.linalg.norm(v.astype(float), axis=1).max()))

@pytest.mark.parametrize('dtype', ['float16','float32'])
@pytest.mark.parametrize('n,k,at_once', [(1,1,64),(300,5,64),(300,5,8192),(300,1000,100)])
def test_exact_by_brute_force(monkeypatch, n, k, at_once, dtype):
    "Small whole numbers: all scores are exact and full of ties; every size of a block gives the stable order of the documents"
    monkeypatch.setattr(module, '_tokens_at_once', at_once)
    D,Qs = integers(n),integers(20, most=5)
    offsets,rows,scores = joined(D, dtype).search(Qs, k)
    for i,Q in enumerate(Qs):
        S = brute(Q, D)
        want = np.argsort(-S, kind='stable')[:k]
        assert np.array_equal(rows[offsets[i]:offsets[i+1]], want) and np.array_equal(scores[offsets[i]:offsets[i+1]], S[want])
    assert rows.dtype==np.int32 and scores.dtype==np.float32

def test_exact_in_spite_of_float32():
    "Scores that differ by less than a product in float32 is wrong by"
    base = rng.standard_normal((6,128)).astype(np.float32)
    base /= np.linalg.norm(base, axis=1, keepdims=True)
    D = [base+np.float32(1e-7)*rng.standard_normal((6,128)).astype(np.float32) for _ in range(400)]
    Q = base+np.float32(.1)*rng.standard_normal((6,128)).astype(np.float32)
    S = (Q.astype(float)@np.concatenate(D).astype(float).T).reshape(6, 400, 6).max(2).sum(0).astype(np.float32)
    _,rows,scores = joined(D).search([Q], 10)
    want = np.argsort(-S, kind='stable')[:10]
    assert np.array_equal(rows, want) and np.array_equal(scores, S[want])

def test_texts_that_stand_twice():
    "Documents with one text have one score, and stand in their order; one of which nothing is left is not found"
    D = integers(50)
    places = np.concatenate([np.arange(50), [-1], rng.integers(0, 50, 60)])
    Q = integers(1)[0]
    for k in (1,7,60,1000):
        _,rows,scores = joined(D, places=places).search([Q], k)
        S = np.where(places>=0, brute(Q, D)[places], -np.inf)
        want = np.argsort(-S, kind='stable')[:min(k, 110)]
        assert np.array_equal(rows, want) and np.array_equal(scores, S[want])

def corpus(): return Docs.from_dict({f'd{i}':t for i,t in enumerate(texts*2+[f'heap {"list "*(i%9)}' for i in range(40)])}, name='corpus')

@pytest.mark.parametrize('form', ['stanford','pylate'])
def test_search_equals_sentence_transformers(build, form, monkeypatch):
    "The scores of the library over all pairs; documents in several parts"
    from sentence_transformers import MultiVectorEncoder
    monkeypatch.setattr(checkpoints, '_part', 16)
    docs,st,asked = corpus(),MultiVectorEncoder(build(form), device='cpu'),[t for t in texts[::4] if t.strip()]
    S = st.similarity(st.encode_query(asked), st.encode_document(docs.texts())).numpy()
    run = ColBERT(docs, build(form), k=15, dtype='float32')(asked)
    for s,r in zip(S, run):
        np.testing.assert_allclose(r.scores, np.sort(s)[::-1][:15], atol=1e-4)
        np.testing.assert_allclose(r.scores, s[docs.rows(r.ids)], atol=1e-4)

def test_mean_of_the_query(build):
    "A model that says so divides by the tokens of the query"
    docs = corpus()
    folder = build('pylate', do_query_expansion=False, similarity_fn_name='meanmaxsim')
    mean,plain = ColBERT(docs, folder)(['sort a list','heap']),ColBERT(docs, build('pylate', do_query_expansion=False))(['sort a list','heap'])
    for a,b,Q in zip(mean, plain, TokenEncoder(folder).encode(['sort a list','heap'])):
        assert a.ids==b.ids
        np.testing.assert_allclose(a.scores*len(Q), b.scores, rtol=1e-5)

def test_reranker(build):
    "The documents that it was given, by the score of the retriever; in groups of any size"
    docs,asked = corpus(),['sort a list','open file','heap']
    full = ColBERT(docs, build())(asked)
    given = Run.from_dict({r.query_id: {d: float(-i) for i,d in enumerate(rng.permutation(r.ids)[:30])} for r in full}, docs=docs, queries=Queries.of(asked))
    out = ColBERT.reranker(build())(given)
    for a,b,c in zip(out, given, full):
        assert sorted(a.ids)==sorted(b.ids)
        np.testing.assert_allclose(a.scores, [dict(c)[d] for d in a.ids], atol=.01)
    with pytest.MonkeyPatch.context() as m:
        m.setattr(module, 'shares', lambda run: shares(run, 31))
        again = ColBERT.reranker(build())(given)
    for a,b in zip(out, again): np.testing.assert_allclose(a.scores, b.scores, atol=.01)
    part = ColBERT.reranker(build(), depth=10)(given)
    for a,b in zip(part, given): assert sorted(a.ids[:10])==sorted(b.ids[:10]) and a.ids[10:]==b.ids[10:]
    with pytest.raises(ValueError, match='does not know its questions'): ColBERT.reranker(build()).apply(Run.from_dict({'q1': {'d1':1.}}, docs=docs))

def test_ids_and_the_edges(build, tmp_path):
    "Ids survive; an empty question finds nothing, with one warning; a great k finds the corpus"
    docs = Docs.from_dict({i: f'list {words[n]} sort' for n,i in enumerate(ids)})
    queries = Queries.from_dict({'q 1':'list', 'é':'', '007':' \n', 'q4':'sort'})
    for stage in (ColBERT(docs, build(), k=10**6), PLAID(docs, build(), k=10**6)):
        with pytest.warns(UserWarning, match='finds nothing for 2 of 4 queries, which are empty: é, 007') as said: run = stage(queries)
        assert len(said)==1 and [len(r) for r in run]==[len(ids), 0, 0, len(ids)]
        assert sorted(run['q 1'].ids)==sorted(ids) and parse(repr(stage), docs)==stage
    plain = Docs.from_dict({i: t for i,t in zip(docs.ids.to_pylist(), docs.texts()) if ' ' not in i})
    run = ColBERT(plain, build())(Queries.from_dict(dict(q1='list', q2='sort')))
    run.save(tmp_path/'run.trec')
    assert [r.ids for r in Run.read(tmp_path/'run.trec')]==[r.ids for r in run]

def test_interrupted(build, monkeypatch):
    "What was finished stays; what is another size than it was is an error that names it"
    monkeypatch.setattr(checkpoints, '_part', 16)
    docs,enc,calls,encode = corpus(),TokenEncoder(build()),[],TokenEncoder.encode
    def stop(self, texts, *a):
        calls.append(len(texts))
        if len(calls)==3: raise KeyboardInterrupt
        return encode(self, texts, *a)
    monkeypatch.setattr(TokenEncoder, 'encode', stop)
    with pytest.raises(KeyboardInterrupt): token_vectors(enc, docs)
    kept = token_vectors(enc, docs)
    assert calls[2]==calls[3] and sum(calls)==len(set(docs.texts()))+calls[2]
    for row,v in enumerate(encode(enc, docs.texts(), 'doc')): np.testing.assert_allclose(kept.of(kept.places[[row]])[0], v, atol=1e-3)
    with open(kept.vectors.filename, 'ab') as f: f.write(b'x')
    with pytest.raises(ValueError, match='vectors.npy: .* bytes where .* were written'): token_vectors(enc, docs)

def test_second_time_without_torch(build, tmp_path):
    docs = corpus()
    docs.save(tmp_path/'docs.arrow')
    want = ColBERT(docs, build(), k=5)(['sort a list','open'])
    code = '''
import sys
from rankwb.core.data import Docs
from rankwb.retrieval.late_interaction import ColBERT
s = ColBERT(Docs.read(sys.argv[1]), sys.argv[2], k=5)
print([(d,round(x, 5)) for r in s(['sort a list','open']) for d,x in r], [m for m in ('torch','sentence_transformers','transformers') if m in sys.modules])
'''
    out = subprocess.run([sys.executable, '-c', code, tmp_path/'docs.arrow', build()], capture_output=True, text=True)
    assert out.stdout.strip()==f'{[(d,round(x, 5)) for r in want for d,x in r]} []', out.stderr

def test_explained(build):
    docs = corpus()
    for stage in (ColBERT(docs, build()), PLAID(docs, build())):
        run = stage('sort, a list!')
        for d,s in list(run['q1'])[:5]:
            why = stage.explain('sort, a list!', d)
            assert why.score==np.float32(s) and np.isclose(why.similarities.max(1).sum(), s, atol=1e-4)
            assert why.asked[:4]==('[CLS]','[unused0]','sort',',') and why.asked[-1]=='[MASK]' and len(why.asked)==12 and not set(string.punctuation)&set(why.tokens)

# PLAID

@pytest.fixture(scope='session')
def clustered():
    "1,500 texts of unit vectors around 40 directions"
    centers = rng.standard_normal((40,32))
    D = [(lambda v: (v/np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32))(centers[rng.integers(0, 40, m)]+.35*rng.standard_normal((m,32))) for m in rng.integers(2, 12, 1500)]
    return D

@pytest.mark.parametrize('bits', [1,2,4])
def test_codec(clustered, bits):
    "Every number by the rule of residual.py: the level whose cutoffs it lies between, added to the centroid, brought to length 1"
    v = np.concatenate(clustered)
    codec = train(v, bits)
    assert codec.centroids.shape==(2**int(np.log2(16*np.sqrt(len(v)))),32) and len(codec.levels)==1<<bits
    np.testing.assert_allclose(np.linalg.norm(codec.centroids, axis=1), 1, atol=1e-5)
    cells,packed = codec.compress(v[:200])
    assert packed.shape==(200, 32*bits//8) and packed.dtype==np.uint8
    nearest = (v[:200]@codec.centroids.T).argmax(1)
    levels = [[sum(x>o for o in codec.cutoffs) for x in row] for row in v[:200]-codec.centroids[nearest]]
    want = codec.centroids[nearest]+codec.levels[np.array(levels)]
    assert np.array_equal(cells, nearest)
    np.testing.assert_allclose(codec.decompress(cells, packed), want/np.linalg.norm(want, axis=1, keepdims=True), atol=1e-6)

def test_codec_of_few():
    "One vector, or numbers that do not fill a byte"
    v = rng.standard_normal((1,32)).astype(np.float32)
    v /= np.linalg.norm(v)
    codec = train(v, 4)
    np.testing.assert_allclose(codec.decompress(*codec.compress(v)), v, atol=1e-5)
    with pytest.raises(ValueError, match='vectors of 30 numbers do not fill bytes with 2 bits each'): Codec(np.eye(30, dtype=np.float32), np.zeros(3, np.float32), np.zeros(4, np.float32))

def test_candidates(clustered, tmp_path):
    "The steps of PLAID written out: cells, pruned centroids, all centroids, and the best of those by the vectors in few bits"
    full = joined(clustered)
    small = compressed(full, 2, tmp_path/'small')
    for c in range(0, len(small.codec.centroids), 17): # the lists of the cells
        assert small.listed[small.edges[c]:small.edges[c+1]].tolist()==sorted({t for t in range(1500) if c in small.cells[small.starts[t]:small.starts[t+1]]})
    for Q in [clustered[i] for i in (3,50,700)]:
        S = small.codec.centroids@Q.T
        cells = {int(c) for s in S.T for c in np.argsort(-s, kind='stable')[:2]}
        found = sorted({int(t) for c in cells for t in small.listed[small.edges[c]:small.edges[c+1]]})
        approximate = lambda t, table: sum(max(table[c][i] for c in small.cells[small.starts[t]:small.starts[t+1]]) for i in range(len(Q)))
        pruned = [row if row.max()>=.5 else np.full(len(Q), -9999.) for row in S]
        some = sorted(sorted(found, key=lambda t: (-approximate(t, pruned),t))[:200])
        few = sorted(sorted(some, key=lambda t: (-approximate(t, S),t))[:50])
        got = small.candidates(Q, probes=2, threshold=.5, most=200)
        assert len(got)==50 and len(set(got)&set(few))>=49 # sums in another order, near the edge
        _,rows,scores = small.search([Q], 10, probes=2, threshold=.5, most=200)
        D = small.codec.decompress(small.cells, small.packed)
        exact = maxsim(Q, D, small.starts)
        want = got[np.argsort(-exact[got], kind='stable')[:10]]
        assert np.array_equal(rows, want) and np.array_equal(scores, exact[want])

def test_more_bits_and_more_candidates_find_more(clustered, tmp_path):
    full = joined(clustered)
    Qs = [clustered[i][:4]+.1*rng.standard_normal((len(clustered[i][:4]),32)).astype(np.float32) for i in range(0, 1500, 30)]
    offsets,rows,_ = full.search(Qs, 10)
    share = lambda found: np.mean([len({*rows[a:b]}&{*o})/10 for a,b,o in zip(offsets, offsets[1:], found)])
    small = {bits: compressed(full, bits, tmp_path/str(bits)) for bits in (1,2,4)}
    split = lambda o: np.split(o[1], o[0][1:-1])
    by_bits = [share(split(small[b].search(Qs, 10, most=10**6))) for b in (1,2,4)]
    by_candidates = [share(split(small[4].search(Qs, 10, probes=2, most=m))) for m in (60,400,10**6)]
    assert by_bits==sorted(by_bits) and by_bits[-1]>.9 and by_candidates==sorted(by_candidates) and by_candidates[0]<by_candidates[-1]
    assert small[1].nbytes<small[4].nbytes

def test_recall_of_a_stage(build):
    docs = corpus()
    table = PLAID(docs, build(), bits=4).recall(['sort a list','heap','open file'], (1,10), probes=(1,4), candidates=(8,4096))
    assert table.columns.tolist()==['probes','candidates','recall@1','recall@10'] and len(table)==4
    assert table['recall@10'].iloc[-1]>.7 and table['recall@10'].between(0, 1).all()
