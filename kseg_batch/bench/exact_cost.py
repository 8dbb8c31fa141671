"""The exact compactness of centres: one measure of quality for every implementation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class DistinctColors:
    """The distinct colours of a photo, counted with NumPy alone, independently of the package's own count."""

    colors: NDArray[np.float64]
    """(n, 3) float64 distinct RGB colours, in grey levels."""
    counts: NDArray[np.float64]
    """(n,) float64 number of pixels of each colour."""

    @classmethod
    def of(cls, rgb: NDArray[np.uint8]) -> DistinctColors:
        """Return the distinct colours of an (H, W, 3) uint8 photo."""
        packed = rgb.reshape(-1, 3).astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
        codes, counts = np.unique(packed, return_counts=True)
        colors = (codes[:, None] >> np.array([16, 8, 0])) & 255
        return cls(colors.astype(np.float64), counts.astype(np.float64))

    def cost(self, centers: NDArray[np.float64]) -> float:
        """Return the sum of all pixels' squared distances to the nearest centre, in squared grey levels.

        Args:
            centers: (k, 3) RGB centres, in grey levels.
        """
        nearest = np.full(len(self.colors), np.inf)
        for center in centers:
            np.minimum(nearest, ((self.colors - center) ** 2).sum(axis=1), out=nearest)
        return float(nearest @ self.counts)

    def mean(self) -> NDArray[np.float64]:
        """Return the (1, 3) float64 mean colour, which is the best single centre."""
        mean: NDArray[np.float64] = self.counts @ self.colors / self.counts.sum()
        return mean[None]
