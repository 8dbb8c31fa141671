"""The checks find results that are wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kseg_batch.bench.checks import ReferenceCheck, ResultChecker
from kseg_batch.bench.exact_cost import DistinctColors
from kseg_batch.bench.photos import BenchPhoto
from kseg_batch.bench.runner import CheckedClustering
from kseg_batch.bench.synthetic import photograph
from kseg_batch.kmeans.equality import ClusteringDigest
from kseg_batch.segmentation.segment import segment


def test_exact_implementations_are_compared_with_each_other() -> None:
    rgb = photograph(80, 60, 1)
    photo = BenchPhoto("p", rgb, DistinctColors.of(rgb), "")
    one, other = (segment(rgb, 4, seed=seed, attempts=1, max_iter=1 + seed, eps=0.0) for seed in (0, 3))
    assert not np.array_equal(one.labels, other.labels)
    clusterings = [CheckedClustering(ClusteringDigest.of(s.labels, s.palette), None) for s in (one, other)]
    checker = ResultChecker([photo])
    assert checker.find_problem("first", (clusterings[0],), exact=True) is None
    assert checker.find_problem("same", (clusterings[0],), exact=True) is None
    problem = checker.find_problem("second", (clusterings[1],), exact=True)
    assert problem == "its centres, labels, counts, compactness, iterations differ from those of first (p)"
    assert checker.find_problem("library", (clusterings[1],), exact=False) is None


def test_the_reference_on_a_small_copy_equals_the_numba_backend() -> None:
    check = ReferenceCheck.of(photograph(200, 100, 2), 6)
    options = check.options
    result = segment(check.photo, 6, attempts=options.attempts, max_iter=options.max_iter, backend="numba")
    digest = ClusteringDigest.of(result.labels, result.palette)
    assert check.find_problem(CheckedClustering(digest, None)) is None
    assert check.find_problem(CheckedClustering(replace(digest, labels=b""), None)) is not None
