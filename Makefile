# Nothing but Python 3.11 and make is needed: the environment is made in .venv with everything pinned.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
# Tests run in parallel processes; `make test JOBS=1` runs them one after the other.
JOBS ?= 2

.PHONY: help setup demo detector test lint types bench clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(STAMP) ## Make the environment in .venv

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is wanted: install Python 3.11, or name another with make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $@

demo: $(STAMP) ## Learn from the fixtures, show what was learned, answer the published examples
	$(BIN)/rewrite learn fixtures/log.jsonl --out build/demo
	$(BIN)/rewrite show build/demo
	$(BIN)/rewrite show build/demo --source "play the news from bee bee sea"
	$(BIN)/python examples/published.py build/demo
	$(BIN)/python -m eval run build/demo fixtures/cases.jsonl

detector: $(STAMP) ## Train a detector of rephrases on the fixtures' log, measure it on other dialogues, learn with it
	$(BIN)/rewrite train-detector fixtures/log.jsonl --out build/detector --layers 3 --epochs 1
	$(BIN)/python -m eval detect fixtures/dialogues.jsonl --detector build/detector --against lexical
	$(BIN)/rewrite learn fixtures/log.jsonl --out build/detected --detector build/detector

test: $(STAMP) lint types ## Run all checks
	$(BIN)/python -m pytest -n $(JOBS)

lint: $(STAMP) ## Check style
	$(BIN)/ruff check .

types: $(STAMP) ## Check types
	$(BIN)/mypy

bench: $(STAMP) ## Run the benchmarks in small; see docs/speed.md, solvers.md and decisions.md for the full runs
	$(BIN)/python benchmarks/engine_latency.py --quick
	$(BIN)/python benchmarks/learn_throughput.py --quick
	$(BIN)/python benchmarks/retrieval_speed.py --quick
	$(BIN)/python benchmarks/markov_solvers.py --quick
	$(BIN)/python benchmarks/rewrite_decisions.py --quick
	$(BIN)/python benchmarks/self_awareness.py --quick

clean: ## Remove the environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build
