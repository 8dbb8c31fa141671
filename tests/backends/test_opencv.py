"""The opencv backend is the tutorial's call, and agrees with the exact backends up to rounding."""

import cv2
import numpy as np
import pytest

from kseg_batch import segment
from kseg_batch.backends.registry import load
from kseg_batch.kmeans import reference
from kseg_batch.kmeans.histogram import ColorHistogram
from kseg_batch.kmeans.options import FitOptions, Init
from tests.support.exactness import assert_consistent
from tests.support.images import AWKWARD, PHOTOS, blocks, noise, photos


@pytest.mark.parametrize("k", [2, 3, 5, 8])
@pytest.mark.parametrize("name", PHOTOS)
def test_compactness_agrees_on_photos(name: str, k: int) -> None:
    """Within 0.1%, or ours is lower: the two end in their own local minimum."""
    photo = photos()[name][::2, ::2]
    exact = segment(photo, k, backend="numba").compactness
    assert exact <= 1.001 * segment(photo, k, backend="opencv").compactness


@pytest.mark.parametrize("init", ["random", "k-means++"])
def test_same_labels_on_well_separated_colors(init: Init) -> None:
    image = blocks([(250, 10, 10), (10, 250, 10), (10, 10, 250), (250, 250, 250), (0, 0, 0)])
    image = np.clip(
        image + noise(image.shape[0], image.shape[1], 0, 9, seed=1).astype(int) - 4, 0, 255
    ).astype(np.uint8)
    ours = segment(image, 5, backend="numba")
    theirs = segment(image, 5, backend="opencv", init=init)
    assert np.array_equal(ours.labels, theirs.labels)
    assert np.allclose(ours.centers, theirs.centers, atol=1 / 64)  # both rounded to Q8.6


def test_fitting_is_the_tutorials_call() -> None:
    """The same rows, criteria, attempts and generator give the same centres, up to their order and Q8.6."""
    image = photos()["coffee"][::4, ::4]
    histogram = ColorHistogram.from_pixels(image)
    rows = histogram.colors.repeat(histogram.counts, axis=0).astype(np.float32)
    cv2.setRNGSeed(5)
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 100, 0.2)
    _, _, centers = cv2.kmeans(rows, 3, None, criteria, 10, cv2.KMEANS_RANDOM_CENTERS)
    expected = reference.dark_to_light(np.rint(centers * 64).astype(np.int64))
    result = segment(image, 3, seed=5, backend="opencv")
    assert np.array_equal(result.palette.fixed_centers, expected)


@pytest.mark.parametrize("init", [None, "random", "k-means++"])
def test_fitting_repeats(init: Init | None) -> None:
    image = photos()["chelsea"][::3, ::3]
    first = segment(image, 6, seed=3, init=init, backend="opencv")
    cv2.setRNGSeed(99)
    again = segment(image, 6, seed=3, init=init, backend="opencv")
    assert np.array_equal(first.labels, again.labels)
    assert first.compactness == again.compactness
    assert first.n_iter is None


@pytest.mark.parametrize("name", AWKWARD)
def test_labels_are_consistent_with_the_centers(name: str) -> None:
    image = AWKWARD[name]
    backend = load("opencv")
    palette = backend.fit(backend.histogram(image), FitOptions(k=4, attempts=2))
    labels = backend.assign(image, palette)
    assert_consistent(image, labels, palette)
