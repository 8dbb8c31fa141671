"""The `cupy` backend. Its kernels are not written yet, so it says what is missing and never runs."""

from __future__ import annotations

from importlib.util import find_spec
from typing import NoReturn

from kseg_batch.backends.cuda_driver import require_device
from kseg_batch.errors import BackendUnavailableError


def load() -> NoReturn:
    """Say why it cannot run: no package, no driver, no device, or no kernels."""
    if find_spec("cupy") is None:
        raise BackendUnavailableError("the package cupy is not installed", installed=False)
    require_device()
    raise BackendUnavailableError("this version of kseg-batch has no CuPy kernels", installed=True)
