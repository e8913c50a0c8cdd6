"What holds for every reranker of the package, each with a small random network or a model that answers by rule"
import asyncio, copy, importlib, math, pickle, pkgutil, re, warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from functools import cached_property, partial
import numpy as np, pytest, pytrec_eval
from hypothesis import HealthCheck, given, settings, strategies as st
import rankwb
from rankwb.core.caching import Store
from rankwb.core.calls import Limits, RemoteError
from rankwb.core.data import Docs, Qrels, Queries
from rankwb.core.encoders import Encoder
from rankwb.core.llm import Scripted
from rankwb.core.saying import Failure, prompt_text
from rankwb.core.runs import Run
from rankwb.core.stages import Reranker
from rankwb.evaluation.evaluate import evaluate
from rankwb.reranking.asking import Asking
from rankwb.reranking.attention import ICR
from rankwb.reranking.causal import Graded, YesNo
from rankwb.reranking.consistency import PermutationSelfConsistency
from rankwb.reranking.cross_encoder import CrossEncoder
from rankwb.reranking.embeddings import BiEncoder
from rankwb.reranking.fid import FiD, LiT5Distill, LiT5Score, ListT5
from rankwb.reranking.first import FIRST
from rankwb.reranking.layerwise import Layerwise, Lightweight
from rankwb.reranking.likelihood import UPR
from rankwb.reranking.listwise import RankGPT
from rankwb.reranking.mixing import Adaptive, Platt, Same
from rankwb.reranking.onnx import OnnxCrossEncoder
from rankwb.reranking.pairrm import PairRM
from rankwb.reranking.pairwise import PRP, EchoRank
from rankwb.reranking.remote import RemoteReranker
from rankwb.reranking.seq2seq import DuoT5, MonoT5
from rankwb.reranking.setwise import Setwise, labels
from rankwb.reranking.sorting import AllPairs, Bubble, Heapsort, Sampled
from rankwb.reranking.tart import TART
from rankwb.reranking.windows import Full, Sliding, TopDown, Tournament, Windows
from rankwb.retrieval.late_interaction import ColBERTReranker
from serving import serving
from small import ids
import test_causal, test_pairrm, test_pairs, test_seq2seq, test_tart
from test_late_interaction import build # noqa: F401, a fixture
from test_pairrm import made # noqa: F401, a fixture
from test_remote_reranker import answer

sizes = (1,2,5,10,19,20,21,25,30,100)

# Documents, and models that know their worth ---------------------------------------------------------------------------------------

def text_of(worth): return ' '.join([f'worth {worth} :', *np.random.default_rng(worth).choice(test_pairs.words, 4)])
def worths(prompt): return [int(w) for w in re.findall(r'\bworth (\d+) :', prompt_text(prompt))]
def best_first(w): return sorted(range(len(w)), key=lambda i: -w[i])

def listed(prompt): return ' > '.join(f'[{i+1}]' for i in best_first(worths(prompt)))
def reversed_digits(prompt): return ' '.join(str(i+1) for i in best_first(worths(prompt))[::-1])
def best_label(prompt): return f'Passage {labels[best_first(worths(prompt))[0]]}'
def yes_or_best(prompt): return best_label(prompt) if 'Passage A' in prompt else 'yes' if worths(prompt)[0]>=50 else 'no'
def letters(prompt, choices): return [math.log(1+w) for w in worths(prompt)]+[-9.]*(len(choices)-len(worths(prompt)))
def grades(prompt, choices): return [-abs(i-worths(prompt)[0]/25) for i in range(len(choices))]
def likelihoods(prompt, label): return [-.5, math.log(1+worths(prompt)[labels.index(label[-1])])]
def looks(pieces, source, targets): return [[0. if pieces[source].endswith('N/A') else float(*worths(pieces[t]))] for t in targets]

says = {f.__name__: Scripted(says=f, name=f.__name__) for f in (listed, reversed_digits, best_label, yes_or_best)}
chooses,rates,weighs,sees = Scripted(picks=letters, name='letters'),Scripted(picks=grades, name='grades'),Scripted(scores=likelihoods, name='likelihoods'),Scripted(looks=looks, name='looks')

asking = { # every reranker that asks: how many calls it makes about n documents, and how many of the best it brings to the top
    'RankGPT': (RankGPT(says['listed']), Sliding().calls, 10),
    'RankGPT, all at once': (RankGPT(says['listed'], Full()), Full().calls, 100),
    'RankGPT, three passes': (RankGPT(says['listed'], Sliding(10, 5, passes=3)), Sliding(10, 5, passes=3).calls, 15),
    'RankGPT, top-down': (RankGPT(says['listed'], TopDown(budget=100)), None, 10),
    'RankGPT, tournament': (RankGPT(says['listed'], Tournament()), None, 10),
    'RankGPT, shuffled': (RankGPT(says['listed'], PermutationSelfConsistency(m=3)), lambda n: 3*Sliding().calls(n), 10),
    'FIRST': (FIRST(chooses), Sliding().calls, 10),
    'LiT5Distill': (LiT5Distill(says['listed']), Sliding().calls, 10),
    'LiT5Distill, shuffled': (LiT5Distill(says['listed'], PermutationSelfConsistency(m=3)), lambda n: 3*Sliding().calls(n), 10),
    'ListT5': (ListT5(says['reversed_digits']), None, 10),
    'ListT5, shuffled': (ListT5(says['reversed_digits'], PermutationSelfConsistency(m=2)), lambda n: 2*Sliding().calls(n), 10),
    'ICR': (ICR(sees), Full().calls, 100),
    'ICR, shuffled': (ICR(sees, algorithm=PermutationSelfConsistency(Full(), m=3, by='borda')), lambda n: 3*(n>1), 100),
    'FIRST, shuffled': (FIRST(chooses, PermutationSelfConsistency(m=2, by='rrf')), lambda n: 2*Sliding().calls(n), 10),
    'ICR, sliding': (ICR(sees, algorithm=Sliding()), Sliding().calls, 10),
    'Setwise': (Setwise(says['best_label']), None, 10),
    'Setwise, bubble': (Setwise(chooses, Bubble(10), 'choose'), None, 10),
    'Setwise, likelihood': (Setwise(weighs, Bubble(10), 'loglik'), None, 10),
    'PRP': (PRP(says['best_label']), None, 10),
    'PRP, all pairs': (PRP(says['best_label'], AllPairs()), lambda n: n*(n-1), 100),
    'PRP, bubble': (PRP(chooses, Bubble(10), 'choose', graded=True), None, 10),
    'PRP, likelihood': (PRP(weighs, Bubble(3), 'loglik'), None, 3),
    'PRP, sample': (PRP(says['best_label'], Sampled(60)), lambda n: min(120, n*(n-1)), 0),
    'EchoRank': (EchoRank(says['yes_or_best'], says['yes_or_best'], 10**9, max_tokens=20), None, 100),
    'Graded': (Graded(rates), lambda n: n, 100),
}

class Models:
    "Stages with small random networks, each made when it is asked for"
    def __init__(self, folder, colbert, pairrm): self.folder,self.colbert,self.pairrm = folder,colbert,pairrm
    @cached_property
    def bert(self): return test_pairs.network(self.folder/'bert', 'BERT', num_labels=1)
    @cached_property
    def t5(self): return test_seq2seq.save(self.folder/'t5')
    @cached_property
    def qwen(self): return test_causal.checkpoint(self.folder/'qwen')
    @cached_property
    def tart(self): return test_tart.save(self.folder/'tart')
    @cached_property
    def minicpm(self): return layered(self.folder/'minicpm', 'Llama', range(2), scale_emb=12, scale_depth=1.4, start_layer=1, head_type='simple', head_multi=True)
    @cached_property
    def gemma(self): return layered(self.folder/'gemma', 'Gemma2', range(2), head_dim=8, start_layer=1, layer_sep=1, layer_wise=True)
    @cached_property
    def onnx(self):
        self.folder.joinpath('onnx').mkdir()
        return importlib.import_module('test_onnx').by_hand(self.folder/'onnx').model

def layered(folder, family, heads, **told):
    "Files of a network with a head at each of its last layers, as MiniCPM and Gemma have them"
    import json, torch, transformers
    from safetensors.torch import save_file
    t = test_causal.tokenizer()
    size = dict(vocab_size=len(t), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=400, **{k: told.pop(k) for k in ('head_dim',) if k in told})
    config = getattr(transformers, f'{family}Config')(**size, initializer_range=.2)
    net = getattr(transformers, f'{family}ForCausalLM')(config)
    t.save_pretrained(folder)
    save_file({k: v.clone() for k,v in net.state_dict().items() if 'lm_head' not in k}|{f'lm_head.{i}.linear_head.weight': torch.randn(1, 32) for i in heads}, folder/'model.safetensors', metadata=dict(format='pt'))
    (folder/'config.json').write_text(json.dumps(config.to_dict()|told))
    return str(folder)

here = dict(device='cpu')
networks = {
    'CrossEncoder': lambda m: CrossEncoder(m.bert, **here), 'MonoT5': lambda m: MonoT5(m.t5, **here), 'DuoT5': lambda m: DuoT5(m.t5, **here), 'TART': lambda m: TART(m.tart, 'open a key', **here),
    'YesNo': lambda m: YesNo(m.qwen, **here), 'Layerwise': lambda m: Layerwise(m.minicpm, layer=2, **here), 'Lightweight': lambda m: Lightweight(m.gemma, layer=2, layers=(1,), **here), 'OnnxCrossEncoder': lambda m: OnnxCrossEncoder(m.onnx),
    'UPR': lambda m: UPR(m.t5, **here), 'PairRM': lambda m: PairRM(m.pairrm, **here),
    'LiT5Score': lambda m: LiT5Score(FiD(m.t5, **here)), 'BiEncoder': lambda m: BiEncoder(Encoder(m.bert, pooling='mean', **here)), 'ColBERTReranker': lambda m: ColBERTReranker(m.colbert),
    'RemoteReranker': lambda m: RemoteReranker('cohere/m', api_base=m.service, api_key='k', store=Store(':memory:'), limits=Limits(parallel=2, timeout=5)),
    'Adaptive': lambda m: Adaptive(CrossEncoder(m.bert, **here), 3, 2), 'Platt': lambda m: Platt(2., -.5), 'Same': lambda m: Same()}
abstract = {'Asking','Comparing','Listwise','PairScorer'}

@pytest.fixture(scope='module')
def models(tmp_path_factory, build, made):
    import torch
    torch.set_num_threads(1)
    with serving(partial(answer, 'cohere')) as s:
        m = Models(tmp_path_factory.mktemp('models'), build(), made[0])
        m.service = s.url
        yield m

@pytest.fixture(params=[*networks, *asking])
def stage(request, models):
    if request.param in asking: return asking[request.param][0]
    made = networks[request.param](models)
    assert type(made).__name__==request.param
    return made

def test_every_reranker_is_here():
    "A class that this file does not know fails it"
    for m in pkgutil.walk_packages(rankwb.__path__, 'rankwb.'): importlib.import_module(m.name)
    below = lambda c: {s for o in c.__subclasses__() for s in (o, *below(o))}
    known = {c.__name__: c for c in below(Reranker) if c.__module__.startswith('rankwb.') and c.__name__[0]!='_'}
    assert set(networks) | {type(o[0]).__name__ for o in asking.values()} | abstract == set(known)
    assert {n for n,c in known.items() if issubclass(c, Asking)}-abstract <= {type(o[0]).__name__ for o in asking.values()}

# What holds for all --------------------------------------------------------------------------------------------------------------------

def run_of(rankings, asked=()):
    "A query for each list of (id, worth)"
    docs = Docs.from_dict({d: text_of(w) for r in rankings.values() for d,w in r} or {'none':'none'})
    queries = Queries.from_dict({q: f'{" ".join(np.random.default_rng(i).choice(test_pairs.words, 3))}?' for i,q in enumerate([*rankings, *asked])})
    return Run.from_dict({q: {d: float(len(r)-i) for i,(d,_) in enumerate(r)} for q,r in rankings.items()}).attach(queries, docs)

def numbered(worths_): return [(f'd{i}-{w}', w) for i,w in enumerate(worths_)]

def world():
    "Ids of every kind, one document, none, many, texts that stand twice, nothing but one text; a question that is not in the run"
    rng = np.random.default_rng(3)
    return run_of({'7': list(zip(ids, (30,71,12,55,98,4,63))), 'one': [('1',30)], 'none': [], 'ü': numbered(rng.permutation(100)[:23].tolist()), 'twice': numbered([20,80,20,50,80,20]), 'same': numbered([60]*5)}, ['nobody'])

def kept(run): return [np.array(o) for o in (run.codes, run.scores, run.offsets)]+[run.query_ids.to_pylist(), run.doc_ids.to_pylist()]
def quietly(stage, run):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return stage(run)

def sound(out, run):
    "A permutation, query by query, whose scores never increase"
    assert out.query_ids.to_pylist()==run.query_ids.to_pylist() and out.scores.dtype==np.float32
    for a,b in zip(out, run):
        assert sorted(a.ids)==sorted(b.ids)
        assert np.isfinite(a.scores).all() and (np.diff(a.scores)<=0).all()

def test_every_ranking_is_sound(stage, tmp_path):
    run = world()
    before = kept(run)
    out = quietly(stage, run)
    for a,b in zip(kept(run), before): assert np.array_equal(a, b)
    if not isinstance(stage, (Same,Platt)): assert not np.shares_memory(out.scores, run.scores) and not np.shares_memory(out.codes, run.codes)
    sound(out, run)
    if not isinstance(getattr(stage, 'algorithm', 0), PermutationSelfConsistency): # which shows equal ones in another order
        assert out['same'].ids==run['same'].ids, 'ties keep their order'
        for w in ('20','80'): assert [o for o in out['twice'].ids if o.endswith(f'-{w}')]==[o for o in run['twice'].ids if o.endswith(f'-{w}')], 'equal texts keep their order'
    turned = quietly(stage, run.over(run.query_ids.to_pylist()[::-1]))
    for r in out:
        assert turned[r.query_id].ids==r.ids
        np.testing.assert_allclose(turned[r.query_id].scores, r.scores, atol=1e-4, rtol=1e-4)
    assert len(quietly(stage, run.take([])))==0
    saved(out, tmp_path)

def saved(out, folder):
    "What is written and read again, and what trec_eval makes of it"
    for name in ('run.parquet','run.json','run.json.gz'):
        out.save(folder/name)
        again = Run.read(folder/name)
        assert again.to_dict()==out.to_dict() and [r.ids for r in again]==[r.ids for r in out]
    plain = out.over(['one','ü','twice','same'])
    plain.save(folder/'run.trec')
    assert [r.ids for r in Run.read(folder/'run.trec').over(plain.query_ids)]==[r.ids for r in plain]
    rng = np.random.default_rng(0)
    qrels = {r.query_id: {d: int(rng.integers(0, 3)) for d in [*r.ids, 'lost'] if rng.random()<.8} | {r.ids[0]: 1} for r in plain}
    names = {'AP':'map', 'nDCG@10':'ndcg_cut_10', 'RR':'recip_rank', 'P@5':'P_5'}
    ours = evaluate(plain, Qrels.from_dict(qrels), ' '.join(names)).per_query
    with open(folder/'run.trec') as f: theirs = pytrec_eval.RelevanceEvaluator(qrels, {'map','ndcg_cut.10','recip_rank','P.5'}).evaluate(pytrec_eval.parse_run(f))
    for m,name in names.items():
        for q in qrels: assert ours[m][q]==pytest.approx(theirs[q][name], abs=1e-6)

def test_a_query_that_nobody_knows(stage):
    "Who reads questions names the one that is not there; who reads none needs none"
    run = run_of({'a': [('d',1),('e',2)]}).attach(Queries.from_dict({'b':'sort'}))
    if isinstance(stage, (Same,Platt)): return sound(stage(run), run)
    with pytest.raises((ValueError,KeyError), match="'a'"): stage(run)

@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]) # a stage does not change
@given(rankings=st.lists(st.lists(st.integers(0, 99), max_size=12), min_size=1, max_size=3), depth=st.sampled_from([1,2,5,50]))
def test_what_is_below_the_depth_stays_below(stage, rankings, depth):
    "Whatever comes; what is looked at is as if it were alone"
    run = run_of({f'q{i}': numbered(w) for i,w in enumerate(rankings)})
    sound(quietly(stage, run), run)
    if 'depth' not in {f.name for f in fields(stage)}: return
    out,head = quietly(replace(stage, depth=depth), run),quietly(stage, run.cut(depth))
    sound(out, run)
    for r,h,b in zip(out, head, run): assert r.ids==[*h.ids, *b.ids[depth:]]

@pytest.mark.parametrize('depth', [0,-1,2.5,'3',True])
def test_a_depth_that_is_none(stage, depth):
    "Refused when the stage is made, not when it runs"
    if 'depth' not in {f.name for f in fields(stage)}: return
    with pytest.raises(ValueError, match=f'{type(stage).__name__}: depth={depth!r}; expected an integer of at least 1, or None'): replace(stage, depth=depth)

def test_copies(stage, tmp_path):
    "A stage that is copied, pickled, or called while a loop runs (as in a notebook) is the same stage"
    if isinstance(stage, RemoteReranker): stage = replace(stage, store=Store(tmp_path/'store'))
    run = run_of({'a': numbered([3,50,20]), 'b': numbered([7])})
    want = quietly(stage, run).to_dict()
    copied = copy.deepcopy(stage)
    assert copied==stage and hash(copied)==hash(stage) and copied.fingerprint==stage.fingerprint and quietly(copied, run).to_dict()==want
    async def later(): return quietly(stage, run).to_dict()
    with ThreadPoolExecutor() as pool: assert pool.submit(asyncio.run, later()).result()==want
    if isinstance(stage, RemoteReranker): # has a key, which is not written anywhere
        with pytest.raises(TypeError, match='a key is not written to a file or sent to another process; set it in the environment there'): pickle.dumps(stage)
    else: assert quietly(pickle.loads(pickle.dumps(stage)), run).to_dict()==want

# With models that know -----------------------------------------------------------------------------------------------------------------

def shuffled(n): return np.random.default_rng(n).permutation(n).tolist()

@pytest.mark.parametrize('n', sizes)
@pytest.mark.parametrize('name', asking)
def test_oracle(name, n):
    "The best at the top in as many calls as the paper says, every one of them read as it was meant"
    stage,calls,top = asking[name]
    w = shuffled(n)
    if name=='FIRST' and n>26: assert stage.algorithm.window<=26
    run = run_of({'q': numbered(w)})
    out,trace = stage(run),stage.trace(run)
    best = [int(d.split('-')[1]) for d in out['q'].ids]
    assert best[:top]==sorted(w, reverse=True)[:top] and sorted(best)==sorted(w)
    assert trace.counts==dict(ok=len(trace), repaired=0, failed=0)
    assert len(trace)==(calls or partial(counted_on_paper, stage, w))(n)

def counted_on_paper(stage, w, n):
    "The questions of an algorithm that is told the truth; none is asked twice"
    if isinstance(stage, EchoRank): return n+len({frozenset(p) for p in bubbles([*filter(lambda i: w[i]>=50, range(n)), *filter(lambda i: w[i]<50, range(n))], w)})
    if isinstance(stage.algorithm, Windows): return stage.algorithm.rehearse(best_first(w)).calls
    size,truth = stage.size,lambda places: [float(w[p]==max(w[q] for q in places)) for p in places]
    asked = {c for r in stage.algorithm.play(n, truth, size)[1] for c in r}
    assert len(asked)<=stage.algorithm.most(n, size)
    return len(asked | {c[::-1] for c in asked}) if isinstance(stage, PRP) else len(asked)

def bubbles(now, w):
    "The pairs that a bubble sort from the bottom up compares until nothing moves"
    moved = True
    while moved:
        moved = False
        for at in range(len(now)-1, 0, -1):
            yield now[at-1],now[at]
            if w[now[at]]>w[now[at-1]]: now[at-1],now[at],moved = now[at],now[at-1],True

@pytest.mark.parametrize('n', sizes)
@pytest.mark.parametrize('algorithm', [AllPairs(), Heapsort(10), Bubble(10)], ids=repr)
@pytest.mark.parametrize('name', ['PairRM','DuoT5'])
def test_oracle_of_pairs(name, algorithm, n, models, monkeypatch):
    "Networks that compare, with numbers from an oracle in the place of the network"
    stage,asked = networks[name](models),[]
    stage = replace(stage, **{'algorithm' if name=='PairRM' else 'sorting': algorithm})
    def judged(self, queries, docs, at, what=''):
        asked.append(len(at))
        w = np.array([worths(d)[0] for d in docs], np.float32)
        better = w[at[:,1]]-w[at[:,2]]
        return better if name=='PairRM' else -np.log1p(np.exp(-better/8))
    monkeypatch.setattr(type(stage), '_judged', judged)
    w = shuffled(n)
    best = [int(d.split('-')[1]) for d in stage(run_of({'q': numbered(w)}))['q'].ids]
    top = n if isinstance(algorithm, AllPairs) else min(10, n)
    assert best==[*sorted(w, reverse=True)[:top], *(o for o in w if o<n-top)]
    exact = {AllPairs(): n*(n-1)//2, Bubble(10): sum(n-1-i for i in range(min(10, n)))}.get(algorithm)
    assert sum(asked)==2*exact if exact is not None else sum(asked)<=2*algorithm.most(n)

# With models that do not ---------------------------------------------------------------------------------------------------------------

wide = str.maketrans('0123456789ABCDEFGHIJKLMNOPQRSTUVW', '０１２３４５６７８９ＡＢＣＤＥＦＧＨＩＪＫＬＭＮＯＰＱＲＳＴＵＶＷ')
harmless = { # what is said → the order is that of the oracle, and every answer is read
    'after thinking': lambda t: f'<think>First 3, no, 1.</think>\n{t}', 'unicode': lambda t: re.sub(r'\d|\b[A-W]$', lambda m: m[0].translate(wide), t), 'a blank around': lambda t: f'\n {t} \n'}
unread = { # what is said → there is no answer, and the order stays as it was
    'empty': lambda t: '', 'blank': lambda t: ' \n\t', 'an error': lambda t: 'Error code: 400 - max 4096 tokens, 3 over, code 5', 'an error in JSON': lambda t: '{"error": {"code": 3, "message": "2 of 4"}}', 'a refusal': lambda t: "I'm sorry, but I can't help with that.",
    'still thinking': lambda t: f'<think>{t}', 'letters of another kind': lambda t: '你好', 'a traceback': lambda t: 'Traceback: line 3 > 2', 'zero': lambda t: '\x00'}
lists = { # of those that write an order
    'one is missing': lambda parts: parts[:-1], 'one stands twice': lambda parts: [*parts, parts[0]], 'one is not there': lambda parts: [*parts, '[999]' if '[' in parts[0] else '999']}
writers = [n for n,(s,*_) in asking.items() if getattr(s.model, 'says', None)]

def spoiled(stage, how):
    "`stage` with a model whose answers are spoiled"
    model = Scripted(says=lambda prompt: how(stage.model.says(prompt)), name='spoiled')
    return replace(stage, model=model, **(dict(cheap=model) if isinstance(stage, EchoRank) else {}))

def counted(stage, run, verdicts):
    "The reranked run; a warning tells how many answers were not plain, and the trace says the same"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        out = stage(run)
    trace = stage.trace(run)
    n = trace.counts
    assert {v for v,k in n.items() if k}<=verdicts and sum(n.values())==len(trace)>0
    odd = n['repaired']+n['failed']
    assert sum(trace.notes.values())==odd, 'each has a note'
    if odd: assert f'{n["repaired"]:,} were repaired and {n["failed"]:,} could not be read' in str(told[0].message)
    assert bool(odd)==bool(told)
    sound(out, run)
    return out

@pytest.mark.parametrize('n', [2,5,23])
@pytest.mark.parametrize('kind', harmless)
@pytest.mark.parametrize('name', writers)
def test_noise_that_can_be_read(name, kind, n):
    stage,run = asking[name][0],run_of({'q': numbered(shuffled(n))})
    if isinstance(stage, ListT5) and kind=='after thinking': return # it has a token for each passage, and no more
    assert counted(spoiled(stage, harmless[kind]), run, {'ok','repaired'})['q'].ids==stage(run)['q'].ids

@pytest.mark.parametrize('kind', unread)
@pytest.mark.parametrize('name', writers)
def test_noise_that_is_no_answer(name, kind):
    "Every document in its old place, every answer counted"
    stage,run = asking[name][0],run_of({'q': numbered(shuffled(23)), 'r': numbered(shuffled(2))})
    out = counted(spoiled(stage, unread[kind]), run, {'failed'})
    assert [r.ids for r in out]==[r.ids for r in run]

@pytest.mark.parametrize('n', [5,23])
@pytest.mark.parametrize('kind', lists)
@pytest.mark.parametrize('name', [n for n in writers if isinstance(asking[n][0], (RankGPT,LiT5Distill,ListT5))])
def test_lists_that_are_not_whole(name, kind, n):
    "What is missing goes to the end, what is too much is left out: the order is that of the oracle"
    stage,run = asking[name][0],run_of({'q': numbered(shuffled(n))})
    between,step = (' ',-1) if isinstance(stage, ListT5) else (' > ',1) # which says the best one last
    def how(text): return between.join(lists[kind](text.split(between)[::step])[::step])
    assert counted(spoiled(stage, how), run, {'repaired'})['q'].ids==stage(run)['q'].ids

numbers = {'nothing is likely': -np.inf, 'no numbers': np.nan}
@pytest.mark.parametrize('value', numbers.values(), ids=numbers)
@pytest.mark.parametrize('name', [n for n in asking if n not in writers])
def test_numbers_that_are_none(name, value):
    stage,run = asking[name][0],run_of({'q': numbered(shuffled(23))})
    if stage.model is sees and value==-np.inf: return # of attention there is no logarithm
    model = {'picks': lambda p, choices: [value]*len(choices), 'scores': lambda p, c: [value], 'looks': lambda p, s, targets: [[value]]*len(targets)}
    bad = Scripted(name='bad', **{k: f for k,f in model.items() if getattr(stage.model, k)})
    assert counted(replace(stage, model=bad), run, {'failed'})['q'].ids==run['q'].ids

class Down(Scripted):
    "A model that fails for one of two queries"
    def _failing(self, found, items, text):
        for i,o in found: yield i,Failure('503: server 3 of 5 is down') if 'worth 99 ' in text(items[i]) else o
    def _generate(self, items, **how): yield from self._failing(super()._generate(items, **how), items, lambda o: prompt_text(o[0]))
    def _choose(self, items, choices): yield from self._failing(super()._choose(items, choices), items, prompt_text)
    def _loglik(self, items): yield from self._failing(super()._loglik(items), items, lambda o: prompt_text(o[0]))
    def _attend(self, items, source, targets): yield from self._failing(super()._attend(items, source, targets), items, ' '.join)

@pytest.mark.parametrize('name', asking)
def test_an_error_never_becomes_a_ranking(name):
    "Of one query: it keeps its order, is named as unsure, and the other is as ever; of all: an error"
    stage = asking[name][0]
    run = run_of({'bad': numbered([99,3]), 'good': numbered([1,60,70])})
    model = Down(**{k: getattr(stage.model, k) for k in ('says','picks','scores','looks')}, name='down')
    down = replace(stage, model=model, **(dict(cheap=model) if isinstance(stage, EchoRank) else {}))
    turned = run_of({'bad': numbered([3,99]), 'good': numbered([1,60,70])})
    out = counted(down, turned, {'ok','failed'})
    assert out['good'].ids==stage(turned)['good'].ids and 'bad' in out.unsure and 'good' not in out.unsure
    if not isinstance(stage, (EchoRank,Graded)): assert out['bad'].ids==turned['bad'].ids
    with pytest.raises(RemoteError, match='503'): quietly(down, run_of({'bad': numbered([99,99])}))
