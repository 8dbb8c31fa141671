"""Segmentation of an image in memory: `segment`, `fit_palette`, `apply_palette` and their results."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.backends.registry import choose
from kseg_batch.errors import FallbackWarning, FewerColorsWarning, MissingClusterWarning, OptionError, count
from kseg_batch.images.label_map import black_out
from kseg_batch.kmeans.color_spaces import convert
from kseg_batch.kmeans.histogram import ColorHistogram
from kseg_batch.kmeans.mean_colors import with_mean_colors
from kseg_batch.kmeans.options import FitOptions, RegionOptions, parse_k
from kseg_batch.kmeans.palette import Palette
from kseg_batch.segmentation.cluster_selection import TOLERANCE, ClusterSelection
from kseg_batch.segmentation.fit_histogram import fit_histogram
from kseg_batch.segmentation.regions import load_cleaner
from kseg_batch.segmentation.select_k import select_k

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from kseg_batch.backends.base import Backend
    from kseg_batch.kmeans.color_spaces import ColorSpace
    from kseg_batch.kmeans.options import Init, KRange
    from kseg_batch.segmentation.cluster_selection import ClusterSpec
    from kseg_batch.segmentation.select_k import KCandidate


MAX_KEPT_COLORS = 1 << 22
"""Most colours of a histogram that is kept to label its image. A larger one saves no time at over 25 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """The result of `segment`: the cluster of each pixel, and the palette of the clusters.

    Clusters are numbered from 0, dark to light.
    """

    labels: NDArray[np.uint8]
    """(H, W) uint8 cluster number of each pixel: that of the nearest centre, the lowest on a tie.

    The parameters `smooth` and `min_region` of `segment` change labels after this assignment.
    """
    palette: Palette
    """The centres of the clusters, with their counts and compactness over this image."""
    k_curve: tuple[KCandidate, ...] | None = None
    """The numbers of clusters that were tried, each with its validity index; None where k was a number."""

    @property
    def centers(self) -> NDArray[np.float64]:
        """(k, 3) float64 colours of the clusters in RGB, 0 .. 255: see `Palette.centers`."""
        return self.palette.centers

    @property
    def counts(self) -> NDArray[np.int64]:
        """(k,) int64 number of pixels of each cluster."""
        return self.palette.counts

    @property
    def compactness(self) -> float:
        """Sum of squared distances of the pixels to their centres, as cv2.kmeans returns it.

        Distances are measured in the colour space of the palette, before any cleaning of the labels.
        """
        return self.palette.compactness

    @property
    def n_iter(self) -> int | None:
        """Iterations of Lloyd's algorithm over the distinct colours; None from opencv."""
        return self.palette.n_iter

    @property
    def backend(self) -> str:
        """Name of the backend that computed the palette."""
        return self.palette.backend

    def segmented(self) -> NDArray[np.uint8]:
        """Return the segmented picture, (H, W, 3) uint8 RGB: each pixel in the colour of its cluster."""
        return self.palette.colors[self.labels]

    def mask(self, cluster: int) -> NDArray[np.bool_]:
        """Return the mask of a cluster, (H, W) bool: True where a pixel is in the cluster.

        Args:
            cluster: Number of the cluster, from 0.

        Raises:
            OptionError: There is no cluster with this number. Also a ValueError.
        """
        if not 0 <= cluster < len(self.palette.counts):
            raise OptionError(f"cluster must be from 0 to {len(self.palette.counts) - 1}, not {cluster}.")
        mask: NDArray[np.bool_] = self.labels == cluster
        return mask

    def masked(
        self,
        rgb: NDArray[np.uint8],
        disable: ClusterSpec = (),
        *,
        keep: ClusterSpec | None = None,
        tolerance: float = TOLERANCE,
    ) -> NDArray[np.uint8]:
        """Return a copy of the image in which the pixels of some clusters are black.

        A cluster is given by its number, its name in the palette, or a colour. A colour, such as "#2e8b57" or
        a CSS name like "green", selects the cluster with the nearest centre in CIE Lab.

        Args:
            rgb: (H, W, 3) uint8 RGB, the image that was segmented.
            disable: The cluster or clusters to black out.
            keep: The cluster or clusters to show while all others are black; not together with `disable`.
            tolerance: Greatest distance between a colour and the centre that it selects, in Delta E CIE76.

        Returns:
            (H, W, 3) uint8 RGB.

        Warns:
            MissingClusterWarning: No centre is within `tolerance` of a colour, or a cluster has no pixels.

        Raises:
            OptionError: A cluster or colour does not exist, both `disable` and `keep` are given, or `rgb` has
                another shape than the segmented image. Also a ValueError.
        """
        if rgb.shape != (*self.labels.shape, 3):
            raise OptionError(
                f"rgb must be the segmented image, of shape {(*self.labels.shape, 3)}, not {rgb.shape}."
            )
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

    The result depends on the image and the options alone: not on the machine, the number of threads or, among
    the exact backends (all but opencv), on the backend.

    Args:
        rgb: (H, W, 3) uint8 image in RGB order, in any memory layout. cv2.imread gives BGR: `bgr[..., ::-1]`.
        k: Number of clusters, 1 to 256. Or "auto" for the number from 2 to 12 that suits the image best, or a
            range such as "auto:2-20" (see `kseg_batch.segmentation.select_k`). An image with fewer distinct
            colours gets fewer clusters.
        attempts: Number of k-means++ starts, 1 to 65535, of which the best is kept.
        max_iter: Most iterations of Lloyd's algorithm, 1 to 1,000,000.
        eps: Distance in grey levels: the iterations stop when no centre moved by more.
        seed: Seed of the random number generator, 0 to 2**63 - 1.
        init: "k-means++" or "random"; None for the default of the backend. Only the opencv backend has
            "random", as its default.
        color_space: Colour space in which distances are measured: "rgb", "lab" (CIE L*a*b*) or "oklab".
        smooth: Radius of a majority filter over the labels, in pixels, 0 to 7; 0 for no filter.
        min_region: Regions of fewer pixels are merged with a neighbouring region; 0 or 1 for no merging.
        backend: "auto", "cupy", "numba-cuda", "numba" or "opencv". "auto" takes the first that can run here.

    Returns:
        The labels, and the palette with centres and counts.

    Warns:
        FewerColorsWarning: The image has fewer distinct colours than clusters were asked for.

    Raises:
        OptionError: A parameter is out of range, or `rgb` is not an image of this kind. Also a ValueError.
        BackendUnavailableError: The requested backend cannot run on this machine.
        BackendError: The backend failed, for example because the image is too large for the GPU.
    """
    max_k, k_range = parse_k(k)
    options = FitOptions(max_k, attempts, max_iter, eps, seed, init, color_space)
    regions = RegionOptions(smooth, min_region)
    check_image(rgb)
    result = segment_with(_choose_backend(backend, options), rgb, options, k_range)
    if regions:
        cleaned = load_cleaner().clean(result.labels, result.palette, regions)
        result = Segmentation(*cleaned, result.k_curve)
    _warn_of_fewer(result.palette, k_range.low if k_range else max_k)
    return result


def _warn_of_fewer(palette: Palette, k: int) -> None:
    n = len(palette.counts)
    if n < k:
        text = f"only {count(n, 'distinct colour')}, so {count(n, 'cluster')} instead of {k}"
        warnings.warn(text, FewerColorsWarning, stacklevel=3)


def _choose_backend(name: str, options: FitOptions | None = None) -> Backend:
    """Return the backend of a name. With auto, warn if cv2.kmeans takes the place of an exact backend."""
    choice = choose(name, options=options)
    if name == "auto" and choice.backend.name == "opencv":
        reasons = "; ".join(f"{other.name}: {other.reason}" for other in choice.unavailable)
        text = f"cv2.kmeans computes, which is slow and not exact, as no other backend can run: {reasons}"
        warnings.warn(text, FallbackWarning, stacklevel=3)
    return choice.backend


def segment_with(
    backend: Backend, rgb: NDArray[np.uint8], options: FitOptions, k_range: KRange | None = None
) -> Segmentation:
    """Segment a checked image with a given backend, without cleaning the labels.

    Args:
        backend: The backend to use.
        rgb: (H, W, 3) uint8 RGB image that `check_image` accepts.
        options: Options of the fit.
        k_range: Range from which the number of clusters is selected; None for `options.k`.

    Raises:
        BackendError: The backend failed.
    """
    pixels = convert(rgb, options.color_space)
    histogram = backend.histogram(pixels)
    selected = select_k(backend, histogram, options, k_range)
    kept = histogram if histogram.n_colors <= MAX_KEPT_COLORS else None
    del histogram
    labels = backend.assign(pixels, selected.palette, kept)
    return Segmentation(labels, with_mean_colors(selected.palette, rgb, labels), selected.curve)


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
    """Fit one palette to several images, equal to the palette of `segment` for all their pixels together.

    The histograms are added up image by image. So with the numba backend, memory does not grow with the
    number of images.

    Args:
        images: (H, W, 3) uint8 RGB images of any sizes, at least one; an iterator is read once.
        k: Number of clusters, "auto" or a range; see `segment`.
        attempts: Number of k-means++ starts; see `segment`.
        max_iter: Most iterations of Lloyd's algorithm; see `segment`.
        eps: Distance in grey levels at which the iterations stop; see `segment`.
        seed: Seed of the random number generator; see `segment`.
        color_space: "rgb", "lab" or "oklab"; see `segment`.
        backend: Name of the backend; see `segment`.

    Returns:
        The palette, with the counts and the compactness over all images.

    Warns:
        FewerColorsWarning: The images have fewer distinct colours than clusters were asked for.

    Raises:
        OptionError: A parameter is out of range, an item of `images` is not an image of this kind, or
            there are no images. Also a ValueError.
        BackendUnavailableError: The requested backend cannot run on this machine.
        BackendError: The backend failed.
    """
    max_k, k_range = parse_k(k)
    options = FitOptions(max_k, attempts, max_iter, eps, seed, color_space=color_space)
    engine = _choose_backend(backend, options)
    checked = (check_image(rgb, f"images[{i}]") for i, rgb in enumerate(images))
    merged = ColorHistogram.merged(map(engine.histogram, checked))
    if merged.n_colors == 0:
        raise OptionError("images must have at least one image, not none.")
    palette = fit_histogram(engine, merged, options, k_range).palette
    _warn_of_fewer(palette, k_range.low if k_range else max_k)
    return palette


def apply_palette(rgb: NDArray[np.uint8], palette: Palette, *, backend: str = "auto") -> NDArray[np.uint8]:
    """Label an image with the clusters of a given palette, such as one of `fit_palette` or `read_palette`.

    Args:
        rgb: (H, W, 3) uint8 RGB image in any memory layout.
        palette: The palette. Distances are measured in its colour space.
        backend: Name of the backend; see `segment`. All backends give the same labels.

    Returns:
        (H, W) uint8 labels: for each pixel, the number of the nearest centre, the lowest on a tie.
        `palette.colors[labels]` is the segmented picture.

    Raises:
        OptionError: `rgb` is not an image of this kind, or there is no such backend. Also a ValueError.
        BackendUnavailableError: The requested backend cannot run on this machine.
        BackendError: The backend failed.
    """
    return _choose_backend(backend).assign(convert(check_image(rgb), palette.color_space), palette)


def check_image(rgb: NDArray[np.uint8], parameter: str = "rgb") -> NDArray[np.uint8]:
    """Return the image unchanged.

    Args:
        rgb: The image to check.
        parameter: Name of the image in error messages.

    Raises:
        OptionError: The image is not an (H, W, 3) uint8 array with 1 to 2**32 - 1 pixels.
    """
    if not isinstance(rgb, np.ndarray):
        raise OptionError(f"{parameter} must be a NumPy array, not {type(rgb).__name__}.")
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise OptionError(f"{parameter} must be (H, W, 3) uint8 and not empty, not {rgb.shape} {rgb.dtype}.")
    if rgb.size // 3 >= 1 << 32:
        raise OptionError(f"{parameter} must have fewer than 2**32 pixels, not {rgb.size // 3}.")
    return rgb
