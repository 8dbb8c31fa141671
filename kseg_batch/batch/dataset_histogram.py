"""The histogram of a dataset: CPU workers count the colours of groups of images, and the counts are added.

    groups of images -> pool of CPU workers -> one histogram, with a checkpoint now and then

One thread hands out the groups and adds the results. The images of a group whose worker died are tried once
more when all others are counted, one by one, so that each has the machine's memory to itself.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from kseg_batch.batch.checkpoint import PartialHistogram, StaleError
from kseg_batch.batch.storage.source import absolute, find_version
from kseg_batch.batch.summary import FitSummary
from kseg_batch.batch.workers.count_colors import CountResult, CountTask
from kseg_batch.batch.workers.dispatcher import Dispatcher
from kseg_batch.batch.workers.jobs import Outcome
from kseg_batch.batch.workers.messages import repeat_warnings
from kseg_batch.batch.workers.pool import Crash
from kseg_batch.errors import OutputError, count
from kseg_batch.kmeans.histogram import HistogramSum

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kseg_batch.batch.checkpoint import Checkpoint
    from kseg_batch.batch.storage.scan import Job, Scan
    from kseg_batch.batch.summary import FitListener
    from kseg_batch.batch.workers.count_colors import CountPool, CountSettings

GROUP_IMAGES = 16
"""Most images of a group. Reading and adding one sum takes a tenth of the time that 16 histograms take."""
GROUP_BYTES = 8 << 20
"""Total bytes of image files at which a group is full, so that groups of large photos are short."""
GROUPS = 4
"""Least groups for each place in the pool, so that no worker finishes long after the others."""

CHECKPOINT_SECONDS = 1.0
"""Least seconds between two checkpoints."""
CHECKPOINT_FACTOR = 50
"""Least time between two checkpoints, in multiples of the time that the last one took."""


TaskResult: TypeAlias = CountResult | Crash[CountTask]
"""The result of a task."""


class DatasetHistogram:
    """The sum of the histograms of a dataset's images.

    Attributes:
        total: The sum so far.
        summary: The totals so far.
    """

    def __init__(
        self,
        settings: CountSettings,
        pool: CountPool,
        backend: str,
        checkpoint: Checkpoint,
        listener: FitListener,
    ) -> None:
        """Begin with an empty histogram.

        Args:
            settings: How to count the colours of an image.
            pool: The workers that count.
            backend: Name of the backend of the workers.
            checkpoint: The checkpoint of the fit.
            listener: The listener that is told of every image.
        """
        self.total = HistogramSum()
        self.summary = FitSummary()
        self._images: set[bytes] = set()  # digests of the images in the sum
        self._resumed: frozenset[bytes] = frozenset()  # digests of the images in the checkpoint
        self._settings = settings
        self._pool = pool
        self._dispatcher: Dispatcher[TaskResult] = Dispatcher(pool.done, listener.message)
        self._backend = backend
        self._checkpoint = checkpoint
        self._listener = listener
        self._tasks: Iterator[CountTask] = iter(())
        self._n_running = 0  # tasks that the pool works on
        self._retries: deque[Job] = deque()  # images of groups whose worker died
        self._next_checkpoint = time.monotonic() + CHECKPOINT_SECONDS

    def resume(self, scan: Scan) -> None:
        """Continue from the checkpoint, if there is one and all its images are still in the dataset."""
        try:
            progress = self._checkpoint.load()
            if progress is None:
                return
            n_found = sum(_examine(path)[1] in progress.images for path in scan.paths())
            if n_found < len(progress.images):
                gone = count(len(progress.images) - n_found, "counted image")
                raise StaleError(f"{gone} changed or disappeared")
        except StaleError as error:
            self._listener.message(f"{self._checkpoint.path}: {error}: starting from the beginning")
            return
        self.total.add(progress.histogram)
        self._images = progress.images
        self._resumed = frozenset(progress.images)
        self.summary.resumed = n_found
        self._listener.resumed(n_found)

    def run(self, scan: Scan) -> None:
        """Count all images that are not in the sum yet, until the fit is interrupted."""
        self._tasks = self._group_jobs(scan)
        self._dispatcher.run(self._hand_out, lambda: self._n_running > 0, self._take)
        self.summary.signal = self._dispatcher.signal

    def save(self) -> None:
        """Write a checkpoint. If writing fails, tell the listener and continue."""
        start = time.monotonic()
        if self._images:
            try:
                self._checkpoint.save(PartialHistogram(self.total.sum(), self._images))
            except OutputError as error:
                self._listener.message(f"no checkpoint: {error}")
        end = time.monotonic()
        self._next_checkpoint = end + max(CHECKPOINT_SECONDS, CHECKPOINT_FACTOR * (end - start))

    def _group_jobs(self, scan: Scan) -> Iterator[CountTask]:
        """Yield the images in groups; or each image alone, where the time of an image is limited."""
        max_images = max(1, min(GROUP_IMAGES, scan.total // (GROUPS * self._pool.capacity)))
        if self._pool.timeout is not None:
            max_images = 1
        group: list[Job] = []
        n_bytes = 0
        for job in scan.jobs():
            size, digest = _examine(job.source)
            if digest in self._resumed:
                continue
            group.append(job)
            n_bytes += size
            if len(group) == max_images or n_bytes >= GROUP_BYTES:
                yield self._task(*group)
                group, n_bytes = [], 0
        if group:
            yield self._task(*group)

    def _task(self, *jobs: Job, is_retry: bool = False) -> CountTask:
        return CountTask(jobs, self._settings, self._backend, is_retry)

    def _hand_out(self) -> bool:
        """Submit one task if the pool has room. Return whether a task was submitted."""
        if self._n_running >= self._pool.capacity:
            return False
        task = next(self._tasks, None)
        if task is None and self._retries and not self._n_running:
            task = self._task(self._retries.popleft(), is_retry=True)
        if task is None:
            return False
        self._pool.submit(task)
        self._n_running += 1
        return True

    def _take(self, result: TaskResult) -> None:
        """Add the result of a task to the sum, or note its images for another try."""
        self._n_running -= 1
        if isinstance(result, CountResult):
            self.total.add(result.histogram)
            repeat_warnings(result.messages)
            for outcome in result.outcomes:
                self._finish(outcome)
        elif result.task.is_retry:
            error = f"{result.reason}, and again when it was tried alone"
            self._finish(Outcome(result.task.jobs[0], 0.0, error=error))
        else:
            self._retries.extend(result.task.jobs)
        if time.monotonic() >= self._next_checkpoint:
            self.save()

    def _finish(self, outcome: Outcome) -> None:
        """Add an image to the totals, and tell the listener of it."""
        source = absolute(outcome.job.source)
        if outcome.version is None:
            self.summary.failed += 1
        else:
            self._images.add(outcome.version.digest(source))
            self.summary.counted += 1
            self.summary.noted += len(outcome.notes) > outcome.converted
            self.summary.converted += outcome.converted
        line = {
            "source": source,
            "status": outcome.status,
            "error": outcome.error,
            "seconds": round(outcome.seconds, 6),
            "size": list(outcome.size),
            "notes": list(outcome.notes),
        }
        self._listener.finished(outcome, line)


def _examine(path: Path) -> tuple[int, bytes | None]:
    """Return a file's present size in bytes and digest; 0 and None if the file cannot be examined."""
    version = find_version(path)
    return (0, None) if version is None else (version.size, version.digest(absolute(path)))
