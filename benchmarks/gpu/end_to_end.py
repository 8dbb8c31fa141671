"""From JPEG files to written outputs: how long a run takes, and what its threads and the GPU do meanwhile."""

from __future__ import annotations

import contextlib
import functools
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from benchmarks.checks import WrongResultError
from benchmarks.gpu.recording_device import Watch
from benchmarks.gpu.timing import MeasurementError, busy
from benchmarks.photos import read_photo
from kseg_batch import pipeline
from kseg_batch.backends import load
from kseg_batch.cv2_loader import import_cv2
from kseg_batch.outputs import prepare
from kseg_batch.pipeline import process_on_gpu
from kseg_batch.scan import Job
from kseg_batch.segmentation import segment_with
from kseg_batch.worker import Lost, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from benchmarks.gpu.measure import Bench
    from kseg_batch.options import FitOptions
    from kseg_batch.outputs import Save

MEMORY_DISK = Path("/dev/shm")
"""Where Linux keeps files in memory, so that no disk is measured."""
ROOM = 2 << 30
"""Bytes that must be free there."""
QUALITY = 90
"""Of the JPEG files."""
SAVE: frozenset[Save] = frozenset({"segmented", "masks"})
CHECKED = 4
"""Outputs compared with the CPU's after the first run."""


@dataclass(frozen=True, slots=True)
class EndToEnd:
    """Medians over several runs, in seconds."""

    images: int
    """Of a run."""
    files: int
    """Different JPEG files among them."""
    runs: int
    wall: float
    """Of a run with nothing recorded."""
    watched_wall: float
    """Of a run in which everything is recorded, and so below."""
    gpu_busy: float
    """The union of the intervals of all copies, launches and clears: an upper bound."""
    gpu_idle: float
    """The rest of the wall time."""
    kernels_busy: float
    """The union of the launches alone."""
    decode: float
    """Reading and decoding, over all threads, by the clock; they also wait for a core and for each other."""
    decode_cpu: float
    """The same, by the processor time of the threads."""
    encode: float
    """Encoding and writing, likewise."""
    encode_cpu: float

    @property
    def images_per_second(self) -> float:
        """Of a run with nothing recorded."""
        return self.images / self.wall


class _Clock:
    """Adds up the time that threads spend in some functions."""

    def __init__(self) -> None:
        self.spent: dict[str, list[tuple[float, float]]] = {}

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed by the wall clock and by the thread's processor time."""
        spent = self.spent.setdefault(name, [])

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            start, cpu = time.perf_counter(), time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent.append((time.perf_counter() - start, time.thread_time() - cpu))

        return timed

    def total(self, name: str) -> tuple[float, float]:
        """Seconds by the clock and of the processor, over all threads."""
        spent = self.spent.get(name, [])
        return sum(wall for wall, _ in spent), sum(cpu for _, cpu in spent)


@contextlib.contextmanager
def _timed_pipeline() -> Iterator[_Clock]:
    """Let the pipeline's decoding and encoding be timed."""
    clock = _Clock()
    with contextlib.ExitStack() as patches:
        for name in ("read", "write"):
            timed = clock.around(name, getattr(pipeline, name))
            patches.enter_context(mock.patch.object(pipeline, name, timed))
        yield clock


def measure(
    bench: Bench, images: Sequence[NDArray[np.uint8]], options: FitOptions, n: int, repeats: int
) -> EndToEnd:
    """Write the images as JPEG files, and segment those files over and over until `n` are done.

    Raises:
        MeasurementError: An image failed, or was done on the CPU.
        WrongResultError: An output is not what the CPU backend makes.
    """
    walls, watched = [], []
    with tempfile.TemporaryDirectory(dir=_folder()) as name:
        folder = Path(name)
        sources = _write_files(folder / "photos", images)
        jobs = [Job(sources[i % len(sources)], Path(f"{i:05}")) for i in range(n)]
        _run(bench, jobs[: max(CHECKED, n // 2)], folder / "out", options, check=True)
        for _ in range(repeats):
            walls.append(_run(bench, jobs, folder / "out", options))
            watched.append(_watched(bench, jobs, folder / "out", options))
    median = {key: statistics.median([one[key] for one in watched]) for key in watched[0]}
    return EndToEnd(n, len(sources), repeats, statistics.median(walls), **median)


def _watched(bench: Bench, jobs: Sequence[Job], out: Path, options: FitOptions) -> dict[str, float]:
    bench.device.begin(Watch.EVERYTHING)
    with _timed_pipeline() as clock:
        wall = _run(bench, jobs, out, options)
    operations = bench.device.take()
    gpu = busy(operations) / 1e3
    (decode, decode_cpu), (encode, encode_cpu) = clock.total("read"), clock.total("write")
    return {
        "watched_wall": wall,
        "gpu_busy": gpu,
        "gpu_idle": wall - gpu,
        "kernels_busy": busy(op for op in operations if op.kind == "launch") / 1e3,
        "decode": decode,
        "decode_cpu": decode_cpu,
        "encode": encode,
        "encode_cpu": encode_cpu,
    }


def _run(bench: Bench, jobs: Sequence[Job], out: Path, options: FitOptions, *, check: bool = False) -> float:
    """The seconds of a run, whose outputs are deleted."""
    prepare(out, SAVE, [])
    start = time.perf_counter()
    outcomes = list(process_on_gpu(jobs, Settings(out=out, fit=options, save=SAVE), bench.backend))
    seconds = time.perf_counter() - start
    try:
        reasons = {o.reason if isinstance(o, Lost) else o.error for o in outcomes} - {None}
        if reasons or len(outcomes) != len(jobs):
            raise MeasurementError(f"not all images were done on the GPU: {'; '.join(map(str, reasons))}")
        for job in jobs[:CHECKED] if check else ():
            _check(job, out, options)
    finally:
        shutil.rmtree(out, ignore_errors=True)
    return seconds


def _check(job: Job, out: Path, options: FitOptions) -> None:
    expected = segment_with(load("numba"), read_photo(job.source), options).segmented()
    written = read_photo(out / "segmented" / f"{job.stem}.png")
    if not (written == expected).all():
        raise WrongResultError(f"the segmented {job.source.name} is not what the CPU backend makes of it")


def _write_files(folder: Path, images: Sequence[NDArray[np.uint8]]) -> list[Path]:
    cv2 = import_cv2()
    folder.mkdir()
    paths = []
    for i, image in enumerate(images):
        encoded, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        if not encoded:
            raise MeasurementError("OpenCV cannot write JPEG files")
        paths.append(folder / f"photo{i:03}.jpg")
        paths[-1].write_bytes(data.tobytes())
    return paths


def _folder() -> Path | None:
    """Where there is room in memory; None for the usual place."""
    with contextlib.suppress(OSError):
        if MEMORY_DISK.is_dir() and shutil.disk_usage(MEMORY_DISK).free > ROOM:
            return MEMORY_DISK
    return None
