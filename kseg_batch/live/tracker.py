"""Clusters from frame to frame: a fit starts from the previous centres, and clusters keep their numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.kmeans.color_spaces import convert
from kseg_batch.kmeans.histogram import CELL_BITS
from kseg_batch.kmeans.mean_colors import with_mean_colors
from kseg_batch.live.stabilizer import LabelStabilizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kseg_batch.backends.numba_cpu import NumbaBackend
    from kseg_batch.kmeans.histogram import ColorHistogram
    from kseg_batch.kmeans.options import FitOptions
    from kseg_batch.kmeans.palette import Palette

CUBE_BITS = 4
"""log2 of the side of the colour cubes of a coarse histogram: fine enough to tell scenes of similar colours
apart, and coarse enough that noise of 12 grey levels moves 3% of the pixels to another cube."""

MIN_INTERSECTION = 0.5
"""Smallest histogram intersection of two frames of one scene.

`python -m benchmarks.studies.scene_changes` measures the choice. Below the threshold are all cuts between
photographs, and 98% of the cuts between generated landscapes, which resemble each other; no noise, no pan by
a fifth of the picture, and 2% of the frames of a fade to black within a second."""


@dataclass(frozen=True, slots=True, eq=False)
class TrackedFrame:
    """The labels and the palette of a frame."""

    labels: NDArray[np.uint8]
    """(H, W) uint8 cluster of each pixel: that of the nearest centre, or the previous cluster if held."""
    palette: Palette
    """The centres, with their counts, compactness and mean colours by the nearest centre."""
    cut: bool
    """Whether a new scene begins with this frame."""


class Tracker:
    """Segments successive frames, all of one size."""

    def __init__(self, backend: NumbaBackend, options: FitOptions, margin: float) -> None:
        """Start without a previous frame.

        Args:
            backend: The backend that counts, fits and assigns.
            options: The options of the clustering.
            margin: The margin of the label stabiliser in grey levels: see `LabelStabilizer`.
        """
        self._backend = backend
        self._options = options
        self._stabilizer = LabelStabilizer(margin)
        self._previous: TrackedFrame | None = None
        self._previous_histogram: NDArray[np.int64] | None = None  # coarse
        self._reseed = False

    def reseed(self) -> None:
        """Fit the next frame from new seeds, not from the previous centres."""
        self._reseed = True

    def track(self, rgb: NDArray[np.uint8]) -> TrackedFrame:
        """Segment the next frame, (H, W, 3) uint8, C-contiguous."""
        pixels = convert(rgb, self._options.color_space)
        histogram = self._backend.histogram(pixels)
        coarse = coarse_histogram(histogram)
        cut = (
            self._previous_histogram is not None
            and histogram_intersection(self._previous_histogram, coarse) < MIN_INTERSECTION
        )
        palette, seeded = self._fit(histogram, reseed=cut or self._reseed)
        labels = self._backend.assign(pixels, palette, histogram)
        if palette.mean_colors is None:  # otherwise the frame was measured, not fitted
            palette = with_mean_colors(palette, rgb, labels)
        if cut or seeded:
            self._stabilizer.reset()
        self._stabilizer.hold(pixels, palette, labels)
        self._previous = TrackedFrame(labels, palette, cut)
        self._previous_histogram, self._reseed = coarse, False
        return self._previous

    def _fit(self, histogram: ColorHistogram, *, reseed: bool) -> tuple[Palette, bool]:
        """Return the palette of a frame, and whether the fit started from new seeds.

        A frame with fewer colours than clusters, such as a black frame, leaves the centres unchanged, and the
        mean colours. A fitted palette has no mean colours yet.
        """
        if self._previous is None:
            return self._backend.fit(histogram, self._options), True
        previous = self._previous.palette
        k = len(previous.counts)
        if histogram.n_colors < k:
            return self._backend.measure(histogram, previous), False
        if reseed or k < min(self._options.k, histogram.n_colors):
            return match_cluster_numbers(self._backend.fit(histogram, self._options), previous), True
        return self._backend.fit(histogram, self._options, start=previous), False


def match_cluster_numbers(palette: Palette, previous: Palette) -> Palette:
    """Return a palette whose clusters have the numbers of the most similar previous clusters.

    The matching is greedy: the closest pair of a previous and a new centre first, then the closest pair of
    the remaining centres. New clusters without a partner keep their order, dark to light.

    Args:
        palette: The palette to renumber, of at least as many clusters as the previous, as `fit` returns it.
        previous: The palette whose numbers are kept.
    """
    new, old = palette.fixed_centers.astype(np.int64), previous.fixed_centers.astype(np.int64)
    distances = ((new[None] - old[:, None]) ** 2).sum(axis=2)  # (k old, k new)
    order = np.full(len(new), -1)  # by number: the new cluster that gets the number
    for pair in np.argsort(distances, axis=None, kind="stable"):
        number, cluster = divmod(int(pair), len(new))
        if order[number] < 0 and cluster not in order:
            order[number] = cluster
    order[order < 0] = np.setdiff1d(np.arange(len(new)), order)
    return replace(palette, fixed_centers=new[order].astype(np.int32), counts=palette.counts[order])


def coarse_histogram(histogram: ColorHistogram) -> NDArray[np.int64]:
    """Return the (4096,) int64 pixel counts of cubes of 16 x 16 x 16 colours, in z-order."""
    pixels = np.add.reduceat(histogram.counts, histogram.starts[:-1], dtype=np.int64)
    coarse = np.zeros(1 << 3 * (8 - CUBE_BITS), np.int64)
    np.add.at(coarse, histogram.cells >> 3 * (CUBE_BITS - CELL_BITS), pixels)
    return coarse


def histogram_intersection(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Return the share of the pixels that two coarse histograms have in common, 0 to 1.

    The measure is the histogram intersection of Swain and Ballard ("Color indexing", International Journal of
    Computer Vision 7, 1991), divided by the larger number of pixels.
    """
    return float(np.minimum(one, other).sum() / max(one.sum(), other.sum()))
