# One command each; every target sets up what it needs.
#   make demo      set up, then weigh twelve systems on the demo task and write a report
#   make test      set up, lint, and run every test
#   make lint      ruff, mypy --strict, the direction of imports, the index of parts
#   make bench     timings against peers        make docs      the documentation site
#   make index     regenerate the part index    make evidence PART=sleb
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
WORKERS ?= 2

.PHONY: demo test lint bench docs index evidence system-deps format clean
.DELETE_ON_ERROR:

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo
	$(BIN)/steelyard run recipes/demo.yaml --out out/demo
	$(BIN)/python demo/ask.py out/demo/best.yaml

lint: $(VENV)/.dev
	$(BIN)/ruff format --check src tests benchmarks demo
	$(BIN)/ruff check src tests benchmarks demo
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m steelyard.catalog.index --check

format: $(VENV)/.dev
	$(BIN)/ruff format src tests benchmarks demo
	$(BIN)/ruff check --fix src tests benchmarks demo

test: lint system-deps
	@$(BIN)/steelyard pull smollm2-135m || echo "without the real model: the tests that need it will be skipped"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -rs $(PYTEST)

system-deps:
	@sh tests/system_deps.sh

index: $(VENV)/.dev
	$(BIN)/python -m steelyard.catalog.index

evidence: $(VENV)/.dev
	@test -n "$(PART)" || { echo "usage: make evidence PART=sleb"; exit 2; }
	$(BIN)/python -m tests.evidence $(PART)
	$(BIN)/python -m steelyard.catalog.index

bench: $(VENV)/.dev
	@for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

docs: $(VENV)/.dev
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf build dist site out .mypy_cache .ruff_cache .import_linter_cache
