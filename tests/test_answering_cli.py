"`rankwb answer`, `rankwb show`, and what `rankwb evaluate` and `rankwb compare` make of answers, with a real server on this machine"
import json, re, signal, subprocess, threading
import numpy as np, pytest
from rankwb.core.answers import Answer, Answers
from rankwb.core.data import Collection, Docs, Queries
from rankwb.core.runs import Run
from serving import serving
from test_chat import says
from test_cli import around, complaint, everything, measured, program, rankwb

texts = {'sum': 'Return the sum of a list of numbers.', 'totals': 'Running totals of a list are made by itertools.accumulate.', 'copy': 'A shallow copy of a list is made by copy.copy.',
         'dis': 'The disassembler of byte code. \x1b[2J'}
asked = {'1': 'what makes running totals of a list?', '2': 'how is a shallow copy of a list made?', 'ü 3': 'what is the disassembler of?'}
golds = {'1': ['itertools.accumulate'], '2': ['copy.copy', 'the function copy.copy'], 'ü 3': ['byte code']}
right = {asked[q]: g[-1] for q,g in golds.items()}
key = 'sk-very-secret-key'

@pytest.fixture
def here(tmp_path):
    "A folder with documents, questions, gold answers and a run"
    lines = lambda rows: ''.join(json.dumps(dict(id=i, text=t))+'\n' for i,t in rows.items())
    run = ''.join(f'{q} Q0 {d} {i} {9-i} other\n' for q in ('1','2') for i,d in enumerate(('dis','copy','totals'), 1))
    for name,text in {'docs.jsonl': lines(texts), 'topics.jsonl': lines(asked), 'golds.json': json.dumps(golds), 'other.trec': run}.items(): (tmp_path/name).write_text(text)
    return tmp_path

def question(request): return re.findall('Question: (.*)', request['messages'][-1]['content'])[-1]
def server(mood=lambda h, n, asked: h.give()): return serving(lambda o: says(right[question(o)]), mood, base='/v1')
def words(*more, out='answers.jsonl'): return ['answer','docs.jsonl','--topics','topics.jsonl','--out',out,*more]
def at(s): return ['--model','qwen/small','--base-url',s.url,'--key-variable','MY_KEY']

# A model behind a server -------------------------------------------------------------------------------------------------------------

def test_served_recorded_replayed(here):
    with server() as s:
        told = measured(*words(*at(s), '-k', '2', '--record', 'tape.jsonl'), cwd=here, MY_KEY=key)
        assert sorted(question(o) for o in s.asked)==sorted(asked.values())
        assert {(o['path'],o['auth'],o['model']) for o in s.asked}=={('/v1/chat/completions', f'Bearer {key}', 'qwen/small')}
    assert (told['questions'], told['unanswered'], told['refused'], told['calls'])==(3, [], [], 3)
    assert not [f for f in here.rglob('*') if f.is_file() and key in f.read_text(errors='replace')] and key not in json.dumps(told)
    first = Answers.read(here/'answers.jsonl')
    assert first.to_dict()=={q: g[-1] for q,g in golds.items()} and [len(a.shown) for a in first]==[2,2,1]
    (here/'docs.jsonl').unlink()    # and the server has gone
    for name in ('again','twice'):
        again = measured('answer', '--topics', 'topics.jsonl', '--replay', 'tape.jsonl', '--out', f'{name}.jsonl', cwd=here, XDG_CACHE_HOME=str(here/'none'))
        assert (again['digest'], again['system'])==(told['digest'], told['system'])
    assert (here/'again.jsonl').read_bytes()==(here/'twice.jsonl').read_bytes()
    line = complaint(rankwb('answer', '--topics', 'topics.jsonl', '--replay', 'tape.jsonl', '--method', 'cot', '--out', 'cot.jsonl', cwd=here))
    assert 'not on the tape tape.jsonl' in line and not (here/'cot.jsonl').exists()

def test_killed_and_gone_on_with(here):
    "No call that was answered is made again, and there are no half answers"
    (here/'topics.jsonl').write_text(''.join(json.dumps(dict(id=str(i), text=f'{asked["1"]} {i}'))+'\n' for i in range(12)))
    stuck,answered = threading.Event(),[]
    def slow(h, n, o):
        if n>5 and not stuck.is_set(): stuck.wait(30)
        else: h.give(); answered.append(question(o))
    with serving(lambda o: says('itertools.accumulate'), slow, base='/v1') as s:
        command = [*program, *words(*at(s), '--record', 'tape.jsonl')]
        p = subprocess.Popen(command, cwd=here, env=around(MY_KEY=key, XDG_CACHE_HOME=str(here/'one')), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while len(s.asked)<6 and p.poll() is None: threading.Event().wait(.02)
        threading.Event().wait(.3)
        p.send_signal(signal.SIGKILL)
        p.communicate()
        before = list(answered)
        assert len(before)==5 and not (here/'answers.jsonl').exists()
        stuck.set()
        s.asked.clear()
        r = subprocess.run(command, cwd=here, env=around(MY_KEY=key, XDG_CACHE_HOME=str(here/'two')), capture_output=True, text=True)    # the tape alone is left
        assert r.returncode==0, r.stderr
        assert len(s.asked)==7 and not {question(o) for o in s.asked} & {*before}
    found = Answers.read(here/'answers.jsonl')
    assert len(found)==12 and set(found.to_dict().values())=={'itertools.accumulate'} and sum(c.kept for c in found.trace)==5

def test_a_question_that_fails_is_counted_and_no_other(here):
    def refusing(h, n, o): h.give(dict(error=dict(message='flagged by the filter')), 400) if 'shallow' in question(o) else h.give()
    with server(refusing) as s: r = rankwb(*words(*at(s)), cwd=here, MY_KEY=key)
    assert r.returncode==0 and r.stdout=='3 questions, 1 unanswered, 3 calls of models in answers.jsonl\n'
    assert '1 of 3 questions got no answer' in r.stderr and 'flagged by the filter' in r.stderr and 'rankwb show opens them' in r.stderr
    assert [a.query for a in Answers.read(here/'answers.jsonl') if a.text is None]==['2']
    r = rankwb('evaluate', '--golds', 'golds.json', '--run', 'answers.jsonl', cwd=here)
    assert [l.split() for l in r.stdout.splitlines()]==[['run','EM','F1','Contains','questions','answered','refused'], ['answers','1.0000','1.0000','1.0000','3','2','0']]
    assert r.stderr=='rankwb evaluate: answers: questions without an answer, which are in no mean of answers: 1 (2)\n'

def test_a_refused_key_is_one_line_and_nothing_is_written(here):
    with server(lambda h, n, o: h.give(dict(error=dict(message=f'Incorrect API key provided: {key}')), 401)) as s:
        before = everything(here)
        line = complaint(rankwb(*words(*at(s)), cwd=here, MY_KEY=key))
        none = complaint(rankwb(*words('--model','m','--base-url',s.url), cwd=here))
    assert 'refuses the key (401' in line and key not in line and '--key-variable' in none and 'api_key' not in none
    assert everything(here)==before

# Methods and what they read ----------------------------------------------------------------------------------------------------------

@pytest.fixture
def cli(here, monkeypatch, capfd):
    "The command, in this process: output, complaints, status"
    from rankwb.apps.cli import main
    monkeypatch.chdir(here)
    def run(*words):
        status = main(list(words))
        return *capfd.readouterr(), status
    return run

def test_the_passages_of_a_run_are_read_in_its_order(here, cli):
    out,err,status = cli(*words('--run', 'other.trec', '-k', '2'))
    found = Answers.read(here/'answers.jsonl')
    assert status==0 and [a.shown for a in found]==[('dis','copy')]*2 and found.query_ids.to_pylist()==['1','2']
    assert err=='rankwb answer: --run other.trec lacks questions, which are not answered: 1 (ü 3)\n'

def test_a_method_has_its_fields_and_its_retriever(here, cli):
    out,err,status = cli(*words('--method', 'iter-retgen', '--set', 'T=2', 'max_tokens=3', 'context=Context(k=1, titles=False)', '-k', '2', '--json'))
    told,found = json.loads(out),Answers.read(here/'answers.jsonl')
    assert (told['system'], told['calls'], told['searches'])==("IterRetGen(Extractive(), context=Context(k=1, titles=False), max_tokens=3, retriever=BM25(k1=0.9, b=0.4) % 2, T=2)", 6, 6)
    assert [len(a.shown) for a in found]==[1,1,1]
    same,_,_ = cli(*words('--method', 'IterRetGen(Extractive(), BM25() % 2, T=2, max_tokens=3, context=Context(k=1, titles=False))', '--json'))
    assert json.loads(same)['digest']==told['digest']
    out,_,_ = cli('answer', 'docs.jsonl', 'a', 'shallow', 'copy', '--method', 'Direct(Extractive(cite=True))')
    assert 'copy.copy. [1]' in out

@pytest.mark.parametrize('method', ['iter-retgen', "SelfAsk(Extractive(), BM25() % 2)", "Overlap(k=1) >> Direct(Extractive())"])
def test_what_searches_is_replayed_too(here, cli, monkeypatch, method):
    "Without what it searched"
    first = json.loads(cli(*words('--method', method, '--record', 'tape.jsonl', '--json'))[0])
    def apply(self, x): raise AssertionError('searched again')
    monkeypatch.setattr('rankwb.retrieval.bm25.BM25.apply', apply)
    out,err,status = cli(*words('--method', method, '--replay', 'tape.jsonl', '--json', out='again.jsonl'))
    again = json.loads(out)
    assert (again['digest'], again['system'])==(first['digest'], first['system']) and first['questions']==3

@pytest.mark.parametrize('name,text,format,says', [
    ('bare.tsv', '1\ta sum\n2\ta copy\n', '', "bare.tsv, line 1: expected the names of columns, such as id and text, and it has 1, a sum; for lines of id, tab and text say --topics-format 'msmarco', or where these are names, call one of them id"),
    ('bare.csv', '1,a sum\n', '', 'bare.csv, line 1: expected the names of columns, such as id and text, and it has 1, a sum; write such a line before the rows, or where these are names, call one of them id'),
    ('named.tsv', 'qid\tquery\n1\ta sum\n', 'msmarco', "named.tsv, line 1: qid, query are names of columns, and lines of id, tab and text begin without them; say --topics-format 'tsv'"),
    ('half.tsv', 'qid\ttopic\n1\ta sum\n', '', 'half.tsv: which column is the text? It has qid, topic; call one of them text'),
    ('three.tsv', '1\ta sum\t7\n', 'msmarco', 'three.tsv, line 1: 3 columns where a line has two')], ids=lambda o: o if o.endswith('sv') else '')
@pytest.mark.parametrize('command', [['answer'], ['search'], ['rerank','--run','other.trec','--reranker','Same()']], ids=lambda o: o[0])
def test_questions_with_or_without_a_line_of_names(here, cli, command, name, text, format, says):
    "What is wrong is said of the file, its line and an option that there is"
    (here/name).write_text(text)
    out,err,status = cli(command[0], 'docs.jsonl', *command[1:], '--topics', name, '--out', 'new.'+('jsonl' if command[0]=='answer' else 'trec'), *(['--topics-format',format] if format else []))
    assert status and not out and says in err and err.count('\n')==1 and "='…'" not in err

def test_a_line_of_names_is_read(here, cli):
    (here/'named.tsv').write_text('qid\tquery\n1\ta sum\n')
    (here/'bare.tsv').write_text('1\ta sum\n')
    runs = [json.loads(cli('search', 'docs.jsonl', '--topics', name, '--json', *more)[0])['queries'] for name,*more in (('named.tsv',), ('bare.tsv','--topics-format','msmarco'))]
    assert runs[0]==runs[1] and [(q['id'],q['text']) for q in runs[0]]==[('1','a sum')]

def test_every_method_is_listed_and_told(cli):
    from rankwb.rag.named import methods
    told = json.loads(cli('methods', '--json')[0])['methods']
    assert [m['name'] for m in told]==list(methods) and all(m['gives'] for m in told)
    assert 'max_steps=10' in cli('methods', 'ircot')[0] and len(cli('methods', 'SEARCHES', 'while')[0].splitlines())>6

def test_passages_that_came_with_the_questions_are_read(here, cli):
    "As Rankify and DPR have them; a question of one's own is searched for"
    ctxs = [dict(id='b', title='B', text='It is about nothing.', score='2'), dict(id='a', title='A', text='The capital of France is Paris.', score='1')]
    (here/'nq.json').write_text(json.dumps([dict(question='what is the capital of France?', answers=['Paris'], ctxs=ctxs)]))
    cli('answer', 'nq.json', '--out', 'nq.jsonl')
    cli('answer', 'nq.json', '--out', 'one.jsonl', '-k', '1')
    cli('answer', 'nq.json', 'capital', 'of', 'France', '--out', 'searched.jsonl')
    assert [Answers.read(here/f'{n}.jsonl')[0].shown for n in ('nq','one','searched')]==[('b','a'), ('b',), ('a',)]
    out,_,status = cli('evaluate', '--golds', 'nq.json', '--run', 'nq.jsonl', 'one.jsonl', '--measures', 'Contains HasEvidence', '--json')
    assert [r['measures'] for r in json.loads(out)['runs']]==[{'Contains': 1., 'HasEvidence': 1.}, {'Contains': 0., 'HasEvidence': 0.}]

def test_passages_that_were_given_are_given_to_a_replay_too(here, cli):
    given = ('--run', 'other.trec', '-k', '2')
    first,again = (json.loads(cli(*words(*given, *how, '--json', out='said.jsonl'))[0]) for how in (('--record','tape.jsonl'), ('--replay','tape.jsonl')))
    assert first['digest']==again['digest'] and first['searches']==0
    Collection(Docs.from_records(dict(id=i, text=t) for i,t in texts.items()), Queries.from_dict(asked), run=Run.from_dict({q: {'dis': 2., 'copy': 1.} for q in asked}), name='small').save(here/'small')
    first,again = (json.loads(cli('answer', 'small', '-k', '1', *how, '--json', '--out', 'said.jsonl')[0]) for how in (('--record','own.jsonl'), ('--replay','own.jsonl')))
    assert first['digest']==again['digest'] and {a.shown for a in Answers.read(here/'said.jsonl')}=={('dis',)}

@pytest.mark.parametrize('name,text,ids', [
    ('flashrag.jsonl', '{"id": "a", "question": "a copy?", "golden_answers": ["copy.copy"]}\n', ['a']), ('open.jsonl', '{"question": "a copy?", "answer": ["copy.copy"]}\n', ['q1']),
    ('dpr.json', '[{"question": "a copy?", "answers": ["copy.copy"]}]', ['q1']), ('plain.jsonl', '{"qid": "7", "text": "a copy?"}\n', ['7']), ('table.tsv', 'id\ttext\n7\ta copy?\n', ['7'])])
def test_questions_in_the_layouts_of_others(here, cli, name, text, ids):
    (here/name).write_text(text)
    out,err,status = cli('answer', 'docs.jsonl', '--topics', name, '--out', 'answers.jsonl')
    found = Answers.read(here/'answers.jsonl')
    assert status==0 and found.query_ids.to_pylist()==ids and found[0].question=='a copy?' and found[0].shown[0]=='copy'
    if 'answer' in text: assert json.loads(cli('evaluate', '--golds', name, '--run', 'answers.jsonl', '--json')[0])['runs'][0]['measures']['Contains']==1

def test_a_model_of_transformers(here, cli):
    pytest.importorskip('torch')
    from test_hf import checkpoint
    from rankwb.core.hf import HF
    checkpoint(here/'tiny')
    out,_,status = cli('answer', 'docs.jsonl', 'a', 'copy', '-k', '1', '--model', "HF('tiny', device='cpu')", '--set', 'max_tokens=4', 'prompt=closed', '--method', 'direct', '--json')
    (mine := json.loads(out)['answers'][0]) and status==0
    from rankwb.core.templates import templates
    theirs = HF('tiny', device='cpu').generate([templates['closed'].render(question='a copy', passages=[])], max_tokens=4)[0]
    assert mine['text']==theirs.text.strip()

# Evaluating, comparing and showing -----------------------------------------------------------------------------------------------------

def test_compare_pairs_what_both_answered(tmp_path):
    from scipy.stats import ttest_rel
    rng = np.random.default_rng(0)
    known = {f'q{i}': ['yes'] for i in range(40)}
    said = {n: {q: None if rng.random()<.1 else 'yes' if rng.random()<p else 'no' for q in known} for n,p in (('a',.3), ('b',.7))}
    for n,o in said.items(): Answers(Answer(q, '?', t, '' if t else 'timed out') for q,t in o.items()).save(tmp_path/f'{n}.jsonl.gz')
    (tmp_path/'golds.json').write_text(json.dumps(known))
    found = measured('compare', '--golds', 'golds.json', '--run', 'a.jsonl.gz', 'b.jsonl.gz', '--measures', 'EM', cwd=tmp_path)
    both = [q for q in known if said['a'][q] and said['b'][q]]
    a,b = ([float(said[n][q]=='yes') for q in both] for n in 'ab')
    row, = found['comparisons']
    assert 25<len(both)<40 and row['p']==pytest.approx(ttest_rel(b, a).pvalue) and row['difference']==pytest.approx(np.mean(b)-np.mean(a))
    tex = rankwb('compare', '--golds', 'golds.json', '--run', 'a.jsonl.gz', 'b.jsonl.gz', '--measures', 'EM F1', '--latex', cwd=tmp_path).stdout
    assert tex.startswith(r'\begin{table}') and '40 questions' in tex and 'without an answer' in tex

def test_runs_and_answers_in_one_table(here, cli):
    (here/'qrels.txt').write_text('1 0 totals 1\n2 0 copy 1\n')
    cli(*words('--run', 'other.trec', '-k', '2'))
    out,err,status = cli('evaluate', '--qrels', 'qrels.txt', '--golds', 'golds.json', '--run', 'other.trec', 'answers.jsonl', '--measures', 'RR EM ContextRecall', '--json')
    run,answers = json.loads(out)['runs']
    assert (run['measures'], answers['measures'])==(dict(RR=pytest.approx(5/12), EM=None, ContextRecall=None), dict(RR=pytest.approx(1/4), EM=0., ContextRecall=.5))
    assert answers['unanswered']==['ü 3'] and 'unanswered' not in run
    out,_,_ = cli('evaluate', '--qrels', 'qrels.txt', '--golds', 'golds.json', '--run', 'other.trec', 'answers.jsonl', '--measures', 'RR EM')
    assert out.splitlines()[1].split()==['other','0.4167','–','3']

def test_a_saved_collection_has_both(here, cli):
    Collection(Docs.from_records(dict(id=i, text=t) for i,t in texts.items()), Queries.from_dict(asked), answers=golds, name='small').save(here/'small')
    out,err,status = cli('answer', 'small', '--out', 'answers.jsonl', '--json')
    assert status==0 and json.loads(out)['questions']==3
    both = [json.loads(cli('evaluate', *known, '--run', 'answers.jsonl', '--json')[0]) for known in (('--collection','small'), ('--golds','golds.json'), ('--golds','small/answers.json'))]
    assert both[0]==both[1]==both[2] and both[0]['runs'][0]['measures']['Contains']==1

def test_show_opens_an_answer(here, cli):
    cli(*words('--method', 'iter-retgen', '--set', 'T=1'))
    out,_,status = cli('show', 'answers.jsonl', 'ü 3')
    assert status==0 and all(s in out for s in ('ü 3: what is the disassembler of?', '[1]  dis', '1. search', '   | Question: what is the disassembler of?', '   said:\n   | The disassembler of byte code. \ufffd[2J')) and '\x1b' not in out
    told = json.loads(cli('show', 'answers.jsonl', '1', '--json')[0])['answers'][0]
    assert [c['kind'] for c in told['calls']]==['search','model'] and told['passages'][0]['shown'] is True
    assert len(cli('show', 'answers.jsonl')[0].splitlines())==6

# Mistakes ----------------------------------------------------------------------------------------------------------------------------

mistakes = [
    (['answer'],                                                     ['nothing is asked', '--topics']),
    (['answer','docs.jsonl'],                                        ['nothing is asked', '--topics']),
    (['answer','docs.jsonl','--out','new.jsonl'],                    ['nothing is asked', '--topics']),
    (['answer','dosc.jsonl','a','sum'],                              ["'dosc.jsonl'"]),
    (['answer','docs.jsonl','a','sum','--topics','topics.jsonl'],    ['--topics', 'one of them']),
    (words('--out','new.txt'),                                       ['--out new.txt', '.jsonl']),
    (words('-k','0'),                                                ['-k 0']),
    (words('--method','IRCOT'),                                      ['--method IRCOT', 'ircot', 'rankwb methods']),
    (words('--method','BM25()'),                                     ['--method BM25()', 'retriever', 'reader is needed']),
    (words('--method','Direkt(Extractive())'),                       ['Direkt', 'Direct']),
    (words('--method','Direct(Extractive())','--model','extractive'), ['--model', 'says this itself']),
    (words('--method','ClosedBook(Extractive())','--run','other.trec'), ['--run', 'says this itself']),
    (words('--method','closed-book','-k','3'),                       ['-k', 'reads no passages']),
    (words('--method','ircot','--run','other.trec'),                 ['--run', 'searches by itself']),
    (words('--method','crag'),                                       ['evaluator=', 'other=']),
    (words('--set','steps'),                                         ['--set steps', 'NAME=VALUE']),
    (words('--set','max_step=3'),                                    ['max_step', 'max_tokens']),
    (words('--set','max_tokens=0'),                                  ['max_tokens=0', 'at least 1']),
    (words('--set','context=Context(kk=3)'),                         ['--set context=Context(kk=3)', 'kk']),
    (words('--set','prompt=nothing'),                                ["'nothing'"]),
    (words('--model','extractve'),                                   ['--model extractve', 'extractive?']),
    (words('--model','my-model'),                                    ['--model my-model', 'rankwb models']),
    (words('--model','Chat("m")'),                                   ['--model Chat("m")', 'provider']),
    (words('--model','BM25()'),                                      ['--model BM25()']),
    (words('--model','m','--base-url','localhost:8000'),             ['--base-url', 'http://localhost:8000/v1']),
    (words('--model','extractive','--base-url','http://localhost:9/v1'), ['--base-url', '--model NAME']),
    (words('--model','m','--base-url','http://localhost:9/v1','--key-variable','NOT_THERE'), ['--key-variable NOT_THERE', 'environment']),
    (words('--model',f"Chat('m', api_key={key!r})"),                 ['--key-variable', 'command line']),
    (words('--key-variable','PATH'),                                 ['--key-variable', 'Extractive()']),
    (words('--model','openai/gpt-4o-mini'),                          ['OPENAI_API_KEY']),
    (words('--method','flare'),                                      ['FLARE']),
    (words('--system','BM52()'),                                     ['BM52', 'BM25']),
    (words('--replay','tape.jsonl','--system','BM25()'),               ['--replay and --system', 'on the tape']),
    (words('--system','BM25()','--run','other.trec'),                ['--run and --system', 'one of them']),
    (words('--run','none.trec'),                                     ['none.trec', 'no such file']),
    (words('--run','stray.trec'),                                    ['--run stray.trec', 'docs.jsonl', '(nowhere)']),
    (words('--record','t.jsonl','--replay','t.jsonl'),               ['--record and --replay', 'one of them']),
    (words('--record','tape.jsonl','-k','3'),                        ['--record tape.jsonl', 'BM25(k1=0.9, b=0.4) % 2', 'another file']),
    (words('--method',"CRAG(Extractive(), Same(), BM25() % 2)",'--record','new.jsonl'), ['--record', '% 5 and BM25', 'tape has the searches of one']),
    (words('--replay','none.jsonl'),                                 ['--replay none.jsonl', 'no such file']),
    (words('--replay','topics.jsonl'),                               ['topics.jsonl, line 1', 'no entry of a tape']),
    (words('--replay','empty.jsonl'),                                ['--replay empty.jsonl', 'no answer of a model']),
    (words('--replay','tape.jsonl','-k','3'),                       ['--replay and -k', 'on the tape']),
    (['show','docs.jsonl'],                                          ['docs.jsonl, answer 1', 'not an answer']),
    (['show','other.trec'],                                          ['other.trec', '.jsonl']),
    (['show','none.jsonl'],                                          ['none.jsonl', 'no such file']),
    (['show','said.jsonl','4'],                                      ['said.jsonl', "'4'", '1 questions']),
    (['methods','klingon'],                                          ["'klingon'", 'rankwb methods']),
    (['evaluate','--run','said.jsonl'],                              ['--golds', '--collection']),
    (['evaluate','--golds','other.trec','--run','said.jsonl'],       ['other.trec', 'JSON']),
    (['evaluate','--golds','said.jsonl','--run','said.jsonl'],       ['said.jsonl', 'no gold answers']),
    (['evaluate','--golds','wrong.json','--run','said.jsonl'],       ['wrong.json', "'1'", '[3]']),
    (['evaluate','--golds','strange.json','--run','said.jsonl'],     ['share no query', 'gold answers']),
    (['evaluate','--golds','golds.json','--run','other.trec','--measures','EM'],  ['--run other', 'EM', 'rankwb answer']),
    (['evaluate','--golds','golds.json','--run','said.jsonl','--measures','AP'],  ['no judgments', '--qrels']),
    (['evaluate','--golds','golds.json','--run','cut.jsonl'],        ['cut.jsonl', 'line 2'])]

@pytest.mark.parametrize('line,expected', mistakes, ids=[' '.join(w) for w,_ in mistakes])
def test_mistakes_are_said_in_a_line(here, cli, monkeypatch, line, expected):
    monkeypatch.delenv('OPENAI_API_KEY', raising=False)
    Answers([Answer('1', asked['1'], 'it')]).save(here/'said.jsonl')
    whole = (here/'said.jsonl').read_text()
    if 'tape.jsonl' in line: cli(*words('-k', '2', '--record', 'tape.jsonl', out='before.jsonl'))
    more = {'stray.trec': '1 Q0 nowhere 1 1 x\n', 'empty.jsonl': '', 'wrong.json': '{"1": [3]}', 'strange.json': '{"17": "3"}', 'cut.jsonl': whole+whole[:20]}
    for name,text in more.items(): (here/name).write_text(text)
    before = everything(here)
    out,err,status = cli(*line)
    told = complaint(subprocess.CompletedProcess(line, status, out, err))
    assert not [s for s in expected if s not in told], told
    assert everything(here)==before and key not in told, 'something was left half written'
