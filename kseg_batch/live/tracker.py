"""From frame to frame: each one's clusters start where the last one's ended, and keep their numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.kmeans.color_spaces import convert
from kseg_batch.kmeans.histogram import CELL_BITS
from kseg_batch.live.stabilizer import LabelStabilizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kseg_batch.backends.numba_cpu import NumbaBackend
    from kseg_batch.kmeans.histogram import ColorHistogram
    from kseg_batch.kmeans.options import FitOptions
    from kseg_batch.kmeans.palette import Palette

CUBE_BITS = 4
"""log2 of the side of the cubes of colours that are counted: fine enough to tell scenes of like colours
apart, and coarse enough that noise of 12 grey levels moves 3% of the pixels."""

SAME_SCENE = 0.5
"""Share of the pixels that two frames of one scene have in the same cubes, at least.

As `python -m benchmarks.studies.scene_changes` measures, below it are all cuts between photographs, and 98%
of those between generated landscapes, which are much alike; no noise, no pan by a fifth of the picture, and
2% of the frames of a fade to black within a second."""


@dataclass(frozen=True, slots=True, eq=False)
class TrackedFrame:
    """A frame's pixels divided among clusters."""

    labels: NDArray[np.uint8]
    """(H, W) cluster of each pixel: that of the nearest centre, or of one that is steadier."""
    palette: Palette
    """The centres, with their counts and compactness by the nearest centre."""
    cut: bool
    """Whether another scene begins here."""


class Tracker:
    """Segments one frame after the other. All have to be of one size."""

    def __init__(self, backend: NumbaBackend, options: FitOptions, steady: float) -> None:
        """Begin.

        Args:
            backend: What computes.
            options: How to cluster.
            steady: Grey levels past the border to another cluster from which a pixel changes at once.
        """
        self._backend = backend
        self._options = options
        self._steadier = LabelStabilizer(steady)
        self._last: TrackedFrame | None = None
        self._coarse: NDArray[np.int64] | None = None
        self._seed = False

    def reseed(self) -> None:
        """Look for the next frame's clusters from scratch."""
        self._seed = True

    def track(self, rgb: NDArray[np.uint8]) -> TrackedFrame:
        """Segment the next frame, (H, W, 3) uint8, C-contiguous."""
        pixels = convert(rgb, self._options.color_space)
        histogram = self._backend.histogram(pixels)
        coarse = coarse_histogram(histogram)
        cut = self._coarse is not None and overlap(self._coarse, coarse) < SAME_SCENE
        palette, seeded = self._fit(histogram, seed=cut or self._seed)
        labels = self._backend.assign(pixels, palette, histogram)
        if cut or seeded:
            self._steadier.forget()
        self._steadier.hold(pixels, palette, labels)
        self._last, self._coarse, self._seed = TrackedFrame(labels, palette, cut), coarse, False
        return self._last

    def _fit(self, histogram: ColorHistogram, *, seed: bool) -> tuple[Palette, bool]:
        """The palette of a frame, and whether it was looked for from scratch.

        A frame of fewer colours than there are clusters, such as a black one, leaves them as they are.
        """
        if self._last is None:
            return self._backend.fit(histogram, self._options), True
        last = self._last.palette
        k = len(last.counts)
        if histogram.n_colors < k:
            return self._backend.measure(histogram, last), False
        if seed or k < min(self._options.k, histogram.n_colors):
            return renumbered(self._backend.fit(histogram, self._options), last), True
        return self._backend.fit(histogram, self._options, start=last), False


def renumbered(palette: Palette, last: Palette) -> Palette:
    """A palette with its clusters numbered as those of the last one that they are most like.

    Of all pairs of an old and a new centre the closest is matched first, then the next closest of the others.
    New clusters that are left over keep their order, dark to light.

    Args:
        palette: Of at least as many clusters as the last.
        last: Whose numbers are kept.
    """
    new, old = palette.fixed_centers.astype(np.int64), last.fixed_centers.astype(np.int64)
    distances = ((new[None] - old[:, None]) ** 2).sum(axis=2)  # (k old, k new)
    numbers = np.full(len(new), -1)  # of the new cluster for each number
    for pair in np.argsort(distances, axis=None, kind="stable"):
        number, cluster = divmod(int(pair), len(new))
        if numbers[number] < 0 and cluster not in numbers:
            numbers[number] = cluster
    numbers[numbers < 0] = np.setdiff1d(np.arange(len(new)), numbers)
    return replace(palette, fixed_centers=new[numbers].astype(np.int32), counts=palette.counts[numbers])


def coarse_histogram(histogram: ColorHistogram) -> NDArray[np.int64]:
    """The (4096,) int64 pixels in each cube of 16 x 16 x 16 colours, in z-order."""
    pixels = np.add.reduceat(histogram.counts, histogram.starts[:-1], dtype=np.int64)
    coarse = np.zeros(1 << 3 * (8 - CUBE_BITS), np.int64)
    np.add.at(coarse, histogram.cells >> 3 * (CUBE_BITS - CELL_BITS), pixels)
    return coarse


def overlap(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """The share of the pixels that two coarse histograms have in common, 0 to 1."""
    return float(np.minimum(one, other).sum() / max(one.sum(), other.sum()))
