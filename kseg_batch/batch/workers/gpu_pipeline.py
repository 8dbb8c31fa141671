"""Images on one GPU: threads decode and encode around the one that owns the device.

    decoders -> ready -> owner: many images per launch -> encoders -> outcomes

So many images are between the two ends as keep every thread busy, and no more, whatever the length of the
list. The owner takes what is decoded when it has nothing to do, be it one image or a full batch: it waits
for nobody to fill one up. What does not fit on the GPU comes out as lost, for the CPU.
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

from kseg_batch.backends.gpu.backend import MAX_IMAGES
from kseg_batch.backends.gpu.batch import BatchItem
from kseg_batch.backends.gpu.device import DeviceMemoryError
from kseg_batch.batch.workers.jobs import FAILURES, Lost, failure
from kseg_batch.batch.workers.load_image import load_image
from kseg_batch.batch.workers.write_outputs import write_outputs
from kseg_batch.errors import describe
from kseg_batch.kmeans.color_spaces import convert
from kseg_batch.processes import usable_cores
from kseg_batch.segmentation.regions import pack_labels
from kseg_batch.segmentation.select_k import SelectedPalette, select_k

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from kseg_batch.backends.gpu.backend import GpuBackend
    from kseg_batch.backends.gpu.batch import BatchResult
    from kseg_batch.batch.storage.scan import Job
    from kseg_batch.batch.workers.jobs import Outcome, Settings
    from kseg_batch.batch.workers.load_image import LoadedImage

IMAGES_PER_THREAD = 3
"""Images between the two ends for each thread that decodes: one decoded, one on the GPU, one encoded."""


PATIENCE = 1.0
"""Seconds to wait for a thread at the end: the one that asks for jobs may wait for one that never comes."""


@dataclass(frozen=True, slots=True, eq=False)
class _Item:
    """A job under way."""

    job: Job
    image: LoadedImage
    pixels: NDArray[np.uint8]
    """What is clustered, where the device reads it fastest."""
    start: float
    selected: SelectedPalette | None
    """Its clusters, where their number is chosen by its colours."""


def process_on_gpu(
    jobs: Iterable[Job], settings: Settings, gpu: GpuBackend, *, threads: int | None = None
) -> Generator[Outcome | Lost]:
    """Do all jobs, and yield what became of each as it is done.

    An image that does not fit on the GPU comes out as lost.

    Args:
        jobs: The images. It may wait for the next one.
        settings: What to do with each.
        gpu: What segments them.
        threads: How many decode, and as many encode; one for each usable core unless given.

    Raises:
        BackendError: The GPU failed. What did not come out is not done.
    """
    run = _Run(settings, gpu, threads or usable_cores())
    with ExitStack() as cleanup:
        cleanup.callback(run.stop)
        run.begin(jobs)
        while (outcome := run.next_outcome()) is not None:
            yield outcome


class _Run:
    """The threads of one run and the queues between them."""

    def __init__(self, settings: Settings, gpu: GpuBackend, threads: int) -> None:
        self.settings = settings
        self.gpu = gpu
        self.room = threading.Semaphore(IMAGES_PER_THREAD * threads)
        self.ready: SimpleQueue[_Item | None] = SimpleQueue()
        self.outcomes: SimpleQueue[Outcome | Lost | BaseException | None] = SimpleQueue()
        self.stopped = threading.Event()
        self.decoders = ThreadPoolExecutor(threads, "decode")
        self.encoders = ThreadPoolExecutor(threads, "encode")
        self.threads: list[threading.Thread] = []

    def begin(self, jobs: Iterable[Job]) -> None:
        """Start all threads."""
        for work in (lambda: self._feed(jobs), self._own_gpu):
            thread = threading.Thread(target=self._guard, args=(work,), daemon=True)
            thread.start()
            self.threads.append(thread)

    def next_outcome(self) -> Outcome | Lost | None:
        """Wait for the next image to be done; None when all are."""
        outcome = self.outcomes.get()
        if isinstance(outcome, BaseException):
            raise outcome
        if outcome is not None:
            self.room.release()
        return outcome

    def stop(self) -> None:
        """Take no new images, drop those that are not being worked on, and wait for the threads."""
        self.stopped.set()
        self.room.release()
        self.decoders.shutdown(cancel_futures=True)
        self.ready.put(None)
        for thread in self.threads:
            thread.join(PATIENCE)
        self.encoders.shutdown(cancel_futures=True)

    def _guard(self, work: Callable[[], None]) -> None:
        """Hand what a thread should not have raised to the caller of the run, who waits for outcomes."""
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - it is raised again there
            self.outcomes.put(error)

    def _feed(self, jobs: Iterable[Job]) -> None:
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
            image = load_image(job, self.settings)
            space = self.settings.fit.color_space
            pixels = self.gpu.stage(convert(image.photo.pixels, space))
            if image.photo.opaque is None and space == "rgb":  # one copy is enough
                image = replace(image, photo=replace(image.photo, rgb=pixels))
        except FAILURES as error:
            self.outcomes.put(failure(job, error, start))
            return
        try:
            selected = self._select_k(pixels)
        except (DeviceMemoryError, MemoryError) as error:
            self.outcomes.put(Lost(job, describe(error)))
        else:
            self.ready.put(_Item(job, image, pixels, start, selected))

    def _select_k(self, pixels: NDArray[np.uint8]) -> SelectedPalette | None:
        """Choose the number of clusters, if it is not given: before a batch, which fits once."""
        if self.settings.k_range is None:
            return None
        histogram = self.gpu.histogram(pixels)
        return select_k(self.gpu, histogram, self.settings.fit, self.settings.k_range)

    def _batches(self) -> Iterator[list[BatchItem]]:
        """What is decoded, up to a full batch, or an empty one when nothing is."""
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
            if items:
                yield [self._batch_item(item) for item in items]
                continue
            yield []
            item = self.ready.get()
            if item is None or self.stopped.is_set():
                return
            yield [self._batch_item(item)]

    def _batch_item(self, item: _Item) -> BatchItem:
        """Masks come from the device where its labels are those that are written."""
        packed = item.image.photo.opaque is None and not self.settings.regions
        masks = "masks" in self.settings.save and packed
        palette = item.selected.palette if item.selected else self.settings.palette
        return BatchItem(item.pixels, self.settings.fit, masks, item, palette)

    def _own_gpu(self) -> None:
        for result in self.gpu.segment_batches(self._batches()):
            self._later(partial(self._encode, result))
        self.encoders.shutdown()
        self.outcomes.put(None)

    def _later(self, work: Callable[[], None]) -> None:
        if not self.stopped.is_set():
            self.encoders.submit(self._guard, work)

    def _encode(self, result: BatchResult) -> None:
        item: _Item = result.item.tag
        if result.labels is None or result.palette is None:
            self.outcomes.put(Lost(item.job, str(result.error)))
            return
        selected = item.selected or SelectedPalette(result.palette, None)
        labels, palette = result.labels, selected.palette
        opaque, regions = item.image.photo.opaque, self.settings.regions
        try:
            if opaque is not None or regions:
                labels, palette = pack_labels(labels.labels, palette, regions, opaque)
                selected = replace(selected, palette=palette)
            outcome = write_outputs(item.job, self.settings, item.image, labels, selected, item.start)
        except FAILURES as error:
            outcome = failure(item.job, error, item.start)
        self.outcomes.put(outcome)
