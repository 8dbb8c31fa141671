"""The host program of both GPU backends: the kernels of CuPy and Numba have the same names and arguments.

A batch is a number of launches on one stream. The host waits for no image before all launches of a batch are
queued. Two slots, each with its own memory and stream, serve the batches: one batch is computed while the
results of the one before travel to the host, and the pixels of the next one to the device. A third slot
serves single images. The three slots share the memory equally.
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
    build_label_map,
    build_palette,
    build_request,
    bytes_without_tables,
    options_for_palette,
    pad_centers,
    require_memory,
    unpack_colors,
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
    make_record,
    packed,
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
"""Slots for batches, and one for single images, whose number of clusters is chosen while batches run."""
MAX_IMAGES = 64
"""Greatest number of images in a batch."""
MEMORY_SHARE = 0.8
"""Default share of the free device memory that a backend may use."""


class GpuBackend:
    """Exact k-means on one GPU; see `kernels/clusters.cuh`.

    Attributes:
        memory: Bytes of device memory that all arrays of the backend may take together.
    """

    def __init__(
        self, name: str, device: Device, memory: int | None = None, tuning: Tuning = DEFAULT_TUNING
    ) -> None:
        self.name = name
        self.memory = int(device.free_memory() * MEMORY_SHARE) if memory is None else memory
        self._slot_memory = self.memory // SLOTS
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
        """See `Backend.compiled`: only the library knows, so False."""
        return False

    def check(self, options: FitOptions) -> None:
        """See `Backend.check`."""
        check_options(self.name, options)

    def warm_up(self, ks: Iterable[int] = (2,)) -> None:
        """See `Backend.warm_up`: compile the kernels, or load them from a cache.

        Args:
            ks: Numbers of clusters of the fits to come; few and many clusters have different kernels.
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
        request = build_request(BatchItem(image, FitOptions(k=1), masks=False))
        layout = Layout.of([request], self._tuning)
        flat = np.ascontiguousarray(image).reshape(-1)
        with self._exclusive_slot() as slot:
            names = ("images", "states", "pixels", "table", "in_cell", "starts", "xyz", "weights")
            arrays = self._reserve(slot, layout, names)
            launches = Launches(self._device, slot.stream, arrays, layout)
            launches.upload([flat])
            launches.histogram()
            states = self._fetch(slot, arrays["states"], np.int64)
            n = int(states[STATE.index("colors")])
            xyz = self._fetch(slot, arrays["xyz"][:n], np.int64)
            counts = self._fetch(slot, arrays["weights"][:n], np.uint32)
        return ColorHistogram.from_codes(zorder(unpack_colors(xyz)), counts)

    def fit(self, histogram: ColorHistogram, options: FitOptions) -> Palette:
        """See `Backend.fit`."""
        return self._fit_or_measure(histogram, options, None)

    def measure(self, histogram: ColorHistogram, palette: Palette) -> Palette:
        """See `Backend.measure`."""
        return self._fit_or_measure(histogram, options_for_palette(palette), palette)

    def _fit_or_measure(
        self, histogram: ColorHistogram, options: FitOptions, given: Palette | None
    ) -> Palette:
        """Fit a palette to a histogram, or measure a given palette."""
        wide = histogram.counts.dtype != np.uint32
        request = Request(1, histogram.n_colors, options, masks=False, given=given is not None)
        layout = Layout.of([request], self._tuning)
        layout.images[0, IMAGE.index("weight_shift")] = reference.weight_shift(histogram.n_pixels)
        n = histogram.n_colors
        states = make_record(STATE, colors=n, clusters=min(options.k, n) if given is None else options.k)
        xyz = packed(histogram.colors.astype(np.int64) * SCALE)
        weights = np.ascontiguousarray(histogram.counts, dtype=np.int64 if wide else np.uint32)
        with self._exclusive_slot() as slot:
            skipped = ("pixels", "table", "in_cell", "starts", "output")
            names = tuple(name for name in layout.arrays() if name not in skipped)
            arrays = self._reserve(slot, layout, names, wide=wide)
            for host, target in ((layout.images, "images"), (states, "states")):
                self._device.upload(host.reshape(-1), arrays[target], slot.stream)
            self._device.upload(xyz, arrays["xyz"][:n], slot.stream)
            self._device.upload(weights, arrays["weights"][:n], slot.stream)
            if given is not None:
                centers = pad_centers(given)
                self._device.upload(centers, arrays["centers"], slot.stream)
            Launches(self._device, slot.stream, arrays, layout).fit(given=given is not None, wide=wide)
            states = self._fetch(slot, arrays["states"], np.int64)
            centers = self._fetch(slot, arrays["centers"], np.int32)
            clusters = self._fetch(slot, arrays["clusters"], np.int64)
        return build_palette(self.name, states, centers, clusters, options.color_space, given)

    def assign(
        self, image: NDArray[np.uint8], palette: Palette, histogram: ColorHistogram | None = None
    ) -> NDArray[np.uint8]:
        """See `Backend.assign`."""
        k = len(palette.fixed_centers)
        height, width = image.shape[:2]
        layout = Layout.of([Request(height, width, FitOptions(k=k), masks=False, bits=8)], self._tuning)
        flat = np.ascontiguousarray(image).reshape(-1)
        states = make_record(STATE, clusters=k)
        centers = pad_centers(palette)
        with self._exclusive_slot() as slot:
            arrays = self._reserve(slot, layout, ("images", "states", "pixels", "centers", "output"))
            launches = Launches(self._device, slot.stream, arrays, layout)
            launches.upload([flat])
            self._device.upload(states, arrays["states"], slot.stream)
            self._device.upload(centers, arrays["centers"], slot.stream)
            launches.labels()
            output = self._fetch(slot, arrays["output"], np.uint8)
        return np.ascontiguousarray(output.reshape(len(image), -1)[:, 1:])

    @contextlib.contextmanager
    def _exclusive_slot(self) -> Iterator[Slot]:
        """Lend the slot for single images to one thread; after an error, drop the counts in its tables."""
        with self._single_lock:
            try:
                yield self._single_slot
            except BaseException:
                self._single_slot.drop()
                raise

    # ---- many images -----------------------------------------------------------------------------------

    def stage(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a copy of an image in page-locked memory, from which the device copies at full speed."""
        try:
            staged = self._pool.take(image.size).reshape(image.shape)
        except BackendError:  # no memory left to lock, or the GPU is lost: ordinary memory works, too
            staged = np.empty(image.shape, np.uint8)
        staged[:] = image
        return staged

    def label_map(
        self, image: NDArray[np.uint8], palette: Palette, histogram: ColorHistogram, *, masks: bool
    ) -> LabelMap:
        """See `Backend.label_map`. For batches, the device packs the labels: see `segment_batches`."""
        return LabelMap.pack(self.assign(image, palette), len(palette.counts))

    def segment_batches(self, batches: Iterable[Sequence[BatchItem]]) -> Generator[BatchResult]:
        """Segment batches of images, each of its own size and k, and yield the results in their order.

        A batch that does not fit in memory is split. While a batch is computed, the next one is requested. An
        empty batch means that no image is ready yet; the results under way are then awaited and yielded.

        Calls from several threads wait for each other. The result of an image that does not fit in the device
        memory on its own holds its error.

        Args:
            batches: The batches, requested one by one.
        """
        under_way: deque[QueuedBatch] = deque()
        with self._batches_lock:
            self._most_images = MAX_IMAGES
            try:
                for items in batches:
                    yield from self._queue_batch(items, under_way)
                    while under_way and not items:
                        yield from self._results(under_way.popleft())
                while under_way:
                    yield from self._results(under_way.popleft())
            finally:  # stop copies into host memory before the memory is lent again
                for batch in under_way:
                    batch.slot.drop()

    def _queue_batch(
        self, items: Sequence[BatchItem], under_way: deque[QueuedBatch]
    ) -> Iterator[BatchResult]:
        """Queue a batch in as many parts as memory requires; yield the results that had to come first."""
        waiting = deque(self._parts(items))
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
                elif self._drop_idle(under_way):  # the freed memory may be enough
                    waiting.appendleft(part)
                elif len(part) == 1:
                    yield BatchResult(part[0], None, None, error.with_traceback(None))
                else:
                    self._most_images = half = len(part) // 2
                    waiting.extendleft([part[half:], part[:half]])

    def _parts(self, items: Sequence[BatchItem]) -> Iterator[Sequence[BatchItem]]:
        """Split a batch into parts. Each part fits in the memory of a slot, or is a single image.

        Either all items of a part have a palette, or none has.
        """
        first, n_bytes = 0, 0
        for i, item in enumerate(items):
            size = bytes_without_tables(build_request(item))
            tables = TABLE_BYTES * min(i + 1 - first, self._tuning.counted_together)
            full = n_bytes + size + tables > self._slot_memory or i - first == self._most_images
            if i > first and (full or (item.palette is None) != (items[first].palette is None)):
                yield items[first:i]
                first, n_bytes = i, 0
            n_bytes += size
        if first < len(items):
            yield items[first:]

    def _idle_slot(self, under_way: Iterable[QueuedBatch]) -> Slot:
        busy = [batch.slot for batch in under_way]
        return next(slot for slot in self._slots if slot not in busy)

    def _drop_idle(self, under_way: Iterable[QueuedBatch]) -> bool:
        """Free the memory of the slots that are not in use; return whether they held any."""
        busy = [batch.slot for batch in under_way]
        full = [slot for slot in self._slots if slot not in busy and slot.holds_memory]
        for slot in full:
            slot.drop()
        return bool(full)

    def _submit(self, items: Sequence[BatchItem], slot: Slot) -> QueuedBatch:
        layout = Layout.of([build_request(item) for item in items], self._tuning)
        arrays: dict[str, Array] = {}
        try:
            arrays |= self._reserve(slot, layout, tuple(layout.arrays()))
            batch = QueuedBatch(items, layout, slot, self._pool)
            launches = Launches(self._device, slot.stream, arrays, layout)
            launches.upload(batch.images)
            launches.histogram()
            given = items[0].palette is not None
            if given:
                batch.given[:] = np.concatenate([pad_centers(item.palette) for item in items if item.palette])
                self._device.upload(batch.given, arrays["centers"], slot.stream)
            launches.fit(given=given)
            launches.labels()
            for name in ("states", "centers", "clusters"):
                self._device.download(arrays[name], getattr(batch, name), slot.stream)
            self._device.download(arrays["output"], batch.output, slot.stream)
        except BaseException:
            arrays.clear()  # views keep memory alive
            slot.drop()
            raise
        return batch

    def _results(self, batch: QueuedBatch) -> Iterator[BatchResult]:
        try:
            self._device.wait(batch.slot.stream)
        except BaseException:
            batch.slot.drop()
            raise
        n = len(batch.items)
        states = batch.states.reshape(n, -1)
        centers, clusters = batch.centers.reshape(n, -1), batch.clusters.reshape(n, -1)
        for i, (item, request) in enumerate(zip(batch.items, batch.layout.requests, strict=True)):
            space = item.options.color_space
            palette = build_palette(self.name, states[i], centers[i], clusters[i], space, item.palette)
            first = int(batch.layout.images[i, IMAGE.index("rows")])
            output = batch.output[first : first + request.output_bytes]
            yield BatchResult(item, build_label_map(output, request, len(palette.counts)), palette)

    # ---- steps -----------------------------------------------------------------------------------------

    def _reserve(
        self, slot: Slot, layout: Layout, names: Sequence[str], *, wide: bool = False
    ) -> dict[str, Array]:
        needs = {name: need for name, need in layout.arrays(wide=wide).items() if name in names}
        require_memory(needs, self._slot_memory)
        return slot.reserve(needs, self._slot_memory)

    def _fetch(self, slot: Slot, source: Array, dtype: type[np.generic]) -> NDArray[Any]:
        """Copy a device array to the host, and wait for the copy."""
        host = self._pool.take(len(source) * np.dtype(dtype).itemsize).view(dtype)
        self._device.download(source, host, slot.stream)
        self._device.wait(slot.stream)
        return host
