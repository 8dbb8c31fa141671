"""Colours of clusters in lab and oklab: those of flat images stay, and others are the mean of the pixels."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from kseg_batch import Palette, segment
from kseg_batch.backends.gpu.backend import GpuBackend
from kseg_batch.backends.registry import load
from kseg_batch.kmeans.color_spaces import ColorSpace
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.segmentation.segment import segment_with
from tests.support.exactness import assert_same_palette
from tests.support.faults import hide_modules
from tests.support.images import AWKWARD, FLAT, Image, blocks, noise, photos
from tests.support.paths import ROOT

SPACES: tuple[ColorSpace, ...] = ("lab", "oklab")


def check_means(rgb: Image, labels: Image, palette: Palette) -> None:
    """Check that the colours are the mean RGB of the pixels of each label, by plain NumPy."""
    expected = [rgb[labels == cluster].mean(axis=0) for cluster in range(len(palette.counts))]
    assert palette.mean_colors is not None
    assert_array_equal(palette.mean_colors, expected)
    assert_array_equal(palette.centers, expected)
    assert_array_equal(palette.colors, np.floor(np.array(expected) + 0.5))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("backend", ["numba", "opencv"])
def test_flat_colors_stay_what_they_are(space: ColorSpace, backend: str) -> None:
    image = blocks(FLAT)
    s = segment(image, len(FLAT), color_space=space, backend=backend, init="k-means++")
    assert_array_equal(s.segmented(), image)
    assert sorted(s.centers.tolist()) == sorted(map(list, FLAT))
    assert_array_equal(segment(image, "auto", color_space=space).segmented(), image)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("k", [1, 3, 16])
def test_colors_are_the_mean_of_the_pixels_before_cleaning(space: ColorSpace, k: int) -> None:
    rgb = photos()["coffee"][::3, ::3][:, ::-1]  # not contiguous
    plain = segment(rgb, k, color_space=space, attempts=2)
    check_means(rgb, plain.labels, plain.palette)
    clean = segment(rgb, k, color_space=space, attempts=2, smooth=2, min_region=40)
    assert_array_equal(clean.palette.mean_colors, plain.palette.mean_colors)
    assert k == 1 or not np.array_equal(clean.labels, plain.labels)
    assert_array_equal(clean.segmented(), plain.palette.colors[clean.labels])


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", AWKWARD)
def test_every_backend_gives_the_same_means(emulated: GpuBackend, name: str, space: ColorSpace) -> None:
    rgb = AWKWARD[name]
    options = FitOptions(4, attempts=2, color_space=space)
    expected = segment_with(load("numba"), rgb, options)
    check_means(rgb, expected.labels, expected.palette)
    found = segment_with(emulated, rgb, options)
    assert_array_equal(found.labels, expected.labels)
    assert_same_palette(found.palette, expected.palette)
    other = segment_with(load("opencv"), rgb, options)
    check_means(rgb, other.labels, other.palette)


def test_opencv_works_in_lab_without_numba() -> None:
    """And gives the colours that it gives with Numba."""
    code = f"""{hide_modules("numba")}
from kseg_batch import fit_palette, segment
from tests.support.images import noise
how = {{"color_space": "lab", "backend": "opencv"}}
print(segment(noise(20, 30), 4, **how).centers.tolist())
print(fit_palette([noise(20, 30)], 4, **how).centers.tolist())
"""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    expected = segment(noise(20, 30), 4, color_space="lab", backend="opencv").centers.tolist()
    assert result.stdout.splitlines() == [str(expected)] * 2, result.stderr
