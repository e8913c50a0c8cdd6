"Cross-encoders in ONNX form: the scores of transformers and of FlashRank on the same file, whole folders or none, whatever a network asks for"
import json, os, shutil, zipfile
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest
from test_cross_encoder import one_by_one
from test_pairs import alone, network, pairs, queries, texts, tokenizer # noqa: F401, `alone` is a fixture
from rankwb.core.data import Docs, Queries
from rankwb.core.runs import Run
from rankwb.reranking import onnx as module
from rankwb.reranking.cross_encoder import CrossEncoder
from rankwb.reranking.onnx import OnnxCrossEncoder, to_int8, to_onnx

for name in ('onnx','onnxruntime','onnxscript','sentence_transformers'): pytest.importorskip(name)
some = pairs[::3]

@pytest.fixture(scope='module')
def made(tmp_path_factory):
    "A cross-encoder, the same in ONNX form, and in eight bits"
    import torch
    torch.set_num_threads(1)
    at = tmp_path_factory.mktemp('onnx')
    exact = CrossEncoder(network(at/'net', 'BERT', num_labels=1), device='cpu')
    floats = to_onnx(exact, at/'floats')
    return exact,floats,to_int8(floats, at/'eight')

def by_hand(folder, inputs=('input_ids','attention_mask','token_type_ids'), labels=1, kind='wordpiece', whole='INT64', flat=False, **config):
    "A network of two operations: label i is the sum of all that comes in, divided by 1000, times i+1"
    from onnx import TensorProto as T, helper as h, save
    from transformers import BertConfig
    t,whole = tokenizer(kind),getattr(T, whole)
    t.save_pretrained(folder)
    BertConfig(vocab_size=len(t), max_position_embeddings=60, num_labels=labels, **config).save_pretrained(folder)
    nodes = [h.make_node('Cast', [n], [n+'_f'], to=T.FLOAT) for n in inputs]
    nodes += [h.make_node('Sum', [n+'_f' for n in inputs], ['all']), h.make_node('ReduceSum', ['all','axis'], ['sum'], keepdims=0 if flat else 1), h.make_node('Mul', ['sum','weights'], ['logits'])]
    known = [h.make_tensor('axis', T.INT64, [1], [1]), h.make_tensor('weights', T.FLOAT, [] if flat else [1,labels], [(i+1)/1000 for i in range(labels)])]
    graph = h.make_graph(nodes, 'g', [h.make_tensor_value_info(n, whole, ['n','m']) for n in inputs], [h.make_tensor_value_info('logits', T.FLOAT, ['n'] if flat else ['n',labels])], known)
    save(h.make_model(graph, opset_imports=[h.make_opsetid('', 17)], ir_version=8), str(folder/'model.onnx'))
    return OnnxCrossEncoder(str(folder))

def summed(kind, pairs, inputs, most=60):
    "What `by_hand` should say, pair by pair"
    t = tokenizer(kind)
    rows = [{k: v[0] for k,v in t([q], [d], truncation=True, max_length=most).items()} for q,d in pairs]
    return np.array([sum(sum(r.get(k, ())) for k in inputs)/1000 for r in rows])

def test_equals_transformers_one_pair_at_a_time(made):
    exact,floats,eight = made
    wanted,scores = one_by_one(exact.model, some)[:,0],floats.score(some)
    assert np.abs(scores-wanted).max()<1e-5 and scores.std()>.05
    assert np.abs(np.concatenate([floats.score([p]) for p in some[:12]])-scores[:12]).max()<1e-5
    assert np.abs(replace(floats, budget=64).score(some)-scores).max()<1e-5
    assert np.abs(replace(floats, max_length=20).score(some)-one_by_one(exact.model, some, 20)[:,0]).max()<1e-5
    apart = np.abs(eight.score(some)-wanted)
    assert 0<apart.max()<.5*scores.std() and np.corrcoef(eight.score(some), wanted)[0,1]>.98

@pytest.mark.parametrize('which', [1,2])
def test_equals_flashrank_on_the_same_file(made, tmp_path, which):
    flashrank = pytest.importorskip('flashrank')
    name,file = 'ms-marco-MiniLM-L-12-v2','flashrank-MiniLM-L-12-v2_Q.onnx'
    shutil.copytree(made[which].model, tmp_path/name)
    (tmp_path/name/'model.onnx').rename(tmp_path/name/file)
    special = dict(pad_token='[PAD]', unk_token='[UNK]', cls_token='[CLS]', sep_token='[SEP]', mask_token='[MASK]')
    (tmp_path/name/'special_tokens_map.json').write_text(json.dumps(special))
    ranker,scorer = flashrank.Ranker(name, str(tmp_path), log_level='ERROR'),OnnxCrossEncoder(str(tmp_path/name))
    for q in queries:
        if which==1: theirs = ranker.rerank(flashrank.RerankRequest(q, [dict(id=str(i), text=t) for i,t in enumerate(texts)]))
        else: theirs = [o for i,t in enumerate(texts) for o in ranker.rerank(flashrank.RerankRequest(q, [dict(id=str(i), text=t)]))] # in eight bits a score depends on what is beside it
        theirs = {o['id']: o['score'] for o in theirs}
        ours = scorer.rank(q, texts) if which==1 else [(str(i), scorer.score([(q,t)])[0]) for i,t in enumerate(texts)]
        assert {d for d,_ in ours}==set(theirs)
        assert max(abs(1/(1+np.exp(-s))-theirs[d]) for d,s in ours)<1e-5

@pytest.mark.parametrize('kind', ['wordpiece','bytes'])
@pytest.mark.parametrize('inputs', [('input_ids','attention_mask','token_type_ids'), ('input_ids','attention_mask'), ('input_ids',)])
def test_a_network_gets_what_it_asks_for(tmp_path, kind, inputs):
    "Where a tokenizer gives no segments they are 0"
    assert np.allclose(replace(by_hand(tmp_path, inputs, kind=kind), budget=1).score(some), summed(kind, some, inputs), atol=1e-4)

def test_flashrank_leaves_out_segments_that_are_0(tmp_path):
    flashrank = pytest.importorskip('flashrank')
    by_hand(tmp_path/'ms-marco-TinyBERT-L-2-v2', kind='bytes')
    folder = tmp_path/'ms-marco-TinyBERT-L-2-v2'
    (folder/'model.onnx').rename(folder/'flashrank-TinyBERT-L-2-v2.onnx')
    (folder/'special_tokens_map.json').write_text('{}')
    (folder/'tokenizer_config.json').write_text(json.dumps(json.loads((folder/'tokenizer_config.json').read_text())|dict(pad_token='<pad>')))
    with pytest.raises(Exception, match='token_type_ids'): flashrank.Ranker(folder.name, str(tmp_path), log_level='ERROR').rerank(flashrank.RerankRequest('a', [dict(text='b')]))
    assert np.isfinite(OnnxCrossEncoder(str(folder)).score([('a','b')])).all()

@pytest.mark.parametrize('told', [dict(whole='INT32'), dict(flat=True)])
def test_other_types_and_shapes(tmp_path, told):
    inputs = 'input_ids','attention_mask'
    assert np.allclose(by_hand(tmp_path, inputs, **told).score(some), summed('wordpiece', some, inputs), atol=1e-4)

def test_t5(tmp_path):
    "A network of T5's family, with one label though its configuration says two, and no limit but that of its tokenizer"
    from transformers import T5Config
    scorer = replace(by_hand(tmp_path, ('input_ids','attention_mask'), kind='unigram'), budget=1)
    T5Config(vocab_size=99, d_model=8, d_ff=8, num_layers=1, num_heads=1).save_pretrained(tmp_path)
    assert np.allclose(scorer.score(some), summed('unigram', some, ('input_ids','attention_mask')), atol=1e-4)

def test_labels(tmp_path):
    inputs = 'input_ids','attention_mask'
    two = by_hand(tmp_path, inputs, labels=2)
    with pytest.raises(ValueError, match="'LABEL_0', 'LABEL_1'; what is the score"): two.score(some)
    x = summed('wordpiece', some, inputs)
    assert np.allclose(replace(two, label='difference').score(some), x, atol=1e-4)
    assert np.allclose(replace(two, label='log_softmax').score(some), -np.log1p(np.exp(-x)), atol=1e-4)
    config = json.loads((tmp_path/'config.json').read_text())|dict(id2label={'0':'no','1':'yes'}, label2id=dict(no=0, yes=1))
    (tmp_path/'config.json').write_text(json.dumps(config))
    assert np.allclose(OnnxCrossEncoder(str(tmp_path), label='yes').score(some), -np.log1p(np.exp(-x)), atol=1e-4)
    by_hand(tmp_path/'odd', inputs, labels=3)
    (tmp_path/'odd'/'config.json').write_text(json.dumps(config)) # says two; the network has the last word
    with pytest.raises(ValueError, match='3 labels'): OnnxCrossEncoder(str(tmp_path/'odd')).score(some)

def test_what_cannot_be_given_is_said(tmp_path):
    with pytest.raises(ValueError, match='asks for position_ids'): by_hand(tmp_path, ('input_ids','position_ids')).score(some)
    with pytest.raises(ValueError, match='60 positions'): replace(by_hand(tmp_path/'b'), max_length=61).score(some)
    for told,says in ((dict(precision='int8'),'to_int8'), (dict(device='cuda'),'CPU'), (dict(adapters=('x',)),'finished'), (dict(last_token='</s>'),'finished'), (dict(depth=0),'depth=0')):
        with pytest.raises(ValueError, match=says): OnnxCrossEncoder(str(tmp_path), **told)

def test_which_file(tmp_path):
    scorer = by_hand(tmp_path)
    first = scorer.score(some)
    (tmp_path/'onnx').mkdir()
    (tmp_path/'model.onnx').rename(tmp_path/'onnx'/'model_O4.onnx')
    assert np.array_equal(OnnxCrossEncoder(str(tmp_path)).score(some), first) # the only one
    shutil.copy(tmp_path/'onnx'/'model_O4.onnx', tmp_path/'onnx'/'other.onnx')
    with pytest.raises(ValueError, match='which network is meant.*model_O4.onnx'): OnnxCrossEncoder(str(tmp_path)).score(some)
    assert OnnxCrossEncoder(str(tmp_path), file='onnx/other.onnx').network.name=='other.onnx'
    with pytest.raises(ValueError, match='is not there'): OnnxCrossEncoder(str(tmp_path), file='other.onnx').score(some)
    shutil.copy(tmp_path/'onnx'/'model_O4.onnx', tmp_path/'onnx'/'model.onnx')
    assert OnnxCrossEncoder(str(tmp_path)).network.name=='model.onnx'

def test_known_by_the_content_of_the_network(made, tmp_path):
    _,floats,eight = made
    shutil.copytree(floats.model, tmp_path/'copy')
    assert OnnxCrossEncoder(str(tmp_path/'copy')).digest==floats.digest!=eight.digest
    shutil.copy(Path(eight.model)/'model.onnx', tmp_path/'copy'/'model.onnx')
    assert OnnxCrossEncoder(str(tmp_path/'copy')).digest not in (floats.digest, eight.digest)
    assert np.array_equal(OnnxCrossEncoder(str(tmp_path/'copy')).score(some), eight.score(some))

def test_archives_are_whole_or_not_there(made, tmp_path, monkeypatch):
    "The folder in a zip, once; what is cut off leaves nothing behind"
    packed = tmp_path/'mini.zip'
    with zipfile.ZipFile(packed, 'w') as z:
        for f in Path(made[1].model).iterdir(): z.write(f, f'mini/{f.name}')
        z.writestr('__MACOSX/mini/._config.json', 'x')
    asked = []
    monkeypatch.setattr(module, 'cache_home', lambda: tmp_path/'cache')
    monkeypatch.setattr(module, 'hub_file', lambda repo, file, revision, kind: asked.append((repo,file,revision,kind)) or cut)
    cut = tmp_path/'cut.zip'
    cut.write_bytes(packed.read_bytes()[:-200])
    scorer = lambda: OnnxCrossEncoder('some/where', archive='mini.zip')
    with pytest.raises(ValueError, match='fetch it again'): scorer().score(some)
    assert not [f for f in (tmp_path/'cache').rglob('*') if f.is_file()]
    cut = packed
    assert np.array_equal(scorer().score(some), made[1].score(some))
    assert np.array_equal(scorer().score(some), made[1].score(some)) and asked==[('some/where','mini.zip','main','model')]*2
    assert eval(repr(scorer()))==scorer()
    cut = tmp_path/'other.zip'
    with zipfile.ZipFile(cut, 'w') as z: z.writestr('elsewhere/x', 'x')
    with pytest.raises(ValueError, match='has no folder'): OnnxCrossEncoder('some/where', archive='other.zip').score(some)

def test_rows_of_one_repository(monkeypatch):
    "Several models in one repository: each is itself, prints its name, and stays what it is when a field is changed"
    from rankwb.core import presets as table
    rows = {n: table.Preset(n, 'onnx', 'some/where', dict(file=f'{n}.onnx', archive=f'{n}.zip')) for n in ('flash-a','flash-b')}
    monkeypatch.setattr(table, '_table', lambda known=table._table(): known|rows)
    table._names.cache_clear()
    try:
        a,b = (OnnxCrossEncoder(n) for n in rows)
        assert (a.model,a.file,a.archive)==('some/where','flash-a.onnx','flash-a.zip') and a!=b
        assert repr(a)=="OnnxCrossEncoder('flash-a')" and repr(replace(b, depth=3))=="OnnxCrossEncoder('flash-b', depth=3)"
        with pytest.raises(ValueError, match="for the engine 'onnx'"): CrossEncoder('flash-a')
    finally:
        monkeypatch.undo()
        table._names.cache_clear()

def test_no_hub_no_model():
    with pytest.raises(FileNotFoundError, match='hub does not give it'): OnnxCrossEncoder('nobody/nothing').score(some)
    with pytest.raises(FileNotFoundError, match='no such folder'): OnnxCrossEncoder('./nothing').score(some)

def test_a_network_that_says_something_else_is_not_kept(made, tmp_path, monkeypatch):
    other = by_hand(tmp_path/'other')
    with monkeypatch.context() as m:
        m.setattr(module, '_export', lambda ready, path: shutil.copy(other.network, path))
        with pytest.raises(ValueError, match='off by'): to_onnx(made[0], tmp_path/'new')
    assert sorted(f.name for f in tmp_path.iterdir())==['other']
    with monkeypatch.context() as m:
        m.setattr(module, '_same', lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        m.setattr(module, '_export', lambda ready, path: shutil.copy(other.network, path))
        with pytest.raises(KeyboardInterrupt): to_onnx(made[0], tmp_path/'new')
    assert sorted(f.name for f in tmp_path.iterdir())==['other']

def test_written_once(made, tmp_path, monkeypatch):
    exact,floats,eight = made
    monkeypatch.setattr(module, '_export', None)
    before = {f.name: f.stat().st_mtime_ns for f in Path(floats.model).iterdir()}
    assert to_onnx(exact, floats.model)==floats and to_int8(floats, eight.model)==eight
    assert {f.name: f.stat().st_mtime_ns for f in Path(floats.model).iterdir()}==before
    with pytest.raises(ValueError, match='is there already'): to_int8(floats, floats.model)
    with pytest.raises(ValueError, match='is there already'): to_onnx(exact, exact.model)
    note = json.loads((Path(eight.model)/'rankwb.json').read_text())
    assert note['made_from']==floats.digest and note['precision']=='int8'
    assert os.path.getsize(eight.network)<.75*os.path.getsize(floats.network)

def test_fields_are_kept(made):
    exact,floats,_ = made
    told = dict(depth=3, max_length=40, query_prompt='sort: ', doc_prompt='open {text}', truncation='only_second')
    worded = replace(floats, **told)
    assert np.abs(worded.score(some[:20])-replace(exact, **told).score(some[:20])).max()<1e-5

ids = ['1','007','doc1','a b','é','x'*300,'1234567890']

def test_a_run_and_its_deviation(made, tmp_path):
    "Ids survive, nothing is lost, the old order decides ties, an empty run stays empty; and the deviation from what it was made from"
    exact,floats,eight = made
    docs = Docs.from_records([dict(id=i, text=t) for i,t in zip(ids, texts)])
    qs = Queries.from_dict({'q1': 'sort a list', 'é 2': 'open file', 'empty': ''})
    run = Run.from_dict({q: {d: -float(i) for i,d in enumerate(ids)} for q in qs.ids.to_pylist()}).attach(queries=qs, docs=docs)
    for scorer in (floats, eight):
        out = scorer(run)
        for r in out: assert sorted(d for d,_ in r)==sorted(ids) and all(a[1]>=b[1] for a,b in zip(list(r), list(r)[1:]))
        assert len(replace(scorer, depth=2)(run)['q1'])==len(ids)
        assert len(scorer(run.take([])))==0
    qrels = {'q1': {ids[0]: 1}, 'é 2': {ids[1]: 1}, 'empty': {ids[2]: 1}}
    from rankwb.core.qrels import Qrels
    same,other = floats.deviation(run, exact, Qrels.from_dict(qrels)),eight.deviation(run, exact, Qrels.from_dict(qrels))
    assert same.largest<1e-5 and same.tau==same.rbo==1 and same.change==same.low==same.high==0
    assert other.largest>0 and other.documents==3*len(ids) and other.low<=other.change<=other.high
