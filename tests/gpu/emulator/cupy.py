"""The part of the package cupy that the backend uses, without a GPU: CUDA kernels run on the CPU.

A test makes this module importable as `cupy`. The environment says how many GPUs there are (EMULATED_GPUS),
which of them cannot be opened (BROKEN_GPUS), where compiled kernels are kept (EMULATED_KERNELS), and to which
file each process that opens a GPU is written (OPENED_GPUS).
"""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from kseg_batch.backends.cupy import kernel_folder
from tests.gpu.emulator.library import kernel_library

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike, NDArray

_own = threading.local()


class Runtime:
    """cupy.cuda.runtime."""

    memcpyHostToDevice, memcpyDeviceToHost = 1, 2

    def getDeviceCount(self) -> int:
        return int(os.environ["EMULATED_GPUS"])

    def getDevice(self) -> int:
        return getattr(_own, "device", 0)

    def setDevice(self, index: int) -> None:
        """Open a device, as CUDA 12 does."""
        with Path(os.environ["OPENED_GPUS"]).open("a", encoding="utf-8") as file:
            file.write(f"{os.getpid()} {index}\n")
        if str(index) in os.environ.get("BROKEN_GPUS", "").split(","):
            raise RuntimeError("cudaErrorDevicesUnavailable: the device is busy")
        _own.device = index

    def memGetInfo(self) -> tuple[int, int]:
        return 4 << 30, 8 << 30

    def memcpyAsync(self, target: int, source: int, n_bytes: int, *_: object) -> None:
        ctypes.memmove(target, source, n_bytes)

    def memsetAsync(self, target: int, value: int, n_bytes: int, _: object) -> None:
        ctypes.memset(target, value, n_bytes)


class MemoryPool:
    """cupy.cuda.MemoryPool."""

    def malloc(self, n_bytes: int) -> NDArray[np.uint8]:
        return np.empty(n_bytes, np.uint8)

    def free_all_blocks(self) -> None:
        pass


class Stream:
    """cupy.cuda.Stream: every operation is done at once."""

    ptr = 0

    def __init__(self, *, non_blocking: bool) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def synchronize(self) -> None:
        pass


class ndarray:
    """A one-dimensional array, of which the host sees the address alone."""

    def __init__(self, shape: tuple[int], dtype: DTypeLike, memory: NDArray[np.uint8]) -> None:
        self._values = memory[: shape[0] * np.dtype(dtype).itemsize].view(dtype)
        self.data = SimpleNamespace(ptr=self._values.ctypes.data)
        self.dtype, self.nbytes = self._values.dtype, self._values.nbytes

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, part: slice) -> ndarray:
        values = self._values[part]
        return ndarray((len(values),), self.dtype, values.view(np.uint8))


class RawModule:
    """Kernels, compiled by g++."""

    def __init__(self, *, code: str, options: Sequence[str]) -> None:
        wanted = ("-DMAX_CLUSTERS=32", "-DWIDE_WEIGHTS")
        defines = tuple(option for option in options if option in wanted)
        self._library = kernel_library(Path(os.environ["EMULATED_KERNELS"]), kernel_folder(), defines)

    def get_function(self, kernel: str) -> Any:
        def launch(grid: tuple[int, int], block: tuple[int], args: Sequence[ndarray | np.int64]) -> None:
            values = [arg.data.ptr if isinstance(arg, ndarray) else int(arg) for arg in args]
            sizes = [arg.dtype.itemsize if isinstance(arg, ndarray) else 0 for arg in args]
            self._library.launch(kernel, grid, block[0], "ascending", values, sizes)

        return launch


cuda = SimpleNamespace(
    runtime=Runtime(),
    nvrtc=SimpleNamespace(getVersion=lambda: (12, 9)),
    memory=SimpleNamespace(OutOfMemoryError=MemoryError),
    MemoryPool=MemoryPool,
    Stream=Stream,
    alloc_pinned_memory=bytearray,
)
