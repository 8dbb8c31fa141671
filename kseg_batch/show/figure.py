"""Figures: a photo, its segmentation and each cluster alone; or several segmentations of a photo."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kseg_batch.errors import OptionError
from kseg_batch.images.label_map import with_transparent
from kseg_batch.kmeans.color_spaces import convert
from kseg_batch.kmeans.mean_colors import with_mean_colors
from kseg_batch.kmeans.options import RegionOptions
from kseg_batch.segmentation.regions import load_cleaner
from kseg_batch.segmentation.segment import Segmentation
from kseg_batch.segmentation.select_k import select_k
from kseg_batch.show.image_grid import GAP, PALETTE_GAP, PALETTE_HEIGHT, ImageGrid, format_percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.figure import Figure

    from kseg_batch.backends.base import Backend
    from kseg_batch.images.decode import Photo
    from kseg_batch.kmeans.options import FitOptions, KRange

NO_CLEANING = RegionOptions()

MAX_SINGLE_CLUSTERS = 32
"""Most clusters that are shown one by one; with more, no cluster is."""

MAX_COMPARED = 24
"""Most segmentations that one figure compares."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoredSegmentation:
    """A segmentation of a photo, and how well its clusters represent the photo's colours."""

    segmentation: Segmentation
    """The labels, 0 where a pixel is transparent, and the palette."""
    explained_variance: float
    """Share of the variance of the colours that lies between the clusters, 0 to 1."""


def check_number_of_ks(ks: Sequence[int]) -> None:
    """Raise an OptionError if there are more numbers of clusters than a figure has room for."""
    if len(ks) > MAX_COMPARED:
        raise OptionError(f"k: a figure compares {MAX_COMPARED} numbers of clusters at most.", "k")


def segment_photo(
    photo: Photo,
    backend: Backend,
    options: FitOptions,
    ks: Sequence[int],
    k_range: KRange | None = None,
    regions: RegionOptions = NO_CLEANING,
) -> Iterator[ScoredSegmentation]:
    """Segment a photo into each of several numbers of clusters; a photo with fewer colours into as many.

    Args:
        photo: The decoded photo to cluster.
        backend: The backend that counts, fits and assigns.
        options: The options of the clustering; `k` is not used.
        ks: Numbers of clusters, ascending.
        k_range: The range that k is chosen from; None to use `ks` as given.
        regions: How to clean the labels.

    Raises:
        BackendError: The backend failed.
        ImageError: No label is left for transparent pixels, because there are 256 clusters.
    """
    rgb = photo.pixels
    pixels = convert(rgb, options.color_space)
    histogram = backend.histogram(pixels)
    total_variation = backend.fit(histogram, replace(options, k=1)).compactness
    for k in sorted({min(k, histogram.n_colors) for k in ks}):
        selected = select_k(backend, histogram, replace(options, k=k), k_range)
        labels = backend.assign(pixels, selected.palette, histogram)
        palette = with_mean_colors(selected.palette, rgb, labels)
        if regions:
            labels, palette = load_cleaner().clean(labels, palette, regions, photo.opaque)
        if photo.opaque is not None:
            labels = with_transparent(labels, 0, photo.opaque)
        explained_variance = 1 - palette.compactness / total_variation if total_variation else 1.0
        yield ScoredSegmentation(Segmentation(labels, palette, selected.curve), explained_variance)


def draw(
    figure: Figure, photo: Photo, segmentations: Sequence[ScoredSegmentation], *, oversampling: int = 1
) -> None:
    """Draw into an empty figure, and set the size of the figure.

    Args:
        figure: An empty figure, whose dpi decides the number of pixels.
        photo: The photo that was segmented.
        segmentations: One segmentation, to show its clusters; or several, to compare.
        oversampling: Pixels of an image for each pixel of the figure, along each axis, for windows, where
            images can be enlarged.
    """
    if len(segmentations) == 1:
        _draw_clusters(figure, photo, segmentations[0], oversampling)
    else:
        _draw_comparison(figure, photo, segmentations, oversampling)


def _draw_clusters(figure: Figure, photo: Photo, scored: ScoredSegmentation, oversampling: int) -> None:
    """Draw the photo, its segmentation, each cluster alone, and the palette below the grid."""
    segmentation = scored.segmentation
    labels, palette, counts = segmentation.labels, segmentation.palette, segmentation.counts
    k = len(counts)
    n_single = k if k <= MAX_SINGLE_CLUSTERS else 0
    footer = PALETTE_HEIGHT + GAP
    grid = ImageGrid(figure, photo, n=2 + n_single, footer=footer, oversampling=oversampling)
    grid.add_image(_photo_title(photo), grid.photo.rgb)
    grid.add_image(_segmentation_title(scored), grid.photo.segmented(labels, palette))
    for cluster in range(n_single):
        title = f"{cluster}: {format_percent(counts[cluster] / counts.sum())}"
        single = grid.photo.single_cluster(labels, cluster)
        grid.add_image(title, single, frame_color=palette.colors[cluster])
    grid.add_palette_footer(palette)


def _draw_comparison(
    figure: Figure, photo: Photo, segmentations: Sequence[ScoredSegmentation], oversampling: int
) -> None:
    """Draw the photo and its segmentations, each with its palette below."""
    below = PALETTE_HEIGHT + PALETTE_GAP
    grid = ImageGrid(figure, photo, n=1 + len(segmentations), below=below, oversampling=oversampling)
    grid.add_image(_photo_title(photo), grid.photo.rgb)
    for scored in segmentations:
        labels, palette = scored.segmentation.labels, scored.segmentation.palette
        grid.add_image(_segmentation_title(scored), grid.photo.segmented(labels, palette))
        grid.add_palette_below(palette)


def _photo_title(photo: Photo) -> str:
    height, width = photo.rgb.shape[:2]
    return f"{width:,} × {height:,}"


def _segmentation_title(scored: ScoredSegmentation) -> str:
    k = len(scored.segmentation.counts)
    return f"k = {k}, {format_percent(scored.explained_variance)} explained"
