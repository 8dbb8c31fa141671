"""The colours of a dataset: handed out to workers to be counted, and added up as they come back.

    groups of images -> pool of CPU workers -> one histogram, and a checkpoint of it now and then

One thread does it all. The images of a group whose worker died are tried once more when all others are done,
one by one, so that each has the machine's memory to itself.
"""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from kseg_batch.batch.checkpoint import PartialHistogram, StaleError
from kseg_batch.batch.storage.source import find_version
from kseg_batch.batch.workers.count_colors import CountResult, CountTask
from kseg_batch.batch.workers.executor import GRACE
from kseg_batch.batch.workers.jobs import Outcome
from kseg_batch.batch.workers.pool import Crash
from kseg_batch.errors import OutputError, count
from kseg_batch.kmeans.histogram import HistogramSum
from kseg_batch.processes import Interrupt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kseg_batch.batch.checkpoint import Checkpoint
    from kseg_batch.batch.storage.scan import Job, Scan
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


@dataclass(slots=True)
class FitSummary:
    """The totals of a fit."""

    counted: int = 0
    """Images whose colours were counted."""
    resumed: int = 0
    """Images that an earlier fit had counted."""
    failed: int = 0
    """Images that could not be read."""
    noted: int = 0
    """Images of which there is something to note."""
    pixels: int = 0
    """Pixels of all images, but transparent ones."""
    colors: int = 0
    """Distinct colours of them."""
    seconds: float = 0.0
    """Wall time."""
    signal: int | None = None
    """The signal that ended it before its time."""

    @property
    def images(self) -> int:
        """Images in the sum."""
        return self.counted + self.resumed


class FitListener(Protocol):
    """Who is told what happens."""

    def resumed(self, n_images: int) -> None:
        """So many images are counted already."""

    def finished(self, outcome: Outcome, line: dict[str, Any]) -> None:
        """An image is counted or failed; the line says so."""

    def message(self, text: str) -> None:
        """Something else that people should know."""


_Event: TypeAlias = CountResult | Crash[CountTask] | BaseException | Interrupt


class DatasetHistogram:
    """The colours of a dataset, on their way into one histogram.

    Attributes:
        total: The sum so far.
        summary: What has been done so far.
    """

    def __init__(
        self,
        counting: CountSettings,
        pool: CountPool,
        backend: str,
        checkpoint: Checkpoint,
        report: FitListener,
    ) -> None:
        """Begin with no image.

        Args:
            counting: What is counted of each.
            pool: The workers.
            backend: Name of the one that they count with.
            checkpoint: Where what is counted is kept, for another time.
            report: Told of every image.
        """
        self.total = HistogramSum()
        self.summary = FitSummary()
        self._images: set[bytes] = set()  # those in the sum
        self._resumed: frozenset[bytes] = frozenset()  # those that were in it at first
        self._counting = counting
        self._pool = pool
        self._done: SimpleQueue[_Event] = pool.done
        self._backend = backend
        self._checkpoint = checkpoint
        self._report = report
        self._under_way = 0  # groups
        self._suspects: deque[Job] = deque()  # of groups whose worker died
        self._deadline: float | None = None
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
            self._report.message(f"{self._checkpoint.path}: {error}: starting anew")
            return
        self.total.add(progress.histogram)
        self._images = progress.images
        self._resumed = frozenset(progress.images)
        self.summary.resumed = n_found
        self._report.resumed(n_found)

    def run(self, found: Scan) -> None:
        """Count all images that are not in the sum, or as many as there is time for."""
        groups = self._groups(found)
        while True:
            self._hand_out(groups)
            if not self._under_way:
                return
            patience = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
            try:
                event = self._done.get(timeout=patience)
            except Empty:
                return
            self._take(event)
            if time.monotonic() >= self._saving_due:
                self.save()

    def save(self) -> None:
        """Write a checkpoint; if that fails, say so and go on."""
        start = time.monotonic()
        if self._images:
            try:
                self._checkpoint.save(PartialHistogram(self.total.sum(), self._images))
            except OutputError as error:
                self._report.message(f"no checkpoint: {error}")
        end = time.monotonic()
        self._saving_due = end + max(CHECKPOINT_SECONDS, CHECKPOINT_SHARE * (end - start))

    def _groups(self, found: Scan) -> Iterator[CountTask]:
        """The images, a few at a time; or each alone, where there is a limit to its time."""
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
                yield self._group(*group)
                group, n_bytes = [], 0
        if group:
            yield self._group(*group)

    def _group(self, *jobs: Job, again: bool = False) -> CountTask:
        return CountTask(jobs, self._counting, self._backend, again)

    def _hand_out(self, groups: Iterator[CountTask]) -> None:
        """Give the workers as much as they have room for."""
        while self._deadline is None and self._under_way < self._pool.capacity:
            group = next(groups, None)
            if group is None and self._suspects and not self._under_way:
                group = self._group(self._suspects.popleft(), again=True)
            if group is None:
                return
            self._pool.submit(group)
            self._under_way += 1

    def _take(self, event: _Event) -> None:
        if isinstance(event, BaseException):
            raise event
        if isinstance(event, Interrupt):
            self._interrupt(event.number)
            return
        self._under_way -= 1
        if isinstance(event, CountResult):
            self.total.add(event.histogram)
            for outcome in event.outcomes:
                self._finish(outcome)
        elif event.task.again:
            error = f"{event.reason}, and again when it was tried alone"
            self._finish(Outcome(event.task.jobs[0], 0.0, error=error))
        else:
            self._suspects.extend(event.task.jobs)

    def _interrupt(self, number: int) -> None:
        """Take nothing new. The second time, wait for nothing either."""
        if self.summary.signal is None:
            self.summary.signal = number
            self._deadline = time.monotonic() + GRACE
            self._report.message("interrupted: ending the images under way; once more stops at once")
        else:
            self._deadline = time.monotonic()

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
        self._report.finished(outcome, line)


def _describe(path: Path) -> tuple[int, bytes | None]:
    """Return a file's bytes and digest as they are now: 0 and None if the file cannot be examined."""
    version = find_version(path)
    return (0, None) if version is None else (version.size, version.digest(os.path.abspath(path)))  # noqa: PTH100
