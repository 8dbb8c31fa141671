"""Label maps with smooth edges and no small regions: a step between an image's labels and its files.

It is done on the CPU, whatever the backend, so that the bytes are the same. `smoothed` and `merged` say what
is done, in NumPy and plain Python; `kernels/regions.py`, which a `RegionCleaner` drives, gives the same.
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
    """What cleans label maps.

    Raises:
        BackendUnavailableError: There is no Numba.
    """
    try:
        from kseg_batch.segmentation.region_cleaner import RegionCleaner
    except BackendUnavailableError as error:
        reason = f"Smoothing labels and merging small regions needs Numba: {error}"
        raise BackendUnavailableError(reason, installed=error.installed) from error
    return RegionCleaner()


def smoothed(labels: NDArray[np.uint8], k: int, radius: int) -> NDArray[np.uint8]:
    """Give each pixel the most frequent label of the (2 * radius + 1)**2 pixels around it.

    The window ends where the image does. Pixels that are in no cluster, with a label of k, have no vote and
    stay. Of the labels with the most votes, a pixel keeps its own, or takes the lowest.

    Args:
        labels: (H, W), below k, or k.
        k: Clusters.
        radius: Of the window, in pixels.
    """
    windows = np.lib.stride_tricks.sliding_window_view
    side = 2 * radius + 1
    votes = np.empty((k, *labels.shape), np.int64)
    for label in range(k):
        ours = np.pad((labels == label).astype(np.int64), radius)
        votes[label] = 2 * windows(ours, (side, side)).sum(axis=(2, 3)) + (labels == label)
    return np.where(labels < k, votes.argmax(axis=0), labels).astype(np.uint8)


def merged(labels: NDArray[np.uint8], k: int, min_region: int) -> NDArray[np.uint8]:
    """Give the label of their surroundings to regions of fewer than `min_region` pixels, the smallest first.

    A region is all pixels of one label that hang together by their edges. Of regions of one size, the one
    with the first pixel in raster order is first. It takes the label that it has the longest border with,
    in edges of pixels, the lowest of several, and is one region then with its neighbours of that label.
    This goes on until no region of so few pixels has a neighbour. Pixels in no cluster, with a label of k,
    are nobody's neighbours.

    Maps are generalised so: the smallest area is merged with its best neighbour, until all are large enough
    (Haunert and Wolff, Int. J. of Geographical Information Science 24, 2010, compare with it). GDAL's sieve
    differs: it goes by the largest neighbour, all at once, and keeps small regions that touch small ones
    alone.

    Args:
        labels: (H, W), below k, or k.
        k: Clusters.
        min_region: Pixels.
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
    """The (y, x) of the pixels of each region."""
    todo = {(int(y), int(x)) for y, x in np.argwhere(labels < k)}
    while todo:
        growing = [todo.pop()]
        region = set(growing)
        while growing:
            pixel = growing.pop()
            for neighbour in _neighbours(pixel, labels.shape):
                if neighbour in todo and labels[neighbour] == labels[pixel]:
                    todo.remove(neighbour)
                    region.add(neighbour)
                    growing.append(neighbour)
        yield region


def _neighbours(pixel: Pixel, shape: tuple[int, ...]) -> Iterator[Pixel]:
    """The pixels of an image that share an edge with one."""
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
    """Clean labels, if that is wanted, and pack them; and the palette with the counts of what is packed.

    Args:
        labels: (H, W) uint8; or with `opaque`, one for each pixel that is, in any shape.
        palette: The clusters.
        regions: How to clean the labels.
        opaque: (H, W) False where a pixel is transparent; None where none is.

    Raises:
        ImageError: There are transparent pixels, and 256 clusters.
    """
    if regions:
        labels, palette = load_cleaner().clean(labels, palette, regions, opaque)
    return LabelMap.pack(labels, len(palette.counts), opaque), palette
