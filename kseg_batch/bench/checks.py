"""Is a contender's result right? Asked before it is timed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.bench.synthetic import cover
from kseg_batch.kmeans import reference
from kseg_batch.kmeans.equality import ClusteringDigest, digest_labels
from kseg_batch.kmeans.fixed_point import SCALE
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.kmeans.palette import Palette

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from kseg_batch.bench.photos import Photo
    from kseg_batch.bench.runner import Found

SMALL = (96, 54)
"""Width and height of the copy that the NumPy reference clusters in seconds, even for many clusters."""

SMALL_ATTEMPTS, SMALL_ITERATIONS = 1, 4
"""For that copy, to spare the reference."""

SUMMATION = 1e-9
"""Relative difference between exact integers and float64 sums of the same squares."""

WORSE_THAN_ONE = 1.1
"""Centres that cost more than so many times what the mean colour alone costs are wrong."""

ROUNDING = 0.75
"""What palettes of whole grey levels may cost on top, a pixel: 0.5 squared, in three channels."""


@dataclass(frozen=True, slots=True, eq=False)
class SmallCase:
    """A small copy of a photo, how to cluster it, and what the NumPy reference makes of it."""

    photo: NDArray[np.uint8]
    options: FitOptions
    expected: ClusteringDigest

    @classmethod
    def of(cls, rgb: NDArray[np.uint8], k: int) -> SmallCase:
        """The case for an (H, W, 3) uint8 photo."""
        photo = cover(rgb, *SMALL)
        options = FitOptions(k=k, attempts=SMALL_ATTEMPTS, max_iter=SMALL_ITERATIONS)
        return cls(photo, options, ClusteringDigest.of_reference(photo, options))

    def problem(self, found: Found) -> str | None:
        """What is wrong with an exact contender's result; None if nothing is."""
        wrong = ", ".join(found.clustering.differences(self.expected))
        return f"its {wrong} differ from those of the NumPy reference on a small copy" if wrong else None


@dataclass(slots=True)
class Referee:
    """Judges what the contenders make of the photos of one size, at one k."""

    photos: Sequence[Photo]
    first: tuple[str, tuple[Found, ...]] | None = field(default=None, init=False)
    """The first exact contender that is right, and what the others have to equal."""

    def problem(self, name: str, found: tuple[Found, ...], *, exact: bool) -> str | None:
        """What is wrong with a contender's results; None if nothing is."""
        for i, (result, photo) in enumerate(zip(found, self.photos, strict=True)):
            problem = result.problem or _cost_problem(result, photo)
            if problem is None and exact:
                if self.first is None:
                    problem = _exactness_problem(result, photo)
                elif wrong := result.clustering.differences(self.first[1][i].clustering):
                    problem = f"its {', '.join(wrong)} differ from those of {self.first[0]}"
            if problem is not None:
                return f"{problem} ({photo.name})"
        if exact and self.first is None:
            self.first = name, found
        return None


def _cost_problem(result: Found, photo: Photo) -> str | None:
    """Centres that serve worse than a single one would."""
    pixels = photo.rgb.size // 3
    most = WORSE_THAN_ONE * photo.colors.cost(photo.colors.mean()) + ROUNDING * pixels
    cost = photo.colors.cost(result.clustering.centers)
    if cost <= most:
        return None
    return f"the compactness of its centres is {cost:.4g}, which one centre alone would better"


def _exactness_problem(result: Found, photo: Photo) -> str | None:
    """Labels that are not the nearest of the centres, or a compactness that is not that of the centres."""
    fixed = np.rint(result.clustering.centers * SCALE).astype(np.int32)
    if not np.array_equal(fixed / SCALE, result.clustering.centers):
        return "its centres are not fixed-point numbers"
    palette = Palette(fixed, np.zeros(len(fixed), np.int64), 0.0, None, "")
    if digest_labels(reference.assign(photo.rgb, palette)) != result.clustering.labels:
        return "its labels are not those of its nearest centres"
    cost = photo.colors.cost(result.clustering.centers)
    if result.clustering.compactness is None or abs(result.clustering.compactness - cost) > SUMMATION * cost:
        return f"its compactness is given as {result.clustering.compactness}, and is {cost}"
    return None
