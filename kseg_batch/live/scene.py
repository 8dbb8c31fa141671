"""Has the scene changed altogether? Asked of two frames' colours, wherever they are in the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.kmeans.histogram import CELL_BITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kseg_batch.kmeans.histogram import ColorHistogram

CUBE_BITS = 4
"""log2 of the side of the cubes of colours that are counted: fine enough to tell scenes of like colours
apart, and coarse enough that noise of 12 grey levels moves 3% of the pixels."""

SAME_SCENE = 0.5
"""Share of the pixels that two frames of one scene have in the same cubes, at least.

As `python -m benchmarks.studies.scene_changes` measures, below it are all cuts between photographs, and 98%
of those between generated landscapes, which are much alike; no noise, no pan by a fifth of the picture, and
2% of the frames of a fade to black within a second."""


def coarse_histogram(histogram: ColorHistogram) -> NDArray[np.int64]:
    """The (4096,) int64 pixels in each cube of 16 x 16 x 16 colours, in z-order."""
    pixels = np.add.reduceat(histogram.counts, histogram.starts[:-1], dtype=np.int64)
    coarse = np.zeros(1 << 3 * (8 - CUBE_BITS), np.int64)
    np.add.at(coarse, histogram.cells >> 3 * (CUBE_BITS - CELL_BITS), pixels)
    return coarse


def overlap(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """The share of the pixels that two coarse histograms have in common, 0 to 1."""
    return float(np.minimum(one, other).sum() / max(one.sum(), other.sum()))
