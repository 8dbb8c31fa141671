"""A short test of a backend against the oracle, on any machine."""

from __future__ import annotations

import statistics
import time
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.backends.gpu.backend import GpuBackend, Task
from kseg_batch.errors import BackendError
from kseg_batch.kmeans import reference
from kseg_batch.kmeans.fixed_point import SCALE
from kseg_batch.kmeans.histogram import ColorHistogram
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.segmentation.segment import Segmentation, segment_with

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from kseg_batch.backends.base import Backend

INEXACT = ("opencv",)
"""Backends with an arithmetic of their own."""

HEIGHT, WIDTH = 331, 509
"""Of the test image; primes, so that they are a multiple of no kernel's block.

Its five groups of colours are so small that float32, in which cv2.kmeans sums, holds their sums exactly.
"""

TIMED_RUNS = 3
TIMED_S = 0.5
"""Seconds after which no further run is timed."""


def self_test(backend: Backend) -> list[str]:
    """What in a backend's results is wrong: nothing, if it is sound.

    An inexact backend is tested where there is one sensible clustering, whatever the arithmetic. Its centres
    may then be a step of Q8.6 off the reference's, from rounding to it, and a centre that is off by d adds
    d * d for each of its pixels to the compactness.
    """
    steps = 1 if backend.name in INEXACT else 0
    wrong: set[str] = set()
    for number, result in _results(backend):
        expected = _expected(number)
        slack = 3 * (steps / SCALE) ** 2 * expected.labels.size
        centers, expected_centers = result.palette.fixed_centers, expected.palette.fixed_centers
        equal = {
            "labels": np.array_equal(result.labels, expected.labels),
            "centers": centers.shape == expected_centers.shape
            and np.abs(centers - expected_centers).max() <= steps,
            "counts": np.array_equal(result.counts, expected.counts),
            "compactness": abs(result.compactness - expected.compactness) <= slack,
        }
        wrong |= {part for part, is_equal in equal.items() if not is_equal}
    return sorted(wrong)


def _results(backend: Backend) -> Iterator[tuple[int, Segmentation]]:
    """What a backend makes of the cases, with their numbers: one by one, and on a GPU in a batch as well."""
    for number, (image, options) in enumerate(_cases()[: 1 if backend.name in INEXACT else None]):
        yield number, segment_with(backend, image, options)
    if isinstance(backend, GpuBackend):
        tasks = [Task(image, options, True, number) for number, (image, options) in enumerate(_cases())]
        for result in backend.segment_batches([tasks]):
            if result.labels is None or result.palette is None:
                raise BackendError(str(result.error))
            yield result.task.tag, Segmentation(labels=result.labels.labels, palette=result.palette)


@cache
def _cases() -> tuple[tuple[NDArray[np.uint8], FitOptions], ...]:
    """Images with options.

    First five groups of colours, each within 35 grey levels of its middle, and the middles 112 apart or more:
    every pixel is nearest to its own group, and no other clustering into five comes near. Then a view of a
    sixth of it, not contiguous, with more clusters than groups, which small differences decide. It has more
    colours than there are seeding points, and is stopped before it converges, which also spares the oracle.
    """
    middles = np.array([(40, 30, 60), (200, 60, 50), (60, 140, 70), (110, 130, 220), (225, 215, 190)])
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    noise = np.random.default_rng(0).integers(-20, 21, (HEIGHT, WIDTH, 3))
    image = (middles[(x * 5 // WIDTH + y * 3 // HEIGHT) % 5] + noise).astype(np.uint8)
    return (
        (image, FitOptions(k=5, attempts=4, init="k-means++")),
        (image[::3, ::-2], FitOptions(k=12, attempts=1, max_iter=3, eps=0)),
    )


@cache
def _expected(number: int) -> Segmentation:
    """The oracle's result for one of the cases."""
    image, options = _cases()[number]
    palette = reference.fit(ColorHistogram.from_pixels(image), options)
    return Segmentation(labels=reference.assign(image, palette), palette=palette)


def milliseconds(backend: Backend) -> float:
    """Median time of a prepared backend for the first case."""
    seconds: list[float] = []
    while len(seconds) < TIMED_RUNS and sum(seconds) < TIMED_S:
        start = time.perf_counter()
        segment_with(backend, *_cases()[0])
        seconds.append(time.perf_counter() - start)
    return round(1000 * statistics.median(seconds), 2)
