"""The memory layout of a batch of images on the GPU: records, arrays, offsets and sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.images.label_map import index_bits, row_bytes
from kseg_batch.kmeans import reference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from kseg_batch.kmeans.options import FitOptions

IMAGE = (
    "pixels",
    "height",
    "width",
    "clusters",
    "attempts",
    "seed",
    "max_iter",
    "max_shift",
    "order",
    "weight_shift",
    "colors",
    "bits",
    "rows",
    "masks",
)
"""Columns of the record Image of kernels/batch.cuh, which explains each."""

STATE = (
    "colors",
    "clusters",
    "squares",
    "coarse",
    "fine",
    "coarse_level",
    "fine_level",
    "energy",
    "iterations",
)
"""Columns of the record State of kernels/batch.cuh, which explains each."""

GIVEN, BY_LUMA, BY_FIRST = range(3)
"""Values of the column `order`; kernels/batch.cuh explains each."""
ORDERS = {"rgb": BY_LUMA, "lab": BY_FIRST, "oklab": BY_FIRST}
"""Order of fitted centres, by colour space."""

N_CODES = 1 << 24
"""Number of z-order codes: one for each 24-bit colour."""
N_CELLS = 1 << 15
"""Number of cells: cubes of 8 x 8 x 8 colours."""
ROW = 256
"""Places for centres that each image has: ROW of kernels/clusters.cuh."""
RUN = 16
"""Points of a run: RUN of kernels/clusters.cuh."""
MAX_COARSE = 8192
"""Places for coarse seeding points that each image has: MAX_COARSE of kernels/arithmetic.cuh."""
MAX_SEEDS = MAX_COARSE + reference.FINE_POINTS
"""Places for seeding points, coarse and fine, that each image has."""
MAX_STARTS = 16
"""Greatest number of blocks that share the attempts of an image."""
TABLE_BYTES = 4 * (N_CODES + 2 * N_CELLS)
"""Bytes for counting the colours of an image: `table`, `in_cell` and `starts`."""
PACKING = np.array([1 << 32, 1 << 16, 1])
"""Factors of the three channels in a packed position: see `pack` of kernels/arithmetic.cuh."""
PIXEL_ALIGNMENT = 16
"""The first pixel of each image has a multiple of this number, so that kernels load 16 bytes at a time."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """Sizes that change the speed of a batch, not its results; `benchmarks.gpu_trial` times alternatives."""

    blocks: int = 1024
    """Most blocks of a launch over all its images: enough to fill any GPU. With more work, threads loop."""
    counted_together: int = 8
    """Images whose colours are counted at the same time, each in a table of its own.

    The tables are then drained and serve the next images. A photo touches some MB of its table, so only a few
    tables stay in the second-level cache.
    """


DEFAULT_TUNING = Tuning()


def round_up(number: int, step: int) -> int:
    """Return the least multiple of `step` that is not below a number."""
    return -(-number // step) * step


def make_record(columns: tuple[str, ...], **values: int) -> NDArray[np.int64]:
    """Return a (len(columns),) int64 record with the given values in their columns, and 0 in the others."""
    row = np.zeros(len(columns), np.int64)
    for name, value in values.items():
        row[columns.index(name)] = value
    return row


def packed(positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pack (n, 3) int64 positions in Q8.6 into (n,) int64, as the kernels do."""
    numbers: NDArray[np.int64] = positions @ PACKING
    return numbers


def total_bytes(arrays: Mapping[str, tuple[int, str]]) -> int:
    """Return the bytes that arrays of the given lengths and dtypes take."""
    return sum(length * np.dtype(dtype).itemsize for length, dtype in arrays.values())


def masks_fit_byte(k: int) -> bool:
    """Return whether a label and the bits of k masks fit in one byte per pixel.

    If so, the device sends the masks, too. Otherwise, the host makes the masks from the labels.
    """
    return index_bits(k) + k <= 8


@dataclass(frozen=True, slots=True)
class Request:
    """The size of an image of a batch, and the results that are wanted for it."""

    height: int
    """Height of the image in pixels."""
    width: int
    """Width of the image in pixels."""
    options: FitOptions
    """Options of the clustering."""
    masks: bool
    """Whether masks will be written."""
    bits: int = 0
    """Bits of a label in the packed rows: 1, 2, 4 or 8; 0 for the fewest that hold the clusters."""
    given: bool = False
    """Whether the centres come from a palette, so that nothing is fitted."""

    @property
    def n_pixels(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    @property
    def n_colors(self) -> int:
        """Greatest possible number of distinct colours."""
        return min(self.n_pixels, N_CODES)

    @property
    def sends_masks(self) -> bool:
        """Whether the device sends the masks."""
        return self.masks and masks_fit_byte(self.options.k)

    @property
    def index_bytes(self) -> int:
        """Greatest possible size of the rows of labels in bytes, and offset of the masks."""
        return self.height * row_bytes(self.width, self.bits or index_bits(self.options.k))

    @property
    def output_bytes(self) -> int:
        """Greatest possible size of the rows of labels and masks in bytes."""
        masks = self.options.k if self.sends_masks else 0
        return self.index_bytes + masks * self.height * row_bytes(self.width, 1)


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Places of the images of a batch in the arrays of the batch."""

    requests: tuple[Request, ...]
    """Images of the batch, in order."""
    images: NDArray[np.int64]
    """(n, len(IMAGE)) int64 records of the images for the kernels."""
    n_pixels: int
    """Pixels in `pixels`, including the gaps between images."""
    n_colors: int
    """Length of the arrays of distinct colours, including the gaps between images."""
    n_output: int
    """Size of all rows of labels and masks in bytes."""
    tuning: Tuning
    """Sizes that change only the speed."""

    @classmethod
    def of(cls, requests: Sequence[Request], tuning: Tuning = DEFAULT_TUNING) -> Layout:
        """Return the layout of images that stand one after the other."""
        images = np.zeros((len(requests), len(IMAGE)), np.int64)
        n_pixels = n_colors = n_output = 0
        for row, request in zip(images, requests, strict=True):
            options = request.options
            row[:] = make_record(
                IMAGE,
                pixels=n_pixels,
                height=request.height,
                width=request.width,
                clusters=options.k,
                attempts=options.attempts,
                seed=options.seed,
                max_iter=options.max_iter,
                max_shift=options.max_shift,
                order=GIVEN if request.given else ORDERS[options.color_space],
                weight_shift=reference.weight_shift(request.n_pixels),
                colors=n_colors,
                bits=request.bits,
                rows=n_output,
                masks=n_output + request.index_bytes if request.sends_masks else -1,
            )
            n_pixels += round_up(request.n_pixels, PIXEL_ALIGNMENT)
            n_colors += round_up(request.n_colors, RUN)
            n_output += request.output_bytes
        return cls(tuple(requests), images, n_pixels, n_colors, n_output, tuning)

    @property
    def tables(self) -> int:
        """Number of images whose colours are counted at the same time, each in a table of its own."""
        return min(len(self.requests), self.tuning.counted_together)

    @property
    def starts(self) -> int:
        """Number of blocks that share the attempts of an image."""
        return min(MAX_STARTS, max(request.options.attempts for request in self.requests))

    def arrays(self, *, wide: bool = False) -> dict[str, tuple[int, str]]:
        """Return the length and the dtype of every device array, by name.

        Args:
            wide: Whether pixel counts have 64 bits instead of 32.
        """
        n, runs, seeds = len(self.requests), self.n_colors // RUN, len(self.requests) * MAX_SEEDS
        weight = "i8" if wide else "u4"
        return {
            "images": (n * len(IMAGE), "i8"),
            "states": (n * len(STATE), "i8"),
            "pixels": (3 * self.n_pixels, "u1"),
            "table": (self.tables * N_CODES, "u4"),
            "in_cell": (self.tables * N_CELLS, "u4"),
            "starts": (self.tables * N_CELLS, "u4"),
            "xyz": (self.n_colors, "i8"),
            "weights": (self.n_colors, weight),
            "low": (runs, "i8"),
            "high": (runs, "i8"),
            "sums": (4 * runs, "i8"),
            "squares": (runs, "i8"),
            "begun": (runs, "u4"),
            "firsts": (2 * runs, "u4"),
            "seed_xyz": (seeds, "i8"),
            "seed_weights": (seeds, weight),
            "seed_low": (seeds // RUN, "i8"),
            "seed_high": (seeds // RUN, "i8"),
            "seed_sums": (4 * seeds // RUN, "i8"),
            "cube_sums": (4 * seeds, "i8"),
            "distances": (n * self.starts * reference.FINE_POINTS, "i4"),
            "costs": (n * self.starts, "i8"),
            "attempts": (n * self.starts, "i8"),
            "found": (4 * n * self.starts * ROW, "i4"),
            "centers": (4 * n * ROW, "i4"),
            "clusters": (4 * n * ROW, "i8"),
            "output": (self.n_output, "u1"),
        }

    @property
    def n_bytes(self) -> int:
        """Bytes of device memory that the batch takes."""
        return total_bytes(self.arrays())
