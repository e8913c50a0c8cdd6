"A Sphinx extension: formulas as MathML, made when the site is built; the browser needs neither script nor network"
import re
from html import escape

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

log = logging.getLogger(__name__)

def mathml(node, block):
    tex = re.sub(r'\\dots\b', r'\\ldots', node.astext())         # docutils knows one of the two
    tex = re.sub(r'frac(\d)(\d)', r'frac{\1}{\2}', tex)        # and reads the 12 of \frac12 as one number
    try: return tex2mathml(tex, as_block=block)
    except (MathError,IndexError) as e:
        log.warning('formula %r: %s', tex, e, location=node)
        return f'<code>{escape(tex)}</code>'

def inline(self, node):
    self.body.append(mathml(node, False))
    raise nodes.SkipNode

def block(self, node):
    number = f'<span class="eqno">({node["number"]})</span>' if node.get('number') else ''
    self.body.append(self.starttag(node, 'div', CLASS='math') + number + mathml(node, True) + '</div>\n')
    raise nodes.SkipNode

def setup(app):
    app.add_html_math_renderer('mathml', (inline,None), (block,None))
    return dict(parallel_read_safe=True, parallel_write_safe=True)
