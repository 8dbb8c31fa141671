"""Folders of JPEG photos to indexed PNG and masks: kseg-batch, its ceiling, and two scripts. Linux only.

python -m benchmarks.speed.end_to_end [PHOTO ...] [--images 200]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.photos import SOURCES, PhotosMissingError, packaged_photos, read_photo
from benchmarks.speed.tutorial import size
from benchmarks.support import ceiling, command, scripts
from benchmarks.support.checks import WrongResultError
from benchmarks.support.contenders import timed
from benchmarks.support.folders import QUALITY, tree_digest, write_varied
from benchmarks.support.processes import Crew
from benchmarks.support.read_back import check_exact, check_partition
from benchmarks.support.report import heading, judged, line, save
from kseg_batch.batch.workers.pool import ENVIRONMENT
from kseg_batch.errors import KsegError
from kseg_batch.processes import usable_cores

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

K = 3

NOTES = """\
kseg-batch   `kseg-batch run` on all images; images/s from the first tenth of them to the last,
             and over the wall time of the whole command
ceiling      as many processes that only decode the same files with cv2.imdecode, and encode and write
             segmented images and masks from labels that were made beforehand, with the same environment
tutorial     cv2.imread, the tutorial's cv2.kmeans on all cores, cv2.imwrite of the result and of each mask;
             on a few images, from which images/s are extrapolated
intelex      Pillow, KMeans(n_init=1) of scikit-learn-intelex on float32 pixels, palette and 1-bit PNG; one
             process a core or one on all cores, whichever is faster; on a few images, likewise
Those but the first are timed without the start of their processes, and after a run that is not timed."""

WIDTHS = (-10, -25, 5, 7, 9, 9, 11)
COLUMNS = ("contender", "processes", "round", "images", "seconds", "images/s", "with start")

TARGETS = {"ceiling": 0.65, "tutorial": 100.0, "intelex": 5.0}
"""The images/s of kseg-batch over those of each of the others, at least."""

CHECKED = 10
"""Images of which the outputs of the others are checked; of kseg-batch, all are."""


@dataclass(frozen=True, slots=True)
class Row:
    """One contender in one round."""

    contender: str
    processes: str
    """How many, and on how many threads each."""
    round: int
    images: int
    """How many it did."""
    seconds: float
    """For kseg-batch, wall time of the whole command; for the others, of the work alone."""
    rate: float
    """Images per second, without any start."""
    rate_with_start: float | None
    """Images over `seconds`, for kseg-batch."""

    def cells(self) -> tuple[str, ...]:
        """What the table shows."""
        start = "-" if self.rate_with_start is None else f"{self.rate_with_start:.2f}"
        numbers = (f"{self.seconds:.2f}", f"{self.rate:.2f}", start)
        return self.contender, self.processes, str(self.round), str(self.images), *numbers


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done in every round."""

    sources: tuple[Path, ...]
    """JPEG files."""
    folder: Path
    """Where outputs go."""
    workers: int
    tutorial: int
    """Images for the tutorial's script."""
    peer: int
    """Images for scikit-learn-intelex; none to leave it out."""
    repeat: int
    """Rounds."""


def main() -> None:
    """Measure, print the table and the verdict."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.end_to_end", description=__doc__)
    parser.add_argument("photos", metavar="PHOTO", nargs="*", type=Path, help="default: packaged photos")
    parser.add_argument("--images", type=int, default=200, help="files to make of the photos")
    parser.add_argument("--size", type=size, default=(1920, 1080), help="WIDTHxHEIGHT of the files")
    parser.add_argument("--workers", type=int, default=usable_cores(), help="processes")
    parser.add_argument("--repeat", type=int, default=5, help="rounds")
    parser.add_argument("--tutorial-images", type=int, default=2, help="in each round")
    parser.add_argument("--peer-images", type=int, default=20, help="in each round, for intelex")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures there too")
    asked = parser.parse_args()
    settings = {name: value for name, value in vars(asked).items() if name not in ("json", "photos")}
    settings["size"] = f"{asked.size[0]} x {asked.size[1]}"
    settings |= {"k": K, "quality": QUALITY, "photos": [path.name for path in asked.photos] or "packaged"}
    if peer_missing := find_spec("sklearnex") is None:
        settings["peer_images"] = 0
    print(heading("Whole folders of photos, from JPEG to PNG", settings), end=f"\n\n{NOTES}\n\n")
    if peer_missing:
        print(f"intelex is left out: to have it, pip install {scripts.PEER}", end="\n\n")
    rows: list[Row] = []
    try:
        with tempfile.TemporaryDirectory() as name:
            plan = Plan(
                sources=tuple(make_files(Path(name, "photos"), asked.photos, asked.images, asked.size)),
                folder=Path(name),
                workers=min(asked.workers, asked.images),
                tutorial=min(asked.tutorial_images, asked.images),
                peer=0 if peer_missing else min(asked.peer_images, asked.images),
                repeat=asked.repeat,
            )
            for row in measure(plan):
                if not rows:
                    print(line(COLUMNS, WIDTHS))
                print(line(row.cells(), WIDTHS), flush=True)
                rows.append(row)
    except (KsegError, OSError, PhotosMissingError, WrongResultError) as error:
        sys.exit(f"benchmarks.speed.end_to_end: {error}")
    print("", *verdict(rows), sep="\n")
    if asked.json:
        save(asked.json, settings, [asdict(row) for row in rows])


def make_files(folder: Path, photos: Sequence[Path], images: int, size: tuple[int, int]) -> list[Path]:
    """The JPEG files to run on, made of the photos given, or of those that packages carry."""
    paths = photos or [path for package in SOURCES for path in packaged_photos(package)]
    return write_varied(folder, [read_photo(path) for path in paths[:images]], images, size)


def measure(plan: Plan) -> Iterator[Row]:
    """Check the outputs of every contender, then let all of them run in turns.

    Raises:
        WrongResultError: An output is not right.
    """
    first = plan.folder / "first"
    command.run([plan.sources[0].parent], first, plan.workers, len(plan.sources), "--k", str(K))
    check_exact(plan.sources, first, K)
    digest = tree_digest(first)
    with ExitStack() as stack:
        shares = [
            ceiling.Share(plan.sources[i :: plan.workers], plan.folder / "ceiling", K)
            for i in range(plan.workers)
        ]
        least = stack.enter_context(Crew(ceiling.prepare, shares, ENVIRONMENT))
        least.work()
        check_exact(plan.sources[:CHECKED], plan.folder / "ceiling", K)
        _tutorial(plan)
        check_partition(plan.sources[: plan.tutorial], plan.folder / "tutorial", K)
        peer = _peer(plan, stack) if plan.peer else None
        for i in range(1, plan.repeat + 1):
            yield _ours(plan, i, digest)
            seconds = least.work()
            rate = sum(len(share.sources) / s for share, s in zip(shares, seconds, strict=True))
            how = processes(plan.workers, 1)
            yield Row("ceiling", how, i, len(plan.sources), max(seconds), rate, None)
            taken, _ = timed(lambda: _tutorial(plan))
            how = processes(1, usable_cores())
            yield Row("tutorial", how, i, plan.tutorial, taken, plan.tutorial / taken, None)
            if peer:
                how, crew = peer
                taken = max(crew.work())
                yield Row("intelex", how, i, plan.peer, taken, plan.peer / taken, None)


def processes(n: int, threads: int) -> str:
    """So many processes on so many threads each."""
    return f"{n} process{'' if n == 1 else 'es'} of {threads} thread{'' if threads == 1 else 's'}"


def _ours(plan: Plan, number: int, digest: str) -> Row:
    out = plan.folder / f"out{number}"
    run = command.run([plan.sources[0].parent], out, plan.workers, len(plan.sources), "--k", str(K))
    if tree_digest(out) != digest:
        raise WrongResultError("a run wrote other files than the first did")
    how, started = processes(plan.workers, 1), run.images / run.seconds
    return Row("kseg-batch", how, number, run.images, run.seconds, run.steady, started)


def _tutorial(plan: Plan) -> None:
    scripts.tutorial(plan.sources[: plan.tutorial], plan.folder / "tutorial", K, usable_cores())


def _peer(plan: Plan, stack: ExitStack) -> tuple[str, Crew[scripts.PeerShare]]:
    """The processes with scikit-learn-intelex in the faster of two layouts, and which that is."""
    sources, out = plan.sources[: plan.peer], plan.folder / "intelex"
    cores = tuple(sorted(os.sched_getaffinity(0)))
    n = min(len(cores), len(sources))
    layouts = {
        processes(n, 1): [scripts.PeerShare(sources[i::n], out, K, (cores[i],)) for i in range(n)],
        processes(1, len(cores)): [scripts.PeerShare(sources, out, K, cores)],
    }
    trials = []
    for how, shares in layouts.items():
        crew = stack.enter_context(Crew(scripts.prepare_peer, shares))
        crew.work()
        check_partition(sources[:CHECKED], out, K)
        seconds = max(crew.work())
        print(f"intelex, {how}: {len(sources) / seconds:.2f} images/s in a trial")
        trials.append((seconds, how, crew))
    _, how, crew = min(trials, key=lambda trial: trial[0])
    return how, crew


def verdict(rows: Sequence[Row]) -> list[str]:
    """The medians, and each target with what was reached."""
    rates: dict[str, list[float]] = {}
    for row in rows:
        rates.setdefault(row.contender, []).append(row.rate)
    medians = {name: statistics.median(found) for name, found in rates.items()}
    ours = medians.pop("kseg-batch")
    started = statistics.median(row.rate_with_start for row in rows if row.rate_with_start is not None)
    lines = [f"median images/s: kseg-batch {ours:.1f}, {started:.1f} with its start"]
    lines += [f"                 {name} {rate:.2f}" for name, rate in medians.items()]
    for name, rate in medians.items():
        text = f"kseg-batch over {name}: {ours / rate:.3g}, {started / rate:.3g} with its start"
        lines.append(judged(text, ours / rate >= TARGETS[name], f"{TARGETS[name]:g}, without"))
    return lines


if __name__ == "__main__":
    main()
