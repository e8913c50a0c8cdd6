"The command `rankwb`, as a terminal or a script meets it: what it writes where, its exit status, and what it costs"
import gzip, json, os, random, re, resource, signal, socket, statistics, subprocess, sys, time, urllib.request
import pytest
from conftest import root

qrels = 'q1 0 d1 0\nq1 0 d2 2\nq1 0 d3 1\nq1 0 d9 1\nq2 0 d15 1\nq3 0 d20 1\n'
first = ''.join(f'q1 Q0 d{i} {i} {6-i} first\n' for i in range(1, 5)) + ''.join(f'q2 Q0 d{i} {i-3} {24-i} first\n' for i in range(4, 19))
second = 'q1 Q0 d2 1 9 s\nq1 Q0 d1 2 8 s\nq2 Q0 d15 1 9 s\nq3 Q0 d4 1 3 s\nq3 Q0 d20 2 2 s\n'
docs = [dict(id='sum', text='Return the sum of a list of numbers'), dict(id='accumulate', text='Running totals of a list: accumulated sums'),
        dict(id='dis', text='Disassembler of byte code \x1b[2J\u202etxt')]
# What trec_eval gives for `first`; the third query is judged and was not run
expected = {'nDCG@10':.187576, 'AP@100':.157407, 'RR':.194444, 'RR@10':.166667, 'P@3':.222222, 'R@10':.222222}

@pytest.fixture
def here(tmp_path):
    "A folder with small files"
    files = {'qrels.txt':qrels, 'first.trec':first, 'second.trec':second, 'topics.tsv':'1\trunning total\n2\tbyte code\n',
             'docs.jsonl': ''.join(json.dumps(d)+'\n' for d in docs)}
    for name,text in files.items(): (tmp_path/name).write_text(text)
    return tmp_path

program = [sys.executable, '-m', 'rankwb.apps.cli']

def around(**more): return os.environ|dict(PYTHONPATH=str(root), PYTHONIOENCODING='utf-8')|more

def rankwb(*words, cwd, **env):
    return subprocess.run([*program, *words], cwd=cwd, env=around(**env), capture_output=True, text=True, encoding='utf-8')

def measured(*words, cwd, **env):
    "The one object on standard output, of a command that works"
    r = rankwb(*words, '--json', cwd=cwd, **env)
    assert r.returncode==0, r.stderr
    return json.loads(r.stdout)

def complaint(r, status=2):
    "The one line of a command that does not work"
    assert r.returncode==status and r.stdout=='', (r.returncode, r.stdout, r.stderr)
    assert r.stderr.count('\n')==1 and r.stderr.startswith('rankwb') and 'Traceback' not in r.stderr, r.stderr
    return r.stderr

def evaluate(run='first.trec', judged='qrels.txt', *more): return ['evaluate','--qrels',judged,'--run',run,*more]

# evaluate ----------------------------------------------------------------------------------------------------------------------------

def test_evaluate_gives_the_numbers_of_trec_eval(here):
    words = [*evaluate(), '--run', 'second.trec', '--measures', ' '.join(expected), '--per-query']
    runs = measured(*words, cwd=here)['runs']
    assert [r['name'] for r in runs]==['first','second']
    assert runs[0]['measures']==pytest.approx(expected, abs=1e-6)
    assert (runs[0]['queries'], runs[0]['missing'], runs[0]['unjudged'])==(3, ['q3'], [])
    assert runs[0]['per_query']['RR']==pytest.approx({'q1':.5, 'q2':1/12, 'q3':0})

def test_evaluate_agrees_with_pytrec_eval(tmp_path):
    import pytrec_eval
    rng = random.Random(1)
    judged = {f'q{i}': {f'd{rng.randrange(60)}': rng.randrange(-1, 4) for _ in range(15)} for i in range(40)}
    run = {f'q{i}': {f'd{j}': rng.randrange(20)/4 for j in rng.sample(range(60), 40)} for i in range(2, 42)}
    (tmp_path/'qrels').write_text(''.join(f'{q}\t0\t{d}\t{g}\n' for q,ds in judged.items() for d,g in ds.items()))
    (tmp_path/'input.bm25').write_text(''.join(f'{q} Q0 {d} 0 {s} x\n' for q,ds in run.items() for d,s in ds.items()))
    theirs = pytrec_eval.RelevanceEvaluator(judged, {'map','ndcg_cut_10','bpref','recip_rank'}).evaluate(run)
    names = dict(map='AP', ndcg_cut_10='nDCG@10', bpref='Bpref', recip_rank='RR')
    words = [*evaluate('input.bm25', 'qrels'), '--measures', *names.values(), '--per-query', '--missing', 'skip']
    found = measured(*words, cwd=tmp_path)['runs'][0]
    assert len(theirs)==38==found['queries']
    for name,ours in names.items():
        assert found['per_query'][ours]==pytest.approx({q: v[name] for q,v in theirs.items()}, abs=1e-6)
    assert (found['unjudged'], found['missing'])==(['q40','q41'], ['q0','q1'])

def test_text_says_the_same_and_notes_go_elsewhere(here):
    r = rankwb('evaluate', '--qrels', 'qrels.txt', '--run', 'first.trec', '--measures', 'nDCG@10 NumQ', cwd=here)
    assert (r.stdout, r.returncode)==('run    nDCG@10  NumQ\nfirst   0.1876     3\n', 0)
    assert r.stderr=='rankwb evaluate: first: judged queries that it lacks, counted as 0: 1 (q3)\n'
    r = rankwb(*evaluate(), '--measures', 'nDCG@10', '--per-query', cwd=here)
    values = dict(q1='0.5627', q2='0.0000', q3='0.0000', all='0.1876')
    assert [l.split() for l in r.stdout.splitlines()][1:]==[['first', *o] for o in values.items()]

def test_any_form_of_the_files(here):
    (here/'first.run.gz').write_bytes(gzip.compress(first.encode()))
    (here/'qrels.gz').write_bytes(gzip.compress(qrels.encode()))
    cells = lambda text: map(str.split, text.splitlines())
    (here/'beir.tsv').write_text('query-id\tcorpus-id\tscore\n' + ''.join(f'{q}\t{d}\t{g}\n' for q,_,d,g in cells(qrels)))
    run = {q: {d: float(s) for o,_,d,_,s,_ in cells(first) if o==q} for q in ('q1','q2')}
    (here/'first.json').write_text(json.dumps(run))
    (here/'elsewhere').mkdir()
    (here/'elsewhere'/'first.json').write_bytes((here/'first.json').read_bytes())
    for judged in ('qrels.gz','beir.tsv'):
        files = ['first.run.gz','first.json','elsewhere/first.json']
        runs = measured('evaluate', '--qrels', judged, '--run', *files, '--measures', *expected, cwd=here)['runs']
        assert [r['name'] for r in runs]==files    # one name would not tell them apart
        for r in runs: assert r['measures']==pytest.approx(expected, abs=1e-6)

def rerank(run, *more): return ['rerank','docs.jsonl','--run',run,'--topics','topics.tsv','--topics-format','msmarco',*more]

# Mistakes ----------------------------------------------------------------------------------------------------------------------------

bad_files = {
    'short.trec': 'q1 Q0 d1 1 5 x\nq1 Q0 d2 2 4\n',
    'word.trec':  'q1 Q0 d1 1 5 x\nq1 Q0 d2 2 four x\n',
    'nan.trec':   'q1 Q0 d1 1 nan x\n',
    'twice.trec': 'q1 Q0 d1 1 5 x\nq1 Q0 d1 2 4 x\n',
    'other.trec': 'x7 Q0 d1 1 5 x\n',
    'same.trec':  '1 Q0 sum 1 5 x\n',
    'second.sum': 'q7 Q0 sum 1 5 x\n',
    'list.json':  '[1, 2]',
    'broken.json': '{"q1": ',
    'beir.txt':   'query-id\tcorpus-id\tscore\nq1\td1\t1\n',
    'word.txt':   'q1 0 d1 1\nq1 0 d2 much\n',
    'empty.txt':  '',
    'none.jsonl': '',
    'same.jsonl': '{"id": "a", "text": "one"}\n{"id": "a", "text": "two"}\n',
    'line.jsonl': '{"id": "a", "text": "one"}\n{"id": \n',
    'lost.jsonl': '{"id": "a", "words": "one"}\n'}

mistakes = [
    (evaluate('short.trec'),                            ['short.trec, line 2', '5 columns']),
    (evaluate('word.trec'),                             ['word.trec, line 2', "'four'"]),
    (evaluate('nan.trec'),                              ['nan.trec, line 1', "'nan'"]),
    (evaluate('twice.trec'),                            ['twice.trec', "'d1'", 'twice', '1 and 2']),
    (evaluate('other.trec'),                            ['share no query', 'x7', 'q1']),
    (evaluate('cut.trec.gz'),                           ['cut.trec.gz', 'truncated']),
    (evaluate('qrels.txt'),                             ['qrels.txt, line 1', 'four columns are the layout of qrels']),
    (evaluate('list.json'),                             ['list.json', 'found list']),
    (evaluate('broken.json'),                           ['broken.json', 'expected JSON']),
    (evaluate('missing.trec'),                          ['missing.trec', 'no such file']),
    (evaluate('.'),                                     ['a folder', 'file was expected']),
    (evaluate('first.trec', 'beir.txt'),                ['beir.txt, line 1', 'layout of BEIR', '--qrels-format']),
    (evaluate('first.trec', 'word.txt'),                ['word.txt, line 2', "'much'"]),
    (evaluate('first.trec', 'empty.txt'),               ['no judgments']),
    (evaluate('first.trec', 'first.trec'),              ['first.trec, line 1', '6 columns']),
    (evaluate('first.trec', 'qrels.txt', '--qrels-format', 'beir'), ['qrels.txt, line 1', '--qrels-format']),
    (evaluate('first.trec', 'qrels.txt', '--qrels-format', 'xls'),  ['--qrels-format xls', 'expected one of']),
    (evaluate('first.trec', 'qrels.txt', '--run', 'first.trec'),    ['first.trec', 'named twice']),
    (evaluate('first.trec', 'qrels.txt', '--measures', 'NDGC@10'),  ['NDGC', 'nDCG']),
    (evaluate('first.trec', 'qrels.txt', '--measures', 'nDCG@ten'), ['nDCG@ten']),
    (evaluate('first.trec', 'qrels.txt', '--missing', 'zeros'),     ["'zeros'", "'zero' or 'skip'"]),
    (evaluate('first.trec', 'qrels.txt', '--cutoff', '10'),         ['--cutoff', '--help']),
    (['evaluate','--run','first.trec'],                 ['--qrels', '--help']),
    (['compare','--qrels','qrels.txt','--run','first.trec'],                                         ['two runs']),
    (['compare','--qrels','qrels.txt','--run','first.trec','second.trec','--test','z'],              ["'z'", 'wilcoxon']),
    (['compare','--qrels','qrels.txt','--run','first.trec','second.trec','--correction','some'],     ["'some'", 'holm']),
    (['compare','--qrels','qrels.txt','--run','first.trec','second.trec','--level','95'],            ['95', 'probability']),
    (['compare','--qrels','qrels.txt','--run','first.trec','second.trec','--seed','x'],              ['--seed', "'x'"]),
    (['compare','--qrels','qrels.txt','--run','first.trec','second.trec','--json','--latex'],        ['--json', '--latex']),
    (['index','docs.jsonl'],                            ['--out']),
    (['index','docs.jsonl','--out','keep'],             ['keep', 'no index']),
    (['index','none.jsonl','--out','new'],              ['none.jsonl']),
    (['index','same.jsonl','--out','new'],              ['same.jsonl', "'a'"]),
    (['index','line.jsonl','--out','new'],              ['line.jsonl', 'line 2']),
    (['index','lost.jsonl','--out','new'],              ['lost.jsonl', '--text COLUMN', 'words']),
    (['index','lost.jsonl','--out','new','--text','body'],           ['lost.jsonl', 'text', 'words']),
    (['index','nothing','--out','new'],                 ["'nothing'"]),
    (['index','beir/scifcat','--out','new'],            ["'beir/scifcat'", 'did you mean beir/scifact']),
    (['datasets','klingon'],                            ["'klingon'", 'rankwb datasets']),
    (['datasets','--size'],                             ['--size', '--help']),
    (['index','docs.jsonl','--out','new','--analyzer','klingon'],    ['klingon']),
    (['search','docs.jsonl'],                           ['nothing is asked']),
    (['search','docs.jsonl','--out','new.trec'],        ['nothing is asked', '--topics']),
    (['search','docs.jsonl','sum','--topics','topics.tsv'],          ['--topics', 'one of them']),
    (['search','docs.jsonl','sum','-k','0'],            ['-k 0']),
    (['search','docs.jsonl','sum','--out','new.xlsx'],  ['new.xlsx', "'xlsx'", 'parquet']),
    (['search','docs.jsonl','sum','--system','BM52()'], ['BM52', 'BM25']),
    (['search','docs.jsonl','sum','--system','BM25(k1=-1)'],         ['k1']),
    (['search','docs.jsonl','--topics','docs.jsonl','--topics-format','msmarco','--out','new.trec'], ['docs.jsonl, line 1', 'two']),
    (['search','broken.index','sum'],                   ['broken.index', 'again']),
    (rerank('same.trec', '--reranker', 'all-MiniLM-L6'),             ['--reranker all-MiniLM-L6', 'all-MiniLM-L6-v2', 'rankwb models']),
    (rerank('same.trec', '--reranker', 'my/model'),                  ['--reranker my/model', '--kind, one of', 'cross-encoder']),
    (rerank('same.trec', '--reranker', 'my/model', '--kind', 'crossencoder'),       ['--kind', "'crossencoder'", 'cross-encoder']),
    (rerank('same.trec', '--reranker', 'Same()', '--depth', '3'),    ['--depth', 'pipeline']),
    (rerank('same.trec', '--reranker', 'Sam()'),                     ['--reranker Sam()', 'Same']),
    (rerank('same.trec', '--reranker', 'Reranker(\'nothing\')'),     ["--reranker Reranker('nothing')", 'nothing']),
    (rerank('same.trec', '--reranker', 'all-MiniLM-L6-v2', '--depth', '0'),         ['--depth 0']),
    (rerank('same.trec', '--reranker', 'Same()', '--out', 'new.xlsx'),              ['new.xlsx', "'xlsx'"]),
    (rerank('other.trec', '--reranker', 'Same()'),                   ['--run other.trec', 'docs.jsonl', 'd1']),
    (rerank('second.sum', '--reranker', 'Same()'),                   ['--run second.sum', '--topics topics.tsv', '(q7)']),
    (rerank('same.trec', '--reranker', 'Same()')[:-2],               ['--reranker']),
    (['rerank','docs.jsonl','--run','same.trec','--reranker','Same()'],             ['--topics', 'docs.jsonl']),
    (['models','klingon'],                              ["'klingon'", 'rankwb models']),
    (['search','docs.jsonl','sum','--system',"BM25() >> Reranker('monot5-bas')"],   ['monot5-bas', 'monot5-base']),
    (['demo','--out','qrels.txt'],                      ['qrels.txt', 'a file']),
    (['lab','qrels.txt'],                               ['qrels.txt', 'a file']),
    (['doctor','now'],                                  ['now', '--help']),
    (['evalaute'],                                      ["'evalaute'", 'evaluate?']),
    ([],                                                ['evaluate', '--help'])]

@pytest.fixture(scope='module')
def workshop(tmp_path_factory):
    "A folder with everything that is wrong, in which nothing appears"
    d = tmp_path_factory.mktemp('wrong')
    good_files = {'qrels.txt':qrels, 'first.trec':first, 'second.trec':second, 'topics.tsv':'1\tsum\n', 'docs.jsonl':json.dumps(docs[0])+'\n'}
    for name,text in (bad_files|good_files).items(): (d/name).write_text(text)
    (d/'cut.trec.gz').write_bytes(gzip.compress(first.encode())[:-20])
    (d/'keep').mkdir()
    (d/'keep'/'thesis.tex').write_text('the only copy')
    assert rankwb('index', 'docs.jsonl', '--out', 'broken.index', cwd=d).returncode==0
    with open(d/'broken.index'/'bm25'/'rows.npy', 'r+b') as f: f.truncate(20)
    return d

def everything(folder): return sorted(str(f.relative_to(folder)) for f in folder.rglob('*'))

@pytest.mark.parametrize('words,says', mistakes, ids=[' '.join(w) or 'nothing' for w,_ in mistakes])
def test_mistakes_are_said_in_a_line(workshop, monkeypatch, capfd, words, says):
    from rankwb.apps.cli import main
    monkeypatch.chdir(workshop)
    before = everything(workshop)
    status,(out,err) = main(words),capfd.readouterr()
    line = complaint(subprocess.CompletedProcess(words, status, out, err))
    assert not [s for s in says if s not in line], line
    assert everything(workshop)==before, 'something was left half written'

@pytest.mark.parametrize('words,says', mistakes[1::12], ids=[' '.join(w) for w,_ in mistakes[1::12]])
def test_mistakes_in_a_process(workshop, words, says):
    line = complaint(rankwb(*words, cwd=workshop))
    assert not [s for s in says if s not in line], line

def test_debug_shows_where(here):
    r = rankwb('evaluate', '--qrels', 'qrels.txt', '--run', 'none.trec', '--debug', cwd=here)
    assert r.returncode==1 and r.stderr.startswith('Traceback') and 'none.trec: no such file' in r.stderr

# A command of our own, in a process of its own
script = '''
import sys, time
from rankwb.apps import cli

@cli.command
def fail():
    "Fail as nobody foresaw"
    return None.grade

@cli.command
def wait():
    "Wait to be interrupted"
    print('waiting', flush=True)
    time.sleep(60)

@cli.command
def sentence():
    "Say what a terminal may not understand"
    cli.say('a\u2013b')

if __name__=='__main__': sys.exit(cli.main())
'''

@pytest.fixture
def own(tmp_path):
    (tmp_path/'own.py').write_text(script)
    return [sys.executable, str(tmp_path/'own.py')]

def test_what_nobody_foresaw(own):
    line = complaint(subprocess.run([*own, 'fail'], capture_output=True, text=True), status=1)
    assert 'AttributeError' in line and 'not foreseen' in line and '--debug' in line

def test_interrupted(own):
    p = subprocess.Popen([*own, 'wait'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert p.stdout.readline()=='waiting\n'
    p.send_signal(signal.SIGINT)
    assert p.communicate(timeout=20)[1]=='rankwb wait: interrupted\n' and p.returncode==130

def test_a_terminal_that_knows_ascii_alone(own):
    r = subprocess.run([*own, 'sentence'], env=os.environ|dict(PYTHONIOENCODING='ascii'), capture_output=True)
    assert (r.stdout, r.stderr, r.returncode)==(b'a?b\n', b'', 0)

def test_reader_of_the_pipe_may_leave(tmp_path):
    (tmp_path/'qrels.txt').write_text(''.join(f'query{i} 0 d1 1\n' for i in range(20_000)))
    (tmp_path/'run.trec').write_text(''.join(f'query{i} Q0 d1 1 1 x\n' for i in range(20_000)))
    env = {k:v for k,v in around().items() if k!='PYTHONUNBUFFERED'}    # under which Python misses that a write was cut short
    p = subprocess.Popen([*program, *evaluate('run.trec'), '--per-query'], cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert p.stdout.readline().split()[:2]==[b'run',b'query']
    p.stdout.close()
    assert p.stderr.read()==b'' and p.wait(20)==141

# compare -----------------------------------------------------------------------------------------------------------------------------

@pytest.fixture
def forty(tmp_path):
    "Judgments of forty queries, and three runs"
    rng = random.Random(2)
    judged = {f'q{i}': {f'd{j}': rng.randrange(3) for j in range(20)} for i in range(40)}
    (tmp_path/'qrels.txt').write_text(''.join(f'{q} 0 {d} {g}\n' for q,ds in judged.items() for d,g in ds.items()))
    for name,signal in (('base',.2), ('better',1.), ('alike',.2)):
        lines = (f'{q} Q0 {d} 0 {signal*g+rng.random():.6f} x\n' for q,ds in judged.items() for d,g in ds.items())
        (tmp_path/f'{name}.trec').write_text(''.join(lines))
    return tmp_path

compare = ['compare','--qrels','qrels.txt','--run','base.trec','better.trec','alike.trec','--measures','nDCG@10 AP']

def test_compare_is_what_scipy_and_statsmodels_say(forty):
    from scipy.stats import ttest_rel
    from statsmodels.stats.multitest import multipletests
    found = measured(*compare, cwd=forty)
    runs = {r['name']: r['per_query'] for r in measured('evaluate', *compare[1:], '--per-query', cwd=forty)['runs']}
    rows,family = found['comparisons'],[(n,m) for n in ('better','alike') for m in ('nDCG@10','AP')]
    p = [ttest_rel(list(runs[n][m].values()), list(runs['base'][m].values())).pvalue for n,m in family]
    assert [(r['system'],r['measure']) for r in rows]==family
    assert [r['p'] for r in rows]==pytest.approx(p, rel=1e-6)
    assert [r['p_corrected'] for r in rows]==pytest.approx(multipletests(p, method='holm')[1], rel=1e-6)
    assert found['baseline']=='base' and [r['name'] for r in found['runs']]==['base','better','alike']
    assert all(r['low']<r['difference']<r['high'] and r['wins']+r['ties']+r['losses']==40 for r in rows)

def test_compare_in_text_and_for_a_paper(forty):
    lines = rankwb(*compare, cwd=forty).stdout.splitlines()
    better,alike = (next(l for l in lines if l.split()[:1]==[n]) for n in ('better','alike'))
    assert '*' in better and '*' not in alike and lines[-1].startswith('40 queries; test: t; Holm correction over 4 tests')
    tex = rankwb(*compare, '--latex', cwd=forty).stdout
    assert tex.startswith(r'\begin{table}')
    assert re.search(r'better & \\textbf\{1?\.\d{3}\}\$\^\{\\blacktriangle\}\$', tex) and not re.search(r'alike & .*black', tex)

def test_equal_runs_are_not_different(forty):
    (forty/'copy.trec').write_bytes((forty/'base.trec').read_bytes())
    words = [*compare[:4], 'base.trec', 'copy.trec', '--test', 'wilcoxon', '--correction', 'none']
    rows = measured(*words, cwd=forty)['comparisons']
    assert [(r['difference'], r['p'], r['ties']) for r in rows]==[(0, 1, 40)]*2

# index and search --------------------------------------------------------------------------------------------------------------------

def test_search_of_an_index_is_search_of_its_documents(here):
    told = measured('index', 'docs.jsonl', '--out', 'made/docs.index', cwd=here)
    assert (told['folder'], told['documents'])==('made/docs.index', 3)
    assert rankwb('index', 'docs.jsonl', '--out', 'made/docs.index', cwd=here).returncode==0    # replaced
    (here/'docs.jsonl').rename(here/'moved.jsonl')
    (here/'docs.csv').write_text('name,words\n' + ''.join(f'{d["id"]},"{d["text"]}"\n' for d in docs))
    assert measured('index', 'docs.csv', '--id', 'name', '--text', 'words', '--out', 'other.index', cwd=here)['digest']==told['digest']
    for words in (['running','total'], ['running','total','--system','BM25(k1=1.2, b=0.75)'], ['-k','1','list','of','sums']):
        found,same = (measured('search', what, *words, cwd=here)['queries'] for what in ('made/docs.index','moved.jsonl'))
        assert found==same
    found = measured('search', 'made/docs.index', 'running', 'total', cwd=here)['queries'][0]
    assert found['text']=='running total' and [(d['id'],d['text']) for d in found['documents']]==[('accumulate',docs[1]['text'])]

def test_searched_runs_are_evaluated(here):
    (here/'judged.txt').write_text('1 0 accumulate 1\n2 0 dis 1\n')
    rankwb('index', 'docs.jsonl', '--out', 'docs.index', cwd=here)
    search = ['search','docs.index','--topics','topics.tsv','--topics-format','msmarco','--out']
    files = ['found.trec','found.trec.gz','found.json','found.parquet']
    for out in files: assert measured(*search, out, cwd=here)['queries']==2
    before = (here/'found.trec.gz').read_bytes()
    rankwb(*search, 'found.trec.gz', cwd=here)
    assert (here/'found.trec.gz').read_bytes()==before
    runs = measured('evaluate', '--qrels', 'judged.txt', '--run', *files, '--measures', 'RR', cwd=here)['runs']
    assert [r['measures']['RR'] for r in runs]==[1]*4

def test_search_asks_the_queries_of_a_collection(here):
    c = here/'beir'
    (c/'qrels').mkdir(parents=True)
    (c/'corpus.jsonl').write_text(''.join(json.dumps({'_id':d['id'], 'title':'', 'text':d['text']})+'\n' for d in docs))
    (c/'queries.jsonl').write_text('{"_id": "7", "text": "running total"}\n')
    (c/'qrels'/'test.tsv').write_text('query-id\tcorpus-id\tscore\n7\taccumulate\t1\n')
    assert rankwb('search', 'beir', '--out', 'found.trec', cwd=here).stdout=='1 queries, 1 documents in found.trec\n'
    assert measured(*evaluate('found.trec', 'beir/qrels/test.tsv'), '--measures', 'RR', cwd=here)['runs'][0]['measures']=={'RR':1}

def test_no_text_moves_the_cursor(here):
    (here/'odd.trec').write_text('q1 Q0 d\x1b[2J 1 1 x\nq1 Q0 d2\n')
    shown = [rankwb('search', 'docs.jsonl', 'byte', 'code', cwd=here).stdout, rankwb(*evaluate('odd.trec'), cwd=here).stderr]
    assert 'Disassembler' in shown[0] and 'line 2' in shown[1]
    assert not [c for text in shown for c in text if not c.isprintable() and c!='\n']

# rerank and models -------------------------------------------------------------------------------------------------------------------

bm25 = '1 Q0 sum 1 3 b\n1 Q0 dis 2 2 b\n1 Q0 accumulate 3 1 b\n2 Q0 sum 1 3 b\n2 Q0 dis 2 2 b\n'

@pytest.fixture
def own_model(here):
    "A folder with a cross-encoder of random weights, beside a run"
    import torch, transformers
    from test_encoders import checkpoint, nets
    torch.manual_seed(0)
    (here/'bm25.trec').write_text(bm25)
    return str(checkpoint(here/'my-model', 'BERT', transformers.BertForSequenceClassification(transformers.BertConfig(**nets['BERT'][2], num_labels=1))))

def test_rerank_is_what_a_notebook_does(here, own_model, monkeypatch, capfd):
    "By a folder and its kind, by a pipeline; from a file of documents and from an index"
    from rankwb.all import CrossEncoder, Docs, Queries, Run
    from rankwb.apps.cli import main
    monkeypatch.chdir(here)
    words = rerank('bm25.trec', '--reranker', own_model, '--kind', 'cross-encoder')
    def told(*words): assert main([*words, '--json'])==0; return json.loads(capfd.readouterr().out)
    run = Run.read(here/'bm25.trec').attach(Queries.from_dict({'1':'running total', '2':'byte code'}), Docs.from_records(docs))
    expected = CrossEncoder(own_model)(run)
    assert not {*expected.scores.tolist()} & {*run.scores.tolist()} # random weights may leave so few documents in their order
    found = told(*words)['queries']
    assert [[(d['id'],d['text'],d['score']) for d in q['documents']] for q in found]==[[(d, run.docs[d].text, pytest.approx(s, abs=1e-5)) for d,s in r] for r in expected]
    assert told('index', 'docs.jsonl', '--out', 'docs.index')['documents']==3
    assert told(*[w if w!='docs.jsonl' else 'docs.index' for w in words], '--out', 'new.trec')=={'system':expected.name, 'file':'new.trec', 'queries':2, 'documents':5}
    assert [r.ids for r in Run.read('new.trec')]==[r.ids for r in expected]
    told(*words, '--depth', '2', '-k', '2', '--out', 'top.json')
    assert [r.ids for r in Run.read('top.json')]==[r.ids for r in CrossEncoder(own_model, depth=2)(run) % 2]
    assert told(*rerank('bm25.trec', '--reranker', f"CrossEncoder({own_model!r}, depth=2) >> Same()"), '-k', '2')['queries']==told(*words, '--depth', '2', '-k', '2')['queries']
    assert main([*rerank('bm25.trec', '--reranker', own_model), '--out', 'other.trec'])==2 and 'say what it is: --kind, one of cross-encoder' in capfd.readouterr().err

def test_rerank_asks_the_queries_of_a_collection(here):
    c = here/'beir'
    (c/'qrels').mkdir(parents=True)
    (c/'corpus.jsonl').write_text(''.join(json.dumps({'_id':d['id'], 'title':'', 'text':d['text']})+'\n' for d in docs))
    (c/'queries.jsonl').write_text('{"_id": "1", "text": "running total"}\n{"_id": "2", "text": "byte code"}\n')
    (c/'qrels'/'test.tsv').write_text('query-id\tcorpus-id\tscore\n1\taccumulate\t1\n2\tdis\t1\n')
    (here/'bm25.trec').write_text(bm25)
    assert rankwb('rerank', 'beir', '--run', 'bm25.trec', '--reranker', 'Same()', '--out', 'new.trec', cwd=here).stdout=='2 queries, 5 documents in new.trec\n'
    assert measured(*evaluate('new.trec', 'beir/qrels/test.tsv'), '--measures', 'RR', cwd=here)['runs'][0]['measures']['RR']==pytest.approx((1/3+1/2)/2)

def test_models_are_listed(here, monkeypatch, capfd):
    from rankwb.apps.cli import main
    from rankwb.core.presets import preset, presets
    def told(*words): assert main(['models', *words])==0; return capfd.readouterr().out
    engines = dict(re.findall(r'^([\w-]+) +(\d+)  ', told(), re.M))
    assert engines=={e: str(len(presets(e))) for e in {p.engine for p in presets()}}
    lines = told('monot5', '3b').splitlines()
    assert lines[0].split()[:3]==['name','engine','tokens'] and any(l.startswith('monot5-3b-msmarco-10k ') for l in lines)
    one = told('rankzephyr')
    assert re.search(r'^licence +MIT$', one, re.M) and 'BM25 top 100 nDCG@10 0.7365 ± 0.005, not run here (rank_llm' in one
    assert json.loads(told('rankzephyr', '--json'))['models'][0]['scores'][0]['value']==preset('rankzephyr').scores[0]['value']
    assert len(json.loads(told('--json'))['models'])==len(presets())

# datasets ----------------------------------------------------------------------------------------------------------------------------

def test_datasets_are_listed(tmp_path):
    families = rankwb('datasets', cwd=tmp_path).stdout
    assert re.search(r'^rankify/bm25 +98 ', families, re.M) and re.search(r'^beir +30 ', families, re.M) and 'rankwb datasets WORDS' in families
    lines = rankwb('datasets', 'rankify', 'natural', cwd=tmp_path).stdout.splitlines()
    assert lines[0].split()[:3]==['name','task','documents'] and any(l.startswith('rankify/dpr/nq-test ') and '3.0 GB' in l for l in lines)
    one = dict(re.findall(r'^(\w+) +(.*)$', rankwb('datasets', 'dpr/psgs_w100', cwd=tmp_path).stdout, re.M))
    assert one['name']=='dpr/psgs_w100' and one['documents']=='21,015,324' and one['from'].startswith('https://') and 'Karpukhin' in one['paper']

def test_datasets_as_json(tmp_path):
    from rankwb.core.datasets import datasets
    found = measured('datasets', 'beir/', 'fact', cwd=tmp_path)['datasets']
    assert {d['name'] for d in found}=={d.name for d in datasets('beir/ fact')}>={'beir/scifact','beir/fever'}
    scifact = next(d for d in found if d['name']=='beir/scifact')
    assert (scifact['documents'], scifact['queries']['test'], scifact['bytes'], scifact['licence'])==(5183, 300, 2816079, 'CC BY-NC 2.0; files CC BY-SA 4.0')

# doctor, lab, demo -------------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def metadata(tmp_path_factory):
    "A folder with the metadata that an installed rankwb has, of the settings as they are now"
    d = tmp_path_factory.mktemp('metadata')
    r = subprocess.run([sys.executable, 'setup.py', '-q', 'egg_info', '--egg-base', d], cwd=root, capture_output=True, text=True)
    assert r.returncode==0, r.stderr
    return os.pathsep.join(map(str, (d, root)))

def test_doctor_knows_every_extra(metadata, tmp_path):
    from test_package import cfg
    found = json.loads(rankwb('doctor', '--json', cwd=tmp_path, PYTHONPATH=metadata).stdout)
    assert set(found['optional'])=={k.removesuffix('_requirements') for k in cfg if k.endswith('_requirements')}
    assert {re.split('[<>=]', o)[0] for o in cfg['requirements'].split()}==set(found['packages'])
    assert found['rankwb']['rankwb']=={'found':cfg['version'], 'ok':True, 'advice':''}
    lacking = [k for k,v in found['optional'].items() if v['ok'] is None]
    assert all(found['optional'][k]['advice']==f"pip install 'rankwb[{k}]'" for k in lacking)

def test_doctor_finds_what_is_wrong(metadata, tmp_path):
    (tmp_path/'bin').mkdir()
    (tmp_path/'bin'/'java').write_text('#!/bin/sh\necho "cannot run" >&2\nexit 1\n')
    (tmp_path/'bin'/'java').chmod(0o755)
    (tmp_path/'rankwb').write_text('a file where the cache belongs')
    wrong = dict(JAVA_HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path/'rankwb'), HF_HUB_OFFLINE='1')
    r = rankwb('doctor', cwd=tmp_path, PYTHONPATH=metadata, **wrong)
    lines = [l for l in r.stdout.splitlines() if l.startswith(('!','-'))]
    assert r.returncode==1 and r.stderr==''
    for says in ('cannot run','XDG_CACHE_HOME','unset HF_HUB_OFFLINE'): assert [l for l in lines if says in l], says

def test_lab_opens_a_first_notebook(tmp_path):
    from nbformat import reads, validate
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    (tmp_path/'config').mkdir()
    (tmp_path/'config'/'jupyter_server_config.json').write_text('{"ServerApp": {"allow_root": true}}')
    env = around(JUPYTER_TOKEN='t', **{f'JUPYTER_{o.upper()}_DIR': str(tmp_path/o) for o in ('config','runtime','data')})
    with open(tmp_path/'log', 'w') as log:
        p = subprocess.Popen([*program, 'lab', 'new', '--no-browser', '--port', str(port)], cwd=tmp_path, env=env, stdout=log, stderr=log)
        try:
            for _ in range(300):
                assert p.poll() is None, (tmp_path/'log').read_text()
                url = f'http://127.0.0.1:{port}/api/contents/start.ipynb?token=t'
                try: found = urllib.request.urlopen(url, timeout=5).read()
                except OSError: time.sleep(.2)
                else: break
            else: raise AssertionError((tmp_path/'log').read_text())
        finally:
            p.terminate()
            p.wait(30)
    assert json.loads(found)['type']=='notebook'
    nb = reads((tmp_path/'new'/'start.ipynb').read_text(), as_version=4)
    validate(nb)
    assert 'from rankwb.all import *' in nb.cells[0].source

# The command, on a collection whose documents are encoded in seconds
small = '''
import sys
from rankwb.apps import cli
from rankwb.core import loading
from rankwb.core.data import Collection, Docs, Qrels, Queries

words = 'list dict set string file path date regex'.split()
acts = 'sort copy read write split join'.split()
docs = Docs.from_dict({f'{w}.{a}': f'How to {a} a {w}, which is what {w} is for.' for w in words for a in acts})
queries = Queries.from_dict({f'{w}.{a}': f'{a} my {w}' for w in words for a in acts[:2]})
qrels = Qrels.from_dict({q.id: {q.id: 2, q.id.split('.')[0]+'.join': 0} for q in queries})
loading.load = lambda what: Collection(docs, queries, qrels, name=what)
if __name__=='__main__': sys.exit(cli.main())
'''

def test_demo_writes_the_same_bytes_twice(tmp_path):
    (tmp_path/'small.py').write_text(small)
    told = []
    for out in ('one','two'):
        r = subprocess.run([sys.executable, 'small.py', 'demo', '--out', out], cwd=tmp_path, env=around(), capture_output=True, text=True, encoding='utf-8')
        assert r.returncode==0, r.stderr
        assert re.search(r'rankwb demo: [\d.]+ s: ', r.stderr.splitlines()[-1])
        told.append(r.stdout.replace(f'{out}{os.sep}', ''))
    assert told[0]==told[1] and not re.search(r'\d s\b|\bms\b', told[0])
    one,two = tmp_path/'one',tmp_path/'two'
    files = [f for f in everything(one) if (one/f).is_file()]
    assert everything(one)==everything(two) and not [f for f in files if (one/f).read_bytes()!=(two/f).read_bytes()]
    assert {'report.html','table.tex','table.md','results.json','runs/BM25.trec.gz','runs/qrels.txt'}<=set(files)
    assert {f'figures/{n}.{e}' for n in ('bars','differences','wins','depth') for e in ('pdf','svg','png')}<=set(files)
    numbers = {r['name']: r['measures'] for r in json.loads((one/'results.json').read_text())['runs']}
    words = evaluate('BM25.trec.gz', 'qrels.txt', *(f'{n}.trec.gz' for n in numbers if n!='BM25'), '--measures', *numbers['BM25'])
    again = measured(*words, cwd=one/'runs')['runs']
    assert {r['name']: r['measures'] for r in again}=={n: pytest.approx(m) for n,m in numbers.items()}
    for name,values in numbers.items():
        for v in values.values(): assert f'{v:.4f}' in next(l for l in told[0].splitlines() if l.split()[:1]==[name])

# What it costs -----------------------------------------------------------------------------------------------------------------------

def modules(*words, cwd):
    "What a command imports"
    code = 'import sys; from rankwb.apps.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)'
    r = subprocess.run([sys.executable, '-c', code, *words], cwd=cwd, env=around(), capture_output=True, text=True, check=True)
    return set(r.stderr.split())

heavy = {'torch','transformers','sentence_transformers','pandas','scipy','statsmodels','matplotlib','sklearn','numba','jnius',
         'ipywidgets','IPython'}

def test_light_commands_import_little(here):
    assert not modules('--help', cwd=here) & (heavy | {'numpy','pyarrow'})
    assert not modules(*evaluate(), cwd=here) & heavy
    assert not modules('doctor', '--json', cwd=here) & heavy
    assert not modules('datasets', 'rankify', cwd=here) & (heavy | {'requests','huggingface_hub','ijson'})
    assert not modules('search', 'docs.jsonl', 'running', 'total', cwd=here) & heavy
    assert not modules('models', 'monot5', cwd=here) & heavy
    (here/'bm25.trec').write_text(bm25)
    assert not modules(*rerank('bm25.trec', '--reranker', 'Same()'), cwd=here) & heavy

def seconds(*command, cwd):
    "Processor time, the median of five"
    def once():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], cwd=cwd, env=around(), capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime+after.ru_stime-before.ru_utime-before.ru_stime
    return statistics.median(once() for _ in range(5))

def test_evaluate_costs_little_more_than_its_libraries(here):
    libraries = seconds('-c', 'import numpy, pyarrow.compute, pyarrow.csv', cwd=here)
    assert seconds('-m', 'rankwb.apps.cli', *evaluate(), cwd=here) < 3*libraries
    assert seconds('-m', 'rankwb.apps.cli', '--help', cwd=here) < libraries
