"""The stand-in for a GPU: that it runs what is right, and finds what is wrong."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from kseg_batch.backends.device import DeviceMemoryError, Variant
from tests.emulator import library
from tests.emulator.device import EmulatedDevice
from tests.emulator.library import EmulationError, Order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from kseg_batch.backends.device import Device

KERNELS = r"""
typedef unsigned long long u64;
typedef long long i64;

extern "C" __global__ void __launch_bounds__(512, 1)
block_sums(const int* values, i64 n, u64* sums) {
    __shared__ u64 lanes[512];
    int t = threadIdx.x, i = blockIdx.x * blockDim.x + threadIdx.x;
    lanes[t] = i < n ? values[i] : 0;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if (t < half) lanes[t] += lanes[t + half];
        __syncthreads();
    }
    if (t == 0) sums[blockIdx.x] = lanes[0];
}

extern "C" __global__ void without_barrier(int* values) {
    __shared__ int lanes[512];
    lanes[threadIdx.x] = threadIdx.x;
    values[threadIdx.x] = lanes[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void shared_is_not_zero(int* values) {
    __shared__ int count;
    atomicAdd(&count, 1);
    __syncthreads();
    values[threadIdx.x] = count;
}

extern "C" __global__ void some_end(int* values) {
    if (threadIdx.x == 3) return;
    __syncthreads();
    values[threadIdx.x] = 1;
}

extern "C" __global__ void two_barriers(int* values) {
    if (threadIdx.x % 2) {
        __syncthreads();
    } else {
        __syncthreads();
    }
    values[threadIdx.x] = 1;
}

extern "C" __global__ void touch(int* values, i64 at, i64 writes) {
    if (writes) values[at] = 1;
    else values[0] = values[at];
}

extern "C" __global__ void shift(int* values, i64 by) {
    values[0] = 1 << (int)by;
}

extern "C" __global__ void divide(int* values, i64 by) {
    values[0] = 7 / (int)by;
}

extern "C" __global__ void load_four(const int* values, i64 from, int4* to) {
    to[0] = *(const int4*)(values + from);
}

extern "C" __global__ void index_shared(int* values, i64 at) {
    __shared__ int four[4];
    four[at] = 1;
    values[0] = four[0];
}

extern "C" __global__ void numbers(const int* with_sign, const unsigned* without, u64* out) {
    out[0] = __ffs(with_sign[0]);
    out[1] = min(with_sign[0], without[0]);  // the negative one is taken for a large one, as in CUDA
    out[2] = max((i64)with_sign[0], (i64)without[0]);
    u64 most = ~0ull;
    atomicAdd(&most, 3ull);
    out[3] = most;
    int4 four = make_int4(1, 2, 3, 4);
    out[4] = four.x + 10 * four.y + 100 * four.z + 1000 * four.w + 10000 * gridDim.x;
}
"""

ORDERS: tuple[Order, ...] = ("ascending", "descending", 1, 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("tiny")
    (path / "tiny.cu").write_text(KERNELS, encoding="utf-8")
    return path


@pytest.fixture
def device(folder: Path) -> EmulatedDevice:
    return EmulatedDevice(folder, kernels=folder, memory=1 << 20)


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
        ("some_end", r"kernel some_end, .* thread 0 waits at tiny.cu:\d+, thread 3 has ended"),
        ("two_barriers", r"two_barriers, .* thread 0 waits at tiny.cu:\d+, thread 1 at tiny.cu:\d+"),
    ],
)
def test_divergent_barriers_are_reported(device: EmulatedDevice, kernel: str, message: str) -> None:
    values = on_device(device, range(32))
    for device.order in ORDERS:
        with pytest.raises(EmulationError, match=message):
            launch(device, kernel, values)
    test_a_block_adds_up_through_shared_memory(device, "ascending", 32)  # it goes on working


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
    assert device.free_memory() == 1 << 19  # what is queued holds it
    device.wait(stream)
    assert device.free_memory() == 1 << 20


def test_an_allocation_fails_when_told_to(device: EmulatedDevice) -> None:
    device.fail_at(2)
    device.empty(1, np.uint8)
    with pytest.raises(DeviceMemoryError):
        device.empty(1, np.uint8)
    device.empty(1, np.uint8)


def test_without_a_compiler_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EmulationError, match=r"need g\+\+, which is not installed"):
        library.compile_library(tmp_path, [library.Source("a.cpp", "int a;\n")])


@pytest.mark.parametrize("text", ["int a = ;\n", "static int a;\n"])
def test_errors_and_warnings_of_the_compiler_are_passed_on(tmp_path: Path, text: str) -> None:
    with pytest.raises(EmulationError, match=r"a.cpp:1"):
        library.compile_library(tmp_path, [library.Source("a.cpp", text)])
