"""Checks of a segmentation, made before anything is timed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kseg_batch import segment
from kseg_batch.bench.synthetic import cover
from kseg_batch.kmeans.equality import ClusteringDigest
from kseg_batch.kmeans.fixed_point import SCALE
from kseg_batch.kmeans.options import FitOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kseg_batch import Segmentation

SMALL = (320, 180)
"""Width and height at which the reference is fast enough to run before each measurement."""

CHUNK = 1 << 18
"""Pixels compared at a time, to bound memory."""


class WrongResultError(Exception):
    """A result is wrong, so that its time would mean nothing."""


def check(rgb: NDArray[np.uint8], k: int) -> None:
    """Compare `segment` with the reference on a small copy, and with its own definition at full size.

    Raises:
        WrongResultError: A figure of the result differs.
    """
    _check_reference(cover(rgb, *SMALL), k)
    _check_definition(rgb, segment(rgb, k, backend="numba"))


def _check_reference(rgb: NDArray[np.uint8], k: int) -> None:
    """Require equality with the reference in every part."""
    found = segment(rgb, k, backend="numba")
    digest = ClusteringDigest.of(found.labels, found.palette)
    for part in digest.differences(ClusteringDigest.of_reference(rgb, FitOptions(k=k))):
        _require(False, f"the {part} equal those of the reference")


def _check_definition(rgb: NDArray[np.uint8], found: Segmentation) -> None:
    """Require the nearest centres as labels, the lowest on a tie, and their counts and compactness."""
    centers = found.palette.fixed_centers.astype(np.int32)  # (k, 3)
    pixels, labels = rgb.reshape(-1, 3), found.labels.reshape(-1)
    total = 0
    for low in range(0, len(pixels), CHUNK):
        scaled = pixels[low : low + CHUNK].astype(np.int32) * SCALE
        distances = np.stack([((scaled - center) ** 2).sum(axis=1, dtype=np.int32) for center in centers])
        nearest = distances.argmin(axis=0)
        _require(np.array_equal(labels[low : low + CHUNK], nearest), "labels are the nearest centres")
        total += int(distances.min(axis=0).sum(dtype=np.int64))
    counts = np.bincount(labels, minlength=len(centers))
    _require(np.array_equal(found.counts, counts), "counts are those of the labels")
    _require(found.compactness == total / SCALE**2, "the compactness is the sum of squared distances")


def _require(holds: bool, statement: str) -> None:
    if not holds:
        raise WrongResultError(f"The result is wrong; expected: {statement}.")
