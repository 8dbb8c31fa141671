"""Peak memory of segment() above the image itself, each case in a fresh process. Linux only.

python -m benchmarks.speed.memory [--megapixels 2,10,50,100]
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.photos import PhotosMissingError, photo_1080p
from benchmarks.support.report import heading, line, save
from kseg_batch.bench.memory import PEAK_RESET, resident_mb
from kseg_batch.bench.synthetic import cover

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

KINDS = ("photo", "noise")
CLUSTERS = (3, 16)
WARM_UP = np.arange(12, dtype=np.uint8).reshape(2, 2, 3) // 2
"""Loads the kernels. Four colours of one cell: more would touch scratch memory, by huge pages, uncounted."""

LIMIT_MB = 200.0
"""Target, for any image up to 100 megapixels."""

WIDTHS = (10, -7, 4, 10, 9, 9, 9, 9)
COLUMNS = ("megapixels", "image", "k", "colours", "image MB", "peak +MB", "kept +MB", "seconds")


@dataclass(frozen=True, slots=True)
class Memory:
    """What one call took. 1 MB is 10**6 bytes."""

    megapixels: float
    kind: str
    """photo: the packaged one, enlarged; noise: uniform and independent."""
    k: int
    colors: int
    """Distinct ones."""
    image_mb: float
    """The pixels, which were in memory before the call."""
    peak_mb: float
    """Greatest resident memory during the call, less that just before it."""
    kept_mb: float
    """Resident memory after the call, with its result alive, less that just before it."""
    seconds: float

    def cells(self) -> tuple[str, ...]:
        """What the table shows."""
        return (
            f"{self.megapixels:g}",
            self.kind,
            str(self.k),
            str(self.colors),
            f"{self.image_mb:.0f}",
            f"{self.peak_mb:.1f}",
            f"{self.kept_mb:.1f}",
            f"{self.seconds:.2f}",
        )


def make_image(kind: str, megapixels: float) -> NDArray[np.uint8]:
    """An (H, W, 3) uint8 image, W : H near 16 : 9."""
    height = round(math.sqrt(megapixels * 1e6 * 9 / 16))
    width = round(megapixels * 1e6 / height)
    if kind == "photo":
        return cover(photo_1080p(), width, height)
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def measure_here(kind: str, megapixels: float, k: int) -> Memory:
    """Measure one call in this process, which should be fresh."""
    from kseg_batch import segment
    from kseg_batch.backends.registry import choose

    rgb = make_image(kind, megapixels)
    segment(WARM_UP, 2, backend="numba")
    PEAK_RESET.write_text("5", encoding="ascii")  # the peak counts from here
    before = resident_mb("VmRSS")
    start = time.perf_counter()
    result = segment(rgb, k, backend="numba")
    seconds = time.perf_counter() - start
    peak, after = resident_mb("VmHWM"), resident_mb("VmRSS")
    assert result.labels.shape == rgb.shape[:2]
    colors = choose("numba").backend.histogram(rgb).n_colors
    return Memory(megapixels, kind, k, colors, rgb.nbytes / 1e6, peak - before, after - before, seconds)


def measure(megapixels: list[float]) -> Iterator[Memory]:
    """Measure all cases, each in a process of its own.

    Raises:
        subprocess.CalledProcessError: A process fails; its stderr went to the terminal.
    """
    cases = [(size, kind, k) for size in megapixels for kind in KINDS for k in CLUSTERS]
    for size, kind, k in cases:
        command = [sys.executable, "-m", "benchmarks.speed.memory", "--one", kind, str(size), str(k)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        yield Memory(**json.loads(done.stdout))


def main() -> None:
    """Measure, print, and write the JSON file that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.memory", description=__doc__)
    parser.add_argument("--megapixels", default="2,10,50,100", help="sizes, e.g. 2,10,50,100")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures there too")
    parser.add_argument("--one", nargs=3, metavar=("KIND", "MEGAPIXELS", "K"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        kind, size, k = given.one
        print(json.dumps(asdict(measure_here(kind, float(size), int(k)))))
        return
    if not PEAK_RESET.exists():
        sys.exit(f"benchmarks.speed.memory: this system has no {PEAK_RESET}, which resets a process's peak")
    print(heading("Memory of segment() above the image, backend numba", {}), end="\n\n")
    print(line(COLUMNS, WIDTHS), flush=True)
    results: list[Memory] = []
    try:
        for result in measure([float(size) for size in given.megapixels.split(",")]):
            print(line(result.cells(), WIDTHS), flush=True)
            results.append(result)
    except (OSError, PhotosMissingError, subprocess.CalledProcessError) as error:
        sys.exit(f"benchmarks.speed.memory: {error}")
    most = max(result.peak_mb for result in results)
    print(f"\npeak {most:.1f} MB; target < {LIMIT_MB:g} MB: {'met' if most < LIMIT_MB else 'missed'}")
    if given.json:
        save(given.json, {}, [asdict(result) for result in results])


if __name__ == "__main__":
    main()
