"""The time of a batch: on the device alone, with its copies, and on the CPU."""

from __future__ import annotations

import gc
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.gpu.recording_device import LAST_KERNEL, TimedDevice, Watch
from benchmarks.gpu.timing import (
    MeasurementError,
    Spread,
    batches_of,
    kernel_times,
    kernels_span,
    span,
    step_shares,
)
from kseg_batch.backends.gpu.backend import GpuBackend
from kseg_batch.backends.gpu.layout import DEFAULT_TUNING
from kseg_batch.backends.registry import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from benchmarks.gpu.recording_device import Opened, Operation
    from kseg_batch.backends.gpu.batch import BatchItem, BatchResult
    from kseg_batch.backends.gpu.layout import Tuning
    from kseg_batch.kmeans.options import FitOptions

FLOOR_BYTES = 4
"""Least bytes for a pixel: 3 are read, and 1 is written for its label."""
LEAST_RUNS = 3
CPU_SECONDS = 1.0
"""Seconds, about, for timing the CPU on one configuration, on one thread and on two."""
CPU_IMAGES = 16
"""Most images of which the CPU is timed."""


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """The bandwidth of copies, in GB/s; 1 GB is 10**9 bytes."""

    device: float
    """Between two buffers on the device: the sum of bytes read and bytes written."""
    upload: float
    """From page-locked memory to the device."""
    download: float
    """From the device to page-locked memory."""
    n_bytes: int
    """Bytes of each of the two buffers on the device."""

    def floor(self, n_pixels: float) -> float:
        """Return the least time of reading the pixels and writing their labels, in ms."""
        return FLOOR_BYTES * n_pixels / self.device / 1e6


@dataclass(frozen=True, slots=True)
class GpuTimes:
    """The times of a batch, in ms."""

    kernels: Spread
    """With the data on the device: from the start of the first launch to the end of the last, with gaps."""
    copies: Spread
    """From batch to batch, many in a row: uploads and downloads overlap with the kernels of others."""
    latency: Spread
    """One batch alone, from the start of its first upload to the end of its last download."""
    wall: float
    """From batch to batch by the clock of the host, without recording; the mean."""
    each: dict[str, Spread]
    """Time of each kernel. Events separate the kernels, so that the times add up to a little more."""
    shares: dict[str, float]
    """Shares of the steps of the algorithm in the time of the kernels."""
    parts: int
    """Number of parts in which the batch was queued: 1 if the batch fits into memory."""


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Times of an image with the backend numba on the same machine, in ms."""

    one_thread: float
    """The median."""
    two_threads: float
    """The time of several images, two at a time, divided by their number."""
    images: int
    """Number of images timed on two threads."""


class ObservedBackend:
    """A device that records its operations, and a backend on this device."""

    def __init__(self, opened: Opened, tuning: Tuning = DEFAULT_TUNING) -> None:
        self.device = TimedDevice(opened.device, opened.library)
        self.backend = GpuBackend(opened.name, self.device, tuning=tuning)

    def close(self) -> None:
        """Free the memory of the backend on the device."""
        del self.backend
        gc.collect()
        self.device.release()

    def run(self, tasks: Sequence[BatchItem]) -> list[BatchResult]:
        """Return the results of one batch.

        Raises:
            BackendError: The device failed, or has no memory for one of the images.
        """
        results = list(self.backend.segment_batches([tasks]))
        for result in results:
            if result.error is not None:
                raise result.error
        return results

    def measure(self, tasks: Sequence[BatchItem], repeats: int, seconds: float) -> GpuTimes:
        """Time a batch with each kind of recording, `repeats` times, or fewer where `seconds` have passed.

        Raises:
            BackendError: The device failed.
            MeasurementError: The host program queues other operations than expected.
        """
        kernels = self._alone(tasks, Watch.KERNELS, repeats, seconds)
        each = [
            kernel_times(batch) for batch in self._alone(tasks, Watch.EVERYTHING, repeats // 2, seconds / 2)
        ]
        alone = [span(batch) for batch in self._alone(tasks, Watch.COPIES, repeats // 2, seconds / 2)]
        times = {name: [run.get(name, 0.0) for run in each] for name in each[0]}
        medians = {name: statistics.median(runs) for name, runs in times.items()}
        parts = sum(op.name == LAST_KERNEL for op in kernels[0])
        return GpuTimes(
            kernels=Spread.of([kernels_span(batch) for batch in kernels]),
            copies=self._in_a_row(tasks, repeats, seconds),
            latency=Spread.of([end - start for start, end in alone]),
            wall=self._wall(tasks, repeats, seconds / 2),
            each={name: Spread.of(runs) for name, runs in times.items()},
            shares=step_shares(medians),
            parts=parts,
        )

    def _alone(
        self, tasks: Sequence[BatchItem], watch: Watch, repeats: int, seconds: float
    ) -> list[list[Operation]]:
        """Return the recorded operations of several batches, each queued after the last is done."""
        self.run(tasks)  # memory is taken, and kernels are compiled
        self.device.begin(watch)
        n = 0
        for _ in _repeated(tasks, repeats, seconds):
            self.run(tasks)
            n += 1
        return batches_of(self.device.take(), n)

    def _in_a_row(self, tasks: Sequence[BatchItem], repeats: int, seconds: float) -> Spread:
        self.device.begin(Watch.COPIES)
        n = self._feed(tasks, repeats + 2, seconds, LEAST_RUNS + 2)
        ends = [span(batch)[1] for batch in batches_of(self.device.take(), n)]
        return Spread.of(np.diff(ends)[1:].tolist())  # before that, nothing overlaps

    def _wall(self, tasks: Sequence[BatchItem], repeats: int, seconds: float) -> float:
        start = time.perf_counter()
        n = self._feed(tasks, repeats, seconds)
        return 1e3 * (time.perf_counter() - start) / n

    def _feed(self, tasks: Sequence[BatchItem], repeats: int, seconds: float, least: int = LEAST_RUNS) -> int:
        """Queue the same batch again and again, and return the number of batches."""
        n = 0

        def counted() -> Iterator[Sequence[BatchItem]]:
            nonlocal n
            for n, batch in enumerate(_repeated(tasks, repeats, seconds, least), 1):  # noqa: B007 - it is returned
                yield batch

        failures = [r.error for r in self.backend.segment_batches(counted()) if r.error is not None]
        if failures:
            raise failures[0]
        return n


def _repeated(
    tasks: Sequence[BatchItem], repeats: int, seconds: float, least: int = LEAST_RUNS
) -> Iterator[Sequence[BatchItem]]:
    """Yield the batch `repeats` times, but only `least` times once more than `seconds` have passed."""
    deadline = time.perf_counter() + seconds
    for i in range(max(least, repeats)):
        if i >= least and time.perf_counter() > deadline:
            return
        yield tasks


def measure_bandwidth(observed: ObservedBackend, most_bytes: int, repeats: int) -> Bandwidth:
    """Measure copies between device buffers much larger than the caches, and between host and device."""
    device = observed.device
    n_bytes = min(most_bytes, device.free_memory() // 4) // 4096 * 4096
    source, target = device.empty(n_bytes, np.uint8), device.empty(n_bytes, np.uint8)
    host = device.pinned(min(n_bytes, 1 << 28))
    part = source[: len(host)]
    stream = device.stream()

    def inside() -> None:
        device.library.copy(source, target, stream)

    def to() -> None:
        device.upload(host, part, stream)

    def fro() -> None:
        device.download(part, host, stream)

    milliseconds = []
    for copy in (inside, to, fro):
        runs = []
        for i in range(repeats + 1):
            before = device.library.record(stream)
            copy()
            after = device.library.record(stream)
            device.wait(stream)
            if i:  # the first touches the memory
                runs.append(device.library.milliseconds(before, after))
        milliseconds.append(statistics.median(runs))
    if not all(milliseconds):
        raise MeasurementError("a copy took no time")
    return Bandwidth(
        device=2 * n_bytes / milliseconds[0] / 1e6,
        upload=len(host) / milliseconds[1] / 1e6,
        download=len(host) / milliseconds[2] / 1e6,
        n_bytes=n_bytes,
    )


def measure_cpu(images: Sequence[NDArray[np.uint8]], options: Sequence[FitOptions]) -> CpuTimes:
    """Time the backend numba on a batch, or on as many of its images as take a few seconds."""
    cpu = load("numba")

    def segment(i: int) -> float:
        start = time.perf_counter()
        cpu.assign(images[i], cpu.fit(cpu.histogram(images[i]), options[i]))
        return 1e3 * (time.perf_counter() - start)

    n = len(images)
    spent = [segment(0), segment(0)][1:]  # the first touches the thread's memory
    while len(spent) < min(n, CPU_IMAGES) and sum(spent) < 1e3 * CPU_SECONDS:
        spent.append(segment(len(spent)))
    one = statistics.median(spent)
    timed = max(2, min(CPU_IMAGES, int(2e3 * CPU_SECONDS / max(one, 1e-3))) // 2 * 2)
    turns = [i % n for i in range(timed)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(segment, turns[:2]))  # likewise
        start = time.perf_counter()
        list(pool.map(segment, turns))
        two = 1e3 * (time.perf_counter() - start) / timed
    return CpuTimes(one, two, timed)
