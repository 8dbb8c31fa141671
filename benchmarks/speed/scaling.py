"""Measure how time and memory grow: with pixels and clusters, with images and workers. Linux only.

python -m benchmarks.speed.scaling [PHOTO] [--quick] [--json FILE]
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.speed import memory
from benchmarks.support import command
from benchmarks.support.arguments import add_json, exit_with_message, make_parser, numbers
from benchmarks.support.checks import check
from benchmarks.support.folders import write_jpeg, write_moved, write_tiny
from benchmarks.support.large_images import load_photo, tiled
from benchmarks.support.report import heading, line, save, target_line
from kseg_batch.bench.memory import PEAK_RESET

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROGRAM = "benchmarks.speed.scaling"

NOTES = """\
pixels     segment() of one photo, tiled: mirrored copies, each a little brighter or darker
clusters   segment() of the photo at 1920 x 1080
worker     `kseg-batch run` of one JPEG, tiled likewise, with one worker, whose memory is given
images     `kseg-batch run` of photos of 1920 x 1080 up to 100 images; of 8 x 8 pixels from 100 on, of which
           only label maps are written
Times of segment() are medians after a call that is not timed, each case in a fresh process, whose peak memory
is given, with the image. A run is timed once, as a whole command; its memory is that of the parent."""

PHOTOS_UP_TO = 100
"""Number of images up to which they are photos; from there on they are tiny."""

FULL_HD = 1920 * 1080

FIT_FROM = 1e6
"""Pixels from which the exponent is fitted: below, the fixed cost of every image shows."""

WORKER_MB = 350.0
"""Target: peak memory of a worker, in MB, without the part that grows with the image."""
WORKER_BYTES = 12.0
"""Target: the part that grows, in bytes for each pixel."""

WIDTHS = (-9, -7, 10, 8, 4, 8, 10, 9, 9)
COLUMNS = ("part", "kind", "pixels", "images", "k", "workers", "seconds", "peak MB", "CPU s")


@dataclass(frozen=True, slots=True)
class Ranges:
    """The values that each variable takes."""

    photo: str | None
    """File of the photo; None for the packaged photo."""
    megapixels: tuple[float, ...]
    k: tuple[int, ...]
    """Clusters at 1920 x 1080."""
    images: tuple[int, ...]
    workers: tuple[int, ...]
    repeat: int
    """Timed calls of segment()."""


FULL = Ranges(
    photo=None,
    megapixels=(0.1, 0.3, 1, 3, 10, 30, 100),
    k=(2, 3, 4, 8, 16, 32, 64, 128, 256),
    images=(1, 10, 100, 1000, 10_000, 100_000),
    workers=(1, 2),
    repeat=7,
)
QUICK = Ranges(None, (0.1, 0.3, 1, 3, 10), (2, 3, 16, 64), (1, 10, 100, 1000), (1, 2), 3)

TILED_K = (3, 16)
"""Clusters at which pixels are varied."""


@dataclass(frozen=True, slots=True)
class Point:
    """One case of one part. 1 MB is 10**6 bytes."""

    part: str
    """pixels, clusters, worker or images."""
    kind: str
    """tiled, photo or tiny."""
    pixels: int
    """Pixels of one image."""
    images: int
    k: int
    seconds: float
    """Wall time of segment(), or of a whole run."""
    peak_mb: float
    """Peak resident memory of the process that the part is about."""
    workers: int | None = None
    """Workers of a run; None for segment()."""
    parent_seconds: float | None = None
    """Processor time of a run's parent; None for segment()."""
    digest: str | None = None
    """Digest of the result of segment(); None for a run."""

    def cells(self) -> tuple[str, ...]:
        """Return the cells of a table row."""
        counts = (f"{self.pixels:,}", f"{self.images:,}", str(self.k))
        workers = "-" if self.workers is None else str(self.workers)
        parent = "-" if self.parent_seconds is None else f"{self.parent_seconds:.2f}"
        return self.part, self.kind, *counts, workers, f"{self.seconds:.4f}", f"{self.peak_mb:.0f}", parent


def main() -> None:
    """Measure, and print a table, the exponents and the targets."""
    parser = make_parser(PROGRAM, __doc__)
    parser.add_argument("photo", metavar="PHOTO", nargs="?", help="image file; default: a packaged photo")
    parser.add_argument("--quick", action="store_true", help="take short ranges where none is given")
    parser.add_argument("--megapixels", type=numbers, help="sizes of the image, such as 0.1,1,10")
    parser.add_argument("--k", type=numbers, help="clusters at 1920 x 1080, such as 2,16")
    parser.add_argument("--images", type=numbers, help="images of a run, such as 1,100,1000; 0 for no runs")
    parser.add_argument("--workers", type=numbers, help="workers of a run, such as 1,2")
    parser.add_argument("--repeat", type=int, help="timed calls of segment()")
    add_json(parser)
    given = parser.parse_args()
    if not PEAK_RESET.exists():
        sys.exit(f"{PROGRAM}: this system has no {PEAK_RESET}, which resets the peak of a process")
    preset = QUICK if given.quick else FULL
    ranges = Ranges(
        photo=given.photo,
        megapixels=given.megapixels or preset.megapixels,
        k=tuple(map(int, given.k or preset.k)),
        images=tuple(int(n) for n in given.images or preset.images if n),
        workers=tuple(map(int, given.workers or preset.workers)),
        repeat=given.repeat or preset.repeat,
    )
    settings = {**asdict(ranges), "photo": Path(given.photo).name if given.photo else "packaged"}
    settings["threads"] = 1
    points: list[Point] = []
    with exit_with_message(PROGRAM):
        print(heading("How time and memory grow", settings), end=f"\n\n{NOTES}\n\n")
        print(line(COLUMNS, WIDTHS), flush=True)
        for point in measure(ranges):
            print(line(point.cells(), WIDTHS), flush=True)
            points.append(point)
        print("", *exponent_lines(points), *target_lines(points), sep="\n")
        if given.json:
            save(given.json, settings, [asdict(point) for point in points])


def measure(ranges: Ranges) -> Iterator[Point]:
    """Check a result, then measure all cases.

    Raises:
        WrongResultError: A result is wrong.
    """
    check(tiled(load_photo(ranges.photo), FULL_HD / 1e6), TILED_K[0])
    sizes = [("pixels", megapixels, k) for k in TILED_K for megapixels in ranges.megapixels]
    for part, megapixels, k in [*sizes, *(("clusters", FULL_HD / 1e6, k) for k in ranges.k)]:
        call = memory.measure(memory.SegmentCase("tiled", megapixels, k, ranges.photo, ranges.repeat))
        yield Point(part, "tiled", call.pixels, 1, k, call.seconds, call.peak_mb, digest=call.digest)
    with tempfile.TemporaryDirectory() as name:
        yield from _worker(ranges, Path(name))
        yield from _images(ranges, Path(name))


def _worker(ranges: Ranges, folder: Path) -> Iterator[Point]:
    """Measure the memory of a worker, for one image of each size."""
    for megapixels in ranges.megapixels if ranges.images else ():
        rgb = tiled(load_photo(ranges.photo), megapixels)
        source = folder / f"{megapixels}.jpg"
        write_jpeg(source, rgb)
        run = command.run([source], folder / f"{megapixels}-kseg", 1, 1, "--k", str(TILED_K[0]))
        yield Point(
            part="worker",
            kind="tiled",
            pixels=rgb.size // 3,
            images=1,
            k=TILED_K[0],
            seconds=run.seconds,
            peak_mb=run.worker_bytes / 1e6,
            workers=1,
            parent_seconds=run.parent_seconds,
        )


def _images(ranges: Ranges, folder: Path) -> Iterator[Point]:
    """Measure runs over folders of each length."""
    photos = [("photo", n, FULL_HD, TILED_K[0]) for n in ranges.images if n <= PHOTOS_UP_TO]
    tiny = [("tiny", n, 8 * 8, 2) for n in ranges.images if n >= PHOTOS_UP_TO]
    for kind, n, pixels, k in [*photos, *tiny]:
        source = folder / f"{kind}-{n}"
        if kind == "photo":
            write_moved(source, tiled(load_photo(ranges.photo), pixels / 1e6), n)
        else:
            write_tiny(source, n)
        for workers in ranges.workers:
            out = folder / f"{kind}-{n}-{workers}"
            flags = ("--k", str(k), *(("--save", "labels") if kind == "tiny" else ()))
            run = command.run([source], out, workers, n, *flags)
            shutil.rmtree(out)
            yield Point(
                part="images",
                kind=kind,
                pixels=pixels,
                images=n,
                k=k,
                seconds=run.seconds,
                peak_mb=run.parent_bytes / 1e6,
                workers=workers,
                parent_seconds=run.parent_seconds,
            )


def exponent_lines(points: Sequence[Point]) -> list[str]:
    """Return a line for each k that says how time grows with pixels."""
    lines = []
    ordered = sorted((point for point in points if point.part == "pixels"), key=lambda point: point.k)
    for k, group in groupby(ordered, key=lambda point: point.k):
        if (found := exponent(list(group))) is not None:
            lines.append(
                f"k = {k}, 1 thread: seconds grow as pixels ** {found:.2f}, fitted from 1 megapixel on"
            )
    return lines


def exponent(points: Sequence[Point]) -> float | None:
    """Return the slope of log seconds against log pixels; None for fewer than two large images."""
    large = [point for point in points if point.pixels >= 0.99 * FIT_FROM]  # sides are whole numbers
    if len(large) < 2:
        return None
    found = np.log([(point.pixels, point.seconds) for point in large])  # (n, 2)
    return float(np.polyfit(found[:, 0], found[:, 1], 1)[0])


def target_lines(points: Sequence[Point]) -> list[str]:
    """Compare a worker's memory with its target, which grows with the image."""
    lines = []
    for point in points:
        if point.part == "worker":
            target = WORKER_MB + WORKER_BYTES * point.pixels / 1e6
            text = f"worker, {point.pixels / 1e6:g} megapixels: {point.peak_mb:.0f} MB"
            lines.append(target_line(text, point.peak_mb <= target, f"at most {target:.0f} MB"))
    return lines


if __name__ == "__main__":
    main()
