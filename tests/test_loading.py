"Collections as others publish them: real files where they are beside the project, and the catalogue of ir_datasets"
from pathlib import Path
from typing import NamedTuple
import pytest
from rankwb.core.data import Collection
from rankwb.core.loading import from_catalogue, load

shared = Path(__file__).parents[2]/'shared'/'data'
here = pytest.mark.skipif(not shared.is_dir(), reason='the test collections are not in ../shared/data')

@here
@pytest.mark.parametrize('name,docs,queries,judgments', [('cacm',3204,52,796), ('vaswani',11429,93,2083), ('xquad/xquad.en.json',240,1190,1190), ('xquad/xquad.es.json',240,1190,1190), ('xquad/xquad.de.json',240,1190,1190)])
def test_real_collections(name, docs, queries, judgments, tmp_path):
    c = load(shared/name)
    assert (len(c.docs), len(c.queries), len(c.qrels.codes))==(docs, queries, judgments)
    assert set(c.qrels.query_ids.to_pylist())<=set(c.queries.ids.to_pylist())
    c.save(tmp_path/'kept')
    back = Collection.read(tmp_path/'kept')
    assert back==c and back.digest==c.digest and back.answers==c.answers and load(tmp_path/'kept')==c

@here
def test_every_judged_document_is_there():
    c = load(shared/'vaswani')
    c.docs.rows(c.qrels.doc_ids)    # a KeyError names one that is not
    assert c.docs['11429'].text.split() and '<' not in ''.join(c.docs.texts())

class Doc(NamedTuple):
    doc_id:str
    title:str
    body:str
class Query(NamedTuple):
    query_id:str
    text:str
    narrative:str
class Qrel(NamedTuple):
    query_id:str
    doc_id:str
    relevance:int
    iteration:str

class Published:
    "A dataset as ir_datasets gives it, which counts how often its documents are read"
    reads = 0
    def docs_iter(self):
        self.reads += 1
        yield from (Doc(f'{i:03}', f'title {i}', f'body {i}') for i in range(5))
    def queries_iter(self): yield Query('7', 'what is é', 'longer')
    def qrels_iter(self): yield Qrel('7', '003', 2, '0'); yield Qrel('7', '004', -1, '0')
    def has_queries(self): return True
    def has_qrels(self): return True

def test_catalogue(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    given = Published()
    for _ in range(2):
        c = from_catalogue(given, 'made/up')
        assert c.docs.texts(['003'])==['title 3\nbody 3']
        assert c.queries.to_dict()=={'7': dict(text='what is é', narrative='longer')}
        assert c.qrels.to_dict()=={'7': {'003':2, '004':-1}}
    assert given.reads==1

def test_catalogue_knows_its_names():
    pytest.importorskip('ir_datasets', reason="pip install 'rankwb[irds]'")
    with pytest.raises(ValueError, match='did you mean .*vaswani'): load('vaswanni')
