"""The `cupy` backend. Its kernels are not written yet, so it says what is missing and never runs."""

from __future__ import annotations

from importlib.util import find_spec
from typing import NoReturn

from kseg_batch.backends.cuda_driver import device_problem
from kseg_batch.errors import BackendUnavailableError


def load() -> NoReturn:
    """Say why it cannot run: it has no kernels, and what else the machine lacks."""
    lacking = device_problem() if find_spec("cupy") else "the package cupy is not installed"
    reasons = ["this version of kseg-batch has no CuPy kernels", *([lacking] if lacking else [])]
    raise BackendUnavailableError(", and ".join(reasons), installed=False)
