"""The emulator: correct kernels run, and wrong kernels are reported."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from kseg_batch.backends.gpu.device import DeviceMemoryError, Variant
from tests.gpu.emulator import library
from tests.gpu.emulator.device import EmulatedDevice
from tests.gpu.emulator.library import EmulationError, Order
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from kseg_batch.backends.gpu.device import Device

TINY_KERNELS = ROOT / "tests/gpu/tiny_kernels"

ORDERS: tuple[Order, ...] = ("ascending", "descending", 1, 2)


@pytest.fixture
def device(cache: Path) -> EmulatedDevice:
    return EmulatedDevice(cache, kernels=TINY_KERNELS, memory=1 << 20)


def launch(
    device: EmulatedDevice, kernel: str, *args: NDArray[Any] | int, grid: tuple[int, int] = (1, 1)
) -> None:
    stream = device.stream()
    device.launch(kernel, Variant(), grid, args, stream)
    device.wait(stream)


def on_device(device: Device, values: Sequence[int] | NDArray[Any]) -> Any:
    host = np.asarray(values, np.int32)
    array, stream = device.empty(len(host), host.dtype), device.stream()
    device.upload(host, array, stream)
    device.wait(stream)
    return array


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("threads", [1, 32, 512])
def test_a_block_adds_up_through_shared_memory(device: EmulatedDevice, order: Order, threads: int) -> None:
    device.threads, device.order = threads, order
    values, sums = on_device(device, range(1000)), device.empty(1000, np.uint64)
    blocks = -(-1000 // threads)
    launch(device, "block_sums", values, 1000, sums, grid=(blocks, 1))
    padded = np.append(np.arange(1000), np.zeros(blocks * threads - 1000, np.int64))
    assert np.array_equal(sums[:blocks], padded.reshape(blocks, threads).sum(axis=1))


def test_a_missing_barrier_shows_in_the_order_of_the_threads(device: EmulatedDevice) -> None:
    results = []
    for device.order in ORDERS:
        values = device.empty(32, np.int32)
        launch(device, "without_barrier", values)
        results.append(values.tolist())
    assert len({tuple(result) for result in results}) == len(ORDERS)


def test_shared_memory_holds_anything(device: EmulatedDevice) -> None:
    values = device.empty(32, np.int32)
    for device.order in ORDERS:
        launch(device, "shared_is_not_zero", values)
        assert values[0] != 32


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("some_end", r"thread 0 waits in __syncthreads at tiny.cu:\d+, thread 3 has ended"),
        (
            "two_barriers",
            r"0 waits in __syncthreads at tiny.cu:\d+, thread 1 in __syncthreads at tiny.cu:\d+",
        ),
    ],
)
def test_divergent_barriers_are_reported(device: EmulatedDevice, kernel: str, message: str) -> None:
    values = on_device(device, range(32))
    for device.order in ORDERS:
        with pytest.raises(EmulationError, match=f"kernel {kernel}, .*divergent barriers: .*{message}"):
            launch(device, kernel, values)
    test_a_block_adds_up_through_shared_memory(device, "ascending", 32)  # the device goes on working


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("threads", [32, 64, 512])
def test_lanes_read_values_of_lanes_of_their_warp(device: EmulatedDevice, order: Order, threads: int) -> None:
    device.threads, device.order = threads, order
    host = np.arange(threads, dtype=np.int32) - 100
    with_sign, without = device.empty(threads, np.int32), device.empty(threads, np.uint32)
    wide = device.empty(threads, np.uint64)
    launch(device, "shuffle", on_device(device, host), with_sign, without, wide)
    warps = host.reshape(-1, 32)
    assert np.array_equal(with_sign, np.roll(warps, -1, axis=1).reshape(-1))
    assert np.array_equal(without, warps[:, ::-1].reshape(-1).astype(np.uint32))
    assert np.array_equal(wide, (np.arange(threads) // 32 * 32 + 5 << 40) | 7)


@pytest.mark.parametrize("order", ORDERS)
def test_a_warp_votes(device: EmulatedDevice, order: Order) -> None:
    device.threads, device.order = 128, order
    values = np.full(128, 256)
    values[[32, 95]] = 0
    votes = device.empty(128, np.int32)
    launch(device, "vote", on_device(device, values), votes)
    assert votes.tolist() == [1] * 32 + [0] * 64 + [1] * 32


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("threads", [32, 256])
def test_a_warp_adds_up_in_several_exchanges(device: EmulatedDevice, order: Order, threads: int) -> None:
    device.threads, device.order = threads, order
    sums = device.empty(threads, np.int32)
    launch(device, "warp_sums", on_device(device, np.arange(threads) ** 2), sums)
    expected = (np.arange(threads).reshape(-1, 32) ** 2).sum(axis=1)
    assert np.array_equal(sums, np.repeat(expected, 32))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("threads", [32, 64, 512])
def test_warps_make_different_numbers_of_exchanges_between_barriers(
    device: EmulatedDevice, order: Order, threads: int
) -> None:
    device.threads, device.order = threads, order
    values = device.empty(threads, np.int32)
    launch(device, "uneven_warps", values)
    expected = np.arange(threads)
    for step in (3, 2, 1):
        warps = expected.reshape(-1, 32)
        moved = [np.roll(lanes, -step * warp) + step * warp for warp, lanes in enumerate(warps)]
        expected = np.concatenate(moved)[::-1]
    assert np.array_equal(values, expected)


def test_an_exchange_is_no_barrier_of_the_block(device: EmulatedDevice) -> None:
    device.threads, results = 64, set()
    for device.order in ORDERS:
        values = device.empty(64, np.int32)
        launch(device, "exchange_for_barrier", values)
        results.add(tuple(values.tolist()))
    assert len(results) > 1


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("lane_ends", r"warp: thread 32 waits in __shfl_sync at tiny.cu:\d+, thread 35 has ended"),
        ("lane_ends_early", r"warp: thread 32 waits in __all_sync at tiny.cu:\d+, thread 63 has ended"),
        ("lane_at_barrier", r"32 waits in __shfl_sync at tiny.cu:\d+, thread 35 in __syncthreads at tiny"),
        ("two_lines", r"32 waits in __shfl_sync at tiny.cu:\d+, thread 35 in __shfl_sync at tiny.cu:\d+"),
        ("shuffle_or_vote", r"32 waits in __all_sync at tiny.cu:\d+, thread 35 in __shfl_sync at tiny.cu"),
        ("short_circuit", r"32 waits in __shfl_sync at tiny.cu:\d+, thread 35 in __all_sync at tiny.cu"),
        ("warp_ends", r"barriers: thread 0 waits in __syncthreads at tiny.cu:\d+, thread 32 has ended"),
        ("half_mask", r"tiny.cu:\d+: the mask of __shfl_sync is 0xFFFF, not 0xFFFFFFFF"),
    ],
)
def test_divergent_warps_are_reported(device: EmulatedDevice, kernel: str, message: str) -> None:
    device.threads = 64
    values = on_device(device, range(64))
    for device.order in ORDERS:
        with pytest.raises(EmulationError, match=f"kernel {kernel}, .*{message}"):
            launch(device, kernel, values)
    test_a_warp_adds_up_in_several_exchanges(device, "ascending", 256)  # the device goes on working


@pytest.mark.parametrize(("threads", "thread", "lanes"), [(1, 0, 1), (8, 0, 8), (48, 32, 16)])
def test_a_warp_that_is_not_full_is_reported(
    device: EmulatedDevice, threads: int, thread: int, lanes: int
) -> None:
    device.threads = threads
    votes = device.empty(threads, np.int32)
    message = rf"divergent warp: thread {thread} waits in __all_sync at tiny.cu:\d+, its warp has {lanes} of"
    for device.order in ORDERS:
        with pytest.raises(EmulationError, match=message):
            launch(device, "vote", on_device(device, range(threads)), votes)


def test_atomics_outside_of_shared_memory_are_counted(device: EmulatedDevice) -> None:
    total, stream = device.empty(1, np.uint64), device.stream()
    device.clear(total, stream)
    device.wait(stream)
    for launches in (1, 2):
        launch(device, "count_twice", total, grid=(3, 1))
        assert device.atomics == {"count_twice": launches * 3 * 33}
        assert total[0] == launches * 3 * 32


@pytest.mark.parametrize("writes", [0, 1])
@pytest.mark.parametrize("at", [8, 9999, -1024, -9999])
def test_an_access_out_of_bounds_is_reported(device: EmulatedDevice, at: int, writes: int) -> None:
    values = on_device(device, range(8))
    place = f"{-4 * at} bytes before the start" if at < 0 else f"{4 * at - 32} bytes after the end"
    with pytest.raises(EmulationError, match=f"kernel touch, .*{place} of argument 0"):
        launch(device, "touch", values, at, writes)


@pytest.mark.parametrize(("at", "place"), [(-2, "8 bytes before the start"), (7, "0 bytes after the end")])
def test_a_write_right_beside_an_array_is_reported(device: EmulatedDevice, at: int, place: str) -> None:
    values = on_device(device, range(7))
    with pytest.raises(EmulationError, match=f"kernel touch writes {place} of argument 0"):
        launch(device, "touch", values, at, 1)


@pytest.mark.parametrize(
    ("kernel", "value", "message"),
    [
        ("shift", 32, "a shift is by too much"),
        ("divide", 0, "a division overflows or is by zero"),
        ("index_shared", 4, "an index is out of its array"),
    ],
)
def test_undefined_behaviour_is_reported(
    device: EmulatedDevice, kernel: str, value: int, message: str
) -> None:
    values = on_device(device, [0])
    launch(device, kernel, values, 1)
    with pytest.raises(EmulationError, match=rf"kernel {kernel}, .* tiny.cu:\d+: {message}"):
        launch(device, kernel, values, value)


def test_a_misaligned_load_is_reported(device: EmulatedDevice) -> None:
    values, four = on_device(device, range(8)), device.empty(4, np.int32)
    launch(device, "load_four", values, 4, four)
    assert four.tolist() == [4, 5, 6, 7]
    with pytest.raises(EmulationError, match="misaligned"):
        launch(device, "load_four", values, 1, four)


def test_functions_of_cuda(device: EmulatedDevice) -> None:
    out = device.empty(5, np.uint64)
    launch(device, "numbers", on_device(device, [-8]), on_device(device, [5]), out, grid=(2, 3))
    assert out.tolist() == [4, 5, 5, 2, 24321]


def test_wrong_arguments_are_reported(device: EmulatedDevice) -> None:
    values = on_device(device, [0])
    with pytest.raises(EmulationError, match="there is no such kernel"):
        launch(device, "nothing", values)
    with pytest.raises(EmulationError, match="it has 2 parameters, and got 1"):
        launch(device, "shift", values)
    with pytest.raises(EmulationError, match="argument 1 has items of 4 bytes, the parameter 0"):
        launch(device, "shift", values, values)
    with pytest.raises(EmulationError, match="argument 0 has items of 8 bytes, the parameter 4"):
        launch(device, "shift", device.empty(1, np.int64), 1)
    with pytest.raises(EmulationError, match="not on this device"):
        launch(device, "shift", np.zeros(1, np.int32), 1)


def test_streams_do_nothing_until_they_are_waited_for(device: EmulatedDevice) -> None:
    host, result = np.arange(4, dtype=np.int32), np.zeros(4, np.int32)
    array, stream = device.empty(4, np.int32), device.stream()
    device.upload(host, array, stream)
    device.clear(array[:2], stream)
    device.download(array, result, stream)
    host[:] = 7  # too early
    assert result.tolist() == [0, 0, 0, 0]
    device.wait(stream)
    assert result.tolist() == [0, 0, 7, 7]


def test_copies_need_equal_lengths_and_types(device: EmulatedDevice) -> None:
    array = device.empty(4, np.int32)
    for host in (np.zeros(3, np.int32), np.zeros(4, np.int64), np.zeros(8, np.int32)[::2]):
        with pytest.raises(EmulationError):
            device.upload(host, array, device.stream())


def test_memory_is_limited_and_comes_back(device: EmulatedDevice) -> None:
    half = device.empty(1 << 19, np.uint8)
    part = half[16:20]
    assert device.free_memory() == 1 << 19
    with pytest.raises(DeviceMemoryError):
        device.empty((1 << 17) + 1, np.int32)
    stream = device.stream()
    device.clear(part, stream)
    del half, part
    gc.collect()
    assert device.free_memory() == 1 << 19  # the queue holds the array
    device.wait(stream)
    assert device.free_memory() == 1 << 20


def test_an_allocation_fails_when_told_to(device: EmulatedDevice) -> None:
    device.fail_at(2)
    device.empty(1, np.uint8)
    with pytest.raises(DeviceMemoryError):
        device.empty(1, np.uint8)
    device.empty(1, np.uint8)


def test_a_missing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EmulationError, match=r"need g\+\+, which is not installed"):
        library.compile_library(tmp_path, [library.Source("a.cpp", "int a;\n")])


@pytest.mark.needs("g++")
@pytest.mark.parametrize("text", ["int a = ;\n", "static int a;\n"])
def test_errors_and_warnings_of_the_compiler_are_passed_on(tmp_path: Path, text: str) -> None:
    with pytest.raises(EmulationError, match=r"a.cpp:1"):
        library.compile_library(tmp_path, [library.Source("a.cpp", text)])
