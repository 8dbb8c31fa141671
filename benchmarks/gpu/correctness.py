"""The steps that ask whether a GPU's results are right: nothing is worth measuring before that."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.checks import WrongResultError
from benchmarks.gpu.checks import Reference, check_oracle, require_halving
from benchmarks.gpu.end_to_end import SAVE, run_photos, write_photos
from benchmarks.gpu.findings import StepError
from kseg_batch.backends import load
from kseg_batch.backends.gpu import GpuBackend, Task
from kseg_batch.options import FitOptions, parse_k
from kseg_batch.outputs import prepare
from kseg_batch.pipeline import process_on_gpu
from kseg_batch.self_test import self_test as find_wrong_parts
from kseg_batch.team import warm_up
from kseg_batch.worker import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from benchmarks.gpu.step import Work
    from kseg_batch.backends.device import Device

ROUNDING = 64 << 20
"""Bytes by which a library may round up what is asked of it, for all arrays together."""

COLD_K = 64
"""Clusters of the run that has to compile its kernels: more than the narrow kernels are for."""

TIMEOUT = 3.0
"""Seconds after which that run takes a silent GPU for hung: less than compiling takes."""


# ---- self-test -------------------------------------------------------------------------------------------


def self_test(work: Work) -> None:
    """Open the device, compile the kernels, and compare a few images with the NumPy oracle."""
    seconds: dict[str, float] = {}
    with _timed(seconds, "open"):
        opened = work.open()
        gpu = GpuBackend(opened.name, opened.device)
    work.findings.add(seconds=seconds, backend=opened.name, memory=gpu.memory)
    for k in (2, COLD_K):
        with _timed(seconds, f"compile, k = {k}"):
            gpu.warm_up((k,))
        work.findings.save()
    with _timed(seconds, "compare"):
        _require_nothing_wrong(gpu)
        work.findings.add(small_images=check_oracle(gpu, work.album))
    compiled = sum(spent for name, spent in seconds.items() if name.startswith("compile"))
    work.findings.summarise(
        f"equals the oracle; opened in {seconds['open']:.1f} s, compiled in {compiled:.1f} s"
    )


def warnings(work: Work) -> None:
    """Run the same test where every warning is an error, the kernels now compiled."""
    run_strictly(work, work.kind)
    work.findings.summarise("the self test passes under python -W error")


def run_strictly(work: Work, kind: str) -> None:
    """Run the self test in a process in which every warning is an error.

    Raises:
        StepError: The process fails.
    """
    result = work.scratch / f"{kind}-strict.json"
    command = [sys.executable, "-W", "error", "-m", "benchmarks.gpu", "self-test", "--kind", kind]
    command += [
        "--scratch",
        str(work.scratch),
        "--result",
        str(result),
        "--seconds",
        str(work.findings.left()),
    ]
    command += [] if work.folder is None else ["--photos", str(work.folder)]
    done = subprocess.run(command, check=False)
    if done.returncode:
        raise StepError(f"under python -W error the self test of {kind} ends with status {done.returncode}")


def _require_nothing_wrong(gpu: GpuBackend) -> None:
    if wrong := find_wrong_parts(gpu):
        raise WrongResultError(f"the self test finds other {', '.join(wrong)} than the oracle's")


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    begin = time.perf_counter()
    try:
        yield
    finally:
        seconds[name] = round(time.perf_counter() - begin, 3)


# ---- equality --------------------------------------------------------------------------------------------


def equality(work: Work) -> None:
    """Compare photos, awkward images and noise with the CPU backend; then memory and compiling."""
    warm_up(load("numba"))
    opened = work.open()
    gpu = GpuBackend(opened.name, opened.device)
    reference = Reference()
    scale = work.scale
    images = work.album.batch(scale.size, scale.batch, gpu)
    total = 0
    for k in scale.ks:
        total += _compare(gpu, reference, images, [FitOptions(k=k)] * len(images))
        work.findings.add(equal_images=total)
    awkward = _awkward_images(scale.noise)
    for k in (1, 3, 40, 256):
        options = [FitOptions(k=k, attempts=2, seed=i) for i in range(len(awkward))]
        total += _compare(gpu, reference, awkward, options)
        work.findings.add(equal_images=total)
    reference.forget()
    del gpu
    opened.device.release()
    work.findings.add(halved=_check_halving(work, opened.name, opened.device))
    work.findings.add(auto_k_memory=_check_memory(work, opened.name, opened.device))
    work.findings.add(cold_run=_check_cold_run(work))
    work.findings.summarise(f"{total} results equal the CPU's; memory is bounded, compiling is no hang")


def _compare(
    gpu: GpuBackend,
    reference: Reference,
    images: Sequence[NDArray[np.uint8]],
    options: Sequence[FitOptions],
) -> int:
    tasks = [Task(image, one, masks=True) for image, one in zip(images, options, strict=True)]
    results = list(gpu.segment_batches([tasks]))
    if len(results) != len(tasks):
        raise WrongResultError(f"{len(results)} results came of {len(tasks)} images")
    return reference.check(results, seconds=float("inf"))


def _awkward_images(noise: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Images at the edges of what there is: one pixel, one colour, a row, a column, every colour."""
    rng = np.random.default_rng(0)
    width, height = noise
    greys = np.repeat(np.arange(0, 256, 2, dtype=np.uint8), 3).reshape(8, 16, 3)
    return [
        np.full((1, 1, 3), 7, np.uint8),
        np.full((height // 4, width // 4, 3), 255, np.uint8),
        rng.integers(0, 256, (1, 301, 3), np.uint8),
        rng.integers(0, 256, (301, 1, 3), np.uint8),
        rng.integers(0, 12, (77, 81, 3), np.uint8),
        rng.integers(0, 256, (90, 200, 3), np.uint8)[::3, ::-2],
        greys,
        rng.integers(0, 256, (height, width, 3), np.uint8),
    ]


def _check_halving(work: Work, name: str, device: Device) -> dict[str, Any]:
    """Let the device run out of memory in the midst of a batch."""
    width, height = work.scale.large
    photos = work.album.batch((width, height), 4)
    tasks = [Task(photo, FitOptions(k=2, attempts=1), masks=False) for photo in photos]
    require_halving(name, device, tasks, work.scale.spare)
    work.album.forget()
    return {"images": len(tasks), "spare_bytes": work.scale.spare}


def _check_memory(work: Work, name: str, device: Device) -> dict[str, Any]:
    """Choose k for photos while batches run, and look how much memory is taken meanwhile.

    Raises:
        StepError: It is more than was given.
    """
    folder = work.scratch / "auto-k"
    jobs = write_photos(work, folder / "photos", work.scale.batch)
    _, k_range = parse_k("auto:2-4")
    settings = Settings(folder / "out", FitOptions(k=4, attempts=1), SAVE, k_range=k_range)
    prepare(settings.out, settings.save, [])
    device.activate()
    before = device.free_memory()
    gpu = GpuBackend(name, device, work.scale.memory)
    with _least_free(device) as least:
        outcomes = list(process_on_gpu(jobs, settings, gpu))
    taken = before - least[0]
    failed = [outcome for outcome in outcomes if getattr(outcome, "error", "lost") is not None]
    if failed or len(outcomes) != len(jobs):
        raise StepError(f"{len(failed)} of {len(jobs)} photos were not done with --k auto")
    if taken > work.scale.memory + ROUNDING:
        raise StepError(f"--gpu-memory allows {work.scale.memory} bytes, and {taken} were taken")
    return {"given_bytes": work.scale.memory, "taken_bytes": taken, "images": len(jobs)}


@contextmanager
def _least_free(device: Device) -> Iterator[list[int]]:
    """The least free memory of a device while the block runs, looked at every few milliseconds."""
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
    """Run with many clusters, nothing compiled, and a time limit that is shorter than compiling takes.

    Raises:
        StepError: Images were done on the CPU.
    """
    folder = work.scratch / "cold"
    jobs = write_photos(work, folder / "photos", min(8, work.scale.batch))
    os.environ["CUPY_CACHE_DIR"] = str(folder / "kernels")
    timeout = None if work.emulated else TIMEOUT
    options = FitOptions(k=COLD_K, attempts=2)
    summary, outcomes = run_photos(jobs, folder / "out", options, work.opener(), timeout=timeout)
    if summary.fallbacks or summary.failed:
        reasons = {outcome.fallback or outcome.error for outcome in outcomes}
        raise StepError(f"{summary.fallbacks} of {len(jobs)} photos were done on the CPU: {reasons}")
    return {"images": summary.done, "k": COLD_K, "timeout_s": timeout}
