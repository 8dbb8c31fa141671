"""The step that tests limits: of memory, and of the time that a run waits for a silent GPU."""

from __future__ import annotations

import gc
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.gpu.checks import require_halving
from benchmarks.gpu.correctness import MANY_CLUSTERS
from benchmarks.gpu.end_to_end import run_photos, write_photos
from benchmarks.gpu.findings import StepError
from kseg_batch.backends.gpu.backend import GpuBackend
from kseg_batch.backends.gpu.batch import BatchItem
from kseg_batch.backends.registry import load
from kseg_batch.kmeans.options import FitOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.gpu.step import Work
    from kseg_batch.backends.gpu.device import Device

ROUNDING = 96 << 20
"""Bytes by which CUDA may round up the arrays of three slots: a large array to 2 MiB."""

TIMEOUT = 3.0
"""Seconds after which the cold run regards a silent GPU as hung: less than the time of compiling."""


def limits(work: Work) -> None:
    """Let memory run out, take all memory that is allowed, and compile within a short time limit.

    Raises:
        StepError: One of the three tests fails.
    """
    load("numba").warm_up()
    opened = work.open()
    GpuBackend(opened.name, opened.device).warm_up((3, MANY_CLUSTERS))
    work.findings.add(halved=check_halving(work, opened.name, opened.device))
    work.findings.add(bounded=check_memory(work, opened.name, opened.device))
    work.findings.add(cold_run=_check_cold_run(work))
    work.findings.summarise("memory is bounded, running out of memory halves batches, compiling is no hang")


def check_halving(work: Work, name: str, device: Device) -> dict[str, Any]:
    """Let the device run out of memory in the middle of a batch."""
    width, height = work.scale.large
    photos = work.photos.batch((width, height), 4)
    tasks = [BatchItem(photo, FitOptions(k=2, attempts=1), masks=False) for photo in photos]
    require_halving(name, device, tasks, work.scale.spare)
    return {"images": len(tasks), "spare_bytes": work.scale.spare}


def check_memory(work: Work, name: str, device: Device) -> dict[str, Any]:
    """Segment full batches with single images between, and measure the memory meanwhile.

    Raises:
        StepError: More memory was taken than allowed.
    """
    given = work.scale.memory
    options = FitOptions(k=3, attempts=1)
    photos = work.photos.batch(work.scale.size, work.scale.batch)
    tasks = [BatchItem(photo, options, masks=False) for photo in photos]
    (single,) = work.photos.batch(work.scale.single, 1)
    gc.collect()
    device.activate()
    device.release()
    before = device.free_memory()
    gpu = GpuBackend(name, device, given)
    with _least_free(device) as least:
        for n, result in enumerate(gpu.segment_batches([tasks, tasks])):
            if result.error is not None:
                raise StepError(f"of {given} bytes one photo does not get enough: {result.error}")
            if n % len(tasks) == 0:
                gpu.fit(gpu.histogram(single), options)
    taken = before - least[0]
    if taken > given + ROUNDING:
        raise StepError(f"--gpu-memory allows {given} bytes, and {taken} were taken")
    return {"given_bytes": given, "taken_bytes": taken, "images": 2 * len(tasks)}


@contextmanager
def _least_free(device: Device) -> Iterator[list[int]]:
    """Record the least free memory of a device inside the context, read every few milliseconds."""
    least, over = [device.free_memory()], threading.Event()

    def look() -> None:
        device.activate()
        while not over.wait(0.005):
            least[0] = min(least[0], device.free_memory())

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield least
    finally:
        over.set()
        thread.join()
        least[0] = min(least[0], device.free_memory())


def _check_cold_run(work: Work) -> dict[str, Any]:
    """Run with many clusters, no compiled kernel, and a time limit shorter than the time of compiling.

    Raises:
        StepError: Images were done on the CPU.
    """
    folder = work.scratch / "cold"
    jobs = write_photos(work, folder / "photos", min(8, work.scale.batch))
    os.environ["CUPY_CACHE_DIR"] = str(folder / "kernels")
    timeout = None if work.emulated else TIMEOUT
    options = FitOptions(k=MANY_CLUSTERS, attempts=2)
    summary, outcomes, _ = run_photos(jobs, folder / "out", options, work.opener(), timeout=timeout)
    if summary.fallbacks or summary.failed:
        reasons = {outcome.fallback or outcome.error for outcome in outcomes}
        raise StepError(f"{summary.fallbacks} of {len(jobs)} photos were done on the CPU: {reasons}")
    return {"images": summary.done, "k": MANY_CLUSTERS, "timeout_s": timeout}
