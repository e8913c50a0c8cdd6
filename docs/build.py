"""Build the site: notebooks → nbdev's processors → pages of MyST-NB → Sphinx.

`python -m docs.build [site [work folder]]`"""
import ast,json,re,sys
from pathlib import Path

from nbdev.process import NBProcessor
from nbdev.processors import clean_magics,filter_stream_,hide_,hide_line,rm_header_dash,strip_ansi
from sphinx.cmd.build import build_main

from docs.api import entries
from docs.pages import Symbols,cfg,docname,exported,nbs,order,parts,root

# Those of nbdev's processors that run a notebook, to describe its symbols, are left out: docs/api.py reads its source
procs = [strip_ansi, hide_line, filter_stream_, rm_header_dash, clean_magics, hide_]

def links(md, p):
    "Links of notebook `p` to others as links between pages; dead ones are left for Sphinx to find"
    def one(m):
        if not (nbs/p.parent/m[1]).exists(): return m[0]
        return f'](<{docname(m[1])}.ipynb{(m[2] or "").lower()}>)'
    return re.sub(r'\]\(([^)\s:#]+\.ipynb)(#[^)\s]*)?\)', one, md)

def markdown(source): return dict(cell_type='markdown', metadata={}, source=source)

def code(c, source, *tags, **mystnb):
    "A code cell; views of widgets go, since their state is not stored"
    outputs,meta = c.get('outputs', []),dict(tags=tags, mystnb=mystnb)
    for o in outputs: o.get('data', {}).pop('application/vnd.jupyter.widget-view+json', None)
    return dict(cell_type='code', metadata=meta, source=source, execution_count=None, outputs=outputs)

def export(c, source, prose, symbols):
    "An exported cell: its symbols described, and its source below, folded unless it is `exports`"
    if all(isinstance(o, (ast.Import,ast.ImportFrom)) for o in ast.parse(source).body): return []
    api = '' if 'exporti' in c.directives_ else entries(source, symbols.classes)
    fold = [] if 'exports' in c.directives_ else ['hide-input']
    return ([prose(api)] if api else []) + [code(c, source, *fold, code_prompt_show='Source', code_prompt_hide='Source')]

def convert(c, p, symbols):
    "The cells of a page that a cell of notebook `p` becomes"
    def prose(md): return markdown(links(symbols.link(md, p), p))
    if c.cell_type=='markdown': return [prose(c.source)]
    d = c.directives_
    if c.cell_type=='raw' or {'hide','default_exp'} & d.keys() or d.get('include:')==['false']: return []
    source = re.sub(r'\A(#\|.*\n?)+', '', c.source).strip('\n')   # those of Quarto are still there
    if not source.strip(): return []
    if exported(c): return export(c, source, prose, symbols)
    tags = {'remove-input': d.get('echo:')==['false'], 'hide-input': d.get('code-fold:')==['true']}
    return [code(c, source, *(t for t,on in tags.items() if on))]

def toctree(caption, pages):
    return markdown(f'```{{toctree}}\n:hidden:\n:caption: {caption}\n' + '\n'.join(pages) + '\n```')

def page(p, symbols):
    "The notebook that MyST-NB turns into the page of notebook `p`"
    nb = NBProcessor(nbs/p, procs=procs, process=True).nb
    cells = [o for c in nb.cells for o in convert(c, p, symbols)]
    if docname(p)=='index':
        groups = {k: [docname(q) for q in order() if q.parts[0]==k] for k in parts}
        cells += [toctree(parts[k], pages) for k,pages in groups.items() if pages]
    for i,c in enumerate(cells): c['id'] = f'c{i}'
    kernel = dict(name='python3', display_name='python3', language='python')
    return dict(cells=cells, metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5)

def write_pages(src):
    "Write the pages that changed, which Sphinx will read again, and drop those whose notebook is gone"
    symbols,wanted = Symbols(),set()
    for p in order():
        f,new = src/f'{docname(p)}.ipynb',json.dumps(page(p, symbols))
        wanted.add(f)
        if f.exists() and f.read_text()==new: continue
        f.parent.mkdir(parents=True, exist_ok=True)
        f.write_text(new)
    for f in set(src.rglob('*.ipynb'))-wanted: f.unlink()

def build(out=root/cfg['doc_path'], work=root/'_proc'):
    "Write the site to `out`; the exit status of Sphinx, for which a dead link or an odd formula is an error"
    write_pages(work/'pages')
    strict = ['-n','-W','--keep-going','-q']
    return build_main([*strict, '-c',str(root/'docs'), '-d',str(work/'doctrees'), str(work/'pages'), str(out)])

if __name__=='__main__': sys.exit(build(*map(Path, sys.argv[1:])))
