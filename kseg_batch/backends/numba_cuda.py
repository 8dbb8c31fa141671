"""The `numba-cuda` backend: the kernels of `kernels/numba_cuda.py`, compiled and launched by numba-cuda."""

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
"""Default number of threads per block."""
CLEAR_BLOCKS = 4096
"""Most blocks of the kernel that fills an array with zeros: enough for any device."""
OUT_OF_MEMORY = 2
"""CUDA_ERROR_OUT_OF_MEMORY of the driver's interface."""


def import_cuda() -> Any:
    """Import `numba.cuda` with its warning about small grids switched off; Numba reads the switch at import.

    A batch of one small image has a small grid, and the user cannot change that.
    """
    os.environ.setdefault("NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS", "0")
    from numba import cuda

    return cuda


class NumbaDevice:
    """A GPU used through numba-cuda; see `kseg_batch.backends.gpu.device.Device`."""

    def __init__(self, index: int, *, max_blocks: int = MAX_BLOCKS, threads: int = THREADS) -> None:
        """Open a device.

        Args:
            index: CUDA number of the device.
            max_blocks: Most blocks along the x axis of a grid.
            threads: Threads per block, a power of two. In Numba's CUDA simulator, each is a thread of Python,
                so that a small number is fastest.
        """
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
        """Run the body on this device, and turn errors of Numba into a BackendError."""
        try:
            self._enter()
            yield
        except BackendError:
            raise
        except (
            Exception
        ) as error:  # errors of Numba, of the driver and of the compiler have no common base class
            if getattr(error, "code", None) == OUT_OF_MEMORY or "OUT_OF_MEMORY" in str(error):
                raise DeviceMemoryError("the GPU has no memory left") from error
            raise BackendError(f"the GPU failed: {error}") from error

    def _enter(self) -> None:
        """Push the context of the device on this thread for good: freeing arrays later needs the context."""
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
        """See `Device.launch`. The variant is ignored: Numba compiles kernels for the types of arguments."""
        with self._errors(), self._compiling:
            getattr(self._kernels, kernel)[grid, self.threads, stream](*args)

    def wait(self, stream: Stream) -> None:
        """See `Device.wait`."""
        with self._errors():
            stream.synchronize()


def load(options: GpuOptions) -> GpuBackend:
    """Return the backend on the chosen GPU.

    Raises:
        BackendUnavailableError: numba-cuda or the GPU does not work.
        OptionError: There is no GPU with the number in the options.
    """
    return find().open(options)


def find() -> GpuLibrary:
    """Return numba-cuda as the library of this backend; no GPU is opened.

    Raises:
        BackendUnavailableError: numba-cuda is not installed, or does not work.
    """
    if find_spec("numba_cuda") is None:
        text = "the package numba-cuda is not installed; Numba's own CUDA target is deprecated, and not used"
        raise BackendUnavailableError(text, installed=False)
    return find_library("numba-cuda", "numba-cuda", _open)


def _open() -> tuple[int, Callable[[int], NumbaDevice]]:
    return len(import_cuda().gpus), NumbaDevice
