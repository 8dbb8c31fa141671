"""Run benchmarks of the catalogue one after the other, each command as a child process."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from benchmarks.support.report import line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.catalog import Benchmark

ROOT = Path(__file__).parents[1]

RESULTS_WORD = "benchmarks/results"
"""The output folder in the commands of the catalogue."""

PHOTOS_WORD = "PHOTOS"
"""The folder of photos in the commands of the catalogue, and its name in the folder where they run."""

Status = Literal["done", "failed", "skipped"]

WIDTHS = (-13, -8, 8)
TEXT_WIDTH = 80 - sum(map(abs, WIDTHS)) - 2 * len(WIDTHS)


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """The outcome of one benchmark."""

    name: str
    status: Status
    seconds: float
    text: str
    """The written files; for one that failed or was skipped, the reason."""


class CommandError(Exception):
    """A command failed, with one sentence about the reason."""


class Runner:
    """Runs benchmarks, and keeps their results.

    Attributes:
        results: The results so far.
    """

    def __init__(self, out: Path, folder: Path | None, photos: Sequence[Path], *, quick: bool) -> None:
        """Prepare.

        Args:
            out: Absolute path of the existing output folder.
            folder: The folder of the photos; None if there is none.
            photos: Absolute paths of all photos below the folder.
            quick: True for the smallest sizes, and one photo.
        """
        self.results: list[BenchmarkResult] = []
        self._out = out
        self._folder = folder
        self._photos = photos
        self._quick = quick

    def run(self, benchmarks: Sequence[Benchmark]) -> None:
        """Run benchmarks one after the other. One that fails does not stop the others."""
        for number, benchmark in enumerate(benchmarks, 1):
            print(f"\n[{number}/{len(benchmarks)}] {benchmark.name}: {benchmark.summary}", flush=True)
            result = self._run(benchmark)
            self.results.append(result)
            print(f"{result.name}: {result.status}: {result.text}", flush=True)

    def _run(self, benchmark: Benchmark) -> BenchmarkResult:
        if (reason := self._reason_to_skip(benchmark)) is not None:
            return BenchmarkResult(benchmark.name, "skipped", 0.0, reason)
        print(f"writes {', '.join(benchmark.writes)}", flush=True)
        before, start = self._versions(benchmark), time.perf_counter()
        options = benchmark.quick if self._quick else ""
        error = None
        with tempfile.TemporaryDirectory(prefix="benchmarks-") as scratch:
            photos = self._choose_photos(benchmark)
            self._link_photos(photos, Path(scratch, PHOTOS_WORD))
            try:
                for command in benchmark.commands:
                    _run_command(self._words(f"{command} {options}", photos), Path(scratch))
            except CommandError as reason_of_failure:
                error = str(reason_of_failure)
        seconds = time.perf_counter() - start
        files = ", ".join(
            name for name, version in self._versions(benchmark).items() if before.get(name) != version
        )
        if error is None and files:
            return BenchmarkResult(benchmark.name, "done", seconds, files)
        text = "; ".join([error or "no file was written", *([f"written: {files}"] if files else [])])
        return BenchmarkResult(benchmark.name, "failed", seconds, text)

    def _reason_to_skip(self, benchmark: Benchmark) -> str | None:
        if benchmark.needs_photos and not self._photos:
            return "photos are needed: --photos DIR"
        problems = (need.problem() for need in benchmark.needs)
        return next((problem for problem in problems if problem is not None), None)

    def _versions(self, benchmark: Benchmark) -> dict[str, int]:
        """Return the modification times, in nanoseconds, of a benchmark's files, by name."""
        found = (path for name in benchmark.writes for path in self._out.glob(name))
        return {path.name: path.stat().st_mtime_ns for path in found}

    def _choose_photos(self, benchmark: Benchmark) -> Sequence[Path]:
        """Return the documented photos of a benchmark if all are there, else as many others."""
        if self._quick:
            return self._photos[:1]
        if not benchmark.photos:
            return self._photos
        named = [path for path in self._photos if path.stem in benchmark.photos]
        return named if len(named) == len(benchmark.photos) else self._photos[: len(benchmark.photos)]

    def _link_photos(self, photos: Sequence[Path], folder: Path) -> None:
        """Make a folder of links to photos, under the same relative paths."""
        for photo in photos:
            assert self._folder is not None
            link = folder / photo.relative_to(self._folder.absolute())
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(photo)

    def _words(self, command: str, photos: Sequence[Path]) -> list[str]:
        """Return the words of a command of the catalogue, with programs, photos and folders put in."""
        words = []
        for word in shlex.split(command):
            if word == "python":
                words.append(sys.executable)
            elif word == "kseg-batch":
                words += [sys.executable, "-m", "kseg_batch"]
            elif word == "PHOTO...":
                words += map(str, photos)
            elif word == "PHOTO":
                words.append(str(photos[0]))
            elif word.startswith(RESULTS_WORD):
                words.append(f"{self._out}{word.removeprefix(RESULTS_WORD)}")
            else:
                words.append(word)
        return words


def _run_command(words: Sequence[str], folder: Path) -> None:
    """Run a command in a folder. Its stdout is that of this process.

    Raises:
        CommandError: The command cannot be started, or its exit status is not 0.
    """
    print(f"$ {shlex.join(words)}", flush=True)
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    try:
        done = subprocess.run(
            words,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path},
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise CommandError(f"{words[0]} cannot be started: {error.strerror}") from error
    print(done.stderr, end="", file=sys.stderr, flush=True)
    if done.returncode:
        lines = [text for text in done.stderr.splitlines() if any(map(str.isalnum, text))]
        raise CommandError(lines[-1].strip() if lines else f"exit status {done.returncode}")


def result_table(results: Sequence[BenchmarkResult]) -> list[str]:
    """Return the lines of a table of results, of at most 80 columns."""
    widths = (*WIDTHS, -TEXT_WIDTH)
    lines = [line(("benchmark", "status", "seconds", "files, or reason"), widths)]
    for result in results:
        texts = textwrap.wrap(result.text, TEXT_WIDTH) or [""]
        cells = (result.name, result.status, f"{result.seconds:.1f}")
        lines.append(line((*cells, texts[0]), widths))
        lines += [line(("", "", "", text), widths) for text in texts[1:]]
    return lines
