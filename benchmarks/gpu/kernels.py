"""The step that times batches on the device: each kernel, with copies, alone, and against the CPU."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchmarks.gpu.checks import Reference
from benchmarks.gpu.findings import StepError
from benchmarks.gpu.measure import CpuTimes, ObservedBackend, measure_bandwidth, measure_cpu
from benchmarks.gpu.report import COLUMNS, UNITS, configuration_cells, configuration_line, step_lines
from kseg_batch.backends.gpu.batch import BatchItem
from kseg_batch.backends.registry import load
from kseg_batch.kmeans.options import FitOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.gpu.measure import Bandwidth
    from benchmarks.gpu.photos import Size
    from benchmarks.gpu.step import Scale, Work

SECONDS = 1.0
"""Seconds, about, for one figure of one batch."""

CHECK_SECONDS = 5.0
"""Seconds for the CPU's results with which a batch is compared before it is timed."""

MIXED_SIZES: list[Size] = [(640, 480), (1920, 1080), (1279, 853), (480, 640), (333, 777)]
MIXED_KS = (3, 2, 16, 5, 8, 3, 3)


def kernels(work: Work) -> None:
    """Time batches as time permits, the most important first.

    Raises:
        WrongResultError: A result differs from the CPU's.
    """
    load("numba").warm_up()
    opened = work.open()
    timing = _Timing(work, ObservedBackend(opened))
    print(f"{UNITS}\n{configuration_line(COLUMNS)}", flush=True)
    for configuration in work.findings.as_time_permits(_configurations(work.scale), list):
        timing.measure(*configuration)
    entries = work.findings.figures.get("configurations")
    if not entries:
        raise StepError("no time was left to time a batch")
    main = list(work.scale.size), work.scale.batch
    told = [
        f"k = {entry['k']}: {1e3 * entry['kernels_ms_per_image']:.0f} us"
        for entry in entries
        if (entry["size"], entry["batch"]) == main
    ]
    timed = f"an image of a batch of {main[1]}; {len(entries)} batches timed"
    work.findings.summarise(f"{', '.join(told[:3])} {timed}")


def _configurations(scale: Scale) -> Iterator[tuple[Size | None, int | None, int]]:
    """Yield size, k and batch, the most important first. None is for many sizes or k in one batch."""
    largest = scale.batches[0]
    for k in scale.timed_ks[:3]:
        for batch in scale.batches:
            yield scale.size, k, batch
    for k in scale.timed_ks[3:]:
        yield scale.size, k, largest
    for size in scale.other_sizes:
        for batch in scale.batches:
            yield size, scale.timed_ks[0], batch
    if scale.other_sizes:
        yield None, None, largest


class _Timing:
    """The device, the expected results, and the findings of the step."""

    def __init__(self, work: Work, observed: ObservedBackend) -> None:
        self._work = work
        self._observed = observed
        self._reference = Reference()
        self._cpu: dict[tuple[Size | None, int | None], CpuTimes] = {}
        self._bandwidth: Bandwidth = measure_bandwidth(observed, work.scale.copy_bytes, 5)
        work.findings.add(bandwidth=asdict(self._bandwidth))

    def measure(self, size: Size | None, k: int | None, batch: int) -> None:
        """Time a batch of one size and one k, or of many sizes or k for None."""
        photos, gpu = self._work.photos, self._observed.backend
        if size is None or k is None:
            images = photos.ragged(batch, MIXED_SIZES, gpu)
            options = [FitOptions(k=MIXED_KS[i % len(MIXED_KS)]) for i in range(batch)]
        else:
            images, options = photos.batch(size, batch, gpu), [FitOptions(k=k)] * batch
        tasks = [BatchItem(image, one, masks=False) for image, one in zip(images, options, strict=True)]
        entry = self._measure(tasks, {"size": size and list(size), "k": k})
        if (size, k) not in self._cpu:
            self._cpu[size, k] = measure_cpu(images, options)
        self._finish(entry, self._cpu[size, k])

    def _measure(self, tasks: Sequence[BatchItem], what: dict[str, Any]) -> dict[str, Any]:
        """Check a batch, then time it.

        Raises:
            WrongResultError: A result differs from the CPU's; nothing is timed.
        """
        results = self._observed.run(tasks)
        checked = self._reference.check(results, CHECK_SECONDS)
        del results
        times = self._observed.measure(tasks, self._work.scale.repeats, SECONDS)
        n = len(tasks)
        pixels = sum(task.image.size // 3 for task in tasks) / n
        on_device, copies = times.kernels.median / n, times.copies.median / n
        floor = self._bandwidth.floor(pixels)
        return {
            **what,
            "batch": n,
            "pixels_per_image": pixels,
            "images_checked": checked,
            "parts": times.parts,
            "kernels_ms_per_image": on_device,
            "kernels_images_per_s": 1e3 / on_device,
            "copies_ms_per_image": copies,
            "copies_images_per_s": 1e3 / copies,
            "floor_ms_per_image": floor,
            "times_floor": on_device / floor,
            "wall_ms_per_image": times.wall / n,
            "batch_ms": {name: asdict(getattr(times, name)) for name in ("kernels", "copies", "latency")},
            "kernels": {name: asdict(spread) for name, spread in times.each.items()},
            "shares": times.shares,
        }

    def _finish(self, entry: dict[str, Any], cpu: CpuTimes) -> None:
        entry["cpu"] = asdict(cpu)
        entry["times_cpu"] = cpu.two_threads / entry["kernels_ms_per_image"]
        entry["times_cpu_with_copies"] = cpu.two_threads / entry["copies_ms_per_image"]
        self._work.findings.append("configurations", entry)
        print(configuration_line(configuration_cells(entry)), *step_lines(entry), sep="\n", flush=True)
