"""Clustering in other colour spaces: conversion, the way back to RGB, and segmentation."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from skimage import color

from kseg_batch import apply_palette, fit_palette, segment
from kseg_batch.errors import OptionError
from kseg_batch.kmeans import reference
from kseg_batch.kmeans.color_spaces import (
    COLOR_SPACES,
    ColorSpace,
    convert,
    lab_reference,
    oklab_reference,
    to_lab,
    to_rgb,
)
from kseg_batch.kmeans.histogram import ColorHistogram
from kseg_batch.kmeans.options import FitOptions
from tests.support.exactness import assert_same_palette
from tests.support.images import AWKWARD, Image, noise, photos

CHECKSUMS = {
    "lab": "b3067516fa862bb008af4ffb4da5555722524a70776bf7ffd523a90f4331480c",
    "oklab": "8052e20d1ba35865eab995f1532cb7bff8092f0f1ed3a55a68c69707ccc697be",
}
"""SHA-256 of the conversion of all 2**24 colours, in the order of 0xRRGGBB."""


def all_colors() -> Image:
    numbers = np.arange(1 << 24, dtype=np.uint32)
    channels = [(numbers >> shift).astype(np.uint8) for shift in (16, 8, 0)]
    return np.stack(channels, axis=-1).reshape(4096, 4096, 3)


def exact_oklab(rgb: Image) -> np.ndarray:
    """In float64, from the publication's matrices through scikit-image's linearisation."""
    to_lms = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    to_lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    srgb = rgb / 255
    linear = np.where(srgb > 0.04045, ((srgb + 0.055) / 1.055) ** 2.4, srgb / 12.92)
    return np.asarray(np.cbrt(linear @ to_lms.T) @ to_lab.T * [240, 480, 480] + [0, 120, 155])


@pytest.mark.parametrize("space", CHECKSUMS)
def test_every_color_becomes_the_same_on_every_machine(space: ColorSpace) -> None:
    """For every version of OpenCV, processor, and shape of the image."""
    converted = convert(all_colors(), space)
    assert hashlib.sha256(converted.tobytes()).hexdigest() == CHECKSUMS[space]
    column = all_colors()[:100].reshape(-1, 1, 3)
    assert np.array_equal(convert(column, space).reshape(100, -1, 3), converted[:100])


@pytest.mark.parametrize("name", AWKWARD)
def test_the_kernel_equals_the_reference(name: str) -> None:
    assert np.array_equal(convert(AWKWARD[name], "oklab"), oklab_reference(AWKWARD[name]))


def test_oklab_is_oklab() -> None:
    """Equal to half a step for rounding, and another half for the tables where colours are dark."""
    image = noise(300, 300)
    error = np.abs(convert(image, "oklab") - exact_oklab(image))
    assert error.max() < 2 and np.mean(error > 0.51) < 0.01
    grey = convert(np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 256, 3), "oklab")[0]
    assert (grey[:, 1:] == (120, 155)).all() and (np.diff(grey[:, 0].astype(int)) >= 0).all()
    assert (grey[0, 0], grey[255, 0]) == (0, 240)


def test_lab_is_cie_lab() -> None:
    """Equal to a step, but for dark colours, for which OpenCV's tables are coarse."""
    image = noise(300, 300)
    exact = color.rgb2lab(image) * [255 / 100, 1, 1] + [0, 128, 128]
    error = np.abs(convert(image, "lab") - exact)
    assert error.max() < 3 and np.mean(error > 1) < 0.01


def test_lab_without_opencv_has_the_same_numbers() -> None:
    colors = all_colors()
    assert np.array_equal(lab_reference(colors), convert(colors, "lab"))


def test_lab_of_colors_is_not_rounded() -> None:
    """Equal to scikit-image, whose matrix differs from the sixth digit on, to 0.01 in Lab."""
    rgb = noise(100, 100)
    assert np.abs(to_lab(rgb) - color.rgb2lab(rgb)).max() < 0.01
    assert np.allclose(to_lab([[0, 0, 0], [255, 255, 255]]), [[0, 0, 0], [100, 0, 0]], atol=1e-12)


@pytest.mark.parametrize("space", COLOR_SPACES)
def test_colors_come_back(space: ColorSpace) -> None:
    """The exact inverse, of exact coordinates."""
    image = noise(100, 100)
    exact = {
        "rgb": image.astype(float),
        "lab": color.rgb2lab(image) * [255 / 100, 1, 1] + [0, 128, 128],
        "oklab": exact_oklab(image),
    }[space]
    back = to_rgb(exact.reshape(-1, 3), space).reshape(image.shape)
    assert np.abs(back - image).max() < (0.1 if space == "lab" else 1e-5)  # the white points differ a little
    outside = to_rgb(np.array([[0.0, 255.0, 0.0], [255.0, 0.0, 255.0], [128.0, 0.0, 0.0]]), space)
    assert outside.min() >= 0 and outside.max() <= 255


@pytest.mark.parametrize("space", ["lab", "oklab"])
@pytest.mark.parametrize("backend", ["numba", "opencv"])
def test_segmenting_in_a_color_space_is_segmenting_the_converted_image(
    space: ColorSpace, backend: str
) -> None:
    rgb = photos()["coffee"][::4, ::4]
    s = segment(rgb, 4, attempts=2, color_space=space, backend=backend)
    assert s.palette.color_space == space
    converted = convert(rgb, space)
    if backend == "numba":
        options = FitOptions(4, attempts=2, color_space=space)
        expected = reference.fit(ColorHistogram.from_pixels(converted), options)
        assert_same_palette(replace(s.palette, mean_colors=None), expected)
    centers = s.palette.fixed_centers / 64
    distances = ((converted[:, :, None] - centers) ** 2).sum(axis=-1)
    assert np.array_equal(s.labels, distances.argmin(axis=-1))
    assert s.compactness == pytest.approx(distances.min(axis=-1).sum(), rel=1e-12)
    assert (np.diff(centers[:, 0]) >= 0).all()  # dark to light
    assert np.array_equal(s.palette.colors[s.labels], s.segmented())
    for j in range(4):  # a cluster's colour is the mean of its pixels, and near its centre, converted
        assert np.array_equal(rgb[s.mask(j)].mean(axis=0), s.centers[j])
    assert np.abs(to_rgb(centers, space) - s.centers).max() < 12


def test_another_space_finds_other_clusters() -> None:
    rgb = photos()["china"]
    labels = [segment(rgb, 5, color_space=space).labels for space in COLOR_SPACES]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.mean(labels[one] != labels[other]) > 0.02


def test_a_palette_knows_its_space() -> None:
    images = [photos()["coffee"][::4, ::4], photos()["china"][::4, ::4]]
    palette = fit_palette(images, 5, color_space="oklab")
    glued = np.concatenate([image.reshape(-1, 1, 3) for image in images])
    s = segment(glued, 5, color_space="oklab")
    assert_same_palette(palette, s.palette)
    assert np.array_equal(apply_palette(glued, palette), s.labels)


def test_an_unknown_space_is_refused() -> None:
    with pytest.raises(OptionError, match="color_space must be one of rgb, lab, oklab, not hsv"):
        segment(noise(3, 3), 2, color_space="hsv")  # type: ignore[arg-type]
