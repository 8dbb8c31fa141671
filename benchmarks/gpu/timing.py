"""What recorded operations tell: the spans of batches, the kernels' shares, how long the GPU was busy."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.gpu.recording_device import FIRST_KERNEL, LAST_KERNEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.gpu.recording_device import Operation

STEPS = {
    "count_pixels": "histogram",
    "number_cells": "histogram",
    "drain_table": "histogram",
    "bound_colors": "points",
    "number_cubes": "points",
    "sum_cubes": "points",
    "average_cubes": "points",
    "start_centers": "seeding",
    "improve_centers": "seeding",
    "converge_centers": "converging",
    "label_pixels": "labels",
}
"""The step of the algorithm that each kernel belongs to."""


class MeasurementError(Exception):
    """What was recorded is not what the host program was expected to do."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Many measurements of one thing, in ms."""

    median: float
    least: float
    q1: float
    """A quarter of them are below."""
    q3: float
    """A quarter of them are above."""
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Sum up at least one value."""
        if not values:
            raise MeasurementError("nothing was measured")
        q1, median, q3 = np.percentile(values, (25, 50, 75)).tolist()
        return cls(median, min(values), q1, q3, len(values))


def batches_of(operations: Sequence[Operation], n_batches: int) -> list[list[Operation]]:
    """Divide what was queued into batches; each begins where a download is followed by something else.

    A batch that did not fit into memory was queued in parts, as many for each.

    Raises:
        MeasurementError: The parts cannot be divided evenly.
    """
    parts: list[list[Operation]] = []
    before = "download"
    for operation in operations:
        if before == "download" and operation.kind != "download":
            parts.append([])
        parts[-1].append(operation)
        before = operation.kind
    if not parts or len(parts) % n_batches:
        raise MeasurementError(f"{n_batches} batches were queued in {len(parts)} parts")
    each = len(parts) // n_batches
    return [list(chain.from_iterable(parts[i : i + each])) for i in range(0, len(parts), each)]


def kernels_span(batch: Iterable[Operation]) -> float:
    """From a batch's first launch to the end of its last, in ms.

    Raises:
        MeasurementError: They were not recorded.
    """
    operations = list(batch)
    starts = [op.start for op in operations if op.name == FIRST_KERNEL and op.start is not None]
    ends = [op.end for op in operations if op.name == LAST_KERNEL and op.end is not None]
    if not starts or not ends:
        raise MeasurementError(f"no launch of {FIRST_KERNEL} or of {LAST_KERNEL} was recorded")
    return max(ends) - min(starts)


def span(batch: Iterable[Operation]) -> tuple[float, float]:
    """When the first operation of a batch began and the last one ended, in ms."""
    operations = list(batch)
    starts = [op.start for op in operations if op.start is not None]
    ends = [op.end for op in operations if op.end is not None]
    if not starts or not ends:
        raise MeasurementError("neither begin nor end of a batch was recorded")
    return min(starts), max(ends)


def kernel_times(batch: Iterable[Operation]) -> dict[str, float]:
    """The time of each kernel of a batch, in ms."""
    times: dict[str, float] = defaultdict(float)
    for op in batch:
        if op.kind == "launch" and op.start is not None and op.end is not None:
            times[op.name] += op.end - op.start
    return dict(times)


def step_shares(kernels: dict[str, float]) -> dict[str, float]:
    """The share of each step of the algorithm in the time of all kernels."""
    total = sum(kernels.values())
    shares: dict[str, float] = defaultdict(float)
    for kernel, time in kernels.items():
        shares[STEPS.get(kernel, "other")] += time / total if total else 0.0
    return dict(shares)


def busy(operations: Iterable[Operation]) -> float:
    """How long at least one of the operations ran: the union of their intervals, in ms."""
    intervals = sorted((op.start, op.end) for op in operations if op.start is not None and op.end is not None)
    total, until = 0.0, float("-inf")
    for start, end in intervals:
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total
