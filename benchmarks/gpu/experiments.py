"""The step that times alternatives: grids, blocks, sub-batches, and kernels that count colours.

Every alternative is first compared with the package as it is. One with another result is not timed. The sizes
of `kseg_batch.backends.gpu.layout.Tuning`, and the threads of a block, change the whole batch, so that whole
batches are timed. The kernels of `count_variants.cu` count colours otherwise: only the histogram is timed.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.gpu.checks import digest_result, require_equal
from benchmarks.gpu.device_wrapper import fetch
from benchmarks.gpu.measure import ObservedBackend
from benchmarks.gpu.recording_device import TimedDevice, Watch
from benchmarks.gpu.timing import batches_of, kernel_times, kernels_span
from benchmarks.support.checks import WrongResultError
from kseg_batch.backends.gpu.batch import BatchItem
from kseg_batch.backends.gpu.device import Variant
from kseg_batch.backends.gpu.launches import Launches
from kseg_batch.backends.gpu.layout import IMAGE, N_CODES, STATE, Layout, Request, Tuning, packed
from kseg_batch.backends.gpu.memory import Slot
from kseg_batch.kmeans.equality import ClusteringDigest
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
"""The kernels of `COUNT_VARIANTS`."""

KS = (3, 16)
REPEATS = 8
COUNTED = 8
"""Images whose histograms are timed: as many as there are tables."""
PLAIN = Variant()


def experiments(work: Work) -> None:
    """Time the alternatives of counting, then of whole batches, as time permits.

    Raises:
        WrongResultError: An alternative gives another result.
    """
    counting = time_counting(work)
    batches = time_batches(work)
    fastest = min(counting, key=lambda entry: float(entry["us_per_image"]))
    best = min(batches, key=lambda entry: float(entry["us_per_image"]))
    work.findings.summarise(
        f"k = {KS[0]}: {best['alternative']} is fastest, {best['us_per_image']:.1f} us an image, "
        f"{batches[0]['us_per_image']:.1f} as it is; counting: {fastest['alternative']}"
    )


# ---- whole batches ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BatchAlternative:
    """One alternative for segmenting a batch."""

    name: str
    tuning: Tuning = field(default_factory=Tuning)
    threads: int | None = None
    """Threads of a block; None for those of the backend."""
    defines: tuple[str, ...] = ()


ALTERNATIVES = (
    BatchAlternative("as it is"),
    *(BatchAlternative(f"{blocks} blocks", Tuning(blocks=blocks)) for blocks in (256, 512, 2048, 4096)),
    BatchAlternative("a block for all work", Tuning(blocks=1 << 30)),
    *(BatchAlternative(f"{n} counted together", Tuning(counted_together=n)) for n in (1, 4, 16, 64)),
    BatchAlternative("256 threads", threads=256, defines=("-DMAX_THREADS=256",)),
    BatchAlternative("as it is, once more"),
)


def time_batches(work: Work, alternatives: Sequence[BatchAlternative] = ALTERNATIVES) -> list[dict[str, Any]]:
    """Time whole batches with every alternative, and return the entries of the first k.

    Raises:
        WrongResultError: An alternative gives another result than the first.
    """
    entries: list[dict[str, Any]] = []
    expected: dict[int, list[ClusteringDigest]] = {k: [] for k in KS}
    everything = [(alternative, k) for k in KS for alternative in alternatives]
    for alternative, k in work.findings.as_time_permits(
        everything, lambda one: f"{one[0].name}, k = {one[1]}"
    ):
        observed = ObservedBackend(
            work.open_variant(threads=alternative.threads, defines=alternative.defines), alternative.tuning
        )
        images = work.photos.batch(work.scale.size, work.scale.batch)
        tasks = [BatchItem(observed.backend.stage(image), FitOptions(k=k), masks=False) for image in images]
        entry = {
            "alternative": alternative.name,
            "k": k,
            **_time_batch(observed, tasks, expected[k], alternative.name),
        }
        observed.close()
        entries.append(entry)
        work.findings.append("batches", entry)
        print(f"{alternative.name}, k = {k}: {entry['us_per_image']:.1f} us an image", flush=True)
    return [entry for entry in entries if entry["k"] == KS[0]]


def _time_batch(
    observed: ObservedBackend, tasks: Sequence[BatchItem], expected: list[ClusteringDigest], name: str
) -> dict[str, Any]:
    """Compare a batch with the results of the first alternative, kept in `expected`; then time the batch."""
    results = observed.run(tasks)
    for i, result in enumerate(results):
        if i == len(expected):
            expected.append(digest_result(result, f"{name}, image {i}"))
        require_equal(result, expected[i], f"{name}, image {i}")
    n = len(tasks)
    spans = [kernels_span(batch) for batch in _watched(observed, tasks, Watch.KERNELS)]
    times = [kernel_times(batch) for batch in _watched(observed, tasks, Watch.EVERYTHING)]
    return {
        "us_per_image": 1e3 * statistics.median(spans) / n,
        "kernels_us_per_image": _medians(times, n),
    }


def _watched(observed: ObservedBackend, tasks: Sequence[BatchItem], watch: Watch) -> list[list[Operation]]:
    """Return the recorded operations of several runs of a batch."""
    observed.device.begin(watch)
    for _ in range(REPEATS):
        observed.run(tasks)
    return batches_of(observed.device.take(), REPEATS)


def _medians(times: Sequence[dict[str, float]], n_images: int) -> dict[str, float]:
    """Return the median time of each kernel, in microseconds an image."""
    return {name: 1e3 * statistics.median(one[name] for one in times) / n_images for name in times[0]}


# ---- counting --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class MarkingLaunches(Launches):
    """Launches of a kernel that marks touched cells, and of a kernel that counts their colours."""

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
    """Launches that count into the table and drain no colour. The caller reads and clears the table."""

    def count(self, images: Array, grid: tuple[int, int]) -> None:
        """See `Launches`."""
        a = self.arrays
        self._launch("count_unread", PLAIN, grid, images, a["pixels"], a["table"])


def time_counting(work: Work) -> list[dict[str, Any]]:
    """Time the histogram of photos and of white pages with every alternative; return the entries of photos.

    Raises:
        WrongResultError: An alternative finds other colours.
    """
    opened = work.open_variant(files=dict.fromkeys(COUNT_KERNELS, COUNT_VARIANTS))
    photos = work.photos.batch(work.scale.size, min(COUNTED, work.scale.batch))
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
            entry = {
                "alternative": name,
                "images": kind,
                **_time_histogram(opened, launches, images, expected),
            }
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
    """Compare the colours of images with those of NumPy, then time the kernels."""
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
    """Compare the counts of the drained colours, or the counts in the table, with those of NumPy."""
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
