"""The reference: the algorithm in plain NumPy. Every exact backend equals it bit for bit.

Weighted k-means on the distinct colours of an image *is* k-means on its pixels (Celebi, "Improving the
performance of k-means for color quantization", Image and Vision Computing 29, 2011; arXiv 1101.0395). A fit

1. summarises the colours by *seeding points*, the means of aligned cubes of colour space: about 2,000 coarse
   points, and up to 8,192 fine points;
2. draws `attempts` greedy k-means++ starts (Arthur and Vassilvitskii, SODA 2007), runs Lloyd's algorithm from
   each on the coarse and then on the fine points, and keeps the best result;
3. improves the best by random swaps (Fraenti, "Efficiency of random swap clustering", J. Big Data 5, 2018);
4. runs Lloyd's algorithm on all distinct colours from the improved centres.

Points and centres are int64 in Q8.6 fixed point. All sums are of integers, so a backend may add in any order.

A histogram has the colours of one space alone. So palettes of this module have no mean colours: see
`mean_colors.py`, which takes them from the RGB pixels and their labels.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kseg_batch.kmeans.fixed_point import SCALE
from kseg_batch.kmeans.histogram import ColorHistogram, from_zorder, zorder
from kseg_batch.kmeans.palette import Palette

if TYPE_CHECKING:
    from kseg_batch.kmeans.color_spaces import ColorSpace
    from kseg_batch.kmeans.options import FitOptions

IntArray = NDArray[np.int64]

ALGORITHM = 3
"""Version of the algorithm. An increase, for results that differ, makes runs segment all images again."""

FINE_POINTS = 8192
"""Most fine seeding points for any k."""

MAX_LEVEL = 5
"""log2 of the side of the largest cubes. There are 512 of these, fewer than any limit and more than any k."""

WEIGHT_BITS = 32
"""Bits of the sum of seeding weights, at most, so that a cost fits int64."""

SWAP_ROUNDS = 50
"""Most swaps to try."""

SWAP_PATIENCE = 10
"""Number of failed swaps in a row after which the search stops."""

LUMA = (299, 587, 114)
"""Weights of R, G and B, in thousandths (ITU-R BT.601)."""

SWAP_STREAM = 1 << 40
"""Index of the first random number of the swaps. The k-means++ starts use lower indices."""


def coarse_points(k: int) -> int:
    """Most coarse seeding points. There are more than an eighth as many, or one per colour: at least k."""
    return max(2048, 32 * k)


def fine_points(k: int) -> int:
    """Most fine seeding points. For up to four clusters, more points take time and gain 0.01% at most."""
    return coarse_points(k) if k <= 4 else FINE_POINTS


def weight_shift(n_pixels: int) -> int:
    """Number of bits by which pixel counts are shifted right to give seeding weights."""
    return max(0, n_pixels.bit_length() - WEIGHT_BITS)


def seeding_trials(k: int) -> int:
    """Number of candidate points for each centre in greedy k-means++, as in scikit-learn."""
    return 2 + int(math.log(k))


def splitmix64(seed: int, index: int) -> int:
    """Return number `index` of the SplitMix64 sequence of `seed` (Steele, Lea and Flood, OOPSLA 2014).

    The generator is counter-based: a number does not depend on the numbers before it.
    """
    mask = (1 << 64) - 1
    z = (seed + (index + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def draw(masses: IntArray, seed: int, index: int) -> int:
    """Draw an index of (n,) `masses` at random, with a probability proportional to its mass."""
    cumulative = np.cumsum(masses)
    target = (splitmix64(seed, index) * int(cumulative[-1])) >> 64
    return int(np.searchsorted(cumulative, target, side="right"))


def squared_distances(points: IntArray, center: IntArray) -> IntArray:
    """Return the (n,) squared distances of (n, 3) points to a (3,) centre."""
    distances: IntArray = ((points - center) ** 2).sum(axis=1)
    return distances


def nearest(points: IntArray, centers: IntArray) -> tuple[IntArray, IntArray]:
    """Return the (n,) indices of the nearest centres, the lowest on a tie, and the (n,) squared distances."""
    labels = np.zeros(len(points), np.int64)
    distances = squared_distances(points, centers[0])
    for j in range(1, len(centers)):
        candidate = squared_distances(points, centers[j])
        closer = candidate < distances
        labels[closer] = j
        distances[closer] = candidate[closer]
    return labels, distances


def mean_points(points: IntArray, weights: IntArray, labels: IntArray, k: int) -> tuple[IntArray, IntArray]:
    """Return the (k, 3) weighted means, rounded half up, 0 for an empty cluster, and the (k,) weights."""
    totals, sums = np.zeros(k, np.int64), np.zeros((k, 3), np.int64)
    np.add.at(totals, labels, weights)
    np.add.at(sums, labels, points * weights[:, None])
    divisor = np.maximum(totals, 1)[:, None]
    return (2 * sums + divisor) // (2 * divisor), totals


def farthest(points: IntArray, distances: IntArray) -> int:
    """Return the index of the point with the greatest distance; on a tie, of the lowest (R, G, B)."""
    tied = np.flatnonzero(distances == distances.max())
    order = np.lexsort((points[tied, 2], points[tied, 1], points[tied, 0]))
    return int(tied[order[0]])


def lloyd(
    points: IntArray, weights: IntArray, centers: IntArray, max_iter: int, max_shift: int
) -> tuple[IntArray, int]:
    """Run Lloyd's algorithm from given centres.

    Empty clusters, in the order of their index, move to the point farthest from its own centre, the next
    farthest, and so on. After such an iteration another one follows, up to `max_iter`.

    Args:
        points: (n, 3) distinct points.
        weights: (n,) weights, all > 0.
        centers: (k, 3) initial centres, k <= n.
        max_iter: Most iterations, at least 1.
        max_shift: Squared distance. The iterations stop when no centre moved by more.

    Returns:
        The (k, 3) centres and the number of iterations.
    """
    for iteration in range(1, max_iter + 1):  # noqa: B007 - the function returns it
        labels, distances = nearest(points, centers)
        moved, totals = mean_points(points, weights, labels, len(centers))
        empty = np.flatnonzero(totals == 0)
        for j in empty:
            i = farthest(points, distances)
            moved[j] = points[i]
            distances[i] = 0
        shift = int(((moved - centers) ** 2).sum(axis=1).max())
        centers = moved
        if shift <= max_shift and len(empty) == 0:
            break
    return centers, iteration


def cost_of(points: IntArray, weights: IntArray, centers: IntArray) -> int:
    """Return the sum of weight times squared distance to the nearest centre."""
    return int((nearest(points, centers)[1] * weights).sum())


def kmeans_plus_plus(points: IntArray, weights: IntArray, k: int, seed: int, attempt: int) -> IntArray:
    """Choose initial centres by greedy k-means++.

    For each centre, several points are drawn with a probability proportional to weight * squared distance,
    and the point that lowers the cost most is taken.

    Returns:
        (k, 3) centres, each equal to a point.
    """
    distances = np.ones(len(points), np.int64)
    chosen: list[int] = []
    for c in range(k):
        trials = range(seeding_trials(k) if chosen else 1)
        picks = [draw(weights * distances, seed, attempt << 16 | c << 8 | trial) for trial in trials]
        after = [squared_distances(points, points[pick]) for pick in picks]
        if chosen:
            after = [np.minimum(distances, d) for d in after]
        best = int(np.argmin([(weights * d).sum() for d in after]))
        chosen.append(picks[best])
        distances = after[best]
    return points[chosen]


def least_missed(points: IntArray, weights: IntArray, centers: IntArray) -> int:
    """Return the index of the centre whose removal costs least. The last centre is not considered."""
    distances = np.stack([squared_distances(points, center) for center in centers])
    labels = distances.argmin(axis=0)
    first, second = np.partition(distances, 1, axis=0)[:2]
    losses = np.zeros(len(centers), np.int64)
    np.add.at(losses, labels, weights * (second - first))
    return int(losses[:-1].argmin())


def swap_centers(points: IntArray, weights: IntArray, centers: IntArray, options: FitOptions) -> IntArray:
    """Improve centres by random swaps: a point drawn by its cost replaces the centre of `least_missed`."""
    cost, failures = cost_of(points, weights, centers), 0
    for swap in range(SWAP_ROUNDS):
        if cost == 0 or failures == SWAP_PATIENCE:
            break
        pick = draw(weights * nearest(points, centers)[1], options.seed, SWAP_STREAM | swap)
        trial = centers.copy()
        trial[least_missed(points, weights, np.vstack([centers, points[pick]]))] = points[pick]
        trial, _ = lloyd(points, weights, trial, options.max_iter, options.max_shift)
        trial_cost = cost_of(points, weights, trial)
        failures += 1
        if trial_cost < cost:
            centers, cost, failures = trial, trial_cost, 0
    return centers


def seeding_points(histogram: ColorHistogram, most: int) -> tuple[IntArray, IntArray]:
    """Return the means of the colours in aligned cubes, of the smallest side that gives at most `most` cubes.

    Args:
        histogram: The colours and their counts.
        most: Most seeding points, at least 512.

    Returns:
        (p, 3) points in z-order and their (p,) weights: pixel counts, scaled down if their sum is over 2**32.
    """
    codes = histogram.codes
    for level in range(MAX_LEVEL + 1):
        cubes, labels = np.unique(codes >> (3 * level), return_inverse=True)
        if len(cubes) <= most:
            break
    points = histogram.colors.astype(np.int64) * SCALE
    means, totals = mean_points(points, histogram.counts.astype(np.int64), labels, len(cubes))
    return means, np.maximum(totals >> weight_shift(histogram.n_pixels), 1)


def seed_centers(histogram: ColorHistogram, k: int, options: FitOptions) -> IntArray:
    """Return the (k, 3) centres from which the iterations over all distinct colours start."""
    coarse, coarse_weights = seeding_points(histogram, coarse_points(k))
    points, weights = seeding_points(histogram, fine_points(k))
    best, best_cost = None, 0
    for attempt in range(options.attempts):
        centers = kmeans_plus_plus(coarse, coarse_weights, k, options.seed, attempt)
        centers, _ = lloyd(coarse, coarse_weights, centers, options.max_iter, options.max_shift)
        centers, _ = lloyd(points, weights, centers, options.max_iter, options.max_shift)
        cost = cost_of(points, weights, centers)
        if best is None or cost < best_cost:
            best, best_cost = centers, cost
    assert best is not None
    return best if k == 1 else swap_centers(points, weights, best, options)


def dark_to_light(centers: IntArray, color_space: ColorSpace = "rgb") -> IntArray:
    """Sort (k, 3) centres by lightness, and on a tie by the channels in their order.

    The lightness is luma in RGB (ITU-R BT.601, in thousandths), and the first channel in other colour spaces.
    """
    lightness = centers @ np.array(LUMA) if color_space == "rgb" else centers[:, 0]
    return centers[np.lexsort((centers[:, 2], centers[:, 1], centers[:, 0], lightness))]


def compactness(squares: int, sums: IntArray, counts: IntArray, centers: IntArray) -> float:
    """Return the sum of squared distances of all pixels to their centres, in squared grey levels.

    Args:
        squares: Sum of the squares of all channels of all pixels.
        sums: (k, 3) sums of each channel over each cluster, in grey levels.
        counts: (k,) pixels of each cluster.
        centers: (k, 3) centres in Q8.6.
    """
    total = SCALE * SCALE * squares  # Python integers cannot overflow
    for center, channel_sums, count in zip(centers.tolist(), sums.tolist(), counts.tolist(), strict=True):
        total += sum(count * c * c - 2 * SCALE * c * s for c, s in zip(center, channel_sums, strict=True))
    return total / (SCALE * SCALE)


def fit(histogram: ColorHistogram, options: FitOptions, start: Palette | None = None) -> Palette:
    """Cluster the pixels of a histogram: the reference for `Backend.fit`.

    Args:
        histogram: The colours to cluster, and their counts.
        options: Options of the fit.
        start: A palette to start from, as in `NumbaBackend.fit`, whose order of clusters is kept; None for
            seeding.
    """
    colors, weights = histogram.colors.astype(np.int64), histogram.counts.astype(np.int64)
    if start is None:
        centers = seed_centers(histogram, min(options.k, histogram.n_colors), options)
    else:
        centers = start.fixed_centers.astype(np.int64)
    centers, n_iter = lloyd(colors * SCALE, weights, centers, options.max_iter, options.max_shift)
    if start is None:
        centers = dark_to_light(centers, options.color_space)
    return measure(histogram, centers, n_iter, "numpy", options.color_space)


def measure(
    histogram: ColorHistogram,
    centers: IntArray,
    n_iter: int | None,
    backend: str,
    color_space: ColorSpace = "rgb",
) -> Palette:
    """Return the palette with given (k, 3) centres, and its counts and compactness over a histogram."""
    colors, weights = histogram.colors.astype(np.int64), histogram.counts.astype(np.int64)
    labels, _ = nearest(colors * SCALE, centers)
    counts, sums = np.zeros(len(centers), np.int64), np.zeros((len(centers), 3), np.int64)
    np.add.at(counts, labels, weights)
    np.add.at(sums, labels, colors * weights[:, None])
    squares = int((colors * colors * weights[:, None]).sum())
    return Palette(
        fixed_centers=centers.astype(np.int32),
        counts=counts,
        compactness=compactness(squares, sums, counts, centers),
        n_iter=n_iter,
        backend=backend,
        color_space=color_space,
    )


def measure_palette(histogram: ColorHistogram, palette: Palette, backend: str = "numpy") -> Palette:
    """Return a palette with counts and compactness over a histogram: the reference for `Backend.measure`."""
    centers = palette.fixed_centers.astype(np.int64)
    measured = measure(histogram, centers, 0, backend, palette.color_space)
    return replace(measured, names=palette.names, mean_colors=palette.mean_colors)


def assign(image: NDArray[np.uint8], palette: Palette) -> NDArray[np.uint8]:
    """Return the (H, W) uint8 labels of an (H, W, 3) uint8 image: the reference for `Backend.assign`."""
    codes = zorder(image)
    distinct = np.unique(codes)
    points = from_zorder(distinct).astype(np.int64) * SCALE
    labels, _ = nearest(points, palette.fixed_centers.astype(np.int64))
    table = np.zeros(1 << 24, np.uint8)
    table[distinct] = labels
    return table[codes]
