"""Measure `kseg-batch run` and `kseg-batch fit` on whole folders, with one worker and several. Linux only.

python -m benchmarks.speed.pipeline [PHOTO ...] [--json FILE]

photos    `run` on JPEG files of one packaged photo at 1920 x 1080, moved and brightened differently in each.
tiny      `run` on PNG files of 8 x 8 pixels, whose time is the fixed cost of a file; then again, with nothing
          to do.
dataset   `fit`, then `run`, on JPEG files of 1920 x 1080 made of the photos given.

Every run over photos writes the files of the first run, byte for byte. A run with nothing to do leaves the
journal as it is. Every palette equals the first palette, byte for byte, and that of `fit_palette` on the
decoded files in one process.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.photos import photo_1080p, read_photo
from benchmarks.support import command
from benchmarks.support.arguments import add_json, add_photos, exit_with_message, make_parser
from benchmarks.support.checks import WrongResultError
from benchmarks.support.folders import tree_digest, write_moved, write_tiny, write_varied
from benchmarks.support.report import heading, line, save, target_line
from kseg_batch import fit_palette, read_palette
from kseg_batch.images.decode import decode

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

PROGRAM = "benchmarks.speed.pipeline"

SIZE = (1920, 1080)
"""Width and height of the dataset's files."""

DATASET_K = 8
"""Clusters of the dataset's palette, and of the run beside it."""

WIDTHS = (-14, -7, 8, 7, 8, 8, 8, 12, 9)
COLUMNS = (
    "part",
    "command",
    "images",
    "workers",
    "seconds",
    "images/s",
    "steady",
    "parent ms/im",
    "parent MB",
)

SPEEDUP = 1.8
"""Target: images/s of two workers, divided by that of one."""
PARENT_MS = 1.0
"""Target: processor time of the parent for a tiny image, in milliseconds."""
RERUN_SECONDS = 20.0
"""Target: a run over 100,000 images that are done."""
PARENT_MB = 300.0
"""Target: peak memory of the parent, in MB."""

TINY, TINY_AGAIN = "tiny", "tiny, again"


@dataclass(frozen=True, slots=True)
class CommandRun:
    """One run of a command."""

    part: str
    """photos, tiny, tiny again, or dataset."""
    command: str
    """fit or run."""
    images: int
    workers: int
    seconds: float
    """Wall time of the whole command."""
    rate: float
    """Images per second as the command itself prints: without its own start, with that of its workers."""
    steady: float
    """Images per second between the first tenth of the images and the last image: without any start."""
    parent_ms: float
    """Processor time of the parent, without its workers, for an image."""
    parent_mb: float
    """Peak resident memory of the parent, in MB of 10**6 bytes."""

    def cells(self) -> tuple[str, ...]:
        """Return the cells of a table row."""
        return (
            self.part,
            self.command,
            f"{self.images:,}",
            str(self.workers),
            f"{self.seconds:.2f}",
            f"{self.rate:.1f}",
            f"{self.steady:.1f}",
            f"{self.parent_ms:.3f}",
            f"{self.parent_mb:.0f}",
        )


def main() -> None:
    """Measure, and print a table, the medians and the targets."""
    parser = make_parser(PROGRAM, __doc__)
    add_photos(parser, "the dataset is made of them; default: a packaged photo")
    parser.add_argument("--images", type=int, default=100, help="photos to run on; 0 for none")
    parser.add_argument("--tiny", type=int, default=100_000, help="tiny images to run on; 0 for none")
    parser.add_argument("--dataset", type=int, default=400, help="photos to fit one palette to; 0 for none")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each kind, but for tiny images")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="workers, beside one alone")
    add_json(parser)
    given = parser.parse_args()
    settings = {name: value for name, value in vars(given).items() if name not in ("json", "photos")}
    settings["photos"] = [path.name for path in given.photos] or "packaged"
    runs: list[CommandRun] = []
    with exit_with_message(PROGRAM):
        print(heading("kseg-batch run and fit on whole folders", settings), end="\n\n")
        print(line(COLUMNS, WIDTHS), flush=True)
        with tempfile.TemporaryDirectory() as name:
            for run in measure(Path(name), given):
                print(line(run.cells(), WIDTHS), flush=True)
                runs.append(run)
        print("", *median_lines(runs), *target_lines(runs), sep="\n")
        if given.json:
            save(given.json, settings, [asdict(run) for run in runs])


def measure(folder: Path, given: argparse.Namespace) -> Iterator[CommandRun]:
    """Measure each part that has images, with files in a temporary folder.

    Raises:
        WrongResultError: An output is wrong.
    """
    workers = sorted({1, given.workers})
    if given.images:
        yield from measure_photos(folder, given.images, workers, given.repeat)
    if given.tiny:
        yield from measure_tiny(folder, given.tiny, given.workers)
    if given.dataset:
        yield from measure_dataset(folder, given.photos, given.dataset, workers, given.repeat)


def measure_photos(folder: Path, n_images: int, workers: Sequence[int], repeat: int) -> Iterator[CommandRun]:
    """Run on photos with each number of workers in turn, `repeat` times.

    Raises:
        WrongResultError: A run wrote other files than the first run.
    """
    source = folder / "photos"
    write_moved(source, photo_1080p(), n_images)
    digests = set()
    for i in range(repeat):
        for n in workers:
            out = folder / f"photos-{n}-{i}"
            yield _command_run("photos", "run", n, command.run([source], out, n, n_images))
            digests.add(tree_digest(out))
            if len(digests) > 1:
                raise WrongResultError(f"A run with {n} workers wrote other files than the first run.")


def measure_tiny(folder: Path, n_images: int, workers: int) -> Iterator[CommandRun]:
    """Run on tiny images, then again with nothing to do.

    Raises:
        WrongResultError: The second run changed the journal.
    """
    source, out = folder / "tiny", folder / "tiny-kseg"
    write_tiny(source, n_images)
    flags = ("--save", "labels", "--k", "2")
    yield _command_run(TINY, "run", workers, command.run([source], out, workers, n_images, *flags))
    journal = (out / "manifest.jsonl").read_bytes()
    again = command.run([source], out, workers, n_images, *flags, skipped=True)
    yield _command_run(TINY_AGAIN, "run", workers, again)
    if (out / "manifest.jsonl").read_bytes() != journal:
        raise WrongResultError("A run with nothing to do changed the journal.")


def measure_dataset(
    folder: Path, photos: Sequence[Path], n_images: int, workers: Sequence[int], repeat: int
) -> Iterator[CommandRun]:
    """Fit one palette to a dataset, and run on its photos, with each number of workers in turn.

    Raises:
        WrongResultError: A palette is wrong.
    """
    source, k = folder / "dataset", ("--k", str(DATASET_K))
    if photos:
        write_varied(source, [read_photo(path) for path in photos], n_images, SIZE)
    else:
        write_moved(source, photo_1080p(), n_images)
    palettes = []
    for i in range(repeat):
        for n in workers:
            palettes.append(folder / f"dataset-{n}-{i}.json")
            yield _command_run("dataset", "fit", n, command.fit([source], palettes[-1], n, n_images, *k))
            out = folder / f"dataset-{n}-{i}"
            yield _command_run("dataset", "run", n, command.run([source], out, n, n_images, *k))
    if len({palette.read_bytes() for palette in palettes}) != 1:
        raise WrongResultError("Not every fit wrote the same palette.")
    images = (decode(path.read_bytes()).pixels for path in sorted(source.iterdir()))
    expected, found = fit_palette(images, DATASET_K), read_palette(palettes[0])
    if (expected.fixed_centers != found.fixed_centers).any() or (expected.counts != found.counts).any():
        raise WrongResultError("The palette is not that of fit_palette().")


def _command_run(part: str, name: str, workers: int, watched: command.Watched) -> CommandRun:
    return CommandRun(
        part=part,
        command=name,
        images=watched.images,
        workers=workers,
        seconds=watched.seconds,
        rate=watched.rate,
        steady=watched.steady,
        parent_ms=1000 * watched.parent_seconds / watched.images,
        parent_mb=watched.parent_bytes / 1e6,
    )


def median_lines(runs: Sequence[CommandRun]) -> list[str]:
    """Return the median images per second of each command on photos, by number of workers."""
    groups: dict[tuple[str, str, int], list[CommandRun]] = {}
    for run in runs:
        if run.part not in (TINY, TINY_AGAIN):
            groups.setdefault((run.part, run.command, run.workers), []).append(run)
    return [
        f"{part}, {name}, {workers} workers: {statistics.median(run.steady for run in group):.1f} images/s, "
        f"{statistics.median(run.rate for run in group):.1f} with the start of the workers"
        for (part, name, workers), group in groups.items()
    ]


def target_lines(runs: Sequence[CommandRun]) -> list[str]:
    """Compare the runs with the targets."""
    lines = []
    photos = [run for run in runs if run.part == "photos"]
    workers = sorted({run.workers for run in photos})
    for kind, start in (("steady", "without the start"), ("rate", "with the start of the workers")):
        rates = [statistics.median(getattr(run, kind) for run in photos if run.workers == n) for n in workers]
        if len(rates) == 2:
            ratio = rates[1] / rates[0]
            text = f"{workers[1]} workers over 1, {start}: {ratio:.2f}x"
            lines.append(target_line(text, ratio >= SPEEDUP, f"at least {SPEEDUP}x"))
    for run in (run for run in runs if run.part in (TINY, TINY_AGAIN)):
        text = f"{run.part}: {run.parent_ms:.3f} ms an image"
        lines.append(target_line(text, run.parent_ms < PARENT_MS, f"under {PARENT_MS:g} ms"))
        text = f"{run.part}: {run.parent_mb:.0f} MB in the parent"
        lines.append(target_line(text, run.parent_mb < PARENT_MB, f"under {PARENT_MB:g} MB"))
        if run.part == TINY_AGAIN:
            text = f"{run.part}: {run.seconds:.1f} s"
            lines.append(target_line(text, run.seconds < RERUN_SECONDS, f"under {RERUN_SECONDS:g} s"))
    return lines


if __name__ == "__main__":
    main()
