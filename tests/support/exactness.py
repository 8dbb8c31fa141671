"""Equality, bit for bit, of the results of a backend with those of the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.testing import assert_array_equal

from kseg_batch.backends.gpu.backend import GpuBackend
from kseg_batch.backends.gpu.batch import BatchItem
from kseg_batch.backends.registry import load
from kseg_batch.images.label_map import LabelMap
from kseg_batch.kmeans import reference
from kseg_batch.kmeans.fixed_point import SCALE
from kseg_batch.kmeans.histogram import ColorHistogram
from kseg_batch.kmeans.palette import Palette
from kseg_batch.segmentation.segment import segment_with

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from kseg_batch.backends.base import Backend
    from kseg_batch.kmeans.options import FitOptions
    from tests.support.images import Image


def greatest_difference(one: NDArray[Any], other: NDArray[Any]) -> int:
    """The greatest difference between two images, in steps of a channel."""
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def assert_same_histogram(one: ColorHistogram, other: ColorHistogram) -> None:
    """Check colours and counts, and their types."""
    for field in ("cells", "starts", "slots", "counts"):
        assert_array_equal(getattr(one, field), getattr(other, field), field, strict=True)


def assert_same_palette(one: Palette, other: Palette) -> None:
    """Check all but the name of the backend."""
    assert_array_equal(one.fixed_centers, other.fixed_centers, strict=True)
    assert_array_equal(one.counts, other.counts, strict=True)
    assert one.compactness == other.compactness
    assert one.n_iter == other.n_iter
    assert (one.color_space, one.names) == (other.color_space, other.names)
    assert_array_equal(one.mean_colors, other.mean_colors, strict=True)


def assert_same_labels(one: LabelMap, other: LabelMap, masks: int) -> None:
    """Check packed labels, and as many masks as are wanted."""
    assert (one.bits, one.width) == (other.bits, other.width)
    assert_array_equal(one.rows, other.rows)
    assert_array_equal(one.labels, other.labels)
    for cluster in range(masks):
        assert_array_equal(one.mask(cluster), other.mask(cluster))


def assert_consistent(image: Image, labels: Image, palette: Palette) -> None:
    """Check that labels are those of the nearest centres, and counts and compactness those of the labels."""
    k = len(palette.counts)
    assert_array_equal(np.bincount(labels.ravel(), minlength=k), palette.counts)
    pixels = image.reshape(-1, 3).astype(np.int64) * SCALE
    distances = ((pixels[:, None] - palette.fixed_centers[None]) ** 2).sum(axis=2)
    assert_array_equal(labels.ravel(), distances.argmin(axis=1))
    assert palette.compactness == int(distances.min(axis=1).sum()) / SCALE**2


def assert_measures_equally(backend: Backend, image: Image, palette: Palette) -> None:
    """Check the cost of a palette on an image that the palette was not fitted to, and the labels."""
    histogram = ColorHistogram.from_pixels(image)
    measured = backend.measure(histogram, palette)
    assert_same_palette(measured, reference.measure_palette(histogram, palette))
    assert (measured.backend, measured.n_iter) == (backend.name, 0)
    labels = backend.assign(image, palette)
    assert measured.counts.tolist() == np.bincount(labels.reshape(-1), minlength=len(palette.counts)).tolist()


def assert_equals(backend: Backend, image: Image, options: FitOptions, *, by_numpy: bool = True) -> None:
    """Check one image, step by step, against NumPy, or, where NumPy takes too long, the numba backend."""
    numba = load("numba")
    histogram = ColorHistogram.from_pixels(image) if by_numpy else numba.histogram(image)
    assert_same_histogram(backend.histogram(image), histogram)
    expected = reference.fit(histogram, options) if by_numpy else numba.fit(histogram, options)
    palette = backend.fit(histogram, options)
    assert_same_palette(palette, expected)
    labels = backend.assign(image, palette)
    assert labels.dtype == np.uint8
    expected_labels = reference.assign(image, expected) if by_numpy else numba.assign(image, expected)
    assert np.array_equal(labels, expected_labels)


def assert_batch_equals(
    gpu: GpuBackend,
    images: Sequence[Image],
    options: Sequence[FitOptions],
    *,
    masks: bool = True,
    palettes: Sequence[Palette | None] | None = None,
) -> None:
    """Check the packed results of many images at once against the numba backend, image by image."""
    palettes = palettes or [None] * len(images)
    items = [
        BatchItem(gpu.stage(image), wanted, masks, number, palette)
        for number, (image, wanted, palette) in enumerate(zip(images, options, palettes, strict=True))
    ]
    results = list(gpu.segment_batches([items]))
    assert [result.item.tag for result in results] == list(range(len(images)))
    numba = load("numba")
    for result, image, wanted, palette in zip(results, images, options, palettes, strict=True):
        assert result.labels is not None and result.palette is not None, result.error
        histogram = numba.histogram(image)
        expected = numba.fit(histogram, wanted) if palette is None else numba.measure(histogram, palette)
        assert_same_palette(result.palette, expected)
        k = len(expected.counts)
        packed = LabelMap.pack(numba.assign(image, expected), k)
        assert_same_labels(result.labels, packed, masks=k if masks else 0)


def assert_items_done(gpu: GpuBackend, items: Sequence[BatchItem]) -> None:
    """Check that a batch brings the result of every item, in their order."""
    results = list(gpu.segment_batches([items]))
    assert [result.item.tag for result in results] == [item.tag for item in items]
    for result in results:
        expected = segment_with(load("numba"), result.item.image, result.item.options)
        assert result.palette is not None and result.labels is not None
        assert_same_palette(result.palette, expected.palette)
        assert_array_equal(result.labels.labels, expected.labels)
