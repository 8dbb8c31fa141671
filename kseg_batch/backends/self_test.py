"""A short test of a backend on the user's machine: its results are compared with the reference."""

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
"""Backends whose arithmetic differs from the reference."""

HEIGHT, WIDTH = 331, 509
"""Size of the test image in pixels; prime numbers, so that neither is a multiple of a kernel's block.

The five groups of colours of the test image are so small that float32, in which cv2.kmeans sums, holds their
sums exactly.
"""

TIMED_RUNS = 3
"""Greatest number of runs that are timed."""
TIMED_S = 0.5
"""Seconds after which no further run is timed."""


def self_test(backend: Backend) -> list[str]:
    """Return the names of the parts of a backend's results that are wrong: none if the backend is sound.

    An inexact backend is tested only with an image that has one sensible clustering, whatever the arithmetic.
    Rounding to Q8.6 may then put its centres one step of Q8.6 off the centres of the reference.
    """
    steps = 1 if backend.name in INEXACT else 0
    wrong: set[str] = set()
    for number, result in _results(backend):
        wrong.update(result.differences(_expected(number), steps=steps))
    return sorted(wrong)


def _results(backend: Backend) -> Iterator[tuple[int, ClusteringDigest]]:
    """Yield the number and the result of each case: one image at a time, and on a GPU in a batch as well."""
    for number, (image, options) in enumerate(_cases()[: 1 if backend.name in INEXACT else None]):
        yield number, ClusteringDigest.of(*_segment(backend, image, options))
    if isinstance(backend, GpuBackend):
        items = [BatchItem(image, options, True, number) for number, (image, options) in enumerate(_cases())]
        for result in backend.segment_batches([items]):
            if result.labels is None or result.palette is None:
                raise BackendError(str(result.error))
            yield result.item.tag, ClusteringDigest.of(result.labels.labels, result.palette)


def _segment(
    backend: Backend, image: NDArray[np.uint8], options: FitOptions
) -> tuple[NDArray[np.uint8], Palette]:
    """Return the (H, W) labels and the palette of an (H, W, 3) image."""
    histogram = backend.histogram(image)
    palette = backend.fit(histogram, options)
    return backend.assign(image, palette, histogram), palette


@cache
def _cases() -> tuple[tuple[NDArray[np.uint8], FitOptions], ...]:
    """Return the images of the test, each with its options.

    The first image has five groups of colours. Each colour is within 35 grey levels of the middle of its
    group, and the middles are 112 or more apart: every pixel is nearest to its own group, and no other
    clustering into five comes near. The second image is a view of a sixth of the first one, and not
    contiguous. It is clustered into more clusters than there are groups, so that small differences decide. It
    has more colours than there are seeding points. Its iterations stop before they converge, which also saves
    time for the reference.
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
    """Return the median time in milliseconds that a warmed-up backend takes for the first case."""
    seconds: list[float] = []
    while len(seconds) < TIMED_RUNS and sum(seconds) < TIMED_S:
        start = time.perf_counter()
        _segment(backend, *_cases()[0])
        seconds.append(time.perf_counter() - start)
    return round(1000 * statistics.median(seconds), 2)
