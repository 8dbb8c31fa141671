"""The GPU backends' host program: one for CuPy and Numba, whose kernels have the same names and arguments.

A batch is a number of launches on one stream: no image is waited for until all of its batch is queued.
There are two slots with memory and a stream of their own, so that one batch is computed while the one before
travels back and the one after arrives. A third slot is for single images. The three share the memory equally.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from kseg_batch.backends.gpu.batch import (
    BatchItem,
    BatchResult,
    QueuedBatch,
    bytes_beside_tables,
    colors_of,
    label_map_of,
    options_of,
    palette_of,
    request_of,
    rows_of,
)
from kseg_batch.backends.gpu.device import DeviceMemoryError
from kseg_batch.backends.gpu.launches import Launches
from kseg_batch.backends.gpu.layout import (
    DEFAULT_TUNING,
    IMAGE,
    STATE,
    TABLE_BYTES,
    Layout,
    Request,
    Tuning,
    packed,
    record,
)
from kseg_batch.backends.gpu.memory import PinnedPool, Slot
from kseg_batch.backends.gpu.options import check_options
from kseg_batch.errors import BackendError
from kseg_batch.images.label_map import LabelMap
from kseg_batch.kmeans import reference
from kseg_batch.kmeans.fixed_point import SCALE
from kseg_batch.kmeans.histogram import ColorHistogram, zorder
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.kmeans.palette import Palette

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from kseg_batch.backends.gpu.device import Array, Device

BATCH_SLOTS = 2
SLOTS = BATCH_SLOTS + 1
"""With the one for single images, by which the number of clusters is chosen while batches run."""
MAX_IMAGES = 64
"""Most images of a batch."""
MEMORY_SHARE = 0.8
"""Of the free memory of the device, what is used where nothing else is said."""


class GpuBackend:
    """Exact k-means on one GPU; see `kernels/clusters.cuh`.

    Attributes:
        memory: Bytes of device memory that its arrays may take, all together.
    """

    def __init__(
        self, name: str, device: Device, memory: int | None = None, tuning: Tuning = DEFAULT_TUNING
    ) -> None:
        self.name = name
        self.memory = int(device.free_memory() * MEMORY_SHARE) if memory is None else memory
        self._share = self.memory // SLOTS
        self._tuning = tuning
        self._device = device
        self._most_images = MAX_IMAGES
        self._pool = PinnedPool(device)
        self._slots = [Slot(device) for _ in range(BATCH_SLOTS)]
        self._batches_lock = threading.Lock()
        self._single_slot = Slot(device)
        self._single_lock = threading.Lock()

    @property
    def compiled(self) -> bool:
        """See `Backend.compiled`: only the device's library knows."""
        return False

    def check(self, options: FitOptions) -> None:
        """See `Backend.check`."""
        check_options(self.name, options)

    def warm_up(self, ks: Iterable[int] = (2,)) -> None:
        """See `Backend.warm_up`: compile the kernels, or load them from a cache.

        Args:
            ks: Numbers of clusters that will be asked for; kernels differ between few clusters and many.
        """
        image = np.zeros((2, 1, 3), np.uint8)
        image[1] = 255
        for k in ks:
            options = FitOptions(k=k)
            for _ in self.segment_batches([[BatchItem(image, options, masks=True)]]):
                pass
            self.assign(image, self.fit(self.histogram(image), options))

    # ---- one image -------------------------------------------------------------------------------------

    def histogram(self, image: NDArray[np.uint8]) -> ColorHistogram:
        """See `Backend.histogram`."""
        request = request_of(BatchItem(image, FitOptions(k=1), masks=False))
        layout = Layout.of([request], self._tuning)
        flat = np.ascontiguousarray(image).reshape(-1)
        with self._alone() as slot:
            names = ("images", "states", "pixels", "table", "in_cell", "starts", "xyz", "weights")
            arrays = self._reserve(slot, layout, names)
            launches = Launches(self._device, slot.stream, arrays, layout)
            launches.upload([flat])
            launches.histogram()
            states = self._fetch(slot, arrays["states"], np.int64)
            n = int(states[STATE.index("colors")])
            xyz = self._fetch(slot, arrays["xyz"][:n], np.int64)
            counts = self._fetch(slot, arrays["weights"][:n], np.uint32)
        return ColorHistogram.from_codes(zorder(colors_of(xyz)), counts)

    def fit(self, histogram: ColorHistogram, options: FitOptions) -> Palette:
        """See `Backend.fit`."""
        return self._on_colors(histogram, options, None)

    def measure(self, histogram: ColorHistogram, palette: Palette) -> Palette:
        """See `Backend.measure`."""
        return self._on_colors(histogram, options_of(palette), palette)

    def _on_colors(self, histogram: ColorHistogram, options: FitOptions, given: Palette | None) -> Palette:
        """Fit a palette, or measure a given one."""
        wide = histogram.counts.dtype != np.uint32
        request = Request(1, histogram.n_colors, options, masks=False, given=given is not None)
        layout = Layout.of([request], self._tuning)
        layout.images[0, IMAGE.index("weight_shift")] = reference.weight_shift(histogram.n_pixels)
        n = histogram.n_colors
        states = record(STATE, colors=n, clusters=min(options.k, n) if given is None else options.k)
        xyz = packed(histogram.colors.astype(np.int64) * SCALE)
        weights = np.ascontiguousarray(histogram.counts, dtype=np.int64 if wide else np.uint32)
        with self._alone() as slot:
            skipped = ("pixels", "table", "in_cell", "starts", "output")
            names = tuple(name for name in layout.arrays() if name not in skipped)
            arrays = self._reserve(slot, layout, names, wide=wide)
            for host, target in ((layout.images, "images"), (states, "states")):
                self._device.upload(host.reshape(-1), arrays[target], slot.stream)
            self._device.upload(xyz, arrays["xyz"][:n], slot.stream)
            self._device.upload(weights, arrays["weights"][:n], slot.stream)
            if given is not None:
                centers = rows_of(given)
                self._device.upload(centers, arrays["centers"], slot.stream)
            Launches(self._device, slot.stream, arrays, layout).fit(given=given is not None, wide=wide)
            states = self._fetch(slot, arrays["states"], np.int64)
            centers = self._fetch(slot, arrays["centers"], np.int32)
            clusters = self._fetch(slot, arrays["clusters"], np.int64)
        return palette_of(self.name, states, centers, clusters, options.color_space, given)

    def assign(
        self, image: NDArray[np.uint8], palette: Palette, histogram: ColorHistogram | None = None
    ) -> NDArray[np.uint8]:
        """See `Backend.assign`."""
        k = len(palette.fixed_centers)
        height, width = image.shape[:2]
        layout = Layout.of([Request(height, width, FitOptions(k=k), masks=False, bits=8)], self._tuning)
        flat = np.ascontiguousarray(image).reshape(-1)
        states = record(STATE, clusters=k)
        centers = rows_of(palette)
        with self._alone() as slot:
            arrays = self._reserve(slot, layout, ("images", "states", "pixels", "centers", "output"))
            launches = Launches(self._device, slot.stream, arrays, layout)
            launches.upload([flat])
            self._device.upload(states, arrays["states"], slot.stream)
            self._device.upload(centers, arrays["centers"], slot.stream)
            launches.labels()
            output = self._fetch(slot, arrays["output"], np.uint8)
        return np.ascontiguousarray(output.reshape(len(image), -1)[:, 1:])

    @contextlib.contextmanager
    def _alone(self) -> Iterator[Slot]:
        """The slot for single images; after an error, what is in its tables must not be counted again."""
        with self._single_lock:
            try:
                yield self._single_slot
            except BaseException:
                self._single_slot.drop()
                raise

    # ---- many images -----------------------------------------------------------------------------------

    def stage(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A copy of an image in memory from which it travels at full speed, beside whatever else goes on."""
        try:
            staged = self._pool.take(image.size).reshape(image.shape)
        except BackendError:  # no more can be locked, or the GPU is lost: an ordinary copy does too
            staged = np.empty(image.shape, np.uint8)
        staged[:] = image
        return staged

    def label_map(
        self, image: NDArray[np.uint8], palette: Palette, histogram: ColorHistogram, *, masks: bool
    ) -> LabelMap:
        """See `Backend.label_map`. Whole batches come back packed from the device: see `segment_batches`."""
        return LabelMap.pack(self.assign(image, palette), len(palette.counts))

    def segment_batches(self, batches: Iterable[Sequence[BatchItem]]) -> Generator[BatchResult]:
        """Segment batches of images, each of its own size and k, and yield the results in their order.

        A batch that does not fit in memory is split. While one is computed, the next is asked for; an empty
        one says that there is none yet, and then the results under way are waited for.

        One caller at a time. An image that cannot be done on the device at all comes back with its error.
        """
        under_way: deque[QueuedBatch] = deque()
        with self._batches_lock:
            self._most_images = MAX_IMAGES
            try:
                for tasks in batches:
                    yield from self._queue_batch(tasks, under_way)
                    while under_way and not tasks:
                        yield from self._results(under_way.popleft())
                while under_way:
                    yield from self._results(under_way.popleft())
            finally:  # copies must not go on into host memory that is lent to somebody else by then
                for batch in under_way:
                    batch.slot.drop()

    def _queue_batch(
        self, tasks: Sequence[BatchItem], under_way: deque[QueuedBatch]
    ) -> Iterator[BatchResult]:
        """Queue tasks in as many parts as memory asks for; yield what has to be finished for that."""
        waiting = deque(self._parts(tasks))
        while waiting:
            part = waiting.popleft()
            while len(under_way) == BATCH_SLOTS:
                yield from self._results(under_way.popleft())
            try:
                under_way.append(self._submit(part, self._idle_slot(under_way)))
            except DeviceMemoryError as error:
                if under_way:
                    waiting.appendleft(part)
                    yield from self._results(under_way.popleft())
                elif self._drop_idle(under_way):  # which may be enough
                    waiting.appendleft(part)
                elif len(part) == 1:
                    yield BatchResult(part[0], None, None, error.with_traceback(None))
                else:
                    self._most_images = half = len(part) // 2
                    waiting.extendleft([part[half:], part[:half]])

    def _parts(self, tasks: Sequence[BatchItem]) -> Iterator[Sequence[BatchItem]]:
        """Split into parts of which each fits into a slot's share of the memory, or is one image.

        In a part all have a palette, or none has.
        """
        first, n_bytes = 0, 0
        for i, task in enumerate(tasks):
            size = bytes_beside_tables(request_of(task))
            tables = TABLE_BYTES * min(i + 1 - first, self._tuning.counted_together)
            full = n_bytes + size + tables > self._share or i - first == self._most_images
            if i > first and (full or (task.palette is None) != (tasks[first].palette is None)):
                yield tasks[first:i]
                first, n_bytes = i, 0
            n_bytes += size
        if first < len(tasks):
            yield tasks[first:]

    def _idle_slot(self, under_way: Iterable[QueuedBatch]) -> Slot:
        busy = [batch.slot for batch in under_way]
        return next(slot for slot in self._slots if slot not in busy)

    def _drop_idle(self, under_way: Iterable[QueuedBatch]) -> bool:
        """Give back the memory of slots that are not in use; return whether there was any."""
        busy = [batch.slot for batch in under_way]
        full = [slot for slot in self._slots if slot not in busy and slot.full]
        for slot in full:
            slot.drop()
        return bool(full)

    def _submit(self, tasks: Sequence[BatchItem], slot: Slot) -> QueuedBatch:
        layout = Layout.of([request_of(task) for task in tasks], self._tuning)
        arrays: dict[str, Array] = {}
        try:
            arrays |= self._reserve(slot, layout, tuple(layout.arrays()))
            batch = QueuedBatch(tasks, layout, slot, self._pool)
            launches = Launches(self._device, slot.stream, arrays, layout)
            launches.upload(batch.images)
            launches.histogram()
            given = tasks[0].palette is not None
            if given:
                batch.given[:] = np.concatenate([rows_of(task.palette) for task in tasks if task.palette])
                self._device.upload(batch.given, arrays["centers"], slot.stream)
            launches.fit(given=given)
            launches.labels()
            for name in ("states", "centers", "clusters"):
                self._device.download(arrays[name], getattr(batch, name), slot.stream)
            self._device.download(arrays["output"], batch.output, slot.stream)
        except BaseException:
            arrays.clear()  # views keep memory, too
            slot.drop()
            raise
        return batch

    def _results(self, batch: QueuedBatch) -> Iterator[BatchResult]:
        try:
            self._device.wait(batch.slot.stream)
        except BaseException:
            batch.slot.drop()
            raise
        n = len(batch.tasks)
        states = batch.states.reshape(n, -1)
        centers, clusters = batch.centers.reshape(n, -1), batch.clusters.reshape(n, -1)
        for i, (task, request) in enumerate(zip(batch.tasks, batch.layout.requests, strict=True)):
            space = task.options.color_space
            palette = palette_of(self.name, states[i], centers[i], clusters[i], space, task.palette)
            first = int(batch.layout.images[i, IMAGE.index("rows")])
            output = batch.output[first : first + request.output_bytes]
            yield BatchResult(task, label_map_of(output, request, len(palette.counts)), palette)

    # ---- steps -----------------------------------------------------------------------------------------

    def _reserve(
        self, slot: Slot, layout: Layout, names: Sequence[str], *, wide: bool = False
    ) -> dict[str, Array]:
        needs = {name: need for name, need in layout.arrays(wide=wide).items() if name in names}
        return slot.reserve(needs, self._share)

    def _fetch(self, slot: Slot, source: Array, dtype: type[np.generic]) -> NDArray[Any]:
        """Wait for a device array."""
        host = self._pool.take(len(source) * np.dtype(dtype).itemsize).view(dtype)
        self._device.download(source, host, slot.stream)
        self._device.wait(slot.stream)
        return host
