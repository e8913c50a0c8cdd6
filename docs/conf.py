"Sphinx: names from settings.ini, everything offline"
import re,sys
from importlib.util import find_spec
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parent.parent))   # for docs.*

from docs.pages import cfg
from myst_parser.slugs import github_slugify

project,author,copyright = cfg['title'],cfg['author'],cfg['copyright']
version = release = cfg['version']
html_title,html_baseurl,language = cfg['title'],cfg['doc_host']+cfg['doc_baseurl'],'en'

extensions = ['myst_nb', 'sphinx_copybutton', 'docs.mathml']
nb_execution_mode = 'off'
nb_ipywidgets_js = {}                   # the default is a CDN
html_math_renderer = 'mathml'           # so is that of MathJax
nb_render_markdown_format = 'myst'
myst_enable_extensions = ['dollarmath', 'amsmath', 'attrs_block']
myst_heading_anchors = 4
myst_heading_slug_func = 'docs.conf.slug'
smartquotes = False                     # 'trec' in a comment is a value

def slug(title):
    "Anchor of a heading; that of a symbol is as in nbdev's own pages: `Run.cut` is at run.cut"
    return title.lower() if re.fullmatch(r'[\w.]+', title) else github_slugify(title)

html_theme = 'furo'
def brand(**colours): return {f'color-brand-{k}': v for k,v in colours.items()}
html_theme_options = dict(light_css_variables=brand(primary='#0b5f83', content='#0b6a92', visited='#0b6a92'),
                          dark_css_variables=brand(primary='#7cc4e4', content='#7cc4e4', visited='#7cc4e4'))
pygments_style,pygments_dark_style = 'friendly','github-dark'
# ziamath is wanted for its copy of STIX Two Math: formulas look the same on a machine that has no font for them
math_font = Path(find_spec('ziamath').origin).parent/'fonts'/'STIXTwoMath-Regular.ttf'
html_static_path = ['static', str(math_font)]
html_css_files,html_favicon = ['site.css'],'static/icon.svg'
html_copy_source = html_show_sourcelink = False

def setup(app):
    "Pictures from outputs stay with the rest of the work: MyST-NB would put them beside the site"
    def move(app): app.env.mystnb_config = app.env.mystnb_config.copy(output_folder=str(Path(app.doctreedir).parent/'outputs'))
    app.connect('builder-inited', move, priority=900)
