"A real JupyterLab: the explorer under a hand, and hostile texts in every display. Screenshots go to tests/shots"
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
    def shot(self, name):
        "Keep a picture"
        folder = here/'shots'
        folder.mkdir(exist_ok=True)
        (folder/'.gitignore').write_text('*\n')
        self.tab.evaluate("(document.querySelector('.widget-vbox.rwb-linked') ?? document.querySelector('.rwb-linked')).scrollIntoView()")
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
