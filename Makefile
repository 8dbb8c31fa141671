# make demo   install, collect real photographs, segment them
# make test   everything the tests need, then lint, types and tests
# make soak   the long tests, which kill, damage and emulate, at their full length
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
PYTEST_FLAGS ?=
GPU_TESTS ?= tests/gpu/test_on_device.py
GPU_TRIAL ?= --seconds 600 --keep

ifdef GPU_PYTHON
GPU_READY =
GPU_RUN = PYTHONPATH="$(CURDIR)$${PYTHONPATH:+:$$PYTHONPATH}" $(GPU_PYTHON)
else
GPU_READY = $(VENV)/cuda$(CUDA).done
GPU_RUN = $(BIN)/python
endif

# Install with extras, and with an OpenCV that can be imported: opencv-python needs libraries of the system.
define INSTALL
$(BIN)/python -m pip uninstall -qq -y opencv-python-headless
$(BIN)/python -m pip install -qq $(CONSTRAINT) --editable '.[$(EXTRAS)]'
@$(BIN)/python -c 'import cv2' 2>/dev/null || { \
  echo "opencv-python does not find its libraries on this system: opencv-python-headless, which needs none and" \
    "has no windows, takes its place in $(VENV), until make clean"; \
  version=$$($(BIN)/python -c 'from importlib.metadata import version; print(version("opencv-python"))') && \
  $(BIN)/python -m pip uninstall -qq -y opencv-python && \
  $(BIN)/python -m pip install -qq "opencv-python-headless==$$version" && $(BIN)/python -c 'import cv2'; }
@touch $@
endef

.PHONY: demo test check soak test-lowest bench-kernels gpu-test gpu-bench clean system-demo system-test
.DELETE_ON_ERROR:
.NOTPARALLEL:

# What the system lacks is installed where the user may install packages, and named elsewhere.
system-demo system-test:
	@$(PYTHON) -m tests.support.system $(@:system-%=%)

demo: system-demo $(VENV)/demo.done
	$(BIN)/python -m benchmarks.photos ./photos
	$(BIN)/kseg-batch run ./photos --k 3
	@echo
	@echo "Look at photos-kseg/segmented beside photos, and at photos-kseg/masks."

test: system-test check
	$(BIN)/python -m pytest -q -n auto --durations=5 $(PYTEST_FLAGS)

check: $(VENV)/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

soak: system-test $(VENV)/test.done
	$(BIN)/python -m pytest -q --soak -m soak --durations=5 $(PYTEST_FLAGS)

# The oldest versions that pyproject.toml admits, on the oldest Python.
test-lowest: system-test
	$(MAKE) VENV=.venv-lowest .venv-lowest/lowest.done
	.venv-lowest/bin/python -m pytest -q $(PYTEST_FLAGS)

# The first time there is nothing to compare with, of which pytest-benchmark warns.
bench-kernels: $(VENV)/test.done
	$(BIN)/python -m pytest -q -W default::pytest_benchmark.logger.PytestBenchmarkWarning \
	  benchmarks/test_kernels.py --benchmark-autosave --benchmark-compare --benchmark-group-by=func \
	  --benchmark-sort=name --benchmark-columns=median,iqr,rounds

gpu-test: $(GPU_READY)
	$(GPU_RUN) -m pytest -q --require-gpu $(GPU_TESTS)

gpu-bench: $(GPU_READY)
	$(GPU_RUN) -m benchmarks.gpu_trial --out gpu-trial $(GPU_TRIAL)

$(VENV)/demo.done: EXTRAS = photos
$(VENV)/demo.done: pyproject.toml | $(BIN)/python
	$(INSTALL)

$(VENV)/test.done: EXTRAS = test,cuda-check
$(VENV)/test.done: pyproject.toml | $(BIN)/python
	$(INSTALL)

$(VENV)/cuda$(CUDA).done: EXTRAS = test,cuda$(CUDA)
$(VENV)/cuda$(CUDA).done: pyproject.toml | $(BIN)/python
	$(INSTALL)

$(VENV)/lowest.done: EXTRAS = test,cuda-check
$(VENV)/lowest.done: CONSTRAINT = --constraint tests/lowest.txt
$(VENV)/lowest.done: pyproject.toml tests/lowest.txt | $(BIN)/python
	$(INSTALL)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "kseg-batch needs Python 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

clean:
	rm -rf .venv .venv-lowest build dist gpu-trial photos photos-kseg *.egg-info .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
