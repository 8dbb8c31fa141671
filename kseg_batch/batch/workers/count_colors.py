"""In a worker: the colours of a few images, added up, so that the parent has less to read and to add."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from kseg_batch.backends.registry import load
from kseg_batch.batch.workers.cpu import initialize_worker
from kseg_batch.batch.workers.jobs import FAILURES, Outcome, failure
from kseg_batch.batch.workers.load_image import load_image
from kseg_batch.batch.workers.pool import Pool
from kseg_batch.kmeans.color_spaces import convert
from kseg_batch.kmeans.histogram import ColorHistogram, HistogramSum

if TYPE_CHECKING:
    from kseg_batch.backends.base import Backend
    from kseg_batch.batch.storage.scan import Job
    from kseg_batch.images.decode import Alpha
    from kseg_batch.kmeans.color_spaces import ColorSpace


@dataclass(frozen=True, slots=True)
class CountSettings:
    """What is counted of every image."""

    alpha: Alpha
    """What becomes of transparent pixels."""
    max_pixels: int
    """Most pixels of an image; larger ones fail before they are decoded."""
    color_space: ColorSpace = "rgb"
    """Which colours are counted."""
    checksum: bool = False
    """Whether the content is told apart; size and time are enough here."""


@dataclass(frozen=True, slots=True)
class CountTask:
    """Images for one task of a worker."""

    jobs: tuple[Job, ...]
    counting: CountSettings
    backend: str
    """Name of the one that counts."""
    again: bool = False
    """Whether it is one image that was in a group whose worker died, tried once more."""


@dataclass(frozen=True, slots=True, eq=False)
class CountResult:
    """What became of a group."""

    group: CountTask
    outcomes: tuple[Outcome, ...]
    """One for each image, in their order."""
    histogram: ColorHistogram
    """The sum of those that did not fail."""


CountPool: TypeAlias = Pool[CountTask, CountResult]


def count_pool(workers: int, timeout: float | None) -> CountPool:
    """Worker processes that count, not started yet.

    Args:
        workers: How many.
        timeout: Seconds that a group may take.
    """
    return Pool(workers, count_group, SimpleQueue(), initializer=initialize_worker, timeout=timeout)


def count_group(group: CountTask) -> CountResult:
    """Count the colours of all images of a group."""
    backend, total = load(group.backend), _sum()
    outcomes = tuple(_count(job, group.counting, backend, total) for job in group.jobs)
    return CountResult(group, outcomes, total.take())


@cache
def _sum() -> HistogramSum:
    """The worker's own, whose memory serves one group after the other."""
    return HistogramSum()


def _count(job: Job, counting: CountSettings, backend: Backend, total: HistogramSum) -> Outcome:
    """Add an image's colours to the total."""
    start = time.perf_counter()
    try:
        source = load_image(job, counting)
        total.add(backend.histogram(convert(source.photo.pixels, counting.color_space)))
    except FAILURES as error:
        return failure(job, error, start)
    height, width = source.photo.rgb.shape[:2]
    seconds = time.perf_counter() - start
    return Outcome(job, seconds, size=(width, height), version=source.version, notes=source.photo.notes)
