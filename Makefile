# For a fresh machine with Python, git and make: 'make demo' and 'make test' set up what they need.
PYTHON ?= python3
ENV := .venv
BIN := $(ENV)/bin

.PHONY: demo test slow lint

demo: $(ENV)/installed
	$(BIN)/sgmim demo --folder demo

test: $(ENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2

slow: $(ENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slow

lint: $(ENV)/installed
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

$(ENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "sgmim needs Python 3.11 or later"'
	$(PYTHON) -m venv $(ENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
