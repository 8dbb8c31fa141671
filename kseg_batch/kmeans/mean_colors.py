"""Mean colours: the RGB of clusters that were found in another colour space.

A centre in such a space is a mean of converted and rounded colours: converted back, it misses even a flat
colour. So the colour of a cluster is the mean RGB of its pixels, from sums of integers, which are the same on
every backend and machine.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.kmeans.color_spaces import to_rgb
from kseg_batch.kmeans.fixed_point import MAX_CLUSTERS, SCALE
from kseg_batch.kmeans.flat_pixels import flat_pixels
from kseg_batch.optional import find_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kseg_batch.kmeans.palette import Palette


def with_mean_colors(palette: Palette, rgb: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Palette:
    """Return a fitted palette with the mean colours of its clusters; in RGB, the palette itself.

    Args:
        palette: The palette, with the counts of the labels.
        rgb: (..., 3) uint8 pixels that the palette was fitted to, before their conversion.
        labels: (...,) uint8 nearest centre of each pixel, before any cleaning.
    """
    if palette.color_space == "rgb":
        return palette
    return with_color_sums(palette, sum_colors(rgb, labels)[: len(palette.counts)])


def with_color_sums(palette: Palette, sums: NDArray[np.int64]) -> Palette:
    """Return a palette with mean colours, from the (k, 3) sums of R, G and B over the pixels of each cluster.

    A cluster without pixels gets the colour of its centre.
    """
    counts = palette.counts[:, None]
    of_centers = to_rgb(palette.fixed_centers / SCALE, palette.color_space)
    return replace(palette, mean_colors=np.where(counts > 0, sums / np.maximum(counts, 1), of_centers))


def sum_colors(rgb: NDArray[np.uint8], labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the (256, 3) sums of R, G and B over the (..., 3) pixels of each of the (...,) labels."""
    kernel = find_kernel("color_spaces", "sum_colors")
    if kernel is None:  # the backend opencv works without Numba; NumPy takes 20 times as long
        return sum_colors_reference(rgb, labels)
    sums = np.zeros((MAX_CLUSTERS, 3), np.int64)
    kernel(flat_pixels(rgb), flat_pixels(labels), sums)
    return sums


def sum_colors_reference(
    rgb: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    weights: NDArray[np.uint32] | NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Return the same as `sum_colors` in NumPy: the reference for the kernel.

    Args:
        rgb: (..., 3) uint8 colours.
        labels: (...,) uint8 labels.
        weights: (n,) pixels of each colour, in the order of the flat labels; None for one each. float64 holds
            the sums of up to `histogram.MAX_PIXELS` pixels exactly.
    """
    weight = 1 if weights is None else weights
    sums = [
        np.bincount(labels.reshape(-1), weight * channel.astype(np.float64), MAX_CLUSTERS)
        for channel in rgb.reshape(-1, 3).T
    ]
    return np.stack(sums, axis=1).astype(np.int64)
