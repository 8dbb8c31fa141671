"""Segment folders of JPEG photos by kseg-batch and two scripts, beside only decoding and writing. Linux only.

python -m benchmarks.speed.end_to_end [PHOTO ...] [--images 200] [--json FILE]
"""

from __future__ import annotations

import os
import statistics
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.photos import SOURCES, packaged_photos, read_photo
from benchmarks.support import ceiling, command, scripts
from benchmarks.support.arguments import add_json, add_photos, exit_with_message, make_parser, size
from benchmarks.support.checks import WrongResultError
from benchmarks.support.folders import QUALITY, tree_digest, write_varied
from benchmarks.support.processes import Processes
from benchmarks.support.read_back import check_exact, check_partition
from benchmarks.support.report import heading, line, save, target_line
from benchmarks.support.stopwatch import timed
from kseg_batch.batch.workers.pool import ENVIRONMENT
from kseg_batch.processes import usable_cores

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROGRAM = "benchmarks.speed.end_to_end"

K = 3

NOTES = """\
kseg-batch   `kseg-batch run` on all images; images/s from the first tenth of the images to the last,
             and over the wall time of the whole command
ceiling      as many processes that only decode the same files with cv2.imdecode, and encode and write
             segmented images and masks from labels made beforehand, with the same environment
tutorial     cv2.imread, the tutorial's cv2.kmeans on all cores, cv2.imwrite of the result and of each mask;
             on a few images, from which images/s are extrapolated
intelex      Pillow, KMeans(n_init=1) of scikit-learn-intelex on float32 pixels, palette and 1-bit PNG; one
             process a core or one on all cores, whichever is faster; on a few images, likewise
All but kseg-batch are timed without the start of their processes, and after a run that is not timed."""

WIDTHS = (-14, -25, 5, 7, 9, 9, 11)
COLUMNS = ("implementation", "processes", "round", "images", "seconds", "images/s", "with start")

TARGETS = {"ceiling": 0.65, "tutorial": 100.0, "intelex": 5.0}
"""The images/s of kseg-batch divided by those of each other implementation, at least."""

CHECKED = 10
"""Images of which the outputs of the other implementations are checked. Of kseg-batch, all images are."""


@dataclass(frozen=True, slots=True)
class Round:
    """One implementation in one round."""

    implementation: str
    processes: str
    """Number of processes, and threads of each."""
    round: int
    images: int
    """Images done."""
    seconds: float
    """For kseg-batch, the wall time of the whole command; for the others, of the work alone."""
    rate: float
    """Images per second, without any start."""
    rate_with_start: float | None
    """Images per second over `seconds`, for kseg-batch only."""

    def cells(self) -> tuple[str, ...]:
        """Return the cells of a table row."""
        start = "-" if self.rate_with_start is None else f"{self.rate_with_start:.2f}"
        numbers = (f"{self.seconds:.2f}", f"{self.rate:.2f}", start)
        return self.implementation, self.processes, str(self.round), str(self.images), *numbers


@dataclass(frozen=True, slots=True)
class Plan:
    """The work of every round."""

    sources: tuple[Path, ...]
    """JPEG files."""
    folder: Path
    """Folder of all outputs."""
    workers: int
    tutorial: int
    """Images for the tutorial's script."""
    peer: int
    """Images for scikit-learn-intelex; 0 to leave it out."""
    repeat: int
    """Number of rounds."""


def main() -> None:
    """Measure, and print a table, the medians and the targets."""
    parser = make_parser(PROGRAM, __doc__)
    add_photos(parser, "default: packaged photos")
    parser.add_argument("--images", type=int, default=200, help="files to make of the photos")
    parser.add_argument("--size", type=size, default=(1920, 1080), help="WIDTHxHEIGHT of the files")
    parser.add_argument("--workers", type=int, default=usable_cores(), help="processes")
    parser.add_argument("--repeat", type=int, default=5, help="number of rounds")
    parser.add_argument("--tutorial-images", type=int, default=2, help="images of the tutorial in each round")
    parser.add_argument("--peer-images", type=int, default=20, help="images of intelex in each round")
    add_json(parser)
    given = parser.parse_args()
    settings = {name: value for name, value in vars(given).items() if name not in ("json", "photos")}
    settings["size"] = f"{given.size[0]} x {given.size[1]}"
    settings |= {"k": K, "quality": QUALITY, "photos": [path.name for path in given.photos] or "packaged"}
    if peer_missing := find_spec("sklearnex") is None:
        settings["peer_images"] = 0
    print(heading("Whole folders of photos, from JPEG to PNG", settings), end=f"\n\n{NOTES}\n\n")
    if peer_missing:
        print(f"intelex is left out; to include it: pip install {scripts.PEER}", end="\n\n")
    rounds: list[Round] = []
    with exit_with_message(PROGRAM):
        with tempfile.TemporaryDirectory() as name:
            plan = Plan(
                sources=tuple(make_files(Path(name, "photos"), given.photos, given.images, given.size)),
                folder=Path(name),
                workers=min(given.workers, given.images),
                tutorial=min(given.tutorial_images, given.images),
                peer=0 if peer_missing else min(given.peer_images, given.images),
                repeat=given.repeat,
            )
            for found in measure(plan):
                if not rounds:
                    print(line(COLUMNS, WIDTHS))
                print(line(found.cells(), WIDTHS), flush=True)
                rounds.append(found)
        print("", *target_lines(rounds), sep="\n")
        if given.json:
            save(given.json, settings, [asdict(found) for found in rounds])


def make_files(folder: Path, photos: Sequence[Path], images: int, size: tuple[int, int]) -> list[Path]:
    """Write JPEG files made of the photos given or of the packaged photos, and return their paths."""
    paths = photos or [path for package in SOURCES for path in packaged_photos(package)]
    return write_varied(folder, [read_photo(path) for path in paths[:images]], images, size)


def measure(plan: Plan) -> Iterator[Round]:
    """Check the outputs of every implementation, then run all implementations in turn.

    Raises:
        WrongResultError: An output is wrong.
    """
    first = plan.folder / "first"
    command.run([plan.sources[0].parent], first, plan.workers, len(plan.sources), "--k", str(K))
    check_exact(plan.sources, first, K)
    digest = tree_digest(first)
    with ExitStack() as stack:
        shares = [
            ceiling.CeilingShare(plan.sources[i :: plan.workers], plan.folder / "ceiling", K)
            for i in range(plan.workers)
        ]
        decoding = stack.enter_context(Processes(ceiling.prepare, shares, ENVIRONMENT))
        decoding.work()
        check_exact(plan.sources[:CHECKED], plan.folder / "ceiling", K)
        _tutorial(plan)
        check_partition(plan.sources[: plan.tutorial], plan.folder / "tutorial", K)
        peer = _peer(plan, stack) if plan.peer else None
        for i in range(1, plan.repeat + 1):
            yield _ours(plan, i, digest)
            seconds = decoding.work()
            rate = sum(len(share.sources) / s for share, s in zip(shares, seconds, strict=True))
            layout = describe_processes(plan.workers, 1)
            yield Round("ceiling", layout, i, len(plan.sources), max(seconds), rate, None)
            taken, _ = timed(lambda: _tutorial(plan))
            layout = describe_processes(1, usable_cores())
            yield Round("tutorial", layout, i, plan.tutorial, taken, plan.tutorial / taken, None)
            if peer:
                layout, processes = peer
                taken = max(processes.work())
                yield Round("intelex", layout, i, plan.peer, taken, plan.peer / taken, None)


def describe_processes(n: int, threads: int) -> str:
    """Return the number of processes and of their threads, such as `2 processes of 1 thread`."""
    return f"{n} process{'' if n == 1 else 'es'} of {threads} thread{'' if threads == 1 else 's'}"


def _ours(plan: Plan, number: int, digest: str) -> Round:
    out = plan.folder / f"out{number}"
    run = command.run([plan.sources[0].parent], out, plan.workers, len(plan.sources), "--k", str(K))
    if tree_digest(out) != digest:
        raise WrongResultError("A run wrote other files than the first run.")
    layout, started = describe_processes(plan.workers, 1), run.images / run.seconds
    return Round("kseg-batch", layout, number, run.images, run.seconds, run.steady, started)


def _tutorial(plan: Plan) -> None:
    scripts.tutorial(plan.sources[: plan.tutorial], plan.folder / "tutorial", K, usable_cores())


def _peer(plan: Plan, stack: ExitStack) -> tuple[str, Processes[scripts.PeerShare]]:
    """Return the faster of two layouts of scikit-learn-intelex, and its processes."""
    sources, out = plan.sources[: plan.peer], plan.folder / "intelex"
    cores = tuple(sorted(os.sched_getaffinity(0)))
    n = min(len(cores), len(sources))
    layouts = {
        describe_processes(n, 1): [scripts.PeerShare(sources[i::n], out, K, (cores[i],)) for i in range(n)],
        describe_processes(1, len(cores)): [scripts.PeerShare(sources, out, K, cores)],
    }
    trials = []
    for layout, shares in layouts.items():
        processes = stack.enter_context(Processes(scripts.prepare_peer, shares))
        processes.work()
        check_partition(sources[:CHECKED], out, K)
        seconds = max(processes.work())
        print(f"intelex, {layout}: {len(sources) / seconds:.2f} images/s in a trial")
        trials.append((seconds, layout, processes))
    _, layout, processes = min(trials, key=lambda trial: trial[0])
    return layout, processes


def target_lines(rounds: Sequence[Round]) -> list[str]:
    """Return the median images per second, and compare kseg-batch with each target."""
    rates: dict[str, list[float]] = {}
    for found in rounds:
        rates.setdefault(found.implementation, []).append(found.rate)
    medians = {name: statistics.median(found) for name, found in rates.items()}
    ours = medians.pop("kseg-batch")
    started = statistics.median(r.rate_with_start for r in rounds if r.rate_with_start is not None)
    lines = [f"median images/s: kseg-batch {ours:.1f}, {started:.1f} with its start"]
    lines += [f"                 {name} {rate:.2f}" for name, rate in medians.items()]
    for name, rate in medians.items():
        text = f"kseg-batch over {name}: {ours / rate:.3g}, {started / rate:.3g} with its start"
        lines.append(target_line(text, ours / rate >= TARGETS[name], f"at least {TARGETS[name]:g} without"))
    return lines


if __name__ == "__main__":
    main()
