# Every target sets itself up. `.venv` is filled when settings.ini or setup.py has changed, and left alone otherwise.
PYTHON ?= python3
# The newest torch that rankwb is tested with, installed first. For a build without CUDA, or another one:
#   make demo TORCH='torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu'
TORCH  ?= torch==2.13.0
NB     ?=
ARGS   ?=
BENCH  ?= $(sort $(wildcard benchmarks/[a-z]*.py))

PY := .venv/bin/python
, := ,

.PHONY: help demo test docs lab bench export pages readme clean
.DEFAULT_GOAL := help

help: ## Say what there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

demo: .venv/.base ## Compare BM25, dense retrieval and their fusion on the embedded collection; ARGS='--help' for more
	.venv/bin/rankwb demo $(ARGS)

test: .venv/.test ## Run everything: notebooks, package, site; ARGS='-k runs' for a part
	$(PY) -m pytest tests $(ARGS)

docs: .venv/.dev ## Build the site
	$(PY) -m docs.build
	@echo "The site: file://$(CURDIR)/_docs/index.html"

lab: .venv/.base ## Open the notebooks in JupyterLab
	$(PY) -m jupyterlab nbs/index.ipynb $(ARGS)

bench: .venv/.bench ## Measure speed and memory beside the peers; BENCH='benchmarks/a.py' for one
	@set -e; for f in $(BENCH); do echo "== $$f"; $(PY) $$f $(ARGS); done

export: .venv/.dev ## Write rankwb/ from nbs/
	.venv/bin/nbdev_export

pages: .venv/.dev ## Run the notebooks, store fresh outputs, clean them, write the README; NB='nbs/a.ipynb' for some
	$(PY) -m docs.outputs $(NB)
	$(PY) -m docs.readme

readme: .venv/.dev ## Write README.md from nbs/index.ipynb
	$(PY) -m docs.readme

clean: ## Remove the site and what it is made from
	rm -rf _docs _proc

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3,11))' || \
	  { echo "rankwb wants Python 3.11 or newer, and '$(PYTHON)' is not: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv .venv

# Modules are compiled when first imported: most never are
define install
	@echo "Installing rankwb$(1) into .venv: some minutes, once"
	$(PY) -m pip --disable-pip-version-check install --quiet --no-compile $(TORCH)
	$(PY) -m pip --disable-pip-version-check install --quiet --no-compile --editable '.$(1)'
	@touch $(2)
endef

made := settings.ini setup.py | $(PY)
.venv/.base: $(made)
	$(call install,,.venv/.base)

.venv/.dev: $(made)
	$(call install,[dev],.venv/.base .venv/.dev)

# Lucene itself is the authority for BM25, so the tests bring it
.venv/.test: $(made)
	$(call install,[dev$(,)lucene],.venv/.base .venv/.dev .venv/.test)

.venv/.bench: $(made)
	$(call install,[dev$(,)lucene$(,)bench],.venv/.base .venv/.dev .venv/.test .venv/.bench)
