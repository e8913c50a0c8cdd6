"What a newcomer does to a reranker: every mistake is named, with what to do; what was begun and broken off goes on"
import shutil
from dataclasses import replace
import numpy as np, pandas as pd, pytest, torch
import rankwb.all # noqa: F401, so that `Reranker(name)` finds a row
from rankwb.core.caching import Store
from rankwb.core.data import Docs, Queries
from rankwb.core.encoders import Encoder
from rankwb.core.hf import HF
from rankwb.core.llm import Scripted
from rankwb.core.runs import Run
from rankwb.core.stages import Reranker
from rankwb.reranking.causal import YesNo
from rankwb.reranking.cross_encoder import CrossEncoder
from rankwb.reranking.fid import FiD, LiT5Distill, LiT5Score
from rankwb.reranking.likelihood import UPR
from rankwb.reranking.listwise import RankGPT
from rankwb.reranking.seq2seq import MonoT5
from rankwb.reranking.setwise import Setwise
from rankwb.reranking.sorting import Bubble
from rankwb.reranking.tart import TART
from small import alone # noqa: F401, for every test here
import test_causal, test_pairs, test_seq2seq, test_tart
from test_rerankers import listed, numbered, run_of, shuffled, text_of

texts = ['sort a list','open a file','read a line']

@pytest.fixture(scope='module')
def files(tmp_path_factory):
    "Folders of small random networks"
    torch.manual_seed(0)
    at = tmp_path_factory.mktemp('files')
    return dict(bert=str(test_pairs.network(at/'bert', 'BERT', num_labels=1)), t5=test_seq2seq.save(at/'t5'), qwen=test_causal.checkpoint(at/'qwen'), tart=test_tart.save(at/'tart'))

engines = { # name → the files it is made of, and how
    'CrossEncoder': ('bert', CrossEncoder), 'MonoT5': ('t5', MonoT5), 'TART': ('tart', TART), 'YesNo': ('qwen', YesNo), 'UPR': ('t5', UPR),
    'LiT5Score': ('t5', lambda folder, **kw: LiT5Score(FiD(folder, **kw))), 'Setwise': ('qwen', lambda folder, **kw: Setwise(HF(folder, store=Store(':memory:'), **kw)))}

# Names and texts -----------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('make,what', [
    (lambda: Reranker('monot5_base'), "no preset is called 'monot5_base'; near: monot5-base"), (lambda: Reranker('a/b'), 'no preset has this model, so say what it is: kind=, one of cross-encoder'),
    (lambda: Reranker('/nowhere', kind='crossencoder'), "kind='crossencoder'; expected one of cross-encoder"), (lambda: HF(' '), "HF: model=' ' is no name; expected a folder"),
    (lambda: Reranker('monot5-base', depht=3), r"Reranker\('monot5-base'\): MonoT5 has no field 'depht'; expected depth"), (lambda: Reranker('/nowhere', kind='cross-encoder').rank('q', texts), '/nowhere: no such folder'),
    (lambda: Reranker('monot5-base').rank('q', texts), "the model 'castorini/monot5-base-msmarco' is neither a folder nor in the Hugging Face cache.* check the name and the network, or give the folder"),
    (lambda: Reranker('cohere/rerank-v3.5').rank('q', texts), 'there is no key; set COHERE_API_KEY'), (lambda: Reranker('monot5-base')('a question'), r'takes Run, not str; rank\(query, docs\) takes a question and texts'),
    (lambda: RankGPT('no-such'), "no preset is called 'no-such'"), (lambda: RankGPT(len), "model is a builtin_function_or_method; expected a language model, such as HF"),
    (lambda: RankGPT(Scripted(says=listed), 'Slding(20, 10)'), "cannot read 'Slding\\(20, 10\\)' as an algorithm: .* did you mean Sliding"), (lambda: RankGPT(Scripted(says=listed), 'Heapsort(3)'), 'algorithm is a Heapsort; expected one such as Sliding')])
def test_what_is_no_reranker(make, what, monkeypatch):
    monkeypatch.delenv('COHERE_API_KEY', raising=False)
    with pytest.raises((KeyError,TypeError,ValueError,OSError), match=what): make()

@pytest.mark.parametrize('docs,what', [
    ('one text', 'docs is one text; expected a list'), ([*texts, None], r'docs\[3\] is None; expected a text'), ([3], r'docs\[0\] is 3; expected a text'), ([dict(text=None)], 'row 0 has no text'), ([dict(body='x')], 'row 0 has no text'),
    ([dict(id=1, text='x')], "row 0 has 1 for an id; expected a string, such as '1'"), ({1:'x'}, 'row 0 has 1 for an id'), ([dict(id='a', text='x')]*2, "2 rows but 1 ids; repeated: 'a'"), (['x', 'half \ud83d'], 'the text of row 1 cannot be written as UTF-8'),
    (pd.DataFrame(dict(id=['a'], text=['x'])), 'docs is a DataFrame; expected a list of texts, or Docs, which Docs.from_pandas')])
def test_what_are_no_texts(docs, what):
    with pytest.raises((TypeError,ValueError), match=what): RankGPT(Scripted(says=listed)).rank('q', docs)

def test_a_model_that_says_nothing():
    with pytest.raises(TypeError, match='says gave a NoneType; expected a str or a Reply'): RankGPT(Scripted(says=lambda prompt: None)).rank('q', texts)

def test_what_are_texts():
    "Lists, generators, arrays, dictionaries: the same ranking, and a dictionary is no list of its keys"
    stage = RankGPT(Scripted(says=listed, name='listed'))
    some = [text_of(w) for w in (3,70,20)]
    for docs in (some, tuple(some), (t for t in some), np.array(some), [dict(text=t) for t in some], Docs.from_dict({str(i): t for i,t in enumerate(some)}), {str(i): t for i,t in enumerate(some)}): assert stage.rank('q', docs).ids==['1','2','0']
    assert stage.rank('q', []).ids==[] and stage.rank('q', some[:1]).ids==['0']

def test_runs_that_lack_something(files):
    ce,run = CrossEncoder(files['bert'], device='cpu'),Run.from_dict({'1': {'a':1., 'z':3.}})
    queries,docs = Queries.from_dict({'1':'open'}),Docs.from_dict({'a':'sort', 'b':'list'})
    with pytest.raises(ValueError, match=r'does not know its questions: run.attach\(queries='): ce(run)
    with pytest.raises(ValueError, match='does not know its documents'): ce(run.attach(queries))
    with pytest.raises(KeyError, match="'z' is not an id of Docs"): ce(run.attach(queries, docs))
    with pytest.raises(ValueError, match="no question with the id '1'"): ce(run.attach(Queries.from_dict({'2':'open'}), Docs.from_dict({'a':'x', 'z':'y'})))
    for odd in ({1: {'a':1.}}, {'1': {7:1.}}):
        with pytest.raises(TypeError, match=r'ids are strings: .*; str\(id\) makes one'): Run.from_dict(odd)

# Files and devices ---------------------------------------------------------------------------------------------------------------------

def without(folder, to, *patterns):
    shutil.copytree(folder, to)
    for p in patterns:
        for f in to.glob(p): f.unlink()
    return str(to)

@pytest.mark.parametrize('name', engines)
def test_a_tokenizer_that_is_not_there(name, files, tmp_path):
    "transformers makes one that knows no word, and all documents of a length would be the same"
    which,make = engines[name]
    with pytest.raises(ValueError, match='knows no words|has no token|has no <s>|is 0 tokens'): make(without(files[which], tmp_path/'x', 'tokenizer*', 'spiece*', 'vocab*', 'special*'), device='cpu').rank('open a file', texts)

def test_an_encoder_without_a_tokenizer(files, tmp_path):
    with pytest.raises(ValueError, match='its tokenizer knows no words; a file such as tokenizer.json is missing'): Encoder(without(files['bert'], tmp_path/'x', 'tokenizer*', 'vocab*'), pooling='mean', device='cpu').encode(['open'])

@pytest.mark.parametrize('name', engines)
def test_weights_that_are_not_there(name, files, tmp_path):
    "The folder is named; a pointer of Git LFS is no file of weights"
    which,make = engines[name]
    with pytest.raises(OSError, match='no file named model.safetensors.*none'): make(without(files[which], tmp_path/'none', '*.safetensors'), device='cpu').rank('open a file', texts)
    pointer = without(files[which], tmp_path/'pointer')
    (tmp_path/'pointer'/'model.safetensors').write_bytes(b'version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n')
    with pytest.raises(ValueError, match='pointer: a file of weights cannot be read .*pointer of Git LFS: fetch it again'): make(pointer, device='cpu').rank('open a file', texts)

@pytest.mark.parametrize('name', engines)
def test_a_device_that_is_not_there(name, files):
    which,make = engines[name]
    for device in ('cuda:99','gpu'):
        with pytest.raises(ValueError, match=f"device='{device}', and here there is .*cpu"): make(files[which], device=device).rank('open a file', texts)

def test_files_of_another_kind(files):
    with pytest.raises(ValueError, match='4 weights of T5ForSequenceClassification are not in its files'): CrossEncoder(files['t5'], device='cpu').rank('q', texts)
    with pytest.raises(ValueError, match='this is a Bert; expected one of T5ForConditionalGeneration'): MonoT5(files['bert'], device='cpu').rank('q', texts)
    with pytest.raises(ValueError, match='this is a bert; expected a T5'): LiT5Distill(FiD(files['bert'], device='cpu')).rank('q', texts)

# Broken off, and played again ----------------------------------------------------------------------------------------------------------

def test_a_run_that_is_interrupted(tmp_path):
    "What was answered before is on the tape; the same call goes on from there, and ends where it would have ended"
    asked,run = [],run_of({f'q{i}': numbered(shuffled(25)) for i in range(4)})
    def tired(prompt):
        asked.append(prompt)
        if len(asked)==5: raise KeyboardInterrupt
        return listed(prompt)
    stage = RankGPT(Scripted(says=tired, name='tired', tape=str(tmp_path/'tape.jsonl')))
    with pytest.raises(KeyboardInterrupt): stage(run)
    found = stage(run)
    assert len(asked)==5+4 and found.to_dict()==RankGPT(Scripted(says=listed, name='fresh'))(run).to_dict()

def test_a_network_that_is_interrupted(files, monkeypatch):
    ce,run,own,calls = CrossEncoder(files['bert'], device='cpu', budget=64),run_of({f'q{i}': numbered(shuffled(25)) for i in range(4)}),CrossEncoder.forward,[]
    def forward(self, ready, inputs):
        calls.append(1)
        if len(calls)==3: raise KeyboardInterrupt
        return own(self, ready, inputs)
    want = ce(run).to_dict()
    monkeypatch.setattr(CrossEncoder, 'forward', forward)
    with pytest.raises(KeyboardInterrupt): ce(run)
    assert ce(run).to_dict()==want

def test_a_tape_of_something_else(files, tmp_path):
    "Played again, equal calls have their answers; another prompt, ability, or model is named"
    lm = HF(files['qwen'], device='cpu', tape=str(tmp_path/'t.jsonl'), store=Store(':memory:'))
    by = lambda lm, **kw: Setwise(lm, Bubble(1), 'loglik', **kw)
    first = by(lm).rank('open', texts)
    played = replace(lm, offline=True, store=None)
    assert by(played).rank('open', texts).ids==first.ids
    with pytest.raises(LookupError, match='calls are not on the tape .*, the first is: loglik .*Passage A: "sort a li'): by(played, c=2).rank('open', ['sort a list','open a key'])
    with pytest.raises(LookupError, match='the first is: generate'): Setwise(played, Bubble(1)).rank('open', texts)
    with pytest.raises(LookupError, match=r"has no answers of HF\('other'\); it has those of HF\("): by(replace(played, model='other')).rank('open', texts)
