"""The colours of a dataset: handed out to workers to be counted, and added up as they come back.

    groups of images -> pool of CPU workers -> one histogram, and a checkpoint of it now and then

One thread does it all. The images of a group whose worker died are tried once more when all others are done,
one by one, so that each has the machine's memory to itself.
"""

from __future__ import annotations

import os
import time
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from kseg_batch.batch.checkpoint import PartialHistogram, StaleError
from kseg_batch.batch.storage.source import find_version
from kseg_batch.batch.summary import FitSummary
from kseg_batch.batch.workers.count_colors import CountResult, CountTask
from kseg_batch.batch.workers.dispatcher import Dispatcher
from kseg_batch.batch.workers.jobs import Outcome
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
"""Most images of a group: its sum is read and added in a tenth of the time that theirs would take."""
GROUP_BYTES = 8 << 20
"""Size of the files at which a group is full, so that one of large photos is soon done, too."""
GROUPS = 4
"""Groups that there are for each place in the pool, so that no worker ends long after the others."""

CHECKPOINT_SECONDS = 1.0
"""Least time between two checkpoints."""
CHECKPOINT_SHARE = 50
"""Least time between two checkpoints, in multiples of what the last one took."""


Result: TypeAlias = CountResult | Crash[CountTask]
"""What a worker answers for a task."""


class DatasetHistogram:
    """The colours of a dataset, on their way into one histogram.

    Attributes:
        total: The sum so far.
        summary: What has been done so far.
    """

    def __init__(
        self,
        settings: CountSettings,
        pool: CountPool,
        backend: str,
        checkpoint: Checkpoint,
        listener: FitListener,
    ) -> None:
        """Begin with no image.

        Args:
            settings: What is counted of every image.
            pool: The workers.
            backend: Name of the one that they count with.
            checkpoint: Where what is counted is kept, for another time.
            listener: Is told of every image.
        """
        self.total = HistogramSum()
        self.summary = FitSummary()
        self._images: set[bytes] = set()  # those in the sum
        self._resumed: frozenset[bytes] = frozenset()  # those that were in it at first
        self._settings = settings
        self._pool = pool
        self._dispatcher: Dispatcher[Result] = Dispatcher(pool.done, listener.message)
        self._backend = backend
        self._checkpoint = checkpoint
        self._listener = listener
        self._tasks: Iterator[CountTask] = iter(())
        self._under_way = 0  # tasks
        self._suspects: deque[Job] = deque()  # of groups whose worker died
        self._saving_due = time.monotonic() + CHECKPOINT_SECONDS

    def resume(self, found: Scan) -> None:
        """Go on from the checkpoint, if there is one of images that are all still there."""
        try:
            progress = self._checkpoint.load()
            if progress is None:
                return
            n_found = sum(_describe(path)[1] in progress.images for path in found.paths())
            if n_found < len(progress.images):
                gone = count(len(progress.images) - n_found, "image")
                raise StaleError(f"{gone} of those counted changed or left")
        except StaleError as error:
            self._listener.message(f"{self._checkpoint.path}: {error}: starting anew")
            return
        self.total.add(progress.histogram)
        self._images = progress.images
        self._resumed = frozenset(progress.images)
        self.summary.resumed = n_found
        self._listener.resumed(n_found)

    def run(self, found: Scan) -> None:
        """Count all images that are not in the sum, or as many as there is time for."""
        self._tasks = self._group_jobs(found)
        self._dispatcher.run(self._hand_out, lambda: self._under_way > 0, self._take)
        self.summary.signal = self._dispatcher.signal

    def save(self) -> None:
        """Write a checkpoint; if that fails, say so and go on."""
        start = time.monotonic()
        if self._images:
            try:
                self._checkpoint.save(PartialHistogram(self.total.sum(), self._images))
            except OutputError as error:
                self._listener.message(f"no checkpoint: {error}")
        end = time.monotonic()
        self._saving_due = end + max(CHECKPOINT_SECONDS, CHECKPOINT_SHARE * (end - start))

    def _group_jobs(self, found: Scan) -> Iterator[CountTask]:
        """Yield the images a few at a time; or each alone, where there is a limit to its time."""
        most = max(1, min(GROUP_IMAGES, found.total // (GROUPS * self._pool.capacity)))
        if self._pool.timeout is not None:
            most = 1
        group: list[Job] = []
        n_bytes = 0
        for job in found.jobs():
            size, digest = _describe(job.source)
            if digest in self._resumed:
                continue
            group.append(job)
            n_bytes += size
            if len(group) == most or n_bytes >= GROUP_BYTES:
                yield self._task(*group)
                group, n_bytes = [], 0
        if group:
            yield self._task(*group)

    def _task(self, *jobs: Job, again: bool = False) -> CountTask:
        return CountTask(jobs, self._settings, self._backend, again)

    def _hand_out(self) -> bool:
        """Give one task to the workers if they have room. Return whether there was a task."""
        if self._under_way >= self._pool.capacity:
            return False
        task = next(self._tasks, None)
        if task is None and self._suspects and not self._under_way:
            task = self._task(self._suspects.popleft(), again=True)
        if task is None:
            return False
        self._pool.submit(task)
        self._under_way += 1
        return True

    def _take(self, result: Result) -> None:
        self._under_way -= 1
        if isinstance(result, CountResult):
            self.total.add(result.histogram)
            for outcome in result.outcomes:
                self._finish(outcome)
        elif result.task.again:
            error = f"{result.reason}, and again when it was tried alone"
            self._finish(Outcome(result.task.jobs[0], 0.0, error=error))
        else:
            self._suspects.extend(result.task.jobs)
        if time.monotonic() >= self._saving_due:
            self.save()

    def _finish(self, outcome: Outcome) -> None:
        """Note an image that is counted or failed, and tell of it."""
        source = os.path.abspath(outcome.job.source)  # noqa: PTH100 - resolve() would follow links
        if outcome.version is None:
            self.summary.failed += 1
        else:
            self._images.add(outcome.version.digest(source))
            self.summary.counted += 1
            self.summary.noted += bool(outcome.notes)
        line = {
            "source": source,
            "status": outcome.status,
            "error": outcome.error,
            "seconds": round(outcome.seconds, 6),
            "size": list(outcome.size),
            "notes": list(outcome.notes),
        }
        self._listener.finished(outcome, line)


def _describe(path: Path) -> tuple[int, bytes | None]:
    """Return a file's bytes and digest as they are now: 0 and None if the file cannot be examined."""
    version = find_version(path)
    return (0, None) if version is None else (version.size, version.digest(os.path.abspath(path)))  # noqa: PTH100
