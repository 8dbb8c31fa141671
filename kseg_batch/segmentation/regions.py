"""Cleaning of label maps: smooth edges and no small regions.

The CPU cleans labels whatever the backend, so that all backends give the same bytes. `smoothed` and `merged`
are the reference, in NumPy and plain Python. A `RegionCleaner` gives the same with compiled kernels.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.errors import BackendUnavailableError
from kseg_batch.images.label_map import LabelMap
from kseg_batch.kmeans.options import RegionOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from kseg_batch.kmeans.palette import Palette
    from kseg_batch.segmentation.region_cleaner import RegionCleaner

Pixel = tuple[int, int]
"""Row and column."""


@cache
def load_cleaner() -> RegionCleaner:
    """Load the cleaner of label maps, once.

    Raises:
        BackendUnavailableError: Numba cannot be imported.
    """
    try:
        from kseg_batch.segmentation.region_cleaner import RegionCleaner
    except BackendUnavailableError as error:
        reason = f"Smoothing labels and merging small regions need Numba: {error}"
        raise BackendUnavailableError(reason, installed=error.installed) from error
    return RegionCleaner()


def smoothed(labels: NDArray[np.uint8], k: int, radius: int) -> NDArray[np.uint8]:
    """Give each pixel the most frequent label of the (2 * radius + 1)**2 pixels around it.

    The window is clipped at the border of the image. Pixels in no cluster, whose label is k, have no vote and
    keep their label. On a tie, a pixel keeps its own label if that is among the most frequent, and otherwise
    takes the lowest of these.

    Args:
        labels: (H, W) labels below k, or k for a pixel in no cluster.
        k: Number of clusters.
        radius: Radius of the window, in pixels.

    Returns:
        (H, W) uint8 labels.
    """
    windows = np.lib.stride_tricks.sliding_window_view
    side = 2 * radius + 1
    votes = np.empty((k, *labels.shape), np.int64)
    for label in range(k):
        has_label = np.pad((labels == label).astype(np.int64), radius)
        votes[label] = 2 * windows(has_label, (side, side)).sum(axis=(2, 3)) + (labels == label)
    return np.where(labels < k, votes.argmax(axis=0), labels).astype(np.uint8)


def merged(labels: NDArray[np.uint8], k: int, min_region: int) -> NDArray[np.uint8]:
    """Merge regions of fewer than `min_region` pixels with neighbouring regions, the smallest region first.

    A region is a 4-connected component of pixels with one label. Of regions of equal size, the region with
    the first pixel in raster order comes first. The region takes the label with which it has the longest
    border, counted in edges of pixels, and on a tie the lowest such label. So it becomes one region with its
    neighbours of that label. The merging continues until no region below `min_region` has a neighbour. Pixels
    in no cluster, whose label is k, are not neighbours.

    Cartography generalises maps in this way: the smallest area is merged with its best neighbour until all
    areas are large enough (Haunert and Wolff, Int. J. of Geographical Information Science 24, 2010, compare
    with this method). GDAL's sieve differs: it merges all small regions at once, each with its largest
    neighbour, and keeps small regions whose neighbours are all small.

    Args:
        labels: (H, W) labels below k, or k for a pixel in no cluster.
        k: Number of clusters.
        min_region: Regions of fewer pixels are merged.

    Returns:
        (H, W) labels, a copy.
    """
    labels = labels.copy()
    while True:
        regions = sorted(_regions(labels, k), key=lambda pixels: (len(pixels), min(pixels)))
        for pixels in regions:
            border = np.zeros(k, np.int64)
            for pixel in pixels:
                for neighbour in _neighbours(pixel, labels.shape):
                    if neighbour not in pixels and labels[neighbour] < k:
                        border[labels[neighbour]] += 1
            if len(pixels) < min_region and border.any():
                labels[tuple(zip(*pixels, strict=True))] = border.argmax()
                break
        else:
            return labels


def _regions(labels: NDArray[np.uint8], k: int) -> Iterator[set[Pixel]]:
    """Yield the pixels of each region as a set of (y, x)."""
    todo = {(int(y), int(x)) for y, x in np.argwhere(labels < k)}
    while todo:
        frontier = [todo.pop()]
        region = set(frontier)
        while frontier:
            pixel = frontier.pop()
            for neighbour in _neighbours(pixel, labels.shape):
                if neighbour in todo and labels[neighbour] == labels[pixel]:
                    todo.remove(neighbour)
                    region.add(neighbour)
                    frontier.append(neighbour)
        yield region


def _neighbours(pixel: Pixel, shape: tuple[int, ...]) -> Iterator[Pixel]:
    """Yield the pixels of an image that share an edge with a pixel."""
    for dy, dx in ((-1, 0), (0, -1), (0, 1), (1, 0)):
        y, x = pixel[0] + dy, pixel[1] + dx
        if 0 <= y < shape[0] and 0 <= x < shape[1]:
            yield y, x


def pack_labels(
    labels: NDArray[np.uint8],
    palette: Palette,
    regions: RegionOptions,
    opaque: NDArray[np.bool_] | None,
) -> tuple[LabelMap, Palette]:
    """Clean labels if the options ask for it, and pack them.

    Args:
        labels: (H, W) uint8 labels; with `opaque`, the labels of the opaque pixels alone, in any shape.
        palette: The clusters.
        regions: Options for the cleaning.
        opaque: (H, W) bool, False where a pixel is transparent; None if no pixel is.

    Returns:
        The label map, and the palette with the counts of the cleaned labels.

    Raises:
        ImageError: There are transparent pixels and 256 clusters.
        BackendUnavailableError: The cleaning needs Numba, which cannot be imported.
    """
    if regions:
        labels, palette = load_cleaner().clean(labels, palette, regions, opaque)
    return LabelMap.pack(labels, len(palette.counts), opaque), palette
