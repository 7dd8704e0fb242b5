PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help install quickstart paper-dynamics paper-priors paper-geometry paper-models test test-ray check format bench calibration docs fuzz chaos hashes install-hashed audit clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: $(VENV)/installed  ## prepare .venv

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"spillover needs Python 3.11 or newer, got {v.major}.{v.minor}: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --progress-bar off -c constraints.txt torch
	$(PIP) install --quiet --progress-bar off -c constraints.txt -e .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(PIP) install --quiet --progress-bar off -c constraints.txt -e '.[test]'
	@touch $@

quickstart: install  ## the whole study on a real model: ends with the path of its report
	$(BIN)/spillover run quickstart --out report

paper-dynamics: install  ## part 1 of the paper at the size of two cores: ends with the path of its report
	$(BIN)/spillover run paper-dynamics --out report-dynamics

paper-priors: install  ## part 2 of the paper at the size of two cores
	$(BIN)/spillover run paper-priors --out report-priors

paper-geometry: install  ## part 3 of the paper at the size of two cores
	$(BIN)/spillover run paper-geometry --out report-geometry

paper-models: install  ## the same organism on models of three sizes, so that size is a column
	$(BIN)/spillover run paper-models --out report-models

test: $(VENV)/installed-test  ## every test, those on the real 135M model too
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow'
	$(BIN)/python -m pytest -m slow

test-ray: $(VENV)/installed-test  ## the engine of Ray on several nodes in this machine (installs Ray, 80 MB)
	$(PIP) install --quiet --progress-bar off -c constraints.txt -e '.[ray]'
	$(BIN)/python -m pytest tests/engines/test_cluster.py

check: $(VENV)/installed-test  ## format, lint, types, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m 'not slow'

format: $(VENV)/installed-test  ## put the code into its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/installed-bench: $(VENV)/installed-test
	$(PIP) install --quiet --progress-bar off -c constraints.txt -e '.[bench]'
	@touch $@

bench: $(VENV)/installed-bench  ## every benchmark, side by side with its peers
	$(BIN)/python -m benchmarks

docs: $(VENV)/installed  ## the pages of docs/ as a site, in build/site
	$(PIP) install --quiet --progress-bar off -c constraints.txt -e '.[docs]'
	$(BIN)/mkdocs build --strict --quiet
	@echo build/site/index.html

calibration: $(VENV)/installed  ## false positives, coverage and power of every test and interval, resumed where it stopped
	$(BIN)/python scripts/calibration.py

fuzz: $(VENV)/installed-test  ## good inputs changed at random, read by every reader: SECONDS=120 SEED=0
	PYTHONPATH=tests $(BIN)/python -m fuzz --seconds $(or $(SECONDS),120) --seed $(or $(SEED),0)

chaos: $(VENV)/installed-test  ## kills, signals, full disks, faulty services, changed files on a tiny study: ROUNDS=200 SEED=0
	PYTHONPATH=tests $(BIN)/python -m chaos --rounds $(or $(ROUNDS),200) --seed $(or $(SEED),0)

hashes: $(VENV)/installed  ## write requirements-hashed.txt: the SHA-256 of every file that the quickstart installs here
	$(BIN)/python scripts/lock_hashes.py

install-hashed:  ## prepare .venv from those files and no others
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --progress-bar off --require-hashes --no-deps -r requirements-hashed.txt
	$(PIP) install --quiet --progress-bar off --no-deps -e .
	@touch $(VENV)/installed

audit: $(VENV)/installed  ## known holes in what is installed, by pip-audit (asks an advisory service)
	$(PIP) install --quiet --progress-bar off -c constraints.txt -e '.[audit]'
	$(BIN)/python scripts/audit.py

clean:  ## take away what was built, not the store
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache report
