"""Make `lexical.json.gz`: what Lucene 9.9.1 and Anserini 1.7.1 (the jar of Pyserini 1.6.0) find with query likelihood and with feedback

    python tests/lucene/lexical.py

For each collection and system the file holds a digest of each ranking to depth 1000 (rows and bits of the scores) and of what was learnt
(terms and bits of their weights); of a large collection one digest for all questions. Systems are written as rankwb writes
them. It holds no text of the collections.
"""
import gzip, hashlib, json, random, sys
from pathlib import Path

from make_expected import ROOT, ask, load

FILE = Path(__file__).parent/'lexical.json.gz'
SYSTEMS = [f'{f}({b})' if f else b for f,b in (
    ('', 'BM25()'), ('', 'QLD()'), ('', 'QLD(mu=50)'), ('', 'QLJM()'), ('', 'QLJM(lam=0.7)'))] + [
    'RM3(BM25())', 'RM3(QLD())', 'RM3(BM25(), fb_terms=25, fb_docs=5, original_query_weight=0.3, filter_terms=False)', 'RM3(QLJM(), original_query_weight=0)',
    'RM3(BM25(), original_query_weight=1)', 'Rocchio(BM25())', 'Rocchio(QLD(), fb_terms=30, fb_docs=4, gamma=0.15)',
    'Axiomatic(QLD(), fb_terms=7, fb_docs=10, pool=100, beta=0.7, seed=-7)', 'Axiomatic(BM25())', 'Axiomatic(QLD())']
REAL = dict(cacm=SYSTEMS, vaswani=SYSTEMS, xquad_en=SYSTEMS[:12]) # the last has fewer documents than Anserini's pool
K = 1000

def request(
    text, # A system, as rankwb writes it
    by_id=False, # Ties by id, as Anserini breaks them, or by the order of the index, as Lucene does
) -> dict: # For the oracle
    "What to ask Lucene and Anserini for"
    from rankwb.core.data import Docs
    import rankwb.retrieval.feedback, rankwb.retrieval.likelihood, rankwb.retrieval.bm25
    from rankwb.core.pipelines import parse
    s = parse(text, Docs.from_dict(dict(a='a')))
    base = getattr(s, 'base', s)
    formula = dict(BM25=lambda: ['BM25', base.k1, base.b], QLD=lambda: ['LMDirichlet', base.mu], QLJM=lambda: ['LMJelinekMercer', base.lam])[type(base).__name__]()
    if s is base: return dict(formula=formula, by_id=by_id)
    feedback = dict(RM3=lambda: ['Rm3', s.fb_terms, s.fb_docs, s.original_query_weight, False, s.filter_terms],
        Rocchio=lambda: ['Rocchio', *[s.fb_terms, s.fb_docs]*2, s.alpha, s.beta, s.gamma, False, s.gamma>0],
        Axiomatic=lambda: ['Axiom', s.seed, s.fb_docs, s.pool//s.fb_docs, s.beta, s.fb_terms])[type(s).__name__]()
    return dict(formula=formula, feedback=feedback, depth=K if type(s).__name__=='Rocchio' else 50, by_id=by_id)

LETTERS = 'aeioustrnlbdmpck'
def made_up(
    seed,
    n=400, # Documents
    queries=40,
) -> tuple: # Ids, texts, questions
    "Documents of words that fall off in frequency, among them numbers, marks, and letters on both sides of the surrogates of UTF-16"
    rng = random.Random(seed)
    odd = ['ａｂｃ','𐐨𐐩𐐪','ｚ９','𝟘𝟙','été','straße','x','007','3.14','a_b',"cat's",'Ωμέγα','漢字','слово','the','of','and','a'*21,'b'*20,'𐐨'*10,'𐐨'*11]
    words = list(dict.fromkeys(''.join(rng.choices(LETTERS, k=rng.randint(1, 6))) for _ in range(600)))
    for i,w in enumerate(odd): words.insert(7*i+3, w)
    weights = [1/(i+4) for i in range(len(words))]
    texts = [' '.join(rng.choices(words, weights, k=int(rng.choice([1,3,10,40,90])*rng.random()+1))) for _ in range(n)]
    asked = [' '.join(rng.choices(words, [w**.6 for w in weights], k=rng.randint(1, 7))) for _ in range(queries)]
    ids = rng.sample([str(i) for i in range(10*n)], n-4)+['é','a b','𐐨','ａ']
    rng.shuffle(ids)
    return ids, texts, [*asked, 'the of', 'nowhere', '']

def digest(rows, bits, learnt=None):
    "The address of a ranking and of what was learnt for it"
    return hashlib.sha256(json.dumps([rows, bits, sorted(learnt.items()) if learnt else None], separators=(',',':')).encode()).hexdigest()[:12]

def ours(
    text, # A system, as rankwb writes it
    docs,
    queries,
    by_id=False, # Search the documents sorted by id, so that ties go by id?
) -> list: # For each query rows of `docs`, bits of scores, and bits of the weights that were learnt or None
    "What rankwb answers, in the form of the oracle"
    import numpy as np, pyarrow.compute as pc
    from rankwb.core.pipelines import parse
    from rankwb.retrieval.scoring import bags
    searched = docs.take(pc.sort_indices(docs.ids)) if by_id else docs
    stage = parse(text, searched)
    run,learnt = stage(queries),[None]*len(queries)
    if text.startswith(('RM3','Rocchio')):
        learnt = [{t: int(np.float32(w).view(np.int32)) for t,w in b.items()} for b in bags(stage.expanded(queries, stage.base(queries)))]
    rows,bits = docs.rows(searched.ids)[run.codes].tolist() if by_id else run.codes.tolist(), run.scores.view(np.int32).tolist()
    return [[rows[a:b], bits[a:b], o] for a,b,o in zip(run.offsets, run.offsets[1:], learnt)]

def kept(answers):
    "What is kept of the answers of a system: one digest for each question, or one for all where there are many"
    each = [digest(*a) for a in answers]
    return each if len(each)<200 else hashlib.sha256(''.join(each).encode()).hexdigest()[:12]

def asked(ids, docs, queries, systems): return dict(ids=ids, docs=docs, queries=queries, k=K, systems=[request(s, by_id) for s,by_id in systems])

def plan():
    "Name → ids, texts, questions, and systems with their rule for ties"
    out = {'made up': (*made_up(0), [(s, t) for s in SYSTEMS[:-2] for t in (False,True)])}
    for name,systems in REAL.items():
        c = load(name)
        out[name] = c.docs.ids.to_pylist(),c.docs.texts(),c.queries.texts(),[(s, t) for s in systems for t in ((False,True) if name=='vaswani' else (False,))]
    return out

_by_id = ', ties by id'
def name_of(system, by_id): return system+_by_id*by_id
def of_name(name): return name.removesuffix(_by_id),name.endswith(_by_id)

def make():
    todo = plan()
    answers = ask(dict(lexical=[asked(*o) for o in todo.values()]))['lexical']
    return dict(made_with='Pyserini 1.6.0: Anserini 1.7.1, Lucene 9.9.1; k=1000',
                collections={n: {name_of(*s): kept(a) for s,a in zip(o[3], got)} for (n,o),got in zip(todo.items(), answers)})

if __name__=='__main__':
    sys.path.insert(0, str(ROOT))
    FILE.write_bytes(gzip.compress(json.dumps(make(), ensure_ascii=False, separators=(',',':')).encode(), 9, mtime=0))
    print(f'{FILE.name}: {FILE.stat().st_size:,} bytes')
