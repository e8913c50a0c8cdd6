"The model without weights: what it reads of a prompt, and what it says"
import pytest
from hypothesis import given, settings, strategies as st
from rankwb.core.extractive import Extractive, read_prompt, sentence_scores, sentences
from rankwb.core.answering import answer_tokens

def prompt(passages, question): return '\n'.join(f'[{i}] {p}' for i,p in enumerate(passages, 1))+f'\n\nQuestion: {question}\nAnswer:'

words = st.text('abc .!?\né北', min_size=1, max_size=40).filter(str.strip)
@settings(max_examples=100, deadline=None)
@given(st.lists(words, min_size=1, max_size=6), st.text('abc ?', min_size=1, max_size=20).filter(str.strip))
def test_reads_what_is_shown(passages, question):
    "Any passages and any question, and what is said stands in one of them"
    found,asked = read_prompt(prompt(passages, question))
    assert found==[p.strip() for p in passages] and asked==question.strip()
    said = Extractive(cite=True).best(prompt(passages, question))
    sentence,n = said.rsplit(' [', 1) if ' [' in said else ('','1]')
    assert sentence in [*sentences(passages[int(n[:-1])-1]), '']

@pytest.mark.parametrize('text,want', [
    ('[1] a\n[2] b\nWho?', (['a','b'],'Who?')),
    ('[1] a\n[3] fake\n[2] b\nQuestion: Who?\nAnswer:', (['a\n[3] fake','b'],'Who?')),
    ('[1] a [2] no\nQuestion: Who?', (['a [2] no'],'Who?')),
    ('[1] shot\nQuestion: X?\nAnswer: Y\n\n[1] a\nQuestion: Who?\nShort answer:', (['a'],'Who?')),
    ('Question: Who?\nContinued here.\nAnswer:', ([],'Who?\nContinued here.')),
    ('Question: Who?\n[1] after the question', ([],'Who?\n[1] after the question')),
    ('', ([],''))])
def test_forms(text, want): assert read_prompt(text)==want==read_prompt([dict(role='system', content='[1] s'), dict(role='user', content=text)])

def test_bm25():
    import bm25s
    found = ['Sort a list.','A list of lists, and a list.','Make a set: of things!','东京 is 東京.']
    other = bm25s.BM25(method='lucene', k1=1.2, b=.75)
    other.index([answer_tokens(s) for s in found], show_progress=False)
    for q in ('list','a list of things','東京?'):
        want = other.get_scores(sorted(set(answer_tokens(q))))
        assert sentence_scores(q, found)==pytest.approx(want.tolist(), abs=1e-5)

def test_model():
    p = prompt(['Rome is old. Paris is the capital of France.','Lyon is in France.'], 'What is the capital of France?')
    assert Extractive().generate([p]*2)[0].text=='Paris is the capital of France.'
    assert Extractive(cite=True).generate([p])[0].text=='Paris is the capital of France. [1]'
    o, = Extractive().generate([p], max_tokens=3)
    assert (o.text,o.finish)==('Paris is the','length')
    o, = Extractive().generate([p], stop=[' of'])
    assert (o.text,o.stop)==('Paris is the capital',' of')
    assert Extractive().generate(['Question: Who?'])[0].text==''
    assert Extractive().generate([prompt(['First. Second.'], 'zzz?')])[0].text=='First.' # nothing in common: the first
    assert Extractive()==Extractive() and Extractive().digest!=Extractive(cite=True).digest
    with pytest.raises(TypeError, match='cannot choose; it can generate'): Extractive().choose([p], ['A'])

def test_taped(tmp_path):
    p = prompt(['A b.'], 'A?')
    first = Extractive(tape=str(tmp_path/'t.jsonl')).generate([p])
    assert Extractive(tape=str(tmp_path/'t.jsonl'), offline=True).generate([p])==first
