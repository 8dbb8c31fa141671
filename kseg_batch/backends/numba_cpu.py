"""The `numba` backend: calls of the jitted CPU kernels, their arrays, and scratch memory for each thread."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.errors import OptionError
from kseg_batch.images.label_map import LabelMap, index_bits, row_bytes
from kseg_batch.kmeans import reference
from kseg_batch.kmeans.fixed_point import MAX_CLUSTERS
from kseg_batch.kmeans.flat_pixels import flat_pixels
from kseg_batch.kmeans.histogram import CELL_BITS, CELL_SIZE, ColorHistogram, from_zorder
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.kmeans.palette import Palette
from kseg_batch.optional import explain_numba

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from kseg_batch.kmeans.color_spaces import ColorSpace

with explain_numba():
    from kseg_batch.kernels import numba_cpu as kernels
    from kseg_batch.kernels.jit import is_cached

N_CODES = 1 << 24
N_CELLS = N_CODES // CELL_SIZE
MOST_MASK_BYTES = 64 << 20
"""Greatest size of masks that are packed with the labels; larger masks are made one at a time."""
COPY_ROWS = 256
"""Number of rows that are copied at a time from an image that is not contiguous."""

CORNERS = np.ascontiguousarray(
    from_zorder(np.arange(N_CELLS, dtype=np.uint32) << np.uint32(3 * CELL_BITS)).T, dtype=np.int32
)  # (3, 32768) int32: R, G, B of the lowest corner of each cell
ALL_SLOTS = np.arange(CELL_SIZE, dtype=np.uint16)


class Workspace(threading.local):
    """Scratch memory of one thread, kept from image to image: 16 MB for counts, 16 MB for labels."""

    def __init__(self) -> None:
        self.table = np.zeros(N_CODES, np.uint8)
        self.occupied = np.zeros(N_CELLS, np.uint8)
        self.lookup = np.empty(N_CODES, np.uint8)
        self.codes = np.empty(kernels.CHUNK, np.uint32)
        cell_rows = np.empty((5, CELL_SIZE), np.int32)
        per_center = np.empty((6, MAX_CLUSTERS), np.int32)
        self.rows = kernels.Rows(*cell_rows, *per_center[:2], near=per_center[2:5], numbers=per_center[5])


def contiguous_parts(image: NDArray[np.uint8]) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
    """Yield ranges of rows of an image, each with its pixels as `flat_pixels` returns them."""
    step = len(image) if image.flags.c_contiguous else COPY_ROWS
    for top in range(0, len(image), step):
        rows = slice(top, top + step)
        yield rows, flat_pixels(image[rows])


def kernel_colors(histogram: ColorHistogram) -> kernels.Colors:
    """Return a histogram as the kernels expect it; `sum_cells` has to fill `sums`."""
    return kernels.Colors(
        histogram.cells,
        histogram.starts,
        histogram.slots,
        histogram.counts,
        CORNERS,
        np.empty((len(histogram.cells), 4), np.int64),
    )


class NumbaBackend:
    """Exact k-means on one CPU core; see `kernels/numba_cpu.py`."""

    name = "numba"

    def __init__(self) -> None:
        self._workspace = Workspace()

    @property
    def compiled(self) -> bool:
        """See `Backend.compiled`: True if the kernel that is compiled last is in the cache."""
        return bool(is_cached(kernels.label_rows_packed))

    def check(self, options: FitOptions) -> None:
        """See `Backend.check`."""
        if options.init == "random":
            raise OptionError("The backend numba has no random init; the backend opencv has.")

    def warm_up(self) -> None:
        """See `Backend.warm_up`: compile the kernels, or load them from the cache."""
        image = np.zeros((2, 1, 3), np.uint8)
        image[1] = 255
        histogram = self.histogram(image)
        palette = self.fit(histogram, FitOptions(k=2))
        self.assign(image, palette)
        many = Palette(np.zeros((9, 3), np.int32), np.zeros(9, np.int64), 0.0, None, self.name)
        self.assign(image, many)
        self.assign(image, many, histogram)
        self.label_map(image, many, histogram, masks=True)

    def histogram(self, image: NDArray[np.uint8]) -> ColorHistogram:
        """See `Backend.histogram`."""
        try:
            return self._count(image)
        except (
            BaseException
        ):  # after an interrupt or a lack of memory, no counts may remain for the next image
            self._workspace.table[:] = 0
            self._workspace.occupied[:] = 0
            raise

    def _count(self, image: NDArray[np.uint8]) -> ColorHistogram:
        work = self._workspace
        n_pixels = image.shape[0] * image.shape[1]
        fulls, n_fulls = np.empty(n_pixels // kernels.FULL, np.uint32), 0
        for _, pixels in contiguous_parts(image):
            n_fulls = kernels.count_colors(pixels, work.codes, work.table, work.occupied, fulls, n_fulls)
        n_cells = int(np.count_nonzero(work.occupied))
        most = min(CELL_SIZE * n_cells, n_pixels)  # untouched memory costs nothing
        cells, starts = np.empty(n_cells, np.uint16), np.empty(n_cells + 1, np.int64)
        slots, counts = np.empty(most, np.uint16), np.empty(most, np.uint32)
        scratch = work.codes[:1024], work.codes[1024:]
        n_colors = kernels.drain_table(work.table, work.occupied, *scratch, cells, starts, slots, counts)
        kernels.add_fulls(fulls[:n_fulls], cells, starts, slots, counts)
        return ColorHistogram(cells, starts, slots[:n_colors], counts[:n_colors])

    def fit(self, histogram: ColorHistogram, options: FitOptions, start: Palette | None = None) -> Palette:
        """See `Backend.fit`. With a `start`, iterations begin at its centres; clusters keep their numbers.

        Raises:
            OptionError: The start has more centres than the histogram has colours.
        """
        colors = kernel_colors(histogram)
        rows = self._workspace.rows
        squares = kernels.sum_cells(colors, rows)
        if start is None:
            centers = self._seeds(colors, min(options.k, histogram.n_colors), options)
        elif len(start.fixed_centers) > histogram.n_colors:
            raise OptionError(
                f"A start of {len(start.fixed_centers)} centres is too many for {histogram.n_colors} colours."
            )
        else:
            centers = start.fixed_centers.T.copy()
        k = centers.shape[1]
        scratch = np.empty_like(centers), rows, np.empty((k, 4), np.int64), np.empty(k, np.int64)
        n_iter = kernels.lloyd_colors(colors, options.max_iter, options.max_shift, centers, *scratch)
        found = centers.T.astype(np.int64)
        if start is None:
            found = reference.dark_to_light(found, options.color_space)
        return self._palette(colors, squares, found, n_iter, options.color_space)

    def _seeds(self, colors: kernels.Colors, k: int, options: FitOptions) -> NDArray[np.int32]:
        """Return the (3, k) int32 centres of `reference.seed_centers`; `colors.sums` has to be filled."""
        rows = self._workspace.rows
        n_pixels = int(colors.sums[:, 3].sum())
        points = kernel_points(colors, n_pixels, reference.coarse_points(k), reference.fine_points(k), rows)
        centers = np.empty((3, k), np.int32)
        seed_centers(*points, options, rows, centers)
        return centers

    def measure(self, histogram: ColorHistogram, palette: Palette) -> Palette:
        """See `Backend.measure`."""
        colors = kernel_colors(histogram)
        squares = kernels.sum_cells(colors, self._workspace.rows)
        centers = palette.fixed_centers.astype(np.int64)
        measured = self._palette(colors, squares, centers, 0, palette.color_space)
        return replace(measured, names=palette.names, mean_colors=palette.mean_colors)

    def _palette(
        self,
        colors: kernels.Colors,
        squares: int,
        centers: NDArray[np.int64],
        n_iter: int,
        color_space: ColorSpace,
    ) -> Palette:
        """Return the palette of (k, 3) centres with its counts and compactness.

        Args:
            colors: The colours; `sums` has to be filled.
            squares: Sum of squares of all channels of all pixels, from `sum_cells`.
            centers: (k, 3) int64 centres in Q8.6.
            n_iter: Number of iterations that led to the centres.
            color_space: Colour space of the centres.
        """
        sums = np.empty((len(centers), 4), np.int64)
        fixed = centers.astype(np.int32)
        kernels.sum_clusters(colors, np.ascontiguousarray(fixed.T), self._workspace.rows, sums)
        return Palette(
            fixed_centers=fixed,
            counts=sums[:, 3].copy(),
            compactness=reference.compactness(int(squares), sums[:, :3], sums[:, 3], centers),
            n_iter=n_iter,
            backend=self.name,
            color_space=color_space,
        )

    def assign(
        self, image: NDArray[np.uint8], palette: Palette, histogram: ColorHistogram | None = None
    ) -> NDArray[np.uint8]:
        """See `Backend.assign`."""
        work = self._workspace
        few = len(palette.fixed_centers) <= kernels.FEW_CENTERS
        pairs = _comparison_tables(palette.fixed_centers)
        centers = np.ascontiguousarray(palette.fixed_centers.T)
        ready = np.zeros(N_CELLS, np.uint8)
        if histogram is not None and not few:
            kernels.fill_lookup(kernel_colors(histogram), centers, work.rows, work.lookup)
        labels = np.empty(image.shape[:2], np.uint8)
        for rows, pixels in contiguous_parts(image):
            part = labels[rows].reshape(-1)
            if few:
                kernels.compare(pixels, *pairs, part)
            elif histogram is not None:
                kernels.look_up(pixels, work.codes, work.lookup, part)
            else:
                table = CORNERS, ALL_SLOTS, centers, work.rows, ready, work.lookup
                kernels.fill_and_look_up(pixels, work.codes, *table, part)
        return labels

    def label_map(
        self, image: NDArray[np.uint8], palette: Palette, histogram: ColorHistogram, *, masks: bool
    ) -> LabelMap:
        """See `Backend.label_map`."""
        work = self._workspace
        (height, width), k = image.shape[:2], len(palette.fixed_centers)
        few = k <= kernels.FEW_CENTERS
        if not few:
            centers = np.ascontiguousarray(palette.fixed_centers.T)
            kernels.fill_lookup(kernel_colors(histogram), centers, work.rows, work.lookup)
        bits = index_bits(k)
        index = np.zeros((height, row_bytes(width, bits)), np.uint8)
        n_masks = k if masks and k * height * row_bytes(width, 1) <= MOST_MASK_BYTES else 0
        packed = np.zeros((n_masks, height, row_bytes(width, 1)), np.uint8)
        table = few, *_comparison_tables(palette.fixed_centers), work.codes, work.lookup
        row = np.zeros(-(-width // 8) * 8, np.uint8)
        for rows, pixels in contiguous_parts(image):
            kernels.label_rows_packed(pixels, *table, row, width, bits, index[rows], packed[:, rows])
        return LabelMap(index, width, bits, packed if n_masks else None)


def _comparison_tables(centers: NDArray[np.int32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the differences and thresholds by which the kernel `compare` compares up to three centres.

    Fewer than three centres are filled up with the last one. A repeated centre never wins, because ties go to
    the lower number.
    """
    three = centers[np.minimum(np.arange(3), len(centers) - 1)].astype(np.int64)
    squares = (three * three).sum(axis=1)
    new, old = [1, 2, 2], [0, 0, 1]
    thresholds = (squares[new] - squares[old]) // 128 + 1
    return (three[new] - three[old]).astype(np.float32), thresholds.astype(np.float32)


def kernel_points(
    colors: kernels.Colors, n_pixels: int, coarse_most: int, fine_most: int, rows: kernels.Rows
) -> tuple[kernels.Points, kernels.Points]:
    """Return the coarse and the fine seeding points, which equal those of `reference.seeding_points`.

    Args:
        colors: The colours; `sums` has to be filled.
        n_pixels: Number of pixels of the histogram.
        coarse_most: Greatest number of coarse points.
        fine_most: Greatest number of fine points.
        rows: Scratch memory.
    """
    n_cubes = np.empty(reference.MAX_LEVEL + 1, np.int64)
    kernels.count_cubes(colors, n_cubes)
    coarse_level, fine_level = (int(np.argmax(n_cubes <= most)) for most in (coarse_most, fine_most))
    cubes = np.empty(n_cubes[fine_level], np.int64)
    fine_sums = np.zeros((n_cubes[fine_level], 4), np.int64)
    kernels.sum_cubes(colors, fine_level, rows, cubes, fine_sums)
    coarse_sums = np.zeros((n_cubes[coarse_level], 4), np.int64)
    kernels.merge_cubes(cubes, fine_sums, coarse_level - fine_level, coarse_sums)

    weight_shift = reference.weight_shift(n_pixels)
    coarse, fine = _empty_points(len(coarse_sums)), _empty_points(len(fine_sums))
    kernels.mean_points(coarse_sums, weight_shift, coarse)
    kernels.mean_points(fine_sums, weight_shift, fine)
    return coarse, fine


def _empty_points(p: int) -> kernels.Points:
    m = -(-p // kernels.BLOCK)
    return kernels.Points(
        rgb=np.empty((3, p), np.int32),
        weights=np.empty(p, np.uint32),
        labels=np.empty(p, np.int32),
        distances=np.empty(p, np.int32),
        second=np.empty(p, np.int32),
        boxes=np.empty((m, 6), np.int32),
        sums=np.empty((m, 4), np.int64),
        squares=np.empty(m, np.int64),
        costs=np.empty(m, np.int64),
        reach=np.empty(m, np.int32),
    )


def seed_centers(
    coarse: kernels.Points,
    fine: kernels.Points,
    options: FitOptions,
    rows: kernels.Rows,
    centers: NDArray[np.int32],
) -> None:
    """Fill (3, k) int32 `centers` with the centres of `reference.seed_centers`, from the seeding points."""
    k = centers.shape[1]
    seed = np.uint64(options.seed)
    candidate, before = np.empty_like(centers), np.empty_like(centers)
    sums = np.empty((k, 4), np.int64)
    scratch = candidate, before, rows, sums
    limits = options.max_iter, options.max_shift
    trials = reference.seeding_trials(k)
    cost = kernels.start_centers(coarse, fine, seed, options.attempts, trials, *limits, centers, *scratch)
    if k > 1:
        swaps = reference.SWAP_STREAM, reference.SWAP_ROUNDS, reference.SWAP_PATIENCE
        losses = np.empty((2, k), np.int64)
        kernels.swap_centers(fine, seed, *swaps, *limits, cost, centers, *scratch, *losses)


def load() -> NumbaBackend:
    """Return the backend, ready to use."""
    return NumbaBackend()
