"""Fresh outputs: run notebooks from top to bottom in a real kernel, store what they show, and clean them.

`python -m docs.outputs [--check] [notebook…]`, all notebooks where none is named. `--check` writes nothing, and fails
where an output is not what is stored. Cells marked `eval: false` or with a flag of `tst_flags` keep what they have."""
import json,os,sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from execnb.nbio import dict2nb,nb2str
from nbclient import NotebookClient
from nbdev.clean import clean_nb

from docs.pages import cells,cfg,nbs,order

flags = set(cfg['tst_flags'].split())
def skipped(c): return c.directives_.get('eval:',[''])[0].lower()=='false' or bool(flags & c.directives_.keys())

def clean(nb):
    "The text of a notebook without run counts, addresses and metadata: equal work gives equal bytes"
    clean_nb(nb, clean_ids=True)
    for c in nb.cells: c.metadata = {}
    nb.metadata = dict(kernelspec=dict(display_name='python3', language='python', name='python3'))
    return nb2str(nb)

def run(p, timeout=600):
    "The text of notebook `p` with fresh outputs"
    nb = nbformat.read(nbs/p, 4)
    for c,d in zip(nb.cells, cells(p)):
        if c.cell_type=='code' and skipped(d): c.metadata['tags'] = ['skip-execution']
    client = NotebookClient(nb, timeout=timeout, kernel_name='python3', extra_arguments=['--log-level=40'],
                            resources=dict(metadata=dict(path=str((nbs/p).parent))))
    client.execute(env=dict(os.environ, TQDM_DISABLE='1'))   # a progress bar shows times
    return clean(dict2nb(json.loads(nbformat.writes(nb))))

def main(*names, check=False):
    wanted = [Path(n).resolve().relative_to(nbs.resolve()) for n in names] or order()
    with ThreadPoolExecutor(2) as ex: new = dict(zip(wanted, ex.map(run, wanted)))
    other = [p for p,text in new.items() if text!=(nbs/p).read_text(encoding='utf-8')]
    for p in other:
        if not check: (nbs/p).write_text(new[p], encoding='utf-8')
        print(f'{"stale" if check else "new outputs"}: {nbs.name}/{p}')
    print(f'{len(wanted)} notebooks ran, {len(other)} show something else than before')
    return bool(check and other)

if __name__=='__main__':
    names = [a for a in sys.argv[1:] if a!='--check']
    sys.exit(main(*names, check='--check' in sys.argv))
