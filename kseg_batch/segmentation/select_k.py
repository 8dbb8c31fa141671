"""Selection of the number of clusters: a fit for each number in a range, compared by a validity index.

The index is that of Davies and Bouldin ("A cluster separation measure", IEEE PAMI 1, 1979). For each cluster,
it takes the worst ratio of the sum of this and another cluster's spread to the distance of their centres, and
averages these ratios over the clusters. The spread of a cluster is the root mean square distance to its
centre, because k-means minimises squared distances. A lower index means better separated clusters.

In most photos, the strongest division is into bright and dark, so that the index alone prefers 2 or 3
clusters. Turi ("Clustering-based colour image segmentation", thesis, Monash University, 2001; as described by
Omran, Salman and Engelbrecht, Pattern Analysis and Applications 8, 2006) multiplies an index of this kind by
1 + c N(k), where N is the normal density of mean 2 and deviation 1. This module does the same. Well-separated
clusters have an index so low that the factor changes nothing: see `python -m benchmarks.studies.auto_k`.

Spreads come from exact sums of integers, by operations that IEEE 754 defines to the last bit, in an order
that the image alone determines. So every backend and machine selects the same k.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.errors import count
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
"""The factor c of Turi. With any c from 3 to 5, hardly any image, generated or real, gets another k."""

NEAR_TWO = {2: 0.3989, 3: 0.2420, 4: 0.0540, 5: 0.0044, 6: 0.0001}
"""The normal density N of mean 2 and deviation 1, as constants, because `exp` differs between machines."""


@dataclass(frozen=True, slots=True)
class KCandidate:
    """A number of clusters that was tried, with its validity index."""

    k: int
    """Number of clusters."""
    value: float
    """Validity index. The lowest wins, and on a tie the fewest clusters."""
    compactness: float
    """Sum of squared distances of the pixels to their centres, which falls with any further cluster."""


@dataclass(frozen=True, slots=True, eq=False)
class SelectedPalette:
    """The palette with the selected number of clusters, and the candidates."""

    palette: Palette
    """The same palette as a fit with this number of clusters gives."""
    curve: tuple[KCandidate, ...] | None
    """Candidates, k ascending; empty if there are fewer colours than the lowest k; None where k was given."""


def select_k(
    backend: Backend, histogram: ColorHistogram, options: FitOptions, k_range: KRange | None
) -> SelectedPalette:
    """Cluster the pixels of a histogram into the number of clusters that suits them best.

    Args:
        backend: The backend that fits.
        histogram: The colours of one or more images, with at least one pixel.
        options: Options of the fits. With a range, its `k` is not used.
        k_range: Range from which the number is selected; None for `options.k`. With fewer colours than the
            lower end of the range, each colour gets a cluster.

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
        KCandidate(k, validity_index(palette, pixels.spreads(backend, palette)), palette.compactness)
        for k, palette in palettes.items()
        if palette.counts.all()  # with max_iter = 1, a cluster may be empty, so that there are fewer than k
    )
    best = min(curve, key=lambda candidate: candidate.value).k if curve else k_range.low
    return SelectedPalette(palettes[best], curve)


def as_pairs(curve: Iterable[KCandidate]) -> list[list[float]]:
    """Return the curve as written to files: pairs of k and its index, rounded to six decimal places."""
    return [[candidate.k, round(candidate.value, 6)] for candidate in curve]


def note_on_fewer(palette: Palette, k: int) -> str | None:
    """Return a note if a palette has fewer than k clusters, as many as there are colours; None if not."""
    n = len(palette.counts)
    return f"it has {count(n, 'colour')}, so as many clusters" if n < k else None


def validity_index(palette: Palette, spreads: NDArray[np.float64]) -> float:
    """Return the validity index of at least two clusters, from their (k,) root mean square distances."""
    k = len(palette.fixed_centers)
    centers = palette.fixed_centers.astype(np.int64)
    squares = ((centers[:, None] - centers) ** 2).sum(axis=2)  # (k, k), exact
    distances = np.sqrt(squares.astype(np.float64)) / SCALE
    np.fill_diagonal(distances, np.inf)
    worst = ((spreads[:, None] + spreads) / distances).max(axis=1)
    return math.fsum(worst.tolist()) / k * (1 + FEW_PENALTY * NEAR_TWO.get(k, 0.0))


class _WeightedColors:
    """Weighted sums over the colours of a histogram, for one palette after another: 44 bytes per colour."""

    def __init__(self, histogram: ColorHistogram) -> None:
        self._histogram = histogram
        self._colors = histogram.colors
        channels = self._colors.T.astype(np.int64)
        weights = histogram.counts.astype(np.int64)
        self._sums = weights * channels  # (3, n)
        self._squares = weights * (channels * channels).sum(axis=0)  # (n,)

    def spreads(self, backend: Backend, palette: Palette) -> NDArray[np.float64]:
        """Return each cluster's root mean square distance of pixels to the centre, (k,), in grey levels."""
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
