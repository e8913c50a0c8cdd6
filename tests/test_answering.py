"Whether a passage holds an answer, against the code that the field's numbers come from"
import importlib.util, json, random, sys, unicodedata, warnings
import pytest
from hypothesis import example, given, settings, strategies as st
from rankwb.core.answering import answer_accuracy, answer_qrels, answer_tokens, has_answer, holds_answer
from rankwb.core.loading import load
from rankwb.core.rankings import Run
from rankwb.core.records import Docs
from rankwb.evaluation.evaluate import evaluate
from rankwb.retrieval.bm25 import BM25

@pytest.fixture(scope='module')
def theirs():
    "The module of Pyserini that evaluates retrieval for questions, without the rest of Pyserini, which wants Java"
    spec = importlib.util.find_spec('pyserini')
    if spec is None: pytest.skip("pip install 'rankwb[lucene]'")
    path = f'{spec.submodule_search_locations[0]}/eval/evaluate_dpr_retrieval.py'
    spec = importlib.util.spec_from_file_location('evaluate_dpr_retrieval', path)
    m = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(m)
    m.tokenizer = m.SimpleTokenizer()
    return m

def their_tokens(m, text): return m.tokenizer.tokenize(m._normalize(text)).words(uncased=True)

def test_tokens_of_all_of_unicode(theirs):
    "Every character, alone and in a word; those that somebody uses also doubled and between letters"
    chars = [chr(i) for i in range(sys.maxunicode+1) if not 0xd800<=i<0xe000]
    rng = random.Random(0)
    rng.shuffle(chars)
    used = lambda c: unicodedata.category(c) not in ('Cn','Co') and not unicodedata.name(c, '').startswith(('CJK UNI','HANGUL SYL','TANGUT IDEO'))
    for i in range(0, len(chars), 5000):
        text = ''.join(f'{c} a{c}Σ{c}{c}' if used(c) else f'{c} a{c}' for c in chars[i:i+5000])
        assert answer_tokens(text)==their_tokens(theirs, text)
    for i in range(128): assert answer_tokens(text := f'{i:c} A{i:c}z{i:c}{i:c}9')==their_tokens(theirs, text)

cased = st.text(alphabet='aAbB İıßſΣσς.,\'’-_1½②éÉe\u0301\u00a0\u200b\n\x00東京カタがパ\U0001f600', max_size=30)
@settings(max_examples=500, deadline=None)
@given(text=cased, answers=st.lists(cased, max_size=3))
@example(text='ΑΣ\'Α ΟΔΟΣ', answers=['ασ'])
@example(text='a\u0301b', answers=['áb'])
def test_the_rule_is_theirs(theirs, text, answers):
    mine = holds_answer(text, answers)
    if any(not their_tokens(theirs, a) for a in answers): answers = [a for a in answers if their_tokens(theirs, a)]   # an answer of no tokens
    assert mine==theirs.has_answers(text, answers, theirs.tokenizer)

@settings(max_examples=300, deadline=None)
@given(text=cased, start=st.integers(0, 30), size=st.integers(1, 10))
def test_what_stands_there_is_found(theirs, text, start, size):
    "Pieces of the text itself, of which some begin inside a word"
    part = text[start:start+size]
    if their_tokens(theirs, part): assert holds_answer(text, part)==theirs.has_answers(text, [part], theirs.tokenizer)

def test_an_empty_answer_is_no_answer(theirs):
    assert theirs.has_answers('anything', [''], theirs.tokenizer) and not holds_answer('anything', '')

@pytest.fixture(scope='module')
def wikipedia(shared):
    c = load(shared/'data'/'xquad'/'xquad.en.json')
    return c,BM25(c.docs)(c.queries) % 40

def test_wikipedia(wikipedia, theirs):
    c,run = wikipedia
    run = run[:120]
    mine = has_answer(run, c.answers)
    texts = c.docs.table['text'].to_pylist()
    expected = [theirs.has_answers(texts[d], c.answers[run.query_ids[int(q)].as_py()], theirs.tokenizer) for q,d in zip(run.row_queries, run.doc_rows())]
    assert mine.tolist()==expected and 100<mine.sum()<1200
    assert has_answer(run, c.answers, block=777).tolist()==expected

def test_patterns(wikipedia, theirs):
    c,run = wikipedia
    run = run[:60]
    patterns = {q: [r'\b(the|an?) '+a[0].split()[0].replace('(', r'\('), r'^\W*$'] for q,a in c.answers.items()}
    texts = c.docs.table['text'].to_pylist()
    expected = [theirs.has_answers(texts[d], patterns[run.query_ids[int(q)].as_py()], theirs.tokenizer, regex=True) for q,d in zip(run.row_queries, run.doc_rows())]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        mine = has_answer(run, patterns, regex=True)
    assert mine.tolist()==expected and 0<mine.sum()<len(mine)
    q = run.query_ids[0].as_py()
    with pytest.warns(UserWarning, match=r"1 answers are no regular expressions and find nothing, the first 'a\('"): broken = has_answer(run, {q: ['a(']}, regex=True)
    assert not broken.any() and not theirs.has_answers(texts[0], ['a('], theirs.tokenizer, regex=True)

def test_accuracy_is_what_their_program_prints(wikipedia, theirs, tmp_path, capsys):
    c,run = wikipedia
    told = {r.query_id: dict(question='', answers=list(c.answers[r.query_id]), contexts=[dict(docid=d, text='title\n'+c.docs[d].text.replace('\n', ' ')) for d in r.ids]) for r in run[:150]}
    (tmp_path/'retrieved.json').write_text(json.dumps(told))
    theirs.evaluate_retrieval(tmp_path/'retrieved.json', [1,5,20])
    printed = [float(l.split()[-1]) for l in capsys.readouterr().out.splitlines() if l.startswith('Top')]
    mine = answer_accuracy(run[:150], {q: c.answers[q] for q in told}, (1,5,20))
    assert [round(v, 4) for v in mine.values()]==printed and 0<mine[1]<mine[20]<=1
    success = evaluate(run[:150], answer_qrels(run[:150], c.answers), 'Success@1 Success@5 Success@20').mean
    assert list(success.values())==pytest.approx(list(mine.values()))

def test_every_question_with_answers_counts():
    docs = Docs.from_dict({'1': 'a b', '2': 'c'})
    run = Run.from_dict({'x': {'1':2, '2':1}, 'y': {'2':1}, 'z': {}}, docs=docs)
    golds = {'x': ['c'], 'y': ['b'], 'z': ['c'], 'lost': ['a'], 'no answers': []}
    assert answer_accuracy(run, golds, (1,2))=={1:0, 2:.25}
    assert answer_qrels(run, golds).to_dict()=={'x': {'1':0, '2':1}, 'y': {'2':0}, 'z': {}}
    assert answer_accuracy(Run.from_dict({'x': {}}, docs=docs), {'x': ['a']}, (1,))=={1:0}
    with pytest.raises(ValueError, match='no question has a gold answer'): answer_accuracy(run, {'x': []})
    with pytest.raises(ValueError, match='docs='): has_answer(Run.from_dict({'x': {'1':1}}), golds)
    with pytest.raises(TypeError, match='3 is no string'): has_answer(run, {'x': [3]})
