"""The mean RGB of clusters that were found in another colour space: exact, and rounded half up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kseg_batch.errors import OptionError
from kseg_batch.kmeans.color_spaces import ColorSpace, convert, to_rgb
from kseg_batch.kmeans.histogram import MAX_PIXELS
from kseg_batch.kmeans.mean_colors import (
    sum_colors,
    sum_colors_reference,
    with_color_sums,
    with_mean_colors,
)
from kseg_batch.kmeans.palette import Palette
from tests.support.images import AWKWARD, noise
from tests.support.labels import random_labels
from tests.support.palettes import random_palette


@pytest.mark.parametrize("k", [1, 3, 256])
@pytest.mark.parametrize("name", AWKWARD)
def test_the_kernel_equals_the_reference(name: str, k: int) -> None:
    image = AWKWARD[name]
    height, width = image.shape[:2]
    labels = random_labels(height, width, k)
    sums = sum_colors(image, labels)
    assert np.array_equal(sums, sum_colors_reference(image, labels))
    for cluster in range(k):
        assert sums[cluster].tolist() == image[labels == cluster].sum(axis=0, dtype=np.int64).tolist()
    assert not sums[k:].any()


def test_a_weight_stands_for_as_many_pixels() -> None:
    colors, labels = noise(1, 50), random_labels(1, 50, 4)
    weights = np.arange(50, dtype=np.uint32)
    repeated = np.repeat(colors, weights, axis=1), np.repeat(labels, weights, axis=1)
    assert np.array_equal(sum_colors_reference(colors, labels, weights), sum_colors(*repeated))


def test_sums_of_as_many_pixels_as_a_histogram_can_have_are_exact() -> None:
    colors = np.array([[[255, 255, 254], [255, 254, 1]]], np.uint8)
    sums = sum_colors_reference(colors, np.zeros((1, 2), np.uint8), np.array([MAX_PIXELS - 1, 1]))
    assert sums[0].tolist() == [255 * MAX_PIXELS, 255 * MAX_PIXELS - 1, 254 * (MAX_PIXELS - 1) + 1]


def palette_of_counts(*counts: int) -> Palette:
    return replace(random_palette(len(counts)), counts=np.array(counts, np.int64))


def test_means_are_rounded_half_up_however_many_pixels_there_are() -> None:
    half = 1 << 43
    sums = np.array([[2 * half * 7 + half, 2 * half * 254 + half, half], [0, 1, 2]])
    above = with_color_sums(palette_of_counts(2 * half, 2), sums)
    assert above.colors.tolist() == [[8, 255, 1], [0, 1, 1]]
    below = with_color_sums(palette_of_counts(2 * half, 2), sums - [[1], [0]])
    assert below.colors.tolist() == [[7, 254, 0], [0, 1, 1]]
    assert above.centers.tolist() == [[7.5, 254.5, 0.5], [0, 0.5, 1]]


def test_the_pixels_give_their_mean_and_a_cluster_without_pixels_the_color_of_its_centre() -> None:
    rgb, labels = noise(20, 30), 2 * random_labels(20, 30, 2)
    palette = palette_of_counts(*np.bincount(labels.ravel(), minlength=3).tolist())
    colored = with_mean_colors(palette, rgb, labels)
    assert colored.mean_colors is not None
    for cluster in (0, 2):
        assert colored.mean_colors[cluster].tolist() == rgb[labels == cluster].mean(axis=0).tolist()
    assert np.array_equal(colored.mean_colors[1], to_rgb(palette.fixed_centers / 64, "lab")[1])
    assert np.array_equal(colored.colors, np.floor(colored.mean_colors + 0.5))
    assert np.array_equal(colored.fixed_centers, palette.fixed_centers)
    assert (colored.names, colored.color_space) == (palette.names, "lab")


def test_in_rgb_the_centres_are_the_colors() -> None:
    palette = replace(random_palette(2), color_space="rgb")
    assert with_mean_colors(palette, noise(3, 3), random_labels(3, 3, 2)) is palette


def test_without_means_the_centres_are_converted() -> None:
    """As in palette files of the first version."""
    palette = random_palette(5)
    assert np.array_equal(palette.centers, to_rgb(palette.fixed_centers / 64, "lab"))
    green = np.array([[[0, 255, 0]]], np.uint8)
    centers = 64 * convert(green, "lab")[0].astype(np.int32)
    assert Palette(centers, np.ones(1, np.int64), 0.0, 1, "", "lab").colors.tolist() != [[0, 255, 0]]


@pytest.mark.parametrize(
    ("colors", "space", "message"),
    [
        (np.zeros((2, 3)), "rgb", "mean_colors must be None in rgb, where the centres are the mean colours."),
        (np.zeros((3, 3)), "lab", r"mean_colors must be \(2, 3\) float64, not \(3, 3\) float64."),
        (np.zeros((2, 3), np.uint8), "lab", r"mean_colors must be \(2, 3\) float64, not \(2, 3\) uint8."),
        (np.full((2, 3), -0.1), "lab", "mean_colors must be from 0 to 255."),
        (np.full((2, 3), 255.1), "oklab", "mean_colors must be from 0 to 255."),
        (np.full((2, 3), np.nan), "oklab", "mean_colors must be from 0 to 255."),
    ],
)
def test_mean_colors_that_cannot_be(colors: np.ndarray, space: ColorSpace, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        replace(random_palette(2), color_space=space, mean_colors=colors)
