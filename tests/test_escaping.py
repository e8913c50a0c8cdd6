"Texts that are markup and script are shown as text: every display of every noun, in a real browser"
import importlib,json,pkgutil,re
from dataclasses import dataclass,field

import numpy as np
import pytest
from conftest import root

import rankwb
from rankwb.core.data import Collection, Docs, Qrels, Queries
from rankwb.core.display import HTML,highlight,html_table,panel
from rankwb.core.pipelines import Reranker, Retriever, Stage
from rankwb.core.runs import Run

def evil(where):
    "A word to search for, and every way out of text, attributes and elements that an HTML parser knows; what gets out says `where` it was"
    js = f'owned(`{where.replace(" ", "_")}`)'
    img = f'<img src=x onerror={js}>'
    return f'''lazy {where} <script>{js}</script>{img}">{img}'>{img}</style></title></textarea>{img}'''

page = '<!doctype html><meta charset=utf-8><script>window.got=[]; function owned(where) { got.push(where) }</script>'

ids = [evil(f'id{i}') for i in range(3)]
docs = Docs.from_dict({i: dict(title=evil('title'), text=f'{evil("text")} and more of it, '*3, other=evil('field')) for i in ids}, evil('docs'))
queries = Queries.from_dict({f'{evil("query id")}{i}': evil('query') for i in range(3)}, evil('queries'))
judged = {ids[0]:2, ids[1]:1, ids[2]:0}
qrels = Qrels.from_dict({q.id: judged for q in queries}, evil('qrels'))
found = {i: 3.-n for n,i in enumerate(ids)}
run = Run.from_dict({q.id: found for q in queries}, docs=docs, queries=queries, name=evil('run'))
collection = Collection(docs, queries, qrels, {queries[0].id: [evil('answer')]}, evil('collection'), run=run, about={evil('known'): evil('fact')})

@dataclass(frozen=True)
class Fixed(Retriever):
    docs:Docs = field(repr=False)
    note:str = ''
    def apply(self, queries): return Run.from_dict({q.id: found for q in queries})

@dataclass(frozen=True)
class Same(Reranker):
    note:str = ''
    def apply(self, run): return run

def retrieved(tmp, bm25):
    "Displays of the retrievers; `tmp` is the folder of a model"
    from rankwb.core.encoders import Encoder
    from rankwb.core.presets import Preset,Presets
    from rankwb.core.calls import Usage
    from rankwb.retrieval.chunking import Chunker
    from rankwb.retrieval.expansion import SparseEncoder,Terms
    from rankwb.retrieval.feedback import RM3
    from rankwb.retrieval.late_interaction import Alignment
    from rankwb.retrieval.lucene import LuceneExplanation
    from rankwb.retrieval.lucene_index import LuceneIndex
    from rankwb.retrieval.multivectors import TokenEncoder
    from rankwb.retrieval.prebuilt import Catalogue
    from rankwb.retrieval.remote import RemoteEncoder
    from rankwb.retrieval.vectors import Vectors
    from rankwb.retrieval.web import Visits
    class Opened(LuceneIndex):
        def __len__(self): return 3
        def stats(self): return {evil('field'): dict(documents=3, terms=9, unique=None, vectors=True)}
    row = Preset(evil('name'), 'dense', evil('model'), dict(query_prompt=evil('prompt')), evil('paper'), evil('venue'), evil('url'), evil('licence'), pooling=evil('pooling'), indexes=(evil('index'),),
                 scores=(dict(collection=evil('scored'), measure='nDCG@10', value=.5, source=evil('source')),), ran=evil('ran'), notes=evil('notes'))
    return dict(
        encoder=Encoder(str(tmp), query_prompt=evil('prompt')), sparse=SparseEncoder(str(tmp), query_prompt=evil('prompt')), late=TokenEncoder(str(tmp), query_prompt=evil('prompt')),
        remote=RemoteEncoder(f'openai/{evil("model")}', query_prompt=evil('prompt')), usage=Usage(), preset=row, presets=Presets([row]),
        expansion=RM3(bm25).expansion(queries[0].text), terms=Terms(evil('text'), ((evil('term'),1.,True),)), passages=Chunker(5)(docs),
        alignment=Alignment(evil('query'), ids[0], (evil('asked'),'b'), (evil('token'),'c'), np.eye(2, dtype=np.float32), 2.), vectors=Vectors(np.eye(3), ids, note=evil('note')),
        lucene=Opened(tmp, dict(digest='', analyzer=evil('analyzer'))), why=LuceneExplanation(evil('why')),
        catalogue=Catalogue({evil('name'): dict(type='inverted', documents=3, compressed_size=1, description=evil('description'))}),
        visits=Visits([dict(query=evil('query'), rank=1, url=evil('url'), title=evil('title'), words=3, error=evil('error'))]))

def reranked():
    "Displays of what goes with rerankers"
    from rankwb.core.chat import Chat
    from rankwb.core.extractive import Extractive
    from rankwb.core.hf import HF
    from rankwb.core.llm import Scripted
    from rankwb.core.traces import Call,Trace
    from rankwb.evaluation.agreement import agreement
    from rankwb.reranking.cross_encoder import CrossEncoder
    from rankwb.reranking.deviation import Deviation
    from rankwb.reranking.fid import FiD
    from rankwb.reranking.mixing import reliability
    from rankwb.reranking.remote import RemoteReranker
    from rankwb.reranking.windows import Sliding
    certain = Run.from_dict({q.id: {ids[0]:.9, ids[1]:.1} for q in queries})
    return dict(scripted=Scripted(name=evil('model')), chat=Chat(f'openai/{evil("model")}', 'http://localhost', extra={evil('field'): evil('said')}), agreement=agreement(run, run),
        calls=Trace([Call(evil('query'), 1, evil('about'), evil('prompt'), evil('answer'), 'ok', evil('note'))]), reliability=reliability(certain, qrels), rehearsal=Sliding().rehearse(range(30)),
        hf=HF(f'{evil("model")}/x'), fid=FiD(f'{evil("model")}/x'), extractive=Extractive(), scorer=CrossEncoder('some/model', label=evil('label')), service=RemoteReranker(f'server/{evil("model")}', api_base='http://localhost'), deviation=Deviation(1, 2, .1, .1, 1., 1., 1., 1., evil('measure'), .5, .1, 0., .2))

def answered():
    "Displays of answers"
    from rankwb.core.answers import Answer,Answers,Passage
    from rankwb.core.llm import Scripted
    from rankwb.core.templates import Template
    from rankwb.core.traces import Call,Trace
    from rankwb.rag.context import Context
    found = tuple(Passage(i, evil('text'), evil('title')) for i in ids)
    calls = Trace([Call(evil('query'), 1, evil('about'), evil('prompt'), evil('said'), note=evil('note'))])
    answer = Answer(evil('query'), evil('question'), evil('answer'), finish=evil('finish'), found=found, shown=(ids[0],), calls=calls, about={evil('votes'): evil('vote')})
    lost = Answer('q2', evil('other'), None, evil('error'))
    from rankwb.core.data import Collection
    from rankwb.evaluation.answers import compared
    from rankwb.evaluation.citations import citations
    from rankwb.rag.cost import frontier,risk_coverage
    from rankwb.rag.depth import bounds,depth_sweep
    from rankwb.rag.direct import Direct
    from rankwb.rag.influence import influence
    from rankwb.rag.outcomes import outcomes
    from rankwb.core.hf import HF
    from rankwb.rag.replug import Mixture
    from rankwb.rag.refining import Overlap,refinement
    from rankwb.rag.search_loops import Tags
    from rankwb.rag.viewer import Reviewed
    reader,known = Direct(Scripted(says=lambda m: evil('said'), name=evil('model'))),collection.replaced(answers={q.id: [evil('gold')] for q in queries}, run=None)
    both = {evil('system'): reader(run), 'other': reader(run % 1)}
    return dict(mixture=Mixture(HF(f'{evil("model")}/x')), tags=Tags(Template('{{ question }}', evil('system')), ('<a>','</a>'), evil('mark'), ('<b>','</b>')), compared=compared(evil('said'), [evil('gold')]), citations=citations(both['other']),
        outcomes=outcomes(both['other'], known), changes=outcomes(both['other'], known).against(outcomes(both['other'], known)), influence=influence(reader, run, known), depths=depth_sweep(reader, run, known, ks=(0,1)),
        bounds=bounds(reader, run % 1, known, rel=1), frontier=frontier(both, known), risk=risk_coverage(both['other'], known, confidence='retrieval'),
        refined=Overlap(k=1)(run).docs, refinement=refinement(Overlap(k=1)(run), queries[0].id), reviewed=Reviewed(both['other'], known),
        answer=answer, answers=Answers([answer,lost], evil('reader')), template=Template('{% raw %}'+evil('asked')+'{% endraw %}', evil('system')), packed=Context(each=3).pack(found, Scripted(says=str)))

def displays(tmp):
    "One object at least of every class that shows itself; `tmp` is a folder to write in"
    import rankwb.experiments.report
    from rankwb.apps.doctor import Check,Checkup
    from rankwb.core.caching import Store
    from rankwb.evaluation.evaluate import evaluate
    from rankwb.evaluation.comparison import compare
    from rankwb.experiments.experiment import experiment
    from rankwb.retrieval.analysis import Analyzer
    from rankwb.retrieval.bm25 import BM25
    from rankwb.core.datasets import Dataset,Datasets
    from rankwb.workbench.snapshot import Exploration
    stage,bm25 = Fixed(docs, evil('stage')) % 3 >> Same(evil('reranker')),BM25(docs, analyzer='whitespace')
    explored = Exploration({evil('name'): bm25, 'other': Fixed(docs, evil('stage'))}, collection)
    results = experiment({evil('system'): stage, 'bm25': bm25}, collection, 'nDCG@10 P@1', baseline='bm25', store=None)
    results.report(tmp/'report.html', evil('headline'))
    store = Store(tmp/'store.sqlite')
    store.fetch(['0'*64], lambda places: [b''], evil('stored'))
    (tmp/'config_sentence_transformers.json').write_text(json.dumps(dict(prompts=dict(document=evil('document prompt')))))
    return dict(
        docs=docs, record=docs[0], queries=queries, qrels=qrels, run=run, ranking=run[0], show=run.show(qrels), collection=collection,
        stage=stage, union=stage | bm25, diagram=stage.diagram(), evaluation=evaluate(run, qrels, 'nDCG@10'), comparison=compare(results.evaluations),
        index=bm25.indexed(), explanation=bm25.explain(queries[0].text, ids[0]), trace=Analyzer('whitespace lower').trace(evil('trace')),
        **retrieved(tmp, bm25), **reranked(), **answered(), dataset=(known := Dataset(evil('name'), evil('set'), url=evil('url'))), datasets=Datasets([known], evil('pattern')), store=store, checkup=Checkup((Check(evil('part'), evil('check'), evil('there'), None, evil('advice')),)),
        exploration=explored, document=explored.snapshot(ids[1]), free=Exploration(bm25, collection).ask(evil('typed')), results=results,
        report=HTML((tmp/'report.html').read_text()),
        table=panel(html_table([[evil('cell'), highlight(evil('marked'), ['lazy'])]], [evil('head')]*2, evil('caption'))))

def flat(text): return ' '.join(text.split())
def lost(words, text): return [w for w in words.split() if not re.search(w if w[0]=='<' else f'lazy {w}( id| prompt)? <script', text)]

@pytest.fixture(scope='module')
def shown(tmp_path_factory): return displays(tmp_path_factory.mktemp('shown'))

@pytest.fixture(scope='module')
def look(browser):
    "A function that shows HTML in the browser and gives its text and what got out of it"
    tab = browser.new_page()
    def show(body):
        tab.set_content(f'{page}<body>{body}<img src=x onerror="window.done=1">', wait_until='load')
        tab.wait_for_function('window.done')
        tab.evaluate("document.querySelectorAll('details').forEach(o => o.open = true)")
        return flat(tab.evaluate('document.body.innerText')),tab.evaluate('got')
    yield show
    tab.close()

def test_the_test_sees_what_gets_out(look):
    ways = dict(text='{}', double='<p title="{}">', single="<p title='{}'>", style='<style>{}</style>', title='<svg><title>{}</title></svg>', inside='<textarea>{}</textarea>')
    for where,body in ways.items(): assert where in look(body.format(evil(where)))[1]

# What must be readable where; a long text may be cut at its end
expected = dict(docs='docs id0 title field text', record='id0 title text field', queries='queries query', qrels='qrels', run='run query id0 title', ranking='query id0 title',
    show='run query id0 title', collection='collection query', stage='stage reranker', union='stage reranker', diagram='stage reranker', evaluation='run', comparison='system', index='',
    explanation='id0 query', trace='<script>owned', encoder='prompt document', store='stored', checkup='part check there advice', exploration='name query id0 id2 title text stage',
    sparse='prompt', late='prompt', remote='model', usage='', preset='name model prompt paper licence ran notes', presets='name model prompt paper licence ran', expansion='query',
    terms='text term', passages='title text', alignment='asked token', vectors='id0 note', lucene='field analyzer', why='why', catalogue='name description', visits='query url title error',
    scripted='model', chat='model field said', agreement='', calls='query about prompt answer note', reliability='', rehearsal='', hf='model', fid='model', extractive='', scorer='label', service='model', deviation='measure',
    tags='', compared='said', mixture='model', citations='', outcomes='', changes='', influence='', depths='', bounds='', frontier='system', risk='', refined='', refinement='text', reviewed='',
    answer='question answer finish votes vote id0 title text prompt said note', answers='reader query question answer other error id0 title', template='asked system', packed='id0 title',
    dataset='name', datasets='name', document='id1 query', free='typed id0 title text', results='system collection', report='headline collection query system stage reranker', table='cell marked head caption')

@pytest.mark.parametrize('name', expected)
def test_text_stays_text(name, shown, look):
    text,got = look(shown[name]._repr_html_())
    assert not got, f'script ran, out of {got}'
    assert not lost(expected[name], text), 'not shown as text'

def test_every_display_is_here(shown):
    "Whoever writes a new display adds it above"
    modules = [importlib.import_module(m.name) for m in pkgutil.walk_packages(rankwb.__path__, 'rankwb.') if not m.name.split('.')[-1].startswith('_')]
    able = {o for m in modules for o in vars(m).values() if isinstance(o, type) and o.__module__.startswith('rankwb.') and hasattr(o, '_repr_html_')}
    here = {c for o in shown.values() for c in type(o).__mro__}
    assert not {c.__name__ for c in able if not c in here and not issubclass(c, Stage)}
