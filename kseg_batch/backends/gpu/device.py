"""What the GPU backends need of a device: memory, streams, copies and launches. CuPy and Numba provide it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from kseg_batch.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import DTypeLike, NDArray

Array = Any
"""A one-dimensional array on the device, of the library that the device belongs to; it can be sliced."""

Stream = Any
"""A queue of copies and launches that run one after the other, beside those of other streams."""

MAX_BLOCKS = (1 << 31) - 1
"""Most blocks in a row of a grid, on every CUDA device."""


class DeviceMemoryError(BackendError):
    """There is not enough memory on the device."""


@dataclass(frozen=True, slots=True)
class Variant:
    """For what a kernel is compiled."""

    max_clusters: int = 256
    """The greatest k of the batch: 32 or 256."""
    wide: bool = False
    """Whether pixel counts have 64 bits instead of 32."""


class Device(Protocol):
    """One GPU, seen by one library. Methods may be called from several threads.

    What runs on a stream is queued and not waited for. Errors of the library come out as a `BackendError`, a
    lack of memory as a `DeviceMemoryError`.
    """

    max_blocks: int
    """Most blocks in a row of a grid; where there is more work, the kernels go round."""
    threads: int
    """Threads of a block: a power of two, 512 at most."""

    def activate(self) -> None:
        """Make this the device of the calling thread, where arrays are to be sliced or deleted."""

    def free_memory(self) -> int:
        """Bytes that can be had on the device now."""

    def empty(self, length: int, dtype: DTypeLike) -> Array:
        """An array with any content. Raises DeviceMemoryError."""

    def release(self) -> None:
        """Give the memory of deleted arrays back to the driver."""

    def pinned(self, n_bytes: int) -> NDArray[np.uint8]:
        """(n_bytes,) host memory that copies need not go around."""

    def stream(self) -> Stream:
        """A new stream."""

    def upload(self, host: NDArray[Any], target: Array, stream: Stream) -> None:
        """Copy a contiguous host array to a device array of the same length and dtype."""

    def download(self, source: Array, host: NDArray[Any], stream: Stream) -> None:
        """Copy a device array to a contiguous host array of the same length and dtype."""

    def clear(self, target: Array, stream: Stream) -> None:
        """Fill with zeros."""

    def launch(
        self,
        kernel: str,
        variant: Variant,
        grid: tuple[int, int],
        args: Sequence[Array | int],
        stream: Stream,
    ) -> None:
        """Run a kernel of `kernels/*.cu`, or its twin in `kernels/numba_cuda.py`, with blocks of `threads`.

        Integers among the arguments are 64 bits wide.
        """

    def wait(self, stream: Stream) -> None:
        """Wait until all that was queued on the stream is done."""
