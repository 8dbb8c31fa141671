"""How time and memory grow: with pixels and clusters, with images and workers. Linux only.

python -m benchmarks.speed.scaling [PHOTO] [--quick]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.photos import PhotosMissingError
from benchmarks.speed import calls
from benchmarks.speed.scaling_points import COLUMNS, WIDTHS, Point, exponents, verdict
from benchmarks.support import command
from benchmarks.support.checks import WrongResultError, check
from benchmarks.support.folders import write_jpeg, write_moved, write_tiny
from benchmarks.support.report import heading, line, save
from kseg_batch.bench.memory import PEAK_RESET
from kseg_batch.errors import KsegError

if TYPE_CHECKING:
    from collections.abc import Iterator

NOTES = """\
pixels     segment() of one photo, tiled: mirrored copies, each a little brighter or darker
clusters   segment() of the photo at 1920 x 1080
worker     `kseg-batch run` of one JPEG, tiled likewise, with one worker, whose memory is told
images     `kseg-batch run` of photos of 1920 x 1080 up to 100 images; of 8 x 8 pixels from 100 on, of which
           only label maps are written
Times of segment() are medians after a call that is not timed, each case in a fresh process, whose peak memory
is told, with the image. A run is timed once, as a whole command; then, the memory is that of the parent."""

PHOTOS_UP_TO = 100
"""Images that are photos; as many and more are tiny."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """What to go through."""

    photo: str | None
    """The photo's file; None for the packaged one."""
    megapixels: tuple[float, ...]
    k: tuple[int, ...]
    """At 1080p."""
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


def main() -> None:
    """Measure, print the table and the verdict."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.scaling", description=__doc__)
    parser.add_argument("photo", metavar="PHOTO", nargs="?", help="default: a packaged photo")
    parser.add_argument("--quick", action="store_true", help="short ranges, where nothing else is said")
    parser.add_argument("--megapixels", type=numbers, help="e.g. 0.1,1,10")
    parser.add_argument("--k", type=numbers, help="clusters at 1920 x 1080, e.g. 2,16")
    parser.add_argument("--images", type=numbers, help="of a run, e.g. 1,100,1000; 0 for no runs")
    parser.add_argument("--workers", type=numbers, help="of a run, e.g. 1,2")
    parser.add_argument("--repeat", type=int, help="timed calls of segment()")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures there too")
    asked = parser.parse_args()
    if not PEAK_RESET.exists():
        sys.exit(f"benchmarks.speed.scaling: this system has no {PEAK_RESET}, which resets a process's peak")
    preset = QUICK if asked.quick else FULL
    ranges = Ranges(
        photo=asked.photo,
        megapixels=asked.megapixels or preset.megapixels,
        k=tuple(map(int, asked.k or preset.k)),
        images=tuple(int(n) for n in asked.images or preset.images if n),
        workers=tuple(map(int, asked.workers or preset.workers)),
        repeat=asked.repeat or preset.repeat,
    )
    settings = {**asdict(ranges), "photo": Path(asked.photo).name if asked.photo else "packaged"}
    settings["threads"] = 1
    points: list[Point] = []
    try:
        print(heading("How time and memory grow", settings), end=f"\n\n{NOTES}\n\n")
        print(line(COLUMNS, WIDTHS), flush=True)
        for point in measure(ranges):
            print(line(point.cells(), WIDTHS), flush=True)
            points.append(point)
    except (KsegError, OSError, PhotosMissingError, WrongResultError, subprocess.CalledProcessError) as error:
        sys.exit(f"benchmarks.speed.scaling: {error}")
    print("", *exponents(points), *verdict(points), sep="\n")
    if asked.json:
        save(asked.json, settings, [asdict(point) for point in points])


def numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas between them."""
    return tuple(float(part) for part in text.split(","))


def measure(ranges: Ranges) -> Iterator[Point]:
    """Check a result, then measure all cases.

    Raises:
        WrongResultError: A result is not right.
    """
    photo = calls.tiled(calls.load_photo(ranges.photo), 1920 * 1080 / 1e6)
    check(photo, TILED_K[0])
    sizes = [("pixels", megapixels, k) for k in TILED_K for megapixels in ranges.megapixels]
    for part, megapixels, k in [*sizes, *(("clusters", 1920 * 1080 / 1e6, k) for k in ranges.k)]:
        call = calls.measure(calls.Case(ranges.photo, megapixels, k, ranges.repeat))
        yield Point(part, "tiled", call.pixels, 1, k, call.seconds, call.peak_mb, digest=call.digest)
    with tempfile.TemporaryDirectory() as name:
        yield from _worker(ranges, Path(name))
        yield from _images(ranges, Path(name))


def _worker(ranges: Ranges, folder: Path) -> Iterator[Point]:
    """The memory of a worker, for one image of each size."""
    for megapixels in ranges.megapixels if ranges.images else ():
        rgb = calls.tiled(calls.load_photo(ranges.photo), megapixels)
        source = folder / f"{megapixels}.jpg"
        write_jpeg(source, rgb)
        run = command.run([source], folder / f"{megapixels}-kseg", 1, 1, "--k", str(TILED_K[0]))
        pixels, seconds = rgb.size // 3, run.seconds
        peak, parent = run.worker_bytes / 1e6, run.parent_seconds
        yield Point("worker", "tiled", pixels, 1, TILED_K[0], seconds, peak, workers=1, parent_seconds=parent)


def _images(ranges: Ranges, folder: Path) -> Iterator[Point]:
    """Runs over folders of each length."""
    photos = [("photo", n, 1920 * 1080, TILED_K[0]) for n in ranges.images if n <= PHOTOS_UP_TO]
    tiny = [("tiny", n, 8 * 8, 2) for n in ranges.images if n >= PHOTOS_UP_TO]
    for kind, n, pixels, k in [*photos, *tiny]:
        source = folder / f"{kind}-{n}"
        if kind == "photo":
            write_moved(source, calls.tiled(calls.load_photo(ranges.photo), pixels / 1e6), n)
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


if __name__ == "__main__":
    main()
