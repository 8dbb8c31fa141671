"""Memory of the emulated device: batches are split to fit, and halved where an allocation fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.gpu.checks import require_halving
from kseg_batch.backends.gpu.backend import SLOTS, GpuBackend
from kseg_batch.backends.gpu.batch import BatchItem
from kseg_batch.backends.gpu.device import DeviceMemoryError
from kseg_batch.backends.gpu.layout import Layout, Request
from kseg_batch.kmeans.options import FitOptions
from tests.gpu.emulator.device import GPU_MEMORY, EmulatedDevice
from tests.support.exactness import assert_items_done
from tests.support.gpu import seven_items
from tests.support.images import noise
from tests.support.palettes import random_palette


def need(n: int) -> int:
    """Bytes for a batch of the first n of the seven."""
    requests = [
        Request(item.image.shape[0], item.image.shape[1], item.options, True) for item in seven_items()[:n]
    ]
    return Layout.of(requests).n_bytes


@pytest.mark.parametrize("fits", [1, 2, 3, 7])
def test_a_batch_is_split_to_fit(cache: Path, fits: int) -> None:
    """The device has not a byte more than may be used, and nothing runs out."""
    limit = SLOTS * (need(fits) + 1000)
    device = EmulatedDevice(cache, memory=limit)
    gpu = GpuBackend("cupy", device, limit)
    for _ in range(3):
        assert_items_done(gpu, seven_items())


def test_arrays_that_grew_for_one_batch_make_room_for_the_next(cache: Path) -> None:
    """A batch of many small images, and then one large image, fit one after the other."""
    large = BatchItem(noise(900, 1000, 0, 20), FitOptions(k=2, attempts=1), True, 7)
    limit = SLOTS * (need(5) + 1000)
    gpu = GpuBackend("cupy", EmulatedDevice(cache, memory=limit), limit)
    for _ in range(2):
        assert_items_done(gpu, seven_items()[:5])
        assert_items_done(gpu, [large])


@pytest.mark.parametrize("fits", [1, 3])
def test_memory_is_a_bound_at_any_time(cache: Path, fits: int) -> None:
    """Batches on both of their slots, and single images between, as when k is chosen for each image."""
    limit = SLOTS * (need(fits) + 1000)
    device = EmulatedDevice(cache, memory=GPU_MEMORY)
    gpu = GpuBackend("cupy", device, limit)
    for result in gpu.segment_batches([seven_items(), seven_items()]):
        assert result.error is None
        gpu.fit(gpu.histogram(result.item.image), result.item.options)
        gpu.assign(result.item.image, random_palette(3))
    assert limit // 2 < device.most_used <= limit


def test_the_out_of_memory_path_on_a_card_of_any_size(cache: Path) -> None:
    """The same check as on a GPU, where all memory but a little is taken first."""
    spare = need(2) + 1000
    require_halving("cupy", EmulatedDevice(cache, memory=2 * spare), seven_items(), spare)


@pytest.mark.parametrize("fits", [1, 2, 3])
def test_a_device_with_less_memory_than_reported(cache: Path, fits: int) -> None:
    """A batch that runs out of memory is halved, and the run goes on."""
    gpu = GpuBackend("cupy", EmulatedDevice(cache, memory=need(fits) + 1000), GPU_MEMORY)
    assert_items_done(gpu, seven_items())
    assert_items_done(gpu, seven_items())


@pytest.mark.parametrize("n", range(1, 50, 6))
def test_any_allocation_may_fail(cache: Path, n: int) -> None:
    device = EmulatedDevice(cache, memory=GPU_MEMORY)
    gpu = GpuBackend("cupy", device, SLOTS * (need(3) + 1000))
    device.fail_at(n)
    assert_items_done(gpu, seven_items())


def test_an_image_too_large_for_the_device_comes_back_with_the_reason(cache: Path) -> None:
    gpu = GpuBackend("cupy", EmulatedDevice(cache, memory=GPU_MEMORY), SLOTS * (need(1) + 1000))
    large = BatchItem(noise(1000, 1000), FitOptions(k=2), True, "large")
    small = seven_items()[0]
    first, second, third = gpu.segment_batches([[small, large, small]])
    assert first.error is None and third.error is None
    assert second.item.tag == "large"
    assert (second.labels, second.palette) == (None, None)
    assert "MB of GPU memory" in str(second.error)
    with pytest.raises(DeviceMemoryError, match="MB of GPU memory"):
        gpu.histogram(large.image)
