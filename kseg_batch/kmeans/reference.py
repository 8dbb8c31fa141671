"""The algorithm, in plain NumPy: the oracle that every backend equals, bit for bit.

Weighted k-means on the distinct colours of an image *is* k-means on its pixels (Celebi, "Improving the
performance of k-means for color quantization", Image and Vision Computing 29, 2011; arXiv 1101.0395). A fit

1. gathers the colours into *seeding points*, the means of aligned cubes of colour space: some 2,000 coarse
   ones, and up to 8,192 fine ones;
2. converges on the coarse, then on the fine points, from `attempts` greedy k-means++ starts (Arthur and
   Vassilvitskii, SODA 2007), and keeps the best;
3. improves that by random swaps (Fraenti, "Efficiency of random swap clustering", J. Big Data 5, 2018);
4. runs Lloyd's algorithm on all distinct colours from there.

Points and centres are int64 in Q8.6 fixed point. All sums are of integers, so a backend may add in any order.
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

ALGORITHM = 2
"""Goes up when the same image and options give other labels or centres, so that runs do them again."""

FINE_POINTS = 8192
"""Most fine seeding points, for any k."""

MAX_LEVEL = 5
"""The largest cubes have side 2**5; there are 512 of them, fewer than any limit and more than any k."""

WEIGHT_BITS = 32
"""Seeding weights are scaled to a sum of about 2**32 at most, so that a cost fits int64."""

SWAP_ROUNDS = 50
"""Most swaps tried."""

SWAP_PATIENCE = 10
"""Swaps that may fail in a row before the search ends."""

LUMA = (299, 587, 114)
"""Weights of R, G and B, in thousandths (ITU-R BT.601)."""

SWAP_STREAM = 1 << 40
"""Where the swaps' random numbers start; those of the starts are below."""


def coarse_points(k: int) -> int:
    """Most coarse seeding points. Over an eighth as many there are, or one for each colour; so k at least."""
    return max(2048, 32 * k)


def fine_points(k: int) -> int:
    """Most fine seeding points. Up to four clusters, more of them take time and gain 0.01% at most."""
    return coarse_points(k) if k <= 4 else FINE_POINTS


def weight_shift(n_pixels: int) -> int:
    """By how many bits pixel counts are shifted down to seeding weights."""
    return max(0, n_pixels.bit_length() - WEIGHT_BITS)


def seeding_trials(k: int) -> int:
    """Points tried for each centre by greedy k-means++, as scikit-learn chooses them."""
    return 2 + int(math.log(k))


def splitmix64(seed: int, index: int) -> int:
    """Number `index` of the SplitMix64 sequence of `seed` (Steele, Lea and Flood, OOPSLA 2014).

    Counter-based: any number can be had without those before it.
    """
    mask = (1 << 64) - 1
    z = (seed + (index + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def draw(masses: IntArray, seed: int, index: int) -> int:
    """An index of (n,) `masses`, with a probability in proportion to its mass."""
    cumulative = np.cumsum(masses)
    target = (splitmix64(seed, index) * int(cumulative[-1])) >> 64
    return int(np.searchsorted(cumulative, target, side="right"))


def squared_distances(points: IntArray, center: IntArray) -> IntArray:
    """(n,) squared distances of (n, 3) points to one (3,) centre."""
    distances: IntArray = ((points - center) ** 2).sum(axis=1)
    return distances


def nearest(points: IntArray, centers: IntArray) -> tuple[IntArray, IntArray]:
    """The (n,) labels of the nearest centres, lowest index on a tie, and the (n,) squared distances."""
    labels = np.zeros(len(points), np.int64)
    distances = squared_distances(points, centers[0])
    for j in range(1, len(centers)):
        candidate = squared_distances(points, centers[j])
        closer = candidate < distances
        labels[closer] = j
        distances[closer] = candidate[closer]
    return labels, distances


def mean_points(points: IntArray, weights: IntArray, labels: IntArray, k: int) -> tuple[IntArray, IntArray]:
    """The (k, 3) weighted means of each cluster, rounded half up (0 where empty), and the (k,) weights."""
    totals, sums = np.zeros(k, np.int64), np.zeros((k, 3), np.int64)
    np.add.at(totals, labels, weights)
    np.add.at(sums, labels, points * weights[:, None])
    divisor = np.maximum(totals, 1)[:, None]
    return (2 * sums + divisor) // (2 * divisor), totals


def farthest(points: IntArray, distances: IntArray) -> int:
    """Index of the point with the greatest distance; on a tie the lowest (R, G, B)."""
    tied = np.flatnonzero(distances == distances.max())
    order = np.lexsort((points[tied, 2], points[tied, 1], points[tied, 0]))
    return int(tied[order[0]])


def lloyd(
    points: IntArray, weights: IntArray, centers: IntArray, max_iter: int, max_shift: int
) -> tuple[IntArray, int]:
    """Lloyd's algorithm from given centres.

    Empty clusters move, in the order of their index, to the point farthest from its own centre, the next
    farthest, and so on. An iteration in which this happens is never the last but for `max_iter`.

    Args:
        points: (n, 3), distinct.
        weights: (n,), all > 0.
        centers: (k, 3), k <= n.
        max_iter: Most iterations, at least 1.
        max_shift: Stop when no centre moved by more than this squared distance.

    Returns:
        The (k, 3) centres and the number of iterations.
    """
    for iteration in range(1, max_iter + 1):  # noqa: B007 - it is returned
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
    """Sum of weight times squared distance to the nearest centre."""
    return int((nearest(points, centers)[1] * weights).sum())


def kmeans_plus_plus(points: IntArray, weights: IntArray, k: int, seed: int, attempt: int) -> IntArray:
    """Greedy k-means++: of several points drawn by weight * squared distance, take the one that helps most.

    Returns:
        (k, 3) centres, each one of the points.
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
    """Index of the centre, the last one excepted, whose removal costs least."""
    distances = np.stack([squared_distances(points, center) for center in centers])
    labels = distances.argmin(axis=0)
    first, second = np.partition(distances, 1, axis=0)[:2]
    losses = np.zeros(len(centers), np.int64)
    np.add.at(losses, labels, weights * (second - first))
    return int(losses[:-1].argmin())


def swap_centers(points: IntArray, weights: IntArray, centers: IntArray, options: FitOptions) -> IntArray:
    """Improve centres by random swaps: a point drawn by its cost replaces the centre that is missed least."""
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
    """The means of the smallest aligned cubes of colours of which there are at most `most`, 512 or more.

    Returns:
        (p, 3) points in z-order and their (p,) weights: pixels, scaled down if there are over 2**32.
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
    """The (k, 3) centres from which the iterations over all colours start."""
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
    """Sort (k, 3) centres by lightness, ties by the channels in their order.

    In RGB that is luma (ITU-R BT.601, in thousandths); elsewhere it is the first channel.
    """
    lightness = centers @ np.array(LUMA) if color_space == "rgb" else centers[:, 0]
    return centers[np.lexsort((centers[:, 2], centers[:, 1], centers[:, 0], lightness))]


def compactness(squares: int, sums: IntArray, counts: IntArray, centers: IntArray) -> float:
    """The sum of squared distances of all pixels to their centres, in squared grey levels.

    Args:
        squares: Sum of the squares of all pixels' channels.
        sums: (k, 3) channel sums of the clusters, in grey levels.
        counts: (k,) pixels of the clusters.
        centers: (k, 3) in Q8.6.
    """
    total = SCALE * SCALE * squares  # Python integers from here on
    for center, channel_sums, count in zip(centers.tolist(), sums.tolist(), counts.tolist(), strict=True):
        total += sum(count * c * c - 2 * SCALE * c * s for c, s in zip(center, channel_sums, strict=True))
    return total / (SCALE * SCALE)


def fit(histogram: ColorHistogram, options: FitOptions, start: Palette | None = None) -> Palette:
    """Cluster a histogram: the reference for `NumbaBackend.fit`, with a `start` or without."""
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
    """The palette of given (k, 3) centres, with its counts and its compactness over a histogram."""
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
    """What a palette that was not fitted to it costs on a histogram: the reference for `Backend.measure`."""
    centers = palette.fixed_centers.astype(np.int64)
    return replace(measure(histogram, centers, 0, backend, palette.color_space), names=palette.names)


def assign(image: NDArray[np.uint8], palette: Palette) -> NDArray[np.uint8]:
    """The (H, W) uint8 labels of an (H, W, 3) uint8 RGB image: the reference for `Backend.assign`."""
    codes = zorder(image)
    distinct = np.unique(codes)
    points = from_zorder(distinct).astype(np.int64) * SCALE
    labels, _ = nearest(points, palette.fixed_centers.astype(np.int64))
    table = np.zeros(1 << 24, np.uint8)
    table[distinct] = labels
    return table[codes]
