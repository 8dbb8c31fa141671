"""The checks of an implementation's results, made before its passes are timed."""

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

    from kseg_batch.bench.photos import BenchPhoto
    from kseg_batch.bench.runner import CheckedClustering

SMALL = (96, 54)
"""Width and height of the copy that the NumPy reference clusters in seconds, even for many clusters."""

SMALL_ATTEMPTS, SMALL_ITERATIONS = 1, 4
"""Starts and iterations on the small copy, few to spare the NumPy reference."""

SUMMATION = 1e-9
"""Greatest relative difference between a sum of squares in exact integers and in float64."""

WORSE_THAN_ONE = 1.1
"""Centres are wrong if they cost more than this factor times the cost of the mean colour alone."""

ROUNDING = 0.75
"""Cost that palettes of whole grey levels may add, a pixel: 0.5 squared, in three channels."""


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceCheck:
    """A small copy of a photo, and the clustering of it by the NumPy reference."""

    photo: NDArray[np.uint8]
    """The (54, 96, 3) uint8 copy."""
    options: FitOptions
    """How to cluster the copy."""
    expected: ClusteringDigest
    """The clustering that an exact implementation has to equal."""

    @classmethod
    def of(cls, rgb: NDArray[np.uint8], k: int) -> ReferenceCheck:
        """Return the check with a copy of an (H, W, 3) uint8 photo."""
        photo = cover(rgb, *SMALL)
        options = FitOptions(k=k, attempts=SMALL_ATTEMPTS, max_iter=SMALL_ITERATIONS)
        return cls(photo, options, ClusteringDigest.of_reference(photo, options))

    def find_problem(self, clustering: CheckedClustering) -> str | None:
        """Return how an exact implementation's clustering of the copy is wrong; None if it is right."""
        wrong = ", ".join(clustering.digest.differences(self.expected))
        return f"its {wrong} differ from those of the NumPy reference on a small copy" if wrong else None


@dataclass(slots=True)
class ResultChecker:
    """The checks of the clusterings of one set of photos, at one size and k."""

    photos: Sequence[BenchPhoto]
    first_exact: tuple[str, tuple[CheckedClustering, ...]] | None = field(default=None, init=False)
    """Name and clusterings of the first exact implementation that was right; others have to equal it."""

    def find_problem(
        self, name: str, clusterings: tuple[CheckedClustering, ...], *, exact: bool
    ) -> str | None:
        """Return how an implementation's clusterings are wrong; None if they are right.

        Args:
            name: Name of the implementation.
            clusterings: One for each photo.
            exact: Whether the implementation is exact.
        """
        for i, (clustering, photo) in enumerate(zip(clusterings, self.photos, strict=True)):
            problem = clustering.problem or _cost_problem(clustering, photo)
            if problem is None and exact:
                if self.first_exact is None:
                    problem = _exactness_problem(clustering, photo)
                elif wrong := clustering.digest.differences(self.first_exact[1][i].digest):
                    problem = f"its {', '.join(wrong)} differ from those of {self.first_exact[0]}"
            if problem is not None:
                return f"{problem} ({photo.name})"
        if exact and self.first_exact is None:
            self.first_exact = name, clusterings
        return None


def _cost_problem(clustering: CheckedClustering, photo: BenchPhoto) -> str | None:
    """Return a problem if the centres cost more than a single centre would."""
    limit = WORSE_THAN_ONE * photo.colors.cost(photo.colors.mean()) + ROUNDING * photo.n_pixels
    cost = photo.colors.cost(clustering.digest.centers)
    if cost <= limit:
        return None
    return f"the compactness of its centres is {cost:.4g}, which one centre alone would better"


def _exactness_problem(clustering: CheckedClustering, photo: BenchPhoto) -> str | None:
    """Return a problem if labels are not those of the nearest centres, or the compactness is wrong."""
    digest = clustering.digest
    fixed = np.rint(digest.centers * SCALE).astype(np.int32)
    if not np.array_equal(fixed / SCALE, digest.centers):
        return "its centres are not fixed-point numbers"
    palette = Palette(fixed, np.zeros(len(fixed), np.int64), 0.0, None, "")
    if digest_labels(reference.assign(photo.rgb, palette)) != digest.labels:
        return "its labels are not those of its nearest centres"
    cost = photo.colors.cost(digest.centers)
    if digest.compactness is None or abs(digest.compactness - cost) > SUMMATION * cost:
        return f"its compactness is given as {digest.compactness}, and is {cost}"
    return None
