"""A batch on one GPU: threads decode and encode around the one that owns the device.

    decoders -> ready -> owner: many images per launch -> encoders -> outcomes

So many images are between the two ends as keep every thread busy, and no more, whatever the length of the
list. The owner takes what is decoded when it has nothing to do, be it one image or a full batch: it waits
for nobody to fill one up.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from kseg_batch.backends import choose
from kseg_batch.backends.gpu import MAX_IMAGES, Task
from kseg_batch.decoding import Photo
from kseg_batch.errors import BackendError
from kseg_batch.labelmap import LabelMap
from kseg_batch.machine import usable_cores
from kseg_batch.segmentation import segment_with
from kseg_batch.worker import FAILURES, failure, read, write

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from kseg_batch.backends.gpu import GpuBackend, Result
    from kseg_batch.scan import Job
    from kseg_batch.worker import Outcome, Settings

IMAGES_PER_THREAD = 3
"""Images between the two ends for each thread that decodes: one decoded, one on the GPU, one encoded."""


@dataclass(frozen=True, slots=True, eq=False)
class _Item:
    """A job under way."""

    job: Job
    photo: Photo
    start: float


def process_on_gpu(
    jobs: Sequence[Job], settings: Settings, gpu: GpuBackend, *, threads: int | None = None
) -> Generator[Outcome]:
    """Do all jobs, and yield what became of each as it is done.

    An image that does not fit on the GPU is done on the CPU, with the same result. So are all that are left
    when the GPU fails.

    Args:
        jobs: The images.
        settings: What to do with each.
        gpu: What segments them.
        threads: How many decode, and as many encode; one for each usable core unless given.
    """
    run = _Run(settings, gpu, threads or usable_cores())
    with ExitStack() as cleanup:
        cleanup.callback(run.stop)
        run.begin(jobs)
        for _ in jobs:
            outcome = run.outcomes.get()
            if isinstance(outcome, BaseException):
                raise outcome
            run.room.release()
            yield outcome


class _Run:
    """The threads of one run and the queues between them."""

    def __init__(self, settings: Settings, gpu: GpuBackend, threads: int) -> None:
        self.settings = settings
        self.gpu = gpu
        self.room = threading.Semaphore(IMAGES_PER_THREAD * threads)
        self.ready: SimpleQueue[_Item | None] = SimpleQueue()
        self.outcomes: SimpleQueue[Outcome | BaseException] = SimpleQueue()
        self.stopped = threading.Event()
        self.decoders = ThreadPoolExecutor(threads, "decode")
        self.encoders = ThreadPoolExecutor(threads, "encode")
        self.threads: list[threading.Thread] = []

    def begin(self, jobs: Sequence[Job]) -> None:
        """Start all threads."""
        for work in (lambda: self._feed(jobs), self._own_gpu):
            thread = threading.Thread(target=self._guard, args=(work,))
            thread.start()
            self.threads.append(thread)

    def stop(self) -> None:
        """Take no new images, drop those that are not being worked on, and wait for the threads."""
        self.stopped.set()
        self.room.release()
        self.decoders.shutdown(cancel_futures=True)
        self.ready.put(None)
        for thread in self.threads:
            thread.join()
        self.encoders.shutdown(cancel_futures=True)

    def _guard(self, work: Callable[[], None]) -> None:
        """Hand what a thread should not have raised to the caller of the run, who waits for outcomes."""
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - it is raised again there
            self.outcomes.put(error)

    def _feed(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self.room.acquire()
            if self.stopped.is_set():
                return
            self.decoders.submit(self._guard, partial(self._decode, job))
        self.decoders.shutdown()
        self.ready.put(None)

    def _decode(self, job: Job) -> None:
        start = time.perf_counter()
        try:
            photo = read(job)
            staged = Photo(self.gpu.stage(photo.rgb), photo.notes)
        except FAILURES as error:
            self.outcomes.put(failure(job, error, start))
        else:
            self.ready.put(_Item(job, staged, start))

    def _batches(self, left: dict[_Item, None]) -> Iterator[list[Task]]:
        """What is decoded, up to a full batch, or an empty one when nothing is; `left` gathers it all."""
        masks = "masks" in self.settings.save
        while True:
            items: list[_Item] = []
            while len(items) < MAX_IMAGES:
                try:
                    item = self.ready.get_nowait()
                except Empty:
                    break
                if item is None:
                    self.ready.put(None)  # for the next look
                    break
                items.append(item)
                left[item] = None
            if items:
                yield [Task(item.photo.rgb, self.settings.fit, masks, item) for item in items]
                continue
            yield []
            item = self.ready.get()
            if item is None or self.stopped.is_set():
                return
            left[item] = None
            yield [Task(item.photo.rgb, self.settings.fit, masks, item)]

    def _own_gpu(self) -> None:
        left: dict[_Item, None] = {}
        try:
            for result in self.gpu.segment_batches(self._batches(left)):
                del left[result.task.tag]
                self._later(partial(self._encode, result))
        except BackendError as error:
            reason = str(error)
            for item in left:
                self._later(partial(self._segment_on_cpu, item, reason))
            while (waiting := self.ready.get()) is not None:
                self._later(partial(self._segment_on_cpu, waiting, reason))

    def _later(self, work: Callable[[], None]) -> None:
        if not self.stopped.is_set():
            self.encoders.submit(self._guard, work)

    def _encode(self, result: Result) -> None:
        item: _Item = result.task.tag
        if result.labels is None or result.palette is None:
            self._segment_on_cpu(item, str(result.error))
            return
        try:
            outcome = write(item.job, self.settings, item.photo, result.labels, result.palette, item.start)
        except FAILURES as error:
            outcome = failure(item.job, error, item.start)
        self.outcomes.put(outcome)

    def _segment_on_cpu(self, item: _Item, reason: str) -> None:
        try:
            cpu = choose(only="cpu", options=self.settings.fit).backend
            result = segment_with(cpu, item.photo.rgb, self.settings.fit)
            labels = LabelMap.pack(result.labels, len(result.counts))
            outcome = write(item.job, self.settings, item.photo, labels, result.palette, item.start)
        except FAILURES as error:
            outcome = failure(item.job, error, item.start)
        note = f"it was done on the CPU: {reason}"
        self.outcomes.put(replace(outcome, fallback=reason, notes=(*outcome.notes, note)))
