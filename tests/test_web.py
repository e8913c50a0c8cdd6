"A small web on this machine, with everything that one meets out there; and tapes that give it back"
import gzip, json, socket, subprocess, sys, textwrap, time, warnings
from dataclasses import replace
from pathlib import Path
from threading import Barrier
import pytest
from rankwb.core.caching import Store
from rankwb.core.data import Docs, Queries
from rankwb.core.execution import Executor
from rankwb.core.pipelines import Reranker, parse
from rankwb.core.runs import Run
from rankwb.retrieval import pages
from rankwb.core.calls import Limits, RemoteError
from rankwb.retrieval.chunking import Chunker, MaxP
from rankwb.retrieval.pages import Manners, page_text, visits
from rankwb.retrieval.web import Plain, Serper, Tape, Web
from serving import Handler, apart, bare, listening, serving

pytest.importorskip('trafilatura'); pytest.importorskip('protego')
here = Manners(private=True, delay=0, timeout=.8, most=300_000)
def article(text, title='T'): return f'<html><head><title>{title}</title></head><body><nav>Home Shop Login</nav><article><p>{text}</p></article></body></html>'
long = 'The lists of Python keep what they are given in order, and give it back in that order whenever they are asked. '*4

def site(**paths):
    "A host with these pages: path → body, or (status, headers, body), or a function of the handler"
    class Site(Handler):
        protocol_version = 'HTTP/1.1'
        def do_GET(self): self.noted((self.path, dict(self.headers), time.monotonic()), self.answer)
        def answer(self, n):
            o = paths.get(self.path.strip('/').split('?')[0].replace('.', '_') or 'root', (404, {}, b''))
            if callable(o): o(self)
            else: self.give(*(o if isinstance(o, tuple) else (200, {}, o)))
        def give(self, status, headers, body=b''): self.send(body, status, {'Content-Type':'text/html; charset=utf-8'}|headers)
    return listening(Site)

def one(s, path='/a', manners=here): return visits([s.url+path], manners)[0]

def drip(h):
    h.send_response(200); h.send_header('Content-Type', 'text/html'); h.send_header('Content-Length', '9999'); h.end_headers()
    for _ in range(30): h.wfile.write(b'<p>x</p>'); h.wfile.flush(); time.sleep(.1)

@pytest.mark.parametrize('answer,says,again', [
    ((404, {}, b'x'), 'it says 404', False), ((503, {}, b'x'), 'it says 503', True), ((200, {'Content-Type':'application/pdf'}, b'%PDF'), 'it is no page but application/pdf', False),
    ('<p>x</p>'*60_000, 'its answer is larger than 300,000 bytes', False), ((200, {'Content-Encoding':'gzip'}, gzip.compress(b'<p>x</p>'*10**6)), 'larger than 300,000 bytes', False),
    ((302, {'Location':'/a'}, b''), 'it redirects more than 5 times', False), ((302, {'Location':'file:///etc/passwd'}, b''), 'no address of the web', False),
    ((302, {'Location':'http://me:pw@127.0.0.1/'}, b''), 'has a password in its address', False),
    (lambda h: time.sleep(2), 'it gave no answer within 0.8 s', True), (drip, 'not whole in time', True), (lambda h: h.connection.shutdown(socket.SHUT_RDWR), 'the connection broke', True),
    ((200, {'Content-Length':'5000'}, b'<p>x'), 'it gave no answer within 0.8 s', True), ((200, {'Content-Encoding':'gzip'}, b'not gzip'), 'the connection broke (DecodingError)', True),
    ('<html><body><script>alert(1)</script></body></html>', 'there is no text in it', False), (b'', 'there is no text in it', False),
], ids=lambda o: o if isinstance(o, str) and o.startswith('it') else '')
def test_faults(answer, says, again):
    start = time.monotonic()
    with site(a=answer) as s: found = one(s)
    assert says in found['error'] and found['again']==again and found['text']=='' and time.monotonic()-start<3

def test_private_addresses():
    "Neither directly nor by a redirect nor by a name; and nothing is asked"
    with site(a=article(long)) as s:
        assert 'not public (127.0.0.1)' in one(s, manners=Manners())['error']
        assert 'not public' in visits([s.url.replace('127.0.0.1', 'localhost')+'/a'], Manners())[0]['error']
        for u in ('http://[::1]/','http://0.0.0.0/','http://169.254.169.254/latest/meta-data/','http://[::ffff:10.0.0.1]/','http://2130706433/','http://0x7f.1/'):
            assert 'not public' in visits([u], Manners())[0]['error'], u
        assert s.asked==[]

def test_a_name_that_changes_its_mind(monkeypatch):
    "A public address when it is looked at, and a private one a moment later: the connection goes where it was looked at"
    answers = iter(['93.184.216.34','93.184.216.34','127.0.0.1'])
    monkeypatch.setattr(pages.socket, 'getaddrinfo', lambda *a, **k: [(2,1,6,'',(next(answers, '127.0.0.1'),80))])
    went = []
    class Client:
        cookies = type('',(),dict(clear=lambda self: None))()
        def build_request(self, method, url, **kw): went.append((url.host, kw['headers']['Host'], kw['extensions'])); return url
        def send(self, *a, **k): raise RuntimeError('stop')
    v = pages.Visitor(Manners(delay=0))
    v.client = Client()
    with pytest.raises(RuntimeError): v._send('http://rebind.test/x', 10)
    assert went==[('93.184.216.34','rebind.test',dict(sni_hostname='rebind.test'))]

def test_certificates(tmp_path, monkeypatch):
    "The connection goes to the address that was looked at, and the certificate has to be that of the name"
    import shutil, ssl
    if not shutil.which('openssl'): pytest.skip('no openssl')
    subprocess.run(['openssl','req','-x509','-newkey','rsa:2048','-nodes','-days','2','-keyout',tmp_path/'k.pem','-out',tmp_path/'c.pem','-subj','/CN=pages.test','-addext','subjectAltName=DNS:pages.test'], check=True, capture_output=True)
    trusted = ssl.create_default_context(cafile=tmp_path/'c.pem')
    monkeypatch.setattr(pages, '_trusted', lambda: trusted)
    real = socket.getaddrinfo
    monkeypatch.setattr(pages.socket, 'getaddrinfo', lambda host, *a, **k: real('127.0.0.1' if host.endswith('.test') else host, *a, **k))
    with site(a=article(long)) as s:
        own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        own.load_cert_chain(tmp_path/'c.pem', tmp_path/'k.pem')
        names = []
        own.sni_callback = lambda sock, name, ctx: names.append(name)
        s.socket = own.wrap_socket(s.socket, server_side=True)
        good,bad = (visits([f'https://{host}:{s.server_port}/a'], here)[0] for host in ('pages.test','other.test'))
    assert good['text'] and 'the connection broke (ConnectError)' in bad['error'] and set(names)=={'pages.test','other.test'}

def test_redirects_are_looked_at_too():
    with site(a=article(long), robots_txt='User-agent: *\nDisallow: /a') as inner, site(go=lambda h: h.give(302, {'Location': inner.url+'/a'}), ok=lambda h: h.give(301, {'Location':'/fine'}), fine=article(long)) as s:
        assert one(s, '/go')['error']=='robots.txt does not allow it' # of the other host
        assert [p for p,*_ in inner.asked]==['/robots.txt']
        found = one(s, '/ok')
        assert (found['url'],found['at'])==(s.url+'/ok', s.url+'/fine') and found['text']

@pytest.mark.parametrize('robots,allowed', [
    ('User-agent: *\nDisallow: /', False), ('User-agent: *\nDisallow: /b', True), ('User-agent: rankwb\nDisallow: /a\n\nUser-agent: *\nAllow: /', False), ('User-agent: other\nDisallow: /', True),
    ('User-agent: *\nDisallow: /*?x=', False), ('User-agent: *\nDisallow: /*.pdf$', True), ((404, {}, b''), True), ((403, {}, b''), True), ((500, {}, b''), False), ((429, {}, b''), False),
    ('<html>an error page</html>', True), (lambda h: time.sleep(2), False), ('User-agent: *\nCrawl-delay: 3600', False), (b'\xff\xfe\x00garbage', True), ((301, {'Location':'/robots.txt'}, b''), False)])
def test_robots(robots, allowed):
    with site(robots_txt=robots, a=article(long)) as s:
        assert bool(one(s, '/a?x=1')['text'])==allowed
        assert ('/a?x=1' in [p for p,*_ in s.asked])==allowed

def test_manners():
    "One connection to a host, a pause between two pages, an honest name, no cookies that go on"
    with site(robots_txt='User-agent: *\nCrawl-delay: 0.25', **{p: (200, {'Set-Cookie':'id=1'}, article(long)) for p in 'abc'}) as s:
        start = time.monotonic()
        visits([s.url+p for p in ('/a','/b','/c')], here)
        times = [t for p,_,t in s.asked if p!='/robots.txt']
        assert apart(times, start, .25) and min(b-a for a,b in zip(times, times[1:]))>=.2 and s.most==1 # one after the other, so that no thread is late
        assert {h['User-Agent'] for _,h,_ in s.asked}=={Manners().agent} and not any('Cookie' in h for _,h,_ in s.asked)
    together = Barrier(3) # of hosts: each answers when all are asked
    wait = lambda h: (together.wait(5), h.give(200, {}, article(long)))
    with site(a=wait) as s, site(a=wait) as t, site(a=wait) as u: assert all(o['text'] for o in visits([o.url+'/a' for o in (s,t,u)], replace(here, timeout=5)))

@pytest.mark.parametrize('body,kind', [
    (article('naïve café 東京 '+long).encode(), 'text/html; charset=utf-8'), (article('naïve café 東京 '+long).encode(), 'text/html'), (article('naïve café '+long).encode('latin-1'), 'text/html; charset=ISO-8859-1'),
    (article('naïve café '+long).replace('<head>', '<head><meta charset="windows-1252">').encode('cp1252'), 'text/html'), (article('naïve café 東京 '+long).encode('utf-16'), 'text/html; charset=utf-16'),
    (article('naïve café 東京 '+long).encode(), 'text/html; charset=no-such'), (('naïve café '+long).encode(), 'text/plain'), (('naïve café '+long).encode('latin-1'), 'text/plain; charset=latin-1')])
def test_letters(body, kind):
    with site(a=(200, {'Content-Type': kind}, body)) as s: text = one(s)['text']
    assert text.startswith('naïve café') and 'Shop' not in text and '�' not in text

def search_of(s, **found): return Plain('mine', lambda q: [dict(url=s.url+p, title=f'title {p}') for p in found[q]])

def quiet(web, x):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        return web(x),[str(w.message) for w in told]

def test_web(tmp_path):
    "What is found, where it stands, what is told; and the same from the tape, byte for byte"
    with site(a=article(long, 'Lists'), b=article('A dictionary has keys. '*30, 'Dicts'), gone=(410, {}, b'')) as s:
        search = search_of(s, lists=['/a','/b','/gone','/a#x'], keys=['/b'], none=[], lost=['/gone'])
        web = Web(search, rank='BM25(b=0.0)', chunker=Chunker(20), tape=str(tmp_path/'t.jsonl'), manners=here)
        run,told = quiet(web, ['lists', 'keys', 'none', 'lost', ''])
        n = len(s.asked)
        again,_ = quiet(web, ['lists','keys'])
        assert len(s.asked)==n # neither pages nor robots.txt
    assert [len(r)>0 for r in run]==[True,True,False,False,False]
    assert len(told)==1 and '2 of 5 pages could not be read (2 × it says 410)' in told[0] and 'q3 (the search found nothing)' in told[0] and 'q4 (no page could be read)' in told[0] and 'q5 (there is no question)' in told[0]
    for r in run:
        for d in r.ids:
            p = run.docs[d]
            assert p.url==p.doc and p.doc in (s.url+'/a',s.url+'/b') and run.docs.parents[p.doc].text[p.start:p.end]==p.text and p.title in ('Lists','Dicts')
    assert again.to_dict()==run[['q1','q2']].to_dict()
    off = Web(Plain('mine', None), rank='BM25(b=0.0)', chunker=Chunker(20), tape=str(tmp_path/'t.jsonl'), offline=True)
    same,_ = quiet(off, ['lists','keys','none','lost',''])
    same.save(tmp_path/'a.json'), run.save(tmp_path/'b.json')
    assert (tmp_path/'a.json').read_bytes()==(tmp_path/'b.json').read_bytes() and same.docs.digest==run.docs.digest
    assert off.fingerprint!=web.fingerprint and Run.read(tmp_path/'a.json').to_dict()==run.to_dict()
    same.save(tmp_path/'a.trec')
    assert [r.ids for r in Run.read(tmp_path/'a.trec').over(['q1','q2'])]==[r.ids for r in same[['q1','q2']]]
    rows = off.report(['lists'])
    assert [(o['rank'],o['error']) for o in rows]==[(1,''),(2,''),(3,'it says 410')]

def test_goes_on_in_a_pipeline():
    "Documents travel with the ranking: a reranker reads them, MaxP ranks pages, an executor with a store gives the same"
    from dataclasses import dataclass
    @dataclass(frozen=True)
    class Longest(Reranker):
        def apply(self, run): return Run.from_dict({r.query_id: {d: float(len(run.docs[d].text)) for d in r.ids} for r in run})
    with site(a=article(long), b=article('lists '*30)) as s:
        web = Web(search_of(s, lists=['/a','/b'], order=['/a']), chunker=Chunker(20), manners=here)
        system = web % 3 >> Longest()
        x = Queries.of(['lists','order'])
        want = system(x)
        assert want.texts() and max(map(len, want))==3
        store = Store(':memory:')
        for _ in range(2):
            ex = Executor(store)
            assert ex(system, x).to_dict()==want.to_dict()
        assert [w.computed for w in ex.work.values()]==[0,0,0]
        assert set(MaxP(web)(x)[0].ids)=={s.url+'/a',s.url+'/b'} and MaxP(web)(x).texts()

def test_what_failed_for_a_while_is_tried_again(tmp_path):
    with site(a=(503, {}, b'')) as s:
        web = Web(search_of(s, q=['/a']), tape=str(tmp_path/'t.jsonl'), manners=here)
        run,told = quiet(web, 'q')
        assert len(run[0])==0 and 'it says 503' in told[0]
        off,_ = quiet(Web(Plain('mine', None), tape=str(tmp_path/'t.jsonl'), offline=True), 'q')
        assert off.to_dict()==run.to_dict()
        n = len(s.asked)
        quiet(web, 'q')
        assert len(s.asked)==n+2

def test_a_query_that_fails(tmp_path):
    "Is named, and the others go on; only if all fail, or the key is refused, it is an error"
    calls = []
    def search(q):
        calls.append(q)
        if q.startswith('bad'): raise ConnectionError(f'no {q}')
        return []
    run,told = quiet(Web(Plain('s', search)), ['good','bad one','fine'])
    assert len(run)==3 and 'q2 (no bad one)' in told[0]
    web = Web(Plain('s', search), tape=str(tmp_path/'t.jsonl'))
    with pytest.raises(RemoteError, match='no question could be searched; q1: no bad'): web(['bad','bad too'])
    calls.clear()
    quiet(web, ['bad','fine'])
    assert calls==['bad','fine'] # a failure is not on the tape
    with pytest.raises(RemoteError, match='is not on the tape'): Web(Plain('s', None), tape=str(tmp_path/'t.jsonl'), offline=True)('bad')

def test_serper(monkeypatch, tmp_path):
    "Its wire, its errors; its key is nowhere"
    found = dict(searchParameters={}, organic=[dict(title='T', link='http://127.0.0.1:1/', snippet='S', position=1), dict(title='no link')], answerBox={})
    moods,limits = [(429, b'slow'),(500, b'oops')],Limits(retries=2, patience=.1)
    def mood(h, n, asked):
        status,body = moods.pop(0) if moods else (200, found)
        h.give(body, status, Retry_After='0')
    keys = lambda: [o['headers']['X-API-KEY'] for o in s.asked]
    with serving(lambda asked: found, mood) as s:
        serper = Serper('de', 'en', base=s.url, api_key='sk-secret-key', limits=limits)
        assert serper('q', 7)==[dict(url='http://127.0.0.1:1/', title='T', snippet='S')]
        assert bare(s.asked[-1])==dict(q='q', num=7, gl='de', hl='en') and s.asked[-1]['path']=='/search' and keys()[-1]=='sk-secret-key' and len(s.asked)==3
        for mood,says in (((403, dict(message='Unauthorized. sk-secret-key')), '403: Unauthorized. …'), ((200, b'<title>Login</title>'), "an HTML page, 'Login' instead of JSON"), ((200, dict(x=1)), 'its answer has no results, only x')):
            moods.append(mood)
            with pytest.raises(RemoteError, match=says): serper('q')
        moods.append((403, dict(message='Unauthorized.')))
        with pytest.raises(RemoteError, match='SERPER_API_KEY'): Web(serper)(['a','b'])
        web = Web(serper, tape=str(tmp_path/'t.jsonl'), manners=here)
        quiet(web, 'q')
        assert 'secret' not in (tmp_path/'t.jsonl').read_text()+repr(web)+repr(serper.__dict__)+web.fingerprint
        monkeypatch.setenv('SERPER_API_KEY', 'sk-of-the-environment')
        Serper(base=serper.base)('q')
        assert keys()[-1] is None # not for another host
        monkeypatch.delenv('SERPER_API_KEY')
        with pytest.raises(RemoteError, match='there is no key; set SERPER_API_KEY'): Serper()('q')

def test_killed(tmp_path):
    "kill -9 while a page hangs: those before it are on the tape, and are not fetched again"
    tape = tmp_path/'t.jsonl'
    state = dict(slow=True)
    with site(a=article(long), b=article(long), c=lambda h: time.sleep(60) if state['slow'] else h.give(200, {}, article(long))) as s:
        run = f'''
            from rankwb.retrieval.web import *
            from rankwb.retrieval.pages import Manners
            Web(Plain('mine', lambda q: [dict(url='{s.url}'+p) for p in ('/a','/b','/c')]), tape='{tape}', manners=Manners(private=True, delay=0, timeout=50))('lists')'''
        p = subprocess.Popen([sys.executable, '-c', textwrap.dedent(run)])
        until = time.monotonic()+20
        while '/c' not in [q for q,*_ in s.asked] and time.monotonic()<until: time.sleep(.05)
        p.kill(); p.wait()
        with open(tape, 'ab') as f: f.write(b'{"key": "to')
        state['slow'],before = False,len(s.asked)
        run,told = quiet(Web(search_of(s, lists=['/a','/b','/c']), tape=str(tape), manners=here), 'lists')
        assert [q for q,*_ in s.asked[before:]]==['/robots.txt','/c'] and told==[] and len(run[0])
    assert len(Tape(tape))==4

def test_hostile_text():
    "Nothing of a page runs where it is shown"
    evil = '<img src=x onerror=alert(1)><script>alert(1)</script>'
    web = Web(Plain('mine', lambda q: []))
    web.taped.put(web._search_key('q'), dict(found=[dict(url=f'http://a.test/{evil}', title=evil)]))
    web.taped.put(web.report.__globals__['_page_key'](f'http://a.test/{evil}'), dict(url='u', at='u', title=evil, text=evil+long, error='', again=False))
    run = web('q')
    for shown in (web.report('q')._repr_html_(), run._repr_html_(), run.docs._repr_html_(), run.docs.show(run[0].ids[0]) if len(run[0]) else ''): assert '<img' not in shown and '<script' not in shown
