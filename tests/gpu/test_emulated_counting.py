"""Counting colours on the emulated device: pixels of one colour are added up in the warp before the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kseg_batch.backends.gpu.backend import GpuBackend
from kseg_batch.backends.gpu.layout import PIXEL_ALIGNMENT
from kseg_batch.kmeans.histogram import ColorHistogram
from kseg_batch.kmeans.options import FitOptions
from tests.gpu.emulator.device import GPU_MEMORY, EmulatedDevice
from tests.support.exactness import assert_batch_equals, assert_equals, assert_same_histogram
from tests.support.images import Image, flat, noise

WARP_PIXELS = 32 * PIXEL_ALIGNMENT
"""Pixels that a warp of count_pixels takes at a time."""


@pytest.mark.parametrize("order", ["ascending", "descending", 7])
@pytest.mark.parametrize(
    ("threads", "n", "atomics"),
    [
        (32, 4 * WARP_PIXELS, 4),
        (64, 4 * WARP_PIXELS, 4),
        (512, 4 * WARP_PIXELS, 4),
        (64, 4 * WARP_PIXELS - 1, 3 + 32),
        (64, 4 * WARP_PIXELS + 1, 4 + 1),
        (32, WARP_PIXELS - 16, 31),
        (16, 4 * WARP_PIXELS, 4 * 32),  # no full warps
        (1, 4 * WARP_PIXELS, 4 * 32),
    ],
)
def test_a_warp_of_one_color_adds_to_the_table_once(
    cache: Path, threads: int, n: int, atomics: int, order: Any
) -> None:
    device = EmulatedDevice(cache, threads=threads, memory=GPU_MEMORY, order=order)
    image = flat(1, n)
    histogram = GpuBackend("cupy", device, GPU_MEMORY).histogram(image)
    assert_same_histogram(histogram, ColorHistogram.from_pixels(image))
    assert device.atomics["count_pixels"] == atomics + 1  # one more for the cell


def about(n: int) -> tuple[int, int, int]:
    return n - 1, n, n + 1


def nearly_flat() -> dict[str, Image]:
    """White images with a few other pixels, of about as many pixels as a warp takes."""
    images = {f"white {n}": flat(1, n, (255, 255, 255)) for n in (1, *about(WARP_PIXELS), *about(2048))}
    for n in (*about(WARP_PIXELS), *about(2048)):
        for place in (0, 15, 16, WARP_PIXELS - 1, n - 1):
            if place < n:
                images[f"dot {n} {place}"] = image = flat(1, n, (255, 255, 255))
                image[0, place] = (255, 255, 254)
    for begin, end in ((0, 512), (16, 528), (500, 1100), (1024, 1040), (1, 2000)):
        images[f"stripe {begin} {end}"] = image = flat(1, 2067, (255, 255, 255))
        image[0, begin:end] = (3, 2, 1)
    images["margins"] = image = flat(50, 67, (255, 255, 255))
    image[20:30, 5:40] = noise(10, 35, seed=8)
    images["a colour for each lane"] = np.repeat(noise(1, 64, seed=9), 16, axis=1)
    images["a colour for each warp"] = np.repeat(noise(1, 5, seed=9), WARP_PIXELS, axis=1)
    return images


@pytest.mark.parametrize("threads", [1, 16, 32, 64, 512])
@pytest.mark.parametrize("order", ["ascending", "descending", 7])
def test_images_that_are_flat_in_part(cache: Path, threads: int, order: Any) -> None:
    gpu = GpuBackend(
        "cupy", EmulatedDevice(cache, threads=threads, memory=GPU_MEMORY, order=order), GPU_MEMORY
    )
    images = nearly_flat()
    for image in images.values():
        assert_same_histogram(gpu.histogram(image), ColorHistogram.from_pixels(image))
    names = ("white 513", "dot 2047 2046", "stripe 500 1100", "margins", "a colour for each warp")
    for k in (1, 2, 3):
        assert_batch_equals(gpu, [images[name] for name in names], [FitOptions(k=k, attempts=2)] * 5)
        for name in names:
            assert_equals(gpu, images[name], FitOptions(k=k, attempts=1))
