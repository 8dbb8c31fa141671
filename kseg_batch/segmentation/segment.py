"""One image, in memory: labels, centres, and the pictures they make."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.backends.registry import choose
from kseg_batch.errors import FewerColorsWarning, MissingClusterWarning, OptionError
from kseg_batch.images.label_map import black_out
from kseg_batch.kmeans.color_spaces import convert
from kseg_batch.kmeans.histogram import ColorHistogram
from kseg_batch.kmeans.options import FitOptions, RegionOptions, parse_k
from kseg_batch.kmeans.palette import Palette
from kseg_batch.segmentation.cluster_selection import TOLERANCE, ClusterSelection
from kseg_batch.segmentation.regions import load_cleaner
from kseg_batch.segmentation.select_k import select_k

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from kseg_batch.backends.base import Backend
    from kseg_batch.kmeans.color_spaces import ColorSpace
    from kseg_batch.kmeans.options import Init, KRange
    from kseg_batch.segmentation.cluster_selection import Named
    from kseg_batch.segmentation.select_k import KCandidate


MOST_KEPT = 1 << 22
"""Colours of a histogram that is kept until its image is labelled; more save no time, and take over 25 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """An image's pixels divided among the centres of a palette. Clusters are numbered dark to light."""

    labels: NDArray[np.uint8]
    """(H, W) cluster number of each pixel: that of the nearest centre, the lowest on a tie."""
    palette: Palette
    """The centres, with their counts and compactness over this image."""
    k_curve: tuple[KCandidate, ...] | None = None
    """The numbers of clusters that were tried, each with its index; None where k was given."""

    @property
    def centers(self) -> NDArray[np.float64]:
        """(k, 3) float64 centres, RGB, 0 .. 255."""
        return self.palette.centers

    @property
    def counts(self) -> NDArray[np.int64]:
        """(k,) int64 pixels of each cluster."""
        return self.palette.counts

    @property
    def compactness(self) -> float:
        """Sum of squared distances of the pixels to their centres, as cv2.kmeans returns it."""
        return self.palette.compactness

    @property
    def n_iter(self) -> int | None:
        """Iterations of Lloyd's algorithm over the distinct colours; None from opencv."""
        return self.palette.n_iter

    @property
    def backend(self) -> str:
        """Name of the backend that computed it."""
        return self.palette.backend

    def segmented(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB: each pixel in the colour of its centre, rounded."""
        return self.palette.colors[self.labels]

    def mask(self, cluster: int) -> NDArray[np.bool_]:
        """(H, W) bool: True where the pixel is in the cluster.

        Raises:
            OptionError: There is no such cluster.
        """
        if not 0 <= cluster < len(self.palette.counts):
            raise OptionError(f"There is no cluster {cluster}: they are 0 to {len(self.palette.counts) - 1}.")
        mask: NDArray[np.bool_] = self.labels == cluster
        return mask

    def masked(
        self,
        rgb: NDArray[np.uint8],
        disable: Named = (),
        *,
        keep: Named | None = None,
        tolerance: float = TOLERANCE,
    ) -> NDArray[np.uint8]:
        """A copy of the image with the pixels of some clusters black.

        A cluster is named by its number, its name in the palette, or a colour, "#2e8b57" or one of CSS such
        as "green", which means the cluster with the nearest centre in CIE Lab.

        Args:
            rgb: (H, W, 3) uint8, the image that was segmented.
            disable: A cluster or several that are black.
            keep: In place of `disable`, the cluster or clusters that are not.
            tolerance: Farthest that the centre nearest to a colour may be, in Delta E CIE76. If it is
                farther, no cluster is meant, with a `MissingClusterWarning`.

        Raises:
            OptionError: There is no such cluster or colour, or the image is not the one that was segmented.
        """
        if rgb.shape != (*self.labels.shape, 3):
            raise OptionError(f"rgb has shape {rgb.shape}, but the segmented image was {self.labels.shape}.")
        k, names = len(self.palette.counts), self.palette.names
        resolved = ClusterSelection.parse(disable, keep, tolerance, k=k, names=names).resolve(self.palette)
        for note in resolved.notes:
            warnings.warn(note, MissingClusterWarning, stacklevel=2)
        return black_out(rgb, self.labels, resolved.disabled)


def segment(
    rgb: NDArray[np.uint8],
    k: int | str = 3,
    *,
    attempts: int = 10,
    max_iter: int = 100,
    eps: float = 0.2,
    seed: int = 0,
    init: Init | None = None,
    color_space: ColorSpace = "rgb",
    smooth: int = 0,
    min_region: int = 0,
    backend: str = "auto",
) -> Segmentation:
    """Segment an image by k-means on its colours.

    The result depends on the image and the options alone: not on the machine, the number of threads or,
    among the exact backends, on the backend.

    Args:
        rgb: (H, W, 3) uint8 image, RGB, in any memory layout.
        k: Clusters, 1 to 256; or "auto", or a range such as "auto:2-20", to have the image decide: see
            `auto_k`. An image with fewer colours gets fewer clusters, with a `FewerColorsWarning`.
        attempts: k-means++ starts, of which the best is kept.
        max_iter: Most iterations of Lloyd's algorithm.
        eps: Stop when no centre moved by more than this distance, in grey levels.
        seed: Of the random numbers, 0 to 2**63 - 1.
        init: "k-means++" or "random"; the latter with the opencv backend only, whose default it is.
        color_space: "rgb", or "lab" or "oklab" to measure distances there.
        smooth: Radius of a majority filter over the labels, in pixels, 0 to 7; 0 for none.
        min_region: Regions of fewer pixels take the label of what surrounds them; 0 for none.
        backend: "auto", "cupy", "numba-cuda", "numba" or "opencv".

    Returns:
        Labels, centres and what follows from them.

    Raises:
        OptionError: An argument is out of range. It is a ValueError.
        BackendUnavailableError: The named backend cannot run here.
        BackendError: It failed, as where an image is too large for the GPU.
    """
    most, k_range = parse_k(k)
    options = FitOptions(most, attempts, max_iter, eps, seed, init, color_space)
    regions = RegionOptions(smooth, min_region)
    check_image(rgb)
    result = segment_with(choose(backend, options=options).backend, rgb, options, k_range)
    if regions:
        cleaned = load_cleaner().clean(result.labels, result.palette, regions)
        result = Segmentation(*cleaned, result.k_curve)
    _warn_of_fewer(result.palette, k_range.low if k_range else most)
    return result


def _warn_of_fewer(palette: Palette, k: int) -> None:
    n = len(palette.counts)
    if n < k:
        text = f"there are {n} distinct colours, so as many clusters instead of {k}"
        warnings.warn(text, FewerColorsWarning, stacklevel=3)


def segment_with(
    backend: Backend, rgb: NDArray[np.uint8], options: FitOptions, k_range: KRange | None = None
) -> Segmentation:
    """Segment a checked image with a given backend; with a range, into as many clusters as suit it."""
    pixels = convert(rgb, options.color_space)
    histogram = backend.histogram(pixels)
    chosen = select_k(backend, histogram, options, k_range)
    kept = histogram if histogram.n_colors <= MOST_KEPT else None
    del histogram
    return Segmentation(backend.assign(pixels, chosen.palette, kept), chosen.palette, chosen.curve)


def fit_palette(
    images: Iterable[NDArray[np.uint8]],
    k: int | str = 3,
    *,
    attempts: int = 10,
    max_iter: int = 100,
    eps: float = 0.2,
    seed: int = 0,
    color_space: ColorSpace = "rgb",
    backend: str = "auto",
) -> Palette:
    """One palette for several images: exactly what `segment` would find on all of them glued together.

    Histograms are added up as the images come, so with the numba backend memory does not grow with their
    number.

    Args:
        images: (H, W, 3) uint8 images, RGB.
        k: Clusters, as the further arguments: see `segment`.
        attempts: See `segment`.
        max_iter: See `segment`.
        eps: See `segment`.
        seed: See `segment`.
        color_space: See `segment`.
        backend: See `segment`.

    Raises:
        OptionError: An argument is out of range, or there are no images.
    """
    most, k_range = parse_k(k)
    options = FitOptions(most, attempts, max_iter, eps, seed, color_space=color_space)
    engine = choose(backend, options=options).backend
    pixels = (convert(check_image(image), color_space) for image in images)
    merged = ColorHistogram.merged(map(engine.histogram, pixels))
    if merged.n_colors == 0:
        raise OptionError("images is empty: a palette needs at least one image.")
    palette = select_k(engine, merged, options, k_range).palette
    _warn_of_fewer(palette, k_range.low if k_range else most)
    return palette


def apply_palette(rgb: NDArray[np.uint8], palette: Palette, *, backend: str = "auto") -> NDArray[np.uint8]:
    """The (H, W) uint8 number of the palette's nearest centre for each pixel of an (H, W, 3) uint8 image."""
    return choose(backend).backend.assign(convert(check_image(rgb), palette.color_space), palette)


def check_image(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the image, or say what is wrong with it."""
    if not isinstance(rgb, np.ndarray):
        raise OptionError(f"An image must be a NumPy array, not {type(rgb).__name__}.")
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise OptionError(f"An image must be (H, W, 3) uint8 and not empty, not {rgb.shape} {rgb.dtype}.")
    if rgb.size // 3 >= 1 << 32:
        raise OptionError(f"An image must have fewer than 2**32 pixels, not {rgb.size // 3}.")
    return rgb
