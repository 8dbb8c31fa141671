"""The memory of a GPU backend: page-locked on the host, and slots on the device that batches take in turn."""

from __future__ import annotations

import contextlib
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from kseg_batch.backends.gpu.device import DeviceMemoryError
from kseg_batch.backends.gpu.layout import total_bytes
from kseg_batch.errors import BackendError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kseg_batch.backends.gpu.device import Array, Device

ZEROED = ("table", "in_cell")
"""Arrays that the kernels expect zeroed and leave zeroed."""


class _Loan:
    """What an array in a lent block has for its base; views of the array keep it alive."""

    def __init__(self, interface: dict[str, Any]) -> None:
        self.__array_interface__ = interface


class PinnedPool:
    """Page-locked host memory, which is slow to get, kept for reuse when the arrays in it are gone."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._free: dict[int, list[NDArray[np.uint8]]] = {}
        self._lock = threading.Lock()

    def take(self, n_bytes: int) -> NDArray[np.uint8]:
        """(n_bytes,) uint8 of any content."""
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
    """A stream, and the device memory of the batch that is on it."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.stream = device.stream()
        self._arrays: dict[str, Array] = {}

    def reserve(self, needs: dict[str, tuple[int, str]], limit: int) -> dict[str, Array]:
        """Arrays of at least the lengths asked for, in at most `limit` bytes of device memory.

        They grow by powers of two, because batches come in all sizes and the device stands still while memory
        is given back. Where that would be too much, all are made anew, just as long as they have to be.

        Raises:
            DeviceMemoryError: They take more than the limit, or the device has not got them.
        """
        if (n_bytes := total_bytes(needs)) > limit:
            raise DeviceMemoryError(
                f"the image needs {n_bytes / 1e6:.0f} MB of GPU memory, and may use {limit / 1e6:.0f} MB"
            )
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
    def full(self) -> bool:
        """Whether it has any memory."""
        return bool(self._arrays)

    def drop(self) -> None:
        """Give all memory back, when what is queued no longer needs it."""
        with contextlib.suppress(BackendError):
            self.device.wait(self.stream)
        self._arrays.clear()
        with contextlib.suppress(BackendError):  # of a device that is lost, nothing can be given back
            self.device.release()
