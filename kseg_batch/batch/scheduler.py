"""The scheduler of a run: it hands images to executors, and records their outcomes.

Images that a GPU could not process are processed by CPU workers. An image whose worker died is tried once
more when all others are done, alone, so that the image has the machine's memory to itself.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from kseg_batch.batch.storage.outputs import remove, remove_temporaries
from kseg_batch.batch.workers.cpu import CpuExecutor, ImageTask
from kseg_batch.batch.workers.dispatcher import Dispatcher
from kseg_batch.batch.workers.executor import TrackedExecutor
from kseg_batch.batch.workers.jobs import Lost, Outcome
from kseg_batch.batch.workers.messages import repeat_warnings
from kseg_batch.batch.workers.pool import Crash
from kseg_batch.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kseg_batch.batch.manifest import Journal
    from kseg_batch.batch.plan import Step
    from kseg_batch.batch.storage.scan import Job
    from kseg_batch.batch.summary import RunListener, RunSummary
    from kseg_batch.batch.workers.executors import Executors
    from kseg_batch.batch.workers.gpu_process import GpuProcess
    from kseg_batch.batch.workers.jobs import Settings

ImageResult: TypeAlias = Outcome | Lost | Crash[ImageTask]
"""The result of a job."""


class Scheduler:
    """Hands out the images of a run. Use a scheduler as a context manager, which stops the executors."""

    def __init__(
        self,
        settings: Settings,
        executors: Executors,
        gpus: Sequence[GpuProcess],
        journal: Journal,
        summary: RunSummary,
        listener: RunListener,
    ) -> None:
        """Begin with no image.

        Args:
            settings: What to do with every image.
            executors: The executors of the run, for their pool of CPU workers.
            gpus: The process of each GPU.
            journal: The journal, to which the lines of every image are added.
            summary: The totals, in which every image is counted.
            listener: The listener that is told of every image.
        """
        self._settings = settings
        self._journal = journal
        self._summary = summary
        self._listener = listener
        self._dispatcher: Dispatcher[ImageResult] = Dispatcher(executors.pool.done, listener.message)
        self._cpu = TrackedExecutor(CpuExecutor(executors.pool, settings, executors.backend))
        self._note_on_opencv = executors.note_on_opencv
        self._gpu_processes = gpus
        self._gpus = [TrackedExecutor(process) for process in gpus]
        self._steps: Iterator[Step] | None = None
        self._begun: dict[str, Step] = {}  # by name, the images that are neither done nor failed
        self._lost: deque[Job] = deque()  # images that a GPU could not process
        self._fallbacks: dict[str, str] = {}  # by name, why a GPU could not process an image
        self._retries: deque[Job] = deque()  # images whose worker died
        self._retried: set[str] = set()  # names of images whose worker died, for all of the run

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(self, *_: object) -> None:
        for tracked in (self._cpu, *self._gpus):
            tracked.executor.stop()
        for step in self._begun.values():
            remove_temporaries(self._settings.out, step.job, self._settings.save)

    def run(self, steps: Iterator[Step]) -> None:
        """Carry out all steps, or, if the run is interrupted, those that are finished in time."""
        self._steps = steps
        self._dispatcher.run(self._hand_out, self._is_busy, self._take)
        self._summary.signal = self._dispatcher.signal

    def _is_busy(self) -> bool:
        return any(tracked.names for tracked in (self._cpu, *self._gpus))

    # ---- handing out images ----------------------------------------------------------------------------

    def _hand_out(self) -> bool:
        """Submit one image to an executor that has room, or skip one. Return whether there was an image."""
        if self._lost and self._cpu.has_room:
            self._cpu.submit(self._lost.popleft())
            return True
        working = [gpu for gpu in self._gpus if gpu.executor.capacity] or [self._cpu]
        free = next((tracked for tracked in working if tracked.has_room), None)
        if free is not None and self._steps is not None:
            step = next(self._steps, None)
            if step is not None:
                self._begin(step, free)
                return True
            self._steps = None
        if self._steps is None and self._retries and not self._is_busy():
            self._cpu.submit(self._retries.popleft())
            return True
        return False

    def _begin(self, step: Step, tracked: TrackedExecutor) -> None:
        if step.skip:
            self._summary.skipped += 1
            self._listener.skipped(step)
            return
        self._journal.add(step.entry)
        self._begun[step.job.name] = step
        if tracked is self._cpu and self._gpus:
            self._fallbacks[step.job.name] = "; ".join(str(gpu.failure) for gpu in self._gpu_processes)
        tracked.submit(step.job)

    # ---- taking results --------------------------------------------------------------------------------

    def _take(self, result: ImageResult) -> None:
        if isinstance(result, Outcome):
            repeat_warnings(result.messages)
            self._release(result.job)
            self._finish(result)
        elif isinstance(result, Lost):
            self._release(result.job)
            self._fallbacks[result.job.name] = result.reason
            self._lost.append(result.job)
        else:
            self._release(result.task.job)
            self._retry(result.task.job, result.reason)

    def _release(self, job: Job) -> None:
        """Free the place of a job in its executor."""
        for tracked in (self._cpu, *self._gpus):
            tracked.names.discard(job.name)

    def _retry(self, job: Job, reason: str) -> None:
        """Note a job whose worker died for another try, or give it up if the worker died twice."""
        remove_temporaries(self._settings.out, job, self._settings.save)
        if job.name in self._retried:
            step = self._begun[job.name]
            former = {self._journal.fold(name) for name in step.former}
            new = [name for name in step.entry.outputs if self._journal.fold(name) not in former]
            remove(self._settings.out, new)
            self._finish(Outcome(job, 0.0, error=f"{reason}, and again when it was tried alone"))
        else:
            self._retried.add(job.name)
            self._retries.append(job)

    def _finish(self, outcome: Outcome) -> None:
        """Add the last line of an image to the journal, and tell the listener."""
        if (reason := self._fallbacks.pop(outcome.job.name, None)) is not None:
            note = f"it was done on the CPU: {reason}"
            outcome = replace(outcome, fallback=reason, notes=(*outcome.notes, note))
        if self._note_on_opencv is not None and _is_inexact(outcome, self._settings):
            outcome = replace(outcome, notes=(*outcome.notes, self._note_on_opencv))
        step = self._begun.pop(outcome.job.name)
        self._summary.add(outcome)
        if outcome.output_gone:
            self._stop(str(outcome.error))
        try:
            line = self._journal.add(step.finished(outcome, self._settings), outcome)
        except OutputError as error:
            self._stop(str(error))
        else:
            self._listener.finished(outcome, line)

    def _stop(self, reason: str) -> None:
        self._summary.stopped = self._summary.stopped or reason
        self._dispatcher.end_soon()


def _is_inexact(outcome: Outcome, settings: Settings) -> bool:
    """Return whether cv2.kmeans found the clusters of an image. With a palette, all backends are exact."""
    return outcome.palette is not None and outcome.palette.backend == "opencv" and settings.palette is None
