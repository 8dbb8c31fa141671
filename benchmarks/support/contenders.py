"""The three ways to cluster a photo that are timed side by side, and one measure of quality for them all."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from kseg_batch import segment
from kseg_batch.bench.implementations import open_tutorial
from kseg_batch.kmeans.options import FitOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from kseg_batch.bench.exact_cost import DistinctColors

T = TypeVar("T")

TUTORIAL_RUNS = 3
"""Runs of cv2.kmeans up to `TUTORIAL_RUNS_MAX_K` clusters; above, one."""

TUTORIAL_RUNS_MAX_K = 5
"""A run takes seconds at small k and a minute or more at k = 16."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """How long a contender took, and how good its clusters are."""

    seconds: float
    """Median over the runs, from the (H, W, 3) uint8 pixels to labels and centres."""
    runs: int
    """How many were timed."""
    compactness: float
    """Exact cost of its centres: float64, each pixel to the nearest. The lowest over the runs."""
    reported: float
    """What the library itself gives as compactness or inertia, of that run."""


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """The seconds that a call took, and what it returned."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def kseg_batch(rgb: NDArray[np.uint8], distinct: DistinctColors, k: int, repeat: int) -> Measurement:
    """`segment(rgb, k)` with the numba backend, which uses one thread; one warm-up run is not timed."""
    result = segment(rgb, k, backend="numba")
    seconds = [timed(lambda: segment(rgb, k, backend="numba"))[0] for _ in range(repeat)]
    return Measurement(statistics.median(seconds), repeat, distinct.cost(result.centers), result.compactness)


def opencv(rgb: NDArray[np.uint8], distinct: DistinctColors, k: int, threads: int) -> Measurement:
    """cv2.kmeans as the tutorial calls it, the runs with the seeds 0, 1 and 2."""
    cluster = open_tutorial(threads)
    results = []
    for seed in range(TUTORIAL_RUNS if k <= TUTORIAL_RUNS_MAX_K else 1):
        seconds, found = timed(partial(cluster, rgb, FitOptions(k=k, seed=seed)))
        assert found.compactness is not None
        results.append((distinct.cost(found.centers.astype(np.float64)), found.compactness, seconds))
    exact, reported, _ = min(results)
    return Measurement(statistics.median(r[2] for r in results), len(results), exact, reported)


def scikit_learn(distinct: DistinctColors, k: int, threads: int) -> Measurement:
    """One KMeans fit of scikit-learn on the weighted distinct colours; counting them is not timed."""
    cluster = import_module("sklearn.cluster")
    limits = import_module("threadpoolctl").threadpool_limits
    model = cluster.KMeans(n_clusters=k, n_init=10, random_state=0)
    with limits(limits=threads):
        seconds, _ = timed(lambda: model.fit(distinct.colors, sample_weight=distinct.counts))
    return Measurement(seconds, 1, distinct.cost(model.cluster_centers_), float(model.inertia_))
