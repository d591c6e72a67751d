# `make` lists what there is to make. It takes make and Python 3.11 or newer, nothing else.

PYTHON ?= python3
LAB_OPTIONS ?=
# `make test BROWSER=no` leaves the tests out that look at the card in a browser.
BROWSER ?= yes
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo lab test lint format bench constraints clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/installed-lab ## run the quickstart notebook without a screen; the results go to build/
	@$(BIN)/python scripts/run_notebook.py notebooks/01-quickstart.ipynb build

lab: $(VENV)/installed-lab ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab $(LAB_OPTIONS) notebooks/01-quickstart.ipynb

# The notebooks are tested with a Prefect server of their own, apart from yours; the other tests see to that themselves.
test: lint ## check style and types, run all tests, compare the notebooks with the outputs saved in them
ifneq ($(BROWSER),no)
	@$(BIN)/python scripts/find_browser.py --install
endif
	$(BIN)/python scripts/run_tests.py $(if $(filter no,$(BROWSER)),tests/browser)
	NBFUTURES_HOME=$(CURDIR)/build/test-home $(BIN)/pytest notebooks --nbval --nbval-current-env \
	    --nbval-sanitize-with=tests/nbval_sanitize.cfg --nbval-cell-timeout=180 --timeout=240
ifeq ($(BROWSER),no)
	@echo "Left out: the tests in a browser (BROWSER=no)."
endif

lint: $(VENV)/installed-test ## check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/installed-test ## lay out the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/installed-bench ## measure everything, beside other libraries, in 25 minutes; writes benchmarks/results.json
	$(BIN)/python -m benchmarks all
	$(BIN)/python -m benchmarks picture

constraints: $(VENV)/installed-test ## solve for all dependencies anew and pin them
	$(BIN)/python scripts/pin.py

clean: ## remove the virtual environment and what was built
	rm -rf $(VENV) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache

# The package with one of its extras; again when the dependencies change.
$(VENV)/installed-%: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
	    "nbfutures needs Python 3.11 or newer, and '$(PYTHON)' is not. Name one: make $(MAKECMDGOALS) PYTHON=python3.12"; \
	    exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo \
	    "'$(PYTHON)' makes no virtual environments. On Debian and Ubuntu, this mends it: apt-get install python3-venv"; \
	    exit 1; }
	@echo "Installing nbfutures[$*] into $(VENV): a minute or two, this once ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$*]'
	@touch $@
