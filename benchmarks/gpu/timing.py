"""Figures of recorded operations: the spans of batches, the kernels' shares, the busy time of the GPU."""

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
"""The step of the algorithm of each kernel."""


class MeasurementError(Exception):
    """The recorded operations are not those expected of the host program."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of measurements, in ms."""

    median: float
    least: float
    q1: float
    """The lower quartile."""
    q3: float
    """The upper quartile."""
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value."""
        if not values:
            raise MeasurementError("nothing was measured")
        q1, median, q3 = np.percentile(values, (25, 50, 75)).tolist()
        return cls(median, min(values), q1, q3, len(values))


def batches_of(operations: Sequence[Operation], n_batches: int) -> list[list[Operation]]:
    """Divide queued operations into batches. A part begins where a download is followed by another operation.

    A batch that did not fit into memory was queued in parts, in the same number for each batch.

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
    """Return the time from the first launch of a batch to the end of its last launch, in ms.

    Raises:
        MeasurementError: The launches were not recorded.
    """
    operations = list(batch)
    starts = [op.start for op in operations if op.name == FIRST_KERNEL and op.start is not None]
    ends = [op.end for op in operations if op.name == LAST_KERNEL and op.end is not None]
    if not starts or not ends:
        raise MeasurementError(f"no launch of {FIRST_KERNEL} or of {LAST_KERNEL} was recorded")
    return max(ends) - min(starts)


def span(batch: Iterable[Operation]) -> tuple[float, float]:
    """Return the start of the first operation of a batch and the end of the last, in ms."""
    operations = list(batch)
    starts = [op.start for op in operations if op.start is not None]
    ends = [op.end for op in operations if op.end is not None]
    if not starts or not ends:
        raise MeasurementError("neither begin nor end of a batch was recorded")
    return min(starts), max(ends)


def kernel_times(batch: Iterable[Operation]) -> dict[str, float]:
    """Return the time of each kernel of a batch, in ms."""
    times: dict[str, float] = defaultdict(float)
    for op in batch:
        if op.kind == "launch" and op.start is not None and op.end is not None:
            times[op.name] += op.end - op.start
    return dict(times)


def step_shares(kernels: dict[str, float]) -> dict[str, float]:
    """Return the share of each step of the algorithm in the time of all kernels."""
    total = sum(kernels.values())
    shares: dict[str, float] = defaultdict(float)
    for kernel, time in kernels.items():
        shares[STEPS.get(kernel, "other")] += time / total if total else 0.0
    return dict(shares)


def busy(operations: Iterable[Operation]) -> float:
    """Return the time during which at least one operation ran: the union of their intervals, in ms."""
    intervals = sorted((op.start, op.end) for op in operations if op.start is not None and op.end is not None)
    total, until = 0.0, float("-inf")
    for start, end in intervals:
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total
