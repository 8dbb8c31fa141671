"""The GPU host program and the CUDA kernels equal the reference, on the emulated device.

Threads, whose order is undefined on a GPU, run in several orders.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kseg_batch.backends.gpu.backend import GpuBackend
from kseg_batch.backends.gpu.device import Variant
from kseg_batch.backends.gpu.layout import ROW, STATE, Layout, Request, Tuning, packed
from kseg_batch.backends.gpu.memory import Slot
from kseg_batch.backends.registry import load
from kseg_batch.errors import OptionError
from kseg_batch.kmeans import reference
from kseg_batch.kmeans.color_spaces import convert
from kseg_batch.kmeans.histogram import ColorHistogram
from kseg_batch.kmeans.options import FitOptions
from tests.gpu.emulator.device import GPU_MEMORY, EmulatedDevice
from tests.support.exactness import (
    assert_batch_equals,
    assert_equals,
    assert_measures_equally,
    assert_same_palette,
)
from tests.support.gpu import ragged_batch
from tests.support.images import AWKWARD, PHOTOS, noise, photos
from tests.support.palettes import random_palette


@pytest.mark.parametrize("k", [1, 2, 3, 5, 16, 33, 256])
@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_images(emulated: GpuBackend, name: str, k: int) -> None:
    assert_equals(emulated, AWKWARD[name], FitOptions(k=k, attempts=2), by_numpy=k <= 5)


@pytest.mark.parametrize("name", PHOTOS)
def test_photos(emulated: GpuBackend, name: str) -> None:
    assert_equals(emulated, photos()[name][::2, ::2], FitOptions(k=5, attempts=3), by_numpy=False)


@pytest.mark.parametrize("k", [64, 65])
def test_many_colors_and_many_clusters(emulated: GpuBackend, k: int) -> None:
    """Coarse and fine points differ, and from k = 65 on the coarse points are more."""
    assert_equals(emulated, noise(200, 200, seed=13), FitOptions(k=k, attempts=1, max_iter=2), by_numpy=False)


def test_more_attempts_than_blocks(emulated: GpuBackend) -> None:
    assert_equals(emulated, photos()["chelsea"][::8, ::8], FitOptions(k=6, attempts=35), by_numpy=False)


@given(
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    span=st.sampled_from([1, 2, 9, 40, 256]),
    step=st.sampled_from([1, 8, 32]),
    options=st.builds(
        FitOptions,
        k=st.sampled_from([1, 2, 3, 4, 8, 17, 64, 256]),
        attempts=st.integers(1, 3),
        max_iter=st.sampled_from([1, 2, 5, 100]),
        eps=st.sampled_from([0.0, 0.2, 4.0, 1000.0]),
        seed=st.integers(0, (1 << 63) - 1),
    ),
)
@settings(max_examples=60, deadline=None)
def test_any_image_and_options(
    emulated: GpuBackend, size: tuple[int, int], span: int, step: int, options: FitOptions
) -> None:
    assert_equals(emulated, noise(*size, 0, span, seed=options.seed) // step * step, options, by_numpy=False)


@pytest.mark.parametrize("threads", [1, 2, 32, 64, 512])
@pytest.mark.parametrize("order", ["ascending", "descending", 7])
def test_the_order_and_number_of_threads_do_not_matter(cache: Path, threads: int, order: Any) -> None:
    gpu = GpuBackend(
        "cupy", EmulatedDevice(cache, threads=threads, memory=GPU_MEMORY, order=order), GPU_MEMORY
    )
    for name, k in (("gradient", 3), ("dark noise", 40)):
        assert_equals(gpu, AWKWARD[name], FitOptions(k=k, attempts=2), by_numpy=False)


def test_weights_beyond_32_bits(emulated: GpuBackend) -> None:
    """The merged histogram of a large dataset."""
    small = ColorHistogram.from_pixels(photos()["chelsea"][::4, ::4])
    counts = np.where(small.counts > 1, np.int64(1) << 36, 1)
    huge = ColorHistogram(small.cells, small.starts, small.slots, counts)
    for k in (6, 40):
        options = FitOptions(k=k, attempts=2)
        assert_same_palette(emulated.fit(huge, options), load("numba").fit(huge, options))


@pytest.mark.parametrize("max_iter", [1, 2, 100])
@pytest.mark.parametrize("threads", [1, 32, 64])
@pytest.mark.parametrize("order", ["ascending", "descending", 7])
def test_empty_clusters_move_to_the_farthest_colors(
    cache: Path, max_iter: int, threads: int, order: Any
) -> None:
    """From equal centres, all clusters but the first start empty."""
    device = EmulatedDevice(cache, threads=threads, memory=GPU_MEMORY, order=order)
    histogram = ColorHistogram.from_pixels(AWKWARD["cell borders"])
    points = histogram.colors.astype(np.int64) * 64
    start = np.full((7, 3), 64 * 100, np.int64)
    expected, n_iter = reference.lloyd(points, histogram.counts.astype(np.int64), start, max_iter, 0)

    n = histogram.n_colors
    layout = Layout.of([Request(1, n, FitOptions(k=7, max_iter=max_iter, eps=0), masks=False)])
    state = np.zeros(len(STATE), np.int64)
    state[STATE.index("colors")], state[STATE.index("clusters")] = n, 7
    centers = np.zeros((ROW, 4), np.int32)
    centers[:7, :3] = start
    slot = Slot(device)
    arrays = slot.reserve(layout.arrays(), GPU_MEMORY)
    hosts: dict[str, NDArray[Any]] = {
        "images": layout.images.reshape(-1),
        "states": state,
        "centers": centers.reshape(-1),
        "xyz": packed(points),
        "weights": histogram.counts.astype(np.uint32),
    }
    for name, host in hosts.items():
        device.upload(host, arrays[name][: len(host)], slot.stream)
    both = (arrays["images"], arrays["states"])
    colors = [arrays[name] for name in ("xyz", "weights", "low", "high", "sums")]
    bound = (*both, *colors, *(arrays[name] for name in ("squares", "begun", "cube_sums")))
    device.launch("bound_colors", Variant(), (1, 1), bound, slot.stream)
    converge = (*both, *colors, arrays["centers"], arrays["clusters"])
    device.launch("converge_centers", Variant(), (1, 1), converge, slot.stream)
    device.download(arrays["states"], state, slot.stream)
    device.download(arrays["centers"], centers.reshape(-1), slot.stream)
    device.wait(slot.stream)
    assert state[STATE.index("iterations")] == n_iter
    assert np.array_equal(centers[:7, :3], reference.dark_to_light(expected))


def test_the_variants_of_a_batch_agree(emulated: GpuBackend) -> None:
    """A small k among large ones runs in kernels compiled for 256 clusters."""
    image = photos()["coffee"][::8, ::8]
    few, many = FitOptions(k=3, attempts=2), FitOptions(k=40, attempts=1, max_iter=3)
    assert_batch_equals(emulated, [image] * 3, [few, many, few])
    assert_batch_equals(emulated, [image], [few])


@pytest.mark.parametrize("name", AWKWARD)
def test_measuring_a_palette_of_another_image(emulated: GpuBackend, name: str) -> None:
    for k in (1, 3, 9, 256):
        assert_measures_equally(emulated, AWKWARD[name], random_palette(k, seed=k))


def test_clusters_are_numbered_by_the_lightness_of_their_space(emulated: GpuBackend) -> None:
    options = FitOptions(k=5, attempts=1, color_space="lab")
    image = convert(photos()["coffee"][::8, ::8], "lab")
    assert_equals(emulated, image, options)
    assert_batch_equals(emulated, [image, AWKWARD["noise"]], [options, FitOptions(k=5, attempts=1)])


@pytest.mark.parametrize("n", [1, 2, 5, 17])
def test_a_ragged_batch(emulated: GpuBackend, n: int) -> None:
    assert_batch_equals(emulated, *ragged_batch(n))


def test_a_batch_with_palettes_and_without(emulated: GpuBackend) -> None:
    """Images with given clusters, also more clusters than colours, among images that are fitted."""
    images, options = ragged_batch(17)
    palettes = [random_palette(k, seed=k) if k % 4 else None for k in (*range(1, 16), 33, 256)]
    assert_batch_equals(emulated, images, options, palettes=palettes)


@pytest.mark.parametrize("width", [1, 7, 8, 9, 16, 17])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 8, 17])
def test_packed_rows_of_any_width(emulated: GpuBackend, width: int, k: int) -> None:
    options = [FitOptions(k=k, attempts=1, max_iter=2)] * 2
    assert_batch_equals(emulated, [noise(5, width, seed=k), noise(3, width + 8, seed=width)], options)


@pytest.mark.parametrize("tuning", [Tuning(1, 1), Tuning(7, 2), Tuning(1 << 20, 64)])
def test_sizes_of_a_launch_change_no_result(cache: Path, tuning: Tuning) -> None:
    """Grids of one block for all images together and of many; tables for one image, for some and for all."""
    device = EmulatedDevice(cache, max_blocks=1 << 20, threads=64, memory=GPU_MEMORY)
    gpu = GpuBackend("cupy", device, GPU_MEMORY, tuning)
    images, options = ragged_batch(9)
    images[4] = noise(90, 80, seed=40)
    palettes = [random_palette(5) if i in (2, 8) else None for i in range(9)]
    assert_batch_equals(gpu, images, options, palettes=palettes)


def test_random_init_is_refused(emulated: GpuBackend) -> None:
    with pytest.raises(OptionError, match="cupy has no random init"):
        emulated.check(FitOptions(init="random"))
