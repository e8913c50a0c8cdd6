"""README.md from nbs/index.ipynb: `python -m docs.readme`. Its links lead to notebooks, which code hosts show.

An output is taken in the richest form that a code host shows: a picture (a file in docs/images/), Markdown, a table
without its style, else plain text."""
import re
from base64 import b64decode
from pathlib import Path

from docs.pages import Symbols,cells,exported,nbs,root

pictures = {'image/svg+xml': ('svg', str.encode), 'image/png': ('png', b64decode)}

def bare(html):
    "A table of HTML without what code hosts do not keep; '' if there is more to it than a table"
    html = re.sub(r'<style.*?</style>', '', html, flags=re.S)
    html = re.sub(r'\s(?:class|style|border|scope)="[^"]*"', '', html)
    if '<table' not in html or re.search('<(svg|script|img|input|button)', html): return ''
    return re.sub(r'\n\s*', '\n', html).strip()

def output(o, name, files):
    "Markdown of one output; the picture that it needs is put into `files`"
    if o.output_type=='stream': return f'```\n{"".join(o.text).rstrip()}\n```'
    data = {k: ''.join(v) for k,v in o.data.items()}
    for mime,(suffix,decode) in pictures.items():
        if mime in data:
            f = f'docs/images/{name}.{suffix}'
            files[f] = decode(data[mime])
            return f'![]({f})'
    return data.get('text/markdown') or bare(data.get('text/html', '')) or f'```\n{data["text/plain"]}\n```'

def readme():
    "`(text, files)`: the README, and the pictures in it by path"
    index,symbols,out,files = Path('index.ipynb'),Symbols(),[],{}
    to_nbs = re.compile(r'\]\((?!\w+:)([^)\s#]+)(?:#[^)\s]*)?\)')
    for i,c in enumerate(cells(index)):
        if c.cell_type=='markdown': out.append(to_nbs.sub(rf']({nbs.name}/\1)', symbols.link(c.source, index)))
        if c.cell_type!='code' or {'hide','default_exp'} & c.directives_.keys() or exported(c): continue
        if c.directives_.get('echo:')!=['false']: out.append(f'```python\n{c.source.strip()}\n```')
        out += [output(o, f'index-{i}', files) for o in c.outputs]
    return '\n\n'.join(out)+'\n', files

if __name__=='__main__':
    text,files = readme()
    (root/'README.md').write_text(text, encoding='utf-8')
    images = root/'docs'/'images'
    for old in images.glob('index-*'): old.unlink()
    for f,data in files.items():
        (root/f).parent.mkdir(exist_ok=True)
        (root/f).write_bytes(data)
