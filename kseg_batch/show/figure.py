"""Draws a photo, what it was divided into, and each cluster alone; or the photo divided in several ways."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.errors import OptionError
from kseg_batch.images.label_map import with_transparent
from kseg_batch.kmeans.color_spaces import convert
from kseg_batch.kmeans.options import RegionOptions
from kseg_batch.segmentation.regions import load_cleaner
from kseg_batch.segmentation.select_k import select_k
from kseg_batch.show.grid import BAR, GAP, RIM, ImageGrid, percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from kseg_batch.backends.base import Backend
    from kseg_batch.images.decode import Photo
    from kseg_batch.kmeans.options import FitOptions, KRange
    from kseg_batch.kmeans.palette import Palette

AS_CLUSTERED = RegionOptions()

MOST_ALONE = 32
"""Clusters of which each is shown alone; where there are more, none is."""

MOST_WAYS = 24
"""Numbers of clusters that a figure compares."""


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """One way to divide a photo into clusters."""

    labels: NDArray[np.uint8]
    """(H, W) cluster number of each pixel; 0 where it is transparent."""
    palette: Palette
    """The clusters."""
    explained: float
    """The share of the variance of the colours that lies between the clusters, 0 .. 1."""


def check(numbers: Sequence[int]) -> None:
    """Raise an OptionError for more numbers of clusters than a figure has room for."""
    if len(numbers) > MOST_WAYS:
        raise OptionError(f"--k: a figure compares {MOST_WAYS} numbers of clusters at most.")


def divide(
    photo: Photo,
    backend: Backend,
    options: FitOptions,
    numbers: Sequence[int],
    k_range: KRange | None = None,
    regions: RegionOptions = AS_CLUSTERED,
) -> Iterator[Way]:
    """Divide a photo into each of the given numbers of clusters, or as many as it has colours.

    Args:
        photo: It.
        backend: What fits.
        options: How to fit, but for the number of clusters.
        numbers: Of clusters, ascending.
        k_range: Where to look for a number, instead of the one that is given.
        regions: How to clean the labels.

    Raises:
        BackendError: The backend failed.
        ImageError: There are transparent pixels, and 256 clusters whose labels cannot be cleaned.
    """
    pixels = convert(photo.pixels, options.color_space)
    histogram = backend.histogram(pixels)
    whole = backend.fit(histogram, replace(options, k=1)).compactness
    for k in sorted({min(k, histogram.n_colors) for k in numbers}):
        palette = select_k(backend, histogram, replace(options, k=k), k_range).palette
        labels = backend.assign(pixels, palette, histogram)
        if regions:
            labels, palette = load_cleaner().clean(labels, palette, regions, photo.opaque)
        if photo.opaque is not None:
            labels = with_transparent(labels, 0, photo.opaque)
        yield Way(labels, palette, 1 - palette.compactness / whole if whole else 1.0)


def draw(figure: Figure, photo: Photo, ways: Sequence[Way], *, detail: int = 1) -> None:
    """Draw into an empty figure, and give it the size that it needs.

    Args:
        figure: Its dpi says how many pixels it gets.
        photo: What was segmented.
        ways: One way, whose clusters are shown; or several, to choose among.
        detail: Pixels of pictures for one of the figure, each way, for windows that can be enlarged.
    """
    if len(ways) == 1:
        _draw_clusters(figure, photo, ways[0], detail)
    else:
        _draw_ways(figure, photo, ways, detail)


def _draw_clusters(figure: Figure, photo: Photo, way: Way, detail: int) -> None:
    """The photo, its segmentation, and each cluster alone; below, the palette."""
    k, shares = len(way.palette.counts), way.palette.counts / way.palette.counts.sum()
    board = ImageGrid(figure, photo, n=2 + (k if k <= MOST_ALONE else 0), foot=BAR + GAP, detail=detail)
    board.picture(_size(photo), board.view.photo)
    board.picture(_headline(way), board.view.segmented(way.labels, way.palette))
    labels = board.view.scaled(way.labels)
    for cluster in range(k if k <= MOST_ALONE else 0):
        alone = np.where((labels == cluster)[..., None], board.view.photo, np.uint8(0))
        title = f"{cluster}: {percent(shares[cluster])}"
        board.picture(title, board.view.on_checkerboard(alone), frame=way.palette.colors[cluster])
    board.palette_at_foot(way.palette)


def _draw_ways(figure: Figure, photo: Photo, ways: Sequence[Way], detail: int) -> None:
    """The photo and its segmentations, each above its palette."""
    board = ImageGrid(figure, photo, n=1 + len(ways), below=BAR + RIM, detail=detail)
    board.picture(_size(photo), board.view.photo)
    for way in ways:
        board.picture(_headline(way), board.view.segmented(way.labels, way.palette))
        board.palette_below(way.palette)


def _size(photo: Photo) -> str:
    height, width = photo.rgb.shape[:2]
    return f"{width:,} × {height:,}"


def _headline(way: Way) -> str:
    return f"k = {len(way.palette.counts)}, {percent(way.explained)} explained"
