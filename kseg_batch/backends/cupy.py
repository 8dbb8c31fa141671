"""The `cupy` backend: the CUDA C kernels of `kernels/*.cu`, compiled by NVRTC and launched by CuPy."""

from __future__ import annotations

import contextlib
import hashlib
import os
import warnings
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kseg_batch.backends.gpu.device import MAX_BLOCKS, DeviceMemoryError, Variant
from kseg_batch.backends.gpu.library import find_library
from kseg_batch.errors import BackendError, BackendUnavailableError, KernelCacheWarning
from kseg_batch.processes import PRIVATE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import DTypeLike, NDArray

    from kseg_batch.backends.gpu.backend import GpuBackend
    from kseg_batch.backends.gpu.device import Array, Stream
    from kseg_batch.backends.gpu.library import GpuLibrary
    from kseg_batch.backends.gpu.options import GpuOptions

FILES = {
    "count_pixels": "histogram.cu",
    "number_cells": "histogram.cu",
    "drain_table": "histogram.cu",
    "bound_colors": "seeding.cu",
    "number_cubes": "seeding.cu",
    "sum_cubes": "seeding.cu",
    "average_cubes": "seeding.cu",
    "start_centers": "seeding.cu",
    "improve_centers": "seeding.cu",
    "converge_centers": "lloyd.cu",
    "label_pixels": "labels.cu",
}
"""File of each kernel, in the folder of the kernels."""

THREADS = 512
"""Default number of threads per block."""
IN_MEMORY = "CUPY_CACHE_IN_MEMORY"
"""Environment variable that CuPy reads before it compiles: whether to use no folder."""
OUT_OF_MEMORY = 2
"""cudaErrorMemoryAllocation, and CUDA_ERROR_OUT_OF_MEMORY of the driver's interface."""


def kernel_folder() -> Path:
    """Return the folder of the `.cu` files."""
    return files("kseg_batch.kernels") / ""  # type: ignore[return-value] # a folder: never zipped


def compile_options(variant: Variant) -> tuple[str, ...]:
    """Return the options of NVRTC for a variant of the kernels."""
    options = ["-std=c++17", f"-I{kernel_folder()}", f"-DMAX_CLUSTERS={variant.max_clusters}"]
    if variant.wide:
        options.append("-DWIDE_WEIGHTS")
    return tuple(options)


def _headers_hash() -> str:
    """Return a hash of the headers, which CuPy's cache of compiled kernels ignores."""
    headers = sorted(kernel_folder().glob("*.cuh"))
    return hashlib.sha256(b"".join(header.read_bytes() for header in headers)).hexdigest()[:16]


class CupyDevice:
    """A GPU used through CuPy; see `kseg_batch.backends.gpu.device.Device`."""

    def __init__(
        self,
        cupy: Any,
        index: int,
        *,
        files: Mapping[str, str | Path] = FILES,
        options: tuple[str, ...] = (),
        threads: int = THREADS,
    ) -> None:
        """Open a device.

        Args:
            cupy: The module cupy.
            index: CUDA number of the device.
            files: File of each kernel: a name in the folder of the kernels, or a path.
            options: Options of the compiler in addition to `compile_options`.
            threads: Threads per block, a power of two.
        """
        self._cupy = cupy
        self._files = files
        self._options = options
        self._index = index
        self._pool = cupy.cuda.MemoryPool()
        self._modules = cache(self._open_module)
        self._kernels = cache(self._load)
        self.max_blocks = MAX_BLOCKS
        self.threads = threads

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Run the body on this device, and turn errors of CuPy into a BackendError."""
        try:
            with self._current():
                yield
        except BackendError:
            raise
        except self._cupy.cuda.memory.OutOfMemoryError as error:
            raise DeviceMemoryError("the GPU has no memory left") from error
        except Exception as error:
            if getattr(error, "status", None) == OUT_OF_MEMORY:
                raise DeviceMemoryError("the GPU has no memory left") from error
            raise BackendError(f"the GPU failed: {error}") from error

    @contextlib.contextmanager
    def _current(self) -> Iterator[None]:
        """Run the body with this as the current device of the thread, then restore the previous device.

        Device 0 is not restored: it is CUDA's default for a thread that has chosen no device, and restoring
        it would open device 0.
        """
        runtime = self._cupy.cuda.runtime
        before = runtime.getDevice()
        runtime.setDevice(self._index)
        try:
            yield
        finally:
            if before != 0:
                runtime.setDevice(before)

    def activate(self) -> None:
        """See `Device.activate`: nothing to do, because an array of CuPy knows its device."""

    def free_memory(self) -> int:
        """See `Device.free_memory`."""
        with self._errors():
            free: int = self._cupy.cuda.runtime.memGetInfo()[0]
            return free

    def empty(self, length: int, dtype: DTypeLike) -> Array:
        """See `Device.empty`."""
        with self._errors():
            memory = self._pool.malloc(max(1, length) * np.dtype(dtype).itemsize)
            return self._cupy.ndarray((length,), dtype, memory)

    def release(self) -> None:
        """See `Device.release`."""
        with self._errors():
            self._pool.free_all_blocks()

    def pinned(self, n_bytes: int) -> NDArray[np.uint8]:
        """See `Device.pinned`."""
        with self._errors():
            return np.frombuffer(self._cupy.cuda.alloc_pinned_memory(n_bytes), np.uint8, n_bytes)

    def stream(self) -> Stream:
        """See `Device.stream`."""
        with self._errors():
            return self._cupy.cuda.Stream(non_blocking=True)

    def upload(self, host: NDArray[Any], target: Array, stream: Stream) -> None:
        """See `Device.upload`."""
        runtime = self._cupy.cuda.runtime
        with self._errors():
            kind = runtime.memcpyHostToDevice
            runtime.memcpyAsync(target.data.ptr, host.ctypes.data, host.nbytes, kind, stream.ptr)

    def download(self, source: Array, host: NDArray[Any], stream: Stream) -> None:
        """See `Device.download`."""
        runtime = self._cupy.cuda.runtime
        with self._errors():
            kind = runtime.memcpyDeviceToHost
            runtime.memcpyAsync(host.ctypes.data, source.data.ptr, host.nbytes, kind, stream.ptr)

    def clear(self, target: Array, stream: Stream) -> None:
        """See `Device.clear`."""
        with self._errors():
            self._cupy.cuda.runtime.memsetAsync(target.data.ptr, 0, target.nbytes, stream.ptr)

    def launch(
        self,
        kernel: str,
        variant: Variant,
        grid: tuple[int, int],
        args: Sequence[Array | int],
        stream: Stream,
    ) -> None:
        """See `Device.launch`."""
        typed = tuple(np.int64(arg) if isinstance(arg, int) else arg for arg in args)
        with self._errors(), stream:
            self._kernels(kernel, variant)(grid, (self.threads,), typed)

    def wait(self, stream: Stream) -> None:
        """See `Device.wait`."""
        with self._errors():
            stream.synchronize()

    def _load(self, kernel: str, variant: Variant) -> Any:
        module = self._modules(self._files[kernel], variant)
        try:
            return module.get_function(kernel)
        except OSError as error:  # CuPy cannot write to its cache
            _keep_in_memory(error)
            return module.get_function(kernel)

    def _open_module(self, file: str | Path, variant: Variant) -> Any:
        options = (*compile_options(variant), *self._options, f"-DHEADERS_{_headers_hash()}")
        return self._cupy.RawModule(code=(kernel_folder() / file).read_text(), options=options)


def load(options: GpuOptions) -> GpuBackend:
    """Return the backend on the chosen GPU.

    Raises:
        BackendUnavailableError: CuPy or the GPU does not work.
        OptionError: There is no GPU with the number in the options.
    """
    return find().open(options)


def find() -> GpuLibrary:
    """Return CuPy as the library of this backend; no GPU is opened.

    Raises:
        BackendUnavailableError: CuPy is not installed, or does not work.
    """
    if find_spec("cupy") is None:
        raise BackendUnavailableError("the package cupy is not installed", installed=False)
    return find_library("cupy", "CuPy", _open)


def _open() -> tuple[int, Callable[[int], CupyDevice]]:
    _find_cache()
    import cupy

    cupy.cuda.nvrtc.getVersion()  # CuPy loads NVRTC at the first call
    return cupy.cuda.runtime.getDeviceCount(), lambda index: CupyDevice(cupy, index)


def _find_cache() -> None:
    """Let CuPy keep kernels in the private folder of the run, or in memory, if its folder cannot be made.

    CuPy makes the folder of its cache, and raises an OSError where that fails: when CuPy is imported or when
    it compiles, according to its version. A folder that exists is left to CuPy, which reads a read-only one.
    """
    folder = Path(os.environ.get("CUPY_CACHE_DIR") or Path("~/.cupy/kernel_cache").expanduser())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: the user has no name and no HOME
        private = os.environ.get(PRIVATE_FOLDER)
        os.environ["CUPY_CACHE_DIR"] = private or str(kernel_folder())
        if not private:
            os.environ[IN_MEMORY] = "1"
        _warn_of_loss(error)


def _keep_in_memory(error: OSError) -> None:
    """Let CuPy use no folder from now on, unless it uses none already: then raise the error again."""
    if os.environ.get(IN_MEMORY, "0") not in ("", "0"):
        raise error
    os.environ[IN_MEMORY] = "1"
    _warn_of_loss(error)


def _warn_of_loss(error: Exception) -> None:
    reason = getattr(error, "strerror", None) or error
    warnings.warn(
        f"the compiled GPU kernels of CuPy cannot be kept ({reason}): they are compiled for this run alone; "
        "set CUPY_CACHE_DIR to another folder",
        KernelCacheWarning,
        stacklevel=2,
    )
