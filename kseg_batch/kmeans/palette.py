"""Palettes: the centres of a clustering."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.errors import OptionError
from kseg_batch.kmeans.cluster_names import check_names
from kseg_batch.kmeans.color_spaces import ColorSpace, to_rgb
from kseg_batch.kmeans.fixed_point import MAX_CLUSTERS, SCALE

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Palette:
    """The centres of a clustering, dark to light, and what they cost on the data they were fitted to."""

    fixed_centers: NDArray[np.int32]
    """(k, 3) centres in `color_space`, Q8.6: 64 times the mean, rounded, 0 .. 16320."""
    counts: NDArray[np.int64]
    """(k,) pixels nearest to each centre."""
    compactness: float
    """Sum of squared distances of all pixels to their centres in `color_space`, as cv2.kmeans returns it."""
    n_iter: int | None
    """Iterations of Lloyd's algorithm over the distinct colours; None from opencv, which does not tell."""
    backend: str
    """Name of the backend that computed it."""
    color_space: ColorSpace = "rgb"
    """What the channels of the centres are."""
    names: tuple[str, ...] = ()
    """A name for each cluster, empty where it has none; or none at all."""

    def __post_init__(self) -> None:
        """Refuse centres that no kernel could be trusted with, and names that are none."""
        shape = self.fixed_centers.shape
        if self.fixed_centers.dtype != np.int32 or len(shape) != 2 or shape[1] != 3:
            raise OptionError(
                f"Palette centres must be (k, 3) int32, not {shape} {self.fixed_centers.dtype}."
            )
        if not 1 <= len(self.fixed_centers) <= MAX_CLUSTERS or self.counts.shape != shape[:1]:
            raise OptionError(
                f"A palette has 1 to {MAX_CLUSTERS} centres and as many counts, not {shape[0]} and "
                f"{len(self.counts)}."
            )
        if self.fixed_centers.min() < 0 or self.fixed_centers.max() > 255 * SCALE:
            raise OptionError(f"Palette centres must be from 0 to {255 * SCALE}.")
        check_names(self.names, len(self.fixed_centers))

    @property
    def centers(self) -> NDArray[np.float64]:
        """(k, 3) float64 centres, RGB, 0 .. 255."""
        return to_rgb(self.fixed_centers / SCALE, self.color_space)

    @property
    def colors(self) -> NDArray[np.uint8]:
        """(k, 3) uint8 centres, RGB, rounded half up: what a segmented picture shows."""
        if self.color_space == "rgb":
            return ((self.fixed_centers + SCALE // 2) // SCALE).astype(np.uint8)
        return np.floor(self.centers + 0.5).astype(np.uint8)
