"Measures of answers give what four peers gave for the same cases, and never a number for what was not answered"
import json, re, signal, subprocess, sys, time, unicodedata
from pathlib import Path
import numpy as np, pytest
from hypothesis import given, settings, strategies as st

from rankwb.core.answering import answer_accuracy, answer_qrels
from rankwb.core.answers import Answer, Answers, Passage
from rankwb.core.data import Collection, Docs, Qrels, Queries
from rankwb.core.llm import Scripted
from rankwb.core.loading import read_squad
from rankwb.core.questions import read_questions, save_questions
from rankwb.core.runs import Run
from rankwb.evaluation.answers import EM, F1, Attempts, Contains, HasEvidence, TokenP, TokenR, refuses
from rankwb.evaluation.citations import NLI, citations
from rankwb.evaluation.evaluate import evaluate
from rankwb.evaluation.measures import parse_measures
from rankwb.evaluation.normalising import languages, normalisers, squad, unicode
from rankwb.evaluation.overlap import BERTScore
from rankwb.experiments.experiment import Results, experiment
import rankwb.experiments.report
from rankwb.rag.context import Context
from rankwb.rag.direct import Direct

# The peers' numbers ------------------------------------------------------------------------------------------------------------------

peers = { # (peer, what it calls it) → the measure here
    ('flashrag','em'): EM, ('flashrag','acc'): Contains(whole=False), ('flashrag','f1'): F1(rule='hotpot'),
    ('flashrag','precision'): TokenP(rule='hotpot', independent=True), ('flashrag','recall'): TokenR(rule='hotpot', independent=True),
    ('pyterrier_rag','em'): EM(norm='pyterrier-rag'), ('pyterrier_rag','f1'): F1(rule='hotpot', norm='pyterrier-rag'),
    ('rankify','em'): EM(norm='rankify'), ('rankify','contains'): Contains(whole=False, norm='rankify'), ('rankify','f1'): F1(norm='rankify')}

@pytest.fixture(scope='module')
def cases(shared): return json.loads((shared/'oracles'/'rag_metrics.json').read_text())

def attempts(cases): return Attempts.of(*((c['pred'], c['golds']) for c in cases))

@pytest.mark.parametrize('peer,name', peers)
def test_what_peers_computed(cases, peer, name):
    ours = peers[peer,name].compute(attempts(cases))
    assert len(cases)==37
    np.testing.assert_allclose(ours, [c[peer][name] for c in cases], atol=1e-12)

def test_f1_of_autorag(cases): np.testing.assert_allclose(F1.compute(attempts(cases)), [c['autorag_token_f1'] for c in cases], atol=1e-12)

def test_normal_form_of_squad(cases):
    assert [squad(c['pred']) for c in cases]==[c['norm_pred'] for c in cases]
    assert [[squad(g) for g in c['golds']] for c in cases]==[c['norm_golds'] for c in cases]

def differ(cases, a, b): return {c['name'] for c,x,y in zip(cases, a.compute(attempts(cases)), b.compute(attempts(cases))) if x!=y}

def test_where_unicode_differs_from_squad(cases):
    more = {'unicode quotes/dash','hyphen','curly apostrophe','NFD vs NFC','underscore'}   # right here, and wrong by SQuAD
    less = {'punct glue','decimal','article in unit','minus'}                              # 3,000-km, 3.14 = 314, Vitamin A, -5 = 5
    assert differ(cases, EM, EM(norm='unicode'))==more|less
    by = {c['name']: v for c,v in zip(cases, EM(norm='unicode').compute(attempts(cases)))}
    assert [by[n] for n in more]==[1]*5 and [by[n] for n in less]==[0]*4
    assert by['CJK differ']==by['Arabic differ']==by['accent fold']==by['multiple-choice letter A']==0

def test_whole_words_and_letters(cases):
    assert differ(cases, Contains, Contains(whole=False))=={'article-only gold','no in know','substr in word','multiple-choice letter A'}

def test_precision_and_recall_belong_to_f1(cases):
    for rule in ('squad','squad2','hotpot'):
        p,r,f = (m(rule=rule).compute(attempts(cases)) for m in (TokenP,TokenR,F1))
        np.testing.assert_allclose(np.divide(2*p*r, p+r, out=np.zeros(37), where=p+r>0), f, atol=1e-12)
    assert (TokenR(independent=True).compute(attempts(cases))>=TokenR.compute(attempts(cases))).all()

# Text of all kinds -------------------------------------------------------------------------------------------------------------------

some = st.one_of(st.text(max_size=12), st.lists(st.sampled_from(["the","A","l'","ال","U.S.A.","1,000","-5","−","’s","東京","é","e\u0301"," ","\u200b","."]), max_size=6).map(''.join))

@settings(max_examples=400, deadline=None)
@given(some, st.sampled_from(list(languages)))
def test_something_is_left(text, language):
    left = unicode(text, language)
    assert bool(left)==bool(text)
    assert unicode(unicodedata.normalize('NFC', text), language)==unicode(unicodedata.normalize('NFD', text), language)

@settings(max_examples=100, deadline=None)
@given(some, st.sampled_from(list(normalisers)))
def test_an_answer_equals_itself(text, norm):
    a = Attempts.of((text, text))
    assert EM(norm=norm).compute(a)==[1]
    for m in parse_measures("F1(rule='squad2') TokenP(rule='squad2') Contains(whole=False)"): assert m(norm=norm).compute(a)==[1]

@pytest.mark.parametrize('answer,gold', [('東京','北京'), ('القاهرة','بغداد'), ('Αθήνα','Σπάρτη'), ('मुंबई','दिल्ली'), ('กรุงเทพ','เชียงใหม่'), ('Москва','Минск')])
def test_other_scripts_are_not_equal(answer, gold):
    both = Attempts.of((answer, gold), (answer, answer), (f'({answer})', answer))
    for norm in ('squad','unicode','triviaqa','dpr'): assert EM(norm=norm).compute(both).tolist()==[0,1,1]
    for m in (F1, Contains, F1(norm='unicode'), Contains(norm='unicode')): assert m.compute(both).tolist()==[0,1,1]

def test_whole_words_in_scripts_without_blanks():
    within = Attempts.of(('答えは東京です','東京'), ('答えは北京です','東京'), ('ผมอยู่กรุงเทพครับ','กรุงเทพ'), ('Das Haus','Hau'), ('Müller-Straße 5','Straße'))
    assert Contains.compute(within).tolist()==[1,0,1,0,0] and Contains(norm='unicode').compute(within).tolist()==[1,0,1,0,1]

@pytest.mark.parametrize('text,said', [("I'm sorry, but I don’t know.",1), ('Not enough information is given', 1), ('none', 1), ('', 1), ('The question cannot be answered.', 1), ('None of the Beatles', 0), ('Unknown Pleasures', 0), ('He did not know Latin', 0)])
def test_refusals(text, said): assert refuses(text)==said

# Questions that have no answer, and answers that are patterns -------------------------------------------------------------------------

here = Path(__file__).parent

def test_what_the_script_of_squad2_gives():
    o = json.loads((here/'squad2.json').read_text())
    rows = [r for r in o['rows'] if r[0] or not refuses(r[1]) or not r[1]] # it knows no refusal but the empty answer
    assert len(rows)==len(o['rows'])==125
    tried = Attempts.of(*((said, golds or ['']) for golds,said,*_ in rows))
    em,f1 = (m.compute(tried) for m in (EM, F1(rule='squad2')))
    np.testing.assert_allclose(em, [r[2] for r in rows], atol=1e-12)
    np.testing.assert_allclose(f1, [r[3] for r in rows], atol=1e-12)
    names = {'exact': EM, 'f1': F1(rule='squad2'), **{f'{p}_{n}': m(only=which) for p,which in (('HasAns','answerable'),('NoAns','unanswerable')) for n,m in (('exact', EM), ('f1', F1(rule='squad2')))}}
    for name,m in names.items(): assert 100*np.nanmean(m.compute(tried))==pytest.approx(o['total'][name], abs=1e-9)
    for p,which in (('HasAns','answerable'),('NoAns','unanswerable')): assert np.isfinite(EM(only=which).compute(tried)).sum()==o['total'][f'{p}_total']

def test_a_refusal_is_right_where_there_is_no_answer():
    words = ['', ' ', 'Unanswerable.', 'I don’t know.', 'The passage does not mention it.']
    for golds,right in (([''],1), (['Paris'],0)):
        tried = Attempts.of(*((w, golds) for w in words))
        for m in (EM, F1(rule='squad2'), Contains, Contains(whole=False)): assert m.compute(tried).tolist()==[right]*len(words), m
    wrong = Attempts.of(('Paris',''), ('Not in Paris, I think','')) # a guess is wrong, whatever letters are looked for
    for m in (EM, F1(rule='squad2'), Contains, Contains(whole=False)): assert m.compute(wrong).tolist()==[0,0]
    assert np.isnan(EM.compute(Attempts.of((None,'')))).all() # no answer at all is not a refusal
    e = evaluate(Answers([Answer('q0', '?', ''), Answer('q1', '?', None, 'timed out'), Answer('q2', '?', 'Rome')]), {'q0': [''], 'q1': [''], 'q2': ['Rome']}, "EM EM(only='unanswerable') HasEvidence")
    assert e.mean["EM"]==1 and {str(m): n for m,n in e.counts.items()}=={'EM': 2, "EM(only='unanswerable')": 1, 'HasEvidence': 1}

def test_a_file_of_squad2(tmp_path):
    "Through the reader of the layout and through that of FlashRAG's: what cannot be answered stays a question, and is judged for no passage"
    qas = [dict(id='1', question='Who?', answers=[dict(text='Ada', answer_start=0)], is_impossible=False), dict(id='2', question='Whose?', answers=[], is_impossible=True, plausible_answers=[dict(text='Ada', answer_start=0)])]
    (tmp_path/'dev.json').write_text(json.dumps(dict(version='v2.0', data=[dict(title='T', paragraphs=[dict(context='Ada came.', qas=qas)])])))
    (tmp_path/'dev.jsonl').write_text(''.join(json.dumps(dict(id=q['id'], question=q['question'], golden_answers=[a['text'] for a in q['answers']], is_impossible=q['is_impossible']))+'\n' for q in qas))
    c = read_squad(tmp_path/'dev.json')
    assert c.answers==read_questions(tmp_path/'dev.jsonl').answers=={'1': ('Ada',), '2': ('',)} and c.qrels.to_dict()=={'1': {'T/0': 1}}
    run = Run.from_dict({'1': {'T/0': 1.}, '2': {'T/0': 1.}}).attach(c.queries, c.docs)
    assert answer_qrels(run, c.answers).to_dict()=={'1': {'T/0': 1}} and answer_accuracy(run, c.answers, (1,))=={1: 1.}
    save_questions(run, c.answers, tmp_path/'found.json')
    assert read_questions(tmp_path/'found.json').answers==c.answers
    c.save(tmp_path/'kept')
    assert Collection.read(tmp_path/'kept').answers==c.answers

def drqa(said, pattern):
    "Its rule for CuratedTREC"
    try: return re.compile(pattern, re.I|re.U|re.M).match(said) is not None
    except re.error: return False

def test_patterns_match_as_with_drqa():
    patterns = [r'16\d\d', r'(the )?Beatles?', r'^\s*J\.? ?R\.? ?R\.? Tolkien', r'\b(nineteen|19)[- ]?hundred', r'Z[uü]rich', r'a(', r'Nov(ember|\.)? 1[0-9]', '.*', '']
    said = ['1643', 'In 1643', 'THE BEATLES', 'beatle', 'J.R.R. Tolkien', ' JRR Tolkien', 'nineteen-hundred', 'Zürich', 'ZÜRICH', 'zurich', 'nov. 15', 'x', '', 'in\nnineteen hundred']
    for s in said:
        for p in patterns:
            assert EM(regex=True).compute(Attempts.of((s, p)))==drqa(s, p)
            assert Contains(regex=True).compute(Attempts.of((s, p)))==(p!='a(' and re.search(p, s, re.I|re.M) is not None)
    assert parse_measures("EM(regex=True) HasEvidence(regex=True,among='found')")==[EM(regex=True), HasEvidence(among='found', regex=True)]

def test_a_pattern_without_end_is_given_up(monkeypatch):
    from rankwb.core import answering
    monkeypatch.setattr(answering, 'patience', .1)
    began = time.monotonic()
    with pytest.warns(UserWarning, match='took longer than 0.1 s'): assert Contains(regex=True).compute(Attempts.of(('a'*200, '(a|a)*[bc]'), ('abc', '(a|a)*[bc]'))).tolist()==[0,1]
    assert time.monotonic()-began<20

def test_evidence_is_what_was_in_a_prompt():
    "The answer stands in the third passage, which the budget cuts; it stands in the question, too"
    docs = Docs.from_dict({f'd{i}': ' '.join([f'w{i}']*8+(['Oslo'] if i==3 else [])) for i in range(1, 5)})
    queries = Queries.from_dict({'q': 'Is it Oslo?'})
    run = Run.from_dict({'q': {f'd{i}': 5.-i for i in range(1, 5)}}).attach(queries, docs)
    for budget,there in ((None,1), (36,1), (33,0), (20,0)):
        e = evaluate(Direct(Scripted(says=lambda p: 'Oslo'), context=Context(budget=budget, titles=False))(run), {'q': ['Oslo']}, "HasEvidence HasEvidence(among='found')")
        assert list(e.mean.values())==[there,1], budget

# No answer ---------------------------------------------------------------------------------------------------------------------------

def reader(*texts): return Answers([Answer(f'q{i}', f'question {i}', t, '' if t is not None else 'timed out') for i,t in enumerate(texts)], 'reader')

golds = {f'q{i}': ['yes'] for i in range(4)}

def test_a_question_without_an_answer_is_in_no_mean():
    e = evaluate(reader('yes', 'no', None, ''), golds, "EM F1 Contains ROUGEL BLEU chrF AnswerLength Refused HasEvidence Answered")
    assert e.unanswered==('q2',) and e.mean['EM']==pytest.approx(1/3)
    assert {str(m) for m,n in e.counts.items() if n!=3}=={'Answered'}
    assert e.mean['Answered']==.75 and e.mean['Refused']==pytest.approx(1/3)
    assert '1 without an answer' in e._repr_html_() and 'EM 0.3333 of 3' in repr(e)

def test_a_mean_does_not_depend_on_what_else_is_measured():
    given,judged = reader('yes', 'no', None, ''),Qrels.from_dict({'q1': {'d':1}, 'q9': {'d':1}})
    both = Collection(Docs.from_dict({'d':'text'}), Queries.from_dict({f'q{i}':'' for i in range(10)}), judged, golds)
    with pytest.warns(UserWarning, match='3 of 4 queries'): ranked = evaluate(given, judged, 'RR')
    all_,said = evaluate(given, both, 'RR EM'),evaluate(given, golds, 'EM')
    assert all_.query_ids.to_pylist()==['q1','q9','q0','q2','q3']
    assert (all_.mean['RR'], all_.mean['EM'])==(ranked.mean['RR'], said.mean['EM']) and all_.counts['RR']==2

def test_what_cannot_be_measured_is_said():
    run = Run.from_dict({'q0': {'d':1}}, name='bm25')
    for what,by,measures,error,words in (
            (run, golds, 'EM', TypeError, 'rankings alone'), (reader('yes'), {'q0': {'d':1}}, 'EM', ValueError, 'no gold answers'),
            (reader('yes'), golds, 'nDCG@10', ValueError, 'no judgments'), (reader('yes'), {'x':'y'}, 'EM', ValueError, 'share no query'),
            (reader('yes'), golds, "EM(norm='squat')", ValueError, 'a normal form'), (reader('yes'), golds, 'Contain', ValueError, 'did you mean Contains'),
            ({'q0': 5}, golds, 'EM', TypeError, "the answer to 'q0' is a int, 5"), (reader('yes'), {'q0': [5]}, 'EM', TypeError, 'expected a text')):
        with pytest.raises(error, match=words): evaluate(what, by, measures)

def test_measures_are_there_when_they_are_named():
    code = "import sys; from rankwb.evaluation.evaluate import evaluate; from rankwb.evaluation.measures import parse_measures; {}; print([m for m in sys.modules if 'evaluation.answers' in m])"
    def modules(what): return subprocess.run([sys.executable, '-c', code.format(what)], capture_output=True, text=True, check=True).stdout
    assert 'answers' not in modules("evaluate({'q': {'d': 1}}, {'q': {'d': 1}}, 'nDCG@10')")
    assert 'answers' in modules("assert str(parse_measures(\"F1(rule='hotpot') ROUGEL CitationRecall\")) == \"[F1(rule='hotpot'), ROUGEL, CitationRecall]\"")

# Packages ----------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('module,measure,extra', [('rouge_score','ROUGE1','answers'), ('sacrebleu','BLEU','answers'), ('sacrebleu','chrF','answers'), ('bert_score','BERTScore','bertscore')])
def test_a_missing_package_is_one_sentence(monkeypatch, module, measure, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError, match=rf"needs {module}: pip install 'rankwb\[{extra}\]'"): evaluate(reader('yes'), golds, measure)

def bert(folder, **more):
    "A small network with random weights"
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizerFast
    words = ['[PAD]','[UNK]','[CLS]','[SEP]','[MASK]','paris','france','the','city','of','rome']
    (folder/'vocab.txt').write_text('\n'.join(words))
    BertTokenizerFast(str(folder/'vocab.txt'), model_max_length=64).save_pretrained(folder)
    torch.manual_seed(0)
    (BertForSequenceClassification if more else BertModel)(BertConfig(vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, initializer_range=1., **more)).eval().save_pretrained(folder)
    return str(folder)

def test_bertscore_is_its_formula(tmp_path):
    import torch
    from transformers import AutoModel, AutoTokenizer
    pytest.importorskip('bert_score')
    folder = bert(tmp_path)
    tok,net = AutoTokenizer.from_pretrained(folder),AutoModel.from_pretrained(folder).eval()
    def vectors(text):
        with torch.no_grad(): v = net(**tok(text, return_tensors='pt'), output_hidden_states=True).hidden_states[2][0].double().numpy()
        return v/np.linalg.norm(v, axis=1, keepdims=True)
    def theirs(said, golds):
        found = [(s.max(1)[1:-1].mean(), s.max(0)[1:-1].mean()) for g in golds for s in [vectors(said)@vectors(g).T]]   # [CLS] and [SEP] may be matched, but have no weight
        return max(2*p*r/(p+r) for p,r in found)
    pairs = [('the city of paris',['paris france']), ('rome',['paris','the city of rome']), ('paris',['paris'])]
    ours = BERTScore(model=folder, layer=2).compute(Attempts.of(*pairs, ('', 'paris'), (None, 'paris')))
    np.testing.assert_allclose(ours[:3], [theirs(*p) for p in pairs], atol=1e-5)
    assert ours[3]==0 and np.isnan(ours[4])

@pytest.mark.parametrize('place', [0,1,2])
def test_nli_takes_the_class_called_entailment(tmp_path, place):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    names = ['contradiction','neutral']
    names.insert(place, 'Entailment')
    folder = bert(tmp_path, id2label=dict(enumerate(names)), label2id={n: i for i,n in enumerate(names)})
    tok,net = AutoTokenizer.from_pretrained(folder),AutoModelForSequenceClassification.from_pretrained(folder).eval()
    pairs = [(a,b) for a in ('paris','the city','rome of france') for b in ('rome','paris of the city','france')]
    with torch.no_grad(): theirs = [net(**tok(a, b, return_tensors='pt')).logits.argmax().item()==place for a,b in pairs]
    judge = NLI(folder)
    assert judge.many(pairs)==theirs and [judge(*p) for p in pairs]==theirs

def test_nli_wants_a_network_for_inference(tmp_path):
    with pytest.raises(ValueError, match="one called 'entailment'"): NLI(bert(tmp_path, id2label={0:'bad',1:'good'}, label2id={'bad':0,'good':1}))('paris', 'rome')

def test_a_judge_is_asked_three_times_however_many_answers():
    class Counting:
        calls = []
        def many(self, pairs):
            self.calls.append(len(pairs))
            return [h.split()[0] in p for p,h in pairs]
    docs = tuple(Passage(w, w) for w in ('One','Two','Three'))
    many = Answers(Answer(f'q{i}', '', 'One is here [1][2][3]. Two is there [2]. Four [1].', found=docs, shown=('One','Two','Three')) for i in range(50))
    found = citations(many, judge := Counting())
    assert len(judge.calls)==3 and found.verdicts=={'over-cited':50, 'supported':50, 'not supported':50}

# Experiments -------------------------------------------------------------------------------------------------------------------------

made = '''
import re, sys, time
from dataclasses import dataclass
from typing import ClassVar
from rankwb.core.caching import Store
from rankwb.core.data import Collection, Docs, Qrels, Queries
from rankwb.core.llm import Scripted
from rankwb.core.saying import Reply
from rankwb.experiments.experiment import experiment
from rankwb.rag.direct import Direct
from rankwb.retrieval.bm25 import BM25

docs = Docs.from_dict({f'd{i}': f'word{i} is number {i} <b>' for i in range(30)}, 'thirty')
queries = Queries.from_dict({f'q{i}': f'which number is word{i}' for i in range(24)})
c = Collection(docs, queries, Qrels.from_dict({f'q{i}': {f'd{i}':1} for i in range(24)}), {f'q{i}': [f'number {i}'] for i in range(24)}, 'made')

def says(prompt):
    time.sleep(Slow.pause)
    text = prompt[-1]['content']
    word = re.search('which number is (word[0-9]+)', text)[1]
    print('asked', word, file=sys.stderr, flush=True)
    return Reply(text.split('[1]')[-1].split('\\n')[0].split(' is ')[-1].replace('<b>', '').strip() or 'nothing', 'stop', asked=len(text.split()), tokens=2, ms=1.)

@dataclass(frozen=True)
class Slow(Direct):
    block:ClassVar[int] = 2
    pause:ClassVar[float] = 0

def run(store):
    bm25 = BM25(docs)
    return experiment({'bm25': bm25 % 3, 'rag': bm25 % 2 >> Slow(Scripted(says=says, name='one'))}, c, 'RR EM Contains Calls TokensRead', baseline='bm25', store=store)
'''
go = made + '''
import warnings
warnings.simplefilter('ignore')
Slow.pause = float(sys.argv[2])
ex = run(Store(sys.argv[1]))
print(ex.mean, ex.answers['rag'].digest, ex.counts)
'''

def start(folder, *words, **kw): return [sys.executable, '-c', go, str(folder/'store.sqlite'), *words]
def asked(err): return [l for l in err.splitlines() if l.startswith('asked')]

def test_killed_and_resumed(tmp_path):
    (tmp_path/'other').mkdir()
    whole = subprocess.run(start(tmp_path/'other', '0'), capture_output=True, text=True)
    assert whole.returncode==0, whole.stderr
    assert len(asked(whole.stderr))==24
    with open(tmp_path/'err', 'w') as err: p = subprocess.Popen(start(tmp_path, '.3'), stdout=subprocess.DEVNULL, stderr=err)
    while len(asked((tmp_path/'err').read_text()))<12:
        assert p.poll() is None, (tmp_path/'err').read_text()
        time.sleep(.05)
    p.send_signal(signal.SIGKILL); p.wait()
    before = asked((tmp_path/'err').read_text())
    again = subprocess.run(start(tmp_path, '0'), capture_output=True, text=True)
    assert again.stdout==whole.stdout
    twice = len(before)+len(asked(again.stderr))-24
    assert 0<=twice<=10, f'{twice} questions were asked twice'
    third = subprocess.run(start(tmp_path, '0'), capture_output=True, text=True)
    assert third.stdout==whole.stdout and not asked(third.stderr)

def test_a_question_that_failed_is_asked_again_and_the_others_are_not():
    from rankwb.core.caching import Store
    from rankwb.core.llm import Scripted
    from rankwb.core.saying import Failure
    from rankwb.rag.direct import ClosedBook
    asked,broken = [],{'question 2'}
    def says(messages):
        asked.append(re.search(r'question \d', messages[-1]['content'])[0])
        return Failure('the connection broke') if asked[-1] in broken else 'yes'
    c = Collection(Docs.from_dict({'d':'text'}), Queries.from_dict({q: f'question {q[1]}' for q in golds}), answers=golds)
    store,system = Store(':memory:'),{'closed': ClosedBook(Scripted(says=says, name='one'))}
    with pytest.warns(UserWarning, match='1 of 4 questions got no answer'): first = experiment(system, c, 'EM', store=store)
    assert len(asked)==4 and first.counts['EM']['closed']==3
    asked.clear(), broken.clear()
    assert experiment(system, c, 'EM', store=store).counts['EM']['closed']==4 and asked==['question 2']

@pytest.fixture(scope='module')
def qa():
    "A ranking, a reader, one that fails for some questions, and answers from elsewhere"
    from rankwb.core.llm import Scripted
    from rankwb.core.saying import Failure
    from rankwb.rag.direct import Direct
    from rankwb.retrieval.bm25 import BM25
    docs = Docs.from_dict({f'd{i}': f'word{i} is number {i} <b>' for i in range(20)})
    queries = Queries.from_dict({f'q{i}': f'which number is word{i}' for i in range(16)})
    c = Collection(docs, queries, Qrels.from_dict({f'q{i}': {f'd{i}':1} for i in range(12)}), {f'q{i}': [f'number {i}'] for i in range(2, 16)}, 'made')
    first = lambda messages: messages[-1]['content'].split('[1]')[-1].split('\n')[0].split(' is ')[-1].replace('<b>', '').strip()
    flaky = Scripted(says=lambda m: Failure('broke') if re.search(r'which number is (word\d+)', m[-1]['content'])[1] in ('word3','word13') else 'number 5', name='flaky')
    bm25,own = BM25(docs),Answers([Answer(f'q{i}', '', f'number {i}') for i in range(0, 16)], 'elsewhere')
    with pytest.warns(UserWarning, match='got no answer'):
        return experiment({'bm25': bm25 % 3, 'rag': bm25 % 3 >> Direct(Scripted(says=first, name='first')), 'flaky': bm25 % 1 >> Direct(flaky), 'elsewhere': own}, c, 'EM RR F1 TokensRead', baseline='rag', store=None)

def test_one_table(qa):
    assert len(qa.query_ids)==16 and qa.counts['EM']=={'bm25':0, 'rag':14, 'flaky':12, 'elsewhere':14} and qa.counts['RR']['rag']==12
    assert qa.mean['EM']['elsewhere']==1 and qa.mean['RR']['rag']==qa.mean['RR']['bm25'] and qa.mean['RR']['elsewhere']==0
    assert qa.against('EM', 'flaky').both==12 and np.isnan(qa.against('EM', 'bm25').p)
    made = int((~np.isnan(qa.comparison.p)).sum())
    assert made==3*4-3 and f'for {made} comparisons' in qa.markdown() and 'Questions without an answer' in qa.markdown()

def test_tests_are_over_the_questions_that_both_answered(qa):
    from scipy.stats import ttest_rel
    a,b = qa.row('F1', 'flaky'),qa.row('F1', 'rag')
    both = ~np.isnan(a+b)
    c = qa.against('F1', 'flaky')
    assert both.sum()==12 and c.difference==pytest.approx((a-b)[both].mean()) and c.p==pytest.approx(ttest_rel(a[both], b[both]).pvalue)

def test_saved_read_and_reported(qa, tmp_path):
    qa.save(tmp_path/'saved')
    back = Results.read(tmp_path/'saved')
    assert back.answers==qa.answers and back.manifest==qa.manifest and np.array_equal(back.values, qa.values, equal_nan=True)
    assert json.dumps(back.to_dict(), allow_nan=False) and back.latex()==qa.latex() and back.spent.equals(qa.spent)
    for name in ('one','two'): back.report(tmp_path/f'{name}.html')
    page = (tmp_path/'one.html').read_text()
    assert page==(tmp_path/'two.html').read_text() and 'number 5' in page and '<b>' not in page.replace('<b>number', '').split('Queries that changed')[1].split('Systems')[0]

def test_plots_leave_out_what_has_no_value(qa):
    for p in (qa.plot.bars(), qa.plot.differences('EM'), qa.plot.wins('EM'), qa.plot.differences('TokensRead'), qa.plot.depth(), qa.plot.precision_recall()): assert len(p.data)
    assert set(qa.plot.differences('EM').data.system)=={'flaky','elsewhere'} and not qa.plot.differences('F1').data.difference.isna().any()
    w = qa.plot.wins('TokensRead').data.set_index('system')
    assert w.wins['flaky']==16, 'less is better'
