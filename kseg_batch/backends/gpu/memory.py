"""The memory of a GPU backend: page-locked host memory, and slots of device memory for batches in turn."""

from __future__ import annotations

import contextlib
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from kseg_batch.backends.gpu.device import DeviceMemoryError
from kseg_batch.errors import BackendError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kseg_batch.backends.gpu.device import Array, Device

ZEROED = ("table", "in_cell")
"""Names of the arrays that the kernels expect to be zero, and leave zero."""


class _Loan:
    """The base of all arrays in a lent block; when the last array is deleted, the block can be lent again."""

    def __init__(self, interface: dict[str, Any]) -> None:
        self.__array_interface__ = interface


class PinnedPool:
    """Blocks of page-locked host memory. Allocation is slow, so a block is reused once no array uses it."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._free: dict[int, list[NDArray[np.uint8]]] = {}
        self._lock = threading.Lock()

    def take(self, n_bytes: int) -> NDArray[np.uint8]:
        """Return (n_bytes,) uint8 with undefined content."""
        size = 1 << max(12, (n_bytes - 1).bit_length())
        with self._lock:
            free = self._free.setdefault(size, [])
            block = free.pop() if free else None
        if block is None:
            block = self._device.pinned(size)
        loan = _Loan(block.__array_interface__)
        weakref.finalize(loan, free.append, block)
        return np.asarray(loan)[:n_bytes]


class Slot:
    """A stream, and the device memory of the batch on this stream."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.stream = device.stream()
        self._arrays: dict[str, Array] = {}

    def reserve(self, needs: dict[str, tuple[int, str]], limit: int) -> dict[str, Array]:
        """Return arrays of the needed lengths and dtypes, in at most `limit` bytes of device memory.

        Arrays grow to powers of two, because batches have all sizes and the device stops while memory is
        freed. If the grown arrays do not fit, all arrays are allocated again, with exactly the needed
        lengths.

        Args:
            needs: The length and the dtype of each array, by name.
            limit: Bytes of device memory that all arrays of the slot may take together.

        Raises:
            DeviceMemoryError: The arrays take more than the free device memory.
        """
        self.device.activate()
        dtypes = {name: np.dtype(dtype) for name, (_, dtype) in needs.items()}
        grown = {
            name: 1 << (length - 1).bit_length()
            for name, (length, _) in needs.items()
            if name not in self._arrays
            or len(self._arrays[name]) < length
            or self._arrays[name].dtype != dtypes[name]
        }
        kept = sum(array.nbytes for name, array in self._arrays.items() if name not in grown)
        grown_bytes = sum(length * dtypes[name].itemsize for name, length in grown.items())
        try:
            if kept + grown_bytes > limit:
                raise DeviceMemoryError("grown arrays would take more than the limit")
            self._allocate(grown, dtypes)
        except DeviceMemoryError:
            self.drop()
            self._allocate({name: length for name, (length, _) in needs.items()}, dtypes)
        return {name: self._arrays[name][:length] for name, (length, _) in needs.items()}

    def _allocate(self, lengths: dict[str, int], dtypes: dict[str, np.dtype[Any]]) -> None:
        outgrown = [name for name in lengths if self._arrays.pop(name, None) is not None]
        if outgrown:
            self.device.release()
        for name, length in lengths.items():
            self._arrays[name] = self.device.empty(length, dtypes[name])
            if name in ZEROED:
                self.device.clear(self._arrays[name], self.stream)

    @property
    def holds_memory(self) -> bool:
        """Whether the slot holds any device memory."""
        return bool(self._arrays)

    def drop(self) -> None:
        """Wait for the queued work, then free all device memory of the slot."""
        with contextlib.suppress(BackendError):
            self.device.wait(self.stream)
        self._arrays.clear()
        with contextlib.suppress(BackendError):  # a lost device cannot free memory
            self.device.release()
