"""Is there an NVIDIA driver with a device? Asked of the driver itself, whatever Python packages there are."""

from __future__ import annotations

import ctypes
import sys

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
CUDA_ERROR_NO_DEVICE = 100


def device_problem() -> str | None:
    """What keeps the driver from offering a device; None if it has one."""
    try:
        driver = ctypes.CDLL(LIBRARY)
    except OSError:
        return f"there is no NVIDIA driver on this machine ({LIBRARY} was not found)"
    count = ctypes.c_int()
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if status not in (0, CUDA_ERROR_NO_DEVICE):
        return f"the NVIDIA driver does not start (CUDA error {status})"
    return None if count.value else "the NVIDIA driver has no GPU to offer"
