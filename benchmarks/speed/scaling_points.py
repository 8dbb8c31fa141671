"""What the scaling benchmark measures: its rows, the exponents fitted to them, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.support.report import judged

if TYPE_CHECKING:
    from collections.abc import Sequence

FIT_FROM = 1e6
"""Pixels from which the exponent is fitted: below, the cost that every image has shows."""

WORKER_MB = 350.0
"""Target: peak memory of a worker, besides what it takes for each pixel."""
WORKER_BYTES = 12.0
"""Target: that, in bytes."""

WIDTHS = (-9, -7, 10, 8, 4, 8, 10, 9, 9)
COLUMNS = ("part", "kind", "pixels", "images", "k", "workers", "seconds", "peak MB", "CPU s")


@dataclass(frozen=True, slots=True)
class Point:
    """One case of one part. 1 MB is 10**6 bytes."""

    part: str
    kind: str
    """tiled, photo or tiny."""
    pixels: int
    """Of one image."""
    images: int
    k: int
    seconds: float
    peak_mb: float
    """Peak resident memory of the process that the part is about."""
    """Of segment()."""
    workers: int | None = None
    """Of a run; None for segment(), and so below."""
    parent_seconds: float | None = None
    """Processor time of the run's parent."""
    digest: str | None = None
    """Of the result of segment()."""

    def cells(self) -> tuple[str, ...]:
        """What the table shows."""
        numbers = (f"{self.pixels:,}", f"{self.images:,}", str(self.k))
        workers = "-" if self.workers is None else str(self.workers)
        parent = "-" if self.parent_seconds is None else f"{self.parent_seconds:.2f}"
        return self.part, self.kind, *numbers, workers, f"{self.seconds:.4f}", f"{self.peak_mb:.0f}", parent


def exponents(points: Sequence[Point]) -> list[str]:
    """How time grows with pixels."""
    lines = []
    ordered = sorted((point for point in points if point.part == "pixels"), key=series)
    for k, group in groupby(ordered, key=series):
        if (found := exponent(list(group))) is not None:
            lines.append(
                f"k = {k}, 1 thread: seconds grow as pixels ** {found:.2f}, fitted from 1 megapixel on"
            )
    return lines


def exponent(points: Sequence[Point]) -> float | None:
    """The slope of a line through the logarithms of pixels and seconds; None without two large images."""
    large = [point for point in points if point.pixels >= 0.99 * FIT_FROM]  # sides are whole numbers
    if len(large) < 2:
        return None
    found = np.log([(point.pixels, point.seconds) for point in large])  # (n, 2)
    return float(np.polyfit(found[:, 0], found[:, 1], 1)[0])


def series(point: Point) -> int:
    """What is the same along a curve of time against pixels."""
    return point.k


def verdict(points: Sequence[Point]) -> list[str]:
    """A worker's memory against its target, which grows with the image."""
    lines = []
    for point in points:
        if point.part == "worker":
            target = WORKER_MB + WORKER_BYTES * point.pixels / 1e6
            text = f"worker, {point.pixels / 1e6:g} megapixels: {point.peak_mb:.0f} MB"
            lines.append(judged(text, point.peak_mb <= target, f"at most {target:.0f} MB"))
    return lines
