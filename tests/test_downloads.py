"Files from elsewhere, from a server on this machine that does all that servers do: cut, lie, change, hang, answer with a page"
import hashlib, json, os, signal, subprocess, sys, threading, time, zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
import pytest
from conftest import root
from rankwb.core.downloads import DownloadError, checksum, fetch, hub_file, mirrored, unpack

class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *_): pass
    def do_HEAD(self): self.answer(False)
    def do_GET(self): self.answer(True)
    def answer(self, with_body):
        site,path = self.server.site,self.path.partition('?')[0]
        site.asked.append((self.command, path, dict(self.headers)))
        o = site.files.get(path)
        if o is None: return self.reply(404, b'gone', {}, with_body)
        how = dict(o, **(o['plan'].pop(0) if o['plan'] and with_body else {}))
        if 'hang' in how: return time.sleep(how['hang'])
        headers = {k: str(v) for k,v in (dict(ETag=how['etag'] or f'"{hashlib.md5(how["body"]).hexdigest()}"') | how['headers']).items() if v is not None}
        status,body,at = how['status'],how['body'],0
        asked,known = self.headers.get('Range'),self.headers.get('If-Range')
        if asked and how['ranges'] and (known in (None,headers.get('ETag')) or how['careless']):
            at = int(asked.removeprefix('bytes=').rstrip('-'))+how.get('shift', 0)
            if at>=len(body): return self.reply(416, b'', {}, with_body)
            status,headers['Content-Range'] = 206,f'bytes {at}-{len(body)-1}/{len(body)}'
        self.reply(status, body[at:], headers, with_body, how)
    def reply(self, status, body, headers, with_body, how={}):
        self.send_response(status)
        for k,v in headers.items(): self.send_header(k, v)
        if how.get('chunked'): self.send_header('Transfer-Encoding', 'chunked')
        elif how.get('length', True): self.send_header('Content-Length', str(len(body)))
        self.send_header('Connection', 'close')
        self.end_headers()
        self.close_connection = True
        if not with_body: return
        cut = body[:how.get('cut')]
        if how.get('chunked'): cut = b'%x\r\n%s\r\n' % (len(cut), cut) + (b'' if 'cut' in how else b'0\r\n\r\n')
        for i in range(0, len(cut), 1<<16):
            try: self.wfile.write(cut[i:i+(1<<16)])
            except ConnectionError: return # who asked has left
            time.sleep(how.get('slow', 0))

class Site:
    "Files on a server of this machine, each with what it does on the next requests"
    def __init__(self):
        self.server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.server.site,self.server.daemon_threads = self,True
        self.files,self.asked = {},[]
        self.home = f'http://127.0.0.1:{self.server.server_port}'
        threading.Thread(target=self.server.serve_forever, kwargs=dict(poll_interval=.05), daemon=True).start()
    def put(self, path, body, *plan, status=200, etag=None, headers={}, ranges=True, careless=False, **how):
        self.files[path] = dict(body=body, plan=list(plan), status=status, etag=etag, headers=headers, ranges=ranges, careless=careless, **how)
        return self.home+path
    def ranges(self, path): return [int(r.removeprefix('bytes=').rstrip('-')) if (r := h.get('Range')) else 0 for c,p,h in self.asked if c=='GET' and p==path]
    def close(self): self.server.shutdown(); self.server.server_close()

@pytest.fixture
def site():
    s = Site()
    yield s
    s.close()

@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr('rankwb.core.downloads.time', SimpleNamespace(sleep=waits.append))
    waits.clear()
waits = []

body = b''.join(hashlib.sha256(b'%d' % i).digest() for i in range(30_000)) # 960,000 bytes that do not repeat
def names(folder): return sorted(f.name for f in folder.iterdir() if not f.name.endswith('.lock'))

# Whole ---------------------------------------------------------------------------------------------------------------------------------

def test_goes_on_where_it_was_cut(site, tmp_path):
    url = site.put('/f', body, *(dict(cut=n) for n in (300_000, 5, 200_000, 5, 5, 250_000)))
    assert fetch(url, tmp_path/'f', checksum=f'sha256:{hashlib.sha256(body).hexdigest()}').read_bytes()==body
    starts = site.ranges('/f')
    assert starts==sorted(starts) and len(set(starts))==4 and starts[-1]>600_000
    assert names(tmp_path)==['.f.json','f']
    assert json.loads((tmp_path/'.f.json').read_text())['size']==len(body)
    n = len(site.asked)
    assert fetch(url, tmp_path/'f').read_bytes()==body and len(site.asked)==n

def test_what_came_stays_for_the_next_call(site, tmp_path):
    url = site.put('/f', body, dict(cut=500_000), *[dict(cut=0)]*9)
    with pytest.raises(DownloadError, match=r'broke off|ended after') as e: fetch(url, tmp_path/'f')
    assert 'bytes are kept: ask again to go on' in str(e.value) and url in str(e.value) and str(tmp_path/'f') in str(e.value)
    assert not (tmp_path/'f').exists()
    site.files['/f']['plan'].clear()
    assert fetch(url, tmp_path/'f').read_bytes()==body and site.ranges('/f')[-1]>400_000

fetching = 'import sys; from rankwb.core.downloads import fetch; fetch(sys.argv[1], sys.argv[2])'

def process(*words, **kw):
    return subprocess.Popen([sys.executable, '-c', fetching, *map(str, words)], env=os.environ|dict(PYTHONPATH=str(root)), stderr=subprocess.PIPE, text=True, **kw)

def test_a_killed_process_leaves_no_file(site, tmp_path):
    url = site.put('/f', body, dict(slow=.2))
    p,part = process(url, tmp_path/'f'),tmp_path/'.f.part'
    until = time.monotonic()+30
    while not (part.exists() and part.stat().st_size>200_000): assert time.monotonic()<until and p.poll() is None; threading.Event().wait(.05)
    os.kill(p.pid, signal.SIGKILL); p.wait(); p.stderr.close()
    assert not (tmp_path/'f').exists() and part.stat().st_size<len(body)
    assert fetch(url, tmp_path/'f').read_bytes()==body
    assert site.ranges('/f')[-1]>=200_000

def test_two_processes_fetch_once(site, tmp_path):
    url = site.put('/f', body, dict(slow=.05))
    both = [process(url, tmp_path/'f') for _ in range(2)]
    assert [(p.communicate(timeout=60)[1], p.returncode) for p in both]==[('',0)]*2
    assert (tmp_path/'f').read_bytes()==body and site.ranges('/f')==[0]

# Another version -----------------------------------------------------------------------------------------------------------------------

def test_a_server_that_sends_another_part(site, tmp_path):
    url = site.put('/f', body, dict(cut=400_000), dict(shift=10), dict(shift=10))
    assert fetch(url, tmp_path/'f').read_bytes()==body and site.ranges('/f')[-1]==0

@pytest.mark.parametrize('etag,modified,resumes', [(None,None,True), ('W/"weak"',None,False), ('W/"weak"','Mon, 01 Jan 2024 00:00:00 GMT',True)])
def test_goes_on_only_with_the_same_version(site, tmp_path, etag, modified, resumes):
    url = site.put('/f', body, dict(cut=400_000), etag=etag, headers={'Last-Modified':modified}, careless=bool(modified))
    assert fetch(url, tmp_path/'f').read_bytes()==body
    assert (site.ranges('/f')[-1]>300_000)==resumes

def test_a_changed_file_is_begun_anew(site, tmp_path):
    url = site.put('/f', body, dict(cut=400_000), *[dict(cut=0)]*9)
    with pytest.raises(DownloadError): fetch(url, tmp_path/'f')
    new = body[::-1]
    site.put('/f', new)
    assert fetch(url, tmp_path/'f').read_bytes()==new

def test_a_shorter_file_is_begun_anew(site, tmp_path):
    url = site.put('/f', body, dict(cut=400_000), *[dict(cut=0)]*9)
    with pytest.raises(DownloadError): fetch(url, tmp_path/'f')
    site.put('/f', body[:100_000], careless=True)
    assert fetch(url, tmp_path/'f').read_bytes()==body[:100_000]

def test_a_server_that_mixes_versions_is_found_out(site, tmp_path):
    new = body[::-1]
    url,right = site.put('/f', body, dict(cut=400_000), *[dict(cut=0)]*9),f'md5:{hashlib.md5(new).hexdigest()}'
    with pytest.raises(DownloadError): fetch(url, tmp_path/'f', right)
    site.put('/f', new, careless=True)
    with pytest.raises(DownloadError, match='checksum is md5:.*expected md5:.*thrown away'): fetch(url, tmp_path/'f', right)
    assert not [n for n in names(tmp_path)]
    assert fetch(url, tmp_path/'f', right).read_bytes()==new

# Not the file --------------------------------------------------------------------------------------------------------------------------

page = b'\n <!DOCTYPE html><html><head><title>Sign in &amp; \x1b[2J accept</title></head></html>'
@pytest.mark.parametrize('how,says', [
    (dict(status=404), 'it is not there'), (dict(status=401), 'wants a login'), (dict(status=403), 'accept its terms'), (dict(status=418), 'answers 418'),
    (dict(body=page), r'web page, not the data \(Sign in & '), (dict(headers={'Content-Type':'text/html; charset=utf-8'}), 'web page'),
    (dict(length=False), 'does not say how long')])
def test_what_is_not_the_file_is_refused(site, tmp_path, how, says):
    url = site.put('/f.json', how.pop('body', b'{}'), **how)
    with pytest.raises(DownloadError, match=says) as e: fetch(url, tmp_path/'f.json')
    assert f'put it at {tmp_path}/f.json' in str(e.value) and len(site.asked)==1
    assert not (tmp_path/'f.json').exists() and not (tmp_path/'.f.json.part').exists()

def test_a_page_may_be_what_was_asked_for(site, tmp_path):
    assert fetch(site.put('/f.html', page), tmp_path/'f.html').read_bytes()==page

def test_without_a_length(site, tmp_path):
    url = site.put('/f', body, length=False)
    assert fetch(url, tmp_path/'a', size=len(body)).read_bytes()==body
    with pytest.raises(DownloadError): fetch(site.put('/f', body[:-1], length=False), tmp_path/'b', size=len(body))
    url = site.put('/f', body, *[dict(cut=1000)]*3, *[dict(cut=0)]*4, chunked=True)
    with pytest.raises(DownloadError, match='broke off|ended after 3,000 of'): fetch(url, tmp_path/'c')
    assert fetch(url, tmp_path/'c').read_bytes()==body

def test_another_size_is_refused_at_once(site, tmp_path):
    url = site.put('/f', body)
    with pytest.raises(DownloadError, match='the server has 960,000 bytes, expected 5'): fetch(url, tmp_path/'f', size=5)
    assert names(tmp_path)==[]

def test_no_room(site, tmp_path, monkeypatch):
    from collections import namedtuple
    monkeypatch.setattr('rankwb.core.downloads.shutil.disk_usage', lambda p: namedtuple('Usage', 'free')(1000))
    with pytest.raises(DownloadError, match='960,000 bytes are to come, and the disk has room for 1,000'): fetch(site.put('/f', body), tmp_path/'f')

# A server in trouble -------------------------------------------------------------------------------------------------------------------

def test_a_busy_server_is_asked_later(site, tmp_path):
    url = site.put('/f', body, dict(status=503, headers={'Retry-After':'7'}), dict(status=429), dict(status=500))
    assert fetch(url, tmp_path/'f').read_bytes()==body and waits[0]==7 and len(waits)==3
    with pytest.raises(DownloadError, match='answers 503'): fetch(site.put('/g', body, status=503), tmp_path/'g')

def test_a_silent_server(site, tmp_path):
    url = site.put('/f', body, *[dict(hang=1)]*9)
    with pytest.raises(DownloadError, match='broke off'): fetch(url, tmp_path/'f', patience=.1)

def test_no_network(tmp_path):
    t = time.monotonic()
    with pytest.raises(DownloadError, match='nowhere.invalid cannot be reached from here .* put it at') as e: fetch('http://nowhere.invalid/f', tmp_path/'f')
    assert '\n' not in str(e.value) and time.monotonic()-t<10

def test_a_file_brought_by_hand(site, tmp_path):
    right = f'sha256:{hashlib.sha256(body).hexdigest()}'
    (tmp_path/'f').write_bytes(body[:-1])
    with pytest.raises(DownloadError, match='move it away'): fetch('http://nowhere.invalid/f', tmp_path/'f', right)
    assert (tmp_path/'f').read_bytes()==body[:-1]
    (tmp_path/'f').write_bytes(body)
    assert fetch('http://nowhere.invalid/f', tmp_path/'f', right)==tmp_path/'f'
    (tmp_path/'f').write_bytes(body+b'more')   # not the size that was noted: looked at again
    with pytest.raises(DownloadError, match='move it away'): fetch('http://nowhere.invalid/f', tmp_path/'f', right)

def test_checksums(tmp_path):
    (tmp_path/'f').write_bytes(body)
    for kind in ('sha256','sha1','md5'): assert checksum(tmp_path/'f', kind)==f'{kind}:{hashlib.new(kind, body).hexdigest()}'
    r = subprocess.run(['git','hash-object',tmp_path/'f'], capture_output=True, text=True)
    assert checksum(tmp_path/'f', 'git')==f'git:{r.stdout.strip()}'

def test_mirrors(): assert mirrored('https://a.org/x/y.zip?z', 'http://b/c/')=='http://b/c/x/y.zip'

# The hub -------------------------------------------------------------------------------------------------------------------------------

commit = 'c'*40
def hub(site, repo, file, content, sha=None, **how):
    "Serve a file as the hub does: the first address tells what it is and sends on to another"
    sha = sha or hashlib.sha256(content).hexdigest()
    head = {'X-Repo-Commit':commit, 'X-Linked-Etag':f'"{sha}"', 'X-Linked-Size':len(content), 'Location':f'{site.home.replace("127.0.0.1", "localhost")}/cdn/{sha}'}
    for revision in ('main',commit): site.put(f'/datasets/{repo}/resolve/{revision}/{file}', b'', status=302, headers=head)
    site.put(f'/cdn/{sha}', content, **how)

@pytest.fixture
def online(monkeypatch, tmp_path):
    from huggingface_hub import constants
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path/'hub'))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))
    monkeypatch.setenv('HF_TOKEN', 'hf_secret')

def test_hub(site, online):
    hub(site, 'some/data', 'a/b c.json', body)
    site.files[f'/datasets/some/data/resolve/main/a/b%20c.json'] = site.files.pop('/datasets/some/data/resolve/main/a/b c.json')
    site.files[f'/datasets/some/data/resolve/{commit}/a/b%20c.json'] = site.files.pop(f'/datasets/some/data/resolve/{commit}/a/b c.json')
    f = hub_file('some/data', 'a/b c.json', mirror=site.home)
    assert f.read_bytes()==body and f.parts[-6:]==('datasets','some','data','main','a','b c.json')
    assert commit in json.loads((f.parent/'.b c.json.json').read_text())['url']
    sent = {p: h.get('authorization', h.get('Authorization')) for _,p,h in site.asked}
    assert [v for p,v in sent.items() if '/resolve/' in p]==['Bearer hf_secret']*2 and sent['/cdn/'+hashlib.sha256(body).hexdigest()] is None
    site.close()
    assert hub_file('some/data', 'a/b c.json', mirror=site.home)==f

def test_hub_content_is_checked(site, online):
    hub(site, 'some/data', 'f', body, sha=hashlib.sha256(b'other').hexdigest())
    with pytest.raises(DownloadError, match='checksum is sha256:'): hub_file('some/data', 'f', mirror=site.home)
    hub(site, 'some/data', 'g', body, sha=hashlib.sha1(b'blob %d\0' % len(body) + body).hexdigest())  # small files are in git
    assert hub_file('some/data', 'g', mirror=site.home).read_bytes()==body

def test_hub_troubles(site, online, monkeypatch):
    with pytest.raises(DownloadError, match=f'{site.home}/datasets/some/data/resolve/main/f: .*the hub answers 404|it has no such file|no such repository'): hub_file('some/data', 'f', mirror=site.home)
    for code,says in {'GatedRepo':'accept their terms', 'RepoNotFound':'no such repository', 'EntryNotFound':'no such file', 'RevisionNotFound':'no such revision'}.items():
        site.put('/datasets/some/data/resolve/main/f', b'', status=403 if code=='GatedRepo' else 404, headers={'X-Error-Code':code})
        with pytest.raises(DownloadError, match=says): hub_file('some/data', 'f', mirror=site.home)
    with pytest.raises(DownloadError, match='cannot be reached'): hub_file('some/data', 'f', mirror='http://127.0.0.1:9')
    from huggingface_hub import constants
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    with pytest.raises(DownloadError, match='HF_HUB_OFFLINE.* put it at') as e: hub_file('some/data', 'f', mirror=site.home)
    where = Path(str(e.value).rpartition('put it at ')[2])
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_bytes(body)
    assert hub_file('some/data', 'f', mirror=site.home)==where

def test_the_cache_of_the_hub_is_used(online, tmp_path):
    sha = hashlib.sha256(body).hexdigest()
    repo = tmp_path/'hub'/'datasets--some--data'
    for f,text in {'refs/main':commit.encode(), f'blobs/{sha}':body}.items():
        (repo/f).parent.mkdir(parents=True, exist_ok=True)
        (repo/f).write_bytes(text)
    (repo/'snapshots'/commit).mkdir(parents=True)
    (repo/'snapshots'/commit/'f').symlink_to(repo/'blobs'/sha)
    assert hub_file('some/data', 'f', mirror='http://127.0.0.1:9').read_bytes()==body
    (repo/'blobs'/sha).write_bytes(body[:-1])
    with pytest.raises(DownloadError, match='delete it'): hub_file('some/data', 'f', mirror='http://127.0.0.1:9')

# Packed folders ------------------------------------------------------------------------------------------------------------------------

def test_unpack(tmp_path):
    with zipfile.ZipFile(tmp_path/'a.zip', 'w', zipfile.ZIP_STORED) as z: z.writestr('d/f', body); z.writestr('../../evil', b'x'); z.writestr('/abs', b'x')
    unpack(tmp_path/'a.zip', tmp_path/'in'/'a')
    assert (tmp_path/'in'/'a'/'d'/'f').read_bytes()==body
    assert not [f for f in tmp_path.rglob('*') if f.is_file() and f.name!='a.zip' and tmp_path/'in'/'a' not in f.parents]
    data = bytearray((tmp_path/'a.zip').read_bytes())
    data[5000] ^= 1
    (tmp_path/'b.zip').write_bytes(data)
    with pytest.raises(ValueError, match='b.zip: .*CRC'): unpack(tmp_path/'b.zip', tmp_path/'in'/'b')
    assert names(tmp_path/'in')==['a']
