# make demo: set up and see the whole program at work.
# make test: set up and run the tests; make test-fast: those of single parts alone; make test-system: those that need a browser,
# a cluster, nnU-Net or hours, run by hand before a release. make evidence: run the cells of benchmarks/core.yaml and second.yaml
# that are missing, for as long as you let it; it may be killed at any time.
# make docs: set up and build the documentation as a site; then open site/index.html. It needs no network to be read.
# make notebooks: run those of examples/ from top to end, and keep what they show.
# make nnunet-env: an environment of its own with nnU-Net, 6 GB; make test-nnunet: the tests of debride inside nnU-Net, in it.
# make release-check: build a wheel and install it into a clean environment; then the tests with the oldest versions allowed.
# make container-check: do the steps of the Containerfile in a fresh Debian. It needs root and debootstrap.
PYTHON ?= python3
BIN := .venv/bin
NNUNET := .venv-nnunet/bin

PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: demo test test-fast test-system nnunet-env test-nnunet docs notebooks evidence release-check container-check check format clean

demo: .venv/installed
	$(BIN)/debride demo --out demo-output

test: .venv/installed-test
	$(PYTEST) -m "not system"

test-fast: .venv/installed-test
	$(PYTEST) -m "not slow and not system" tests/unit tests/contract tests/golden

test-system: .venv/installed-test
	$(BIN)/python -m pytest -m system

nnunet-env: .venv-nnunet/installed

test-nnunet: .venv-nnunet/installed
	$(NNUNET)/python -m pytest -m system tests/nnunet

docs: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo 'The documentation is in site/index.html.'

notebooks: .venv/installed-test
	$(BIN)/python examples/run_notebooks.py

evidence: .venv/installed
	$(BIN)/python -m benchmarks.evidence.run

release-check: .venv/installed-dev
	$(BIN)/python release/check.py built oldest

container-check: .venv/installed-dev
	$(BIN)/python release/container_check.py

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
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[review]'
	@touch $@

.venv/installed-test: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[test]'
	@touch $@

.venv/installed-docs: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[docs]'
	@touch $@

.venv/installed-dev: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

# nnU-Net imports all of its own trainers before others. One of them needs timm, which needs torchvision, and a build of
# torchvision works with one torch only: constraints-nnunet.txt names a pair.
.venv-nnunet/bin/python:
	$(PYTHON) -m venv .venv-nnunet

.venv-nnunet/installed: pyproject.toml constraints-nnunet.txt | .venv-nnunet/bin/python
	$(NNUNET)/python -m pip install -q -c constraints-nnunet.txt -e '.[nnunet,test]'
	@touch $@

clean:
	rm -rf .venv .venv-nnunet demo-output build site
