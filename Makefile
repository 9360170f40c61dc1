# make demo: set up and see the whole program at work.
# make test: set up and run the tests; make test-fast: those of single parts alone; make test-system: those that need a browser,
# a cluster, nnU-Net or hours, run by hand before a release. make evidence: run the cells of benchmarks/core.yaml and second.yaml
# that are missing, for as long as you let it; it may be killed at any time.
PYTHON ?= python3
BIN := .venv/bin

PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: demo test test-fast test-system evidence check format clean

demo: .venv/installed
	$(BIN)/debride demo --out demo-output

test: .venv/installed-test
	$(PYTEST) -m "not system"

test-fast: .venv/installed-test
	$(PYTEST) -m "not slow and not system" tests/unit tests/contract tests/golden

test-system: .venv/installed-test
	$(BIN)/python -m pytest -m system

evidence: .venv/installed
	$(BIN)/python -m benchmarks.evidence.run

check: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	@touch $@

.venv/installed-test: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[test]'
	@touch $@

.venv/installed-dev: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf .venv demo-output build
