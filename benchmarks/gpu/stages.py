"""The step that finds the first stage whose result differs from that of the reference.

The stages are those of the algorithm: colours, seeds, costs, centres, labels. The arrays that a kernel writes
are fetched after its launch, and compared with the arrays of `kseg_batch/kmeans/reference.py` for each image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.gpu.device_wrapper import DeviceWrapper, fetch
from benchmarks.gpu.findings import DifferenceError
from kseg_batch.backends.gpu.launches import Launches
from kseg_batch.backends.gpu.layout import (
    IMAGE,
    MAX_COARSE,
    MAX_SEEDS,
    ROW,
    STATE,
    Layout,
    Request,
    packed,
    total_bytes,
)
from kseg_batch.backends.gpu.memory import Slot
from kseg_batch.errors import BackendError
from kseg_batch.images.label_map import LabelMap
from kseg_batch.kmeans import reference
from kseg_batch.kmeans.fixed_point import SCALE
from kseg_batch.kmeans.histogram import ColorHistogram
from kseg_batch.kmeans.options import FitOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from benchmarks.gpu.step import Work
    from kseg_batch.backends.gpu.device import Array, Device, Stream, Variant

ENDS = {
    "drain_table": "colours",
    "average_cubes": "seeds",
    "start_centers": "costs",
    "improve_centers": "centres",
    "converge_centers": "centres",
    "label_pixels": "labels",
}
"""The kernels that end a stage, and the stage."""

NO_ATTEMPT = -1
"""The int64 value that `start_centers` writes where a block has no attempt."""


def stages(work: Work) -> None:
    """Compare batches of small images stage by stage.

    Raises:
        DifferenceError: The result of a stage differs from that of the reference.
    """
    opened = work.open()
    compared = 0
    for images, options in _batches(work):
        compare_stages(opened.device, images, options)
        compared += len(images)
        work.findings.add(images=compared, stages=sorted(set(ENDS.values())))
    work.findings.summarise(f"{compared} images equal the reference after each kernel")


def _batches(work: Work) -> list[tuple[list[NDArray[np.uint8]], list[FitOptions]]]:
    """Yield cases of few and of many clusters, with images of many kinds, at sizes for the reference."""
    rng = np.random.default_rng(5)
    photos = work.photos.batch((96, 64), 2)
    images = [
        *photos,
        np.full((60, 70, 3), 200, np.uint8),
        rng.integers(0, 256, (1, 77, 3), np.uint8),
        rng.integers(0, 256, (120, 90, 3), np.uint8),
        rng.integers(0, 30, (50, 61, 3), np.uint8),
        np.zeros((1, 1, 3), np.uint8),
        rng.integers(0, 256, (80, 33, 3), np.uint8)[:, ::-1],
        np.repeat(np.arange(0, 256, 2, dtype=np.uint8), 3).reshape(8, 16, 3),
    ]
    few = [FitOptions(k=k, attempts=3) for k in (3, 5, 3, 2, 4, 16, 3, 7, 6)]
    many = [FitOptions(k=40, attempts=2, max_iter=5, seed=i) for i in range(len(images))]
    return [(images[:1], few[:1]), (images, few), (images, many)]


def compare_stages(
    device: Device, images: Sequence[NDArray[np.uint8]], options: Sequence[FitOptions]
) -> None:
    """Segment one batch on a device, and compare all arrays that each kernel writes.

    Args:
        device: The device that runs the kernels.
        images: (H, W, 3) uint8 images, small enough for the reference.
        options: Options of each image.

    Raises:
        DifferenceError: An array differs, or a kernel fails.
    """
    requests = [
        Request(image.shape[0], image.shape[1], one, masks=False)
        for image, one in zip(images, options, strict=True)
    ]
    layout = Layout.of(requests)
    slot = Slot(device)
    arrays = slot.reserve(layout.arrays(), total_bytes(layout.arrays()))
    all_stages = [_ReferenceStages(image, one) for image, one in zip(images, options, strict=True)]
    watched = _WatchedDevice(device, _Comparison(device, slot.stream, arrays, layout, all_stages))
    launches = Launches(watched, slot.stream, arrays, layout)
    launches.upload([np.ascontiguousarray(image).reshape(-1) for image in images])
    launches.histogram()
    launches.fit()
    launches.labels()
    slot.drop()


class _WatchedDevice(DeviceWrapper):
    """A device that compares arrays after each launch."""

    def __init__(self, device: Device, comparison: _Comparison) -> None:
        super().__init__(device)
        self._comparison = comparison

    def launch(
        self,
        kernel: str,
        variant: Variant,
        grid: tuple[int, int],
        args: Sequence[Array | int],
        stream: Stream,
    ) -> None:
        """See `Device.launch`."""
        try:
            super().launch(kernel, variant, grid, args, stream)
            self.wait(stream)
        except BackendError as error:
            raise DifferenceError(
                f"{kernel} fails: {error}", {"kernel": kernel, "error": str(error)}
            ) from error
        self._comparison.after(kernel)


@dataclass(frozen=True)
class _ReferenceStages:
    """The results of NumPy for one image, stage by stage."""

    image: NDArray[np.uint8]
    options: FitOptions

    @cached_property
    def histogram(self) -> ColorHistogram:
        return ColorHistogram.from_pixels(self.image)

    @property
    def k(self) -> int:
        return min(self.options.k, self.histogram.n_colors)

    @cached_property
    def colors(self) -> NDArray[np.int64]:
        """Return the (n, 3) positions of the distinct colours."""
        return self.histogram.colors.astype(np.int64) * SCALE

    @cached_property
    def coarse(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return reference.seeding_points(self.histogram, reference.coarse_points(self.k))

    @cached_property
    def fine(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return reference.seeding_points(self.histogram, reference.fine_points(self.k))

    @cached_property
    def starts(self) -> list[tuple[int, NDArray[np.int64]]]:
        """Return the cost and the (k, 3) centres of each attempt."""
        found = []
        limits = self.options.max_iter, self.options.max_shift
        for attempt in range(self.options.attempts):
            centers = reference.kmeans_plus_plus(*self.coarse, self.k, self.options.seed, attempt)
            centers, _ = reference.lloyd(*self.coarse, centers, *limits)
            centers, _ = reference.lloyd(*self.fine, centers, *limits)
            found.append((reference.cost_of(*self.fine, centers), centers))
        return found

    @cached_property
    def improved(self) -> NDArray[np.int64]:
        """Return the (k, 3) centres from which Lloyd's algorithm over all colours starts."""
        best = min(self.starts, key=lambda start: start[0])[1]
        return best if self.k == 1 else reference.swap_centers(*self.fine, best, self.options)

    @cached_property
    def converged(self) -> tuple[NDArray[np.int64], int]:
        """Return the sorted (k, 3) centres, and the number of iterations."""
        weights = self.histogram.counts.astype(np.int64)
        limits = self.options.max_iter, self.options.max_shift
        centers, n_iter = reference.lloyd(self.colors, weights, self.improved, *limits)
        return reference.dark_to_light(centers, self.options.color_space), n_iter


@dataclass(slots=True)
class _Comparison:
    """The arrays of a batch, and their expected contents."""

    device: Device
    stream: Stream
    arrays: dict[str, Array]
    layout: Layout
    all_stages: list[_ReferenceStages]
    drained: int = 0
    """Number of images whose colours have been drained."""

    def after(self, kernel: str) -> None:
        """Compare the arrays that a kernel has written, if the kernel ends a stage."""
        if kernel not in ENDS:
            return
        images = range(len(self.all_stages))
        if kernel == "drain_table":  # of as many images at a time as there are tables
            images = images[self.drained : self.drained + self.layout.tables]
            self.drained += len(images)
        for i in images:
            for name, found, expected in getattr(self, f"_{kernel}")(i, self.all_stages[i]):
                _require_equal(kernel, i, name, np.asarray(found), np.asarray(expected))

    def _fetch(self, name: str) -> NDArray[Any]:
        return fetch(self.device, self.arrays[name], self.stream)

    def _state(self, i: int, column: str) -> int:
        return int(self._fetch("states").reshape(-1, len(STATE))[i, STATE.index(column)])

    def _drain_table(self, i: int, stages: _ReferenceStages) -> list[tuple[str, Any, Any]]:
        n = stages.histogram.n_colors
        first = int(self.layout.images[i, IMAGE.index("colors")])
        return [
            ("colors", self._state(i, "colors"), n),
            ("clusters", self._state(i, "clusters"), stages.k),
            ("xyz", self._fetch("xyz")[first : first + n], packed(stages.colors)),
            ("weights", self._fetch("weights")[first : first + n], stages.histogram.counts),
        ]

    def _average_cubes(self, i: int, stages: _ReferenceStages) -> list[tuple[str, Any, Any]]:
        rows: list[tuple[str, Any, Any]] = []
        xyz, weights = self._fetch("seed_xyz"), self._fetch("seed_weights")
        for name, begin, (points, counts) in (
            ("coarse", 0, stages.coarse),
            ("fine", MAX_COARSE, stages.fine),
        ):
            first = i * MAX_SEEDS + begin
            rows += [
                (name, self._state(i, name), len(points)),
                (f"{name} seed_xyz", xyz[first : first + len(points)], packed(points)),
                (f"{name} seed_weights", weights[first : first + len(points)], counts),
            ]
        return rows

    def _start_centers(self, i: int, stages: _ReferenceStages) -> list[tuple[str, Any, Any]]:
        starts = self.layout.starts
        costs = self._fetch("costs").reshape(-1, starts)[i]
        attempts = self._fetch("attempts").reshape(-1, starts)[i]
        found = self._fetch("found").reshape(-1, starts, ROW, 4)[i]
        rows: list[tuple[str, Any, Any]] = []
        for block in range(starts):
            mine = range(block, len(stages.starts), starts)
            if not mine:
                rows.append((f"attempts of block {block}", attempts[block], NO_ATTEMPT))
                continue
            best = min(mine, key=lambda attempt: stages.starts[attempt][0])
            cost, centers = stages.starts[best]
            rows += [
                (f"attempts of block {block}", attempts[block], best),
                (f"costs of block {block}", costs[block], cost),
                (f"found of block {block}", found[block, : stages.k, :3], centers),
            ]
        return rows

    def _improve_centers(self, i: int, stages: _ReferenceStages) -> list[tuple[str, Any, Any]]:
        return [("centers", self._centers(i, stages), stages.improved)]

    def _converge_centers(self, i: int, stages: _ReferenceStages) -> list[tuple[str, Any, Any]]:
        centers, n_iter = stages.converged
        labels, _ = reference.nearest(stages.colors, centers)
        weights = stages.histogram.counts.astype(np.int64)
        totals = np.zeros((stages.k, 4), np.int64)
        np.add.at(totals, labels, np.column_stack([stages.colors * weights[:, None], weights]))
        clusters = self._fetch("clusters").reshape(-1, ROW, 4)[i, : stages.k]
        return [
            ("centers", self._centers(i, stages), centers),
            ("iterations", self._state(i, "iterations"), n_iter),
            ("clusters", clusters, totals),
        ]

    def _label_pixels(self, i: int, stages: _ReferenceStages) -> list[tuple[str, Any, Any]]:
        centers, n_iter = stages.converged
        palette = reference.measure(stages.histogram, centers, n_iter, "numpy", stages.options.color_space)
        rows = LabelMap.pack(reference.assign(stages.image, palette), stages.k).rows
        first = int(self.layout.images[i, IMAGE.index("rows")])
        return [("output", self._fetch("output")[first : first + rows.size], rows.reshape(-1))]

    def _centers(self, i: int, stages: _ReferenceStages) -> NDArray[Any]:
        return self._fetch("centers").reshape(-1, ROW, 4)[i, : stages.k, :3]


def _require_equal(kernel: str, image: int, name: str, found: NDArray[Any], expected: NDArray[Any]) -> None:
    found, expected = np.atleast_1d(found), np.atleast_1d(expected)
    different = np.flatnonzero((found != expected).reshape(-1))
    if not len(different):
        return
    at = int(different[0])
    difference = {
        "stage": ENDS[kernel],
        "kernel": kernel,
        "image": image,
        "array": name,
        "index": at,
        "found": int(found.reshape(-1)[at]),
        "expected": int(expected.reshape(-1)[at]),
        "different": len(different),
        "of": found.size,
    }
    sentence = (
        f"{ENDS[kernel]} differ first: after {kernel}, {name}[{at}] of image {image} is "
        f"{difference['found']} and not {difference['expected']}; {len(different)} of {found.size} differ"
    )
    raise DifferenceError(sentence, difference)
