"Passages: nothing is lost, everything is where it says, and rankings of documents are those of the definitions, of PyTerrier, and of a table in pandas"
import os, re, signal, subprocess, sys, textwrap, time
from dataclasses import dataclass, field
import numpy as np, pandas as pd, pyarrow as pa, pytest
from hypothesis import given, settings, strategies as st
from rankwb.core.caching import Store
from rankwb.core.data import Docs, Queries
from rankwb.core.execution import Executor
from rankwb.core.loading import load
from rankwb.core.pipelines import Reranker, Retriever, parse
from rankwb.core.runs import Run
from rankwb.retrieval.bm25 import BM25
from rankwb.retrieval.chunking import AvgP, Chunker, FirstP, KMaxP, MaxP, Passages, SumP, units

ids = ['1','007','doc1','a b','é','x'*300,'1234567890','doc#1','#','a#b','%p','"q"','東京']
docs = Docs.from_dict({i: dict(title=f'title {n}', text=f'one two three {n}\n\nfour five. Six seven!') for n,i in enumerate(ids)}, 'odd')

letters = st.text(st.one_of(st.sampled_from('ab \n.!?#=-\u200b\x00\u0301中ไ👩'), st.characters(exclude_categories=['Cs'])), max_size=60)
@settings(max_examples=300, deadline=None)
@given(letters, st.integers(1, 5), st.integers(1, 5), st.sampled_from([u for u in units if u!='tokens']), st.sampled_from([None,'paragraphs','sections','sentences']))
def test_nothing_is_lost(text, size, stride, unit, within):
    spans = Chunker(size, min(stride, size), unit, within).spans(text)
    held = np.zeros(len(text)+1, bool)
    for a,b in spans: held[a:b] = True
    assert all(held[i] or c.isspace() for i,c in enumerate(text))
    assert spans==sorted(spans) and (spans==[(0,0)] or all(a<b and text[a:b]==text[a:b].strip() for a,b in spans))
    if stride>=size and within is None: assert all(b<=c for (_,b),(c,_) in zip(spans, spans[1:]))

@settings(max_examples=60, deadline=None)
@given(letters)
def test_no_token_is_lost(text):
    held = set().union(*(range(a,b) for a,b in Chunker(3, 2, unit='tokens').spans(text)))
    assert all(i in held or c.isspace() for i,c in enumerate(text))

def test_tokens_are_those_of_transformers():
    "Passages of n tokens hold n of those that the model's own tokenizer finds in the document"
    from rankwb.core.encoders import find_model
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(find_model('all-MiniLM-L6-v2')[0])
    for d in load('stdlib').docs[['configparser','re','heapq','str.split']]:
        at = [a for a,_ in tokenizer(d.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)['offset_mapping']]
        spans = Chunker(32, 16, unit='tokens').spans(d.text)
        count = [sum(a<=o<b for o in at) for a,b in spans]
        assert set(count[:-1])<={32} and count[-1]<=32 and len(spans)==max(1, 1+-(-(len(at)-32)//16))

def test_sentences_are_those_of_sentencex():
    sentencex = pytest.importorskip('sentencex')
    for language,text in dict(en='Dr. Smith has 3.5 kg. "Why?" she asked. No.', de='Das ist z. B. ein Satz. Am 3. Mai war es kalt!', ja='東京は首都です。人口は多い。', hi='यह एक वाक्य है। दूसरा वाक्य।', ru='Это пример. Второе предложение.').items():
        mine = [text[a:b] for a,b in Chunker(1, unit='sentences', language=language).spans(text)]
        assert mine==[t.strip() for t in sentencex.segment(language, text) if t.strip()] and len(mine)>1

@pytest.mark.parametrize('mark', ['#','%p'])
def test_ids(tmp_path, mark):
    "Ids of all kinds survive: columns say whose a passage is; files and rankings keep them"
    passages = Chunker(3, 2, mark=mark)(docs)
    assert list(dict.fromkeys(passages.table['doc'].to_pylist()))==ids and [i for i in passages.ids.to_pylist() if i.endswith(f'{mark}0')]==[i+mark+'0' for i in ids]
    for ext in ('arrow','parquet','jsonl'):
        passages.save(tmp_path/f'p.{ext}')
        assert Passages.read(tmp_path/f'p.{ext}').to_dict()==passages.to_dict()
    run = MaxP(BM25(passages))(['one two three','seven'])
    assert [sorted(r.ids) for r in run]==[sorted(ids)]*2 and run.docs is docs
    run.save(tmp_path/'r.json')
    assert Run.read(tmp_path/'r.json').to_dict()==run.to_dict()
    trec = [i for i in ids if ' ' not in i and '"' not in i]
    run = MaxP(BM25(Chunker(3, 2, mark=mark)(docs[trec])))(['one two three'])
    run.save(tmp_path/'r.trec')
    assert Run.read(tmp_path/'r.trec')[0].ids==run[0].ids
    assert len(MaxP(BM25(passages, k=10**6))('one')[0])==len(ids)

def test_larger_than_memory(tmp_path):
    "A mapped corpus is cut part by part: memory does not grow with it, and the file is what memory would have held"
    text = 'the quick brown fox jumps over the lazy dog. '*60
    n = 6_000
    with pa.ipc.new_file(str(tmp_path/'big.arrow'), pa.schema(dict(id=pa.string(), text=pa.string()))) as w:
        for i in range(0, n, 1000): w.write_table(pa.table(dict(id=[f'd{j}' for j in range(i, i+1000)], text=[f'{j} {text}' for j in range(i, i+1000)])))
    big = Docs.read(tmp_path/'big.arrow')
    before,base = pa.total_allocated_bytes(),pa.default_memory_pool().max_memory()
    found = Chunker(200)(big, folder=tmp_path)
    assert len(found)==3*n and pa.total_allocated_bytes()-before<15e6
    assert found[['d5999#2']][0].doc=='d5999' and found.parents is big
    assert Chunker(200)(big[:50]).to_dict()==found[:150].to_dict()
    assert [f.name for f in (tmp_path/'passages').iterdir() if f.suffix!='.arrow']==[]

def test_killed(tmp_path):
    "A run killed while it writes leaves nothing that is taken for whole"
    run = f'''
        import os, rankwb.retrieval.chunking as m
        from rankwb.core.data import Docs
        real = m.Chunker._cut
        def dies(self, docs):
            for i,t in enumerate(real(self, docs)):
                if i==1: os.kill(os.getpid(), 9)
                yield t
        m.Chunker._cut = dies
        m.Chunker(2)(Docs.from_dict({{f'd{{i}}': 'one two three' for i in range(2500)}}), r'{tmp_path}')'''
    assert subprocess.run([sys.executable, '-c', textwrap.dedent(run)]).returncode==-signal.SIGKILL
    assert list((tmp_path/'passages').glob('*.arrow'))==[]
    assert len(Chunker(2)(Docs.from_dict({f'd{i}': 'one two three' for i in range(2500)}), tmp_path))==5000

@dataclass(frozen=True)
class Given(Retriever):
    "Rankings that were made before"
    docs:Docs = field(repr=False)
    seed:int = 0
    def apply(self, queries):
        names = self.docs.ids.to_pylist()
        def ranking(q):
            rng = np.random.default_rng([self.seed,*q.encode()])
            return {names[i]: float(np.float32(rng.integers(-6, 7)/4)) for i in rng.permutation(len(names))[:rng.integers(0, len(names))]}
        return Run.from_dict({q: ranking(q) for q in queries.ids.to_pylist()})

hands = {MaxP: lambda g: g['score'].max(), SumP: lambda g: g['score'].sum(), AvgP: lambda g: g['score'].mean(), KMaxP: lambda g: g['score'].apply(lambda s: s.nlargest(2).mean()),
         FirstP: lambda g: g.apply(lambda d: d.loc[d.part==0, 'score'].max(), include_groups=False).dropna()}

@pytest.mark.parametrize('how', hands)
@pytest.mark.parametrize('seed', range(5))
def test_equals_pandas(how, seed):
    passages = Chunker(2)(Docs.from_dict({f'd{i}': 'w '*(1+i%7) for i in range(12)}))
    queries = Queries.of(['?']*30)
    more = dict(n=2) if how is KMaxP else {}
    run,found = how(Given(passages, seed), **more)(queries),Given(passages, seed)(queries)
    for mine,theirs in zip(run, found):
        df = passages[theirs.ids].to_pandas().assign(score=theirs.scores.astype(float)) if len(theirs) else None
        want = {} if df is None else hands[how](df.groupby('doc')).to_dict()
        assert set(mine.ids)==set(want)
        np.testing.assert_allclose(mine.scores, [want[d] for d in mine.ids], atol=1e-6)
        place = {d: i for i,d in reversed([*enumerate(p.rsplit('#', 1)[0] for p in theirs.ids)])} # equal scores: the one whose best passage is higher
        for a,b in zip(range(len(mine)), range(1, len(mine))):
            if mine.scores[a]==mine.scores[b]: assert place[mine.ids[a]]<place[mine.ids[b]]

def test_equals_pyterrier():
    "Its own code, where it is installed"
    text = pytest.importorskip('pyterrier.text')
    passages = Chunker(2, mark='%p')(Docs.from_dict({f'd{i}': 'w '*(1+i%7) for i in range(12)}))
    queries = Queries.of(['?']*30)
    found = Given(passages)(queries)
    df = pd.DataFrame([(r.query_id, 'x', d, float(s)) for r in found for d,s in r], columns=['qid','query','docno','score'])
    for how,theirs in {MaxP(Given(passages)): text.MaxPassage(), AvgP(Given(passages)): text.MeanPassage(), KMaxP(Given(passages), n=2): text.KMaxAvgPassage(2)}.items():
        want = {q: dict(zip(g.docno, g.score)) for q,g in theirs.transform(df).groupby('qid')}
        mine = {q: r for q,r in how(queries).to_dict().items() if r}
        assert {q: {*r} for q,r in mine.items()}=={q: {*r} for q,r in want.items()}
        for q,r in mine.items(): np.testing.assert_allclose([*r.values()], [want[q][d] for d in r], atol=1e-6)

def test_whole_windows_are_those_of_pyterrier():
    text = pytest.importorskip('pyterrier.text')
    words = [f'w{i}' for i in range(40)]
    for n in range(1, 40):
        for size,stride in ((4,3),(5,5),(7,2)):
            mine = [' '.join(words[:n])[a:b].split() for a,b in Chunker(size, stride).spans(' '.join(words[:n]))]
            assert [o for o in mine if len(o)==size]==[list(o) for o in text.slidingWindow(words[:n], size, stride)]

@dataclass(frozen=True)
class Length(Reranker):
    "Longer texts first"
    def apply(self, run): return Run.from_dict({r.query_id: {d: float(len(run.docs[d].text.split())) for d in r.ids} for r in run})

def test_rerankers_get_passages_and_lose_no_document():
    c = load('stdlib')
    x = c.queries[:15]
    first = BM25(c.docs, k=30)
    found = first(x)
    for how in (MaxP,FirstP,SumP,AvgP,KMaxP):
        run = (first >> how(Length(), Chunker(20, 10)))(x)
        assert [sorted(r.ids) for r in run]==[sorted(r.ids) for r in found] and run.docs is c.docs and run.queries is x
    words = lambda d: [len(c.docs[d].text[a:b].split()) for a,b in Chunker(20, 10).spans(c.docs[d].text)]
    for r in (first >> SumP(Length(), Chunker(20, 10)))(x): assert dict(r)=={d: sum(words(d)) for d in r.ids}

def test_work_is_kept_query_by_query():
    "Whatever else is asked, what a reranker did for a query is found again"
    c = load('stdlib')
    system,store = BM25(c.docs, k=10) >> MaxP(Length(), Chunker(20, 10)),Store(':memory:')
    for some,new in ((slice(0,20),20),(slice(10,30),10),(slice(0,30),0)):
        ex = Executor(store)
        run = ex(system, c.queries[some])
        assert [w.computed for w in ex.work.values()]==[new,new] and run.to_dict()==system(c.queries[some]).to_dict()

def test_shown_text_is_escaped():
    evil = '<img src=x onerror=alert(1)><script>alert(1)</script> word '*5
    p = Chunker(3)(Docs.from_dict({'<b>d</b>': dict(title=evil, text=evil)}))
    for shown in (p.show('<b>d</b>#1'), p._repr_html_(), MaxP(BM25(p)).explain('word', '<b>d</b>'), MaxP(BM25(p))('word')._repr_html_()): assert '<img' not in shown and '<script' not in shown and '<b>d' not in shown
