"""`segment` on a given number of threads: the one place where the benchmarks say how that is asked for."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from kseg_batch import segment
from kseg_batch.machine import usable_cores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from kseg_batch import Segmentation

SELECTABLE = "threads" in inspect.signature(segment).parameters
"""Whether `segment` lets one choose; if not, it takes one thread."""


def thread_counts() -> tuple[int, ...]:
    """What there is to measure: one thread, and as many as there are usable cores."""
    return tuple(sorted({1, usable_cores()})) if SELECTABLE else (1,)


def segment_on(threads: int, rgb: NDArray[np.uint8], k: int) -> Segmentation:
    """`segment` an (H, W, 3) uint8 image with the numba backend, on one of `thread_counts`."""
    chosen: dict[str, Any] = {"threads": threads} if SELECTABLE else {}
    return segment(rgb, k, backend="numba", **chosen)
