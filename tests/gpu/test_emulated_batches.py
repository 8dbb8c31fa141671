"""Batches on the emulated device: their order, the memory lent to their results, and failures in between."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kseg_batch.backends.gpu.backend import GpuBackend
from kseg_batch.backends.gpu.batch import BatchItem
from kseg_batch.backends.gpu.device import Variant
from kseg_batch.backends.gpu.layout import Tuning
from kseg_batch.backends.gpu.memory import PinnedPool
from kseg_batch.backends.registry import load
from kseg_batch.errors import BackendError
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.segmentation.segment import segment_with
from tests.gpu.emulator.device import GPU_MEMORY, EmulatedDevice
from tests.support.exactness import assert_batch_equals, assert_equals, assert_items_done, assert_same_palette
from tests.support.gpu import ragged_batch, seven_items
from tests.support.images import AWKWARD, Image, noise


def test_no_launch_has_more_blocks_than_allowed(cache: Path) -> None:
    grids: dict[str, tuple[int, int]] = {}

    class WatchedDevice(EmulatedDevice):
        def launch(self, kernel: str, variant: Variant, grid: tuple[int, int], *rest: Any) -> None:
            grids[kernel] = grid
            super().launch(kernel, variant, grid, *rest)

    device = WatchedDevice(cache, max_blocks=1 << 20, threads=32, memory=GPU_MEMORY)
    gpu = GpuBackend("cupy", device, GPU_MEMORY, Tuning(blocks=12, counted_together=3))
    images = [noise(40, 60, seed=i) for i in range(4)]
    assert_batch_equals(gpu, images, [FitOptions(k=3, attempts=2)] * 4)
    assert grids["count_pixels"] == (5, 1) and grids["drain_table"] == (12, 1)  # of the last image, alone
    assert all(grids[kernel] == (3, 4) for kernel in ("bound_colors", "sum_cubes", "label_pixels"))
    assert grids["start_centers"] == (2, 4) and grids["converge_centers"] == (1, 4)


def test_batches_come_back_in_their_order(emulated: GpuBackend) -> None:
    images, options = ragged_batch(12)
    items = [
        BatchItem(image, wanted, True, i)
        for i, (image, wanted) in enumerate(zip(images, options, strict=True))
    ]
    batches: list[Sequence[BatchItem]] = [items[:1], items[1:5], [], [], items[5:6], items[6:]]
    results = list(emulated.segment_batches(batches))
    assert [result.item.tag for result in results] == list(range(12))
    again = list(emulated.segment_batches([items]))
    for one, other in zip(results, again, strict=True):
        assert one.palette is not None and other.palette is not None
        assert one.labels is not None and other.labels is not None
        assert_same_palette(one.palette, other.palette)
        assert np.array_equal(one.labels.rows, other.labels.rows)


def test_an_empty_batch_brings_the_results_under_way(emulated: GpuBackend) -> None:
    """A slow source does not hold results back."""
    asked: list[int] = []

    def batches() -> Any:
        for i in range(3):
            asked.append(i)
            yield [BatchItem(noise(4, 4, seed=i), FitOptions(k=2), True, i)]
            yield []

    for number, result in enumerate(emulated.segment_batches(batches())):
        assert result.item.tag == number
        assert asked == list(range(number + 1))


def test_results_stay_while_later_batches_run(emulated: GpuBackend) -> None:
    """Host memory is lent for as long as a result refers to the memory, and used again afterwards."""
    batches = [[BatchItem(noise(9, 9, seed=i), FitOptions(k=3, attempts=1), True, i)] for i in range(8)]
    results = list(emulated.segment_batches(batches))
    for (item,), result in zip(batches, results, strict=True):
        expected = segment_with(load("numba"), item.image, item.options)
        assert result.labels is not None
        assert np.array_equal(result.labels.labels, expected.labels)


def test_pinned_memory_is_used_again_when_nothing_refers_to_it(cache: Path) -> None:
    class CountingDevice(EmulatedDevice):
        taken = 0

        def pinned(self, n_bytes: int) -> Image:
            self.taken += 1
            return super().pinned(n_bytes)

    device = CountingDevice(cache)
    pool = PinnedPool(device)
    view = pool.take(100)[10:20]
    pool.take(100)
    pool.take(100)
    assert device.taken == 2
    view[:] = 7
    pool.take(4096)[:] = 1
    assert (view == 7).all()
    del view
    pool.take(4000), pool.take(3000)
    assert device.taken == 2


def test_a_caller_that_stops_early_leaves_nothing_under_way(emulated: GpuBackend) -> None:
    """Otherwise results would arrive in memory that is lent to another caller by then."""
    batches = [[item] for item in seven_items()]
    results = emulated.segment_batches(batches)
    next(results)
    results.close()
    assert_items_done(emulated, seven_items())


def test_one_image_between_two_results_of_a_batch(emulated: GpuBackend) -> None:
    batches = [[item] for item in seven_items()]
    for number, result in enumerate(emulated.segment_batches(batches)):
        assert_equals(emulated, AWKWARD["even steps"], FitOptions(k=3, attempts=1), by_numpy=False)
        assert result.item.tag == number
        expected = segment_with(load("numba"), result.item.image, result.item.options)
        assert result.labels is not None
        assert np.array_equal(result.labels.labels, expected.labels)


class FaultyDevice(EmulatedDevice):
    """A device that fails at one launch."""

    launches_left = -1

    def launch(self, *args: Any) -> None:
        """Run a kernel, or fail at the chosen launch."""
        self.launches_left -= 1
        if self.launches_left == 0:
            raise BackendError("the GPU failed: it has fallen off the bus")
        super().launch(*args)


@pytest.mark.parametrize("n", range(1, 9))
def test_after_a_failure_the_next_batch_is_right(cache: Path, n: int) -> None:
    """Counts that a failed batch left in the tables are not added to the next batch."""
    device = FaultyDevice(cache, memory=GPU_MEMORY)
    gpu = GpuBackend("cupy", device, GPU_MEMORY)
    device.launches_left = n
    with pytest.raises(BackendError, match="off the bus"):
        list(gpu.segment_batches([seven_items()[:2]]))
    assert_items_done(gpu, seven_items()[:3])
    assert_equals(gpu, AWKWARD["gradient"], FitOptions(k=3, attempts=1), by_numpy=False)
    device.launches_left = min(n, 3)
    with pytest.raises(BackendError, match="off the bus"):
        gpu.histogram(AWKWARD["noise"])
    assert_equals(gpu, AWKWARD["gradient"], FitOptions(k=3, attempts=1), by_numpy=False)
