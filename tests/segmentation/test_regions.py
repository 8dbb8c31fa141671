"""Smoothing and merging of regions: the rules by hand, the kernels against the rules, and `segment`."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kseg_batch import segment
from kseg_batch.errors import ImageError, OptionError
from kseg_batch.kmeans.options import RegionOptions
from kseg_batch.segmentation import region_cleaner
from kseg_batch.segmentation.regions import load_cleaner, merged, smoothed
from tests.support.image_files import pixels_of
from tests.support.images import blocks, noise, photos
from tests.support.labels import Labels, random_labels, region_sizes
from tests.support.palettes import random_palette


def picture(text: str) -> Labels:
    """Labels drawn with digits, a row a word."""
    return np.array([[int(digit) for digit in row] for row in text.split()], np.uint8)


def of_photo(name: str, k: int, height: int, width: int) -> Labels:
    return segment(photos()[name][100 : 100 + height, 100 : 100 + width], k).labels


AWKWARD = {
    "1x1": (picture("0"), 1),
    "1x1 of many": (picture("2"), 256),
    "1x1 in no cluster": (picture("3"), 3),
    "row": (random_labels(1, 301, 4), 4),
    "column": (random_labels(301, 1, 4), 4),
    "flat": (np.full((9, 13), 2, np.uint8), 5),
    "checkerboard": ((np.indices((8, 9)).sum(axis=0) % 2).astype(np.uint8), 2),
    "stripes": (np.repeat(random_labels(1, 12, 3), 6, axis=0), 3),
    "nothing but transparent": (np.full((5, 6), 3, np.uint8), 3),
    "transparent here and there": (random_labels(13, 17, 4), 3),
    "islands": (picture("0333 3133 3330 2333"), 3),
    "labels of 256": (random_labels(12, 15, 256), 256),
    "the highest label": (np.where(random_labels(9, 9, 2), 255, 254).astype(np.uint8), 256),
    "a view": (random_labels(40, 30, 3)[::2, ::-3], 3),
    "photo": (of_photo("coffee", 3, 40, 50), 3),
    "photo of many": (of_photo("chelsea", 16, 24, 33), 16),
}


# ---- the rules, by hand ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("000 010 000", "000 000 000", "one among others"),
        ("001 001 111", "001 011 111", "4 of 9 in the middle; at the corners, 2 and 1 of 4, its own is kept"),
        ("01 01", "01 01", "of as many, its own"),
        ("102 102 201", "102 000 000", "three of each in the middle: its own"),
        ("112 102 122", "112 112 122", "four of two others in the middle: the lowest"),
        ("133 303 332", "133 303 332", "the transparent have no vote, and do not change"),
        ("1221", "1221", "at an end two of one or one of each"),
        ("12121", "11211", "2 of 3; and at an end, of as many its own"),
    ],
)
def test_the_majority_by_hand(before: str, after: str, why: str) -> None:
    for smooth in (smoothed, region_cleaner.smooth):
        assert smooth(picture(before), 3, 1).tolist() == picture(after).tolist(), why


@pytest.mark.parametrize(
    ("before", "after", "least", "why"),
    [
        ("000 010 000", "000 000 000", 2, "a pixel in the midst of others"),
        ("000 010 000", "000 010 000", 1, "none is that small"),
        ("111 111 111", "111 111 111", 99, "one region is all there is"),
        ("0011 0021 0011", "0011 0011 0011", 2, "three edges against one"),
        ("0001 0021 0011", "0001 0001 0011", 2, "two edges with each: the lowest"),
        ("002 002 112 112", "111 111 111 111", 5, "of three with 4 pixels the first; two edges with each"),
        ("0010 0100 0000", "0000 0000 0000", 2, "diagonal pixels do not hang together"),
        ("222110222", "222111222", 3, "the smallest first, and then there are three of 1"),
        ("101", "000", 2, "of as many pixels the first"),
        ("01", "11", 9, "of as many pixels the first, and then there is but one"),
        ("313 333 303", "313 333 303", 9, "nothing but the transparent around"),
        ("3013", "3113", 2, "and it is no neighbour"),
    ],
)
def test_the_merging_by_hand(before: str, after: str, least: int, why: str) -> None:
    for merge in (merged, region_cleaner.merge_small):
        assert merge(picture(before), 3, least).tolist() == picture(after).tolist(), why


# ---- the kernels against the rules -----------------------------------------------------------------------


@pytest.mark.parametrize("name", AWKWARD)
def test_the_kernels_equal_the_rules(name: str) -> None:
    labels, k = AWKWARD[name]
    contiguous = np.ascontiguousarray(labels)
    before = contiguous.copy()
    for radius in (1, 2, 7):
        assert np.array_equal(region_cleaner.smooth(contiguous, k, radius), smoothed(labels, k, radius))
    for least in (2, 3, 10, 1 << 40):
        assert np.array_equal(region_cleaner.merge_small(contiguous, k, least), merged(labels, k, least))
    assert np.array_equal(contiguous, before)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_the_kernels_equal_the_rules_on_anything(data: st.DataObject) -> None:
    height, width = data.draw(st.tuples(st.integers(1, 11), st.integers(1, 11)))
    k = data.draw(st.sampled_from([1, 2, 3, 5]))
    pixels = data.draw(st.lists(st.integers(0, k), min_size=height * width, max_size=height * width))
    labels = np.array(pixels, np.uint8).reshape(height, width)
    radius, least = data.draw(st.tuples(st.integers(1, 7), st.integers(2, 40)))
    assert np.array_equal(region_cleaner.smooth(labels, k, radius), smoothed(labels, k, radius))
    assert np.array_equal(region_cleaner.merge_small(labels, k, least), merged(labels, k, least))


@pytest.mark.parametrize("shape", [(32, 256), (33, 257), (65, 511), (31, 255)])
def test_the_filter_across_the_borders_of_its_tiles(shape: tuple[int, int]) -> None:
    labels = cv2.blur(noise(*shape)[..., 0], (3, 3)) // np.uint8(40)
    k = int(labels.max())  # the highest label stands for transparent pixels
    for radius in (1, 7):
        assert np.array_equal(region_cleaner.smooth(labels, k, radius), smoothed(labels, k, radius))


@pytest.mark.parametrize("least", [2, 50, 3000])
def test_no_small_region_is_left_in_a_photo(least: int) -> None:
    labels = segment(photos()["china"], 8).labels
    assert min(region_sizes(labels, 8)) == 1
    assert min(region_sizes(region_cleaner.merge_small(labels, 8, least), 8)) >= least


# ---- from Python -----------------------------------------------------------------------------------------


def test_segment_smooths_first_and_counts_the_clean_labels() -> None:
    rgb = photos()["coffee"][:60, :70]
    plain = segment(rgb, 4)
    s = segment(rgb, 4, smooth=1, min_region=30)
    assert np.array_equal(s.labels, merged(smoothed(plain.labels, 4, 1), 4, 30))
    assert s.counts.tolist() == np.bincount(s.labels.ravel(), minlength=4).tolist() != plain.counts.tolist()
    assert np.array_equal(s.centers, plain.centers)
    assert s.compactness == plain.compactness
    assert np.array_equal(segment(rgb, 4, smooth=0, min_region=1).labels, plain.labels)


def test_a_cluster_may_come_to_nothing() -> None:
    s = segment(blocks([(0, 0, 0), (90, 90, 90), (200, 200, 200)], side=4), 3, min_region=10**9)
    assert s.counts.tolist() == [s.labels.size, 0, 0]
    assert not s.mask(1).any()


def test_the_opencv_backend_is_cleaned_in_the_same_way() -> None:
    rgb = photos()["coffee"][:60, :70]
    plain = segment(rgb, 3, backend="opencv")
    s = segment(rgb, 3, backend="opencv", smooth=2, min_region=20)
    assert np.array_equal(s.labels, merged(smoothed(plain.labels, 3, 2), 3, 20))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smooth": 8}, "^smooth must be a radius from 0 to 7 pixels, not 8."),
        ({"smooth": -1}, "^smooth must be a radius"),
        ({"smooth": 1.0}, "^smooth must be a whole number, not 1.0."),
        ({"min_region": -1}, "^min_region must be a number of pixels, 0 or more, not -1."),
        ({"min_region": "50"}, "^min_region must be a whole number, not '50'."),
    ],
)
def test_options_out_of_range(options: dict[str, int], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        segment(noise(4, 4), 2, **options)  # type: ignore[arg-type]


def test_transparent_pixels_next_to_256_clusters() -> None:
    opaque = np.array([[True, False]])
    with pytest.raises(ImageError, match="use 255, or --alpha ignore"):
        load_cleaner().clean(picture("0"), random_palette(256), RegionOptions(1), opaque)


def test_the_picture_in_the_readme_is_made_by_its_script() -> None:
    from benchmarks.figures.regions import TARGET, panels, side_by_side

    assert np.array_equal(pixels_of(TARGET), side_by_side(*panels()))
