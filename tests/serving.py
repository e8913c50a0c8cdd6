"Servers on this machine, in every mood that a service can be in"
import json, threading, time
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from statistics import median

@contextmanager
def listening(handler, base='', **fields):
    "A server with these fields; `base` is where its addresses begin"
    s = ThreadingHTTPServer(('127.0.0.1', 0), handler)
    s.daemon_threads,s.asked,s.now,s.most,s.lock,s.url = True,[],0,0,threading.Lock(),f'http://127.0.0.1:{s.server_port}{base}'
    vars(s).update(fields)
    threading.Thread(target=s.serve_forever, args=(.02,), daemon=True).start()
    try: yield s
    finally: s.shutdown(); s.server_close()

class Handler(BaseHTTPRequestHandler):
    "Notes who is asked, and how many at a time; a visitor that has gone is no error"
    under_way = False
    def log_message(self, *a): pass
    def noted(self, what, answer):
        s = self.server
        with s.lock:
            s.asked.append(what)
            n,s.now,self.under_way = len(s.asked),s.now+1,True
            s.most = max(s.most, s.now)
        try: answer(n)
        except (BrokenPipeError,ConnectionResetError): pass
        finally: self.left()
    def left(self):
        "Once, as soon as an answer begins: whoever has read it may ask again before this thread goes on"
        with self.server.lock: self.server.now,self.under_way = self.server.now-self.under_way,False
    def send_response(self, *args):
        self.left()
        super().send_response(*args)
    def send(self, body, status=200, headers={}):
        body = body if isinstance(body, bytes) else body.encode()
        self.send_response(status)
        for k,v in ({'Content-Length': str(len(body))}|headers).items(): self.send_header(k, v)
        self.end_headers()
        self.wfile.write(body)

class Json(Handler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        where = dict(path=self.path, auth=self.headers['Authorization'], at=time.monotonic(), headers=self.headers)
        self.found = self.server.answer(asked)
        self.noted(asked|where, lambda n: self.server.mood(self, n, asked))
    def give(self, body=None, status=200, **headers):
        "Send `body`, or what a good service would"
        body = self.found if body is None else body
        self.send(body if isinstance(body, bytes) else json.dumps(body), status, {'Content-Type':'application/json'}|{k.replace('_', '-'): v for k,v in headers.items()})

def apart(times, start, seconds):
    "Did nothing come sooner than a call after each `seconds` since `start` can, and most of it one by one? A server that is late once is no fault of who calls"
    times = sorted(times)
    return all(t-start>=i*seconds-.01 for i,t in enumerate(times)) and median(b-a for a,b in zip(times, times[1:]))>.7*seconds

def bare(asked):
    "What was asked, without how"
    return {k: v for k,v in asked.items() if k not in ('path','auth','at','headers')}

def well(h, n, asked): h.give()

def together(k):
    "The first `k` are answered when all of them are there, and everybody a little later"
    all_here = threading.Barrier(k)
    def mood(h, n, asked):
        if n<=k: all_here.wait(10)
        time.sleep(.1)
        h.give()
    return mood

def drip(h, n, asked):
    "A byte now and then"
    h.send_response(200); h.send_header('Content-Length', '999'); h.end_headers()
    for _ in range(40): h.wfile.write(b' '); h.wfile.flush(); time.sleep(.1)

def serving(answer, mood=well, **fields):
    "A service: `answer` says what is right for a request, `mood` what is done with the handler, the number of the request, and the request"
    return listening(Json, answer=answer, mood=mood, **fields)

class Files(SimpleHTTPRequestHandler):
    def log_message(self, *a): pass

def sharing(folder):
    "The files in `folder`"
    return listening(partial(Files, directory=folder))
