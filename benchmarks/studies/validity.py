"""Criteria for the number of clusters, each written from its definition. The highest value wins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.backends.registry import load
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.segmentation.select_k import FEW_PENALTY, validity_index

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from kseg_batch.kmeans.palette import Palette

LOW, HIGH = 2, 12
"""The range that k is chosen from."""

DIMENSIONS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """k clusters of an image, with the figures that the criteria need."""

    palette: Palette
    cost: float
    """Sum of squared distances to the centres, 1e-9 at least."""
    total: float
    """Sum of squared distances to the centre of all pixels."""
    n: int
    """Pixels."""
    apart: NDArray[np.float64]
    """(k, k) float64 distances of the centres, infinite from a centre to itself."""
    spreads: NDArray[np.float64]
    """(k,) float64 root mean square distances of each cluster's pixels to its centre."""
    mean_distance: float
    """Mean distance of the pixels to their centres."""
    mean_distances: NDArray[np.float64]
    """(k,) float64 mean distances of each cluster."""
    silhouette: float
    """The mean of the pixels' simplified silhouettes."""

    @property
    def k(self) -> int:
        """Clusters."""
        return len(self.palette.counts)


Fits = dict[int, Fit]
"""Fits by k, from 1 to `HIGH` + 1."""


def fits(rgb: NDArray[np.uint8]) -> Fits:
    """Return all fits of an (H, W, 3) uint8 image that has more colours than clusters."""
    backend = load("numba")
    histogram = backend.histogram(rgb)
    colors, weights = histogram.colors, histogram.counts.astype(np.float64)
    rows, everyone = colors.astype(np.float32), np.arange(len(colors))
    found: Fits = {}
    for k in range(1, HIGH + 2):
        palette = backend.fit(histogram, FitOptions(k=k))
        labels = backend.assign(colors[None], palette, histogram)[0].astype(np.intp)
        centers = palette.centers
        distances = np.stack([np.linalg.norm(rows - center, axis=1) for center in centers.astype("f4")])
        own = distances[labels, everyone].astype(np.float64)
        distances[labels, everyone] = np.inf
        other = distances.min(axis=0).astype(np.float64)
        both = np.maximum(np.maximum(own, other), 1e-9)
        apart = np.sqrt(((centers[:, None] - centers) ** 2).sum(axis=2))
        np.fill_diagonal(apart, np.inf)
        cost = max(palette.compactness, 1e-9)
        found[k] = Fit(
            palette=palette,
            cost=cost,
            total=found[1].cost if found else cost,
            n=histogram.n_pixels,
            apart=apart,
            spreads=np.sqrt(np.bincount(labels, weights * own**2, k) / palette.counts),
            mean_distance=float((weights * own).sum() / weights.sum()),
            mean_distances=np.bincount(labels, weights * own, k) / palette.counts,
            silhouette=float((weights * ((other - own) / both)).sum() / weights.sum()) if k > 1 else 0.0,
        )
    return found


def few(k: int, c: float) -> float:
    """Return Turi's factor against few clusters."""
    return 1 + c * math.exp(-((k - 2) ** 2) / 2) / math.sqrt(2 * math.pi)


def davies_bouldin(fit: Fit, spreads: NDArray[np.float64]) -> float:
    """Return the mean over the clusters of the worst ratio of spreads to distance."""
    return float(((spreads[:, None] + spreads) / fit.apart).max(axis=1).mean())


def calinski_harabasz(f: Mapping[int, Fit], k: int) -> float:
    """Return the variance between clusters divided by that within, each by its degrees of freedom."""
    return (f[k].total - f[k].cost) / (k - 1) / (f[k].cost / (f[k].n - k))


def krzanowski_lai(f: Mapping[int, Fit], k: int) -> float:
    """Return the fall of the cost to k divided by its fall from k, each relative to evenly filled space."""

    def fall(k: int) -> float:
        power = 2 / DIMENSIONS
        return float((k - 1) ** power * f[k - 1].cost - k**power * f[k].cost)

    return abs(fall(k) / fall(k + 1))


def jump(f: Mapping[int, Fit], k: int) -> float:
    """Return the step in the cost, transformed by the power -p/2 for p dimensions."""
    power = -DIMENSIONS / 2
    return float((f[k].cost / f[k].total) ** power - (f[k - 1].cost / f[k].total) ** power)


def pham(f: Mapping[int, Fit], k: int) -> float:
    """Return the negative ratio of the cost to the cost of an even distribution."""
    weight = 1 - 3 / (4 * DIMENSIONS)
    for _ in range(3, k + 1):
        weight += (1 - weight) / 6
    return -f[k].cost / (weight * f[k - 1].cost)


def kneedle(f: Mapping[int, Fit], k: int) -> float:
    """Return the distance of the curve of costs below the straight line between its ends."""
    first, last = f[LOW].cost, f[HIGH].cost
    return 1 - (k - LOW) / (HIGH - LOW) - (f[k].cost - last) / (first - last)


def ray_turi(f: Mapping[int, Fit], k: int) -> float:
    """Return the negative ratio of the mean squared distance to the least squared distance of two centres."""
    return -f[k].cost / f[k].n / float(f[k].apart.min()) ** 2


def pbm(f: Mapping[int, Fit], k: int) -> float:
    """Return the squared product of 1/k, the gain in mean distance, and the greatest distance of centres."""
    widest = float(np.where(np.isinf(f[k].apart), 0, f[k].apart).max())
    return (widest / k * f[1].mean_distance / max(f[k].mean_distance, 1e-9)) ** 2


def turi(c: float) -> Callable[[Mapping[int, Fit], int], float]:
    """Return the index of Davies and Bouldin with q = 2 and Turi's factor, as a criterion."""
    return lambda f, k: -few(k, c) * davies_bouldin(f[k], f[k].spreads)


CRITERIA: dict[str, Callable[[Mapping[int, Fit], int], float]] = {
    "Calinski, Harabasz 1974": calinski_harabasz,
    "Krzanowski, Lai 1988": krzanowski_lai,
    "jump, Sugar, James 2003": jump,
    "f(K), Pham et al. 2005": pham,
    "Kneedle, Satopää et al. 2011": kneedle,
    "PBM, Pakhira et al. 2004": pbm,
    "simplified silhouette, 2010": lambda f, k: f[k].silhouette,
    "Ray, Turi 1999": ray_turi,
    "Ray, Turi, c = 15": lambda f, k: few(k, 15) * ray_turi(f, k),
    "Davies, Bouldin 1979, q = 1": lambda f, k: -davies_bouldin(f[k], f[k].mean_distances),
    "Davies, Bouldin 1979, q = 2": lambda f, k: -davies_bouldin(f[k], f[k].spreads),
    **{f"q = 2, Turi's c = {c}": turi(c) for c in (1, 2, 3, 5, 8)},
    f"--k auto: q = 2, c = {FEW_PENALTY:g}": lambda f, k: -validity_index(f[k].palette, f[k].spreads),
}


def choice(criterion: str, f: Mapping[int, Fit]) -> int:
    """Return the k that a criterion chooses, on a tie the lowest."""
    return max(range(LOW, HIGH + 1), key=lambda k: (CRITERIA[criterion](f, k), -k))
