"""The batch: hand out what is to be done, collect what became of it, keep the journal, sum up.

    plan -> GPU processes, or the pool of CPU workers -> done -> journal

One thread does it all. Images that a GPU could not do are done again by CPU workers. An image whose worker
died is tried once more when all others are done, alone, so that it has the machine's memory to itself.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from kseg_batch.batch.coco_dataset import Annotations
from kseg_batch.batch.manifest import Journal
from kseg_batch.batch.plan import Planner
from kseg_batch.batch.storage.outputs import prepare, remove, remove_temporaries, sweep
from kseg_batch.batch.storage.scan import Job
from kseg_batch.batch.summary import RunSummary
from kseg_batch.batch.workers.cpu import ImageTask
from kseg_batch.batch.workers.executor import GRACE
from kseg_batch.batch.workers.gpu_process import GpuProcess
from kseg_batch.batch.workers.jobs import Lost, Outcome
from kseg_batch.batch.workers.pool import Crash
from kseg_batch.errors import BackendUnavailableError, OutputError
from kseg_batch.processes import Interrupt, queue_interrupts

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence
    from pathlib import Path

    from kseg_batch.batch.plan import Redo, Step
    from kseg_batch.batch.summary import RunListener
    from kseg_batch.batch.workers.cpu import Executors
    from kseg_batch.batch.workers.executor import _Worker
    from kseg_batch.batch.workers.jobs import Settings


def run(
    jobs: Iterable[Job],
    sources: Sequence[Path],
    settings: Settings,
    team: Executors,
    report: RunListener,
    *,
    redo: Redo = "changed",
) -> RunSummary:
    """Do all jobs that are not done yet.

    Args:
        jobs: The images; they are asked for as there is room for them.
        sources: The files and folders that they come from.
        settings: What to do with each.
        team: What does it.
        report: Told of every image, when its line is in the journal.
        redo: What is done again.

    Raises:
        BackendUnavailableError: A GPU that is required cannot be opened. Nothing was written.
        OutputError: The output folder or its journal cannot be written.
        SourceError: The outputs of an image would replace those of another.
    """
    start = time.perf_counter()
    with ExitStack() as cleanup:
        gpus = cleanup.enter_context(_gpu_processes(settings, team))
        annotations = Annotations(settings.out, wanted="coco" in settings.save)
        prepare(settings.out, settings.save, sources)
        journal = cleanup.enter_context(Journal(settings.out))
        summary = RunSummary(swept=sweep(settings.out))
        steps = Planner(journal, settings, exact=team.exact, redo=redo).steps(jobs)
        batch = cleanup.enter_context(_Batch(settings, team, gpus, journal, summary, report))
        with queue_interrupts(team.pool.done):
            batch.run(annotations.watch(steps))
        try:
            for text in annotations.write(journal):
                report.message(text)
        except OutputError as error:
            summary.stopped = summary.stopped or str(error)
        summary.seconds = time.perf_counter() - start
    return summary


@contextmanager
def _gpu_processes(settings: Settings, team: Executors) -> Generator[list[GpuProcess]]:
    """A process for each GPU, as long as the `with` lasts; if the GPUs are required, they are open by then.

    Raises:
        BackendUnavailableError: One that is required cannot be opened.
    """
    with ExitStack() as cleanup:
        processes = []
        for name, opened in team.gpus:
            process = GpuProcess(opened, settings, team.pool.done, name=name, timeout=team.pool.timeout)
            cleanup.callback(process.stop)
            processes.append(process)
        for process in processes if team.gpus_required else ():
            process.wait_until_open()
            if not team.pool.done.empty():  # nothing was handed out: it is a mistake in the program
                raise team.pool.done.get()
            if process.failure is not None:
                raise BackendUnavailableError(process.failure, installed=True)
        yield processes


_Event: TypeAlias = Outcome | Lost | Crash[ImageTask] | BaseException | Interrupt


class _Cpu:
    """The pool, which takes jobs with what to do with them."""

    def __init__(self, team: Executors, settings: Settings) -> None:
        self._pool = team.pool
        self._task = partial(ImageTask, settings=settings, backend=team.backend)
        self.stop = team.pool.stop

    @property
    def capacity(self) -> int:
        return self._pool.capacity

    def submit(self, job: Job, /) -> None:
        self._pool.submit(self._task(job))


class _Crew:
    """Somebody who does images, and those under way there."""

    def __init__(self, worker: _Worker) -> None:
        self.worker = worker
        self.names: set[str] = set()

    @property
    def has_room(self) -> bool:
        return len(self.names) < self.worker.capacity

    def submit(self, job: Job) -> None:
        self.names.add(job.name)
        self.worker.submit(job)


class _Batch:
    """One run on its way."""

    def __init__(
        self,
        settings: Settings,
        team: Executors,
        gpus: list[GpuProcess],
        journal: Journal,
        summary: RunSummary,
        report: RunListener,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._done: SimpleQueue[_Event] = team.pool.done
        self._summary = summary
        self._report = report
        self._todo: Iterator[Step] | None = None
        self._begun: dict[str, Step] = {}  # and neither done nor failed
        self._retries: deque[Job] = deque()  # what a GPU could not do
        self._reasons: dict[str, str] = {}  # and why
        self._suspects: deque[Job] = deque()  # what a worker died of
        self._tried_again: set[str] = set()
        self._deadline: float | None = None
        self._cpu = _Crew(_Cpu(team, settings))
        self._gpu_processes = gpus
        self._gpus = [_Crew(process) for process in gpus]

    def __enter__(self) -> _Batch:
        return self

    def __exit__(self, *_: object) -> None:
        for crew in (self._cpu, *self._gpus):
            crew.worker.stop()
        for step in self._begun.values():
            remove_temporaries(self._settings.out, step.job, self._settings.save)

    def run(self, steps: Iterator[Step]) -> None:
        """Do all steps, or as many as there is time for."""
        self._todo = steps
        while True:
            moved = self._deadline is None and self._hand_out()
            if not moved and not self._busy:
                break
            try:
                event = self._done.get(timeout=self._patience(moved))
            except Empty:
                if moved:
                    continue
                break
            self._take(event)

    @property
    def _busy(self) -> bool:
        return any(crew.names for crew in (self._cpu, *self._gpus))

    def _patience(self, moved: bool) -> float | None:
        """Seconds to wait for something to happen; None for ever."""
        if moved:
            return 0.0
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    # ---- what goes out ---------------------------------------------------------------------------------

    def _hand_out(self) -> bool:
        """Give one image to somebody who has room, or skip it; return whether there was one."""
        if self._retries and self._cpu.has_room:
            self._cpu.submit(self._retries.popleft())
            return True
        crews = [gpu for gpu in self._gpus if gpu.worker.capacity] or [self._cpu]
        crew = next((crew for crew in crews if crew.has_room), None)
        if crew is not None and self._todo is not None:
            step = next(self._todo, None)
            if step is not None:
                self._begin(step, crew)
                return True
            self._todo = None
        if self._todo is None and self._suspects and not self._busy:
            self._cpu.submit(self._suspects.popleft())
            return True
        return False

    def _begin(self, step: Step, crew: _Crew) -> None:
        if step.skip:
            self._summary.skipped += 1
            self._report.skipped(step)
            return
        self._journal.add(step.entry)
        self._begun[step.job.name] = step
        if crew is self._cpu and self._gpus:
            self._reasons[step.job.name] = "; ".join(str(gpu.failure) for gpu in self._gpu_processes)
        crew.submit(step.job)

    # ---- what comes back -------------------------------------------------------------------------------

    def _take(self, event: _Event) -> None:
        if isinstance(event, BaseException):
            raise event
        if isinstance(event, Interrupt):
            self._interrupt(event.number)
        elif isinstance(event, Outcome):
            self._release(event.job)
            self._finish(event)
        elif isinstance(event, Lost):
            self._release(event.job)
            self._reasons[event.job.name] = event.reason
            self._retries.append(event.job)
        else:
            self._release(event.task.job)
            self._crashed(event.task.job, event.reason)

    def _release(self, job: Job) -> None:
        for crew in (self._cpu, *self._gpus):
            crew.names.discard(job.name)

    def _interrupt(self, number: int) -> None:
        """Take nothing new. The second time, wait for nothing either."""
        if self._summary.signal is None:
            self._summary.signal = number
            self._end_soon(GRACE)
            self._report.message("interrupted: ending the images under way; once more stops at once")
        else:
            self._deadline = time.monotonic()

    def _end_soon(self, seconds: float) -> None:
        if self._deadline is None:
            self._deadline = time.monotonic() + seconds

    def _crashed(self, job: Job, reason: str) -> None:
        remove_temporaries(self._settings.out, job, self._settings.save)
        if job.name in self._tried_again:
            step = self._begun[job.name]
            remove(self._settings.out, step.entry.outputs.keys() - step.former.keys())
            self._finish(Outcome(job, 0.0, error=f"{reason}, and again when it was tried alone"))
        else:
            self._tried_again.add(job.name)
            self._suspects.append(job)

    def _finish(self, outcome: Outcome) -> None:
        """Write an image's line, and tell of it."""
        if (reason := self._reasons.pop(outcome.job.name, None)) is not None:
            note = f"it was done on the CPU: {reason}"
            outcome = replace(outcome, fallback=reason, notes=(*outcome.notes, note))
        step = self._begun.pop(outcome.job.name)
        self._summary.add(outcome)
        if outcome.output_gone:
            self._stop(str(outcome.error))
        try:
            line = self._journal.add(step.finished(outcome, self._settings), outcome)
        except OutputError as error:
            self._stop(str(error))
        else:
            self._report.finished(outcome, line)

    def _stop(self, reason: str) -> None:
        if self._summary.stopped is None:
            self._summary.stopped = reason
        self._end_soon(GRACE)
