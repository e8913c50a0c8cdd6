"Data sets by name: the list, what its files become, and that nothing which is not the file is taken for it"
import csv, gzip, hashlib, io, json, re, warnings, zipfile
from dataclasses import replace
from pathlib import Path
import pyarrow as pa, pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from rankwb.core import published
from rankwb.core.data import Collection
from rankwb.core.datasets import datasets, named, names
from rankwb.core.downloads import DownloadError, checksum
from rankwb.core.loading import load
from rankwb.core.published import read_passages, readers
from rankwb.core.questions import read_questions, save_questions
from rankwb.core.records import Docs
from rankwb.experiments.experiment import experiment
from rankwb.retrieval.bm25 import BM25
from test_downloads import hub, no_waiting, online, site # fixtures, and how to serve a file of the hub

ids = ['1','007','doc1','a b','é','x'*300,'1234567890','wiki:é/1','[doc]']
def quiet(f, *args, **kw):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return f(*args, **kw)

# The list -----------------------------------------------------------------------------------------------------------------------------

rows = [r for r in datasets() if r.kind!='ir_datasets']

def test_rankify_is_there_whole():
    groups = {g: len(datasets(f'rankify/{g}/')) for g in ('bm25','colbert','bge','dpr','contriever','ance','mss-dpr','mss')}
    assert groups=={'bm25':98, 'colbert':36, 'bge':21, 'dpr':16, 'contriever':15, 'ance':9, 'mss-dpr':8, 'mss':7} and sum(groups.values())==210
    theirs = 'bm25/dl19 bm25/beir-nfc dpr/webq-test dpr/squad1-dev mss/trivia-test contriever/HotpotQA-val bm25/ArchivialQA-val colbert/popqa-test.part1 bm25/mmlu-5_shot'
    assert {f'rankify/{n}' for n in theirs.split()}<=set(names())
    for r in datasets('rankify/'): assert r.hub.startswith('abdoelsayed/reranking-datasets') and len(r.splits)==1 and bool(r.texts)!=bool(r.qrels)

def test_rows_are_consistent():
    every = [n for r in rows for n in (r.name, *r.also)]
    assert len(every)==len(set(every))==len(names())
    for r in rows:
        assert r.kind in readers and r.about['title'] and r.about['task'], r.name
        assert bool(r.hub)!=bool(r.url or any('url' in o for o in r.splits.values())), r.name
        sums = [r.checksum, r.qrels_checksum, *(o.get('checksum', '') for o in r.splits.values())]
        assert all(re.fullmatch(r'(md5:[0-9a-f]{32}|git:[0-9a-f]{40})?', s) for s in sums) and (r.hub or r.kind=='closed' or any(sums)), r.name
        assert r.split()==r.split(r.split()) and set(r.splits)<={'train','dev','test','5_shot','test.part1'}, r.name
        for u in (r.url, r.qrels, *(o.get('url', '') for o in r.splits.values())): assert not u or u.startswith('https://'), u
        if r.texts: assert named(r.texts).kind=='passages'

def test_against_ir_datasets():
    "Addresses, checksums and counts, as another list has them"
    pytest.importorskip('ir_datasets', reason="pip install 'rankwb[irds]'")
    from importlib.resources import files
    theirs,told = (json.loads((files('ir_datasets')/'etc'/f).read_text()) for f in ('downloads.json','metadata.json'))
    known = {o['url']: o for o in (*theirs['beir'].values(), *theirs['dpr-w100'].values())}
    beir = [r for r in rows if r.kind=='beir']
    assert len({r.set for r in beir})==15 and len({r.set for r in rows if r.name.startswith('beir/')})==19 # NQ to BioASQ, MS MARCO too
    for r in (*beir, named('dpr/psgs_w100')):
        assert r.checksum=='md5:'+known[r.url]['expected_md5'] and r.bytes==known[r.url]['size_hint']
        their = {'dpr/psgs_w100':'dpr-w100', 'beir/webis-touche2020':'beir/webis-touche2020/v2'}.get(r.name, r.name)
        assert told[their]['docs']['count']==r.docs
        for s,o in r.splits.items(): assert o['queries']==(told.get(f'{their}/{s}') or told[their])['queries']['count'], r.name

def test_the_list_finds_and_shows():
    found = datasets('natural questions rankify')
    assert len(found)>10 and {'rankify/bm25/nq-test','rankify/dpr/nq-dev'}<={r.name for r in found}
    html = datasets('slot filling')._repr_html_()
    assert 'flashrag/trex' in html and '2,284,168' in html and 'CC BY-SA 4.0' in html
    assert 'Kwiatkowski' in named('nq-open')._repr_html_() or 'Lee et al.' in named('nq-open')._repr_html_()
    assert json.loads(json.dumps(found.to_dict()))['datasets'][0].keys()>={'name','licence','task','bytes','queries','paper'}
    with pytest.raises(KeyError, match='none of these'): found['beir/nq']

@pytest.mark.parametrize('wrong,near', [('rankify/bm25/nq-tset','rankify/bm25/nq-test'), ('beir/scifcat','beir/scifact'), ('stdlb','stdlib'), ('flashrag/triviqa','flashrag/triviaqa')])
def test_unknown_names_list_near_ones(wrong, near):
    with pytest.raises(ValueError, match=f'{wrong}.* did you mean .*{near}'): load(wrong)

def test_options_that_a_set_does_not_take():
    with pytest.raises(TypeError, match="'beir/scifact' takes no k"): load('beir/scifact', k=3)
    with pytest.raises(TypeError, match="'beir/scifact' takes no columns"): load('beir/scifact', columns={})
    with pytest.raises(ValueError, match="no split 'test'; there are train, dev"): load('nq-open', split='test')
    with pytest.raises(ValueError, match='not public; https://.*robust04.*load\\(folder\\)'): load('beir/robust04')

# Questions with passages --------------------------------------------------------------------------------------------------------------

def write(path, o):
    path.write_text(json.dumps(o, ensure_ascii=False))
    return path

def entry(question='q', ctxs=(), **kw): return dict(question=question, answers=['x'], **kw, ctxs=[dict(text='t', score=1) | c for c in ctxs])

def test_what_rankify_gets_wrong(tmp_path):
    f = write(tmp_path/'f.json', [
        dict(question='Claim X is true.', answers='Paris', ctxs=[dict(id=7, title='T', text='In Paris.', score='2.5', has_answer=True), dict(id='007', text='no', score=1, has_answer=False)]),
        dict(question='second', answers=('y',), ctxs=[dict(id='doc1', text='y', score=3, has_answer=True), dict(id=7, title='T', text='In Paris.', score=2)]),
        dict(question='third', ctxs=[])])
    c = read_questions(f)
    assert [q.text for q in c.queries]==['Claim X is true.','second','third']           # no question mark
    assert c.answers=={'q1':('Paris',), 'q2':('y',)}                                   # one answer is not none
    assert c.queries.ids.to_pylist()==['q1','q2','q3'] and 'None' not in c.queries.ids.to_pylist()
    assert c.run.to_dict()=={'q1': {'7':2.5, '007':1}, 'q2': {'doc1':3, '7':2}, 'q3': {}} # `7` is not `007`, each query has its own
    assert c.docs.texts()==['T\nIn Paris.','no','y'] and c.about=={}
    c.save(tmp_path/'kept')
    assert Collection.read(tmp_path/'kept')==c==load(tmp_path/'kept')                   # what is saved is read again
    again = BM25(c.docs)
    assert experiment({'given':c.run, 'again':again}, c, 'Success@1 RR').mean is not None

def test_ids_survive(tmp_path):
    c = read_questions(write(tmp_path/'f.json', [entry(i, [dict(id=d, score=-n, text=d) for n,d in enumerate(ids)], query_id=i) for i in ids]))
    assert c.queries.ids.to_pylist()==ids and c.docs.ids.to_pylist()==ids and all(r.ids==ids for r in c.run)
    save_questions(c.run, c.answers, tmp_path/'g.json')
    assert read_questions(tmp_path/'g.json')==c
    c.save(tmp_path/'kept')
    assert load(tmp_path/'kept').run==c.run

@pytest.mark.parametrize('o,says', [
    ([entry('q', [dict(id=1.5)])], 'question 1, passage 1: 1.5 is no id'), ([entry('q', [dict(id=True)])], 'True is no id'), ([entry('q', [{}])], 'None is no id'),
    ([entry('q', [dict(id='', text='x')])], "'' is no id"), ([dict(question='q', ctxs=[7])], 'question 1, passage 1: expected an object'), ([entry('q', [dict(id=1, text=5)])], 'passage 1: expected an object with an id and a text'), ([entry('a', query_id='None'), entry('b', query_id='None')], "id 'None' stands for two questions"),
    ([entry('q', [dict(id=1, score='high')])], "score 'high' is no number"), ([entry('q', [dict(id=1, has_answer='maybe')])], "has_answer is 'maybe'"),
    ([dict(answers=[])], "question 1: expected an object with a text as 'question'"), ([5], 'question 1'), ([dict(question='q', answers=[{}])], 'answer {} is neither'),
    ([], 'there is no question'), ([entry('q', [dict(id=1, text=None)])], "passage '1' has no text, only its id; say which corpus"),
    ([entry('q', [dict(id=1), dict(id=2, text=None)])], "passage '2' has no text, though others have")])
def test_mistakes_in_files_are_named(tmp_path, o, says):
    with pytest.raises(ValueError, match=re.escape(says)) as e: read_questions(write(tmp_path/'f.json', o))
    assert str(tmp_path/'f.json') in str(e.value)

def test_cut_and_broken_files(tmp_path):
    whole = json.dumps([entry('q', [dict(id=i)]) for i in range(50)]).encode()
    for name,data in {'a.json':whole[:-100], 'b.json.gz':gzip.compress(whole)[:-30], 'c.json':whole.replace(b'1', b'NaN', 1), 'd.json':b'<html>'}.items():
        (tmp_path/name).write_bytes(data)
        with pytest.raises(ValueError, match=name.replace('.', r'\.')): load(tmp_path/name)
    (tmp_path/'ok.json.gz').write_bytes(gzip.compress(whole))
    assert len(load(tmp_path/'ok.json.gz').queries)==50

def test_order_doubles_and_texts_are_told(tmp_path):
    f = write(tmp_path/'f.json', [entry('rising', [dict(id=1, score=1), dict(id=2, score=5)]), entry('fine', [dict(id=1, score=5), dict(id=2, score=5), dict(id=1, score=4)]),
                                  entry('none', [dict(id=3, score=None), dict(id=4, score=2)]), entry('other', [dict(id=1, text='another text')])])
    with pytest.warns(UserWarning) as said: c = read_questions(f)
    assert c.run.to_dict()=={'q1': {'1':-1, '2':-2}, 'q2': {'1':5, '2':5}, 'q3': {'3':-1, '4':-2}, 'q4': {'1':1}}
    assert c.docs['1'].text=='t' and len(said)==3
    assert c.about['scores'].startswith('they rise, or are missing, in 2 rankings') and c.about['doubles'].startswith('1 documents') and c.about['texts'].startswith('1 times')

def test_other_layouts(tmp_path):
    by_id = write(tmp_path/'pyserini.json', {'a 1': dict(question='who?', answers=['x'], contexts=[dict(docid='7', score=2.0, text='title\nx', has_answer=True)])})
    c = load(by_id)
    assert (c.run.to_dict(), c.answers, c.about)==({'a 1': {'7':2}}, {'a 1':('x',)}, {})
    lines = tmp_path/'lines.jsonl'
    lines.write_text('{"id": "test_0", "question": "who?", "golden_answers": ["x", 1997], "metadata": {"choices": ["é"]}}\n\n{"id": "test_1", "question": "why?", "answer": "y"}\n')
    c = load(lines)
    assert (c.answers, c.run, len(c.docs))==({'test_0': ('x','1997'), 'test_1': ('y',)}, None, 0) and c.queries['test_0'].metadata=='{"choices": ["é"]}'
    c.save(tmp_path/'kept')
    assert load(tmp_path/'kept')==c
    assert load(lines, docs={'1':'x'}).docs['1'].text=='x'

# A real file --------------------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def wikipedia(shared):
    c = load(shared/'data'/'xquad'/'xquad.en.json')
    return c,BM25(c.docs)(c.queries[:300]) % 30

def test_a_file_of_ours_comes_back(wikipedia, tmp_path):
    c,run = wikipedia
    save_questions(run, c.answers, tmp_path/'bm25.json')
    back = load(tmp_path/'bm25.json')
    assert back.run==run and back.answers=={q: c.answers[q] for q in run.query_ids.to_pylist()} and back.about=={}
    assert back.run.texts()==run.texts()
    light = [{**o, 'ctxs': [{k: p[k] for k in ('id','score','has_answer')} for p in o['ctxs']]} for o in json.loads((tmp_path/'bm25.json').read_text())]
    other = load(write(tmp_path/'light.json', light), docs=c.docs)
    assert other.run==run and other.qrels==back.qrels and other.about=={} and other.run.texts()==run.texts()
    light[3]['ctxs'][2]['has_answer'] ^= True
    told = quiet(load, write(tmp_path/'light.json', light), docs=c.docs)
    assert told.about['marks'].startswith(f'1 of {len(run.codes):,} marks of the file differ') and told.qrels==back.qrels
    best = load(tmp_path/'bm25.json', k=5)
    assert best.run==run%5 and len(best.docs)<len(back.docs)
    results = experiment({'given':back.run, 'best':best.run}, back, 'Success@1 Success@5 Success@20', baseline='given')
    assert results.mean['Success@5']['given']==results.mean['Success@5']['best']>results.mean['Success@1']['given']

def test_published_files_are_those_of_the_list(shared):
    assert named('nq-open').splits['dev']['checksum']==checksum(shared/'data'/'nq-open'/'NQ-open.dev.jsonl', 'git')
    for l in ('en','de','es'): assert named(f'xquad/{l}').splits['test']['checksum']==checksum(shared/'data'/'xquad'/f'xquad.{l}.json', 'git')

def test_real_files_by_name(site, online, shared):
    for name,file in {'nq-open':'nq-open/NQ-open.dev.jsonl', 'xquad/en':'xquad/xquad.en.json'}.items():
        row = named(name)
        site.put(re.sub('https://[^/]*', '', row.splits[row.split()]['url']), (shared/'data'/file).read_bytes(), dict(cut=100_000))
    c = load('nq-open', mirror=site.home)
    assert len(c.queries)==3610 and c.answers['q1']==('14 December 1972 UTC','December 1972') and c.about['licence']=='CC BY-SA 3.0'
    assert load('xquad/en', mirror=site.home)==load(shared/'data'/'xquad'/'xquad.en.json')
    site.close()
    assert load('nq-open', mirror=site.home)==c

# By name ------------------------------------------------------------------------------------------------------------------------------

psgs = 'id\ttext\ttitle\n' + ''.join(f'{i}\t"Passage ""{i}"" of\tWikipedia"\tTitle {i}\n' for i in range(1, 400))

def with_row(monkeypatch, name, **changes):
    row = replace(named(name), **changes)
    monkeypatch.setattr(published, 'named', lambda n: row if n in (row.name, *row.also) else named(n))
    return row

@pytest.fixture
def w100(site, online, monkeypatch):
    data = gzip.compress(psgs.encode(), mtime=0)
    site.put('/dpr/wikipedia_split/psgs_w100.tsv.gz', data)
    with_row(monkeypatch, 'dpr/psgs_w100', checksum=f'md5:{hashlib.md5(data).hexdigest()}')
    return site

def test_passages(w100):
    c = load('dpr/psgs_w100', mirror=w100.home)
    assert len(c.docs)==399 and c.docs.ids[0].as_py()=='1' and c.docs['1'].text=='Passage "1" of\tWikipedia' and c.docs.texts(['399'])==['Title 399\nPassage "399" of\tWikipedia']
    w100.files.clear()
    assert load('dpr/psgs_w100', mirror=w100.home)==c

def rankify(site, name, entries, **how):
    row = named(name)
    hub(site, row.hub, row.splits[row.split()]['file'], json.dumps(entries).encode(), **how)

light = [dict(question=f'who is {i}', answers=[f'"{i}"'], ctxs=[dict(id=j, score=20-n, has_answer=i==j) for n,j in enumerate(range(i, i+5))]) for i in range(1, 50)]

def test_rankify_by_name(w100):
    rankify(w100, 'rankify/bm25/nq-test', light)
    with pytest.raises(ValueError, match=r"ids alone, of dpr/psgs_w100, which is not on this machine; load\('dpr/psgs_w100'\) fetches 4.7 GB"): load('rankify/bm25/nq-test', mirror=w100.home)
    load('dpr/psgs_w100', mirror=w100.home)
    c = load('rankify/bm25/nq-test', mirror=w100.home)
    assert c.run['q1'].ids==['1','2','3','4','5'] and c.docs['1'].title=='Title 1' and c.about['licence']=='CC BY-SA 3.0; files Apache-2.0'
    assert c.qrels['q7']=={'7':1, '8':0, '9':0, '10':0, '11':0} and 'marks' not in c.about
    assert c.run.name==c.name=='rankify/bm25/nq-test' and 'Kwiatkowski' in c.about['paper']
    best = load('rankify/bm25/nq-test', mirror=w100.home, k=2)
    assert best.run==c.run%2
    n = len(w100.asked)
    w100.close()
    assert load('rankify/bm25/nq-test')==c and load('rankify/bm25/nq-test', k=2)==best and len(w100.asked)==n

def test_a_corpus_that_is_another(w100, tmp_path):
    rankify(w100, 'rankify/bm25/nq-test', light)
    docs = Docs.from_dict({str(i): f'text {i}' for i in range(1, 50)})
    with pytest.raises(ValueError, match="'50' is not an id.*another corpus was searched"): load('rankify/bm25/nq-test', mirror=w100.home, docs=docs)
    more = Docs.from_dict({str(i): f'"{i}"' for i in range(1, 60)})
    c = load('rankify/bm25/nq-test', docs=more)
    assert c.docs['7'].text=='"7"' and c!=quiet(load, 'rankify/bm25/nq-test', docs=Docs.from_dict({str(i): f'{i}' for i in range(1, 60)}))

def test_other_names_and_full_texts(site, online):
    rankify(site, 'rankify/dpr/webq-test', [entry('who', [dict(id=1, text='x', title='T')])])
    c = load('rankify/dpr/webq-test', mirror=site.home)
    assert c==load('rankify/dpr/web_questions-test') and c.name=='rankify/dpr/web_questions-test' and c.docs.texts()==['T\nx']

def test_judgments_of_trec(site, online, monkeypatch):
    "Where documents were judged by people, their judgments are taken"
    text = '19335 Q0 1017759 0\n19335 Q0 8 2\n'
    row = with_row(monkeypatch, 'rankify/bm25/dl19', qrels_checksum=f'md5:{hashlib.md5(text.encode()).hexdigest()}')
    site.put(re.sub('https://[^/]*', '', row.qrels), text.encode())
    rankify(site, 'rankify/bm25/dl19', [entry('anthropological definition of environment', [dict(id=8)], query_id=19335) | dict(answers=[''])])
    c = load('rankify/bm25/dl19', mirror=site.home)
    assert c.qrels.to_dict()=={'19335': {'1017759':0, '8':2}} and c.run.to_dict()=={'19335': {'8':1}} and c.answers=={} and c.about['judgments']==row.qrels

def test_patterns_as_answers(site, online):
    o = [dict(question='when', answers=[r'19\d\d'], ctxs=[dict(id=1, text='in 1997', score=2, has_answer=True), dict(id=2, text='never', score=1, has_answer=False)])]
    rankify(site, 'rankify/bge/curatedtrec-test', o)
    c = load('rankify/bge/curatedtrec-test', mirror=site.home)
    assert c.qrels['q1']=={'1':1, '2':0} and c.about.get('marks') is None

def test_truncated_is_not_whole(site, online):
    entries = [entry(f'question {i}', [dict(id=j) for j in range(200)]) for i in range(50)]
    rankify(site, 'rankify/dpr/nq-dev', entries)
    sha = next(p for p in site.files if p.startswith('/cdn/'))
    site.files[sha]['plan'] = [dict(cut=100_000), *[dict(cut=0)]*9]
    with pytest.raises(DownloadError, match='ask again to go on'): load('rankify/dpr/nq-dev', mirror=site.home)
    site.files[sha]['plan'].clear()
    assert len(load('rankify/dpr/nq-dev', mirror=site.home).queries)==50 and site.ranges(sha)[-1]>0

def test_flashrag(site, online):
    row = named('flashrag/wikiqa')
    lines = '\n'.join(json.dumps(dict(id=f'test_{i}', question=f'who {i}', golden_answers=[f'a{i}'], metadata={})) for i in range(30))
    hub(site, row.hub, 'wiki_qa/test.jsonl', lines.encode())
    c = load('flashrag/wikiqa', mirror=site.home)
    assert (len(c.queries), len(c.docs), c.answers['test_3'], c.name)==(30, 0, ('a3',), 'flashrag/wiki_qa-test')
    assert c.about['licence']=='not told; files CC BY-SA 4.0'
    assert load('flashrag/wiki_qa', docs={'1':'x'}).docs['1'].text=='x' and 'metadata' not in c.queries.table.column_names
    with pytest.raises(DownloadError): load('flashrag/wiki_qa', split='dev', mirror=site.home)

def test_contents(site, online):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, 'w') as z: z.writestr('wiki18_100w.jsonl', '{"id": 0, "contents": "\\"Aaron\\"\\nAaron is"}\n{"id": "007", "contents": "x"}\n')
    hub(site, 'RUC-NLPIR/FlashRAG_datasets', 'retrieval-corpus/wiki18_100w.zip', packed.getvalue())
    assert load('flashrag/wiki18_100w', mirror=site.home).docs.to_dict()=={'0': dict(text='"Aaron"\nAaron is'), '007': dict(text='x')}

beir = {'corpus.jsonl': ''.join(json.dumps(dict(_id=i, title=f't {i}', text=f'text of {i}', metadata={'url':'x'}))+'\n' for i in ids),
        'queries.jsonl': ''.join(json.dumps(dict(_id=f'q{n}', text=f'about {i}', metadata={}))+'\n' for n,i in enumerate(ids)),
        'qrels/test.tsv': 'query-id\tcorpus-id\tscore\n' + ''.join(f'q{n}\t{i}\t1\n' for n,i in enumerate(ids) if n<4), 'qrels/dev.tsv': 'query-id\tcorpus-id\tscore\nq5\t1\t1\n'}

def zipped(folder, parts=beir):
    f = io.BytesIO()
    with zipfile.ZipFile(f, 'w', zipfile.ZIP_DEFLATED) as z:
        for n,text in parts.items(): z.writestr(f'{folder}/{n}', text)
    return f.getvalue()

def test_beir(site, online, monkeypatch, tmp_path):
    data = zipped('scifact')
    row = with_row(monkeypatch, 'beir/scifact', checksum=f'md5:{hashlib.md5(data).hexdigest()}')
    site.put('/thakur/BEIR/datasets/scifact.zip', data, dict(cut=300))
    c = load('beir/scifact', mirror=site.home)
    assert c.docs.ids.to_pylist()==ids and c.qrels.to_dict()=={f'q{n}': {i:1} for n,i in enumerate(ids[:4])}
    assert c.docs['007'].metadata=='{"url": "x"}' and c.about['licence']=='CC BY-NC 2.0; files CC BY-SA 4.0'
    assert load('beir/scifact', split='dev').queries.ids.to_pylist()==['q5']
    with pytest.raises(ValueError, match="no split 'train'; there are dev, test"): load('beir/scifact', split='train')
    for n,text in beir.items():
        (tmp_path/'b'/n).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/'b'/n).write_text(text)
    folder = load(tmp_path/'b')
    assert folder.docs.texts()==c.docs.texts() and folder.queries.texts()==c.queries.texts() and folder.qrels==c.qrels

def test_a_forum_of_cqadupstack(site, online, monkeypatch):
    data = zipped('cqadupstack/gis')
    with_row(monkeypatch, 'beir/cqadupstack/gis', checksum=f'md5:{hashlib.md5(data).hexdigest()}')
    site.put('/thakur/BEIR/datasets/cqadupstack.zip', data)
    assert load('beir/cqadupstack/gis', mirror=site.home).docs.ids.to_pylist()==ids
    with_row(monkeypatch, 'beir/cqadupstack/tex', checksum=f'md5:{hashlib.md5(data).hexdigest()}')
    with pytest.raises(ValueError, match='no cqadupstack/tex/corpus.jsonl in it'): load('beir/cqadupstack/tex', mirror=site.home)

def test_another_file_than_the_lists_is_refused(site, online, tmp_path):
    site.put('/thakur/BEIR/datasets/scifact.zip', zipped('scifact'))
    with pytest.raises(DownloadError, match='checksum is md5:.* expected md5:5f7d1de60b170fc8027bb7898e2efca1'): load('beir/scifact', mirror=site.home)
    assert not [f for f in (tmp_path/'cache').rglob('*.zip') if f.is_file()] and not list((tmp_path/'cache').rglob('*.arrow'))

def test_a_killed_conversion_leaves_nothing(site, online, monkeypatch):
    rankify(site, 'rankify/dpr/nq-dev', [entry('q', [dict(id=1)])])
    monkeypatch.setattr(published, 'read_questions', lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt): load('rankify/dpr/nq-dev', mirror=site.home)
    monkeypatch.undo()

# Passages of DPR, as Python's csv reads them ------------------------------------------------------------------------------------------

cell = st.text(alphabet='ab"\'\t\n,é \\', max_size=12)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=st.lists(st.tuples(cell, cell), min_size=1, max_size=30), size=st.integers(1, 7))
def test_passages_are_read_as_they_were_written(tmp_path, cells, size):
    with open(tmp_path/'p.tsv', 'w', newline='', encoding='utf-8') as f:
        w = csv.writer(f, delimiter='\t')
        w.writerow(['id','text','title'])
        w.writerows([(i, *c) for i,c in enumerate(cells, 1)])
    found = [r for b in read_passages(tmp_path/'p.tsv', size) for r in b.to_pylist()]
    assert found==[dict(id=str(i), title=c[1], text=c[0]) for i,c in enumerate(cells, 1)]

@pytest.mark.parametrize('text,says', [('1\tx\ty\n', 'expected the columns id, text, title'), ('id\ttext\ttitle\n1\tx\n', "row of \\['1'\\] has 2 columns"), ('', 'begins with None')])
def test_mistakes_in_passages(tmp_path, text, says):
    (tmp_path/'p.tsv').write_text(text)
    with pytest.raises(ValueError, match=says): list(read_passages(tmp_path/'p.tsv'))
    (tmp_path/'p.tsv.gz').write_bytes(gzip.compress(psgs.encode())[:-20])
    with pytest.raises(ValueError, match='cut off'): list(read_passages(tmp_path/'p.tsv.gz'))

# The hub ------------------------------------------------------------------------------------------------------------------------------

@pytest.fixture
def folder(tmp_path, monkeypatch):
    datasets = pytest.importorskip('datasets', reason="pip install 'rankwb[hub]'")
    monkeypatch.setattr(datasets.config, 'HF_DATASETS_CACHE', str(tmp_path/'hf'))
    datasets.disable_progress_bars()
    import pyarrow.parquet as pq
    def put(name, **columns):
        (tmp_path/'data'/name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), tmp_path/'data'/name)
        return f'hub:{tmp_path/"data"}/{name.split("/")[0]}'
    return put

def test_hub_columns(folder):
    where = folder('wiki/train.parquet', docid=ids, passage=[f'text {i}' for i in ids], n=list(range(len(ids))))
    c = load(where, columns=dict(id='docid', text='passage'))
    assert c.docs.ids.to_pylist()==ids and c.docs.texts()==[f'text {i}' for i in ids] and c.docs['007'].n==1
    assert load(where).docs==c.docs                                      # these are usual names
    assert load(folder('rows/train.parquet', text=['a','b']), columns=dict(id=None)).docs.ids.to_pylist()==['0','1']
    assert load(folder('whole/train.parquet', id=[3,12345678901], text=['a','b'])).docs.ids.to_pylist()==['3','12345678901']
    with pytest.raises(ValueError, match="no column 'body'; there are docid, passage, n"): load(where, columns=dict(text='body'))
    swapped = load(folder('swap/train.parquet', id=['x','y'], text=['1','2']), columns=dict(id='text', text='id'))
    assert swapped.docs.ids.to_pylist()==['1','2'] and swapped.docs.texts()==['x','y']
    with pytest.raises(ValueError, match='which column is the id.*It has'): load(folder('two/train.parquet', docid=['1'], pid=['2'], text=['a']))
    with pytest.raises(ValueError, match='ids of type double'): load(folder('f/train.parquet', id=[.5], text=['a']))
    with pytest.raises(ValueError, match='which column is the id'): load(folder('g/train.parquet', text=['a']))
    with pytest.raises(ValueError, match='hub:.*validation'): load(where, split='validation', columns=dict(id='docid'))

def test_hub_parts(folder):
    folder('parts/c.parquet', id=['1','007'], text=['x','y'])
    folder('parts/q.parquet', id=['a','b'], question=['who','why'], golden=[['x','z'],[]])
    where = folder('parts/r.parquet', qid=['a'], docid=['007'], label=[2.0])
    (Path(where[4:])/'README.md').write_text('---\nconfigs:\n' + ''.join(f'- config_name: {n}\n  data_files: [{{split: test, path: {n}.parquet}}]\n' for n in 'cqr')+'---')
    columns = {'docs': dict(config='c', split='test'), 'queries': dict(config='q', split='test', answers='golden'), 'qrels': dict(config='r', split='test')}
    c = load(where, columns=columns)
    assert (c.docs.ids.to_pylist(), c.answers, c.qrels.to_dict(), c.queries['b'].text)==(['1','007'], {'a':('x','z')}, {'a': {'007':2}}, 'why')
    assert load(where, columns={'queries': columns['queries']}).docs.ids.to_pylist()==[]
    with pytest.raises(ValueError, match="no column 'gold'"): load(where, columns={'queries': dict(config='q', split='test', answers='gold')})
    with pytest.raises(ValueError, match='which column is the grade'): load(where, columns={'qrels': dict(config='r', split='test', grade='x')})
