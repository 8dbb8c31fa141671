"""Time each stage of an image at k = 3, 16 and 256, by pytest-benchmark: `make bench-kernels`.

The result of a stage is compared with the reference, or read back, before the stage is timed. The photo
has 1920 x 1080 pixels; where the reference would take minutes, a small photo is compared. These are not among
the tests of `make test`: a timing is no test.
"""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from benchmarks.photos import photo_1080p
from kseg_batch.backends.registry import load
from kseg_batch.bench.synthetic import cover
from kseg_batch.images import decode, png
from kseg_batch.images.label_map import LabelMap
from kseg_batch.kmeans import reference
from kseg_batch.kmeans.histogram import ColorHistogram
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.optional import import_cv2
from kseg_batch.segmentation import region_cleaner, regions

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pytest_benchmark.fixture import BenchmarkFixture

    from kseg_batch.kmeans.palette import Palette

CLUSTERS = (3, 16, 256)

SMALL = (48, 27)
"""Width and height of the small photo, at which the reference takes seconds at k = 256."""

ONE_ITERATION = 512.0
"""An eps above any shift, at which Lloyd's algorithm over the colours stops after one iteration."""

NUMBA = load("numba")


@cache
def photo() -> NDArray[np.uint8]:
    """Return the (1080, 1920, 3) uint8 RGB photo."""
    return photo_1080p()


@cache
def histogram() -> ColorHistogram:
    """Return the colours of the photo."""
    return NUMBA.histogram(photo())


@cache
def palette(k: int) -> Palette:
    """Return the palette of the photo."""
    return NUMBA.fit(histogram(), FitOptions(k=k))


@cache
def labels(k: int) -> NDArray[np.uint8]:
    """Return the (1080, 1920) uint8 labels of the photo."""
    return NUMBA.assign(photo(), palette(k))


def small_labels(k: int) -> NDArray[np.uint8]:
    """Return the (27, 48) uint8 labels of a small photo."""
    return NUMBA.assign(cover(photo(), *SMALL), palette(k))


def test_histogram(benchmark: BenchmarkFixture) -> None:
    """Count the colours."""
    found, expected = NUMBA.histogram(photo()), ColorHistogram.from_pixels(photo())
    assert np.array_equal(found.codes, expected.codes)
    assert np.array_equal(found.counts, expected.counts)
    benchmark(NUMBA.histogram, photo())


@pytest.mark.parametrize("k", CLUSTERS)
def test_seeding(benchmark: BenchmarkFixture, k: int) -> None:
    """Find the starting centres, and iterate once over all colours."""
    options = FitOptions(k=k, eps=ONE_ITERATION)
    check_fit(options)
    benchmark(NUMBA.fit, histogram(), options)


@pytest.mark.parametrize("k", CLUSTERS)
def test_lloyd(benchmark: BenchmarkFixture, k: int) -> None:
    """Iterate over all colours until no centre moves, after seeding from one start in place of ten."""
    options = FitOptions(k=k, attempts=1, eps=0)
    check_fit(options)
    benchmark(NUMBA.fit, histogram(), options)


@pytest.mark.parametrize("k", CLUSTERS)
def test_labels(benchmark: BenchmarkFixture, k: int) -> None:
    """Find the nearest centre of every pixel."""
    assert np.array_equal(labels(k), reference.assign(photo(), palette(k)))
    benchmark(NUMBA.assign, photo(), palette(k))


@pytest.mark.parametrize("k", CLUSTERS)
def test_smooth(benchmark: BenchmarkFixture, k: int) -> None:
    """Give each pixel the most frequent label of its neighbourhood."""
    small = small_labels(k)
    assert np.array_equal(region_cleaner.smooth(small, k, 1), regions.smoothed(small, k, 1))
    benchmark(region_cleaner.smooth, labels(k), k, 1)


@pytest.mark.parametrize("k", CLUSTERS)
def test_min_region(benchmark: BenchmarkFixture, k: int) -> None:
    """Merge regions of fewer than 50 pixels with their surroundings."""
    small = small_labels(k)
    assert np.array_equal(region_cleaner.merge_small(small, k, 50), regions.merged(small, k, 50))
    benchmark(region_cleaner.merge_small, labels(k), k, 50)


@pytest.mark.parametrize("k", CLUSTERS)
def test_packing(benchmark: BenchmarkFixture, k: int) -> None:
    """Pack the labels into as few bits as possible."""
    packed = LabelMap.pack(labels(k), k)
    bits = np.unpackbits(packed.rows[:, 1:], axis=1).reshape(packed.height, -1, packed.bits)
    unpacked = bits @ (1 << np.arange(packed.bits)[::-1])
    assert np.array_equal(unpacked[:, : packed.width], labels(k))
    benchmark(LabelMap.pack, labels(k), k)


@pytest.mark.parametrize("k", CLUSTERS)
def test_encode_indexed(benchmark: BenchmarkFixture, k: int) -> None:
    """Encode the PNG with the palette."""
    packed, colors = LabelMap.pack(labels(k), k), palette(k).colors
    with Image.open(io.BytesIO(png.encode_indexed(packed, colors))) as picture:
        assert np.array_equal(np.asarray(picture), labels(k))
        assert np.array_equal(np.asarray(picture.convert("RGB")), colors[labels(k)])
    benchmark(png.encode_indexed, packed, colors)


@pytest.mark.parametrize("k", CLUSTERS)
def test_encode_mask(benchmark: BenchmarkFixture, k: int) -> None:
    """Encode the PNG of the largest cluster's mask."""
    packed, cluster = LabelMap.pack(labels(k), k), int(palette(k).counts.argmax())
    with Image.open(io.BytesIO(png.encode_mask(packed, cluster))) as picture:
        assert np.array_equal(np.asarray(picture), labels(k) == cluster)
    benchmark(png.encode_mask, packed, cluster)


def test_decode_jpeg(benchmark: BenchmarkFixture) -> None:
    """Decode the photo as a JPEG file of quality 92."""
    cv2 = import_cv2()
    data = cv2.imencode(".jpg", photo()[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 92))[1].tobytes()
    with Image.open(io.BytesIO(data)) as picture:
        assert np.array_equal(decode.decode(data).rgb, np.asarray(picture))
    benchmark(decode.decode, data)


def check_fit(options: FitOptions) -> None:
    """Require that a fit of a small photo equals that of the reference."""
    small = ColorHistogram.from_pixels(cover(photo(), *SMALL))
    found, expected = NUMBA.fit(small, options), reference.fit(small, options)
    assert np.array_equal(found.fixed_centers, expected.fixed_centers)
    assert np.array_equal(found.counts, expected.counts)
    assert (found.compactness, found.n_iter) == (expected.compactness, expected.n_iter)
