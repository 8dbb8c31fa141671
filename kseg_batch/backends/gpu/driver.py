"""The NVIDIA driver and its GPUs, as the driver library reports them: no Python package is needed."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
VERSION_FILE = Path("/sys/module/nvidia/version")
"""File in which Linux shows the version of the driver, which libcuda does not report."""

CUDA_ERROR_NO_DEVICE = 100
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76  # of CUdevice_attribute
NAME_LENGTH = 256


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU. A fact that the driver does not report is None."""

    name: str | None
    """NVIDIA's name for the GPU."""
    capability: str | None
    """Compute capability, such as 9.0."""
    memory: int | None
    """Bytes of GPU memory, free or not."""
    free: int | None
    """Bytes that no process uses, measured while this process holds a context on the GPU."""


@dataclass(frozen=True, slots=True)
class Driver:
    """The NVIDIA driver of this machine, or the problem that there is none."""

    problem: str | None
    """Reason why the driver offers no GPU; None if it offers one."""
    version: str | None
    """Version of the driver, such as 580.65.06; known only on Linux."""
    cuda: str | None
    """Highest CUDA version that the driver supports, such as 13.0."""
    devices: tuple[Gpu, ...]
    """GPUs, in the order of their CUDA numbers."""

    @property
    def cuda_major(self) -> int:
        """Highest major CUDA version that the driver supports; 0 if unknown."""
        return int(self.cuda.split(".")[0]) if self.cuda else 0


def device_problem() -> str | None:
    """Return the reason why the driver offers no GPU; None if it offers one."""
    try:
        driver = ctypes.CDLL(LIBRARY)
    except OSError:
        return f"there is no NVIDIA driver on this machine ({LIBRARY} was not found)"
    count = ctypes.c_int()
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if status not in (0, CUDA_ERROR_NO_DEVICE):
        return f"the NVIDIA driver does not start (CUDA error {status})"
    return None if count.value else "the NVIDIA driver finds no GPU"


def read_driver() -> Driver:
    """Read the facts about the driver and its GPUs. Each GPU gets a context until its free memory is read."""
    problem = device_problem()
    try:
        driver = ctypes.CDLL(LIBRARY)
    except OSError:
        return Driver(problem, None, None, ())
    cuda = _ask(driver, "cuDriverGetVersion", ctypes.c_int)
    count = 0 if problem else _ask(driver, "cuDeviceGetCount", ctypes.c_int) or 0
    return Driver(
        problem=problem,
        version=_module_version(),
        cuda=f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None,
        devices=tuple(_read_device(driver, i) for i in range(count)),
    )


def _read_device(driver: ctypes.CDLL, index: int) -> Gpu:
    device = _ask(driver, "cuDeviceGet", ctypes.c_int, index)
    if device is None:
        return Gpu(None, None, None, None)
    name = _ask(driver, "cuDeviceGetName", ctypes.c_char * NAME_LENGTH, NAME_LENGTH, device)
    major, minor = (
        _ask(driver, "cuDeviceGetAttribute", ctypes.c_int, attribute, device)
        for attribute in (CAPABILITY_MAJOR, CAPABILITY_MINOR)
    )
    return Gpu(
        name=name.decode(errors="replace") if name else None,
        capability=None if major is None or minor is None else f"{major}.{minor}",
        memory=_ask(driver, "cuDeviceTotalMem_v2", ctypes.c_size_t, device),
        free=_free_memory(driver, device),
    )


def _free_memory(driver: ctypes.CDLL, device: int) -> int | None:
    """Return the free bytes of a GPU; None without a context, as when another process has exclusive use."""
    context = _ask(driver, "cuDevicePrimaryCtxRetain", ctypes.c_void_p, device)
    if context is None:
        return None
    try:
        if not _call(driver, "cuCtxPushCurrent_v2", ctypes.c_void_p(context)):
            return None
        free: int | None = _ask(driver, "cuMemGetInfo_v2", ctypes.c_size_t, ctypes.byref(ctypes.c_size_t()))
        _call(driver, "cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))
        return free
    finally:
        _call(driver, "cuDevicePrimaryCtxRelease_v2", device)


def _ask(driver: ctypes.CDLL, function: str, kind: Any, *arguments: Any) -> Any:
    """Call a driver function; return its first, output argument of a ctypes `kind`, or None on failure."""
    answer = kind()
    return answer.value if _call(driver, function, ctypes.byref(answer), *arguments) else None


def _call(driver: ctypes.CDLL, function: str, *arguments: Any) -> bool:
    """Call a driver function; return whether it succeeds. A function that an old driver lacks does not."""
    try:
        return bool(getattr(driver, function)(*arguments) == 0)
    except AttributeError:
        return False


def _module_version() -> str | None:
    try:
        return VERSION_FILE.read_text(encoding="utf-8").strip()
    except OSError:
        return None
