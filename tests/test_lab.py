"A real JupyterLab: the explorer and the viewer of answers under a hand, and hostile texts in every display. Screenshots go to tests/shots"
import json,os,secrets,signal,socket,subprocess,sys,time
from pathlib import Path
from urllib.request import urlopen

import nbformat,pytest
from conftest import root

here = Path(__file__).parent

settings = {'@jupyterlab/apputils-extension:notification': {'fetchNews':'false', 'checkForUpdates':False},
            '@jupyterlab/docmanager-extension:plugin': {'autosave':False}}

def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]

@pytest.fixture(scope='module')
def server(tmp_path_factory):
    "Folder and address of a JupyterLab that is stopped whatever happens"
    home,port,token = tmp_path_factory.mktemp('lab'),free_port(),secrets.token_hex(16)
    for o in ('settings','notebooks'): (home/o).mkdir()
    (home/'settings'/'overrides.json').write_text(json.dumps(settings))
    own = dict(HOME=home, IPYTHONDIR=home/'ipython', JUPYTER_CONFIG_DIR=home/'config', JUPYTER_DATA_DIR=home/'data', JUPYTER_RUNTIME_DIR=home/'runtime',
               PYTHONPATH=os.pathsep.join(map(str, (root,here))), PYTHONDONTWRITEBYTECODE=1)
    options = ['--no-browser', '--allow-root', '--ip=127.0.0.1', f'--port={port}', '--ServerApp.port_retries=0', f'--IdentityProvider.token={token}',
               f'--ServerApp.root_dir={home/"notebooks"}', f'--LabApp.app_settings_dir={home/"settings"}', '--LabApp.expose_app_in_browser=True']
    with open(home/'log', 'w') as log:
        p = subprocess.Popen([sys.executable, '-m', 'jupyterlab', *options], stdout=log, stderr=log, start_new_session=True, env={**os.environ, **{k:str(v) for k,v in own.items()}})
    try:
        wait_for(f'http://127.0.0.1:{port}/api', p, home/'log')
        yield home/'notebooks',f'http://127.0.0.1:{port}/lab',token
    finally: stop(p)

def wait_for(url, process, log, seconds=60):
    for _ in range(seconds*5):
        if process.poll() is not None: break
        try: return urlopen(url, timeout=1).read()
        except OSError: time.sleep(.2)
    raise RuntimeError(f'JupyterLab did not start:\n{log.read_text()[-2000:]}')

def stop(process):
    "End the server, which ends its kernels, or else everything in its session"
    for sig in (signal.SIGTERM,signal.SIGKILL):
        if process.poll() is None: os.killpg(process.pid, sig)
        try: return process.wait(15)
        except subprocess.TimeoutExpired: pass

class Lab:
    "A tab of the browser with JupyterLab in it"
    def __init__(self, tab, server):
        self.tab,(self.folder,url,token),self.wrong = tab,server,[]
        tab.on('pageerror', lambda e: self.wrong.append(str(e)))
        tab.goto(f'{url}?token={token}&reset')
        tab.wait_for_function('window.jupyterapp?.started !== undefined')
        tab.evaluate('async () => { await jupyterapp.restored; jupyterapp.commands.execute("application:toggle-left-area") }')
    def run(self, name, *cells):
        "Open a new notebook with `cells` and run it to its end"
        nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells], metadata=dict(kernelspec=dict(name='python3', display_name='python3', language='python')))
        nbformat.write(nb, self.folder/f'{name}.ipynb')
        self.tab.evaluate('''async path => {
            const w = await jupyterapp.commands.execute('docmanager:open', {path, factory: 'Notebook'});
            await w.context.ready; await w.sessionContext.ready; await w.sessionContext.session.kernel.info;
            for (const o of [...jupyterapp.shell.widgets('main')]) if (o!==w) { await o.context?.save(); o.close() }
            await jupyterapp.commands.execute('notebook:run-all-cells') }''', f'{name}.ipynb')
        failed = self.tab.evaluate("[...document.querySelectorAll('.jp-mod-active .jp-RenderedText[data-mime-type$=stderr], .jp-RenderedText[data-mime-type$=error]')].map(o => o.innerText)")
        assert not failed, '\n'.join(failed)
    def theme(self, name):
        self.tab.evaluate("name => jupyterapp.commands.execute('apputils:change-theme', {theme: name})", name)
        self.tab.wait_for_function("dark => (document.body.dataset.jpThemeLight=='false')==dark", arg='Dark' in name)
    def shot(self, name, of='.rwb-linked'):
        "Keep a picture of the widget of a class"
        folder = here/'shots'
        folder.mkdir(exist_ok=True)
        (folder/'.gitignore').write_text('*\n')
        self.tab.evaluate("of => (document.querySelector('.widget-vbox'+of) ?? document.querySelector(of)).scrollIntoView()", of)
        self.tab.wait_for_timeout(300)
        self.tab.screenshot(path=folder/f'{name}.png')

@pytest.fixture(scope='module')
def opened(browser, server):
    tab = browser.new_page()
    try: yield Lab(tab, server)
    finally: tab.close()

@pytest.fixture
def lab(opened):
    "JupyterLab on a screen of its usual size, in which nothing may go wrong"
    opened.tab.set_viewport_size(dict(width=1400, height=1500))
    opened.theme('JupyterLab Light')
    yield opened
    assert not opened.wrong, f'errors on the page: {opened.wrong}'

# The notebook runs this, and so does the test, which knows from it what must be on the screen
setup = '''
from rankwb.core.data import Collection, Docs, Qrels, Queries
from rankwb.retrieval.bm25 import BM25
things,acts = 'list dict set file path date socket queue'.split(),'sort copy read join find'.split()
docs = Docs.from_dict({f'{t}.{a}': dict(title=f'{a.title()} a {t}', text=f'How to {a} a {t}. ' + f'This {t} is a {t} for {acts[(i+1)%5]}ing others. '*(i%4) + 'More is in the manual. '*(i%7))
                       for i,(t,a) in enumerate((t,a) for t in things for a in acts)})
queries = Queries.from_dict({f'q{i}': f'{a} this {t}' for i,(t,a) in enumerate(zip(things, acts))})
qrels = Qrels.from_dict({q.id: {f'{t}.{a}': 2 if i==j else 1 if j==i+1 else 0 for j,a in enumerate(acts)} for i,(q,t) in enumerate(zip(queries, things))})
collection = Collection(docs, queries, qrels, name='things')
class Fails(BM25):
    def apply(self, queries):
        if 'boom' in queries[0].text: raise RuntimeError('no <b>luck</b>')
        return super().apply(queries)
systems = [BM25(docs), Fails(docs, analyzer='standard lower')]
'''

state = '''() => ({
    hits: [...document.querySelectorAll('.rwb-linked .rwb:has(> .hit)')].map(c => [...c.querySelectorAll('.hit')].map(h => ({
        score: h.querySelector('.num').firstChild.textContent.trim(), title: h.querySelector('b').textContent, badge: h.querySelector('.badge')?.textContent, chips: [...h.querySelectorAll('.chip')].map(o => o.textContent)}))),
    measures: [...document.querySelectorAll('.rwb-linked .rwb:has(> .code)')].map(c => [...c.querySelectorAll('tbody tr')].map(r => [...r.cells].map(o => o.textContent))),
    pipelines: [...document.querySelectorAll('.rwb-linked .code')].map(o => o.textContent),
    against: [...document.querySelectorAll('.rwb-linked .rwb:has(> .code) .cap')].map(o => o.textContent.trim()),
    box: document.querySelector('.rwb-linked input[type=text]').value,
    asked: document.querySelector('.rwb-linked .ask').textContent})'''

def test_explorer(lab):
    from rankwb.evaluation.evaluate import evaluate
    known = {}
    exec(setup, known)
    docs,queries,qrels,systems,BM25 = (known[o] for o in ('docs','queries','qrels','systems','BM25'))
    tab = lab.tab
    lab.run('explorer', setup, 'from rankwb.workbench.explorer import explore\nexplore(systems, collection, k=5)')
    tab.wait_for_selector('.rwb-linked .hit')
    see = lambda: tab.evaluate(state)
    def soon(check, seconds=20):
        "Messages to the browser take their time: `check(what is seen)` must hold before long"
        for i in range(seconds*5):
            try: return check(see())
            except (AssertionError,IndexError,KeyError):
                if i==seconds*5-1: raise
                tab.wait_for_timeout(200)
    titles = {d.title: d.id for d in docs}
    def ranked(stage, text): return [(d, f'{s:.4f}') for d,s in stage(text)[0]][:5]
    def listed(column): return [(titles[h['title']], h['score']) for h in column]

    # type a question
    box = tab.locator('.rwb-linked input[type=text]').first
    box.fill('how to sort files')
    box.press('Enter')
    def typed(seen):
        assert seen['asked']=='how to sort files'
        assert [*map(listed, seen['hits'])]==[ranked(s, 'how to sort files') for s in systems]
        assert not any(h['badge'] for c in seen['hits'] for h in c), 'judgments of a question that was not judged'
    soon(typed)

    # choose a judged one
    menu,text = tab.locator('.rwb-linked select').first,queries['q2'].text
    menu.select_option(index=3)
    other = {d:r for r,(d,_) in enumerate(systems[1](text)[0], 1)}
    def chosen(seen):
        assert (seen['box'],seen['asked'])==(text,text)
        assert [*map(listed, seen['hits'])]==[ranked(s, text) for s in systems]
        assert [[h['badge'] for h in c] for c in seen['hits']]==[[str(qrels['q2'].get(d, '·')) for d,_ in listed(c)] for c in seen['hits']]
        assert [h['chips'] for h in seen['hits'][0]]==[[f'B {other.get(d, "–")}'] for d,_ in listed(seen['hits'][0])]
    soon(chosen)
    lab.shot('explorer-light')

    # drag a slider, twice
    k1 = lambda: float(tab.locator('.rwb-linked .widget-readout').first.inner_text())
    def drag(by, before):
        at = tab.locator('.rwb-linked .noUi-handle').first.bounding_box()
        x,y = at['x']+at['width']/2,at['y']+at['height']/2
        tab.mouse.move(x, y)
        tab.mouse.down()
        for i in range(1, 9): tab.mouse.move(x+by*i/8, y)
        tab.mouse.up()
        now = BM25(docs, k1())
        assert ranked(now, text)!=ranked(before, text), 'this setting changes nothing, so nothing is tested'
        def values(stage): return [evaluate(stage(q), j, 'nDCG@10 RR R@100').mean for q,j in ((queries[['q2']],qrels.take([2])), (queries,qrels))]
        def change(d): return '±0' if abs(d)<5e-5 else f'{d:+.4f}'.replace('-', '−')
        want = [[str(m), *(f'{a[m]:.4f} {change(a[m]-b[m])}' for a,b in zip(values(now), values(before)))] for m in values(now)[0]]
        def dragged(seen):
            assert seen['pipelines']==[repr(now),repr(systems[1])]
            assert listed(seen['hits'][0])==ranked(now, text)
            assert (seen['measures'][0],seen['against'])==(want,[f'± against {before!r}', ''])
        soon(dragged)
        tab.wait_for_timeout(1000)   # a setting counts when the hand has rested
        return now
    now = drag(-60, drag(80, BM25(docs)))

    # open a document; ask why another stands where it stands
    found = [d for d,_ in ranked(now, text)]
    hit = tab.locator('.rwb-linked .hit').first
    hit.locator('summary').click()
    assert hit.locator('.whole').inner_text().split()==docs[found[0]].text.split()
    tab.locator('.rwb-linked select').last.select_option(index=2)
    tab.wait_for_function("want => [...document.querySelectorAll('.rwb-linked tr')].some(r => r.cells[0].textContent=='sum' && r.cells[5].textContent==want)",
                          arg=f'{now(text)[0].scores[2]:.4f}')

    # what fails says so, and the next question clears it away
    def ask(text):
        box.fill(text)
        box.press('Enter')
    ask('boom')
    tab.wait_for_selector('.rwb-linked .note.bad')
    assert tab.locator('.rwb-linked .note.bad summary').inner_text()=='RuntimeError: no <b>luck</b>'
    ask('find the date')
    tab.wait_for_selector('.rwb-linked .note', state='detached')

    # dark, and narrow
    menu.select_option(index=3)
    def again(seen): assert seen['asked']==text
    soon(again)
    lab.theme('JupyterLab Dark')
    lab.shot('explorer-dark')
    for width in (1400, 700):
        tab.set_viewport_size(dict(width=width, height=1500))
        tab.wait_for_timeout(300)
        assert tab.evaluate("(o => o.scrollWidth-o.clientWidth)(document.querySelector('.rwb-linked'))")<=0, f'wider than its cell at {width} pixels'
    lab.shot('explorer-narrow')

# Answers of a method that searches by itself, whose model is a script, and of a reader of the embedded collection
answered = """
import warnings
from dataclasses import replace
from rankwb.core.answers import Answer, Answers, Passage
from rankwb.core.extractive import Extractive
from rankwb.core.llm import Scripted
from rankwb.core.records import Docs, Queries
from rankwb.core.stdlib import stdlib
from rankwb.core.traces import Call, Trace
from rankwb.rag.context import Context
from rankwb.rag.direct import Direct
from rankwb.rag.ircot import IRCoT
from rankwb.rag.viewer import Reviewed, view
from rankwb.retrieval.bm25 import BM25
docs = Docs.from_dict({'ada': dict(title='Ada Lovelace', text='Ada Lovelace was the only legitimate child of the poet Lord Byron.'),
    'byron': dict(title='Lord Byron', text='Lord Byron was born on 22 January 1788 in Holles Street, London. He died in Missolonghi, where he had gone to fight.'),
    'babbage': dict(title='Charles Babbage', text='Charles Babbage met Ada Byron in 1833, when she was seventeen.')})
queries = Queries.from_dict({'q1': 'Where was the father of Ada Lovelace born?', 'q2': 'In which town did Lord Byron die?', 'q3': 'Where was Charles Babbage born?'})
golds = dict(q1=['Holles Street, London'], q2=['Missolonghi'], q3=['Walworth'])
thoughts = dict(Ada=['The father of Ada Lovelace was the poet Lord Byron.', 'Lord Byron was born in Holles Street, London.', 'So the answer is: Holles Street, London.'],
                town=['So the answer is: the town of Missolonghi in Greece.'], Babbage=[''])
def says(messages):
    asked = ' '.join(o['content'] for o in messages).split('Q: ')[-1]
    lines = next(v for k,v in thoughts.items() if k in asked.split('A:')[0])
    return lines[min(sum(t in asked for t in lines if t), len(lines)-1)]
def still(answers): return Answers([replace(a, calls=Trace(replace(c, ms=0.) for c in a.calls)) for a in answers], answers.name) # so that the test sees what the notebook does
c = stdlib()
with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    asking = still(IRCoT(Scripted(says=says), BM25(docs) % 2, context=Context(k=3, each=24))(queries))
reading = still((BM25(c.docs) % 5 >> Direct(Extractive()))(c.queries[:60]))
evil = '</pre></style><script>owned()</script><img src=x onerror=owned()> **bold** [to](javascript:owned()) \x1b[31mred\x1b[0m $x^2$ is $5'
bad = Answer('q'+evil, 'Who? '+evil, 'me '+evil, finish=evil, found=(Passage('d'+evil, 'text '+evil, 'title '+evil), Passage('e', evil)), shown=('d'+evil,), about={evil: evil},
             calls=Trace(Call('q', i, 'about '+evil, 'prompt '+evil, 'said '+evil, v, 'note '+evil, kind=k, found=('e','gone'+evil)) for i,(k,v) in enumerate((('model','failed'), ('search','ok'), ('model','repaired')), 1)))
hostile = {'evil '+evil: Answers([bad]), 'other': Answers([Answer(bad.query, bad.question, None, evil)])}
"""

text_of = "html => { const o = document.createElement('template'); o.innerHTML = html; o.content.querySelectorAll('style').forEach(s => s.remove()); return o.content.textContent.replace(/\\s+/g, ' ').trim() }"

class Viewed:
    "The viewer number `i` on the page"
    def __init__(self, lab, i):
        self.tab,self.box = lab.tab,lab.tab.locator('.rwb-viewer').nth(i)
        self.kind,self.order,self.menu,self.who = (self.box.locator('select').nth(j) for j in range(4))
        self.back,self.on = (self.box.locator(f'button[title="the {o}"]') for o in ('question before','next question'))
        self.handle = self.box.locator('.noUi-handle')
    def text(self, i):
        "What is written in the page (0) or the step (1)"
        return self.tab.evaluate(text_of, self.box.locator('.widget-html-content').nth(i).inner_html())
    def soon(self, see, want, seconds=20):
        "Messages to the browser take their time"
        for _ in range(seconds*10):
            if see()==want: return
            self.tab.wait_for_timeout(100)
        assert see()==want
    def shows(self, page=None, step=None):
        "Soon the page and the step that are HTML there are what is written here"
        for i,html in enumerate((page,step)):
            if html is not None: self.soon(lambda: self.text(i), self.tab.evaluate(text_of, html))
    def options(self): return [o.replace('\xa0', ' ') for o in self.menu.locator('option').all_text_contents()]

def test_viewer(lab):
    known = {}
    exec(answered, known)
    asking,reading,golds,c,Reviewed = (known[o] for o in ('asking','reading','golds','c','Reviewed'))
    state,tab = Reviewed(asking, golds),lab.tab
    name, = state.named
    lab.run('viewer', answered, 'ui = view(asking, golds)\nui', 'view(reading, c)', 'ui.widget\nui.play.interval = 100')
    tab.wait_for_selector('.rwb-viewer .ask')
    one,two = Viewed(lab, 0),Viewed(lab, 1)
    one.shows(state.snapshot(steps=False), state.step(name, 0))

    # by the keys: from step to step, and Lab stays where it is
    n,cell = len(asking['q1'].calls),'document.querySelectorAll(".jp-Notebook .jp-Cell.jp-mod-active")[0] && [...document.querySelectorAll(".jp-Notebook .jp-Cell")].findIndex(o => o.classList.contains("jp-mod-active"))'
    one.handle.focus()
    active = tab.evaluate(cell)
    for i in range(1, 4):
        tab.keyboard.press('ArrowRight')
        one.shows(step=state.step(name, i))
    tab.keyboard.press('ArrowLeft')
    one.shows(step=state.step(name, 2))
    assert tab.evaluate(cell)==active and tab.evaluate("document.activeElement.classList.contains('noUi-handle')")
    lab.shot('viewer-light', '.rwb-viewer')

    # played, to the end
    one.box.locator('.jupyter-widgets-play button, .widget-play button').first.click()
    one.shows(step=state.step(name, n-1))

    # question by question, each from its first step
    for q in ('q2','q3'):
        one.on.click()
        one.shows(state.ask(q).snapshot(steps=False), state.step(name, 0))
    one.back.click()
    one.shows(state.ask('q2').snapshot(steps=False))

    # by reason
    for kind in ('wrong','wrong, evidence in the prompt','wrong, evidence not found','a call failed'):
        wanted = state.questions(kind=kind)
        assert 0<len(wanted)<3, 'a filter that keeps all or nothing is not tested'
        one.kind.select_option(label=kind)
        one.soon(one.options, [label for label,_ in wanted])
        one.shows(state.ask(wanted[0][1]).snapshot(steps=False), state.step(name, 0))
    failed = next(i for i,call in enumerate(asking['q3'].calls) if call.verdict=='failed')
    one.handle.focus()
    for _ in range(failed): tab.keyboard.press('ArrowRight')
    one.shows(step=state.ask('q3').step(name, failed))
    assert 'no sentence' in one.box.locator('.note.bad').inner_text()
    one.kind.select_option(label='no answer')
    one.soon(lambda: one.text(0), 'no question is of this kind')
    one.soon(lambda: one.handle.is_visible(), False)
    one.kind.select_option(label='all questions')
    one.soon(lambda: one.handle.is_visible(), True)

    # sixty questions of the embedded collection
    state = Reviewed(reading, c)
    name, = state.named
    two.shows(state.snapshot(steps=False), state.step(name, 0))
    two.kind.select_option(label='wrong, evidence in the prompt')
    two.order.select_option(label='right first')
    wanted = state.questions('right first', 'wrong, evidence in the prompt')
    two.soon(two.options, [label for label,_ in wanted])
    two.menu.select_option(index=2)
    two.shows(state.ask(wanted[2][1]).snapshot(steps=False), state.step(name, 0))
    assert two.box.locator('mark.gold').count()>0

    # a passage opens by the keys
    two.box.locator('summary').filter(has=tab.locator('.part')).first.focus()
    tab.keyboard.press('Enter')
    assert two.box.locator('details[open] .whole').first.is_visible()

    # dark, and narrow
    lab.theme('JupyterLab Dark')
    lab.shot('viewer-dark', '.rwb-viewer')
    for width in (1400, 620):
        tab.set_viewport_size(dict(width=width, height=1500))
        tab.wait_for_timeout(300)
        over = tab.evaluate("[...document.querySelectorAll('.rwb-viewer, .rwb-viewer .rwb')].map(o => o.scrollWidth-o.clientWidth)")
        assert max(over)<=0, f'wider than its place at {width} pixels'
    lab.shot('viewer-narrow', '.rwb-viewer')

def test_viewer_of_hostile_texts(lab):
    tab = lab.tab
    tab.add_script_tag(content='window.got=[]; function owned() { got.push(1) }')
    lab.run('hostile-answers', answered, "from IPython.display import HTML\nHTML('<p class=formula>$x^2$</p>')", 'view(hostile, {bad.query: [evil, "me"]})', 'Reviewed(hostile, {bad.query: [evil, "me"]})')
    tab.wait_for_selector('.formula mjx-container')
    it = Viewed(lab, 0)
    it.handle.focus()
    for i in range(1, 4):
        it.soon(lambda: f'step {i} of 3' in it.text(1), True)
        tab.evaluate("document.querySelectorAll('details').forEach(o => o.open = true)")
        assert '<script>owned()</script><img src=x onerror=owned()> **bold** [to](javascript:owned()) \x1b[31mred\x1b[0m $x^2$ is $5' in it.text(1)
        tab.keyboard.press('ArrowRight')
    made = "where => document.querySelectorAll(where).length"
    assert tab.evaluate(made, '.rwb-answer')>=3
    for what in ('script','img','strong','a','mjx-container','[class*=ansi]'): assert tab.evaluate(made, f'.rwb-answer {what}')==0, f'a text became {what}'
    assert tab.evaluate('got')==[]
    assert '<script>' in it.menu.locator('option').first.text_content() and '<script>' in it.who.locator('option').first.text_content()
    it.who.select_option(index=1)
    it.soon(lambda: it.handle.is_visible(), False)
    lab.shot('viewer-hostile', '.rwb-viewer')

def test_hostile_texts(lab):
    from test_escaping import expected,flat,lost
    tab,wanted = lab.tab,' '.join(expected[o] for o in expected if o!='report')
    tab.add_script_tag(content='window.got=[]; function owned(where) { got.push(where) }')
    lab.run('hostile', 'from pathlib import Path\nfrom IPython.display import display\nfrom test_escaping import collection,displays,evil,ids',
        'Path("made").mkdir()\nshown = displays(Path("made"))\nshown.pop("report")\nall = list(shown.values())',
        *(f'for o in all[{i}:{i+40}]: display(o)' for i in range(0, len(expected), 40)), # Lab folds what a cell shows after the fiftieth
        'from rankwb.workbench.explorer import explore\nui = explore({evil("name"): shown["stage"].stages[0].stage, "bm25": shown["union"].stages[1]}, collection)\nui',
        'ui.box.value = evil("typed")\nui.which.value = ids[1]')
    tab.wait_for_function("document.querySelector('.widget-vbox .ask')?.textContent.startsWith('lazy typed <script>')")
    tab.wait_for_function("document.querySelector('.widget-vbox .open')?.textContent.includes('lazy id1 <script>')")
    tab.evaluate("document.querySelectorAll('details').forEach(o => o.open = true)")
    tab.wait_for_timeout(300)
    assert tab.evaluate('got')==[]
    assert not lost(wanted, flat(tab.evaluate("document.querySelector('.jp-Notebook').textContent"))), 'not shown as text'
    assert not lost('name typed id0 title text id1', flat(tab.evaluate("document.querySelector('.widget-vbox').textContent"))), 'not shown as text by the explorer'
    assert not lost('query id0 id1', flat(' '.join(tab.locator('.widget-vbox option').all_text_contents()))), 'not shown as text in a menu'
    lab.shot('hostile')
    # script could have run there
    tab.evaluate("document.querySelector('.rwb-linked').insertAdjacentHTML('beforeend', '<img src=x onerror=\"owned(`test`)\">')")
    tab.wait_for_function("got.length==1")
