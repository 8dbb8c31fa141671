"""The step that times what could be otherwise: grids, blocks, sub-batches, and ways of counting colours.

Every way is first compared with the package's own: a way with another result is not timed. The sizes that
`kseg_batch.backends.gpu.layout.Tuning` holds, and the threads of a block, change the whole batch, so that a
whole batch is timed. The ways of counting are kernels of `count_variants.cu`: only the histogram is timed.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.gpu.checks import Expected
from benchmarks.gpu.device_wrapper import fetch
from benchmarks.gpu.measure import Bench
from benchmarks.gpu.recording_device import TimedDevice, Watch
from benchmarks.gpu.timing import batches_of, kernel_times, kernels_span
from benchmarks.support.checks import WrongResultError
from kseg_batch.backends.gpu.batch import BatchItem
from kseg_batch.backends.gpu.device import Variant
from kseg_batch.backends.gpu.launches import Launches
from kseg_batch.backends.gpu.layout import IMAGE, N_CODES, STATE, Layout, Request, Tuning, packed
from kseg_batch.backends.gpu.memory import Slot
from kseg_batch.kmeans.fixed_point import SCALE
from kseg_batch.kmeans.histogram import ColorHistogram
from kseg_batch.kmeans.options import FitOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from benchmarks.gpu.recording_device import Opened, Operation
    from benchmarks.gpu.step import Work
    from kseg_batch.backends.gpu.device import Array

COUNT_VARIANTS = Path(__file__).with_name("count_variants.cu")
COUNT_KERNELS = ("count_unread", "count_marking", "count_marking_shared", "tally_cells")
"""The kernels of that file."""

KS = (3, 16)
REPEATS = 8
COUNTED = 8
"""Images whose histograms are timed: as many as have tables at a time."""
PLAIN = Variant()


def experiments(work: Work) -> None:
    """Time the ways of counting, then those of whole batches, as long as there is time.

    Raises:
        WrongResultError: A way gives another result.
    """
    counting = time_counting(work)
    batches = time_batches(work)
    fastest = min(counting, key=lambda entry: float(entry["us_per_image"]))
    best = min(batches, key=lambda entry: float(entry["us_per_image"]))
    work.findings.summarise(
        f"k = {KS[0]}: {best['way']} is fastest, {best['us_per_image']:.1f} us an image, "
        f"{batches[0]['us_per_image']:.1f} as it is; counting: {fastest['way']}"
    )


# ---- whole batches ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Way:
    """One way to segment a batch."""

    name: str
    tuning: Tuning = field(default_factory=Tuning)
    threads: int | None = None
    """Of a block; those of the backend where None."""
    defines: tuple[str, ...] = ()


WAYS = (
    Way("as it is"),
    *(Way(f"{blocks} blocks", Tuning(blocks=blocks)) for blocks in (256, 512, 2048, 4096)),
    Way("a block for all work", Tuning(blocks=1 << 30)),
    *(Way(f"{n} counted together", Tuning(counted_together=n)) for n in (1, 4, 16, 64)),
    Way("256 threads", threads=256, defines=("-DMAX_THREADS=256",)),
    Way("as it is, once more"),
)


def time_batches(work: Work, ways: Sequence[Way] = WAYS) -> list[dict[str, Any]]:
    """Time whole batches in every way, and return the entries of the first k.

    Raises:
        WrongResultError: A way gives another result than the first.
    """
    entries: list[dict[str, Any]] = []
    expected: dict[int, list[Expected]] = {k: [] for k in KS}
    everything = [(way, k) for k in KS for way in ways]
    for way, k in work.findings.as_time_permits(everything, lambda one: f"{one[0].name}, k = {one[1]}"):
        bench = Bench(work.open_variant(threads=way.threads, defines=way.defines), way.tuning)
        images = work.album.batch(work.scale.size, work.scale.batch)
        tasks = [BatchItem(bench.backend.stage(image), FitOptions(k=k), masks=False) for image in images]
        entry = {"way": way.name, "k": k, **_time_batch(bench, tasks, expected[k], way.name)}
        bench.close()
        entries.append(entry)
        work.findings.append("batches", entry)
        print(f"{way.name}, k = {k}: {entry['us_per_image']:.1f} us an image", flush=True)
    return [entry for entry in entries if entry["k"] == KS[0]]


def _time_batch(
    bench: Bench, tasks: Sequence[BatchItem], expected: list[Expected], name: str
) -> dict[str, Any]:
    """Compare a batch with what the first way made of it, which `expected` keeps; then time it."""
    results = bench.run(tasks)
    for i, result in enumerate(results):
        if result.labels is None or result.palette is None:
            raise WrongResultError(f"{name}: image {i} has no result")
        if i == len(expected):
            expected.append(Expected.of(result.palette, result.labels.labels))
        expected[i].require(result, f"{name}, image {i}")
    n = len(tasks)
    spans = [kernels_span(batch) for batch in _watched(bench, tasks, Watch.KERNELS)]
    times = [kernel_times(batch) for batch in _watched(bench, tasks, Watch.EVERYTHING)]
    return {
        "us_per_image": 1e3 * statistics.median(spans) / n,
        "kernels_us_per_image": _medians(times, n),
    }


def _watched(bench: Bench, tasks: Sequence[BatchItem], watch: Watch) -> list[list[Operation]]:
    """What was recorded of each of several runs of a batch."""
    bench.device.begin(watch)
    for _ in range(REPEATS):
        bench.run(tasks)
    return batches_of(bench.device.take(), REPEATS)


def _medians(times: Sequence[dict[str, float]], n_images: int) -> dict[str, float]:
    """The median of each kernel's time, in microseconds an image."""
    return {name: 1e3 * statistics.median(one[name] for one in times) / n_images for name in times[0]}


# ---- counting --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class MarkingLaunches(Launches):
    """Counts by a kernel that marks touched cells, and one that counts their colours."""

    counting: str = "count_marking"

    def count(self, images: Array, grid: tuple[int, int]) -> None:
        """See `Launches`. `starts` holds the marks until the first colours are numbered."""
        a, n = self.arrays, grid[1]
        self.device.clear(a["starts"], self.stream)
        self._launch(self.counting, PLAIN, grid, images, a["pixels"], a["table"], a["starts"])
        cells = (self._blocks(N_CODES // 16, n), n)
        self._launch("tally_cells", PLAIN, cells, a["table"], a["starts"], a["in_cell"])


@dataclass(frozen=True, slots=True, eq=False)
class UnreadLaunches(Launches):
    """Counts into the table alone, so that no colour is drained. The caller looks at it and clears it."""

    def count(self, images: Array, grid: tuple[int, int]) -> None:
        """See `Launches`."""
        a = self.arrays
        self._launch("count_unread", PLAIN, grid, images, a["pixels"], a["table"])


def time_counting(work: Work) -> list[dict[str, Any]]:
    """Time the histogram of photos and of white pages in every way, and return the entries of photos.

    Raises:
        WrongResultError: A way finds other colours.
    """
    opened = work.open_variant(files=dict.fromkeys(COUNT_KERNELS, COUNT_VARIANTS))
    photos = work.album.batch(work.scale.size, min(COUNTED, work.scale.batch))
    pages = [np.full_like(photo, 255) for photo in photos]
    found: list[dict[str, Any]] = []
    for kind, images in (("photos", photos), ("white pages", pages)):
        expected = [ColorHistogram.from_pixels(image) for image in images]
        for name, launches in (
            ("as it is", Launches),
            ("marks in global memory", MarkingLaunches),
            ("marks in shared memory", partial(MarkingLaunches, counting="count_marking_shared")),
            ("atomics alone, unread", UnreadLaunches),
        ):
            entry = {"way": name, "images": kind, **_time_histogram(opened, launches, images, expected)}
            work.findings.append("counting", entry)
            print(f"{name}, {kind}: {entry['us_per_image']:.1f} us an image", flush=True)
            found += [entry] if kind == "photos" and name != "atomics alone, unread" else []
    return found


def _time_histogram(
    opened: Opened,
    kind: Callable[..., Launches],
    images: Sequence[NDArray[np.uint8]],
    expected: Sequence[ColorHistogram],
) -> dict[str, Any]:
    """Compare the colours of images with NumPy's, then time the kernels that find them."""
    device = TimedDevice(opened.device, opened.library)
    options = FitOptions(k=1)
    requests = [Request(image.shape[0], image.shape[1], options, masks=False) for image in images]
    layout = Layout.of(requests, Tuning(counted_together=len(images)))
    names = ("images", "states", "pixels", "table", "in_cell", "starts", "xyz", "weights")
    needs = {name: need for name, need in layout.arrays().items() if name in names}
    slot = Slot(opened.device)
    arrays = slot.reserve(needs, 1 << 50)
    launches = kind(device, slot.stream, arrays, layout)
    launches.upload([np.ascontiguousarray(image).reshape(-1) for image in images])
    times = []
    for turn in range(REPEATS + 1):
        device.begin(Watch.EVERYTHING)
        launches.histogram()
        device.wait(slot.stream)
        operations = device.take()
        if turn == 0:  # which compiles
            _require_colors(device, slot.stream, launches, expected)
        else:
            times.append(kernel_times(operations))
        if isinstance(launches, UnreadLaunches):
            device.clear(arrays["table"], slot.stream)
            device.wait(slot.stream)
    slot.drop()
    medians = _medians(times, len(images))
    return {"us_per_image": sum(medians.values()), "kernels_us_per_image": medians}


def _require_colors(
    device: TimedDevice, stream: Any, launches: Launches, expected: Sequence[ColorHistogram]
) -> None:
    """Compare the counts with NumPy's: those of the drained colours, or those in the table."""
    arrays = {name: fetch(device, array, stream) for name, array in launches.arrays.items()}
    tables = arrays["table"].reshape(-1, N_CODES)
    if isinstance(launches, UnreadLaunches):
        equal = all(
            np.array_equal(np.flatnonzero(table), histogram.codes)
            and np.array_equal(table[histogram.codes], histogram.counts)
            for table, histogram in zip(tables, expected, strict=True)
        )
    else:
        found = arrays["states"].reshape(-1, len(STATE))[:, STATE.index("colors")].tolist()
        equal = found == [histogram.n_colors for histogram in expected]
        equal &= not (tables.any() or arrays["in_cell"].any())
        for row, histogram in zip(launches.layout.images, expected, strict=True):
            first, n = int(row[IMAGE.index("colors")]), histogram.n_colors
            positions = packed(histogram.colors.astype(np.int64) * SCALE)
            equal &= np.array_equal(arrays["xyz"][first : first + n], positions)
            equal &= np.array_equal(arrays["weights"][first : first + n], histogram.counts)
    if not equal:
        raise WrongResultError(f"{type(launches).__name__} finds other colours than NumPy")
