"""The interface to a GPU: memory, streams, copies and launches. CuPy and Numba each implement it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from kseg_batch.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import DTypeLike, NDArray

Array = Any
"""A one-dimensional array on the device, of the type of the library. Such an array can be sliced."""

Stream = Any
"""A queue of copies and launches that run in order, concurrently with other streams."""

MAX_BLOCKS = (1 << 31) - 1
"""Most blocks along the x axis of a grid, on every CUDA device."""


class DeviceMemoryError(BackendError):
    """The device has not enough free memory."""


@dataclass(frozen=True, slots=True)
class Variant:
    """The constants for which a kernel is compiled."""

    max_clusters: int = 256
    """The greatest k of the batch: 32 or 256."""
    wide: bool = False
    """Whether pixel counts have 64 bits instead of 32."""


class Device(Protocol):
    """One GPU, used through one library. Methods may be called from several threads.

    Methods with a stream queue their work, and do not wait until it is done. Errors of the library are raised
    as a `BackendError`, and a lack of memory as a `DeviceMemoryError`.
    """

    max_blocks: int
    """Most blocks along the x axis of a grid; with more work, each thread of a kernel loops."""
    threads: int
    """Threads per block: a power of two, 512 at most."""

    def activate(self) -> None:
        """Make this the current device of the calling thread, so that arrays can be sliced or deleted."""

    def free_memory(self) -> int:
        """Return the bytes of device memory that are free now."""

    def empty(self, length: int, dtype: DTypeLike) -> Array:
        """Return a new array with undefined content.

        Raises:
            DeviceMemoryError: The device has not enough free memory.
        """

    def release(self) -> None:
        """Return the memory of deleted arrays to the driver."""

    def pinned(self, n_bytes: int) -> NDArray[np.uint8]:
        """Return (n_bytes,) uint8 page-locked host memory, from which the device copies directly."""

    def stream(self) -> Stream:
        """Return a new stream."""

    def upload(self, host: NDArray[Any], target: Array, stream: Stream) -> None:
        """Copy a contiguous host array to a device array of the same length and dtype."""

    def download(self, source: Array, host: NDArray[Any], stream: Stream) -> None:
        """Copy a device array to a contiguous host array of the same length and dtype."""

    def clear(self, target: Array, stream: Stream) -> None:
        """Fill a device array with zeros."""

    def launch(
        self,
        kernel: str,
        variant: Variant,
        grid: tuple[int, int],
        args: Sequence[Array | int],
        stream: Stream,
    ) -> None:
        """Queue a kernel of `kernels/*.cu`, or its twin in `kernels/numba_cuda.py`, with blocks of `threads`.

        Integers among the arguments are passed as int64.
        """

    def wait(self, stream: Stream) -> None:
        """Wait until everything queued on the stream is done."""
