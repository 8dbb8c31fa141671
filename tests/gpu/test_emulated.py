"""The GPU host program and the CUDA kernels, without a GPU: the kernels run on the CPU, emulated.

What the kernels would do on a real device in an undefined order, the emulator does in several orders.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.gpu.checks import require_halving
from kseg_batch.backends import load
from kseg_batch.backends.gpu.backend import SLOTS, GpuBackend, Task
from kseg_batch.backends.gpu.device import DeviceMemoryError, Variant
from kseg_batch.backends.gpu.layout import (
    BY_LUMA,
    IMAGE,
    PIXEL_ALIGNMENT,
    ROW,
    STATE,
    TABLE_BYTES,
    Layout,
    Request,
    Tuning,
    packed,
)
from kseg_batch.backends.gpu.memory import PinnedPool, Slot
from kseg_batch.errors import BackendError, OptionError
from kseg_batch.kmeans import reference
from kseg_batch.kmeans.color_spaces import convert
from kseg_batch.kmeans.histogram import ColorHistogram
from kseg_batch.kmeans.options import FitOptions, GpuOptions, parse_bytes
from kseg_batch.segmentation.segment import segment_with
from tests.gpu.emulator.device import GPU_MEMORY, EmulatedDevice
from tests.support.exactness import (
    assert_batch_equals,
    assert_equals,
    assert_measures_equally,
    assert_same_histogram,
    assert_same_palette,
    assert_tasks_done,
)
from tests.support.gpu import ragged_batch, seven_tasks
from tests.support.images import AWKWARD, PHOTOS, Image, flat, noise, photos
from tests.support.palettes import random_palette

# ---- equality --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3, 5, 16, 33, 256])
@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_images(emulated: GpuBackend, name: str, k: int) -> None:
    assert_equals(emulated, AWKWARD[name], FitOptions(k=k, attempts=2), oracle=k <= 5)


@pytest.mark.parametrize("name", PHOTOS)
def test_photos(emulated: GpuBackend, name: str) -> None:
    assert_equals(emulated, photos()[name][::2, ::2], FitOptions(k=5, attempts=3), oracle=False)


@pytest.mark.parametrize("k", [64, 65])
def test_many_colors_and_many_clusters(emulated: GpuBackend, k: int) -> None:
    """Coarse and fine points differ, and 64 to 65 is where the coarse ones become more."""
    assert_equals(emulated, noise(200, 200, seed=13), FitOptions(k=k, attempts=1, max_iter=2), oracle=False)


def test_more_attempts_than_blocks(emulated: GpuBackend) -> None:
    assert_equals(emulated, photos()["chelsea"][::8, ::8], FitOptions(k=6, attempts=35), oracle=False)


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
    assert_equals(emulated, noise(*size, 0, span, seed=options.seed) // step * step, options, oracle=False)


@pytest.mark.parametrize("threads", [1, 2, 32, 64, 512])
@pytest.mark.parametrize("order", ["ascending", "descending", 7])
def test_the_order_and_number_of_threads_do_not_matter(cache: Path, threads: int, order: Any) -> None:
    gpu = GpuBackend(
        "cupy", EmulatedDevice(cache, threads=threads, memory=GPU_MEMORY, order=order), GPU_MEMORY
    )
    for name, k in (("gradient", 3), ("dark noise", 40)):
        assert_equals(gpu, AWKWARD[name], FitOptions(k=k, attempts=2), oracle=False)


WARP_PIXELS = 32 * PIXEL_ALIGNMENT
"""What a warp of count_pixels takes at a time."""


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
    assert device.atomics["count_pixels"] == atomics + 1  # the one for the cell


def about(n: int) -> tuple[int, int, int]:
    return n - 1, n, n + 1


def nearly_flat() -> dict[str, Image]:
    """Images that are white but for some pixels, of sizes about that of a warp's share."""
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


# ---- ragged batches --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5, 17])
def test_a_ragged_batch(emulated: GpuBackend, n: int) -> None:
    assert_batch_equals(emulated, *ragged_batch(n))


def test_a_batch_with_palettes_and_without(emulated: GpuBackend) -> None:
    """Images whose clusters are given, also more than they have colours, among those that are fitted."""
    images, options = ragged_batch(17)
    palettes = [random_palette(k, seed=k) if k % 4 else None for k in (*range(1, 16), 33, 256)]
    assert_batch_equals(emulated, images, options, palettes=palettes)


@pytest.mark.parametrize("width", [1, 7, 8, 9, 16, 17])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 8, 17])
def test_packed_rows_of_any_width(emulated: GpuBackend, width: int, k: int) -> None:
    options = [FitOptions(k=k, attempts=1, max_iter=2)] * 2
    assert_batch_equals(emulated, [noise(5, width, seed=k), noise(3, width + 8, seed=width)], options)


def test_what_travels_back_is_at_most_a_byte_a_pixel() -> None:
    for k in range(1, 257):
        request = Request(480, 640, FitOptions(k=k), masks=True)
        filter_types = 480 * (1 + k)
        assert request.output_bytes <= 480 * 640 + filter_types


@pytest.mark.parametrize("tuning", [Tuning(1, 1), Tuning(7, 2), Tuning(1 << 20, 64)])
def test_sizes_of_a_launch_change_no_result(cache: Path, tuning: Tuning) -> None:
    """Grids of one block for all images together and of many; tables for one image, for some and for all."""
    device = EmulatedDevice(cache, max_blocks=1 << 20, threads=64, memory=GPU_MEMORY)
    gpu = GpuBackend("cupy", device, GPU_MEMORY, tuning)
    images, options = ragged_batch(9)
    images[4] = noise(90, 80, seed=40)
    palettes = [random_palette(5) if i in (2, 8) else None for i in range(9)]
    assert_batch_equals(gpu, images, options, palettes=palettes)


def test_tables_are_for_so_many_images_as_are_counted_together(cache: Path) -> None:
    """They are most of what a small image needs."""
    requests = [Request(30, 40, FitOptions(k=3), masks=True)] * 64
    few, all_of_them = (Layout.of(requests, Tuning(counted_together=n)) for n in (8, 64))
    assert few.arrays()["table"] == (8 << 24, "u4")
    assert all_of_them.n_bytes - few.n_bytes == 56 * TABLE_BYTES


def test_no_launch_has_more_blocks_than_it_may(cache: Path) -> None:
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
    tasks = [
        Task(image, wanted, True, i) for i, (image, wanted) in enumerate(zip(images, options, strict=True))
    ]
    batches: list[Sequence[Task]] = [tasks[:1], tasks[1:5], [], [], tasks[5:6], tasks[6:]]
    results = list(emulated.segment_batches(batches))
    assert [result.task.tag for result in results] == list(range(12))
    again = list(emulated.segment_batches([tasks]))
    for one, other in zip(results, again, strict=True):
        assert one.palette is not None and other.palette is not None
        assert one.labels is not None and other.labels is not None
        assert_same_palette(one.palette, other.palette)
        assert np.array_equal(one.labels.rows, other.labels.rows)


def test_an_empty_batch_brings_what_is_under_way(emulated: GpuBackend) -> None:
    """So a slow source does not hold results back."""
    asked: list[int] = []

    def batches() -> Any:
        for i in range(3):
            asked.append(i)
            yield [Task(noise(4, 4, seed=i), FitOptions(k=2), True, i)]
            yield []

    for number, result in enumerate(emulated.segment_batches(batches())):
        assert result.task.tag == number
        assert asked == list(range(number + 1))


def test_results_stay_while_later_batches_run(emulated: GpuBackend) -> None:
    """Host memory is lent for as long as anybody looks at it, and used again afterwards."""
    tasks = [[Task(noise(9, 9, seed=i), FitOptions(k=3, attempts=1), True, i)] for i in range(8)]
    results = list(emulated.segment_batches(tasks))
    for task, result in zip(tasks, results, strict=True):
        expected = segment_with(load("numba"), task[0].image, task[0].options)
        assert result.labels is not None
        assert np.array_equal(result.labels.labels, expected.labels)


def test_pinned_memory_is_used_again_when_nobody_looks_at_it(cache: Path) -> None:
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
    """Otherwise results would arrive in memory that is lent to somebody else by then."""
    batches = [[task] for task in seven_tasks()]
    results = emulated.segment_batches(batches)
    next(results)
    results.close()
    assert_tasks_done(emulated, seven_tasks())


def test_one_image_between_two_results_of_a_batch(emulated: GpuBackend) -> None:
    batches = [[task] for task in seven_tasks()]
    for number, result in enumerate(emulated.segment_batches(batches)):
        assert_equals(emulated, AWKWARD["even steps"], FitOptions(k=3, attempts=1), oracle=False)
        assert result.task.tag == number
        expected = segment_with(load("numba"), result.task.image, result.task.options)
        assert result.labels is not None
        assert np.array_equal(result.labels.labels, expected.labels)


# ---- memory ----------------------------------------------------------------------------------------------


def need(n: int) -> int:
    """Bytes for a batch of the first n of the seven."""
    requests = [
        Request(task.image.shape[0], task.image.shape[1], task.options, True) for task in seven_tasks()[:n]
    ]
    return Layout.of(requests).n_bytes


@pytest.mark.parametrize("fits", [1, 2, 3, 7])
def test_a_batch_is_split_to_fit(cache: Path, fits: int) -> None:
    """The device has not a byte more than may be used, and nothing runs out."""
    limit = SLOTS * (need(fits) + 1000)
    device = EmulatedDevice(cache, memory=limit)
    gpu = GpuBackend("cupy", device, limit)
    for _ in range(3):
        assert_tasks_done(gpu, seven_tasks())


def test_arrays_that_grew_for_one_batch_make_room_for_the_next(cache: Path) -> None:
    """A batch of many small images, and then one large image, fit one after the other."""
    large = Task(noise(900, 1000, 0, 20), FitOptions(k=2, attempts=1), True, 7)
    limit = SLOTS * (need(5) + 1000)
    gpu = GpuBackend("cupy", EmulatedDevice(cache, memory=limit), limit)
    for _ in range(2):
        assert_tasks_done(gpu, seven_tasks()[:5])
        assert_tasks_done(gpu, [large])


@pytest.mark.parametrize("fits", [1, 3])
def test_memory_is_a_bound_whatever_goes_on(cache: Path, fits: int) -> None:
    """Batches on both of their slots, and single images between, as when k is chosen for each image."""
    limit = SLOTS * (need(fits) + 1000)
    device = EmulatedDevice(cache, memory=GPU_MEMORY)
    gpu = GpuBackend("cupy", device, limit)
    for result in gpu.segment_batches([seven_tasks(), seven_tasks()]):
        assert result.error is None
        gpu.fit(gpu.histogram(result.task.image), result.task.options)
        gpu.assign(result.task.image, random_palette(3))
    assert limit // 2 < device.most_used <= limit


def test_the_out_of_memory_path_on_a_card_of_any_size(cache: Path) -> None:
    """The same check as on a GPU, where all memory but a little is taken first."""
    spare = need(2) + 1000
    require_halving("cupy", EmulatedDevice(cache, memory=2 * spare), seven_tasks(), spare)


@pytest.mark.parametrize("fits", [1, 2, 3])
def test_a_device_with_less_memory_than_it_told(cache: Path, fits: int) -> None:
    """A batch that runs out of memory is halved, and the run goes on."""
    gpu = GpuBackend("cupy", EmulatedDevice(cache, memory=need(fits) + 1000), GPU_MEMORY)
    assert_tasks_done(gpu, seven_tasks())
    assert_tasks_done(gpu, seven_tasks())


@pytest.mark.parametrize("n", range(1, 50, 6))
def test_any_allocation_may_fail(cache: Path, n: int) -> None:
    device = EmulatedDevice(cache, memory=GPU_MEMORY)
    gpu = GpuBackend("cupy", device, SLOTS * (need(3) + 1000))
    device.fail_at(n)
    assert_tasks_done(gpu, seven_tasks())


def test_an_image_too_large_for_the_device_comes_back_with_the_reason(cache: Path) -> None:
    gpu = GpuBackend("cupy", EmulatedDevice(cache, memory=GPU_MEMORY), SLOTS * (need(1) + 1000))
    large = Task(noise(1000, 1000), FitOptions(k=2), True, "large")
    small = seven_tasks()[0]
    first, second, third = gpu.segment_batches([[small, large, small]])
    assert first.error is None and third.error is None
    assert second.task.tag == "large"
    assert (second.labels, second.palette) == (None, None)
    assert "MB of GPU memory" in str(second.error)
    with pytest.raises(DeviceMemoryError, match="MB of GPU memory"):
        gpu.histogram(large.image)


class FaultyDevice(EmulatedDevice):
    """Fails at a launch, as a lost device does."""

    launches_left = -1

    def launch(self, *args: Any) -> None:
        """Run a kernel, unless its turn to fail has come."""
        self.launches_left -= 1
        if self.launches_left == 0:
            raise BackendError("the GPU failed: it has fallen off the bus")
        super().launch(*args)


@pytest.mark.parametrize("n", range(1, 9))
def test_after_a_failure_the_next_batch_is_right(cache: Path, n: int) -> None:
    """What a failed batch left in the tables is not counted with the next one."""
    device = FaultyDevice(cache, memory=GPU_MEMORY)
    gpu = GpuBackend("cupy", device, GPU_MEMORY)
    device.launches_left = n
    with pytest.raises(BackendError, match="off the bus"):
        list(gpu.segment_batches([seven_tasks()[:2]]))
    assert_tasks_done(gpu, seven_tasks()[:3])
    assert_equals(gpu, AWKWARD["gradient"], FitOptions(k=3, attempts=1), oracle=False)
    device.launches_left = min(n, 3)
    with pytest.raises(BackendError, match="off the bus"):
        gpu.histogram(AWKWARD["noise"])
    assert_equals(gpu, AWKWARD["gradient"], FitOptions(k=3, attempts=1), oracle=False)


# ---- options ---------------------------------------------------------------------------------------------


def test_the_layout_has_every_column() -> None:
    layout = Layout.of([Request(3, 5, FitOptions(k=4, seed=9, eps=1.0, max_iter=17, attempts=3), True)] * 2)
    records = [dict(zip(IMAGE, row, strict=True)) for row in layout.images.tolist()]
    rows = 3 * (1 + 2)
    masks = 4 * 3 * (1 + 1)
    assert records[0] == {
        "pixels": 0,
        "height": 3,
        "width": 5,
        "clusters": 4,
        "attempts": 3,
        "seed": 9,
        "max_iter": 17,
        "max_shift": 4096,
        "order": BY_LUMA,
        "weight_shift": 0,
        "colors": 0,
        "bits": 0,
        "rows": 0,
        "masks": rows,
    }
    assert (records[1]["pixels"], records[1]["colors"]) == (16, 16)
    assert (records[1]["rows"], records[1]["masks"]) == (rows + masks, 2 * rows + masks)


def test_random_init_is_refused(emulated: GpuBackend) -> None:
    with pytest.raises(OptionError, match="cupy has no --init random"):
        emulated.check(FitOptions(init="random"))


@pytest.mark.parametrize(
    ("text", "value"), [("4G", 4 << 30), ("1.5 g", 3 << 29), ("600MiB", 600 << 20), ("536870912", 1 << 29)]
)
def test_sizes(text: str, value: int) -> None:
    assert parse_bytes(text) == value
    assert GpuOptions(memory=value).memory == value


@pytest.mark.parametrize("text", ["", "4X", "lots", "-1G"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(OptionError, match="a size such as 4G"):
        parse_bytes(text)


def test_gpu_options_out_of_range() -> None:
    with pytest.raises(OptionError, match="--gpu-memory must be at least 384 MiB"):
        GpuOptions(memory=1)
    with pytest.raises(OptionError, match="--device must be the number"):
        GpuOptions(device=-1)
