"""How many clusters: fits for each number in a range, and the one that a validity index prefers.

The index is that of Davies and Bouldin ("A cluster separation measure", IEEE PAMI 1, 1979), with the root of
the mean square as the spread of a cluster, which is what k-means makes small: for each cluster the worst
ratio of its own and another's spread to the distance of their centres, averaged over the clusters. The lower
it is, the better the clusters are apart.

Photos have a bright and a dark half before they have anything else, so that the index alone says 2 or 3 for
most of them. Turi ("Clustering-based colour image segmentation", thesis, Monash University, 2001; as told by
Omran, Salman and Engelbrecht, Pattern Analysis and Applications 8, 2006) multiplies an index of this kind by
1 + c N(k), where N is the normal density of mean 2 and deviation 1. So does this one. Clusters that are well
apart have an index so low that the factor changes nothing: see `python -m benchmarks.studies.auto_k`.

Spreads come from exact sums of integers, by operations that IEEE 754 defines to the last bit, in an order
that the image alone decides; so every backend and machine chooses the same k.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.kmeans import reference
from kseg_batch.kmeans.fixed_point import SCALE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from kseg_batch.backends.base import Backend
    from kseg_batch.kmeans.histogram import ColorHistogram
    from kseg_batch.kmeans.options import FitOptions, KRange
    from kseg_batch.kmeans.palette import Palette

FEW_PENALTY = 4.0
"""Turi's c. From 3 to 5 hardly any image, generated or real, gets another k."""

NEAR_TWO = {2: 0.3989, 3: 0.2420, 4: 0.0540, 5: 0.0044, 6: 0.0001}
"""The normal density of mean 2 and deviation 1, in digits, because `exp` differs between machines."""


@dataclass(frozen=True, slots=True)
class KCandidate:
    """A number of clusters that was tried."""

    k: int
    value: float
    """The index: the lowest wins, and on a tie the fewest clusters."""
    compactness: float
    """Sum of squared distances, which falls with k whether it means anything or not."""


@dataclass(frozen=True, slots=True, eq=False)
class SelectedPalette:
    """A palette, and what it was chosen from."""

    palette: Palette
    """Exactly what a fit with this k alone gives."""
    curve: tuple[KCandidate, ...] | None
    """All k that were tried, ascending: none if there are fewer colours than that. None where k was given."""


def select_k(
    backend: Backend, histogram: ColorHistogram, options: FitOptions, k_range: KRange | None
) -> SelectedPalette:
    """Cluster the pixels of a histogram into as many clusters as suit them.

    Args:
        backend: What fits.
        histogram: Colours and their pixels, one at least.
        options: How to fit; `k` counts only without a range.
        k_range: Where to look. With fewer colours than its lower end there is a cluster for each.

    Raises:
        BackendError: The backend failed.
    """
    if k_range is None:
        return SelectedPalette(backend.fit(histogram, options), None)
    if histogram.n_colors < k_range.low:
        return SelectedPalette(backend.fit(histogram, replace(options, k=k_range.low)), ())
    pixels = _WeightedColors(histogram)
    ks = range(k_range.low, min(k_range.high, histogram.n_colors) + 1)
    palettes = {k: backend.fit(histogram, replace(options, k=k)) for k in ks}
    curve = tuple(
        KCandidate(k, index(palette, pixels.spreads(backend, palette)), palette.compactness)
        for k, palette in palettes.items()
        if palette.counts.all()  # --max-iter 1 may leave an empty cluster: then these are not k
    )
    best = min(curve, key=lambda tried: tried.value).k if curve else k_range.low
    return SelectedPalette(palettes[best], curve)


def as_pairs(curve: Iterable[KCandidate]) -> list[list[float]]:
    """The curve as files have it: k and its value, to six decimal places."""
    return [[tried.k, round(tried.value, 6)] for tried in curve]


def index(palette: Palette, spreads: NDArray[np.float64]) -> float:
    """The index of k clusters, two at least, with (k,) root mean square distances to their centres."""
    k = len(palette.fixed_centers)
    centers = palette.fixed_centers.astype(np.int64)
    squares = ((centers[:, None] - centers) ** 2).sum(axis=2)  # (k, k), exact
    distances = np.sqrt(squares.astype(np.float64)) / SCALE
    np.fill_diagonal(distances, np.inf)
    worst = ((spreads[:, None] + spreads) / distances).max(axis=1)
    return math.fsum(worst.tolist()) / k * (1 + FEW_PENALTY * NEAR_TWO.get(k, 0.0))


class _WeightedColors:
    """A histogram's pixels, for sums over the clusters of one palette after another: 44 bytes a colour."""

    def __init__(self, histogram: ColorHistogram) -> None:
        self._histogram = histogram
        self._colors = histogram.colors
        channels = self._colors.T.astype(np.int64)
        weights = histogram.counts.astype(np.int64)
        self._sums = weights * channels  # (3, n)
        self._squares = weights * (channels * channels).sum(axis=0)  # (n,)

    def spreads(self, backend: Backend, palette: Palette) -> NDArray[np.float64]:
        """The (k,) root mean square distances of the clusters' pixels to their centres, in grey levels."""
        k = len(palette.counts)
        labels = backend.assign(self._colors[None], palette, self._histogram)[0].astype(np.intp)
        totals = np.zeros((4, k), np.int64)
        for row, total in zip((*self._sums, self._squares), totals, strict=True):
            np.add.at(total, labels, row)
        centers = palette.fixed_centers.astype(np.int64)
        costs = [
            reference.compactness(
                int(totals[3, j]), totals[None, :3, j], palette.counts[j : j + 1], centers[[j]]
            )
            for j in range(k)
        ]
        return np.sqrt(np.array(costs) / palette.counts)
