"""Palettes of RGB histograms in other colour spaces equal those of the converted pixels, and of `segment`."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from kseg_batch import fit_palette, segment
from kseg_batch.backends.base import Backend
from kseg_batch.backends.gpu.backend import GpuBackend
from kseg_batch.backends.registry import load
from kseg_batch.kmeans.color_spaces import ColorSpace, convert
from kseg_batch.kmeans.histogram import ColorHistogram
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.segmentation import fit_histogram
from kseg_batch.segmentation.segment import segment_with
from tests.support.exactness import assert_same_histogram, assert_same_palette
from tests.support.images import AWKWARD, gradient, noise, photos

SPACES: tuple[ColorSpace, ...] = ("lab", "oklab")


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", AWKWARD)
def test_converting_a_histogram_is_counting_the_converted_image(name: str, space: ColorSpace) -> None:
    histogram = ColorHistogram.from_pixels(AWKWARD[name])
    expected = ColorHistogram.from_pixels(convert(AWKWARD[name], space))
    assert_same_histogram(fit_histogram.convert_histogram(histogram, space), expected)


@pytest.mark.parametrize("engine", ["numba", "opencv", "emulated"])
@pytest.mark.parametrize("k", [2, 7])
def test_a_palette_of_one_image_is_that_of_segment(
    emulated: GpuBackend, monkeypatch: pytest.MonkeyPatch, engine: str, k: int
) -> None:
    """In parts of 1,000 colours, the last of which is smaller, so that the sums of all parts are added."""
    monkeypatch.setattr(fit_histogram, "PART_COLORS", 1000)
    backend: Backend = emulated if engine == "emulated" else load(engine)
    rgb = np.concatenate([photos()["china"][::8, ::8], noise(54, 30)], axis=1)
    histogram = backend.histogram(rgb)
    assert histogram.n_colors > 4000
    for space in SPACES:
        options = FitOptions(k, attempts=2, color_space=space)
        selected = fit_histogram.fit_histogram(backend, histogram, options, None)
        assert_same_palette(selected.palette, segment_with(backend, rgb, options).palette)


def test_counts_beyond_32_bits() -> None:
    """The merged histogram of a large dataset."""
    small = ColorHistogram.from_pixels(gradient(20, 30))
    huge = ColorHistogram(small.cells, small.starts, small.slots, small.counts * (np.int64(1) << 33))
    options = FitOptions(3, color_space="lab")
    one, other = (
        fit_histogram.fit_histogram(load("numba"), histogram, options, None).palette
        for histogram in (small, huge)
    )
    assert one.mean_colors is not None
    assert_array_equal(one.mean_colors, other.mean_colors)
    assert_array_equal(one.counts * (1 << 33), other.counts)


@pytest.mark.parametrize("space", SPACES)
def test_a_palette_of_several_images_is_that_of_all_glued_together(space: ColorSpace) -> None:
    images = [photos()["coffee"][::4, ::4], photos()["chelsea"][::4, ::4]]
    palette = fit_palette(images, "auto:2-4", color_space=space)
    glued = np.concatenate([image.reshape(1, -1, 3) for image in images], axis=1)
    assert_same_palette(palette, segment(glued, "auto:2-4", color_space=space).palette)
