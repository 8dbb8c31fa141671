"""A palette for the pixels of an RGB histogram, in any colour space.

Colours are counted in RGB, so that the counts serve every colour space. The distinct colours, which are fewer
than the pixels, are converted last. The result equals that of `segment` for all pixels together.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.kmeans.color_spaces import convert
from kseg_batch.kmeans.fixed_point import MAX_CLUSTERS
from kseg_batch.kmeans.histogram import ColorHistogram, HistogramSum, from_zorder, zorder
from kseg_batch.kmeans.mean_colors import sum_colors_reference, with_color_sums
from kseg_batch.segmentation.select_k import SelectedPalette, select_k

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from kseg_batch.backends.base import Backend
    from kseg_batch.kmeans.color_spaces import ColorSpace
    from kseg_batch.kmeans.options import FitOptions, KRange
    from kseg_batch.kmeans.palette import Palette

PART_COLORS = 1 << 18
"""Colours that are converted at a time, so that the memory for this does not grow with their number."""


def fit_histogram(
    backend: Backend, histogram: ColorHistogram, options: FitOptions, k_range: KRange | None
) -> SelectedPalette:
    """Cluster the pixels of an RGB histogram in the colour space of the options; see `select_k`."""
    space = options.color_space
    selected = select_k(backend, convert_histogram(histogram, space), options, k_range)
    if space == "rgb":
        return selected
    return replace(selected, palette=_with_mean_colors(backend, histogram, selected.palette))


def convert_histogram(histogram: ColorHistogram, color_space: ColorSpace) -> ColorHistogram:
    """Return the histogram of the converted pixels of an RGB histogram; for "rgb", the histogram itself.

    Raises:
        BackendUnavailableError: See `color_spaces.convert`.
    """
    if color_space == "rgb":
        return histogram
    total = HistogramSum()
    for _, converted, counts in _parts(histogram, color_space):
        total.add_colors(zorder(converted), counts)
    return total.sum()


def _with_mean_colors(backend: Backend, histogram: ColorHistogram, palette: Palette) -> Palette:
    """Return a palette, fitted to a converted histogram, with the mean colours over the RGB histogram."""
    sums = np.zeros((MAX_CLUSTERS, 3), np.int64)
    for colors, converted, counts in _parts(histogram, palette.color_space):
        sums += sum_colors_reference(colors, backend.assign(converted[None], palette), counts)
    return with_color_sums(palette, sums[: len(palette.counts)])


def _parts(
    histogram: ColorHistogram, color_space: ColorSpace
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint32] | NDArray[np.int64]]]:
    """Yield the colours of an RGB histogram in parts: (n, 3) RGB, (n, 3) converted, and (n,) counts."""
    codes = histogram.codes
    for first in range(0, len(codes), PART_COLORS):
        part = slice(first, first + PART_COLORS)
        colors = from_zorder(codes[part])
        yield colors, convert(colors[None], color_space)[0], histogram.counts[part]
