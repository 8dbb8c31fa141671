"""How close `segment` comes to the best of 50 starts of scikit-learn's KMeans, on many photos.

python -m benchmarks.studies.quality [PHOTO ...] [--json FILE]

The starts take long, and depend on nothing of ours: with --json they are written as they come, and those
that the file holds of the same pixels, settings and version of scikit-learn are not done again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.photos import PhotosMissingError
from benchmarks.speed.tutorial import integers
from benchmarks.studies.samples import MAX_PIXELS, samples
from benchmarks.support.checks import WrongResultError
from benchmarks.support.contenders import timed
from benchmarks.support.report import heading, judged, line, save
from kseg_batch import segment
from kseg_batch.bench.exact_cost import DistinctColors
from kseg_batch.errors import KsegError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.studies.samples import Sample

NOTES = f"""\
ratio   compactness of segment() by that of the best start: below 1 is better than scikit-learn. Both are
        computed anew from the centres: float64, every pixel to its nearest centre
best    KMeans(algorithm="lloyd") on the weighted distinct colours, on all cores
Photos are scaled down to {MAX_PIXELS / 1e6:g} megapixel at most; if there are too few, halves are added."""

SEED, TOL, MAX_ITER = 0, 1e-6, 1000
"""Of scikit-learn."""

MEDIAN, WORST = 1.0005, 1.01
"""Targets: the ratio's median and greatest value, at most."""

WIDTHS = (-32, 8, 4, 16, 16, 10, 9)
COLUMNS = ("photo", "colours", "k", "segment()", "best start", "ratio", "seconds")


@dataclass(frozen=True, slots=True)
class Row:
    """One photo at one k."""

    photo: str
    digest: str
    """Of its colours and their counts."""
    colors: int
    k: int
    ours: float
    """Exact compactness of our centres."""
    best: float
    """That of the best start's."""
    seconds: float
    """Of all starts."""
    ratio: float
    """Ours over the best: 1 where both are 0."""

    def cells(self) -> tuple[str, ...]:
        """What the table shows."""
        costs = (f"{self.ours:.1f}", f"{self.best:.1f}", f"{self.ratio:.6f}", f"{self.seconds:.1f}")
        return self.photo[:32], f"{self.colors:,}", str(self.k), *costs


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A photo and a k to do it at."""

    sample: Sample
    distinct: DistinctColors
    k: int

    @property
    def key(self) -> tuple[str, int]:
        """What the best start depends on, besides the settings."""
        content = self.distinct.colors.tobytes() + self.distinct.counts.tobytes()
        return hashlib.sha256(content).hexdigest()[:16], self.k


def main() -> None:
    """Compare, print the table and the verdict."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies.quality", description=__doc__)
    parser.add_argument("photos", metavar="PHOTO", nargs="*", type=Path, help="besides the packaged ones")
    parser.add_argument("--k", type=integers, default=(2, 3, 5, 8, 16, 32), help="e.g. 2,3,5")
    parser.add_argument("--starts", type=int, default=50, help="of scikit-learn")
    parser.add_argument("--samples", type=int, default=20, help="photos and halves of them, at least")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures there, as they come")
    asked = parser.parse_args()
    reference = {"starts": asked.starts, "seed": SEED, "tol": TOL, "max_iter": MAX_ITER}
    rows: list[Row] = []
    try:
        reference["scikit_learn"] = version("scikit-learn")
        settings = {**reference, "max_pixels": MAX_PIXELS, "k": list(asked.k)}
        print(heading("segment() beside the best of many starts", settings), end=f"\n\n{NOTES}\n\n")
        tasks = make_tasks(samples(asked.photos, asked.samples), asked.k)
        known = read_known(asked.json, reference)
        print(f"{sum(task.key in known for task in tasks)} of {len(tasks)} are known already")
        print(f"expected time: {expected_minutes(tasks, known, asked.starts):.1f} minutes", end="\n\n")
        print(line(COLUMNS, WIDTHS), flush=True)
        for task in tasks:
            rows.append(compare(task, known.pop(task.key, None), asked.starts))
            print(line(rows[-1].cells(), WIDTHS), flush=True)
            if asked.json:
                waiting = [known[other.key] for other in tasks[len(rows) :] if other.key in known]
                save(asked.json, settings, [asdict(row) for row in (*rows, *waiting)])
    except PackageNotFoundError:
        sys.exit(
            "benchmarks.studies.quality: scikit-learn is not installed: pip install 'kseg-batch[photos]'"
        )
    except (KsegError, OSError, PhotosMissingError, WrongResultError) as error:
        sys.exit(f"benchmarks.studies.quality: {error}")
    print("", *verdict(rows), sep="\n")


def make_tasks(photos: Sequence[Sample], clusters: Sequence[int]) -> list[Task]:
    """Every photo at every k."""
    counted = [(photo, DistinctColors.of(photo.rgb)) for photo in photos]
    return [Task(photo, distinct, k) for photo, distinct in counted for k in clusters]


def read_known(path: Path | None, reference: Mapping[str, object]) -> dict[tuple[str, int], Row]:
    """The rows that a file holds of an earlier run with the same settings of scikit-learn, by `Task.key`.

    Raises:
        OSError: The file is there and cannot be read, or is none of ours.
    """
    if path is None or not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if any(content["settings"].get(name) != value for name, value in reference.items()):
            return {}
        rows = [Row(**row) for row in content["results"]]
    except (ValueError, KeyError, TypeError) as error:
        raise OSError(f"{path} is not a file of this benchmark; choose another --json") from error
    return {(row.digest, row.k): row for row in rows}


def expected_minutes(tasks: Sequence[Task], known: Mapping[tuple[str, int], Row], starts: int) -> float:
    """How long the starts will take, from a single one at each k on the first photo to be done."""
    open_tasks = [task for task in tasks if task.key not in known]
    first: dict[int, float] = {}
    total = 0.0
    for task in open_tasks:
        if task.k not in first:
            first[task.k] = best_of(task, 1)[0] / len(task.distinct.colors)
        total += starts * first[task.k] * len(task.distinct.colors)
    return total / 60


def best_of(task: Task, starts: int) -> tuple[float, float]:
    """The seconds that so many starts of scikit-learn take, and the exact compactness of the best."""
    model = import_module("sklearn.cluster").KMeans(
        n_clusters=min(task.k, len(task.distinct.colors)),
        n_init=starts,
        random_state=SEED,
        tol=TOL,
        max_iter=MAX_ITER,
        algorithm="lloyd",
    )
    seconds, _ = timed(lambda: model.fit(task.distinct.colors, sample_weight=task.distinct.counts))
    return seconds, task.distinct.cost(model.cluster_centers_)


def compare(task: Task, known: Row | None, starts: int) -> Row:
    """Ours, computed here and now, beside the best start, which may be known.

    Raises:
        WrongResultError: The compactness that `segment` tells is not that of its centres.
    """
    found = segment(task.sample.rgb, task.k, backend="numba")
    ours = task.distinct.cost(found.centers)
    if abs(ours - found.compactness) > 1e-9 * max(ours, 1.0):
        raise WrongResultError(f"{task.sample.name}, k = {task.k}: that is not the centres' compactness")
    seconds, best = (known.seconds, known.best) if known else best_of(task, starts)
    return Row(
        photo=task.sample.name,
        digest=task.key[0],
        colors=len(task.distinct.colors),
        k=task.k,
        ours=ours,
        best=best,
        seconds=seconds,
        ratio=ours / best if best else 1.0 if ours == 0 else float("inf"),
    )


def verdict(rows: Sequence[Row]) -> list[str]:
    """The ratios by k, and over all against the targets."""
    lines = []
    for k in sorted({row.k for row in rows}):
        ratios = [row.ratio for row in rows if row.k == k]
        lines.append(f"k = {k:<3} median {statistics.median(ratios):.6f}, worst {max(ratios):.6f}")
    ratios = [row.ratio for row in rows]
    median, worst = statistics.median(ratios), max(ratios)
    lines.append(judged(f"median ratio {median:.6f}", median <= MEDIAN, f"at most {MEDIAN}"))
    lines.append(judged(f"worst ratio {worst:.6f}", worst <= WORST, f"at most {WORST}"))
    return lines


if __name__ == "__main__":
    main()
