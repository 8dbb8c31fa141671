"""One measure of quality for every contender: the exact compactness of its centres."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class DistinctColors:
    """The colours of a photo, counted with NumPy alone, so that it checks the package's own count."""

    colors: NDArray[np.float64]
    """(n, 3) distinct RGB colours, in grey levels."""
    counts: NDArray[np.float64]
    """(n,) pixels of each colour."""

    @classmethod
    def of(cls, rgb: NDArray[np.uint8]) -> DistinctColors:
        """Count the colours of an (H, W, 3) uint8 photo."""
        packed = rgb.reshape(-1, 3).astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
        codes, counts = np.unique(packed, return_counts=True)
        colors = (codes[:, None] >> np.array([16, 8, 0])) & 255
        return cls(colors.astype(np.float64), counts.astype(np.float64))

    def cost(self, centers: NDArray[np.float64]) -> float:
        """Sum over all pixels of the squared distance to the nearest of (k, 3) centres, in grey levels."""
        nearest = np.full(len(self.colors), np.inf)
        for center in centers:
            np.minimum(nearest, ((self.colors - center) ** 2).sum(axis=1), out=nearest)
        return float(nearest @ self.counts)

    def mean(self) -> NDArray[np.float64]:
        """The (1, 3) mean colour: the best single centre."""
        mean: NDArray[np.float64] = self.counts @ self.colors / self.counts.sum()
        return mean[None]
