"""Counting colours in worker processes: one histogram per group of images, so that less is sent and added."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from kseg_batch.backends.registry import load
from kseg_batch.batch.workers.cpu import initialize_worker
from kseg_batch.batch.workers.jobs import FAILURES, Outcome, failed_outcome
from kseg_batch.batch.workers.load_image import load_image
from kseg_batch.batch.workers.messages import take_messages
from kseg_batch.batch.workers.pool import Pool
from kseg_batch.kmeans.histogram import ColorHistogram, HistogramSum

if TYPE_CHECKING:
    from kseg_batch.backends.base import Backend
    from kseg_batch.batch.storage.scan import Job
    from kseg_batch.images.decode import Alpha
    from kseg_batch.images.profiles.source_colors import ProfileUse


@dataclass(frozen=True, slots=True)
class CountSettings:
    """How to count the colours of an image, in RGB."""

    alpha: Alpha
    """Treatment of transparent pixels."""
    profile: ProfileUse
    """Treatment of colour profiles."""
    max_pixels: int
    """Most pixels of an image. A larger one fails before it is decoded."""
    checksum: bool = False
    """Whether versions of files have a checksum. A checkpoint needs only their size and time."""


@dataclass(frozen=True, slots=True)
class CountTask:
    """A group of images, for one worker."""

    jobs: tuple[Job, ...]
    settings: CountSettings
    backend: str
    """Name of the backend that counts."""
    is_retry: bool = False
    """Whether the task is a single image of a former group whose worker died."""


@dataclass(frozen=True, slots=True, eq=False)
class CountResult:
    """The result of a task."""

    task: CountTask
    outcomes: tuple[Outcome, ...]
    """The outcome of each image, in the order of the jobs."""
    histogram: ColorHistogram
    """The sum of the histograms of the images that did not fail."""
    messages: tuple[str, ...] = ()
    """Messages of the worker process for the user, on its compiled kernels."""


CountPool: TypeAlias = Pool[CountTask, CountResult]


def count_pool(workers: int, timeout: float | None) -> CountPool:
    """Return a pool of worker processes that count colours. No worker is started yet.

    Args:
        workers: The number of worker processes.
        timeout: Seconds that a task may take; None for no limit.
    """
    return Pool(workers, count_colors, SimpleQueue(), initializer=initialize_worker, timeout=timeout)


def count_colors(task: CountTask) -> CountResult:
    """Count the colours of all images of a task, in a worker process."""
    backend, total = load(task.backend), _shared_sum()
    outcomes = tuple(_count_image(job, task.settings, backend, total) for job in task.jobs)
    return CountResult(task, outcomes, total.take(), take_messages())


@cache
def _shared_sum() -> HistogramSum:
    """Return the sum of this worker process, whose memory is used again for each task."""
    return HistogramSum()


def _count_image(job: Job, settings: CountSettings, backend: Backend, total: HistogramSum) -> Outcome:
    """Add the colours of an image to the total."""
    start = time.perf_counter()
    try:
        image = load_image(job, settings)
        total.add(backend.histogram(image.photo.pixels))
    except FAILURES as error:
        return failed_outcome(job, error, start)
    height, width = image.photo.rgb.shape[:2]
    return Outcome(
        job,
        time.perf_counter() - start,
        size=(width, height),
        version=image.version,
        notes=image.photo.notes,
        converted=image.photo.converted,
    )
