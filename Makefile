# make demo   install, collect real photographs, segment them
# make test   everything the tests need, then lint, types and tests
# make soak   the tests that kill, damage and fill up, at their full length
#
# make bench-kernels   time each stage of an image, beside the last time; saved in .benchmarks with the commit
#
# With an NVIDIA GPU and its driver, of CUDA 13 unless CUDA=12:
#
# make gpu-test    the GPU backends against the CPU, on the device
# make gpu-bench   prove and measure them; writes benchmarks/results/gpu-<device>-<date>.json
#
# Each makes its own virtual environment, .venv unless VENV says otherwise. With GPU_PYTHON=python3 the two for a
# GPU take the packages of that Python instead, and need no network.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
CUDA ?= 13
GPU_TESTS ?= tests/gpu/test_on_device.py
GPU_TRIAL ?= --seconds 600 --keep

ifdef GPU_PYTHON
GPU_READY = kseg_batch/kernels
GPU_RUN = PYTHONPATH="$(CURDIR)$${PYTHONPATH:+:$$PYTHONPATH}" $(GPU_PYTHON)
else
GPU_READY = $(VENV)/cuda$(CUDA).done
GPU_RUN = $(BIN)/python
endif

.PHONY: demo test check soak test-lowest bench-kernels gpu-test gpu-bench clean
.DELETE_ON_ERROR:

demo: $(VENV)/demo.done
	$(BIN)/python -m benchmarks.photos ./photos
	$(BIN)/kseg-batch run ./photos --k 3
	@echo
	@echo "Look at photos-kseg/segmented beside photos, and at photos-kseg/masks."

test: check
	$(BIN)/python -m pytest -q -n auto --durations=5

check: $(VENV)/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

soak: $(VENV)/test.done
	$(BIN)/python -m pytest -q --soak --durations=5 tests/batch/test_interruption.py tests/images/test_damage.py tests/batch/workers/test_pool.py tests/benchmarks/test_gpu_trial.py tests/benchmarks/test_catalog.py

# The oldest versions that pyproject.toml admits, on the oldest Python.
test-lowest:
	$(MAKE) VENV=.venv-lowest .venv-lowest/lowest.done
	.venv-lowest/bin/python -m pytest -q

# The first time there is nothing to compare with, of which pytest-benchmark warns.
bench-kernels: $(VENV)/test.done
	$(BIN)/python -m pytest -q -W default::pytest_benchmark.logger.PytestBenchmarkWarning \
	  benchmarks/test_kernels.py --benchmark-autosave --benchmark-compare --benchmark-group-by=func \
	  --benchmark-sort=name --benchmark-columns=median,iqr,rounds

gpu-test: $(GPU_READY)
	$(GPU_RUN) -m pytest -q --require-gpu $(GPU_TESTS)

gpu-bench: $(GPU_READY)
	$(GPU_RUN) -m benchmarks.gpu_trial --out gpu-trial $(GPU_TRIAL)

# Where an installation puts the kernels, for a checkout that is not installed.
kseg_batch/kernels:
	ln -s ../kernels $@

$(VENV)/demo.done: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -qq --editable '.[photos]'
	@touch $@

$(VENV)/test.done: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -qq --editable '.[test,cuda-check]'
	@touch $@

$(VENV)/cuda$(CUDA).done: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -qq --editable '.[test,cuda$(CUDA)]'
	@touch $@

$(VENV)/lowest.done: pyproject.toml tests/lowest.txt | $(BIN)/python
	$(BIN)/python -m pip install -qq --constraint tests/lowest.txt --editable '.[test,cuda-check]'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "kseg-batch needs Python 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

clean:
	rm -rf .venv .venv-lowest build dist gpu-trial kseg_batch/kernels photos photos-kseg *.egg-info .mypy_cache .pytest_cache .ruff_cache
