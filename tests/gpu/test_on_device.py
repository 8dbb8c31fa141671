"""Both GPU backends on a real GPU: `make gpu-test`. Elsewhere these tests are skipped, with the reason."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from benchmarks.gpu.checks import require_halving
from kseg_batch.backends.gpu.backend import GpuBackend
from kseg_batch.backends.gpu.batch import BatchItem
from kseg_batch.backends.gpu.options import GpuOptions
from kseg_batch.backends.registry import GPU_BACKENDS, load
from kseg_batch.errors import BackendUnavailableError, OptionError
from kseg_batch.kmeans.color_spaces import convert
from kseg_batch.kmeans.histogram import ColorHistogram
from kseg_batch.kmeans.options import FitOptions
from tests.support.commands import kseg
from tests.support.exactness import (
    assert_batch_equals,
    assert_equals,
    assert_measures_equally,
    assert_same_palette,
)
from tests.support.executors import on_cpu, on_gpu
from tests.support.gpu import ragged_batch
from tests.support.image_files import save
from tests.support.images import AWKWARD, PHOTOS, Image, noise, photos
from tests.support.outputs import pngs
from tests.support.palettes import random_palette

pytestmark = pytest.mark.gpu

Loader = Callable[[str, GpuOptions], GpuBackend]


@pytest.fixture(scope="module")
def open_gpu(request: pytest.FixtureRequest) -> Loader:
    """A function that loads a GPU backend, or skips the test with the reason."""

    def open_it(name: str, options: GpuOptions) -> GpuBackend:
        try:
            return cast("GpuBackend", load(name, options))
        except BackendUnavailableError as error:
            if request.config.getoption("--require-gpu"):
                raise
            pytest.skip(f"{name}: {error}")

    return open_it


@pytest.fixture(params=GPU_BACKENDS, scope="module")
def gpu(request: pytest.FixtureRequest, open_gpu: Loader) -> GpuBackend:
    return open_gpu(request.param, GpuOptions())


@pytest.mark.parametrize("k", [1, 2, 3, 5, 16, 33, 256])
@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_images(gpu: GpuBackend, name: str, k: int) -> None:
    assert_equals(gpu, AWKWARD[name], FitOptions(k=k, attempts=2), by_numpy=k <= 5)


@pytest.mark.parametrize("k", [3, 16, 64])
@pytest.mark.parametrize("name", PHOTOS)
def test_photos(gpu: GpuBackend, name: str, k: int) -> None:
    assert_equals(gpu, photos()[name], FitOptions(k=k), by_numpy=False)


def test_every_k(gpu: GpuBackend) -> None:
    image = photos()["chelsea"][::4, ::4]
    options = [FitOptions(k=k, attempts=2) for k in range(1, 257)]
    for first in range(0, 256, 64):
        assert_batch_equals(gpu, [image] * 64, options[first : first + 64], masks=False)


@pytest.mark.parametrize("name", AWKWARD)
def test_measuring_a_palette_of_another_image(gpu: GpuBackend, name: str) -> None:
    for k in (1, 3, 9, 256):
        assert_measures_equally(gpu, AWKWARD[name], random_palette(k, seed=k))


def test_a_batch_with_palettes_and_without(gpu: GpuBackend) -> None:
    images, options = ragged_batch(33)
    palettes = [random_palette(k, seed=k) if k % 4 else None for k in (*range(1, 32), 33, 256)]
    assert_batch_equals(gpu, images, options, palettes=palettes)


def test_clusters_are_numbered_by_the_lightness_of_their_space(gpu: GpuBackend) -> None:
    assert_equals(gpu, convert(photos()["coffee"], "lab"), FitOptions(k=5, color_space="lab"), by_numpy=False)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 16, 33, 64])
def test_ragged_batches(gpu: GpuBackend, n: int) -> None:
    assert_batch_equals(gpu, *ragged_batch(n))


def test_a_batch_of_photos(gpu: GpuBackend) -> None:
    images = [photos()[PHOTOS[i % len(PHOTOS)]][i:, : 200 + 5 * i] for i in range(64)]
    assert_batch_equals(gpu, images, [FitOptions(k=2 + i % 7) for i in range(64)])


def test_a_hundred_repeats_give_the_same_bytes(gpu: GpuBackend) -> None:
    items = [BatchItem(photos()[name], FitOptions(k=6), masks=True) for name in PHOTOS]

    def digest() -> list[tuple[bytes, ...]]:
        return [
            (
                result.labels.rows.tobytes(),
                result.palette.fixed_centers.tobytes(),
                result.palette.counts.tobytes(),
                repr((result.palette.compactness, result.palette.n_iter)).encode(),
            )
            for result in gpu.segment_batches([items])
            if result.labels is not None and result.palette is not None
        ]

    first = digest()
    assert len(first) == len(PHOTOS)
    for _ in range(99):
        assert digest() == first


def test_two_batches_at_a_time(gpu: GpuBackend) -> None:
    """On two streams, many times over."""
    items = [
        [BatchItem(gpu.stage(photos()[name]), FitOptions(k=4), masks=True, tag=name) for name in PHOTOS]
        for _ in range(12)
    ]
    expected = {
        name: load("numba").fit(load("numba").histogram(photos()[name]), FitOptions(k=4)) for name in PHOTOS
    }
    for result in gpu.segment_batches(items):
        assert result.palette is not None
        assert_same_palette(result.palette, expected[result.item.tag])


def test_two_backends_in_two_threads(gpu: GpuBackend, open_gpu: Loader) -> None:
    """Each backend has its own streams and memory."""
    other = open_gpu(gpu.name, GpuOptions(memory=2 << 30))
    assert other is not gpu
    images = [noise(300, 400, seed=i) for i in range(8)]
    options = [FitOptions(k=5, attempts=3)] * 8
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(assert_batch_equals, one, images, options) for one in (gpu, other) * 3]:
            done.result()


def test_from_several_threads(gpu: GpuBackend) -> None:
    images = [noise(60, 70, seed=i) for i in range(12)]
    with ThreadPoolExecutor(4) as pool:
        for done in [
            pool.submit(assert_equals, gpu, image, FitOptions(k=4, attempts=1), by_numpy=False)
            for image in images
        ]:
            done.result()


def test_counts_of_64_bits(gpu: GpuBackend) -> None:
    small = ColorHistogram.from_pixels(photos()["chelsea"][::4, ::4])
    counts = np.where(small.counts > 1, np.int64(1) << 36, 1)
    huge = ColorHistogram(small.cells, small.starts, small.slots, counts)
    for k in (6, 40):
        assert_same_palette(gpu.fit(huge, FitOptions(k=k)), load("numba").fit(huge, FitOptions(k=k)))


@pytest.mark.parametrize("colors", ["photo", "noise"])
def test_a_hundred_megapixels(gpu: GpuBackend, colors: str) -> None:
    image: Image = noise(10000, 10000)
    if colors == "photo":
        image = np.tile(photos()["coffee"], (25, 17, 1))[:10000, :10000]
    assert_equals(gpu, image, FitOptions(k=3, attempts=2), by_numpy=False)
    assert_batch_equals(gpu, [image], [FitOptions(k=3, attempts=2)])


def test_memory_is_bounded(gpu: GpuBackend, open_gpu: Loader) -> None:
    """Little memory splits the batch; an image that cannot fit comes back with the reason."""
    small = open_gpu(gpu.name, GpuOptions(memory=400 << 20))
    images = [photos()[name] for name in PHOTOS]
    assert_batch_equals(small, images * 3, [FitOptions(k=3)] * 15)
    (result,) = small.segment_batches([[BatchItem(noise(6000, 6000), FitOptions(k=3), masks=True)]])
    assert "MB of GPU memory" in str(result.error)


def test_the_out_of_memory_path_on_a_card_of_any_size(gpu: GpuBackend) -> None:
    """All memory but 1 GiB is taken; then batches are halved, and every image is done."""
    image = np.tile(photos()["coffee"], (10, 10, 1))  # 24 megapixels, 0.4 GB each
    items = [BatchItem(image, FitOptions(k=2, attempts=1), masks=False, tag=i) for i in range(4)]
    require_halving(gpu.name, gpu._device, items, spare=1 << 30)


def test_a_device_that_is_not_there(gpu: GpuBackend) -> None:
    with pytest.raises(OptionError, match="There is no GPU 99"):
        load(gpu.name, GpuOptions(device=99))


def test_a_run_writes_the_same_as_on_the_cpu(gpu: GpuBackend, tmp_path: Path) -> None:
    source = tmp_path / "photos"
    for i in range(40):
        save(photos()[PHOTOS[i % len(PHOTOS)]][i:, 2 * i :], source / f"{i:02}.jpg")
    (source / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    outcomes, lost = on_gpu(source, tmp_path / "gpu", gpu, 4)
    on_cpu(source, tmp_path / "cpu", 4)
    assert not lost
    assert sorted(o.status for o in outcomes) == ["done"] * 40 + ["failed"]
    assert pngs(tmp_path / "gpu") == pngs(tmp_path / "cpu")


def test_the_command_line(gpu: GpuBackend, tmp_path: Path) -> None:
    save(photos()["coffee"], tmp_path / "coffee.png")
    flags = ("--require-gpu", "--device", 0, "--backend", gpu.name, "--gpu-memory", "1G")
    result = kseg("run", "coffee.png", *flags, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"images/s with {gpu.name}" in result.stdout
    assert (tmp_path / "coffee.png-kseg/masks/coffee_mask2.png").is_file()


@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
def test_compute_sanitizer_is_clean(gpu: GpuBackend, tool: str, tmp_path: Path) -> None:
    sanitizer = shutil.which("compute-sanitizer", path=f"{os.environ.get('PATH')}:/usr/local/cuda/bin")
    if sanitizer is None:
        pytest.skip("compute-sanitizer is not installed")
    code = f"""
from kseg_batch.backends.registry import load
from kseg_batch.kmeans.options import FitOptions
from tests.support.exactness import assert_batch_equals, assert_equals
from tests.support.images import AWKWARD
gpu = load({gpu.name!r})
for name in ("gradient", "dark noise", "row"):
    assert_equals(gpu, AWKWARD[name], FitOptions(k=5, attempts=2), by_numpy=False)
assert_batch_equals(gpu, [AWKWARD["noise"], AWKWARD["1x1"]], [FitOptions(k=40, attempts=1), FitOptions(k=1)])
"""
    command = [sanitizer, "--tool", tool, "--error-exitcode", "9", sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, timeout=580, check=False)
    if "Device not supported" in result.stdout:
        pytest.skip("compute-sanitizer does not support this device here")
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]
