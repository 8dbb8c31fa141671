"""Histograms: the distinct colours of images with their pixel counts, in z-order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


CELL_BITS = 3
"""log2 of the side of a cell, the cube of colours that agree in all but the lowest 3 bits of each channel."""

CELL_SIZE = 1 << (3 * CELL_BITS)
"""Number of colours in a cell: 512."""


PART_CELLS = 256
"""Cells whose counts are copied at a time: 1 MB, which stays in the cache."""

MAX_PIXELS = 1 << 45
"""Most pixels of a histogram, 35 million megapixels, so that no sum of squares overflows int64."""


def _spread_bits(value: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Move bit `i` of each 8-bit value to bit `3 * i`."""
    bits = np.arange(8, dtype=np.uint32)
    spread: NDArray[np.uint32] = (((value[:, None] >> bits) & 1) << (3 * bits)).sum(axis=1, dtype=np.uint32)
    return spread


SPREAD = _spread_bits(np.arange(256, dtype=np.uint32))  # (256,) uint32
"""z-order code of a channel value; shift left by 2 for red, 1 for green, 0 for blue."""


def zorder(colors: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Interleave the bits of R, G and B (Morton 1966), highest first.

    Sorted by this code, the colours of any aligned cube of side 2, 4, 8, ... are contiguous. So a cell is a
    range, and its number is the code shifted right.

    Args:
        colors: (..., 3) uint8, RGB.

    Returns:
        (...,) uint32 in 0 .. 2**24 - 1.
    """
    red, green, blue = (SPREAD[colors[..., channel]] for channel in range(3))
    return (red << np.uint32(2)) | (green << np.uint32(1)) | blue


def _gather_bits(codes: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Convert z-order codes to (..., 3) uint8 RGB colours, bit by bit."""
    bits = np.arange(8, dtype=np.uint32)
    channels = [
        ((((codes[..., None] >> (3 * bits + shift)) & 1) << bits).sum(axis=-1)) for shift in (2, 1, 0)
    ]
    return np.stack(channels, axis=-1).astype(np.uint8)


HALF_BITS = 12
NIBBLES = _gather_bits(np.arange(1 << HALF_BITS, dtype=np.uint32))  # (4096, 3) uint8
"""Four bits of each channel for half a z-order code: lookup is six times as fast as bit by bit."""


def from_zorder(codes: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Convert z-order codes to (..., 3) uint8 RGB colours: the inverse of `zorder`."""
    high, low = NIBBLES[codes >> np.uint32(HALF_BITS)], NIBBLES[codes & np.uint32((1 << HALF_BITS) - 1)]
    colors: NDArray[np.uint8] = (high << np.uint8(4)) | low
    return colors


@dataclass(frozen=True, slots=True, eq=False)
class ColorHistogram:
    """The distinct colours of one or more images with their pixel counts, in z-order, cell by cell.

    Codes are compressed by cell: a photo uses a few thousand of the 32,768 cells, and about a fifth of the
    colours in these. At 6 bytes per colour, the histogram of one image takes at most 100 MB.
    """

    cells: NDArray[np.uint16]
    """(m,) numbers of the occupied cells, ascending: z-order code >> 9."""
    starts: NDArray[np.int64]
    """(m + 1,) index in `slots` and `counts` at which the colours of each cell start."""
    slots: NDArray[np.uint16]
    """(n,) low 9 bits of the z-order code of each colour, ascending within a cell."""
    counts: NDArray[np.uint32] | NDArray[np.int64]
    """(n,) pixels of each colour, all > 0."""

    @property
    def codes(self) -> NDArray[np.uint32]:
        """(n,) uint32 z-order codes, ascending."""
        cells = np.repeat(self.cells.astype(np.uint32), np.diff(self.starts))
        return (cells << np.uint32(3 * CELL_BITS)) | self.slots

    @property
    def colors(self) -> NDArray[np.uint8]:
        """(n, 3) uint8 distinct RGB colours, in z-order."""
        return from_zorder(self.codes)

    @property
    def n_colors(self) -> int:
        """Number of distinct colours, n."""
        return len(self.slots)

    @property
    def n_pixels(self) -> int:
        """Number of pixels counted."""
        return int(self.counts.sum(dtype=np.int64))

    @classmethod
    def from_codes(
        cls, codes: NDArray[np.uint32], counts: NDArray[np.uint32] | NDArray[np.int64]
    ) -> ColorHistogram:
        """Build a histogram from (n,) distinct z-order codes, ascending, and their (n,) counts."""
        cells, first = np.unique(codes >> (3 * CELL_BITS), return_index=True)
        return cls(
            cells=cells.astype(np.uint16),
            starts=np.append(first, len(codes)).astype(np.int64),
            slots=(codes & (CELL_SIZE - 1)).astype(np.uint16),
            counts=counts,
        )

    @classmethod
    def from_pixels(cls, pixels: NDArray[np.uint8]) -> ColorHistogram:
        """Count the colours of (..., 3) uint8 pixels in NumPy: the reference for `Backend.histogram`."""
        codes, counts = np.unique(zorder(pixels), return_counts=True)
        return cls.from_codes(codes, counts.astype(np.uint32))

    @classmethod
    def merged(cls, histograms: Iterable[ColorHistogram]) -> ColorHistogram:
        """Return the sum of histograms, which equals the histogram of all their pixels together.

        Raises:
            OptionError: The sum has more than `MAX_PIXELS` pixels.
        """
        total = HistogramSum()
        for histogram in histograms:
            total.add(histogram)
        return total.take()


class HistogramSum:
    """The running sum of histograms, in a table of all colours that takes 134 MB at most."""

    def __init__(self) -> None:
        """Start with no pixels. The table takes memory only where colours are added."""
        self._table = np.zeros((1 << (24 - 3 * CELL_BITS), CELL_SIZE), np.int64)
        self._occupied = np.zeros(len(self._table), np.bool_)
        self._n_pixels = 0

    def add(self, histogram: ColorHistogram) -> None:
        """Add a histogram.

        Raises:
            OptionError: The sum would have more than `MAX_PIXELS` pixels. The sum is unchanged.
        """
        self._add(histogram.cells, histogram.codes, histogram.counts)

    def add_colors(self, codes: NDArray[np.uint32], counts: NDArray[np.uint32] | NDArray[np.int64]) -> None:
        """Add (n,) counts of the colours of (n,) z-order codes, in any order, of which some may be equal.

        Raises:
            OptionError: See `add`.
        """
        self._add(codes >> np.uint32(3 * CELL_BITS), codes, counts)

    def _add(
        self,
        cells: NDArray[np.uint16] | NDArray[np.uint32],
        codes: NDArray[np.uint32],
        counts: NDArray[np.uint32] | NDArray[np.int64],
    ) -> None:
        n_pixels = self._n_pixels + int(counts.sum(dtype=np.int64))
        if n_pixels > MAX_PIXELS:
            raise OptionError(f"A histogram can have {MAX_PIXELS} pixels at most.")
        # with these dtypes, np.add.at is twice as fast as +=
        self._occupied[cells] = True
        np.add.at(self._table.reshape(-1), codes.astype(np.intp), counts.astype(np.int64))
        self._n_pixels = n_pixels

    def sum(self) -> ColorHistogram:
        """Return the sum, which equals the histogram of all added pixels together."""
        cells = np.flatnonzero(self._occupied)
        narrow = self._n_pixels < 1 << 32  # the dtype of an image's counts, for which kernels are compiled
        sizes, slots, counts = [], [], []
        for first in range(0, max(1, len(cells)), PART_CELLS):
            in_cells = self._table[cells[first : first + PART_CELLS]]  # (m, 512)
            present = in_cells > 0
            sizes.append(np.count_nonzero(present, axis=1))
            slots.append(np.broadcast_to(np.arange(CELL_SIZE, dtype=np.uint16), present.shape)[present])
            counts.append(in_cells[present].astype(np.uint32 if narrow else np.int64))
        return ColorHistogram(
            cells=cells.astype(np.uint16),
            starts=np.append(0, np.cumsum(np.concatenate(sizes))),
            slots=np.concatenate(slots),
            counts=np.concatenate(counts),
        )

    def take(self) -> ColorHistogram:
        """Return the sum, and start again with no pixels."""
        total = self.sum()
        self._table[total.cells] = 0
        self._occupied[:] = False
        self._n_pixels = 0
        return total
