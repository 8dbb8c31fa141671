"""A `Device` without a GPU: NumPy arrays between fences, lazy streams, and the CUDA kernels on the CPU."""

from __future__ import annotations

import ctypes
import functools
import importlib.resources
import mmap
import os
import signal
import threading
import time
import weakref
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kseg_batch.backends.gpu.backend import GpuBackend
from kseg_batch.backends.gpu.device import DeviceMemoryError, Variant
from kseg_batch.errors import BackendError, BackendUnavailableError
from tests.gpu.emulator.library import EmulationError, KernelFault, Order, kernel_library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import DTypeLike, NDArray

GPU_MEMORY = 4 << 30
"""Default memory of an emulated GPU, in bytes."""
MAX_THREADS = 512
ALIGNMENT = 16
"""Bytes of the widest load. CUDA aligns arrays to 256; here the fence is to be near the end."""
FILL = 0xA5
"""The content of memory before the first write."""
FENCE = 1 << 20
"""Bytes before and after an array, in whole pages; a kernel that touches them is ended."""


@dataclass(slots=True)
class EmulatedStream:
    """Copies and launches that are queued until `wait`."""

    operations: list[Callable[[], None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Block:
    """The place of an array between two fences, so near the second fence that a read past the array faults.

    The gaps between fences and array, at most a page before and 15 bytes after the array, are searched for
    writes after each launch.
    """

    whole: weakref.ref[NDArray[np.uint8]]
    address: int
    """Address of the first fence."""
    begin: int
    """Offset of the array from the first fence."""
    end: int
    length: int
    """Bytes of array, gaps and fences together."""

    def trespass(self) -> str | None:
        """The place of a write beside the array; None without such a write."""
        whole = self.whole()
        if whole is not None:
            before = np.flatnonzero(whole[FENCE : self.begin] != FILL)
            if len(before):
                return f"{self.begin - FENCE - int(before[0])} bytes before the start"
            after = np.flatnonzero(whole[self.end : self.length - FENCE] != FILL)
            if len(after):
                return f"{int(after[0])} bytes after the end"
        return None

    def place_of(self, address: int) -> str | None:
        """The place of an address beside the array; None for an address beyond the fences."""
        offset = address - self.address
        if not 0 <= offset < self.length:
            return None
        if offset < self.begin:
            return f"{self.begin - offset} bytes before the start"
        return f"{offset - self.end} bytes after the end"


class EmulatedDevice:
    """Run `kernels/*.cu`, compiled by g++; undefined behaviour raises an EmulationError.

    Arrays are NumPy arrays, which host code must not read. No queued operation runs before `wait`, so host
    code that forgets to wait, or uses host memory again too early, gets wrong results.
    Memory is freed when an array is deleted and no queued operation uses the array.

    Args:
        cache: Folder for compiled kernels.
        kernels: Folder of the .cu files, those of the package by default.
        max_blocks: See `Device`.
        threads: Threads of a block.
        memory: Memory of the device, in bytes.
        order: Order in which blocks and threads run; can be changed at any time.
        defines: Macros for the compiler beside the variant's.

    Attributes:
        most_used: Peak memory of all arrays, in bytes.
    """

    def __init__(
        self,
        cache: Path,
        *,
        kernels: Path | None = None,
        max_blocks: int = 3,
        threads: int = 32,
        memory: int = 1 << 30,
        order: Order = "ascending",
        defines: tuple[str, ...] = (),
    ) -> None:
        if threads not in [1 << i for i in range(MAX_THREADS.bit_length())]:
            raise ValueError(f"threads must be a power of two, {MAX_THREADS} at most, not {threads}")
        self.max_blocks = max_blocks
        self.threads = threads
        self.order: Order = order
        self.atomics: Counter[str] = Counter()
        """By kernel: the number of atomic operations outside of shared memory."""
        self._cache = cache
        self._defines = defines
        self._kernels = kernels or Path(str(importlib.resources.files("kseg_batch.kernels")))
        self._memory = self._free = memory
        self.most_used = 0
        self._blocks: dict[int, _Block] = {}  # by the id of the array that spans all of its pages
        self._allocations_left: int | None = None
        self._lock = threading.RLock()  # re-entrant: an array may die in the middle of any statement

    def fail_at(self, n: int) -> None:
        """Let the n-th allocation from now fail for lack of memory, n = 1 the next allocation."""
        self._allocations_left = n

    def activate(self) -> None:
        """Nothing to do."""

    def free_memory(self) -> int:
        """The bytes that no array has."""
        return self._free

    def empty(self, length: int, dtype: DTypeLike) -> NDArray[Any]:
        """An array full of garbage."""
        n_bytes = length * np.dtype(dtype).itemsize
        with self._lock:
            if self._allocations_left is not None:
                self._allocations_left -= 1
            if self._allocations_left == 0 or n_bytes > self._free:
                raise DeviceMemoryError(f"{n_bytes} bytes are wanted, {self._free} are free.")
            self._free -= n_bytes
            self.most_used = max(self.most_used, self._memory - self._free)
        padded = -(-n_bytes // ALIGNMENT) * ALIGNMENT
        length = -(-padded // mmap.PAGESIZE) * mmap.PAGESIZE + 2 * FENCE
        whole = np.frombuffer(mmap.mmap(-1, length, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8)
        whole[FENCE:-FENCE] = FILL
        begin, address = length - FENCE - padded, whole.ctypes.data
        _forbid(address)
        _forbid(address + length - FENCE)
        with self._lock:
            self._blocks[id(whole)] = _Block(weakref.ref(whole), address, begin, begin + n_bytes, length)
        weakref.finalize(whole, self._give_back, id(whole), n_bytes).atexit = False
        return whole[begin : begin + n_bytes].view(dtype)

    def _give_back(self, key: int, n_bytes: int) -> None:
        with self._lock:
            self._free += n_bytes
            del self._blocks[key]

    def release(self) -> None:
        """Nothing to do: memory is given back as arrays are deleted."""

    def pinned(self, n_bytes: int) -> NDArray[np.uint8]:
        """Ordinary memory, full of garbage."""
        return np.full(n_bytes, FILL, np.uint8)

    def stream(self) -> EmulatedStream:
        """A queue that only `wait` runs."""
        return EmulatedStream()

    def upload(self, host: NDArray[Any], target: NDArray[Any], stream: EmulatedStream) -> None:
        """Queue a copy, which reads the host array when run."""
        self._check_copy(host, target)
        stream.operations.append(functools.partial(np.copyto, target, host))

    def download(self, source: NDArray[Any], host: NDArray[Any], stream: EmulatedStream) -> None:
        """Queue a copy, which writes the host array when run."""
        self._check_copy(host, source)
        stream.operations.append(functools.partial(np.copyto, host, source))

    def clear(self, target: NDArray[Any], stream: EmulatedStream) -> None:
        """Queue zeros."""
        self._block_of(target)
        stream.operations.append(functools.partial(target.fill, 0))

    def launch(
        self,
        kernel: str,
        variant: Variant,
        grid: tuple[int, int],
        args: Sequence[NDArray[Any] | int],
        stream: EmulatedStream,
    ) -> None:
        """Queue a kernel."""
        if min(grid) < 1 or grid[1] > 65535:
            raise EmulationError(f"{kernel} cannot have a grid of {grid}")
        for arg in args:
            if isinstance(arg, np.ndarray):
                self._block_of(arg)
        stream.operations.append(functools.partial(self._run, kernel, variant, grid, tuple(args)))

    def wait(self, stream: EmulatedStream) -> None:
        """Run the queue in order. Drop the rest after an error. Raise EmulationError."""
        operations, stream.operations = stream.operations, []
        while operations:
            operations.pop(0)()

    def compile(self, variant: Variant) -> None:
        """Compile all kernels for a variant. Raises EmulationError with g++'s messages, warnings too."""
        kernel_library(self._cache, self._kernels, (*_defines(variant), *self._defines))

    def _run(
        self, kernel: str, variant: Variant, grid: tuple[int, int], args: tuple[NDArray[Any] | int, ...]
    ) -> None:
        library = kernel_library(self._cache, self._kernels, (*_defines(variant), *self._defines))
        arrays = {i: arg for i, arg in enumerate(args) if isinstance(arg, np.ndarray)}
        values = [arg.ctypes.data if isinstance(arg, np.ndarray) else arg for arg in args]
        sizes = [arrays[i].itemsize if i in arrays else 0 for i in range(len(args))]
        with self._lock:
            blocks = dict(self._blocks)
        numbers = {id(_owner(array)): f"argument {i}" for i, array in arrays.items()}
        try:
            self.atomics[kernel] += library.launch(kernel, grid, self.threads, self.order, values, sizes)
        except KernelFault as fault:
            for key, block in blocks.items():
                if fault.address is not None and (place := block.place_of(fault.address)):
                    name = numbers.get(key, "an array that is no argument")
                    raise EmulationError(f"{fault}: {place} of {name}") from fault
            raise
        for key, block in blocks.items():
            if place := block.trespass():
                name = numbers.get(key, "an array that is no argument")
                raise EmulationError(f"kernel {kernel} writes {place} of {name}")

    def _block_of(self, array: NDArray[Any]) -> _Block:
        block = self._blocks.get(id(_owner(array)))
        if block is None:
            raise EmulationError("an array is used that is not on this device")
        if not array.flags.c_contiguous or array.ndim != 1:
            raise EmulationError("device arrays must be contiguous and one-dimensional")
        return block

    def _check_copy(self, host: NDArray[Any], on_device: NDArray[Any]) -> None:
        self._block_of(on_device)
        if not host.flags.c_contiguous:
            raise EmulationError("copies need a contiguous array on the host")
        if host.shape != on_device.shape or host.dtype != on_device.dtype:
            raise EmulationError(
                f"{host.shape} {host.dtype} on the host, {on_device.shape} {on_device.dtype} on the device"
            )


def _defines(variant: Variant) -> tuple[str, ...]:
    narrow = (f"-DMAX_CLUSTERS={variant.max_clusters}",) if variant.max_clusters != 256 else ()
    return (*narrow, "-DWIDE_WEIGHTS") if variant.wide else narrow


def _owner(array: NDArray[Any]) -> NDArray[Any]:
    """The array that owns the memory of a view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _forbid(address: int) -> None:
    """Make a fence: its pages fault when read or written."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(FENCE), 0):  # 0: PROT_NONE
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class FailingDevice(EmulatedDevice):
    """A device that is lost after a number of launches."""

    launches = 0

    def launch(self, *args: Any) -> None:
        """Run a kernel, until the device is lost."""
        self.launches -= 1
        if self.launches < 0:
            raise BackendError("the GPU failed: it has fallen off the bus")
        super().launch(*args)


class SealedDevice(EmulatedDevice):
    """A device that fails where a kernel would be compiled after `seal`, while images wait."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._compiled: set[tuple[str, Variant]] = set()
        self._sealed = False

    def seal(self) -> None:
        """Let nothing more be compiled."""
        self._sealed = True

    def launch(self, kernel: str, variant: Variant, *rest: Any) -> None:
        """Run a kernel that is compiled, or may still be compiled."""
        if self._sealed and (kernel, variant) not in self._compiled:
            raise BackendError(f"{kernel} for {variant} is compiled while an image waits")
        self._compiled.add((kernel, variant))
        super().launch(kernel, variant, *rest)


def emulated_gpu(folder: Path, memory: int = GPU_MEMORY) -> GpuBackend:
    """The cupy backend's host program and kernels on an emulated device."""
    return GpuBackend("cupy", EmulatedDevice(folder, memory=memory), memory)


def failing_gpu(folder: Path, launches: int) -> GpuBackend:
    """The same backend on a device that is lost after some launches."""
    device = FailingDevice(folder, memory=GPU_MEMORY)
    device.launches = launches
    return GpuBackend("cupy", device, GPU_MEMORY)


def sealed_gpu(folder: Path) -> GpuBackend:
    """The same backend on a device that compiles nothing after `warm_up`."""
    device = SealedDevice(folder, memory=GPU_MEMORY)
    gpu = GpuBackend("cupy", device, GPU_MEMORY)
    warm_up = gpu.warm_up

    def warm_up_and_seal(ks: Iterable[int] = (2,)) -> None:
        warm_up(ks)
        device.seal()

    gpu.warm_up = warm_up_and_seal  # type: ignore[method-assign]
    return gpu


def missing_gpu() -> GpuBackend:
    """Raise, as where no device is found."""
    raise BackendUnavailableError("there is no such device", installed=True)


def dying_gpu() -> GpuBackend:
    """Crash the process, as a driver may."""
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError


def endless_gpu() -> GpuBackend:
    """Hang while the device is opened."""
    time.sleep(1000)
    raise AssertionError


def mistaken_gpu() -> GpuBackend:
    """Raise an error that only a mistake in the program raises."""
    raise ZeroDivisionError


def hanging_gpu(folder: Path) -> GpuBackend:
    """The same backend on a device that hangs at the first batch."""
    gpu = emulated_gpu(folder)
    gpu.warm_up = lambda *_: None  # type: ignore[method-assign]
    gpu.segment_batches = lambda _: time.sleep(1000)  # type: ignore[assignment, return-value]
    return gpu
