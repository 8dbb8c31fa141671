"""Equality, bit for bit, of whatever a backend computes with what the oracle does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.backends.gpu.backend import GpuBackend
from kseg_batch.backends.gpu.batch import BatchItem
from kseg_batch.backends.registry import load
from kseg_batch.images.label_map import LabelMap
from kseg_batch.kmeans import reference
from kseg_batch.kmeans.fixed_point import SCALE
from kseg_batch.kmeans.histogram import ColorHistogram
from kseg_batch.kmeans.palette import Palette

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kseg_batch.backends.base import Backend
    from kseg_batch.kmeans.options import FitOptions
    from tests.support.images import Image


def assert_same_histogram(one: ColorHistogram, other: ColorHistogram) -> None:
    for field in ("cells", "starts", "slots", "counts"):
        left, right = getattr(one, field), getattr(other, field)
        assert left.dtype == right.dtype
        assert np.array_equal(left, right), field


def assert_same_palette(one: Palette, other: Palette) -> None:
    assert np.array_equal(one.fixed_centers, other.fixed_centers)
    assert np.array_equal(one.counts, other.counts)
    assert one.compactness == other.compactness
    assert one.n_iter == other.n_iter
    assert (one.color_space, one.names) == (other.color_space, other.names)


def some_palette(k: int, seed: int = 0) -> Palette:
    """Random centres in no order, of which the last is the first once more, and a name."""
    centers = np.random.default_rng(seed).integers(0, 255 * SCALE + 1, (k, 3)).astype(np.int32)
    centers[-1] = centers[0]
    return Palette(centers, np.zeros(k, np.int64), 0.0, None, "none", "lab", ("one",) + ("",) * (k - 1))


def assert_measures_equally(backend: Backend, image: Image, palette: Palette) -> None:
    """What a palette costs on an image that it was not fitted to: as the oracle has it, and its labels."""
    histogram = ColorHistogram.from_pixels(image)
    measured = backend.measure(histogram, palette)
    assert_same_palette(measured, reference.measure_palette(histogram, palette))
    assert (measured.backend, measured.n_iter) == (backend.name, 0)
    labels = backend.assign(image, palette)
    assert measured.counts.tolist() == np.bincount(labels.reshape(-1), minlength=len(palette.counts)).tolist()


def assert_equals(backend: Backend, image: Image, options: FitOptions, *, oracle: bool = True) -> None:
    """One image, step by step: as NumPy has it, or, where that takes too long, the numba backend."""
    numba = load("numba")
    histogram = ColorHistogram.from_pixels(image) if oracle else numba.histogram(image)
    assert_same_histogram(backend.histogram(image), histogram)
    expected = reference.fit(histogram, options) if oracle else numba.fit(histogram, options)
    palette = backend.fit(histogram, options)
    assert_same_palette(palette, expected)
    labels = backend.assign(image, palette)
    assert labels.dtype == np.uint8
    expected_labels = reference.assign(image, expected) if oracle else numba.assign(image, expected)
    assert np.array_equal(labels, expected_labels)


def assert_batch_equals(
    gpu: GpuBackend,
    images: Sequence[Image],
    options: Sequence[FitOptions],
    *,
    masks: bool = True,
    palettes: Sequence[Palette | None] | None = None,
) -> None:
    """Many images at once, packed and all, as the numba backend does each of them alone."""
    palettes = palettes or [None] * len(images)
    tasks = [
        BatchItem(gpu.stage(image), wanted, masks, number, palette)
        for number, (image, wanted, palette) in enumerate(zip(images, options, palettes, strict=True))
    ]
    results = list(gpu.segment_batches([tasks]))
    assert [result.task.tag for result in results] == list(range(len(images)))
    reference = load("numba")
    for result, image, wanted, palette in zip(results, images, options, palettes, strict=True):
        assert result.labels is not None and result.palette is not None, result.error
        histogram = reference.histogram(image)
        if palette is None:
            expected = reference.fit(histogram, wanted)
        else:
            expected = reference.measure(histogram, palette)
        assert_same_palette(result.palette, expected)
        k = len(expected.counts)
        packed = LabelMap.pack(reference.assign(image, expected), k)
        assert (result.labels.bits, result.labels.width) == (packed.bits, packed.width)
        assert np.array_equal(result.labels.rows, packed.rows)
        assert np.array_equal(result.labels.labels, packed.labels)
        for cluster in range(k if masks else 0):
            assert np.array_equal(result.labels.mask(cluster), packed.mask(cluster))
