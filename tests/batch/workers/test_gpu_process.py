"""A GPU in a process of its own, emulated: after any failure no image is lost or done twice."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest

from kseg_batch.batch.run import run
from kseg_batch.batch.storage.scan import Job, Scan
from kseg_batch.batch.summary import RunSummary
from kseg_batch.batch.workers import gpu_process
from kseg_batch.batch.workers.cpu import cpu_pool
from kseg_batch.batch.workers.executors import Executors
from kseg_batch.batch.workers.jobs import Lost, Outcome, Settings
from kseg_batch.errors import BackendUnavailableError
from kseg_batch.kmeans.options import FitOptions, parse_k
from tests.gpu.emulator.device import (
    dying_gpu,
    emulated_gpu,
    endless_gpu,
    failing_gpu,
    hanging_gpu,
    missing_gpu,
    mistaken_gpu,
    sealed_gpu,
)
from tests.support.executors import ALL_KINDS, FILTER, RecordingListener, start_gpu_process
from tests.support.image_files import save
from tests.support.images import photos
from tests.support.outputs import pngs
from tests.support.palettes import random_palette
from tests.support.processes import PATIENCE, child_workers, wait_until_gone

if TYPE_CHECKING:
    from kseg_batch.backends.gpu.backend import GpuBackend


@pytest.fixture(scope="module")
def photo_folder(tmp_path_factory: pytest.TempPathFactory, emulated: GpuBackend) -> Path:
    """Twelve photos and a broken file; the kernels are compiled."""
    emulated.warm_up()
    folder = tmp_path_factory.mktemp("photo_folder")
    for i in range(12):
        save(photos()["coffee"][i * 7 : i * 7 + 30 + i, : 61 - i], folder / f"{i:02}.png")
    (folder / "broken.png").write_bytes((folder / "00.png").read_bytes()[:500])
    return folder


def segment(
    photo_folder: Path, out: Path, *gpus: Any, required: bool = False
) -> tuple[RunSummary, list[Outcome]]:
    """A whole run, on the GPUs that the given functions open, or on the CPU."""
    listener = RecordingListener()
    named = tuple((f"GPU {i}", gpu) for i, gpu in enumerate(gpus))
    pool = cpu_pool(2, timeout=20)
    executors = Executors(pool, "numba", exact=True, gpus=named, gpus_required=required)
    settings = Settings(out, FitOptions(k=3, attempts=2), ALL_KINDS, selection=FILTER)
    summary = run(Scan([photo_folder]).jobs(), [photo_folder], settings, executors, listener)
    assert not child_workers()
    return summary, listener.outcomes


@pytest.fixture(scope="module")
def expected(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The files of a run on the CPU."""
    out = tmp_path_factory.mktemp("cpu")
    segment(photo_folder, out)
    return pngs(out)


def test_a_run_on_two_gpus(photo_folder: Path, tmp_path: Path, cache: Path, expected: dict[str, Any]) -> None:
    threads = threading.active_count()
    summary, outcomes = segment(photo_folder, tmp_path, *[partial(emulated_gpu, cache)] * 2)
    assert (summary.done, summary.failed, summary.fallbacks) == (12, 1, 0)
    assert pngs(tmp_path) == expected
    assert {o.palette.backend for o in outcomes if o.palette} == {"cupy"}
    assert threading.active_count() == threads


@pytest.mark.parametrize("launches", [0, 14, 30])
def test_a_gpu_that_fails_in_mid_run(
    photo_folder: Path, tmp_path: Path, cache: Path, expected: dict[str, Any], launches: int
) -> None:
    summary, outcomes = segment(photo_folder, tmp_path, partial(failing_gpu, cache, launches))
    assert (summary.done, summary.failed) == (12, 1)
    assert (launches > 0) or summary.fallbacks == 12
    assert 0 < summary.fallbacks <= 12
    assert pngs(tmp_path) == expected
    for outcome in outcomes:
        if outcome.palette is not None:
            assert (outcome.palette.backend == "numba") == (outcome.fallback is not None)
        if outcome.palette is not None and outcome.fallback is not None:
            assert outcome.fallback == "GPU 0: the GPU failed: it has fallen off the bus"
            assert outcome.notes[-1] == f"it was done on the CPU: {outcome.fallback}"


@pytest.mark.parametrize(
    ("gpu", "reason"),
    [
        (missing_gpu, "GPU 0: there is no such device"),
        (dying_gpu, "GPU 0: its process was killed by SIGSEGV"),
    ],
)
def test_a_gpu_that_cannot_be_opened(
    photo_folder: Path, tmp_path: Path, expected: dict[str, Any], gpu: Any, reason: str
) -> None:
    summary, outcomes = segment(photo_folder, tmp_path, gpu)
    assert (summary.done, summary.failed) == (12, 1)
    assert {o.fallback for o in outcomes} <= {None, reason}
    assert summary.fallbacks > 0
    assert pngs(tmp_path) == expected


@pytest.mark.parametrize("clusters", ["3", "40", "auto:31-33", "palette"])
def test_every_kernel_is_compiled_before_the_first_image(
    photo_folder: Path, tmp_path: Path, cache: Path, clusters: str
) -> None:
    """`--timeout` counts from the first image on: seconds of compiling would pass for a hang."""
    fit, k_range = FitOptions(k=3, attempts=1, max_iter=2), None
    if clusters == "palette":
        fit = replace(fit, k=34, color_space="lab")
    else:
        k, k_range = parse_k(clusters)
        fit = replace(fit, k=k)
    settings = Settings(tmp_path, fit, frozenset({"segmented", "masks"}), k_range=k_range)
    if clusters == "palette":
        settings = replace(settings, palette=random_palette(34))
    listener = RecordingListener()
    executors = Executors(cpu_pool(1), "numba", exact=True, gpus=(("GPU 0", partial(sealed_gpu, cache)),))
    summary = run(islice(Scan([photo_folder]).jobs(), 3), [photo_folder], settings, executors, listener)
    assert {o.fallback for o in listener.outcomes} == {None}
    assert (summary.done, summary.fallbacks) == (3, 0)


def test_an_image_that_begins_on_the_cpu_has_the_reasons_of_all_gpus(
    photo_folder: Path, tmp_path: Path, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_process, "usable_cores", lambda: 1)  # so that not all images fit on the GPUs
    summary, outcomes = segment(photo_folder, tmp_path, missing_gpu, dying_gpu)
    assert (summary.done, summary.failed, summary.fallbacks) == (12, 1, 12)
    missing, dead = "GPU 0: there is no such device", "GPU 1: its process was killed by SIGSEGV"
    reasons = {o.fallback for o in outcomes}
    assert f"{missing}; {dead}" in reasons
    assert reasons <= {missing, dead, f"{missing}; {dead}"}
    assert pngs(tmp_path) == expected


@pytest.mark.parametrize(
    ("gpu", "kind", "reason"),
    [
        (missing_gpu, BackendUnavailableError, "GPU 1: there is no such device"),
        (dying_gpu, BackendUnavailableError, "GPU 1: its process was killed by SIGSEGV"),
        (mistaken_gpu, RuntimeError, "unexpected error in the process of a GPU:\n.*ZeroDivisionError"),
    ],
)
def test_nothing_is_written_where_a_gpu_that_is_required_cannot_be_opened(
    photo_folder: Path, tmp_path: Path, cache: Path, gpu: Any, kind: type[Exception], reason: str
) -> None:
    threads = threading.active_count()
    with pytest.raises(kind, match=f"(?s)^{reason}"):
        segment(photo_folder, tmp_path / "out", partial(emulated_gpu, cache), gpu, required=True)
    assert not (tmp_path / "out").exists()
    assert not child_workers()
    assert threading.active_count() == threads


def test_a_gpu_that_is_required_is_not_waited_for_without_end(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_process, "OPENING_SECONDS", 1)
    with pytest.raises(BackendUnavailableError, match=r"^GPU 0: nothing came back for 1 seconds$"):
        segment(photo_folder, tmp_path / "out", endless_gpu, required=True)
    assert not child_workers()


def test_a_killed_process_gives_back_its_jobs(photo_folder: Path, tmp_path: Path, cache: Path) -> None:
    done: SimpleQueue[Any] = SimpleQueue()
    jobs = list(Scan([photo_folder]).jobs())
    process = start_gpu_process(tmp_path, partial(emulated_gpu, cache), done)
    capacity = process.capacity
    for job in jobs[:capacity]:
        process.submit(job)
    first = done.get(timeout=PATIENCE)
    (pid,) = child_workers()
    os.kill(pid, signal.SIGKILL)
    results = [first, *(done.get(timeout=PATIENCE) for _ in jobs[1:capacity])]
    assert sorted(r.job.name for r in results) == [job.name for job in jobs[:capacity]]
    reason = "GPU 5: its process was killed by SIGKILL, as happens for want of memory"
    assert {r.reason for r in results if isinstance(r, Lost)} <= {reason}
    assert process.capacity == 0
    process.submit(Job(photo_folder / "late.png", Path("late")))
    assert done.get(timeout=PATIENCE).job.name == "late"
    process.stop()
    process.stop()
    assert done.empty()


def test_a_silent_process_is_ended(photo_folder: Path, tmp_path: Path, cache: Path) -> None:
    done: SimpleQueue[Any] = SimpleQueue()
    process = start_gpu_process(tmp_path, partial(hanging_gpu, cache), done, timeout=1)
    process.submit(Job(photo_folder / "00.png", Path("00")))
    lost = done.get(timeout=PATIENCE)
    assert lost.reason == "GPU 5: nothing came back for 1 seconds"
    process.stop()
    assert not child_workers()


def test_stopped_at_work(photo_folder: Path, tmp_path: Path, cache: Path) -> None:
    threads = threading.active_count()
    done: SimpleQueue[Any] = SimpleQueue()
    process = start_gpu_process(tmp_path, partial(emulated_gpu, cache), done)
    for job in list(Scan([photo_folder]).jobs())[: process.capacity]:
        process.submit(job)
    process.stop()
    assert not child_workers()
    assert threading.active_count() == threads


def test_the_process_does_not_outlive_its_parent(tmp_path: Path, cache: Path) -> None:
    code = f"""
import time
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from kseg_batch.batch.storage.scan import Job
from tests.gpu.emulator.device import hanging_gpu
from tests.support.executors import start_gpu_process
from tests.support.processes import child_workers
if __name__ == "__main__":
    gpu = partial(hanging_gpu, Path({str(cache)!r}))
    process = start_gpu_process(Path({str(tmp_path)!r}), gpu, SimpleQueue())
    process.submit(Job(Path("a.png"), Path("a")))
    time.sleep(0.5)
    print(*child_workers(), flush=True)
    time.sleep(1000)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    line = parent.stdout.readline()
    assert re.fullmatch(r"\d+\n", line)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until_gone([int(line)])
