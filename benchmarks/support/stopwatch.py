"""Timing of calls in this process."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """Return the wall time of a call, in seconds, and its result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def median_seconds(
    call: Callable[[], object], repeat: int, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return the median time of `repeat` calls, in seconds. The caller does the warm-up.

    Args:
        call: The work to time.
        repeat: Number of timed calls.
        clock: Wall time by default; `time.process_time` or `time.thread_time` for processor time.
    """
    seconds = []
    for _ in range(repeat):
        start = clock()
        call()
        seconds.append(clock() - start)
    return statistics.median(seconds)
