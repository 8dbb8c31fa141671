"""How fast one palette is fitted to a dataset, beside segmenting it.

python -m benchmarks.speed.fit_dataset [PHOTO...]

`kseg-batch fit` and `kseg-batch run`, from the command line, on the same JPEG files, with one worker and with
all, in turns: images a second, and the parent's processor time for an image and its peak memory. Every
palette is checked: it is the first one, byte for byte, and that of the decoded files in one process.
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
from benchmarks.support.folders import write_moved, write_varied
from benchmarks.support.report import heading, line, save
from kseg_batch import fit_palette, read_palette
from kseg_batch.images.decode import decode

SIZE = (1920, 1080)

WIDTHS = (-7, 7, 8, 9, 8, 13, 10)
COLUMNS = ("command", "workers", "seconds", "images/s", "steady", "parent ms/im", "parent MB")


@dataclass(frozen=True, slots=True)
class Measured:
    """One command."""

    command: str
    workers: int
    images: int
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
            self.command,
            str(self.workers),
            f"{self.seconds:.2f}",
            f"{self.rate:.1f}",
            f"{self.steady:.1f}",
            f"{self.parent_ms:.3f}",
            f"{self.parent_mb:.0f}",
        )


def main() -> None:
    """Measure, and print the table and the medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.fit_dataset", description=__doc__)
    parser.add_argument("photos", type=Path, nargs="*", metavar="PHOTO", help="what the files are made of")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=3, help="commands of each kind")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    names = [path.name for path in asked.photos]
    settings = {**vars(asked), "photos": ", ".join(names) or "generated from one that scikit-image carries"}
    del settings["json"]
    try:
        print(heading("kseg-batch fit on a folder", settings), end="\n\n")
        print(line(COLUMNS, WIDTHS), flush=True)
        with tempfile.TemporaryDirectory() as folder:
            rows = measure(Path(folder), asked)
    except (OSError, PhotosMissingError, WrongResultError) as error:
        sys.exit(f"benchmarks.speed.fit_dataset: {error}")
    print("", *medians(rows), sep="\n")
    if asked.json:
        save(asked.json, settings, [asdict(row) for row in rows])


def measure(folder: Path, asked: argparse.Namespace) -> list[Measured]:
    """All commands in turns."""
    source, n_images, k = folder / "photos", asked.images, str(asked.k)
    if asked.photos:
        photos = [decode(path.read_bytes()).rgb for path in asked.photos]
        write_varied(source, photos, n_images, SIZE)
    else:
        write_moved(source, photo_1080p(), n_images)
    rows: list[Measured] = []
    palettes: set[bytes] = set()
    for i in range(asked.repeat):
        for workers in sorted({1, asked.workers}):
            palette = folder / f"{workers}-{i}.json"
            watched = command.fit([source], palette, workers, n_images, "--k", k)
            palettes.add(palette.read_bytes())
            rows.append(_row("fit", workers, watched))
            out = folder / f"{workers}-{i}"
            watched = command.run([source], out, workers, n_images, "--k", k)
            rows.append(_row("run", workers, watched))
    _check(source, palette, palettes, asked.k)
    return rows


def _row(name: str, workers: int, watched: command.Watched) -> Measured:
    row = Measured(
        command=name,
        workers=workers,
        images=watched.images,
        seconds=watched.seconds,
        rate=watched.rate,
        steady=watched.steady,
        parent_ms=1000 * watched.parent_seconds / watched.images,
        parent_mb=watched.parent_bytes / 1e6,
    )
    print(line(row.cells(), WIDTHS), flush=True)
    return row


def _check(source: Path, palette: Path, written: set[bytes], k: int) -> None:
    """Compare the palette with that of all files in one process.

    Raises:
        WrongResultError: They differ, or not all palettes that were written are the same.
    """
    if len(written) != 1:
        raise WrongResultError("not every fit wrote the same palette")
    images = (decode(path.read_bytes()).pixels for path in sorted(source.iterdir()))
    expected, found = fit_palette(images, k), read_palette(palette)
    if (expected.fixed_centers != found.fixed_centers).any() or (expected.counts != found.counts).any():
        raise WrongResultError("the palette is not that of fit_palette")


def medians(rows: list[Measured]) -> list[str]:
    """Images a second of each command with each number of workers."""
    lines = []
    for name in ("fit", "run"):
        rates = {
            workers: statistics.median(r.steady for r in rows if (r.command, r.workers) == (name, workers))
            for workers in sorted({row.workers for row in rows})
        }
        lines += [f"{name}, {workers} workers: {rate:.1f} images/s" for workers, rate in rates.items()]
    return lines


if __name__ == "__main__":
    main()
