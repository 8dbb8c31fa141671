"""A short test of a backend against the oracle, on any machine."""

from __future__ import annotations

import statistics
import time
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.backends.gpu.backend import GpuBackend
from kseg_batch.backends.gpu.batch import BatchItem
from kseg_batch.errors import BackendError
from kseg_batch.kmeans.equality import ClusteringDigest
from kseg_batch.kmeans.options import FitOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from kseg_batch.backends.base import Backend
    from kseg_batch.kmeans.palette import Palette

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
    """Return the names of the parts of a backend's results that are wrong: none if the backend is sound.

    An inexact backend is tested where there is one sensible clustering, whatever the arithmetic. Its centres
    may then be a step of Q8.6 off the reference's, from rounding to Q8.6.
    """
    steps = 1 if backend.name in INEXACT else 0
    wrong: set[str] = set()
    for number, result in _results(backend):
        wrong.update(result.differences(_expected(number), steps=steps))
    return sorted(wrong)


def _results(backend: Backend) -> Iterator[tuple[int, ClusteringDigest]]:
    """Yield the number and the result of each case, one by one, and on a GPU in a batch as well."""
    for number, (image, options) in enumerate(_cases()[: 1 if backend.name in INEXACT else None]):
        yield number, ClusteringDigest.of(*_segment(backend, image, options))
    if isinstance(backend, GpuBackend):
        tasks = [BatchItem(image, options, True, number) for number, (image, options) in enumerate(_cases())]
        for result in backend.segment_batches([tasks]):
            if result.labels is None or result.palette is None:
                raise BackendError(str(result.error))
            yield result.task.tag, ClusteringDigest.of(result.labels.labels, result.palette)


def _segment(
    backend: Backend, image: NDArray[np.uint8], options: FitOptions
) -> tuple[NDArray[np.uint8], Palette]:
    """Return the (H, W) labels and the palette of an (H, W, 3) image."""
    histogram = backend.histogram(image)
    palette = backend.fit(histogram, options)
    return backend.assign(image, palette, histogram), palette


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
def _expected(number: int) -> ClusteringDigest:
    """Return the reference's result for one of the cases."""
    return ClusteringDigest.of_reference(*_cases()[number])


def milliseconds(backend: Backend) -> float:
    """Median time of a prepared backend for the first case."""
    seconds: list[float] = []
    while len(seconds) < TIMED_RUNS and sum(seconds) < TIMED_S:
        start = time.perf_counter()
        _segment(backend, *_cases()[0])
        seconds.append(time.perf_counter() - start)
    return round(1000 * statistics.median(seconds), 2)
