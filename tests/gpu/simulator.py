"""The Numba CUDA kernels in Numba's CUDA simulator, compared with the reference.

`python -m tests.gpu.simulator GROUP [CASE...]`, with NUMBA_ENABLE_CUDASIM=1, runs cases of a group, or all,
and prints a line of JSON for each: the name of the case, and the error or null. This is a program of its own
because the simulator has to be chosen before Numba is imported, and would replace the compiled CPU kernels.
"""

from __future__ import annotations

import faulthandler
import json
import sys
import traceback
import warnings
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from kseg_batch.backends.gpu.backend import GpuBackend
from kseg_batch.backends.gpu.batch import BatchItem
from kseg_batch.backends.gpu.device import Variant
from kseg_batch.backends.gpu.layout import MAX_STARTS, ROW, Tuning
from kseg_batch.backends.numba_cuda import NumbaDevice
from kseg_batch.images.label_map import LabelMap
from kseg_batch.kmeans import reference
from kseg_batch.kmeans.fixed_point import SCALE
from kseg_batch.kmeans.histogram import ColorHistogram
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.kmeans.palette import Palette
from tests.support.exactness import assert_same_histogram, assert_same_labels, assert_same_palette
from tests.support.images import AWKWARD, Image, flat, noise, two_colors
from tests.support.palettes import random_palette

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import DTypeLike, NDArray

    from kseg_batch.backends.gpu.device import Array, Stream

TIMEOUT = 240
"""Seconds after which a group hangs."""

MEMORY = 1 << 30

MOST_BLOCKS = 5
"""Blocks of an image, for kernels that take any number: blocks run one after the other, and start slowly."""


class SimulatedDevice(NumbaDevice):
    """The simulator as a device. Its arrays begin with garbage. The grids of launches are recorded."""

    def __init__(self, threads: int, start: NDArray[np.int32] | None = None) -> None:
        """Choose the threads of a block, and (ROW, 4) centres from which Lloyd's algorithm starts at last."""
        super().__init__(0, max_blocks=MOST_BLOCKS, threads=threads)
        self.blocks: dict[str, int] = {}
        self._start = start

    def empty(self, length: int, dtype: DTypeLike) -> Array:
        """See `Device.empty`."""
        array = super().empty(length, dtype)
        array.copy_to_device(np.full(4 * len(array), 0xA5A5, np.uint16).view(array.dtype)[: len(array)])
        return array

    def release(self) -> None:
        """See `Device.release`. The simulator keeps nothing."""

    def clear(self, target: Array, stream: Stream) -> None:
        """See `Device.clear`. Not by the kernel, which would be at a table for ten seconds."""
        target.copy_to_device(np.zeros(len(target), target.dtype), stream=stream)

    def launch(
        self,
        kernel: str,
        variant: Variant,
        grid: tuple[int, int],
        args: Sequence[Array | int],
        stream: Stream,
    ) -> None:
        """See `Device.launch`."""
        self.blocks[kernel] = grid[0]
        if kernel == "converge_centers" and self._start is not None:
            centers: Array = args[-2]
            self.upload(self._start.reshape(-1), centers, stream)
        super().launch(kernel, variant, grid, args, stream)


@cache
def backend(threads: int = 4) -> GpuBackend:
    """One backend for all cases of a group, so that a case meets the memory of the case before."""
    return GpuBackend("numba-cuda", SimulatedDevice(threads), MEMORY)


# ---- comparisons -----------------------------------------------------------------------------------------


def check_histogram(image: Image, threads: int = 4) -> None:
    assert_same_histogram(backend(threads).histogram(image), ColorHistogram.from_pixels(image))


def check_fit(image: Image, options: FitOptions, threads: int = 4) -> None:
    histogram = ColorHistogram.from_pixels(image)
    palette, expected = backend(threads).fit(histogram, options), reference.fit(histogram, options)
    assert_same_palette(palette, expected)
    labels = backend(threads).assign(image, palette)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, reference.assign(image, expected))


def check_measure(image: Image, k: int) -> None:
    histogram, palette = ColorHistogram.from_pixels(image), random_palette(k, seed=k)
    assert_same_palette(backend().measure(histogram, palette), reference.measure_palette(histogram, palette))
    given = BatchItem(image, FitOptions(k=k), masks=True, palette=palette)
    check_batches([[given, BatchItem(image, FitOptions(k=2, attempts=1), masks=False)]])


# ---- cases -----------------------------------------------------------------------------------------------


def crop(image: Image) -> Image:
    """A view of a corner of some 40 pixels."""
    height = min(image.shape[0], max(5, 40 // image.shape[1]))
    return image[:height, : max(1, 40 // height)]


def greys(number: int, step: int) -> Image:
    """A row of greys at even distances, from black on."""
    return np.repeat(np.arange(0, number * step, step, dtype=np.uint8), 3).reshape(1, number, 3)


SMALL: dict[str, Image] = {name: crop(image) for name, image in AWKWARD.items()}

FEW_COLORS: dict[str, Image] = {
    "one pixel": flat(1, 1),
    "one colour": flat(3, 5),
    "two colours": two_colors(),
    "dark noise": noise(4, 5, 0, 2, seed=12),
    "noise": noise(3, 4, seed=11),
}


def block_size(threads: int) -> None:
    """More threads than work, and more blocks than one."""
    image = noise(11, 13, 0, 3, seed=31)
    check_histogram(image, threads)
    check_fit(image, FitOptions(k=3, attempts=3), threads)
    blocks = backend(threads)._device.blocks  # type: ignore[attr-defined] # of the simulated device
    assert blocks["count_pixels"] == {1: 5, 2: 5, 4: 3, 8: 2}[threads]
    assert blocks["drain_table"] == MOST_BLOCKS
    assert blocks["label_pixels"] == {1: 5, 2: 5, 4: 5, 8: 3}[threads]
    assert blocks["start_centers"] == 3


def more_attempts_than_blocks() -> None:
    """The first block finds the best cost in its second attempt, a later block in its first."""
    check_fit(greys(7, 30), FitOptions(k=3, attempts=MAX_STARTS + 3, seed=7))


def coarse_and_fine_points() -> None:
    """Colours enough to make the coarse seeding points differ from the fine ones."""
    image = noise(48, 50, 0, 24, seed=33)
    histogram = ColorHistogram.from_pixels(image)
    coarse, _ = reference.seeding_points(histogram, reference.coarse_points(5))
    fine, _ = reference.seeding_points(histogram, reference.fine_points(5))
    assert len(coarse) < len(fine) == histogram.n_colors
    check_fit(image, FitOptions(k=5, attempts=1, max_iter=1))


def check_lloyd(image: Image, starts: Sequence[int], max_iter: int) -> None:
    """Iterate over all colours from given greys; of equal greys all but the first start empty."""
    histogram, k = ColorHistogram.from_pixels(image), len(starts)
    points, weights = histogram.colors.astype(np.int64) * SCALE, histogram.counts.astype(np.int64)
    start = np.zeros((ROW, 4), np.int32)
    start[:k, :3] = np.array(starts)[:, None] * SCALE
    expected, n_iter = reference.lloyd(points, weights, start[:k, :3].astype(np.int64), max_iter, 0)
    assert max_iter < 3 or len(np.unique(expected, axis=0)) == k
    device = SimulatedDevice(4, start)
    options = FitOptions(k=k, attempts=1, max_iter=max_iter, eps=0)
    palette = GpuBackend("numba-cuda", device, MEMORY).fit(histogram, options)
    assert_same_palette(
        palette, reference.measure(histogram, reference.dark_to_light(expected), n_iter, "numpy")
    )


def ties() -> None:
    """A pixel halfway between two centres, and one at two equal centres."""
    centers = np.array([[0, 0, 0], [128, 0, 0], [128, 0, 0], [384, 0, 0]], np.int32)
    image = np.zeros((1, 7, 3), np.uint8)
    image[0, :, 0] = range(7)
    palette = Palette(centers, np.zeros(4, np.int64), 0.0, 1, "hand")
    assert backend().assign(image, palette).tolist() == [[0, 0, 1, 1, 1, 3, 3]]


def wide_counts(k: int) -> None:
    """The merged histogram of a large dataset: seeding weights are scaled down, and some round to 0."""
    small = ColorHistogram.from_pixels(noise(5, 6, 0, 3, seed=41))
    counts = np.where(small.counts > 1, np.int64(1) << 36, 1)
    huge = ColorHistogram(small.cells, small.starts, small.slots, counts)
    assert reference.weight_shift(huge.n_pixels) > 0
    options = FitOptions(k=k, attempts=2)
    assert_same_palette(backend().fit(huge, options), reference.fit(huge, options))


def check_batches(batches: Sequence[Sequence[BatchItem]], gpu: GpuBackend | None = None) -> None:
    expected_items = [item for items in batches for item in items]
    results = list((gpu or backend()).segment_batches(batches))
    assert [result.item for result in results] == expected_items
    for result in results:
        image, options = result.item.image, result.item.options
        histogram, given = ColorHistogram.from_pixels(image), result.item.palette
        if given is None:
            expected = reference.fit(histogram, options)
        else:
            expected = reference.measure_palette(histogram, given)
        assert result.error is None
        assert result.palette is not None
        assert result.labels is not None
        assert_same_palette(result.palette, expected)
        k = len(expected.counts)
        packed = LabelMap.pack(reference.assign(image, expected), k)
        assert_same_labels(result.labels, packed, masks=k if result.item.masks else 0)


def batch_of_different_images() -> None:
    """Images that differ in size, in k and in the number of attempts; some without masks."""
    items = [
        BatchItem(noise(5, 7, 0, 40, seed=51), FitOptions(k=3, attempts=1), masks=True),
        BatchItem(SMALL["column"], FitOptions(k=16, attempts=2, seed=5), masks=True),
        BatchItem(backend().stage(noise(3, 9, seed=52)[:, ::-1]), FitOptions(k=1, attempts=3), masks=True),
    ]
    check_batches([items])


def counted_two_at_a_time() -> None:
    """Three images with tables for two: the third image finds a table empty again."""
    gpu = GpuBackend("numba-cuda", SimulatedDevice(4), MEMORY, Tuning(blocks=2, counted_together=2))
    images = [noise(5, 7, 0, 40, seed=51), SMALL["column"], noise(4, 9, 0, 3, seed=53)]
    check_batches([[BatchItem(image, FitOptions(k=3, attempts=1), masks=False) for image in images]], gpu)


def batches_one_after_the_other() -> None:
    """Both slots are used twice, and find their tables empty again."""
    few = BatchItem(two_colors(), FitOptions(k=4, attempts=1), masks=True)  # fewer colours than k: fewer bits
    plain = BatchItem(noise(4, 9, 0, 3, seed=53), FitOptions(k=5, attempts=1, max_iter=2), masks=False)
    other = BatchItem(SMALL["rows reversed"], FitOptions(k=2, attempts=2), masks=True)
    check_batches([[few], [plain, few], [], [other], [plain]])


def clear(length: int) -> None:
    """The kernel that the simulated device does not use: memory before and behind the array stays."""
    device = NumbaDevice(0, max_blocks=MOST_BLOCKS, threads=4)
    stream = device.stream()
    array, host = device.empty(length + 2, np.uint32), np.full(length + 2, 7, np.uint32)
    device.upload(host, array, stream)
    device.clear(array[1 : length + 1], stream)
    device.download(array, host, stream)
    assert host.tolist() == [7, *[0] * length, 7]


Cases = dict[str, "Callable[[], None]"]


def fits(images: dict[str, Image], k: int) -> Cases:
    """A case for each image."""
    return {name: partial(check_fit, image, FitOptions(k=k, attempts=2)) for name, image in images.items()}


GROUPS: dict[str, Cases] = {
    "histogram": {name: partial(check_histogram, image) for name, image in SMALL.items()},
    "k = 1": fits(SMALL, 1),
    "k = 2": fits(SMALL, 2),
    "k = 3": fits(SMALL, 3),
    "k = 5": fits(SMALL, 5),
    "k = 16": fits(SMALL, 16),
    "k = 256": fits(FEW_COLORS, 256),
    "options": {
        f"max_iter {max_iter}, eps {eps}, seed {seed}": partial(
            check_fit, noise(5, 6, seed=21), FitOptions(4, 3, max_iter, eps, seed)
        )
        for max_iter in (1, 2, 100)
        for eps in (0, 4)
        for seed in (0, 1, (1 << 63) - 1)
    },
    "blocks": {f"of {threads} threads": partial(block_size, threads) for threads in (1, 2, 4, 8)},
    "points": {
        "more attempts than blocks": more_attempts_than_blocks,
        "coarse and fine": coarse_and_fine_points,
        "ties": ties,
    },
    "lloyd": {
        f"{name}, {len(starts)} clusters, max_iter {max_iter}": partial(check_lloyd, image, starts, max_iter)
        for name, image, starts in (
            ("cell borders", SMALL["cell borders"], [100] * 7),
            ("noise", SMALL["noise"], [100] * 5),
            ("even steps", SMALL["even steps"], [0, 10, 0, 255, 255]),
            ("a tie at a corner of a run", greys(16, 2), [40, 20]),
        )
        for max_iter in (1, 2, 100)
    },
    "palettes": {
        f"{name}, {k} clusters": partial(check_measure, FEW_COLORS[name], k)
        for name in ("one pixel", "dark noise", "noise")
        for k in (1, 3, 9)
    },
    "lightness": {
        "by the first channel": partial(
            check_fit, SMALL["noise"], FitOptions(k=5, attempts=1, color_space="oklab")
        )
    },
    "wide": {f"k = {k}": partial(wide_counts, k) for k in (1, 3, 12)},
    "batch": {
        "ragged": batch_of_different_images,
        "counted two at a time": counted_two_at_a_time,
        "one after the other": batches_one_after_the_other,
    },
    "clear": {str(length): partial(clear, length) for length in (1, 3, 4, 101)},
}


OF_ONE_K = ("k = 1", "k = 2", "k = 5", "k = 16")
"""Groups with the images of the group `k = 3`. A short run takes a third of each group, and another third of
the next group, so that each image meets at least two numbers of clusters."""


def names_of_cases(group: str, soak: bool) -> list[str]:
    """The names of the cases of a group: all for a soak run, else no more than a short run takes."""
    names = list(GROUPS[group])
    return names if soak or group not in OF_ONE_K else names[OF_ONE_K.index(group) % 3 :: 3]


# ---- the program -----------------------------------------------------------------------------------------


def let_random_numbers_wrap() -> None:
    """NumPy warns of overflow, which is right everywhere but in SplitMix64."""
    from kseg_batch.kernels import numba_cuda as kernels

    splitmix64 = kernels.splitmix64

    def wrapping(seed: np.uint64, index: np.uint64) -> np.uint64:
        with np.errstate(over="ignore"):
            number: np.uint64 = splitmix64(seed, index)
            return number

    kernels.splitmix64 = wrapping


def share_memory_from_the_start() -> None:
    """Make threads share an array of shared memory that several ask for at the same time.

    The simulator looks an array up by the line of the caller, and adds a missing array without a lock.
    """
    from numba.cuda.simulator import kernelapi
    from numba.np import numpy_support

    def array(self: Any, shape: int | tuple[int, ...], dtype: Any) -> NDArray[Any]:
        caller = sys._getframe(1)
        empty = np.empty(shape, numpy_support.as_dtype(dtype))
        empty.view(np.uint8).fill(0xA5)  # garbage, as on a device
        place = (caller.f_code.co_filename, caller.f_lineno)
        shared: NDArray[Any] = self._allocations.setdefault(place, empty)
        return shared

    kind: Any = kernelapi.FakeCUDAShared
    kind.array = array


def main(group: str, *names: str) -> None:
    """Run the named cases of a group, or all."""
    faulthandler.dump_traceback_later(TIMEOUT, exit=True)
    warnings.simplefilter("error")
    sys.setswitchinterval(1e-6)  # threads of a block wait for each other: by default for 5 ms each time
    let_random_numbers_wrap()
    share_memory_from_the_start()
    for name in names or GROUPS[group]:
        error = None
        try:
            GROUPS[group][name]()
        except Exception:  # noqa: BLE001 - the error is reported, and the other cases are run
            error = traceback.format_exc()
        print(json.dumps([name, error]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
