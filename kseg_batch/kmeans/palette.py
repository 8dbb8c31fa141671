"""The palette: the centres of a clustering, with their counts and names."""

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
    """The centres of a clustering, with counts and compactness over the images that they were fitted to.

    Fitted centres are sorted from dark to light. A palette from a file or a list has the order given there.

    Raises:
        OptionError: Centres, counts, names or mean colours are not as described below.
    """

    fixed_centers: NDArray[np.int32]
    """(k, 3) int32 centres in `color_space`, k <= 256, Q8.6: 64 times the mean, rounded, 0 .. 16320."""
    counts: NDArray[np.int64]
    """(k,) int64 number of pixels nearest to each centre."""
    compactness: float
    """Sum of squared distances of all pixels to their centres, in `color_space`, as cv2.kmeans returns it."""
    n_iter: int | None
    """Iterations of Lloyd's algorithm over the distinct colours; None from opencv, which reports none."""
    backend: str
    """Name of the backend that computed the palette; empty for a list of colours."""
    color_space: ColorSpace = "rgb"
    """Colour space of `fixed_centers`: "rgb", "lab" or "oklab"."""
    names: tuple[str, ...] = ()
    """A name for each cluster, empty where a cluster has none; or an empty tuple."""
    mean_colors: NDArray[np.float64] | None = None
    """(k, 3) float64 mean RGB of the pixels of each cluster, 0 .. 255: sum / count, so exact to the last bit.

    None in RGB, where `fixed_centers` are the means; and where the means are not known."""

    def __post_init__(self) -> None:
        """Check the arrays before a kernel relies on them, and the names."""
        shape = self.fixed_centers.shape
        if self.fixed_centers.dtype != np.int32 or len(shape) != 2 or shape[1] != 3:
            raise OptionError(f"fixed_centers must be (k, 3) int32, not {shape} {self.fixed_centers.dtype}.")
        if not 1 <= len(self.fixed_centers) <= MAX_CLUSTERS or self.counts.shape != shape[:1]:
            raise OptionError(
                f"fixed_centers and counts must have 1 to {MAX_CLUSTERS} rows, as many in the one as in the "
                f"other, not {shape[0]} and {len(self.counts)}."
            )
        if self.fixed_centers.min() < 0 or self.fixed_centers.max() > 255 * SCALE:
            raise OptionError(
                f"fixed_centers must be from 0 to {255 * SCALE}, which is 64 times a channel value."
            )
        check_names(self.names, len(self.fixed_centers))
        if self.mean_colors is not None:
            self._check_mean_colors(self.mean_colors)

    def _check_mean_colors(self, colors: NDArray[np.float64]) -> None:
        if self.color_space == "rgb":
            raise OptionError("mean_colors must be None in rgb, where the centres are the mean colours.")
        shape = self.fixed_centers.shape
        if colors.dtype != np.float64 or colors.shape != shape:
            raise OptionError(f"mean_colors must be {shape} float64, not {colors.shape} {colors.dtype}.")
        if not ((colors >= 0) & (colors <= 255)).all():
            raise OptionError("mean_colors must be from 0 to 255.")

    @property
    def centers(self) -> NDArray[np.float64]:
        """(k, 3) float64 colours of the clusters in RGB, 0 .. 255, whatever the colour space.

        These are `mean_colors` where they are known, and otherwise `fixed_centers`, converted.
        """
        if self.mean_colors is not None:
            return self.mean_colors.copy()
        return to_rgb(self.fixed_centers / SCALE, self.color_space)

    @property
    def colors(self) -> NDArray[np.uint8]:
        """(k, 3) uint8 `centers`, rounded half up: the colours of a segmented picture."""
        if self.color_space == "rgb":
            return ((self.fixed_centers + SCALE // 2) // SCALE).astype(np.uint8)
        return np.floor(self.centers + 0.5).astype(np.uint8)
