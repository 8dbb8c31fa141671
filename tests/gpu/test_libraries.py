"""CuPy and Numba without a GPU: the functions that the devices use exist, and errors are translated."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from kseg_batch.backends.cupy import CupyDevice
from kseg_batch.backends.gpu.device import DeviceMemoryError
from kseg_batch.backends.numba_cuda import NumbaDevice
from kseg_batch.errors import BackendError

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
