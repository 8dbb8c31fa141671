"""CuPy and Numba without a GPU: the functions that the devices use exist, and errors are translated."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kseg_batch.backends.cupy import FILES, CupyDevice, kernel_folder
from kseg_batch.backends.gpu.device import DeviceMemoryError, Variant
from kseg_batch.backends.numba_cuda import NumbaDevice
from kseg_batch.errors import BackendError, KernelCacheWarning
from kseg_batch.processes import PRIVATE_FOLDER
from tests.support.faults import as_nobody

cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
cuda = pytest.importorskip("numba.cuda", reason="Numba has no CUDA target here")


@pytest.fixture
def cupy_device() -> CupyDevice:
    """A device that is not opened."""
    device = object.__new__(CupyDevice)
    vars(device).update(_cupy=cupy, _current=contextlib.nullcontext)
    return device


@pytest.fixture
def numba_device() -> NumbaDevice:
    device = object.__new__(NumbaDevice)
    vars(device).update(_cuda=cuda, _gpu=contextlib.nullcontext(), _entered=threading.local())
    return device


@pytest.mark.parametrize(
    ("device", "error", "kind"),
    [
        ("cupy_device", lambda: cupy.cuda.memory.OutOfMemoryError(1, 2), DeviceMemoryError),
        ("cupy_device", lambda: cupy.cuda.runtime.CUDARuntimeError(2), DeviceMemoryError),
        ("cupy_device", lambda: cupy.cuda.runtime.CUDARuntimeError(700), BackendError),
        ("cupy_device", lambda: cupy.cuda.compiler.CompileException("no", "", "", ()), BackendError),
        ("cupy_device", lambda: OSError("the kernel cache cannot be written"), BackendError),
        ("cupy_device", lambda: DeviceMemoryError("already told"), DeviceMemoryError),
        ("numba_device", lambda: cuda.cudadrv.driver.CudaAPIError(2, "no memory"), DeviceMemoryError),
        (
            "numba_device",
            lambda: cuda.cudadrv.driver.CudaAPIError(700, "CUDA_ERROR_ILLEGAL_ADDRESS"),
            BackendError,
        ),
        ("numba_device", lambda: RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: at a launch"), DeviceMemoryError),
        ("numba_device", lambda: RuntimeError("the linker failed"), BackendError),
        ("numba_device", lambda: DeviceMemoryError("already told"), DeviceMemoryError),
    ],
)
def test_errors_of_the_libraries(
    request: pytest.FixtureRequest, device: str, error: Callable[[], Exception], kind: type[BackendError]
) -> None:
    opened: CupyDevice | NumbaDevice = request.getfixturevalue(device)
    with pytest.raises(BackendError) as caught, opened._errors():
        raise error()
    assert type(caught.value) is kind


def test_an_interrupt_stays_an_interrupt(cupy_device: CupyDevice, numba_device: NumbaDevice) -> None:
    for device in (cupy_device, numba_device):
        with pytest.raises(KeyboardInterrupt), device._errors():
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    "name",
    [
        "ndarray",
        "RawModule",
        "cuda.Event",
        "cuda.MemoryPool.malloc",
        "cuda.MemoryPool.free_all_blocks",
        "cuda.Stream.synchronize",
        "cuda.alloc_pinned_memory",
        "cuda.get_elapsed_time",
        "cuda.nvrtc.getVersion",
        "cuda.runtime.getDevice",
        "cuda.runtime.getDeviceCount",
        "cuda.runtime.memcpyAsync",
        "cuda.runtime.memcpyDeviceToDevice",
        "cuda.runtime.memcpyDeviceToHost",
        "cuda.runtime.memcpyHostToDevice",
        "cuda.runtime.memGetInfo",
        "cuda.runtime.memsetAsync",
        "cuda.runtime.setDevice",
    ],
)
def test_cupy_has_the_names_that_the_device_uses(name: str) -> None:
    found: Any = cupy
    for part in name.split("."):
        found = getattr(found, part)


@pytest.mark.parametrize(
    "name",
    [
        "gpus",
        "device_array",
        "pinned_array",
        "stream",
        "current_context",
        "event",
        "event_elapsed_time",
        "jit",
        "shared.array",
        "atomic.add",
    ],
)
def test_numba_has_the_names_that_the_device_uses(name: str) -> None:
    found: Any = cuda
    for part in name.split("."):
        found = getattr(found, part)


LAUNCH_A_SMALL_GRID = """
import contextlib
from kseg_batch.backends import numba_cuda

with contextlib.suppress(Exception):  # there may be no driver
    numba_cuda._open()
from kseg_batch.kernels import numba_cuda as kernels

kernels.count_pixels[(1, 1), 32]  # a launch that lacks its arguments: Numba warns here
print("configured")
"""


def test_small_grids_are_launched_without_a_warning() -> None:
    """Numba reads the switch of this warning when `numba.cuda` is imported, and never again."""
    command = [sys.executable, "-W", "error", "-c", LAUNCH_A_SMALL_GRID]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.stderr) == ("configured\n", "")


IMPORT_WITHOUT_A_FOLDER = """
import contextlib, os
from kseg_batch.backends import cupy as backend

with contextlib.suppress(RuntimeError):  # there may be no driver
    backend._open()
import cupy
from kseg_batch.kernels import numba_cuda

assert type(numba_cuda.count_pixels._cache).__name__ == "NullCache"
print(os.environ["CUPY_CACHE_DIR"], os.environ.get("CUPY_CACHE_IN_MEMORY"))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may act as another user")
@pytest.mark.parametrize("private", ["", "/tmp"])
def test_where_no_folder_can_be_written_both_libraries_work(private: str) -> None:
    """CuPy would raise a PermissionError, and numba-cuda a RuntimeError."""
    environment = {
        **os.environ,
        "HOME": "/nonexistent",
        "NUMBA_CACHE_DIR": "/nonexistent/numba",
        PRIVATE_FOLDER: private,
    }
    command = as_nobody([sys.executable, "-c", IMPORT_WITHOUT_A_FOLDER])
    done = subprocess.run(
        command, env=environment, cwd="/", capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ([private, "None"] if private else [str(kernel_folder()), "1"])
    for library in ("CuPy", "numba-cuda"):
        assert done.stderr.count(f"the compiled GPU kernels of {library} cannot be kept") == 1


def test_a_kernel_is_compiled_without_a_folder_where_cupy_cannot_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A module that fails as CuPy does, on a full disk, until it is told to use no folder."""
    calls = []

    def get_function(kernel: str) -> str:
        calls.append(kernel)
        if os.environ.get("CUPY_CACHE_IN_MEMORY") != "1":
            raise OSError(28, "No space left on device")
        return kernel

    monkeypatch.setenv("CUPY_CACHE_IN_MEMORY", "0")
    device = object.__new__(CupyDevice)
    module = SimpleNamespace(get_function=get_function)
    vars(device).update(_files=FILES, _modules=lambda *_: module)
    with pytest.warns(KernelCacheWarning, match=r"CuPy cannot be kept \(No space left on device\)"):
        assert device._load("count_pixels", Variant()) == "count_pixels"
    assert calls == ["count_pixels"] * 2


def test_a_damaged_entry_of_numba_cuda_is_a_miss(tmp_path: Path) -> None:
    """No kernel can be compiled without a GPU: the entry is damaged before anything is in it."""
    code = """
from pathlib import Path
from kseg_batch.kernels.numba_cuda import count_pixels
class Target:
    def refresh(self): pass
    def codegen(self): return self
    def magic_tuple(self): return ()
cache = count_pixels._cache
index = Path(cache.cache_path, cache._cache_file._index_name)
index.write_bytes(b"no pickle")
first = cache.load_overload((), Target())
print(first, index.read_bytes() != b"no pickle", cache.load_overload((), Target()))
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "None True None\n"
    assert done.stderr.count("KernelCacheWarning: compiled GPU kernels in ") == 1
