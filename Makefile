# For a fresh machine with Python, git and make: 'make demo' and 'make test' set up what they need.
PYTHON ?= python3
ENV := .venv
BIN := $(ENV)/bin

.PHONY: demo test slow faults lint

demo: $(ENV)/installed
	$(BIN)/sgmim demo --folder demo

test: $(ENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2

slow: $(ENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slow

# each promise as often as docs/reliability.md says, which gets the figures
faults: $(ENV)/installed
	rm -f faults.jsonl
	FAULTS_REPORT=faults.jsonl OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slow tests/faults
	$(BIN)/python tests/faults/table.py faults.jsonl docs/reliability.md

lint: $(ENV)/installed
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

$(ENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "sgmim needs Python 3.11 or later"'
	$(PYTHON) -m venv $(ENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
