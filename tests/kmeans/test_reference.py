"""The reference itself, against results worked out by hand and published test vectors."""

import numpy as np
import pytest

from kseg_batch.errors import OptionError
from kseg_batch.kmeans import reference
from kseg_batch.kmeans.histogram import ColorHistogram, HistogramSum, from_zorder, zorder
from kseg_batch.kmeans.options import FitOptions
from tests.support.images import blocks, noise, photos


def points_of(*values: int) -> reference.IntArray:
    """Grey points in Q8.6."""
    return np.repeat(np.array(values, np.int64)[:, None] * 64, 3, axis=1)


def test_splitmix64_published_vector() -> None:
    """The first outputs of the published implementation for seed 1234567."""
    assert [reference.splitmix64(1234567, i) for i in range(3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


def test_draw_is_in_proportion_to_mass() -> None:
    masses = np.array([0, 1, 0, 3, 0], np.int64)
    picks = [reference.draw(masses, 0, index) for index in range(4000)]
    assert set(picks) == {1, 3}
    assert 2850 < picks.count(3) < 3150  # 3000 expected, 5 standard deviations are 137


def test_nearest_breaks_ties_by_index() -> None:
    labels, distances = reference.nearest(points_of(0, 1, 2), points_of(2, 0, 0))
    assert labels.tolist() == [1, 0, 0]
    assert distances.tolist() == [0, 3 * 64**2, 0]


def test_means_are_rounded_half_up() -> None:
    points = np.array([[0, 0, 0], [1, 2, 3]], np.int64)
    means, totals = reference.mean_points(points, np.array([1, 1]), np.array([0, 0]), 2)
    assert means.tolist() == [[1, 1, 2], [0, 0, 0]]
    assert totals.tolist() == [2, 0]


def test_lloyd_by_hand() -> None:
    """Greys 0, 0, 0, 10, 20, 30 from centres 0 and 10: the border moves from 5 to 11 and stays."""
    points, weights = points_of(0, 10, 20, 30), np.array([3, 1, 1, 1], np.int64)
    centers, n_iter = reference.lloyd(points, weights, points_of(0, 10), 100, 0)
    # Iteration 1: {0}, {10, 20, 30} -> 0, 20. Then 10 ties and goes to the lower index: -> 10 / 4, 25.
    assert centers.tolist() == [[160, 160, 160], [1600, 1600, 1600]]
    assert n_iter == 3


def test_lloyd_stops_by_max_iter_and_by_shift() -> None:
    points, weights = points_of(0, 10, 20, 30), np.array([3, 1, 1, 1], np.int64)
    assert reference.lloyd(points, weights, points_of(0, 10), 1, 0)[1] == 1
    shift = 3 * (64 * 10) ** 2
    assert reference.lloyd(points, weights, points_of(0, 10), 100, shift)[1] == 1
    assert reference.lloyd(points, weights, points_of(0, 10), 100, shift - 1)[1] == 2


def test_empty_cluster_takes_the_farthest_and_on_a_tie_the_lowest_color() -> None:
    points, weights = points_of(0, 100, 200), np.ones(3, np.int64)
    centers, _ = reference.lloyd(points, weights, points_of(100, 255, 255), 1, 0)
    assert centers.tolist() == points_of(50, 200, 0).tolist()  # 200 is nearer to 255, so 1 is not empty
    centers, _ = reference.lloyd(points, weights, points_of(100, 250, 250)[[0, 0]], 1, 0)
    assert centers.tolist() == points_of(100, 0).tolist()


def test_centers_are_sorted_dark_to_light() -> None:
    red, green, blue, white = [64 * 255, 0, 0], [0, 64 * 255, 0], [0, 0, 64 * 255], [16320] * 3
    centers = np.array([white, green, red, blue], np.int64)
    assert reference.dark_to_light(centers).tolist() == [blue, red, green, white]
    tied = np.array([[0, 299, 0], [587, 0, 0]], np.int64)  # the same luma
    assert reference.dark_to_light(tied).tolist() == tied.tolist()


def test_well_separated_colors_are_found_exactly() -> None:
    colors = [(250, 10, 10), (10, 250, 10), (10, 10, 250), (250, 250, 250)]
    palette = reference.fit(ColorHistogram.from_pixels(blocks(colors)), FitOptions(k=4))
    assert palette.centers.tolist() == [list(colors[i]) for i in (2, 0, 1, 3)]
    assert palette.compactness == 0.0
    assert palette.counts.tolist() == [64, 64 + 4 * 32, 64, 64]


def test_fewer_colors_than_clusters() -> None:
    palette = reference.fit(ColorHistogram.from_pixels(blocks([(0, 0, 0), (1, 0, 0)])), FitOptions(k=5))
    assert palette.centers.tolist() == [[0, 0, 0], [1, 0, 0]]


def test_compactness_is_the_sum_of_squared_distances() -> None:
    image = photos()["coffee"]
    palette = reference.fit(ColorHistogram.from_pixels(image), FitOptions(k=3, attempts=1))
    labels = reference.assign(image, palette)
    expected = ((image - palette.centers[labels]) ** 2).sum()
    assert palette.compactness == pytest.approx(expected, rel=1e-12)  # float64 sums of 720,000 terms


def test_swaps_improve_a_start() -> None:
    points, weights = reference.seeding_points(ColorHistogram.from_pixels(noise(40, 40, seed=11)), 2048)
    start, _ = reference.lloyd(points, weights, reference.kmeans_plus_plus(points, weights, 8, 0, 0), 100, 0)
    swapped = reference.swap_centers(points, weights, start, FitOptions(k=8, eps=0))
    assert reference.cost_of(points, weights, swapped) < reference.cost_of(
        points, weights, start
    )  # by 1.1% here


@pytest.mark.parametrize("k", [1, 64, 256])
def test_seeding_points_are_few_but_enough_and_keep_all_weight(k: int) -> None:
    for image in (noise(300, 300), noise(20, 20), noise(200, 200, 0, 30), photos()["coffee"]):
        histogram = ColorHistogram.from_pixels(image)
        for most in (reference.coarse_points(k), reference.fine_points(k)):
            points, weights = reference.seeding_points(histogram, most)
            assert len(points) == len(np.unique(points, axis=0))
            assert min(histogram.n_colors, k) <= len(points) <= most
            assert weights.sum() == histogram.n_pixels


def test_histograms_of_too_many_pixels_are_refused() -> None:
    one = ColorHistogram.from_pixels(noise(2, 2))
    many = ColorHistogram(one.cells, one.starts, one.slots, one.counts.astype(np.int64) << 43)
    with pytest.raises(OptionError, match="35184372088832 pixels at most"):
        ColorHistogram.merged([many, many, many])


def test_zorder_is_a_bijection_that_keeps_cubes_together() -> None:
    codes = np.arange(1 << 24, dtype=np.uint32)
    assert np.array_equal(zorder(from_zorder(codes)), codes)
    cell = from_zorder(np.arange(512 * 77, 512 * 78, dtype=np.uint32))
    assert (np.ptp(cell, axis=0) == 7).all()
    assert (cell.min(axis=0) % 8 == 0).all()


def test_histograms_add_up() -> None:
    one, other = noise(30, 40, 0, 20, seed=1), noise(50, 10, 10, 30, seed=2)
    glued = np.concatenate([one.reshape(-1, 3), other.reshape(-1, 3)])
    merged = ColorHistogram.merged(ColorHistogram.from_pixels(image) for image in (one, other))
    expected = ColorHistogram.from_pixels(glued)
    assert np.array_equal(merged.codes, expected.codes)
    assert np.array_equal(merged.counts, expected.counts)
    assert merged.counts.dtype == np.uint32
    assert merged.n_pixels == len(glued)
    assert np.array_equal(
        merged.colors, np.unique(glued, axis=0)[np.argsort(zorder(np.unique(glued, axis=0)))]
    )


def test_a_sum_may_be_taken_and_begun_again() -> None:
    one, other = (ColorHistogram.from_pixels(noise(30, 40, low, 20, seed=low)) for low in (0, 9))
    total = HistogramSum()
    for histogram in (one, other):
        total.add(histogram)
        assert total.sum().n_pixels == total.take().n_pixels == 1200
    assert total.take().n_colors == 0
    total.add(one)
    assert np.array_equal(total.sum().codes, one.codes)
    assert np.array_equal(total.sum().counts, one.counts)


def test_sums_of_many_pixels_are_wide() -> None:
    one = ColorHistogram.from_pixels(noise(2, 2))
    many = ColorHistogram(one.cells, one.starts, one.slots, one.counts.astype(np.int64) << 31)
    merged = ColorHistogram.merged([many, many])
    assert merged.counts.tolist() == [1 << 32] * 4
