"""What `kseg-batch run` reaches on whole folders, with one worker and with several. Linux only.

python -m benchmarks.speed.pipeline [--photos 100] [--tiny 100000]

The photos are one packaged photograph at 1920 x 1080, moved and brightened differently in each JPEG file.
The tiny images are PNG files of 8 x 8 pixels, so that all there is to see is what a file costs. Every run is
checked: its files are those of the first one, byte for byte, and its journal has a line for each image.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.photos import PhotosMissingError, photo_1080p
from benchmarks.support import command
from benchmarks.support.checks import WrongResultError
from benchmarks.support.folders import tree_digest, write_moved, write_tiny
from benchmarks.support.report import heading, judged, line, save

WIDTHS = (-24, 8, 8, 8, 9, 8, 13, 10)
COLUMNS = ("run", "images", "workers", "seconds", "images/s", "steady", "parent ms/im", "parent MB")

SPEEDUP = 1.8
"""Target: images/s of two workers, over that of one."""
PARENT_MS = 1.0
"""Target: processor time of the parent for an image, in milliseconds."""
RERUN_SECONDS = 20.0
"""Target: a run over 100,000 images that are done."""
PARENT_MB = 300.0
"""Target: peak memory of the parent."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of the command line."""

    name: str
    images: int
    workers: int
    seconds: float
    """Wall time of the whole command."""
    rate: float
    """Images per second as the command itself tells: without its own start, with that of its workers."""
    steady: float
    """Images per second between the first tenth of them and the last image: without any start."""
    parent_ms: float
    """Processor time of the parent, without its workers, for an image."""
    parent_mb: float
    """Peak resident memory of the parent."""

    def cells(self) -> tuple[str, ...]:
        """What the table shows."""
        return (
            self.name,
            f"{self.images:,}",
            str(self.workers),
            f"{self.seconds:.2f}",
            f"{self.rate:.1f}",
            f"{self.steady:.1f}",
            f"{self.parent_ms:.3f}",
            f"{self.parent_mb:.0f}",
        )


def main() -> None:
    """Measure, print the table and the verdict."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.pipeline", description=__doc__)
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--tiny", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=3, help="runs with each number of workers")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    settings = {name: value for name, value in vars(asked).items() if name != "json"}
    rows: list[Measured] = []
    try:
        print(heading("kseg-batch run on whole folders", settings), end="\n\n")
        print(line(COLUMNS, WIDTHS), flush=True)
        with tempfile.TemporaryDirectory() as folder:
            if asked.photos:
                rows += measure_photos(Path(folder), asked.photos, asked.workers, asked.repeat)
            if asked.tiny:
                rows += measure_tiny(Path(folder), asked.tiny, asked.workers)
    except (OSError, PhotosMissingError, WrongResultError) as error:
        sys.exit(f"benchmarks.speed.pipeline: {error}")
    print("", *verdict(rows), sep="\n")
    if asked.json:
        save(asked.json, settings, [asdict(row) for row in rows])


def measure_photos(folder: Path, n_photos: int, workers: int, repeat: int) -> list[Measured]:
    """Photos with one worker and with all, in turns."""
    write_moved(folder / "photos", photo_1080p(), n_photos)
    rows = []
    digest = None
    for i in range(repeat):
        for n in sorted({1, workers}):
            out = folder / f"photos-{n}-{i}"
            rows.append(measure(f"photos, run {i + 1}", folder / "photos", out, n, n_photos))
            found = tree_digest(out)
            if digest not in (None, found):
                raise WrongResultError(f"{n} workers wrote other files than 1 did")
            digest = found
    return rows


def measure_tiny(folder: Path, n_images: int, workers: int) -> list[Measured]:
    """Tiny images, and again with nothing to do."""
    write_tiny(folder / "tiny", n_images)
    out = folder / "tiny-kseg"
    flags = ("--save", "labels", "--k", "2")
    first = measure("tiny images", folder / "tiny", out, workers, n_images, *flags)
    journal = (out / "manifest.jsonl").read_bytes()
    second = measure("the same, nothing to do", folder / "tiny", out, workers, n_images, *flags, skipped=True)
    if (out / "manifest.jsonl").read_bytes() != journal:
        raise WrongResultError("a run with nothing to do changed the journal")
    return [first, second]


def measure(
    name: str, source: Path, out: Path, workers: int, n_images: int, *flags: str, skipped: bool = False
) -> Measured:
    """Run the command line, and print the row."""
    watched = command.run([source], out, workers, n_images, *flags, skipped=skipped)
    row = Measured(
        name=name,
        images=n_images,
        workers=workers,
        seconds=watched.seconds,
        rate=watched.rate,
        steady=watched.steady,
        parent_ms=1000 * watched.parent_seconds / n_images,
        parent_mb=watched.parent_bytes / 1e6,
    )
    print(line(row.cells(), WIDTHS), flush=True)
    return row


def verdict(rows: list[Measured]) -> list[str]:
    """Each target, and what was reached."""
    lines = []
    photos = [row for row in rows if row.name.startswith("photos")]
    numbers = sorted({row.workers for row in photos})
    for kind, what in (("steady", "without the start"), ("rate", "with the start of the workers")):
        rates = [statistics.median(getattr(r, kind) for r in photos if r.workers == n) for n in numbers]
        if len(rates) == 2:
            ratio = rates[1] / rates[0]
            text = f"{numbers[1]} workers over 1, {what}: {ratio:.2f}x"
            lines.append(judged(text, ratio >= SPEEDUP, f"{SPEEDUP}x"))
    for row in (row for row in rows if not row.name.startswith("photos")):
        text = f"{row.name}: {row.parent_ms:.3f} ms an image"
        lines.append(judged(text, row.parent_ms < PARENT_MS, f"under {PARENT_MS:g} ms"))
        text = f"{row.name}: {row.parent_mb:.0f} MB in the parent"
        lines.append(judged(text, row.parent_mb < PARENT_MB, f"under {PARENT_MB:g} MB"))
        if "nothing" in row.name:
            text = f"{row.name}: {row.seconds:.1f} s"
            lines.append(judged(text, row.seconds < RERUN_SECONDS, f"under {RERUN_SECONDS:g} s"))
    return lines


if __name__ == "__main__":
    main()
