"""The `numba-cuda` backend: the kernels of `kernels/numba_cuda.py`, for a driver without a CUDA toolkit."""

from __future__ import annotations

import contextlib
import os
import threading
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from kseg_batch.backends.gpu.device import MAX_BLOCKS, DeviceMemoryError, Variant
from kseg_batch.backends.gpu.library import find_library
from kseg_batch.errors import BackendError, BackendUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import DTypeLike, NDArray

    from kseg_batch.backends.gpu.backend import GpuBackend
    from kseg_batch.backends.gpu.device import Array, Stream
    from kseg_batch.backends.gpu.library import GpuLibrary
    from kseg_batch.backends.gpu.options import GpuOptions

THREADS = 256
CLEAR_BLOCKS = 4096
"""Blocks that fill an array with zeros: enough for any device."""
OUT_OF_MEMORY = 2
"""CUDA_ERROR_OUT_OF_MEMORY of the driver's interface."""


def import_cuda() -> Any:
    """Import `numba.cuda` without its warning of small grids; the switch is read once, at this import.

    A batch of one small image is a small grid: nothing that a user could mend.
    """
    os.environ.setdefault("NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS", "0")
    from numba import cuda

    return cuda


class NumbaDevice:
    """See `kseg_batch.backends.gpu.device.Device`."""

    def __init__(self, index: int, *, max_blocks: int = MAX_BLOCKS, threads: int = THREADS) -> None:
        """Open a device. The simulator, for which a thread is a thread of Python, is fastest with few."""
        self._cuda: Any = import_cuda()
        from kseg_batch.kernels import numba_cuda as kernels

        self._gpu = self._cuda.gpus[index]
        self._entered = threading.local()
        self._kernels = kernels
        self._compiling = threading.Lock()
        self.max_blocks = max_blocks
        self.threads = threads

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """On this device, with Numba's errors in our own words."""
        try:
            self._enter()
            yield
        except BackendError:
            raise
        except Exception as error:  # Numba's own, the driver wrapper's, the compiler's: no root in common
            if getattr(error, "code", None) == OUT_OF_MEMORY or "OUT_OF_MEMORY" in str(error):
                raise DeviceMemoryError("the GPU has no memory left for it") from error
            raise BackendError(f"the GPU failed: {error}") from error

    def _enter(self) -> None:
        """Give this thread the device's context, and leave it: arrays that die later need it to be freed."""
        if not getattr(self._entered, "here", False):
            self._gpu.__enter__()
            self._entered.here = True

    def activate(self) -> None:
        """See `Device.activate`."""
        with self._errors():
            pass

    def free_memory(self) -> int:
        """See `Device.free_memory`."""
        with self._errors():
            return int(self._cuda.current_context().get_memory_info()[0])

    def empty(self, length: int, dtype: DTypeLike) -> Array:
        """See `Device.empty`."""
        with self._errors():
            return self._cuda.device_array(max(1, length), np.dtype(dtype))

    def release(self) -> None:
        """See `Device.release`."""
        with self._errors():
            self._cuda.current_context().memory_manager.deallocations.clear()

    def pinned(self, n_bytes: int) -> NDArray[np.uint8]:
        """See `Device.pinned`."""
        with self._errors():
            block: NDArray[np.uint8] = self._cuda.pinned_array(n_bytes, np.uint8)
            return block

    def stream(self) -> Stream:
        """See `Device.stream`."""
        with self._errors():
            return self._cuda.stream()

    def upload(self, host: NDArray[Any], target: Array, stream: Stream) -> None:
        """See `Device.upload`."""
        with self._errors():
            target.copy_to_device(host, stream=stream)

    def download(self, source: Array, host: NDArray[Any], stream: Stream) -> None:
        """See `Device.download`."""
        with self._errors():
            source.copy_to_host(host, stream=stream)

    def clear(self, target: Array, stream: Stream) -> None:
        """See `Device.clear`."""
        blocks = max(1, min(self.max_blocks, CLEAR_BLOCKS, len(target) // self.threads))
        self.launch("clear", Variant(), (blocks, 1), (target,), stream)

    def launch(
        self,
        kernel: str,
        variant: Variant,
        grid: tuple[int, int],
        args: Sequence[Array | int],
        stream: Stream,
    ) -> None:
        """See `Device.launch`. Variants need nothing: kernels are compiled for the types of arguments."""
        with self._errors(), self._compiling:
            getattr(self._kernels, kernel)[grid, self.threads, stream](*args)

    def wait(self, stream: Stream) -> None:
        """See `Device.wait`."""
        with self._errors():
            stream.synchronize()


def load(options: GpuOptions) -> GpuBackend:
    """The backend on the chosen device, or the reason why it cannot run."""
    return find().open(options)


def find() -> GpuLibrary:
    """Numba's CUDA target, or the reason why it cannot run; no GPU is opened."""
    if find_spec("numba_cuda") is None:
        text = "the package numba-cuda is not installed; Numba's own CUDA target is deprecated, and not used"
        raise BackendUnavailableError(text, installed=False)
    return find_library("numba-cuda", "numba-cuda", _open)


def _open() -> tuple[int, Callable[[int], NumbaDevice]]:
    return len(import_cuda().gpus), NumbaDevice
