"""Time the start: compilation, a first photo with cached kernels, and the help text, each in a fresh process.

python -m benchmarks.speed.startup [--json FILE]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.photos import photo_1080p
from benchmarks.support.arguments import add_json, exit_with_message, make_parser
from benchmarks.support.checks import WrongResultError
from benchmarks.support.report import heading, line, save

PROGRAM = "benchmarks.speed.startup"

K = 3

SEGMENT = f"""\
import sys
import numpy as np
rgb = np.load(sys.argv[1])
from kseg_batch import segment
result = segment(rgb, {K}, backend="numba")
print("done" if result.counts.sum() == result.labels.size == rgb.size // 3 else "wrong", flush=True)
"""
"""Program of a fresh process: read a decoded photo, import, segment, and print a line."""

WIDTHS = (-52, 5, 9, 9, 9)


@dataclass(frozen=True, slots=True)
class Startup:
    """The wall time of one kind of start."""

    name: str
    runs: int
    median_s: float
    least_s: float
    most_s: float

    @classmethod
    def of(cls, name: str, seconds: list[float]) -> Startup:
        """Summarise the seconds of several runs."""
        return cls(name, len(seconds), statistics.median(seconds), min(seconds), max(seconds))

    def cells(self) -> tuple[str, ...]:
        """Return the cells of a table row."""
        times = (self.median_s, self.least_s, self.most_s)
        return self.name, str(self.runs), *(f"{1e3 * seconds:.0f}" for seconds in times)


def seconds_to_first_line(command: list[str], cache: Path | None = None) -> float:
    """Return the wall time from starting a process to the first line that it prints.

    Args:
        command: Program and arguments.
        cache: Folder of Numba's compiled kernels; None for the usual folder.

    Raises:
        subprocess.CalledProcessError: The process fails; its stderr went to the terminal.
        WrongResultError: The process prints another line than `done`.
    """
    environment = dict(os.environ)
    if cache is not None:
        environment["NUMBA_CACHE_DIR"] = str(cache)
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        printed = process.stdout.readline()
        seconds = time.perf_counter() - start
        process.stdout.read()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    if printed != b"done\n":
        raise WrongResultError("The first segmentation of a fresh process is wrong.")
    return seconds


def seconds_to_end(command: list[str]) -> float:
    """Return the wall time from starting a process to its exit."""
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def measure(compilations: int) -> list[Startup]:
    """Time every kind of start, with `compilations` starts from an empty cache."""
    script = str(Path(sysconfig.get_path("scripts"), "kseg-batch"))
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder, "photo.npy")
        np.save(photo, photo_1080p())
        segment = [sys.executable, "-c", SEGMENT, str(photo)]
        caches = [Path(folder, f"cache{i}") for i in range(compilations)]
        cold = [seconds_to_first_line(segment, cache) for cache in caches]
        warm = [seconds_to_first_line(segment, caches[0]) for _ in range(5)]
    bare = [seconds_to_end([sys.executable, "-c", "import numpy"]) for _ in range(7)]
    helps = [seconds_to_end([script, "--help"]) for _ in range(7)]
    return [
        Startup.of(f"first 1080p segment(), k = {K}, compilation included", cold),
        Startup.of("process start to its end, kernels cached", warm),
        Startup.of("kseg-batch --help", helps),
        Startup.of("for comparison: python -c 'import numpy'", bare),
    ]


def main() -> None:
    """Measure, and print a table."""
    parser = make_parser(PROGRAM, __doc__)
    parser.add_argument("--compilations", type=int, default=3, help="starts with an empty cache")
    add_json(parser)
    given = parser.parse_args()
    print(heading("Start-up of kseg-batch", {}), end="\n\n")
    print(line(("fresh process", "runs", "median ms", "least", "most"), WIDTHS), flush=True)
    with exit_with_message(PROGRAM):
        results = measure(given.compilations)
        print(*(line(result.cells(), WIDTHS) for result in results), sep="\n")
        if given.json:
            save(given.json, {"k": K}, [asdict(result) for result in results])


if __name__ == "__main__":
    main()
