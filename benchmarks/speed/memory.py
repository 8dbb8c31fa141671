"""Measure the peak memory of segment() above the image itself, each case in a fresh process. Linux only.

python -m benchmarks.speed.memory [--megapixels 2,10,50,100] [--json FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from benchmarks.support import large_images
from benchmarks.support.arguments import add_json, exit_with_message, make_parser, numbers
from benchmarks.support.checks import WrongResultError
from benchmarks.support.report import heading, line, save, target_line
from benchmarks.support.stopwatch import median_seconds, timed
from kseg_batch import segment
from kseg_batch.backends.registry import load
from kseg_batch.bench.memory import PEAK_RESET, resident_mb

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

PROGRAM = "benchmarks.speed.memory"

ImageKind = Literal["enlarged", "noise", "tiled"]

KINDS: tuple[ImageKind, ...] = ("enlarged", "noise")
CLUSTERS = (3, 16)

WARM_UP = np.arange(12, dtype=np.uint8).reshape(2, 2, 3) // 2
"""Loads the kernels. Four colours of one cell: more would touch scratch memory, by huge pages, uncounted."""

LIMIT_MB = 200.0
"""Target for any image of up to 100 megapixels, in MB of 10**6 bytes."""

WIDTHS = (10, -8, 4, 10, 9, 9, 9, 9)
COLUMNS = ("megapixels", "image", "k", "colours", "image MB", "above MB", "kept MB", "seconds")
SAVED = ("image", "pixels", "k", "colors", "image_mb", "above_mb", "kept_mb", "seconds")


@dataclass(frozen=True, slots=True)
class SegmentCase:
    """An image, and the call of segment() to measure on it."""

    image: ImageKind
    megapixels: float
    k: int
    photo: str | None = None
    """File that the image is made of; None for the packaged photo."""
    repeat: int = 0
    """Timed calls after the first call."""


@dataclass(frozen=True, slots=True)
class SegmentCall:
    """Memory and time of segment(). 1 MB is 10**6 bytes."""

    image: ImageKind
    pixels: int
    k: int
    colors: int
    """Distinct colours."""
    image_mb: float
    """The pixels, which are in memory before the call."""
    peak_mb: float
    """Peak resident memory of the process during the first call, with the image."""
    above_mb: float
    """`peak_mb` less the resident memory just before the call."""
    kept_mb: float
    """Resident memory after the call, with its result alive, less the memory just before the call."""
    seconds: float
    """Median of the timed calls; without any, the time of the first call."""
    digest: str
    """SHA-256 of labels and centres, its first 16 digits."""

    def cells(self) -> tuple[str, ...]:
        """Return the cells of a table row."""
        return (
            f"{self.pixels / 1e6:.4g}",
            self.image,
            str(self.k),
            str(self.colors),
            f"{self.image_mb:.0f}",
            f"{self.above_mb:.1f}",
            f"{self.kept_mb:.1f}",
            f"{self.seconds:.2f}",
        )


def measure(case: SegmentCase) -> SegmentCall:
    """Measure a case in a process of its own.

    Raises:
        subprocess.CalledProcessError: The process fails; its stderr went to the terminal.
    """
    command = [sys.executable, "-m", PROGRAM, "--case", json.dumps(asdict(case))]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return SegmentCall(**json.loads(done.stdout))


def measure_here(case: SegmentCase) -> SegmentCall:
    """Measure a case in this process, which should be fresh.

    Raises:
        WrongResultError: The counts are not those of the labels, or do not add up to the pixels.
    """
    rgb = make_image(case)
    segment(WARM_UP, 2, backend="numba")
    PEAK_RESET.write_text("5", encoding="ascii")  # the peak counts from here
    before = resident_mb("VmRSS")
    seconds, result = timed(lambda: segment(rgb, case.k, backend="numba"))
    peak, after = resident_mb("VmHWM"), resident_mb("VmRSS")
    counts = np.bincount(result.labels.reshape(-1), minlength=len(result.counts))
    if result.labels.shape != rgb.shape[:2] or not np.array_equal(counts, result.counts):
        raise WrongResultError("The counts are not those of the labels.")
    if case.repeat:
        seconds = median_seconds(lambda: segment(rgb, case.k, backend="numba"), case.repeat)
    return SegmentCall(
        image=case.image,
        pixels=rgb.size // 3,
        k=case.k,
        colors=load("numba").histogram(rgb).n_colors,
        image_mb=rgb.nbytes / 1e6,
        peak_mb=peak,
        above_mb=peak - before,
        kept_mb=after - before,
        seconds=seconds,
        digest=hashlib.sha256(result.labels.tobytes() + result.centers.tobytes()).hexdigest()[:16],
    )


def make_image(case: SegmentCase) -> NDArray[np.uint8]:
    """Return the (H, W, 3) uint8 image of a case."""
    if case.image == "noise":
        return large_images.noise(case.megapixels)
    make: Callable[[NDArray[np.uint8], float], NDArray[np.uint8]] = getattr(large_images, case.image)
    return make(large_images.load_photo(case.photo), case.megapixels)


def main() -> None:
    """Measure, and print a table and the target."""
    parser = make_parser(PROGRAM, __doc__)
    parser.add_argument("--megapixels", type=numbers, default=(2, 10, 50, 100), help="sizes, such as 2,10,50")
    add_json(parser)
    parser.add_argument("--case", help=argparse.SUPPRESS)  # for the fresh process of one case
    given = parser.parse_args()
    if given.case:
        print(json.dumps(asdict(measure_here(SegmentCase(**json.loads(given.case))))))
        return
    if not PEAK_RESET.exists():
        sys.exit(f"{PROGRAM}: this system has no {PEAK_RESET}, which resets the peak of a process")
    print(heading("Memory of segment() above the image, backend numba", {}), end="\n\n")
    print(line(COLUMNS, WIDTHS), flush=True)
    calls: list[SegmentCall] = []
    with exit_with_message(PROGRAM):
        for megapixels, kind, k in [
            (m, kind, k) for m in given.megapixels for kind in KINDS for k in CLUSTERS
        ]:
            calls.append(measure(SegmentCase(kind, megapixels, k)))
            print(line(calls[-1].cells(), WIDTHS), flush=True)
        most = max(call.above_mb for call in calls)
        print("", target_line(f"peak {most:.1f} MB", most < LIMIT_MB, f"under {LIMIT_MB:g} MB"), sep="\n")
        if given.json:
            save(given.json, {}, [{name: getattr(call, name) for name in SAVED} for call in calls])


if __name__ == "__main__":
    main()
