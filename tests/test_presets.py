"The table of presets: every row can be read, found, shown, and run on random weights of its architecture"
import json, re
from dataclasses import replace
from functools import lru_cache
import numpy as np, pytest
from rankwb.core import presets as module
from rankwb.core.encoders import Encoder, similarities
from rankwb.core.presets import Preset, Presets, encoder, preset, presets, read_presets
from rankwb.evaluation.measures import parse_measures
from rankwb.reranking import named
from test_encoders import alone, checkpoint, close, lora, net, nets, saved, texts, titles, tokenizer

dense = {p.name: p for p in presets('dense')}

@pytest.mark.parametrize('given,said,kind', [((), 'no name was given', TypeError), ((None,), 'no name was given', TypeError), ((5,), '5 is no name', TypeError), (('',), "'' is no name", ValueError), ((' \t',), r"' \\t' is no name", ValueError)], ids=['nothing','None','number','empty','blank'])
def test_what_is_no_name(given, said, kind):
    "Whoever is not told a name says what one looks like, and what lists them; a retriever has none, and says which classes there are"
    import rankwb.all
    from rankwb.core.stages import Reader, Reranker, Retriever
    with pytest.raises(kind, match=rf"^Reranker: {said}; expected that of a preset, such as Reranker\('monot5-base'\), .*; presets\(\) shows all$"): Reranker(*given)
    with pytest.raises(kind, match=rf"^Reader: {said}; expected that of a method, such as Reader\('direct', model, bm25 % 5\); there are: closed-book, direct, "): Reader(*given)
    with pytest.raises(TypeError, match=r'^Retriever: stages of this kind have no names; their class makes one, such as \w+\(…\); there are .*BM25.* Dense'): Retriever(*given)
    if not given: return
    with pytest.raises(kind, match=rf'^{said}; expected that of a preset'): preset(*given)
    with pytest.raises(kind, match=rf'^{said}; expected a preset, a folder, or a name on the hub'): encoder(*given)

def test_names_that_are_told_by_word():
    import rankwb.all
    from rankwb.core.stages import Reader, Reranker, Retriever
    assert repr(Reranker(model='monot5-base'))=="MonoT5('monot5-base')"
    with pytest.raises(TypeError, match=r'such as BM25\(…\)'): Retriever('bm25')
    with pytest.raises(TypeError, match=r"^Reader\('direct'\): no model was given; say which one answers"): Reader('direct')

@pytest.mark.parametrize('p', presets(), ids=lambda p: p.name)
def test_row(p):
    "What a row says can be meant"
    assert p.paper and p.url.startswith('https://') and p.ran and p.model and (p.indexes or p.engine in named.kinds)
    for s in p.scores:
        assert {'collection','measure','value','source'}<=set(s)<={'collection','measure','value','source','tolerance','ran'} and s['collection'] and s['source'] and 0<s['value']<1
        assert [str(m) for m in parse_measures(s['measure'])]==[s['measure']]
    assert preset(p.name) is p
    for name in (p.published, *p.also): assert p in module._names()[name]
    assert Presets([p]).to_pandas().loc[0,'name']==p.name

@pytest.mark.parametrize('p', dense.values(), ids=lambda p: p.name)
def test_dense_row(p):
    enc,prompts = encoder(p.name),[p.fields.get(k, '') for k in ('query_prompt','doc_prompt','title_prompt')]
    assert isinstance(enc, Encoder) and enc.similarity in similarities and p.dimensions and p.max_length and p.architecture
    assert p.fields.get('pooling') or p.pooling
    assert not enc.max_length or enc.max_length<=p.max_length
    for text in prompts: assert set(re.findall(r'{.*?}', text))<={'{text}','{title}','{instruction}'}
    assert ('{instruction}' in prompts[0])==(enc.instruction is not None) and not any('{instruction}' in o for o in prompts[1:])
    assert ('{title}' in prompts[2])==bool(prompts[2]) and not any('{title}' in o for o in prompts[:2])
    assert not any(o and o[-1].isspace() and o.endswith('  ') for o in prompts) or 'promptriever' in p.name

def tower(make, p, name, seed):
    "A folder with random weights of the kind of network that a row is about"
    import transformers, torch
    folder = make(f'{p.architecture}-{name}-{p.pooling or "plain"}-{seed}')
    if any(folder.iterdir()): return str(folder/'model' if (folder/'model').exists() else folder)
    if p.architecture=='DPR':
        torch.manual_seed(seed)
        return checkpoint(folder, 'BERT', getattr(transformers, dict(doc='DPRContextEncoder', query='DPRQuestionEncoder')[name])(transformers.DPRConfig(**nets['BERT'][2])))
    if p.fields.get('pooling')!='ance': return saved(folder, p.architecture, p.pooling) if p.pooling else checkpoint(folder, p.architecture, seed=seed)
    from safetensors.torch import save_file
    from test_encoders import AnceEncoder
    torch.manual_seed(seed)
    model = AnceEncoder(transformers.RobertaConfig(**nets['RoBERTa'][2]))
    save_file(model.state_dict(), folder/'model.safetensors', metadata=dict(format='pt'))
    model.config.save_pretrained(folder)
    tokenizer('roberta').save_pretrained(folder)
    return str(folder)

@pytest.fixture(scope='module')
def make(tmp_path_factory):
    root = tmp_path_factory.mktemp('towers')
    def folder(name):
        (root/name).mkdir(exist_ok=True)
        return root/name
    return folder

def kind(p): return json.dumps([p.architecture, p.pooling, {k: len(v) if k=='adapters' else v for k,v in p.fields.items() if k not in ('query_model','max_length')}])
kinds = {kind(p): p for p in dense.values() if p.ran=='its architecture, on random weights'} # rows that differ in their names and lengths are one and the same here

@pytest.mark.parametrize('p', kinds.values(), ids=lambda p: p.name)
def test_runs(make, p):
    "With the fields of a row, a text's vector is that of the text alone, and queries, documents and titles are told apart where the row does"
    enc = encoder(p.name)
    towers = dict(model=tower(make, p, 'doc', 0), query_model=enc.query_model and tower(make, p, 'query', 1))
    adapters = []
    for i,_ in enumerate(enc.adapters):
        folder = make(f'{p.architecture}-lora-{i}')
        if not any(folder.iterdir()): lora(folder, net(p.architecture), i+1)
        adapters.append(str(folder))
    tiny = replace(enc, **towers, adapters=tuple(adapters), max_length=min(enc.max_length or 200, 200), dimensions=20)
    some = texts[:3]+['']+texts[8:]
    heads = titles[:len(some)] if enc.title_prompt is not None else None
    told = dict(doc=dict(titles=heads) if heads else {}, query={})
    got = {kind: tiny.encode(some, kind, **kw) for kind,kw in told.items()}
    for kind,v in got.items():
        assert v.shape==(len(some),20) and np.isfinite(v).all()
        for i in (0,2,3,len(some)-1):
            one = replace(tiny, budget=1).encode(some[i:i+1], kind, **({'titles': heads[i:i+1]} if heads and kind=='doc' else {}))
            if v[i].any() or one.any(): close(one, v[i:i+1])
    alike = not enc.query_model and not enc.query_fill and (enc.query_prompt or '')==(enc.doc_prompt or '')
    if not heads: assert alike==np.allclose(got['query'], got['doc'], atol=1e-4)
    if heads: assert np.abs(tiny.encode(some[:1], 'doc')-got['doc'][:1]).max()>1e-4
    if enc.instruction: assert np.abs(tiny.encode(some[:1], instructions=['find code'])-got['query'][:1]).max()>1e-4

def test_names(tmp_path, monkeypatch):
    "Near names are named; a folder and a name on the hub need no row; another engine's row is no encoder"
    with pytest.raises(KeyError, match="no preset is called 'BGE-base-en'; near: bge-base-en-v1.5"): preset('BGE-base-en')
    with pytest.raises(KeyError, match='no preset is called'): encoder('all-minilm-l6')
    with pytest.raises(KeyError) as e: preset('§§§')
    assert 'near' not in str(e.value)
    assert encoder('some/model')==Encoder('some/model') and encoder(str(tmp_path))==Encoder(str(tmp_path))
    assert encoder('facebook/dpr-question_encoder-multiset-base')==encoder('dpr-multi')
    assert encoder('e5-base-v2', similarity='dot', query_prompt='')==Encoder('intfloat/e5-base-v2', query_prompt='', doc_prompt='passage: ', similarity='dot')
    with pytest.raises(ValueError, match="is a model for the engine 'dense', and 'sparse' was asked for"): preset('tas-b', 'sparse')
    with pytest.raises(ValueError, match="no presets for the engine 'danse'; there are .*dense"): presets('danse')
    file = tmp_path/'presets.jsonl'
    file.write_text(json.dumps(dict(name='x', engine='odd', model='m/x')))
    rows = read_presets([file])
    monkeypatch.setattr(module, '_names', lambda: {k: [o] for k,o in rows.items()})
    with pytest.raises(ValueError, match="'x' is a model for the engine 'odd', which gives no single vector"): encoder('x')
    monkeypatch.undo()
    import rankwb.retrieval.expansion, rankwb.retrieval.late_interaction
    for name in ('splade-v3','colbertv2'):
        with pytest.raises(ValueError, match='which gives no single vector'): encoder(name)

def test_one_name_means_one_row(tmp_path, monkeypatch):
    file = tmp_path/'presets.jsonl'
    file.write_text('\n'.join(json.dumps(dict(name=n, engine='dense', model='m/x')) for n in 'ab'))
    monkeypatch.setattr(module, '_table', lambda: read_presets([file]))
    monkeypatch.setattr(module, '_names', module._names.__wrapped__)
    with pytest.raises(ValueError, match="'m/x' is the model of several presets: a, b; say which"): preset('m/x')
    assert preset('a').name=='a' and module.row_of('m/x', 'monot5') is None
    file.write_text('\n'.join(json.dumps(dict(name=n, engine='dense', model='m/x', also=['a'])) for n in 'ab'))
    with pytest.raises(ValueError, match="'a' means two presets: a and b"): preset('a')

def test_adapters_share_a_base():
    "Two rows may be about the same model with other adapters; the name of the model alone means neither"
    assert preset('repllama').model==preset('promptriever-llama2-7b').model
    assert encoder('meta-llama/Llama-2-7b-hf')==Encoder('meta-llama/Llama-2-7b-hf')
    assert preset('castorini/repllama-v1-7b-lora-passage') is preset('repllama')

def test_shown():
    "Nothing of a row runs in a notebook"
    evil = '<script>alert(1)</script>'
    p = Preset(evil, 'dense', evil, dict(query_prompt=evil, similarity=evil), evil, evil, 'javascript:alert(1)"><script>', evil, 3, 4, evil, evil, (evil,), (dict(collection=evil, measure=evil, value=.5, source=evil),), evil, (evil,), evil, evil)
    for shown in (p._repr_html_(), Presets([p])._repr_html_()): assert '<script>' not in shown and 'javascript:' not in shown
    assert 'bge-base-en-v1.5' in presets()._repr_html_()
