"""How two clusterings differ: every part that is wrong is named, and no other."""

from dataclasses import replace

import numpy as np
import pytest

from kseg_batch.kmeans import reference
from kseg_batch.kmeans.equality import ClusteringDigest, digest_labels
from kseg_batch.kmeans.fixed_point import SCALE
from kseg_batch.kmeans.histogram import ColorHistogram
from kseg_batch.kmeans.options import FitOptions
from tests.support.images import noise

OPTIONS = FitOptions(k=4, attempts=2)


@pytest.fixture(scope="module")
def expected() -> ClusteringDigest:
    return ClusteringDigest.of_reference(noise(13, 17), OPTIONS)


def test_the_reference_equals_itself(expected: ClusteringDigest) -> None:
    image = noise(13, 17)
    palette = reference.fit(ColorHistogram.from_pixels(image), OPTIONS)
    assert ClusteringDigest.of(reference.assign(image, palette), palette).differences(expected) == []


@pytest.mark.parametrize(
    ("part", "field", "change"),
    [
        ("centres", "centers", lambda centers: centers + np.eye(4, 3) / SCALE),
        ("centres", "centers", lambda centers: centers[:3]),
        ("labels", "labels", lambda _: digest_labels(np.zeros((13, 17), np.uint8))),
        ("counts", "counts", lambda counts: counts[::-1]),
        ("compactness", "compactness", lambda compactness: compactness + 0.25),
        ("iterations", "n_iter", lambda n_iter: n_iter + 1),
    ],
)
def test_a_part_that_differs_is_named(
    expected: ClusteringDigest, part: str, field: str, change: object
) -> None:
    changed = replace(expected, **{field: change(getattr(expected, field))})  # type: ignore[operator]
    assert changed.differences(expected) == [part]
    assert expected.differences(changed) == [part]


def test_a_part_that_is_not_known_is_not_compared(expected: ClusteringDigest) -> None:
    unknown = replace(expected, compactness=None, counts=None, n_iter=None)
    assert unknown.differences(expected) == expected.differences(unknown) == []


def test_steps_of_rounding_are_admitted_where_they_are_expected(expected: ClusteringDigest) -> None:
    step = np.zeros_like(expected.centers)
    step[1, 2] = 1 / SCALE
    slack = 3 * expected.n_pixels / SCALE**2
    assert expected.compactness is not None
    near = replace(expected, centers=expected.centers + step, compactness=expected.compactness + slack)
    assert near.differences(expected) == ["centres", "compactness"]
    assert near.differences(expected, steps=1) == []
    far = replace(near, centers=expected.centers + 2 * step, compactness=expected.compactness + 1.01 * slack)
    assert far.differences(expected, steps=1) == ["centres", "compactness"]


def test_labels_of_another_shape_have_another_digest() -> None:
    labels = np.arange(12, dtype=np.uint8)
    assert digest_labels(labels.reshape(3, 4)) != digest_labels(labels.reshape(4, 3))
    assert digest_labels(np.asfortranarray(labels.reshape(3, 4))) == digest_labels(labels.reshape(3, 4))
