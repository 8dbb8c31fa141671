"""Three implementations of k-means, timed side by side, and one measure of quality for all of them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.support.stopwatch import median_seconds, timed
from kseg_batch import segment
from kseg_batch.bench.implementations import open_tutorial
from kseg_batch.kmeans.options import FitOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from kseg_batch.bench.exact_cost import DistinctColors

OPENCV_RUNS = 3
"""Runs of cv2.kmeans; one run of the tutorial's call above `TUTORIAL_RUNS_MAX_K` clusters."""

TUTORIAL_RUNS_MAX_K = 5
"""A run of the tutorial's call takes seconds at small k, and a minute or more at k = 16."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """The time of an implementation, and the quality of its clusters."""

    seconds: float
    """Median over the runs, from the (H, W, 3) uint8 pixels to labels and centres."""
    runs: int
    """Number of timed runs."""
    compactness: float
    """Exact cost of its centres: float64, each pixel to the nearest centre. The lowest over the runs."""
    reported: float
    """Compactness or inertia as the library itself returns it, of the run with the lowest cost."""


def kseg_batch(rgb: NDArray[np.uint8], distinct: DistinctColors, k: int, repeat: int) -> Measurement:
    """Measure `segment(rgb, k)` with the numba backend on one thread, after one warm-up run."""
    result = segment(rgb, k, backend="numba")
    seconds = median_seconds(lambda: segment(rgb, k, backend="numba"), repeat)
    return Measurement(seconds, repeat, distinct.cost(result.centers), result.compactness)


def tutorial(rgb: NDArray[np.uint8], distinct: DistinctColors, k: int, threads: int) -> Measurement:
    """Measure cv2.kmeans as the tutorial calls it."""
    runs = OPENCV_RUNS if k <= TUTORIAL_RUNS_MAX_K else 1
    return _opencv(rgb, distinct, [FitOptions(k=k, seed=seed) for seed in range(runs)], threads)


def opencv_one_start(rgb: NDArray[np.uint8], distinct: DistinctColors, k: int, threads: int) -> Measurement:
    """Measure the cheapest sensible use of cv2.kmeans: one k-means++ start, otherwise as in the tutorial."""
    runs = [FitOptions(k=k, attempts=1, init="k-means++", seed=seed) for seed in range(OPENCV_RUNS)]
    return _opencv(rgb, distinct, runs, threads)


def _opencv(
    rgb: NDArray[np.uint8], distinct: DistinctColors, runs: Sequence[FitOptions], threads: int
) -> Measurement:
    cluster = open_tutorial(threads)
    results = []
    for options in runs:
        seconds, found = timed(partial(cluster, rgb, options))
        assert found.compactness is not None
        results.append((distinct.cost(found.centers.astype(np.float64)), found.compactness, seconds))
    exact, reported, _ = min(results)
    return Measurement(statistics.median(r[2] for r in results), len(results), exact, reported)


def scikit_learn(distinct: DistinctColors, k: int, threads: int) -> Measurement:
    """Measure one KMeans fit of scikit-learn on the weighted distinct colours, without counting them."""
    cluster = import_module("sklearn.cluster")
    limits = import_module("threadpoolctl").threadpool_limits
    model = cluster.KMeans(n_clusters=k, n_init=10, random_state=0)
    with limits(limits=threads):
        seconds, _ = timed(lambda: model.fit(distinct.colors, sample_weight=distinct.counts))
    return Measurement(seconds, 1, distinct.cost(model.cluster_centers_), float(model.inertia_))
