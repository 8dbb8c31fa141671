# make demo   install, collect real photographs, segment them
# make test   everything the tests need, then lint, types and tests
#
# Each makes its own virtual environment, .venv unless VENV says otherwise.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test check test-lowest clean
.DELETE_ON_ERROR:

demo: $(VENV)/demo.done
	$(BIN)/python -m benchmarks.photos ./photos
	$(BIN)/kseg-batch run ./photos --k 3
	@echo
	@echo "Look at photos-kseg/segmented beside photos, and at photos-kseg/masks."

test: check
	$(BIN)/python -m pytest -q --durations=5

check: $(VENV)/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The oldest versions that pyproject.toml admits, on the oldest Python.
test-lowest:
	$(MAKE) VENV=.venv-lowest .venv-lowest/lowest.done
	.venv-lowest/bin/python -m pytest -q

$(VENV)/demo.done: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -qq --editable '.[photos]'
	@touch $@

$(VENV)/test.done: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -qq --editable '.[test]'
	@touch $@

$(VENV)/lowest.done: pyproject.toml tests/lowest.txt | $(BIN)/python
	$(BIN)/python -m pip install -qq --constraint tests/lowest.txt --editable '.[test]'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "kseg-batch needs Python 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

clean:
	rm -rf .venv .venv-lowest build dist photos photos-kseg *.egg-info .mypy_cache .pytest_cache .ruff_cache
