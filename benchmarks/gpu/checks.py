"""Checks that the GPU computes the results of the CPU, made for every batch before it is timed."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.gpu.device_wrapper import DeviceWrapper
from benchmarks.gpu.findings import StepError
from benchmarks.support.checks import WrongResultError
from kseg_batch.backends.gpu.backend import GpuBackend
from kseg_batch.backends.gpu.batch import BatchItem
from kseg_batch.backends.gpu.device import DeviceMemoryError
from kseg_batch.backends.registry import load
from kseg_batch.kmeans.equality import ClusteringDigest
from kseg_batch.kmeans.options import FitOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike, NDArray

    from benchmarks.gpu.photos import PhotoBatches
    from kseg_batch.backends.gpu.batch import BatchResult
    from kseg_batch.backends.gpu.device import Array, Device

SMALL = (((47, 31), 3), ((31, 47), 2), ((33, 17), 5), ((17, 33), 8), ((21, 20), 16), ((5, 1), 3), ((1, 1), 2))
"""Sizes and numbers of clusters at which the reference is fast."""


def digest_result(result: BatchResult, name: str) -> ClusteringDigest:
    """Return the digest of a result.

    Raises:
        DeviceMemoryError: The image did not fit on the GPU.
        WrongResultError: There is no result.
    """
    if result.labels is None or result.palette is None:
        raise result.error or WrongResultError(f"{name}: there is no result")
    return ClusteringDigest.of(result.labels.labels, result.palette)


def require_equal(result: BatchResult, expected: ClusteringDigest, name: str) -> None:
    """Compare centres, labels, counts, compactness and iterations of a result.

    Raises:
        WrongResultError: The result differs.
    """
    wrong = digest_result(result, name).differences(expected)
    if wrong:
        raise WrongResultError(f"{name}: the GPU's {', '.join(wrong)} differ from those expected")


class Reference:
    """Results of the CPU backend, computed once for each image and k, on all cores."""

    def __init__(self) -> None:
        self._cpu = load("numba")
        self._known: dict[tuple[int, int], tuple[NDArray[np.uint8], ClusteringDigest]] = {}

    def check(self, results: Sequence[BatchResult], seconds: float) -> int:
        """Compare results with those of the CPU, and return the number compared.

        All results are compared, unless the comparison takes longer than `seconds`: then only the first ones.

        Raises:
            WrongResultError: A result differs.
        """
        deadline, cores = time.perf_counter() + seconds, os.cpu_count() or 1
        with ThreadPoolExecutor(cores) as pool:
            for first in range(0, len(results), cores):
                if first and time.perf_counter() > deadline:
                    return first
                part = results[first : first + cores]
                for i, (result, expected) in enumerate(
                    zip(part, pool.map(self._expected, part), strict=True)
                ):
                    task = result.item
                    height, width = task.image.shape[:2]
                    name = f"image {first + i} of {width}x{height}, k = {task.options.k}"
                    require_equal(result, expected, name)
        return len(results)

    def _expected(self, result: BatchResult) -> ClusteringDigest:
        image, options = result.item.image, result.item.options
        key = id(image), options.k
        known = self._known.get(key)
        if known is None or known[0] is not image:  # the number of an image that is gone may come again
            palette = self._cpu.fit(self._cpu.histogram(image), options)
            known = image, ClusteringDigest.of(self._cpu.assign(image, palette), palette)
            self._known[key] = known
        return known[1]


def check_reference(backend: GpuBackend, photos: PhotoBatches) -> int:
    """Compare a batch of small images of many sizes and k with the reference; return their number.

    Raises:
        WrongResultError: A result differs.
    """
    tasks = [BatchItem(photos.batch(size, 1)[0], FitOptions(k=k), masks=False) for size, k in SMALL]
    for result in backend.segment_batches([tasks]):
        image, options = result.item.image, result.item.options
        name = f"small image {image.shape}, k = {options.k}, against the reference"
        require_equal(result, ClusteringDigest.of_reference(image, options), name)
    return len(tasks)


class _CountingRefusals(DeviceWrapper):
    """A device that counts its refusals of memory."""

    refusals = 0

    def empty(self, length: int, dtype: DTypeLike) -> Array:
        """See `Device.empty`."""
        try:
            return super().empty(length, dtype)
        except DeviceMemoryError:
            self.refusals += 1
            raise


def require_halving(name: str, device: Device, tasks: Sequence[BatchItem], spare: int) -> None:
    """Segment a batch in the middle of which the device runs out of memory.

    Args:
        name: Name of the backend.
        device: A device with more than `spare` free bytes. All but `spare` bytes are taken first.
        tasks: Images of which one fits into `spare` bytes, and all together do not.
        spare: Bytes to leave free.

    Raises:
        WrongResultError: A result differs from the CPU's.
        StepError: Memory did not run out.
    """
    device.activate()
    device.release()
    taken = device.empty(device.free_memory() - spare, np.uint8)
    try:
        counting = _CountingRefusals(device)
        gpu = GpuBackend(name, counting, 1 << 50)
        results = list(gpu.segment_batches([tasks]))
        if not counting.refusals:
            raise StepError(f"{len(tasks)} images fit into {spare / 1e6:.0f} MB: no memory ran out")
        if Reference().check(results, seconds=float("inf")) != len(tasks):
            raise WrongResultError(f"{len(results)} results came of {len(tasks)} images")
    finally:
        del taken
        device.activate()
        device.release()
