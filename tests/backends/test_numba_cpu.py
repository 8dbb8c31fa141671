"""The numba backend equals the NumPy reference, bit for bit."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kseg_batch import segment
from kseg_batch.backends import numba_cpu
from kseg_batch.backends.numba_cpu import CORNERS, Workspace, kernel_colors, kernel_points
from kseg_batch.backends.registry import load
from kseg_batch.errors import OptionError
from kseg_batch.images.label_map import LabelMap
from kseg_batch.kernels import numba_cpu as kernels
from kseg_batch.kmeans import reference
from kseg_batch.kmeans.histogram import CELL_SIZE, ColorHistogram
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.kmeans.palette import Palette
from tests.support.exactness import (
    assert_consistent,
    assert_equals,
    assert_measures_equally,
    assert_same_histogram,
    assert_same_palette,
)
from tests.support.images import AWKWARD, PHOTOS, Image, noise, photos
from tests.support.palettes import random_palette

NUMBA = load("numba")


def assert_equals_reference(image: Image, options: FitOptions) -> None:
    assert_equals(NUMBA, image, options)
    palette = NUMBA.fit(NUMBA.histogram(image), options)
    assert_consistent(image, NUMBA.assign(image, palette), palette)


@pytest.mark.parametrize("k", [1, 2, 3, 5, 16, 256])
@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_images(name: str, k: int) -> None:
    assert_equals_reference(AWKWARD[name], FitOptions(k=k, attempts=2))


@pytest.mark.parametrize("name", PHOTOS)
def test_photos(name: str) -> None:
    assert_equals_reference(photos()[name], FitOptions(k=5, attempts=2))


@pytest.mark.parametrize("k", [1, 2, 64, 256])
def test_photo_with_few_and_many_clusters(k: int) -> None:
    assert_equals_reference(photos()["coffee"][::10, ::10], FitOptions(k=k, attempts=2))


@pytest.mark.parametrize("k", [64, 65])
def test_many_colors_and_many_clusters(k: int) -> None:
    """Coarse and fine points differ, and from k = 65 on the coarse points are more."""
    assert_equals_reference(noise(200, 200, seed=13), FitOptions(k=k, attempts=1, max_iter=2))


LAYOUTS = {
    "contiguous": lambda image: image,
    "channels reversed": lambda image: image[..., ::-1],
    "transposed": lambda image: image.transpose(1, 0, 2),
    "upside down": lambda image: image[::-1],
    "every second column": lambda image: image[:, ::2],
}


@st.composite
def images(draw: st.DrawFn) -> Image:
    """Noise of any contrast, quantised to steps to provoke ties, in any memory layout."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    span = draw(st.sampled_from([1, 2, 3, 9, 40, 256]))
    low = draw(st.integers(0, 256 - span))
    step = draw(st.sampled_from([1, 2, 8, 32]))
    image = noise(height, width, low, low + span, seed=draw(st.integers(0, 1 << 32)))
    view: Image = LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))](image // step * step)
    return view


OPTIONS = st.builds(
    FitOptions,
    k=st.sampled_from([1, 2, 3, 4, 5, 8, 17, 64, 255, 256]),
    attempts=st.integers(1, 3),
    max_iter=st.sampled_from([1, 2, 5, 100]),
    eps=st.sampled_from([0.0, 0.2, 4.0, 1000.0]),
    seed=st.integers(0, (1 << 63) - 1),
)


@given(image=images(), options=OPTIONS)
@settings(max_examples=150, deadline=None)
def test_any_image_and_options(image: Image, options: FitOptions) -> None:
    assert_equals_reference(image, options)


@pytest.mark.parametrize("max_iter", [1, 2, 100])
def test_empty_clusters_move_to_the_farthest_colors(max_iter: int) -> None:
    """From equal centres, all clusters but the first start empty."""
    histogram = ColorHistogram.from_pixels(AWKWARD["cell borders"])
    points = histogram.colors.astype(np.int64) * 64
    start = np.full((7, 3), 64 * 100, np.int64)
    expected, n_iter = reference.lloyd(points, histogram.counts.astype(np.int64), start, max_iter, 0)
    assert max_iter < 3 or len(np.unique(expected, axis=0)) == 7

    colors = kernel_colors(histogram)
    kernels.sum_cells(colors, Workspace().rows)
    centers = np.ascontiguousarray(start.T, dtype=np.int32)
    scratch = (np.empty_like(centers), Workspace().rows, np.empty((7, 4), np.int64), np.empty(7, np.int64))
    assert kernels.lloyd_colors(colors, max_iter, 0, centers, *scratch) == n_iter
    assert np.array_equal(centers.T, expected)


@pytest.mark.parametrize("max_iter", [1, 2, 100])
def test_empty_clusters_of_seeding_points(max_iter: int) -> None:
    histogram = ColorHistogram.from_pixels(AWKWARD["noise"])
    colors, rows = kernel_colors(histogram), Workspace().rows
    kernels.sum_cells(colors, rows)
    found = kernel_points(colors, histogram.n_pixels, 600, 1500, rows)
    start = np.full((5, 3), 64 * 100, np.int64)
    for points, most in zip(found, (600, 1500), strict=True):
        expected_points, weights = reference.seeding_points(histogram, most)
        assert np.array_equal(points.rgb.T, expected_points)
        assert np.array_equal(points.weights, weights)
        expected, _ = reference.lloyd(expected_points, weights, start, max_iter, 0)
        centers = np.ascontiguousarray(start.T, dtype=np.int32)
        scratch = np.empty_like(centers), Workspace().rows, np.empty((5, 4), np.int64)
        cost = kernels.lloyd_points(points, max_iter, 0, centers, *scratch)
        assert np.array_equal(centers.T, expected)
        assert cost == reference.cost_of(expected_points, weights, expected)


def test_counts_beyond_a_byte() -> None:
    """The kernel counts to 255 and begins again."""
    counts = [1, 254, 255, 256, 257, 509, 510, 511, 65_536, 200_000]
    codes = np.repeat(np.arange(len(counts), dtype=np.uint8), counts)
    image = np.random.default_rng(5).permutation(codes)[:, None, None] * np.array([25, 3, 11], np.uint8)
    assert_same_histogram(NUMBA.histogram(image), ColorHistogram.from_pixels(image))
    assert sorted(NUMBA.histogram(image).counts) == counts


@pytest.mark.parametrize("k", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("reach", [255 * 64, 640, 130])
def test_labels_of_any_palette(k: int, reach: int) -> None:
    """Near and far, equal and tied centres; with the image's histogram, without, and for other colours."""
    chance = np.random.default_rng(k * reach)
    for step in (1, 64, 32 * 64):
        fixed = (chance.integers(0, reach + 1, (k, 3)) // step * step).astype(np.int32)
        palette = Palette(fixed, np.zeros(k, np.int64), 0.0, None, "hand")
        for seed in range(3):
            image = noise(40, 50, 0, min(256, reach // 64 + 3), seed=seed)
            expected = reference.assign(image, palette)
            assert np.array_equal(NUMBA.assign(image, palette), expected)
            assert np.array_equal(NUMBA.assign(image, palette, NUMBA.histogram(image)), expected)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 16, 17, 255, 256])
@pytest.mark.parametrize("width", [1, 7, 8, 21])
def test_packed_label_maps(k: int, width: int) -> None:
    image = noise(13, 2 * width, seed=k)[:, ::2]
    fixed = np.random.default_rng(width).integers(0, 255 * 64 + 1, (k, 3), dtype=np.int32)
    palette = Palette(fixed, np.zeros(k, np.int64), 0.0, None, "hand")
    expected = LabelMap.pack(reference.assign(image, palette), k)
    for masks in (False, True):
        found = NUMBA.label_map(image, palette, NUMBA.histogram(image), masks=masks)
        assert np.array_equal(found.rows, expected.rows)
        assert all(np.array_equal(found.mask(j), expected.mask(j)) for j in range(k))


def test_ties_go_to_the_lowest_index() -> None:
    """A pixel halfway between two centres, and one at two equal centres."""
    centers = np.array([[0, 0, 0], [128, 0, 0], [128, 0, 0], [384, 0, 0]], np.int32)
    palette = Palette(centers, np.zeros(4, np.int64), 0.0, 1, "hand")
    image = np.zeros((1, 7, 3), np.uint8)
    image[0, :, 0] = range(7)
    expected = [[0, 0, 1, 1, 1, 3, 3]]
    assert NUMBA.assign(image, palette).tolist() == expected
    assert reference.assign(image, palette).tolist() == expected
    assert load("opencv").assign(image, palette).tolist() == expected


def test_weights_beyond_32_bits() -> None:
    """The merged histogram of a large dataset: counts are int64 and seeding weights are scaled down."""
    image = photos()["chelsea"][::4, ::4]
    small = ColorHistogram.from_pixels(image)
    counts = np.where(small.counts > 1, np.int64(1) << 36, 1)  # some weights round to 0 and count as 1
    huge = ColorHistogram(small.cells, small.starts, small.slots, counts)
    options = FitOptions(k=6, attempts=2)
    assert_same_palette(NUMBA.fit(huge, options), reference.fit(huge, options))


def test_results_do_not_depend_on_threads_or_earlier_work() -> None:
    jobs = [photos()["flower"], *(noise(50, 50, seed=seed) for seed in range(12))]
    expected = [segment(job, 4, backend="numba") for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda job: segment(job, 4, backend="numba"), jobs * 3))
    for one, other in zip(results, expected * 3, strict=True):
        assert np.array_equal(one.labels, other.labels)
        assert_same_palette(one.palette, other.palette)


def test_an_interrupted_histogram_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(kernels, "drain_table", interrupt)
        with pytest.raises(KeyboardInterrupt):
            NUMBA.histogram(noise(20, 20, seed=1))
    image = noise(20, 20, seed=2)
    assert_same_histogram(NUMBA.histogram(image), ColorHistogram.from_pixels(image))


def test_constants_agree_with_the_kernels() -> None:
    assert kernels.CELL_SIZE == CELL_SIZE
    assert CORNERS.shape == (3, 1 << 15)


@pytest.mark.parametrize("name", ["numba", "opencv"])
@pytest.mark.parametrize("image", AWKWARD.values(), ids=AWKWARD)
def test_measuring_a_palette_of_another_image(name: str, image: Image) -> None:
    """Centres in any order, with ties, and more centres than colours: equal to the reference."""
    for k in (1, 3, 9, 256):
        assert_measures_equally(load(name), image, random_palette(k, seed=k))


@given(image=images(), before=images(), options=OPTIONS)
@settings(max_examples=60, deadline=None)
def test_from_a_start_clusters_keep_their_numbers(image: Image, before: Image, options: FitOptions) -> None:
    """The iterations begin at the given centres, in their order, which is kept."""
    histogram = ColorHistogram.from_pixels(image)
    start = reference.fit(ColorHistogram.from_pixels(before), options)
    start = replace(start, fixed_centers=start.fixed_centers[::-1].copy())
    backend = numba_cpu.load()
    if len(start.counts) > histogram.n_colors:
        with pytest.raises(OptionError, match="too many for"):
            backend.fit(histogram, options, start)
        return
    given_centers = start.fixed_centers.copy()
    found = backend.fit(histogram, options, start)
    assert_same_palette(found, reference.fit(histogram, options, start))
    assert np.array_equal(start.fixed_centers, given_centers)


def test_from_its_own_result_a_fit_stands_still() -> None:
    histogram = NUMBA.histogram(photos()["coffee"])
    options = FitOptions(k=5, eps=0.0)
    fitted = NUMBA.fit(histogram, options)
    reversed_ = replace(fitted, fixed_centers=fitted.fixed_centers[::-1].copy())
    again = numba_cpu.load().fit(histogram, options, reversed_)
    assert again.n_iter == 1
    assert np.array_equal(again.fixed_centers, reversed_.fixed_centers)
    assert np.array_equal(again.counts, fitted.counts[::-1])
