"""A batch of images as the GPU kernels see it: what stands where, and how much memory it takes."""

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
"""The columns of an Image of kernels/batch.cuh, which explains them."""

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
"""The columns of a State of kernels/batch.cuh."""

GIVEN, BY_LUMA, BY_FIRST = range(3)
"""Values of `order`, of kernels/batch.cuh."""
ORDERS = {"rgb": BY_LUMA, "lab": BY_FIRST, "oklab": BY_FIRST}
"""That of fitted centres, by colour space."""

N_CODES = 1 << 24
N_CELLS = 1 << 15
ROW = 256
"""Centres from one image's to the next one's: ROW of kernels/clusters.cuh."""
RUN = 16
"""Points of a run: RUN of kernels/clusters.cuh."""
MAX_COARSE = 8192
MAX_SEEDS = MAX_COARSE + reference.FINE_POINTS
MAX_STARTS = 16
"""Blocks that share the attempts of an image."""
TABLE_BYTES = 4 * (N_CODES + 2 * N_CELLS)
"""What counting the colours of an image takes: `table`, `in_cell` and `starts`."""
PACKING = np.array([1 << 32, 1 << 16, 1])
"""What the channels of a position are multiplied by in arithmetic.cuh's `pack`."""
PIXEL_ALIGNMENT = 16
"""Images begin at a pixel whose number is a multiple of this, so that 16 bytes are loaded at a time."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """Sizes that change how fast a batch is, not its results; `benchmarks.gpu_trial` times others."""

    blocks: int = 1024
    """Most blocks of a launch, over all its images: enough to fill any GPU. The kernels go round."""
    counted_together: int = 8
    """Images counted into tables of their own before the tables are drained, and used for the next images.

    A photo touches some MB of its table, so that few tables stay in the second-level cache.
    """


DEFAULT_TUNING = Tuning()


def aligned(number: int, step: int) -> int:
    """The next multiple of `step`."""
    return -(-number // step) * step


def record(columns: tuple[str, ...], **values: int) -> NDArray[np.int64]:
    """(len(columns),) int64 with the given values in their columns, and 0 in the others."""
    row = np.zeros(len(columns), np.int64)
    for name, value in values.items():
        row[columns.index(name)] = value
    return row


def packed(positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) positions as the kernels pack them, of (n, 3) in Q8.6."""
    numbers: NDArray[np.int64] = positions @ PACKING
    return numbers


def total_bytes(arrays: Mapping[str, tuple[int, str]]) -> int:
    """Bytes of arrays of the given lengths and dtypes."""
    return sum(length * np.dtype(dtype).itemsize for length, dtype in arrays.values())


def with_masks(k: int) -> bool:
    """Whether an index and k mask bits fit one byte a pixel, so that the device sends both.

    Where they do not, the host makes the masks of the index.
    """
    return index_bits(k) + k <= 8


@dataclass(frozen=True, slots=True)
class Request:
    """One image of a batch: its size, and what is wanted."""

    height: int
    width: int
    options: FitOptions
    """How to cluster."""
    masks: bool
    """Whether masks will be written."""
    bits: int = 0
    """Of an index; 0 for the fewest that hold its clusters."""
    given: bool = False
    """Whether its centres are a palette's."""

    @property
    def n_pixels(self) -> int:
        """Pixels of the image."""
        return self.height * self.width

    @property
    def n_colors(self) -> int:
        """Distinct colours that it may have at most."""
        return min(self.n_pixels, N_CODES)

    @property
    def sends_masks(self) -> bool:
        """Whether masks come from the device."""
        return self.masks and with_masks(self.options.k)

    @property
    def index_bytes(self) -> int:
        """Bytes of its index rows at most; its masks come after so many."""
        return self.height * row_bytes(self.width, self.bits or index_bits(self.options.k))

    @property
    def output_bytes(self) -> int:
        """Bytes of its index rows and masks at most."""
        masks = self.options.k if self.sends_masks else 0
        return self.index_bytes + masks * self.height * row_bytes(self.width, 1)


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Where the images of a batch stand in its arrays."""

    requests: tuple[Request, ...]
    images: NDArray[np.int64]
    """(n, len(IMAGE)) the records for the kernels."""
    n_pixels: int
    """Length of `pixels`, with the gaps."""
    n_colors: int
    """Length of the arrays of distinct colours."""
    n_output: int
    """Bytes of all rows and masks."""
    tuning: Tuning

    @classmethod
    def of(cls, requests: Sequence[Request], tuning: Tuning = DEFAULT_TUNING) -> Layout:
        """Lay images out one after the other."""
        images = np.zeros((len(requests), len(IMAGE)), np.int64)
        n_pixels = n_colors = n_output = 0
        for row, request in zip(images, requests, strict=True):
            options = request.options
            row[:] = record(
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
            n_pixels += aligned(request.n_pixels, PIXEL_ALIGNMENT)
            n_colors += aligned(request.n_colors, RUN)
            n_output += request.output_bytes
        return cls(tuple(requests), images, n_pixels, n_colors, n_output, tuning)

    @property
    def tables(self) -> int:
        """Images whose colours are counted at a time."""
        return min(len(self.requests), self.tuning.counted_together)

    @property
    def starts(self) -> int:
        """Blocks that share the attempts of an image."""
        return min(MAX_STARTS, max(request.options.attempts for request in self.requests))

    def arrays(self, *, wide: bool = False) -> dict[str, tuple[int, str]]:
        """The length and dtype of every device array; `wide` where pixel counts have 64 bits."""
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
        """Device memory that the batch takes."""
        return total_bytes(self.arrays())
