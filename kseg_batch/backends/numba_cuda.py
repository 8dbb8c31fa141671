"""The `numba-cuda` backend. Its kernels are not written yet, so it says what is missing and never runs."""

from __future__ import annotations

from importlib.util import find_spec
from typing import NoReturn

from kseg_batch.backends.cuda_driver import require_device
from kseg_batch.errors import BackendUnavailableError


def load() -> NoReturn:
    """Say why it cannot run: no package, no driver, no device, or no kernels."""
    if find_spec("numba_cuda") is None:
        raise BackendUnavailableError("the package numba-cuda is not installed", installed=False)
    require_device()
    raise BackendUnavailableError("this version of kseg-batch has no Numba CUDA kernels", installed=True)
