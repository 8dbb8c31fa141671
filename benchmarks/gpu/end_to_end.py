"""The step that times runs from JPEG files to written outputs, and the work of threads and GPU meanwhile."""

from __future__ import annotations

import contextlib
import functools
import shutil
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from benchmarks.gpu.measure import ObservedBackend
from benchmarks.gpu.recording_device import Watch
from benchmarks.gpu.timing import MeasurementError, busy
from benchmarks.photos import read_photo
from benchmarks.support.checks import WrongResultError
from benchmarks.support.folders import tree_digest, write_jpeg
from kseg_batch.backends.registry import load
from kseg_batch.batch.run import run
from kseg_batch.batch.storage.outputs import prepare_folders
from kseg_batch.batch.storage.scan import Job
from kseg_batch.batch.workers import gpu_pipeline
from kseg_batch.batch.workers.cpu import cpu_pool
from kseg_batch.batch.workers.executors import Executors
from kseg_batch.batch.workers.gpu_pipeline import process_on_gpu
from kseg_batch.batch.workers.jobs import Lost, Settings
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.processes import usable_cores
from kseg_batch.segmentation.segment import segment_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.gpu.step import Work
    from kseg_batch.backends.gpu.backend import GpuBackend
    from kseg_batch.batch.plan import Step as PlanStep
    from kseg_batch.batch.storage.outputs import Save
    from kseg_batch.batch.summary import RunSummary
    from kseg_batch.batch.workers.jobs import Outcome

RUNS = 2
"""Runs of each kind, in turn."""
SAVE: frozenset[Save] = frozenset({"segmented", "masks"})
CHECKED = 4
"""Outputs compared with those of the CPU after the first run."""


@dataclass(frozen=True, slots=True)
class EndToEnd:
    """Times of a run in this process, in seconds."""

    images: int
    wall: float
    """Wall time of a run without recording."""
    watched_wall: float
    """Wall time of a run in which everything is recorded. The fields below are of this run."""
    gpu_busy: float
    """The union of the intervals of all copies, launches and clears: an upper bound."""
    gpu_idle: float
    """The rest of the wall time."""
    kernels_busy: float
    """The union of the launches alone."""
    decode: float
    """Wall time of reading and decoding, summed over threads, with their waits for cores and each other."""
    decode_cpu: float
    """Processor time of reading and decoding, summed over threads."""
    encode: float
    """Wall time of encoding and writing, summed over threads."""
    encode_cpu: float


class _Clock:
    """Sums of the time that threads spend in some functions."""

    def __init__(self) -> None:
        self.spent: dict[str, list[tuple[float, float]]] = {}

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function with the time of each call recorded, by the wall clock and by the processor."""
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
        """Return wall time and processor time, in seconds, summed over threads."""
        spent = self.spent.get(name, [])
        return sum(wall for wall, _ in spent), sum(cpu for _, cpu in spent)


@contextlib.contextmanager
def _timed_pipeline() -> Iterator[_Clock]:
    """Time the decoding and encoding of the pipeline inside the context."""
    clock = _Clock()
    with contextlib.ExitStack() as patches:
        for name in ("load_image", "write_outputs"):
            timed = clock.around(name, getattr(gpu_pipeline, name))
            patches.enter_context(mock.patch.object(gpu_pipeline, name, timed))
        yield clock


def end_to_end(work: Work) -> None:
    """Time whole runs on the GPU and on all cores of the CPU in turn, then watch the GPU during a run.

    Raises:
        WrongResultError: The two write other files.
        MeasurementError: Images failed, or were done on the CPU.
    """
    scale, findings = work.scale, work.findings
    load("numba").warm_up()
    jobs = write_photos(work, work.scratch / "photos", scale.images)
    options = FitOptions(k=3)
    rates: dict[str, list[float]] = {"gpu": [], "cpu": []}
    seconds: dict[str, list[float]] = {"gpu": [], "cpu": []}
    written: dict[str, str] = {}
    for name in ("gpu", "cpu") * RUNS:
        out = work.scratch / f"out-{name}"
        opener = work.opener() if name == "gpu" else None
        summary, _, times = run_photos(jobs, out, options, opener)
        if summary.failed or summary.fallbacks or summary.done != len(jobs):
            raise MeasurementError(
                f"of {len(jobs)} photos {summary.done} were done, {summary.fallbacks} on the CPU"
            )
        written[name] = tree_digest(out)
        shutil.rmtree(out)
        rates[name].append(steady_rate(times))
        seconds[name].append(summary.seconds)
        findings.add(images=len(jobs), cores=usable_cores(), images_per_s=rates, seconds=seconds)
    if written["gpu"] != written["cpu"]:
        raise WrongResultError("the files of a run on the GPU are not those of a run on the CPU")
    gpu, cpu = (statistics.median(rates[name]) for name in ("gpu", "cpu"))
    findings.summarise(
        f"{len(jobs)} JPEG files: {gpu:.0f} images/s on the GPU, {cpu:.0f} on {usable_cores()} cores"
    )
    if findings.left() > 3 * min(seconds["gpu"]):  # a run to warm up, one unwatched, one watched
        findings.add(
            watched=asdict(measure(ObservedBackend(work.open()), jobs, options, work.scratch / "watched"))
        )


def run_photos(
    jobs: Sequence[Job],
    out: Path,
    options: FitOptions,
    open_gpu: Callable[[], GpuBackend] | None,
    timeout: float | None = None,
) -> tuple[RunSummary, list[Outcome], list[float]]:
    """Run `kseg-batch run` in this process, with a process for the GPU or with workers on all cores.

    Returns:
        The totals, the outcome of each image, and the time of each outcome, in seconds by a steady clock.
    """
    listener = _Listener()
    gpus = () if open_gpu is None else (("GPU 0", open_gpu),)
    executors = Executors(cpu_pool(usable_cores(), timeout), "numba", exact=True, gpus=gpus)
    settings = Settings(out=out, fit=options, save=SAVE)
    sources = sorted({job.source.parent for job in jobs})
    return run(jobs, sources, settings, executors, listener), listener.outcomes, listener.times


def steady_rate(times: Sequence[float]) -> float:
    """Return images per second without the first eighth, during which workers and GPU start."""
    first = len(times) // 8
    return (len(times) - 1 - first) / (times[-1] - times[first])


class _Listener:
    """A listener that keeps the outcomes of a run."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.times: list[float] = []

    def skipped(self, step: PlanStep) -> None:
        """See `RunListener`."""

    def finished(self, outcome: Outcome, line: dict[str, object]) -> None:
        """See `RunListener`."""
        self.outcomes.append(outcome)
        self.times.append(time.perf_counter())

    def message(self, text: str) -> None:
        """See `RunListener`."""
        print(text, flush=True)


def write_photos(work: Work, folder: Path, n: int) -> list[Job]:
    """Return jobs for `n` JPEG files, which are links to as many different files as a batch has images."""
    images = work.photos.batch(work.scale.size, min(n, work.scale.batch))
    folder.mkdir(parents=True)
    paths = [folder / f"{i:05}.jpg" for i in range(n)]
    for i, path in enumerate(paths):
        if i < len(images):
            write_jpeg(path, images[i])
        else:
            path.hardlink_to(paths[i % len(images)])
    return [Job(path, Path(path.stem)) for path in paths]


def measure(observed: ObservedBackend, jobs: Sequence[Job], options: FitOptions, out: Path) -> EndToEnd:
    """Segment JPEG files in this process, into a folder that is deleted.

    Raises:
        MeasurementError: An image failed, or was done on the CPU.
        WrongResultError: An output is not what the CPU backend makes.
    """
    _run(observed, jobs[: max(CHECKED, len(jobs) // 2)], out, options, check=True)
    wall = _run(observed, jobs, out, options)
    return EndToEnd(len(jobs), wall, **_watched(observed, jobs, out, options))


def _watched(
    observed: ObservedBackend, jobs: Sequence[Job], out: Path, options: FitOptions
) -> dict[str, float]:
    observed.device.begin(Watch.EVERYTHING)
    with _timed_pipeline() as clock:
        wall = _run(observed, jobs, out, options)
    operations = observed.device.take()
    gpu = busy(operations) / 1e3
    (decode, decode_cpu), (encode, encode_cpu) = clock.total("load_image"), clock.total("write_outputs")
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


def _run(
    observed: ObservedBackend, jobs: Sequence[Job], out: Path, options: FitOptions, *, check: bool = False
) -> float:
    """Return the seconds of a run, and delete its outputs."""
    prepare_folders(out, SAVE, [])
    start = time.perf_counter()
    outcomes = list(process_on_gpu(jobs, Settings(out=out, fit=options, save=SAVE), observed.backend))
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
        raise WrongResultError(f"the segmented {job.source.name} differs from that of the CPU backend")
