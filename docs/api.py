"What a page says of an exported symbol: how it is called, as it was written, what it is, and what its parameters mean"
import ast
from io import StringIO
from textwrap import wrap
from tokenize import COMMENT,generate_tokens
from typing import NamedTuple

from docs.pages import defined,owners

class Param(NamedTuple):
    name:str
    type:str = ''
    default:str = ''
    line:int = 0   # in the source of its cell, where its comment is; 0 for one that is inherited
    def __str__(self):
        return self.name + (f':{self.type}' if self.type else '') + (f'={self.default}' if self.default else '')

def text(node): return ast.unparse(node).replace(' | ','|') if node else ''
def code(s): return f'`{s}`' if s else ''       # becomes a link where it names a symbol
def plain(s): return f'``{s}``' if s else ''    # never does
def doc(node): return ast.get_docstring(node) or ''

def of_args(args):
    "Parameters of a function, the bare `*` and `/` among them"
    def one(a, default=None, stars=''): return Param(stars+a.arg, text(a.annotation), text(default), a.lineno)
    pos = args.posonlyargs+args.args
    res = [one(a,d) for a,d in zip(pos, [None]*(len(pos)-len(args.defaults)) + args.defaults)]
    if args.posonlyargs: res.insert(len(args.posonlyargs), Param('/'))
    if args.vararg: res.append(one(args.vararg, stars='*'))
    elif args.kwonlyargs: res.append(Param('*'))
    res += [one(a,d) for a,d in zip(args.kwonlyargs, args.kw_defaults)]
    return res + ([one(args.kwarg, stars='**')] if args.kwarg else [])

def default(value):
    "What a field of a dataclass is if nothing is said"
    if not (isinstance(value, ast.Call) and text(value.func).endswith(('field','shown'))): return text(value)
    if value.args: return text(value.args[0])
    given = {k.arg: text(k.value) for k in value.keywords}
    return given.get('default') or (given['default_factory']+'()' if 'default_factory' in given else '')

def of_class(node, classes):
    "Parameters of a class: the fields of a dataclass or named tuple, else those of `__init__`; what it inherits comes first"
    above = [p._replace(line=0) for b in map(text, node.bases) if b in classes for p in of_class(classes[b], classes)]
    if any('dataclass' in text(d) for d in node.decorator_list) or 'NamedTuple' in map(text, node.bases):
        fields = [o for o in node.body if isinstance(o, ast.AnnAssign) and 'ClassVar' not in text(o.annotation)]
        own = {text(o.target): Param(text(o.target), text(o.annotation), default(o.value), o.lineno) for o in fields}
        return [p for p in above if p.name not in own] + [p for name,p in own.items() if name[0]!='_']
    init = next((o for o in node.body if getattr(o, 'name', '')=='__init__'), None)
    return of_args(init.args)[1:] if init else above

def parameters(node, classes=()):
    "Parameters that a caller gives; None where nobody calls: a property, or a class that takes nothing"
    if isinstance(node, ast.ClassDef): return of_class(node, classes) or None
    if any('property' in text(d) or 'as_prop' in text(d) for d in node.decorator_list): return None
    bound = owners(node) or (node.args.args and node.args.args[0].arg in ('self','cls'))
    return of_args(node.args)[1 if bound else 0:]

def signature(name, params, returns='', width=88):
    "One line, or several where it is longer than `width`"
    if params is None: return name+returns
    line = f'{name}({", ".join(map(str,params))}){returns}'
    if len(line)<=width: return line
    words = ', '.join(str(p).replace(' ','\0') for p in params)
    rows = wrap(words, width-4, break_long_words=False, break_on_hyphens=False)
    return f'{name}(\n' + ''.join(f'    {r}\n' for r in rows).replace('\0',' ') + f'){returns}'

def table(head, rows):
    "A Markdown table of the columns that are not empty"
    keep = [i for i in range(len(head)) if any(r[i] for r in rows)]
    def line(r): return '| ' + ' | '.join(r[i].replace('|',r'\|') for i in keep) + ' |'
    return '\n'.join(['{.api}', line(head), line(['---']*len(head)), *map(line,rows)])

def members(node):
    "Methods and properties that the body of a class defines and describes"
    own = [o for o in getattr(node, 'body', []) if isinstance(o, ast.FunctionDef) and doc(o) and o.name!='__init__']
    def call(o): return plain(signature(o.name, parameters(o), width=1000))
    rows = [(call(o), code(text(o.returns)), ' '.join(doc(o).split())) for o in own]
    return table(('Member','Type','Meaning'), rows) if rows and isinstance(node, ast.ClassDef) else ''

def meanings(params, returns, notes):
    "The table of the comments on parameters and result; a comment stands on their line or on one of its own above"
    lines = {p.line for p in params}
    def note(line): return notes.get(line) or (notes.get(line-1, '') if line-1 not in lines else '')
    rows = [(plain(p.name), code(p.type), plain(p.default), note(p.line)) for p in params if p.line]
    result = notes.get(returns.end_lineno) if returns else None
    if not any(r[3] for r in rows): return f'Returns {code(text(returns))}: {result}' if result else ''
    if result: rows.append(('*returns*', code(text(returns)), '', result))
    return table(('Parameter','Type','Default','Meaning'), rows)

def entry(name, node, notes, classes):
    "Markdown of one symbol"
    params,returns = parameters(node, classes),getattr(node, 'returns', None)
    call = signature(name, params, f' -> {text(returns)}' if returns else '')
    bases = ', '.join(code(text(b)) for b in getattr(node, 'bases', []))
    what = f'{doc(node)} (a kind of {bases})' if bases else doc(node)
    said = [f'### `{name}`', f'```python\n{call}\n```' if call!=name else '', what]
    return '\n\n'.join(filter(None, [*said, meanings(params or [], returns, notes), members(node)]))

def entries(src, classes):
    "Markdown of the symbols of an exported cell (double-underscore methods if described); `classes`: nodes by name"
    tokens = generate_tokens(StringIO(src).readline)
    notes = {t.start[0]: t.string.lstrip('#').strip() for t in tokens if t.type==COMMENT}
    said = [(name,node) for name,node in defined(src) if '__' not in name or doc(node)]
    return '\n\n'.join(entry(name, node, notes, classes) for name,node in said)
