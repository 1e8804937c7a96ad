# tinylm: `make` lists what there is.  Everything runs in .venv, which make creates when it is needed.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PEERS  := .venv-peers
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test gradient audit bench bench-peers test-peers verify-lessons lint doctor clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { sub("%", "N", $$1); printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## Create .venv and install tinylm in it

$(READY): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: tinylm needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

demo: $(READY) ## Train a character GPT for a minute, read three samples, open a report
	$(BIN)/tinylm train --preset gpt-tiny --data stories
	@echo
	$(BIN)/tinylm generate latest --samples 3 --max-tokens 500 --temperature 0.7
	@echo
	@echo "The report, with every curve: $$(readlink -f runs/latest)/report.html"

test: $(READY) ## Run all tests
	$(BIN)/python -m pytest

gradient: $(READY) ## Check the gradient of every operation (hypothesis)
	$(BIN)/python -m pytest -m gradient

audit: $(READY) ## Check gradients, causality, kernels, streaming and units of every preset
	$(BIN)/tinylm audit

bench: $(READY) ## Measure training speed, and this machine's peak
	$(BIN)/tinylm bench train

bench-peers: $(PEERS)/.ready ## Race PyTorch and llama.cpp (installed in .venv-peers); ARGS="--work gpt-run1"
	$(PEERS)/bin/python tests/peers/bench.py $(ARGS)

test-peers: $(PEERS)/.ready ## Check scores, gradients and optimizer steps against PyTorch's
	$(PEERS)/bin/python -m pytest tests/peers

$(PEERS)/.ready: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 --editable '.[test]'
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check libggml-python==0.20.2.post1 || \
		echo "no libggml-python for this machine: bench-peers will leave out llama.cpp's ternary product"
	@touch $@

lesson-%: $(READY) ## Walk through lesson N
	@$(BIN)/tinylm lesson run $*

check-%: $(READY) ## Check your answers to lesson N
	@$(BIN)/tinylm lesson check $*

hint-%: $(READY) ## A hint for lesson N
	@$(BIN)/tinylm lesson hint $*

solution-%: $(READY) ## The solution of lesson N, once your answer is right
	@$(BIN)/tinylm lesson solution $*

reset-%: $(READY) ## Begin the exercises of lesson N again; your file moves to work/attic/
	@$(BIN)/tinylm lesson reset $*

verify-lessons: $(READY) ## Test the course: stubs fail, solutions pass, every wrong answer is caught
	$(BIN)/tinylm lesson verify

lint: $(READY) ## Check style
	$(BIN)/ruff check .

doctor: $(READY) ## What this machine has and how it is used
	$(BIN)/tinylm doctor

clean: ## Remove .venv and build leftovers; runs/ and work/ stay
	rm -rf $(VENV) $(PEERS) build dist *.egg-info .pytest_cache .hypothesis .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
