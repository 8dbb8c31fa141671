"""`kseg-batch run` and `kseg-batch fit` as a user starts them, measured from outside. Linux only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.support.checks import WrongResultError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

POLL = 0.02
"""Seconds between two readings of the processes' memory and time."""


@dataclass(frozen=True, slots=True)
class Watched:
    """Time and memory of one command over images that all have to be done, or skipped."""

    images: int
    seconds: float
    """Wall time of the whole command."""
    rate: float
    """Images per second as the command itself prints: without its own start, with that of its workers."""
    steady: float
    """Images per second between the first tenth of the images and the last image: without any start."""
    parent_seconds: float
    """Processor time of the parent, without its workers."""
    parent_bytes: int
    """Peak resident memory of the parent."""
    worker_bytes: int
    """Peak resident memory of the largest descendant of the parent."""


def run(
    sources: Sequence[Path], out: Path, workers: int, n_images: int, *flags: str, skipped: bool = False
) -> Watched:
    """Run `kseg-batch run` on the CPU, and measure its processes.

    Args:
        sources: Folders and files.
        out: Output folder.
        workers: Number of worker processes.
        n_images: Number of images in the sources.
        flags: Further flags.
        skipped: True where all images are done already.

    Raises:
        WrongResultError: The command failed, or did not do every image.
    """
    words = ["run", *map(str, sources), "-o", str(out), "--workers", str(workers), *flags]
    return _watched(words, n_images, "skipped" if skipped else "done")


def fit(sources: Sequence[Path], out: Path, workers: int, n_images: int, *flags: str) -> Watched:
    """Run `kseg-batch fit` on the CPU, and measure its processes; the arguments are those of `run`.

    Raises:
        WrongResultError: The command failed, or did not count every image.
    """
    words = ["fit", *map(str, sources), "-o", str(out), "--workers", str(workers), *flags]
    return _watched(words, n_images, "counted")


def _watched(words: Sequence[str], n_images: int, expected: str) -> Watched:
    """Run a command that prints a line for each image; all images must be `expected` in its summary."""
    command = [sys.executable, "-m", "kseg_batch", *words, "--no-gpu", "--json"]
    start = time.perf_counter()
    lines: list[tuple[float, bytes]] = []
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        reader = threading.Thread(target=_read_lines, args=(process, lines))
        reader.start()
        parent_seconds, parent_bytes, worker_bytes = _watch(process)
        seconds = time.perf_counter() - start
        reader.join()
        errors.seek(0)
        if process.returncode != 0:
            raise WrongResultError(f"{' '.join(command)} failed:\n{errors.read().decode()}")
    summary = json.loads(lines[-1][1])["summary"]
    if summary[expected] != n_images or len(lines) != n_images + 1:
        raise WrongResultError(f"{' '.join(command)} did not do every image: {summary}")
    rate = n_images / summary["seconds"]
    return Watched(
        images=n_images,
        seconds=seconds,
        rate=rate,
        steady=_steady([at for at, _ in lines[:-1]]) if n_images > 1 else rate,
        parent_seconds=parent_seconds,
        parent_bytes=parent_bytes,
        worker_bytes=worker_bytes,
    )


def _steady(times: Sequence[float]) -> float:
    """Return images per second after the first tenth, of the times at which two or more images were done."""
    first = max(1, len(times) // 10)
    return (len(times) - first) / (times[-1] - times[first - 1])


def _read_lines(process: subprocess.Popen[bytes], lines: list[tuple[float, bytes]]) -> None:
    """Append each line that a process prints, with the time of its arrival."""
    assert process.stdout is not None
    for text in process.stdout:
        lines.append((time.perf_counter(), text))


def _watch(process: subprocess.Popen[bytes]) -> tuple[float, int, int]:
    """Wait for a process to exit.

    Returns:
        Its processor time in seconds, its peak memory in bytes, and that of its largest descendant.
    """
    ticks = os.sysconf("SC_CLK_TCK")
    cpu_seconds, memory, below = 0.0, 0, 0
    waiting = threading.Thread(target=process.wait)
    waiting.start()
    while waiting.is_alive():
        if (peak := _peak(process.pid)) is not None:
            memory = peak
            below = max([below, *(_peak(child) or 0 for child in _descendants(process.pid))])
        try:
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            cpu_seconds = max(cpu_seconds, (int(fields[11]) + int(fields[12])) / ticks)
        except (FileNotFoundError, ProcessLookupError):
            break
        time.sleep(POLL)
    waiting.join()
    return cpu_seconds, memory, below


def _peak(pid: int) -> int | None:
    """Return the peak resident memory of a process in bytes; None if the process has exited."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return 1024 * int(status.partition("VmHWM:")[2].split()[0]) if "VmHWM" in status else None


def _descendants(pid: int) -> Iterator[int]:
    """Yield the ids of all descendants of a process."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return
    for child in children:
        yield child
        yield from _descendants(child)
