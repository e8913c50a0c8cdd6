"The notebooks as pages: their order, the symbols that they define, and the links between them"
import ast,re
from configparser import ConfigParser
from pathlib import Path

from execnb.nbio import read_nb
from nbdev.process import extract_directives

root = Path(__file__).parent.parent
ini = ConfigParser(delimiters=['='])
ini.read(root/'settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']
nbs = root/cfg['nbs_path']

# Folders of nbs/ in reading order, with their captions in the sidebar
parts = dict(tutorials='Tutorials', core='Core', retrieval='Retrieval', reranking='Reranking', rag='Answering (RAG)',
             evaluation='Evaluation', experiments='Experiments', workbench='Workbench', apps='Applications', papers='Papers')

def order():
    "The notebooks in reading order, as paths under `nbs`"
    found = sorted(p.relative_to(nbs) for p in nbs.rglob('*.ipynb'))
    found = [p for p in found if not any(o[0] in '._' for o in p.parts)]
    if unknown := {p.parts[0] for p in found if len(p.parts)>1} - parts.keys():
        raise ValueError(f'{nbs.name}/{min(unknown)} has no caption; give it one in `parts` of docs/pages.py')
    return sorted(found, key=lambda p: (list(parts).index(p.parts[0])+1 if len(p.parts)>1 else 0, p))

def docname(p):
    "Path of the page of a notebook: without number and suffix"
    return re.sub(r'(^|/)\d+[a-zA-Z]*_([^/]+)$', r'\1\2', Path(p).with_suffix('').as_posix())

def cells(p):
    "Cells of a notebook; each has its directives in `directives_`, and no longer in its source"
    res = read_nb(nbs/p).cells
    for c in res: c.directives_ = extract_directives(c) if c.cell_type=='code' else {}
    return res

def exported(c): return bool({'export','exports','exporti'} & c.directives_.keys())

def owners(node):
    "Names of the classes that a method is patched into, or [] for a plain function"
    called = [o.func if isinstance(o, ast.Call) else o for o in node.decorator_list]
    if not any(getattr(o, 'id', '').startswith('patch') for o in called): return []
    return re.split(r'\s*\|\s*', ast.unparse(node.args.args[0].annotation))

def defined(src):
    "`(qualified name, node)` of the public functions, classes and patched methods in a cell"
    for o in ast.parse(src).body:
        if not isinstance(o, (ast.FunctionDef,ast.AsyncFunctionDef,ast.ClassDef)): continue
        if re.match('_(?!_)', o.name): continue
        classes = [] if isinstance(o, ast.ClassDef) else owners(o)
        yield from ((f'{k}.{o.name}',o) for k in classes) if classes else [(o.name,o)]

class Symbols(dict):
    "Where each exported symbol is described: name, with and without its module → (notebook, anchor)"
    def __init__(self):
        self.classes = {}
        for p in order(): self.read(p, cells(p))

    def read(self, p, cs):
        "Take in the symbols of notebook `p`"
        module = next((c.directives_['default_exp'][0] for c in cs if 'default_exp' in c.directives_), None)
        if not module: return
        self[full := f'{cfg["lib_name"]}.{module}'] = p,''
        used = []
        for name,node in (o for c in cs if {'export','exports'} & c.directives_.keys() for o in defined(c.source)):
            names = [name]
            if isinstance(node, ast.ClassDef):
                self.classes[name] = node
                names += [f'{name}.{o.name}' for o in node.body if isinstance(o, ast.FunctionDef)]
            anchor = name.lower()   # `Measure` and `measure`: the second gets a number, as it does from MyST
            if anchor in used: anchor += f'-{used.count(anchor)}'
            used.append(name.lower())
            for n in names:
                for key in (n, f'{full}.{n}'): self.setdefault(key, (p, anchor))

    def link(self, md, p):
        "Markdown of notebook `p` in which every `symbol` in backticks is a link to its description"
        def one(m):
            if not m[1] or m[1] not in self: return m[0]
            to,anchor = self[m[1]]
            return f'[{m[0]}]({"../"*(len(p.parts)-1)}{to.as_posix()}{"#"+anchor if anchor else ""})'
        out,fenced = [],False
        for l in md.splitlines():
            if l.lstrip().startswith('```'): fenced = not fenced
            kept = fenced or l.startswith(('#','    '))
            out.append(l if kept else re.sub(r'!?\[[^\]]*\]\([^)]*\)|(?<!`)`([^`\s]+?)(?:\(\))?`(?!`)', one, l))
        return '\n'.join(out)
