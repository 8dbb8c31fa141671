"""The steps that check the results of a GPU, before anything is measured."""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.gpu.checks import Reference, check_reference
from benchmarks.gpu.findings import StepError
from benchmarks.support.checks import WrongResultError
from kseg_batch.backends.gpu.backend import GpuBackend
from kseg_batch.backends.gpu.batch import BatchItem
from kseg_batch.backends.registry import load
from kseg_batch.backends.self_test import self_test as find_wrong_parts
from kseg_batch.kmeans.options import FitOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from benchmarks.gpu.step import Work


MANY_CLUSTERS = 64
"""A number of clusters for which other kernels are compiled than for few clusters."""


# ---- self-test -------------------------------------------------------------------------------------------


def self_test(work: Work) -> None:
    """Open the device, compile the kernels, and compare a few images with the reference."""
    seconds: dict[str, float] = {}
    with _timed(seconds, "open"):
        opened = work.open()
        gpu = GpuBackend(opened.name, opened.device)
    work.findings.add(seconds=seconds, backend=opened.name, memory=gpu.memory)
    for k in (2, MANY_CLUSTERS):
        with _timed(seconds, f"compile, k = {k}"):
            gpu.warm_up((k,))
        work.findings.save()
    with _timed(seconds, "compare"):
        _require_nothing_wrong(gpu)
        work.findings.add(small_images=check_reference(gpu, work.photos))
    compiled = sum(spent for name, spent in seconds.items() if name.startswith("compile"))
    work.findings.summarise(
        f"equals the reference; opened in {seconds['open']:.1f} s, compiled in {compiled:.1f} s"
    )


def warnings(work: Work) -> None:
    """Run the self test with compiled kernels, where every warning is an error."""
    run_strictly(work, work.kind)
    work.findings.summarise("the self test passes under python -W error")


def run_strictly(work: Work, kind: str) -> None:
    """Run the self test in a process in which every warning is an error.

    Raises:
        StepError: The process fails.
    """
    done = subprocess.run(work.command_of("self-test", kind=kind, flags=("-W", "error")), check=False)
    if done.returncode:
        raise StepError(f"under python -W error the self test of {kind} exits with status {done.returncode}")


def _require_nothing_wrong(gpu: GpuBackend) -> None:
    if wrong := find_wrong_parts(gpu):
        raise WrongResultError(f"the self test finds other {', '.join(wrong)} than the reference's")


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    begin = time.perf_counter()
    try:
        yield
    finally:
        seconds[name] = round(time.perf_counter() - begin, 3)


# ---- equality --------------------------------------------------------------------------------------------


def equality(work: Work) -> None:
    """Compare photos, awkward images and noise with the CPU backend.

    Raises:
        WrongResultError: A result differs.
    """
    load("numba").warm_up()
    opened = work.open()
    gpu = GpuBackend(opened.name, opened.device)
    reference = Reference()
    scale = work.scale
    images = work.photos.batch(scale.size, scale.batch, gpu)
    total = 0
    for k in scale.ks:
        total += _compare(gpu, reference, images, [FitOptions(k=k)] * len(images))
        work.findings.add(equal_images=total)
    awkward = _awkward_images(scale.noise)
    for k in (1, 3, 40, 256):
        options = [FitOptions(k=k, attempts=2, seed=i) for i in range(len(awkward))]
        total += _compare(gpu, reference, awkward, options)
        work.findings.add(equal_images=total)
    work.findings.summarise(f"{total} results equal the CPU's")


def _compare(
    gpu: GpuBackend,
    reference: Reference,
    images: Sequence[NDArray[np.uint8]],
    options: Sequence[FitOptions],
) -> int:
    tasks = [BatchItem(image, one, masks=True) for image, one in zip(images, options, strict=True)]
    results = list(gpu.segment_batches([tasks]))
    if len(results) != len(tasks):
        raise WrongResultError(f"{len(results)} results came of {len(tasks)} images")
    return reference.check(results, seconds=float("inf"))


def _awkward_images(noise: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Return awkward images: one pixel, one colour, a row, a column, every colour."""
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
