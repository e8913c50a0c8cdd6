"Every reranker that Rankify, rank_llm, AnswerDotAI rerankers and FlagEmbedding name has a row here, or a reason"
import json
from collections import Counter
from dataclasses import fields
from pathlib import Path
import pytest
import rankwb.all
from rankwb.core.chat import Chat
from rankwb.core.llm import Scripted
from rankwb.core.presets import _names, preset, presets
from rankwb.reranking.first import FIRST
from rankwb.reranking.listwise import RankGPT
from rankwb.reranking.named import kinds, named
from rankwb.reranking.remote import RemoteReranker, endpoints

peers = json.loads((Path(__file__).parent/'peer_rerankers.json').read_text(encoding='utf-8'))

of_key = dict( # key of Rankify → the engines that do what it means
    upr='upr', rankgpt='rankgpt', flashrank='onnx', monot5='monot5', rankt5='monot5', listt5='listt5', inranker='monot5', apiranker='remote-reranker', transformer_ranker='cross-encoder',
    llm_layerwise_ranker='layerwise lightweight yesno', first_ranker='first', lit5dist='lit5-distill', lit5score='lit5-score', vicuna_reranker='rankgpt', zephyr_reranker='rankgpt', blender_reranker='pairrm', splade_reranker='sparse',
    sentence_transformer_reranker='dense', colbert_ranker='late', monobert='cross-encoder', llm2vec='dense', twolar='monot5', duot5='duot5', rankllama='cross-encoder', dear_reranker='cross-encoder', echorank='echorank',
    incontext_reranker='icr', tart='tart', prp='prp', rankgemma='rankgpt', rankmistral='rankgpt', **{'rankgpt-api':'rankgpt', 'prp-api':'prp'})

means = { # what a name of theirs is a short word for
    'gpt-3.5':'openai/gpt-3.5-turbo', 'gpt-3.5-turbo':'openai/gpt-3.5-turbo', 'gpt-4':'openai/gpt-4', 'gpt-4o':'openai/gpt-4o', 'gpt-4o-mini':'openai/gpt-4o-mini', 'gpt-4-turbo-preview':'openai/gpt-4-turbo-preview', 'claude-3-5':'anthropic/claude-3-5-sonnet-20241022',
    'llamav3.1-8b':'together_ai/meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo', 'llamav3.1-70b':'together_ai/meta-llama/Meta-Llama-3.1-70B-Instruct-Turbo', 'gemini-2.0-flash':'gemini/gemini-2.0-flash', 'gemini-3-flash-preview':'gemini/gemini-3-flash-preview',
    'cohere':'cohere/rerank-english-v3.0', 'jina':'jina_ai/jina-reranker-v1-base-en', 'voyage':'voyage/rerank-lite-1', 'mixedbread.ai':'mixedbread/mixedbread-ai/mxbai-rerank-large-v1', 'jina-reranker-v1-base-en':'jina_ai/jina-reranker-v1-base-en', 'rerank-lite-1':'voyage/rerank-lite-1',
    'kanon-universal-classifier':'isaacus/kanon-universal-classifier', 'pinecone-rerank-v0':'pinecone/pinecone-rerank-v0', 'meta-llama/Meta-Llama-3.1-8B-Instruct':'meta-llama/Llama-3.1-8B-Instruct'}

lacking = { # what has no row, and why
    'layerwise/BAAI/bge-multilingual-gemma2': 'gives vectors and no scores of pairs: Rankify takes the wrong class for it',
    'cross-encoder/abdoelsayed/dear-3b-reranker-ce-lora-v1': 'adapters, whose base only their own files name: CrossEncoder(base, adapters=[…]) takes them',
    'tart/facebook/tart-dual-flan-t5-xl': 'there is no such model: the authors have one with two towers, made of Contriever',
    'dense/McGill-NLP/LLM2Vec-Meta-Llama-31-8B-Instruct-mntp': 'its supervised adapters, without which it is none for retrieval, are not told by what Rankify says of it',
    'dense/sentence-transformers/distilbert-multilingual-nli-stsb-quora-ranking': 'an encoder of its own files, which need no row: kind=\'dense\'',
    'dense/sentence-transformers/msmarco-roberta-base-v2': 'an encoder of its own files, which need no row: kind=\'dense\'',
    'onnx/rank_zephyr_7b_v1_full': 'a file for llama.cpp, which is a server for the row rankzephyr: lm=Chat(…)',
    'any/lightonai/MonoQwen2-VL-v0.1': 'reads images of pages, and here there are texts'}

def rows_of(name, engines):
    "The rows for a name of theirs that one of `engines` runs"
    name = means.get(name, name)
    names = {name} | {k for k,v in means.items() if v==name} | ({f'meta-llama/{name.split("/")[-1].replace("Meta-", "")}', f'meta-llama/Meta-{name.split("/")[-1]}'} if name.startswith('meta-llama/') else set())
    found = [p for n in names for p in _names().get(n, ())] + [p for p in presets() if name in p.fields.get('adapters', ())] + [p for p in presets() if p.model==name or name in (p.fields.get('cheap'),)]
    return [p for p in dict.fromkeys(found) if engines is None or p.engine in engines]

def why(name, engines): return next((v for k,v in lacking.items() for e in engines or ('any',) if k==f'{e}/{name}'), None)

def test_counts():
    "The lists are whole: what we found in the peers' sources"
    assert len(peers['rankify'])==33==len(of_key) and set(of_key)==set(peers['rankify']) and sum(map(len, peers['rankify'].values()))==178
    assert len(peers['rank_llm'])==34 and len(peers['rerankers'])==22 and len(set().union(*map(set, peers['rerankers'].values())))==56 and len(peers['flagembedding'])==6

@pytest.mark.parametrize('key', peers['rankify'])
def test_rankify(key):
    engines = of_key[key].split()
    for short,name in peers['rankify'][key].items():
        assert bool(rows_of(name, engines))!=bool(why(name, engines)), f'{key}: {short} ({name})'

@pytest.mark.parametrize('name', peers['rank_llm'])
def test_rank_llm(name): assert rows_of(name, None)

@pytest.mark.parametrize('family,name', [(k,n) for k,names in peers['rerankers'].items() for n in names])
def test_rerankers(family, name):
    assert bool(rows_of(name, None))!=bool(why(name, None))

@pytest.mark.parametrize('name', peers['flagembedding'])
def test_flagembedding(name): assert rows_of(name, ('cross-encoder','yesno','layerwise','lightweight'))

@pytest.mark.parametrize('name', peers['tokens'])
def test_tokens(name):
    "The words for no and yes are those of the peers, who say them for 32 models"
    rows = [p for p in _names()[name] if p.engine in ('monot5','duot5')]
    assert len(rows)==1 and list(named(rows[0].name).tokens)==peers['tokens'][name]

def test_every_reason_is_needed():
    "A reason is for a name of theirs, and for no more than that"
    asked = {f'{e}/{n}' for k,names in peers['rankify'].items() for n in names.values() for e in of_key[k].split()} | {f'any/{n}' for names in peers['rerankers'].values() for n in names}
    assert set(lacking)<=asked

@pytest.mark.parametrize('p', [p for p in presets() if p.engine in kinds and p.engine not in ('dense','sparse','late','remote')], ids=lambda p: p.name)
def test_by_name(p):
    "A row is a stage by its name alone, and by every name that means it"
    stage = named(p.name)
    assert isinstance(stage, kinds[p.engine])
    for other in (p.published, *p.also):
        if len(_names()[other])==1: assert repr(named(other))==repr(stage)
    if p.engine=='remote-reranker': assert p.model.split('/')[0] in endpoints and stage.endpoint.base

@pytest.mark.parametrize('name,what', [('rank_zephyr_7b_v1_full',RankGPT), ('rank_zephyr',RankGPT), ('rank_vicuna_7b_v1',RankGPT), ('castorini/rank_vicuna_7b_v1_fp16',RankGPT), ('first_mistral',FIRST), ('First_Model',FIRST), ('gemma-2-9b-it',RankGPT), ('rankmistral',RankGPT)])
def test_listwise_models(name, what):
    "With the weights, or with a server that has them: the prompt and the algorithm are the row's"
    local = named(name)
    served = named(name, lm=Chat(f'openai/{name}', api_base='http://127.0.0.1:9/v1'))
    assert isinstance(local, what) and type(local.model).__name__=='HF' and local.model.model==preset(name).model
    assert isinstance(served, what) and isinstance(served.model, Chat) and (served.template,served.algorithm)==(local.template,local.algorithm)

def test_depth():
    "The same word for the same thing, and without it all documents"
    for kind,cls in kinds.items():
        f = {f.name: f for f in fields(cls)}['depth']
        assert f.default is None, kind

def test_a_model_in_its_place():
    "`lm` stands for the weights of a row, and where there are none to stand for, it is an error"
    reranked = named('rank_zephyr_7b_v1_full', lm=Scripted(says=lambda prompt: '[3] > [1] > [2]')).rank('q', ['a','b','c'])
    assert reranked.ids==['2','0','1']
    with pytest.raises(TypeError, match="lm= is for rerankers that ask a language model"): named('monot5-base', lm=Scripted())
    with pytest.raises(TypeError, match="lm='x'; expected a language model"): named('rankzephyr', lm='x')

def test_one_name_two_models():
    "FlashRank's eight bits are no cross-encoder of sentence-transformers, though they have its name"
    with pytest.raises(ValueError, match='is the model of several presets: .*flashrank-ms-marco-MiniLM-L-12-v2.*; say which'): named('ms-marco-MiniLM-L-12-v2')
    assert named('ms-marco-MiniLM-L-12-v2', kind='onnx')==named('flashrank-ms-marco-MiniLM-L-12-v2')!=named('ms-marco-MiniLM-L-12-v2', kind='cross-encoder')==named('cross-encoder/ms-marco-MiniLM-L-12-v2')
    assert named('rank-T5-flan')==named('flashrank-rank-T5-flan')

def test_licences():
    "One model has one licence, whatever reranks with it; a service has terms; what has none is of authors that state none"
    rows = [p for p in presets() if p.engine in kinds and not p.indexes]
    by = {}
    for p in rows: by.setdefault(p.published, set()).add(p.licence)
    assert not {m: found for m,found in by.items() if len(found)>1}
    assert all('service' in p.licence for p in rows if p.engine=='remote-reranker' or p.model.split('/')[0] in ('openai','anthropic','gemini','together_ai'))
    silent = {p.model.split('/')[0] for p in rows if not p.licence}
    assert silent<={'castorini','unicamp-dl','Soyoung97','abdoelsayed','Dundalia','corrius','rryisthebest','facebook','bclavie','AdrienB134','akhooli','turjo4nis'} and {p.licence for p in rows if p.model.startswith('Qwen/')}=={'Apache-2.0'}

def test_scores():
    "Numbers of others say where they are from and how far off a run may be"
    found = [(p,s) for p in presets() if p.engine in kinds and not p.indexes for s in p.scores]
    assert len(found)>=170 and all(0<s['tolerance']<=.01 and s['ran'] is False for _,s in found)
    assert Counter(p.engine for p,_ in found)['rankgpt']>=45
    for name,collection,value in (('rankzephyr','trec-dl-2019, BM25',.7365), ('rankvicuna','trec-dl-2020, BM25',.6582), ('monot5-3b-msmarco-10k','trec-dl-2023',.4502), ('first-mistral','beir/scifact',.7769), ('setwise-flan-t5-xl','trec-dl-2019',.693), ('prp-flan-t5-xxl','trec-dl-2020',.699), ('ms-marco-MiniLM-L12-v2','TREC DL 2019',.7431)):
        assert any(collection in s['collection'] and s['value']==value for s in preset(name).scores), (name, collection, [s for s in preset(name).scores][:4])
