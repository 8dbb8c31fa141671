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
"""log2 of the side of a cell: the cube of colours whose channels agree above the lowest 3 bits."""

CELL_SIZE = 1 << (3 * CELL_BITS)
"""Colours in a cell: 512."""


MAX_PIXELS = 1 << 45
"""Most pixels of a histogram, 35 million megapixels, so that no sum of squares leaves int64."""


def _spread_bits(value: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Move bit `i` of each 8-bit value to bit `3 * i`."""
    bits = np.arange(8, dtype=np.uint32)
    spread: NDArray[np.uint32] = (((value[:, None] >> bits) & 1) << (3 * bits)).sum(axis=1, dtype=np.uint32)
    return spread


SPREAD = _spread_bits(np.arange(256, dtype=np.uint32))  # (256,) uint32
"""The z-order code of one channel value alone; shift by 2 for red, 1 for green, 0 for blue."""


def zorder(colors: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Interleave the bits of R, G and B (Morton 1966), highest first.

    Sorted by this code, the colours of any aligned cube of side 2, 4, 8, ... stand together, so a cell is
    a range and the cell number is the code shifted right.

    Args:
        colors: (..., 3) uint8, RGB.

    Returns:
        (...,) uint32 in 0 .. 2**24 - 1.
    """
    red, green, blue = (SPREAD[colors[..., channel]] for channel in range(3))
    return (red << np.uint32(2)) | (green << np.uint32(1)) | blue


def _gather_bits(codes: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """The (..., 3) uint8 RGB colours of z-order codes, bit by bit."""
    bits = np.arange(8, dtype=np.uint32)
    channels = [
        ((((codes[..., None] >> (3 * bits + shift)) & 1) << bits).sum(axis=-1)) for shift in (2, 1, 0)
    ]
    return np.stack(channels, axis=-1).astype(np.uint8)


HALF_BITS = 12
NIBBLES = _gather_bits(np.arange(1 << HALF_BITS, dtype=np.uint32))  # (4096, 3) uint8
"""Four bits of each channel, by half a z-order code: six times as fast as bit by bit."""


def from_zorder(codes: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """The (..., 3) uint8 RGB colours of z-order codes; the inverse of `zorder`."""
    high, low = NIBBLES[codes >> np.uint32(HALF_BITS)], NIBBLES[codes & np.uint32((1 << HALF_BITS) - 1)]
    colors: NDArray[np.uint8] = (high << np.uint8(4)) | low
    return colors


@dataclass(frozen=True, slots=True, eq=False)
class ColorHistogram:
    """The distinct colours of one or more images with their pixel counts, in z-order, cell by cell.

    Compressed by cell, because a photo uses a few thousand of the 32,768 cells and about a fifth of the
    colours in those, and because 6 bytes a colour bound the whole at 100 MB for one image.
    """

    cells: NDArray[np.uint16]
    """(m,) occupied cells, ascending: z-order code >> 9."""
    starts: NDArray[np.int64]
    """(m + 1,) where each cell's colours start in `slots` and `counts`."""
    slots: NDArray[np.uint16]
    """(n,) the low 9 bits of each colour's z-order code, ascending within a cell."""
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
        """How many distinct colours there are."""
        return len(self.slots)

    @property
    def n_pixels(self) -> int:
        """How many pixels were counted."""
        return int(self.counts.sum(dtype=np.int64))

    @classmethod
    def from_codes(
        cls, codes: NDArray[np.uint32], counts: NDArray[np.uint32] | NDArray[np.int64]
    ) -> ColorHistogram:
        """Build from (n,) distinct z-order codes, ascending, and their (n,) counts."""
        cells, first = np.unique(codes >> (3 * CELL_BITS), return_index=True)
        return cls(
            cells=cells.astype(np.uint16),
            starts=np.append(first, len(codes)).astype(np.int64),
            slots=(codes & (CELL_SIZE - 1)).astype(np.uint16),
            counts=counts,
        )

    @classmethod
    def from_pixels(cls, pixels: NDArray[np.uint8]) -> ColorHistogram:
        """Count the colours of (..., 3) uint8 RGB pixels with NumPy alone: the reference."""
        codes, counts = np.unique(zorder(pixels), return_counts=True)
        return cls.from_codes(codes, counts.astype(np.uint32))

    @classmethod
    def merged(cls, histograms: Iterable[ColorHistogram]) -> ColorHistogram:
        """Add histograms up: exactly the histogram of all their images glued together.

        Raises:
            OptionError: They have more than `MAX_PIXELS` pixels.
        """
        total = HistogramSum()
        for histogram in histograms:
            total.add(histogram)
        return total.take()


class HistogramSum:
    """The sum of any number of histograms, in a table of all colours: 134 MB at most."""

    def __init__(self) -> None:
        """Begin with no pixel. The table takes memory where colours are added."""
        self._table = np.zeros((1 << (24 - 3 * CELL_BITS), CELL_SIZE), np.int64)
        self._occupied = np.zeros(len(self._table), np.bool_)
        self._n_pixels = 0

    def add(self, histogram: ColorHistogram) -> None:
        """Add one.

        Raises:
            OptionError: The sum would have more than `MAX_PIXELS` pixels. It is what it was before.
        """
        n_pixels = self._n_pixels + histogram.n_pixels
        if n_pixels > MAX_PIXELS:
            raise OptionError(f"A histogram can have {MAX_PIXELS} pixels at most.")
        # twice as fast as +=, where all types are as they have to be
        codes, counts = histogram.codes.astype(np.intp), histogram.counts.astype(np.int64)
        self._occupied[histogram.cells] = True
        np.add.at(self._table.reshape(-1), codes, counts)
        self._n_pixels = n_pixels

    def sum(self) -> ColorHistogram:
        """What was added: exactly the histogram of all the images glued together."""
        cells = np.flatnonzero(self._occupied)
        in_cells = self._table[cells]  # (m, 512)
        present = in_cells > 0
        counts = in_cells[present]
        narrow = self._n_pixels < 1 << 32  # as of an image, for which the kernels are compiled already
        return ColorHistogram(
            cells=cells.astype(np.uint16),
            starts=np.append(0, np.cumsum(np.count_nonzero(present, axis=1))),
            slots=np.broadcast_to(np.arange(CELL_SIZE, dtype=np.uint16), present.shape)[present],
            counts=counts.astype(np.uint32) if narrow else counts,
        )

    def take(self) -> ColorHistogram:
        """The sum, which begins again with no pixel."""
        total = self.sum()
        self._table[total.cells] = 0
        self._occupied[:] = False
        self._n_pixels = 0
        return total
