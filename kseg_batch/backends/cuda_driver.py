"""Is there an NVIDIA driver with a device? Asked of the driver itself, whatever Python packages there are."""

from __future__ import annotations

import ctypes
import sys

from kseg_batch.errors import BackendUnavailableError

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
CUDA_ERROR_NO_DEVICE = 100


def require_device() -> None:
    """Return if the driver has a device.

    Raises:
        BackendUnavailableError: There is no driver, it does not start, or it has no device.
    """
    try:
        driver = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise BackendUnavailableError(
            f"there is no NVIDIA driver on this machine ({LIBRARY} was not found)", installed=True
        ) from error
    count = ctypes.c_int()
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if status not in (0, CUDA_ERROR_NO_DEVICE):
        raise BackendUnavailableError(
            f"the NVIDIA driver does not start (CUDA error {status})", installed=True
        )
    if count.value == 0:
        raise BackendUnavailableError("the NVIDIA driver has no GPU to offer", installed=True)
