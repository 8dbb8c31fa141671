"""Tracking from frame to frame: labels that hold still, clusters that keep their numbers, and cuts."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kseg_batch.backends.numba_cpu import load
from kseg_batch.kmeans import reference
from kseg_batch.kmeans.color_spaces import COLOR_SPACES, ColorSpace, convert
from kseg_batch.kmeans.histogram import ColorHistogram
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.kmeans.palette import Palette
from kseg_batch.live.rendered_frame import RenderedFrame
from kseg_batch.live.source import Frame
from kseg_batch.live.stabilizer import MAX_HELD_FRAMES, LabelStabilizer, hold_labels_reference
from kseg_batch.live.tracker import Tracker, coarse_histogram, histogram_intersection, match_cluster_numbers
from tests.support.images import FLAT, Image, blocks, flat, gradient, noise, photos
from tests.support.palettes import palette_of
from tests.support.videos import pan

NUMBA = load()


def tracker(k: int = 3, margin: float = 8.0) -> Tracker:
    return Tracker(NUMBA, FitOptions(k=k), margin)


def noisy(image: Image, sigma: float, seed: int) -> Image:
    """The image with the noise of a sensor."""
    rng = np.random.default_rng(seed)
    return np.clip(image + rng.normal(0, sigma, image.shape) + 0.5, 0, 255).astype(np.uint8)


@given(
    rgb=st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(0, 1 << 32)),
    k=st.sampled_from([1, 2, 3, 5, 256]),
    margin=st.sampled_from([0.0, 0.5, 8.0, 100.0, 255.0]),
)
@settings(max_examples=100, deadline=None)
def test_steady_labels_equal_the_reference(rgb: tuple[int, int, int], k: int, margin: float) -> None:
    height, width, seed = rgb
    image = noise(height, width, seed=seed)
    rng = np.random.default_rng(seed)
    centers = rng.integers(0, 16321, (k, 3)).astype(np.int32)
    of = Palette(centers, np.ones(k, np.int64), 0.0, None, "numba")
    stabilizer = LabelStabilizer(margin)
    expected = streaks = np.zeros((height, width), np.uint8)
    for number in range(8):
        frame = (image + rng.integers(0, 9, image.shape)).astype(np.uint8)
        labels = reference.assign(frame, of)
        if number == 0:
            expected = labels
        elif margin > 0:
            expected, streaks = hold_labels_reference(frame, of, margin, expected, streaks, labels)
        else:
            expected = labels
        stabilizer.hold(frame, of, labels)
        assert np.array_equal(labels, expected)


def test_a_pixel_changes_when_its_colour_is_past_the_border_by_more_than_the_margin() -> None:
    """The border is at 120: with a margin of 8, a pixel changes above 128, and changes back below 112."""
    two = palette_of((100, 100, 100), (140, 100, 100))
    reds = np.arange(100, 141, dtype=np.uint8)
    row = np.stack([reds, np.full_like(reds, 100), np.full_like(reds, 100)], axis=-1)[None]
    for before, changes in ((0, reds > 128), (1, reds >= 112)):
        stabilizer = LabelStabilizer(8.0)
        stabilizer.hold(np.zeros_like(row), two, np.full(row.shape[:2], before, np.uint8))
        for frame in range(MAX_HELD_FRAMES + 2):
            labels = reference.assign(row, two)
            stabilizer.hold(row, two, labels)
            assert np.array_equal(labels[0] == 1, changes if frame < MAX_HELD_FRAMES else reds > 120)


def test_without_a_margin_labels_name_the_nearest_centres() -> None:
    image = photos()["coffee"]
    still = tracker(k=5, margin=0.0)
    still.track(noisy(image, 3, 1))
    frame = noisy(image, 3, 2)
    found = still.track(frame)
    assert np.array_equal(found.labels, reference.assign(frame, found.palette))


def test_noise_does_not_flicker() -> None:
    """In a static scene 2.2% of the pixels change without a margin, and 0.09% with the margin.

    Pixels that began on the wrong side change all at once, after the longest time of holding.
    """
    frames = [noisy(photos()["coffee"], 2.2, seed) for seed in range(12)]
    shares = {}
    for margin in (0.0, 8.0):
        one = tracker(k=5, margin=margin)
        labels = [one.track(frame).labels for frame in frames]
        shares[margin] = [float((a != b).mean()) for a, b in pairwise(labels)]
    assert min(shares[0.0]) > 0.02
    assert max(shares[8.0]) < 0.005
    assert max(shares[8.0][MAX_HELD_FRAMES + 1 :]) < 0.001


@pytest.mark.parametrize("space", COLOR_SPACES)
def test_a_frame_equals_the_reference_from_the_last_palette(space: ColorSpace) -> None:
    frames = pan(2, step=9)
    options = FitOptions(k=4, color_space=space)
    one = Tracker(NUMBA, options, 8.0)
    first, second = (convert(frame, space) for frame in frames)
    start = reference.fit(ColorHistogram.from_pixels(first), options)
    found = one.track(frames[0])
    assert np.array_equal(found.palette.fixed_centers, start.fixed_centers)
    assert found.palette.color_space == space
    assert np.array_equal(found.labels, reference.assign(first, start))
    expected = reference.fit(ColorHistogram.from_pixels(second), options, start)
    then = one.track(frames[1])
    assert np.array_equal(then.palette.fixed_centers, expected.fixed_centers)
    labels = reference.assign(second, expected)
    streaks = np.zeros_like(labels)
    held, _ = hold_labels_reference(second, expected, 8.0, found.labels, streaks, labels)
    assert np.array_equal(then.labels, held)


@pytest.mark.parametrize("space", ["lab", "oklab"])
def test_colors_are_the_mean_of_the_pixels_before_labels_are_held(space: ColorSpace) -> None:
    """Also where a cut renumbers the clusters. A frame of too few colours keeps the last colours."""
    one = Tracker(NUMBA, FitOptions(k=4, color_space=space), 8.0)
    frames = (*pan(2, step=9), photos()["coffee"], photos()["chelsea"][:, :400])
    for frame in frames:
        found = one.track(frame)
        nearest = reference.assign(convert(frame, space), found.palette)
        means = [frame[nearest == cluster].mean(axis=0) for cluster in range(4)]
        assert np.array_equal(found.palette.centers, means)
    assert found.cut
    black = one.track(np.zeros_like(frame))
    assert np.array_equal(black.palette.centers, means)
    image = blocks(FLAT[:4])
    assert np.array_equal(RenderedFrame(Frame(5, 5, image), one.track(image)).rgb, image)


def test_clusters_keep_their_numbers_when_their_order_by_brightness_changes() -> None:
    """A dark red square becomes lighter, and a lighter green square becomes dark."""
    one = tracker(k=3)
    for step in range(11):
        frame = flat(40, 40, (255, 255, 255))
        red, green = (90 + 15 * step, 0, 0), (0, 120 - 10 * step, 0)
        frame[:8, :8], frame[20:28, 20:28] = red, green
        found = one.track(frame)
        assert not found.cut
        assert found.palette.centers.tolist() == [[*red], [*green], [255, 255, 255]]


def test_a_cut_is_fitted_from_new_seeds_and_a_pan_is_not() -> None:
    one = tracker(k=5)
    first, second = pan(6, 160, 90, step=16), pan(6, 160, 90, step=16, seed=3)
    cuts = [one.track(frame).cut for frame in (*first, *second)]
    assert cuts == [False] * 6 + [True] + [False] * 5
    fresh = tracker(k=5).track(second[0])
    again = tracker(k=5)
    again.track(first[-1])
    after = again.track(second[0])
    assert after.palette.compactness == fresh.palette.compactness
    assert sorted(after.palette.fixed_centers.tolist()) == sorted(fresh.palette.fixed_centers.tolist())
    assert np.array_equal(after.labels, reference.assign(second[0], after.palette))  # no label is held


def test_reseeding_on_request() -> None:
    """After reseeding, a frame is fitted as well as a first frame, and not from the poor centres before."""
    colors = [(0, 0, 0), (20, 0, 0), (200, 0, 0), (220, 0, 0), (255, 255, 255)]
    one, frame = tracker(k=3), blocks(colors)
    one.track(blocks([(0, 0, 0), (20, 0, 0), (22, 0, 0)]))
    one.reseed()
    found = one.track(frame)
    assert found.palette.compactness == tracker(k=3).track(frame).palette.compactness


def test_a_black_frame_leaves_the_clusters_as_they_are() -> None:
    one = tracker(k=3)
    scene = blocks([(50, 0, 0), (200, 0, 0), (255, 255, 255)])
    first = one.track(scene)
    black = one.track(np.zeros_like(scene))
    assert black.cut
    assert np.array_equal(black.palette.fixed_centers, first.palette.fixed_centers)
    assert black.palette.counts.tolist() == [scene.shape[0] * scene.shape[1], 0, 0]
    assert np.array_equal(one.track(scene).labels, first.labels)


def test_a_video_that_begins_black_gets_its_clusters_when_there_are_colours() -> None:
    one = tracker(k=3)
    assert len(one.track(flat(8, 9, (0, 0, 0))).palette.counts) == 1
    image = gradient(8, 9)
    assert len(one.track(image).palette.counts) == 3
    two = tracker(k=256)
    assert len(two.track(blocks([(0, 0, 0), (9, 9, 9)])).palette.counts) == 2
    assert len(two.track(blocks([(0, 0, 0), (9, 9, 9)])).palette.counts) == 2


def test_new_centres_get_the_numbers_of_the_most_similar() -> None:
    old = palette_of((200, 0, 0), (0, 0, 0), (250, 250, 250), counts=(1, 2, 3))
    new = palette_of((5, 5, 5), (90, 90, 90), (190, 0, 0), (255, 255, 255), counts=(1, 2, 3, 4))
    found = match_cluster_numbers(new, old)
    assert found.centers.tolist() == [[190, 0, 0], [5, 5, 5], [255, 255, 255], [90, 90, 90]]
    assert found.counts.tolist() == [3, 1, 4, 2]
    assert match_cluster_numbers(replace(old), old).centers.tolist() == old.centers.tolist()


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (flat(4, 4, (0, 0, 0)), flat(4, 4, (15, 15, 15)), 1.0),
        (flat(4, 4, (0, 0, 0)), flat(4, 4, (16, 0, 0)), 0.0),
        (blocks([(0, 0, 0), (99, 0, 0)]), blocks([(0, 0, 0), (0, 0, 99)]), (64 + 2 * 16) / 160),
    ],
)
def test_histogram_intersection(one: Image, other: Image, expected: float) -> None:
    shares = [histogram_intersection(*pair) for pair in both_orders(one, other)]
    assert shares == [expected, expected]


def both_orders(one: Image, other: Image) -> list[tuple[np.ndarray, np.ndarray]]:
    coarse = [coarse_histogram(NUMBA.histogram(image)) for image in (one, other)]
    assert all(c.sum() == image.size // 3 for c, image in zip(coarse, (one, other), strict=True))
    return [(coarse[0], coarse[1]), (coarse[1], coarse[0])]


@pytest.mark.parametrize("disabled", [(), (1,), (0, 7)])
def test_a_rendered_frame_shows_each_cluster_in_its_colour(disabled: tuple[int, ...]) -> None:
    frame = noise(13, 17)
    found = tracker(k=5).track(frame)
    expected = found.palette.colors[found.labels]
    expected[np.isin(found.labels, disabled)] = 0
    assert np.array_equal(RenderedFrame(Frame(0, 0, frame), found, disabled).rgb, expected)
