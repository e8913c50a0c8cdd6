"The site builds without a warning, its links lead somewhere, and a browser shows it offline, in the dark and on a phone"
import subprocess,sys
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler,ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote,urlsplit

import pytest
from conftest import root

from docs.pages import docname,order

pages = list(map(docname, order()))

@pytest.fixture(scope='module')
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp('site')
    build = [sys.executable, '-m', 'docs.build', out/'html', out/'work']
    r = subprocess.run(build, cwd=root, capture_output=True, text=True)
    assert r.returncode==0, r.stderr
    return out/'html'

class Page(HTMLParser):
    "The ids on a page, what it links to, and what it loads"
    def __init__(self, file):
        super().__init__()
        self.ids,self.links,self.loads = set(),[],[]
        self.feed(file.read_text(encoding='utf-8'))
    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if 'id' in a: self.ids.add(a['id'])
        if tag=='a' and 'href' in a: self.links.append(a['href'])
        elif (url := a.get('src') or a.get('href')) and a.get('rel') not in ('canonical',): self.loads.append(url)

def test_links_lead_somewhere(site):
    found = {f: Page(f) for f in site.rglob('*.html')}
    dead = []
    for f,page in found.items():
        for url in page.links+page.loads:
            u = urlsplit(url)
            if u.scheme or u.netloc: continue
            to = (f.parent/unquote(u.path)).resolve() if u.path else f
            if not to.exists() or to in found and u.fragment and unquote(u.fragment) not in found[to].ids: dead.append((f.name, url))
    assert not dead
    assert set(pages) <= {str(f.relative_to(site).with_suffix('')) for f in found}

def test_pages_load_nothing_from_elsewhere(site):
    far = [(f.name, url) for f in site.rglob('*.html') for url in Page(f).loads if urlsplit(url).netloc]
    assert not far

def luminance(rgb):
    "Relative luminance of a colour as CSS writes it (WCAG 2)"
    r,g,b = (x/12.92 if x<=.04045 else ((x+.055)/1.055)**2.4 for x in (float(o)/255 for o in rgb[rgb.index('(')+1:-1].split(',')[:3]))
    return .2126*r+.7152*g+.0722*b

def contrast(a, b):
    hi,lo = sorted((luminance(a),luminance(b)), reverse=True)
    return (hi+.05)/(lo+.05)

@pytest.fixture
def window(browser):
    "A page of the browser, and the list of what goes wrong in it"
    page,wrong = browser.new_page(),[]
    here = 'file:','data:','http://127.0.0.1:'
    page.on('request', lambda r: r.url.startswith(here) or wrong.append(f'asks for {r.url}'))
    page.on('requestfailed', lambda r: wrong.append(f'failed: {r.url}'))
    page.on('pageerror', lambda e: wrong.append(f'script error: {e}'))
    page.on('console', lambda m: m.type=='error' and wrong.append(f'console: {m.text}'))
    yield page,wrong
    page.close()

screens = dict(light=(1300,900,'light'), dark=(1300,900,'dark'), phone=(390,844,'light'))
wider = """Math.max(...[...document.querySelectorAll('html, .main, .content, article')]
           .map(e => e.scrollWidth - e.clientWidth))"""
ink = """[...new Set([...document.querySelectorAll('article :is(p, td, th, .rwb, .highlight pre)')]
         .filter(e => e.checkVisibility()).map(e => getComputedStyle(e).color))]"""

@pytest.mark.parametrize('name', pages)
def test_in_a_browser(name, site, window):
    page,wrong = window
    page.goto((site/f'{name}.html').as_uri(), wait_until='load')
    for screen,(width,height,scheme) in screens.items():
        page.set_viewport_size(dict(width=width, height=height))
        page.emulate_media(color_scheme=scheme)
        over = page.evaluate(wider)
        assert over<=0, f'{screen}: the page is {over} pixels wider than its place'
        ground = page.evaluate('getComputedStyle(document.body).backgroundColor')
        faint = [c for c in page.evaluate(ink) if contrast(c, ground)<4.5]
        assert not faint, f'{screen}: {faint} is hard to read on {ground}'
    assert not wrong

@pytest.fixture(scope='module')
def served(site):
    "The address of the site on a server of its own"
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
    with ThreadingHTTPServer(('127.0.0.1',0), partial(Quiet, directory=site)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()

@pytest.mark.parametrize('where', ['file','server'])
def test_search(where, site, served, window):
    page,wrong = window
    page.goto((site.as_uri() if where=='file' else served)+'/search.html?q=ranking')
    page.wait_for_selector('#search-results li a', timeout=10_000)
    if where=='server': assert not wrong   # a browser lets no script read files, so there results come without excerpts
