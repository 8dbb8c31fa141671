"""A pipeline of images on one GPU: one thread drives the GPU, and other threads decode and encode.

    decoders -> decoded images -> GPU thread: many images per launch -> encoders -> results

The number of images in the pipeline is limited: it keeps every thread busy, whatever the number of jobs. When
the GPU thread has nothing to do, it takes all images that are decoded, at most a full batch; it does not wait
for a batch to fill. Images that do not fit into the memory of the GPU come out as `Lost`, for the CPU.
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
from kseg_batch.batch.workers.jobs import FAILURES, Lost, failed_outcome
from kseg_batch.batch.workers.load_image import load_image
from kseg_batch.batch.workers.write_outputs import write_outputs
from kseg_batch.errors import describe
from kseg_batch.kmeans.color_spaces import convert
from kseg_batch.kmeans.mean_colors import with_mean_colors
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
"""Images in the pipeline for each decoding thread: one decoded, one on the GPU, one encoded."""


JOIN_SECONDS = 1.0
"""Seconds to wait for a thread at the end. The feeding thread may be waiting for a job that never comes."""


@dataclass(frozen=True, slots=True, eq=False)
class _DecodedJob:
    """A job whose image is decoded."""

    job: Job
    image: LoadedImage
    pixels: NDArray[np.uint8]
    """The (H, W, 3) uint8 pixels to cluster, in memory from which the device reads fastest."""
    start: float
    """The time at which the job was begun, by time.perf_counter()."""
    selected: SelectedPalette | None
    """The clusters, where their number was chosen for this image; None where the number is fixed."""


def process_on_gpu(
    jobs: Iterable[Job], settings: Settings, gpu: GpuBackend, *, threads: int | None = None
) -> Generator[Outcome | Lost]:
    """Segment all images, and yield the result of each as soon as there is one.

    Args:
        jobs: The images. The iterator may block until there is another job.
        settings: What to do with every image.
        gpu: The GPU.
        threads: Number of decoding threads, and of encoding threads; None for one per usable core.

    Yields:
        The outcome of each image; or a `Lost` for an image that does not fit into the memory of the GPU.

    Raises:
        BackendError: The GPU failed. Images without a result are not done.
    """
    pipeline = _Pipeline(settings, gpu, threads or usable_cores())
    with ExitStack() as cleanup:
        cleanup.callback(pipeline.stop)
        pipeline.start(jobs)
        while (result := pipeline.next_result()) is not None:
            yield result


class _Pipeline:
    """The threads of a pipeline, and the queues between them."""

    def __init__(self, settings: Settings, gpu: GpuBackend, threads: int) -> None:
        self.settings = settings
        self.gpu = gpu
        self.free_places = threading.Semaphore(IMAGES_PER_THREAD * threads)
        self.decoded: SimpleQueue[_DecodedJob | None] = SimpleQueue()  # None after the last
        self.results: SimpleQueue[Outcome | Lost | BaseException | None] = SimpleQueue()  # likewise
        self.stopped = threading.Event()
        self.decoders = ThreadPoolExecutor(threads, "decode")
        self.encoders = ThreadPoolExecutor(threads, "encode")
        self.threads: list[threading.Thread] = []

    def start(self, jobs: Iterable[Job]) -> None:
        """Start the feeding thread and the GPU thread. The pools start their threads when they need them."""
        for work in (lambda: self._feed(jobs), self._drive_gpu):
            thread = threading.Thread(target=self._pass_errors_on, args=(work,), daemon=True)
            thread.start()
            self.threads.append(thread)

    def next_result(self) -> Outcome | Lost | None:
        """Wait for the next result, and return it; None after the last one."""
        result = self.results.get()
        if isinstance(result, BaseException):
            raise result
        if result is not None:
            self.free_places.release()
        return result

    def stop(self) -> None:
        """Take no more images, drop those that no thread is working on, and wait for the threads."""
        self.stopped.set()
        self.free_places.release()
        self.decoders.shutdown(cancel_futures=True)
        self.decoded.put(None)
        for thread in self.threads:
            thread.join(JOIN_SECONDS)
        self.encoders.shutdown(cancel_futures=True)

    def _pass_errors_on(self, work: Callable[[], None]) -> None:
        """Do work in a thread, and put an unexpected exception into the queue of results."""
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again by `next_result`
            self.results.put(error)

    def _feed(self, jobs: Iterable[Job]) -> None:
        """Submit jobs to the decoders, as long as the pipeline has free places."""
        for job in jobs:
            self.free_places.acquire()
            if self.stopped.is_set():
                return
            self.decoders.submit(self._pass_errors_on, partial(self._decode, job))
        self.decoders.shutdown()
        self.decoded.put(None)

    def _decode(self, job: Job) -> None:
        """Decode the image of a job, in a decoding thread."""
        start = time.perf_counter()
        try:
            image = load_image(job, self.settings)
            space = self.settings.fit.color_space
            pixels = self.gpu.stage(convert(image.photo.pixels, space))
            if image.photo.opaque is None and space == "rgb":  # then both arrays are equal: keep one of them
                image = replace(image, photo=replace(image.photo, rgb=pixels))
        except FAILURES as error:
            self.results.put(failed_outcome(job, error, start))
            return
        try:
            selected = self._select_k(pixels)
        except (DeviceMemoryError, MemoryError) as error:
            self.results.put(Lost(job, describe(error)))
        else:
            self.decoded.put(_DecodedJob(job, image, pixels, start, selected))

    def _select_k(self, pixels: NDArray[np.uint8]) -> SelectedPalette | None:
        """Choose the number of clusters of an image, because a batch takes one; None if it is fixed."""
        if self.settings.k_range is None:
            return None
        histogram = self.gpu.histogram(pixels)
        return select_k(self.gpu, histogram, self.settings.fit, self.settings.k_range)

    def _batches(self) -> Iterator[list[BatchItem]]:
        """Yield the images that are decoded, up to a full batch; an empty batch before each wait for images.

        An empty batch lets the GPU finish the batches before it.
        """
        while True:
            batch: list[_DecodedJob] = []
            while len(batch) < MAX_IMAGES:
                try:
                    decoded = self.decoded.get_nowait()
                except Empty:
                    break
                if decoded is None:
                    self.decoded.put(None)  # for `get` below
                    break
                batch.append(decoded)
            if batch:
                yield [self._batch_item(decoded) for decoded in batch]
                continue
            yield []
            decoded = self.decoded.get()
            if decoded is None or self.stopped.is_set():
                return
            yield [self._batch_item(decoded)]

    def _batch_item(self, decoded: _DecodedJob) -> BatchItem:
        """Return an image's item of a batch. The GPU makes the masks if its labels are written unchanged."""
        unchanged = decoded.image.photo.opaque is None and not self.settings.regions
        masks = "masks" in self.settings.save and unchanged
        palette = decoded.selected.palette if decoded.selected else self.settings.palette
        return BatchItem(decoded.pixels, self.settings.fit, masks, decoded, palette)

    def _drive_gpu(self) -> None:
        """Segment all batches, in the GPU thread."""
        for result in self.gpu.segment_batches(self._batches()):
            if not self.stopped.is_set():
                self.encoders.submit(self._pass_errors_on, partial(self._encode, result))
        self.encoders.shutdown()
        self.results.put(None)

    def _encode(self, result: BatchResult) -> None:
        """Write the outputs of an image, in an encoding thread."""
        decoded: _DecodedJob = result.item.tag
        if result.labels is None or result.palette is None:
            self.results.put(Lost(decoded.job, str(result.error)))
            return
        selected = decoded.selected or SelectedPalette(result.palette, None)
        labels, palette = result.labels, selected.palette
        photo, regions = decoded.image.photo, self.settings.regions
        try:
            if self.settings.takes_means:
                palette = with_mean_colors(palette, photo.pixels, labels.labels)
            if photo.opaque is not None or regions:
                labels, palette = pack_labels(labels.labels, palette, regions, photo.opaque)
            selected = replace(selected, palette=palette)
            outcome = write_outputs(
                decoded.job, self.settings, decoded.image, labels, selected, decoded.start
            )
        except FAILURES as error:
            outcome = failed_outcome(decoded.job, error, decoded.start)
        self.results.put(outcome)
