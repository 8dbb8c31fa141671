"""Compare the compactness of `segment` with the best of 50 starts of scikit-learn's KMeans, on many photos.

python -m benchmarks.studies.quality [PHOTO ...] [--json FILE]

The starts take long, and do not depend on kseg-batch. With --json each result is written as soon as it is
known. Starts that the file has of the same pixels, settings and version of scikit-learn are not done again.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import sys
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from benchmarks.support.arguments import add_json, add_photos, exit_with_message, integers, make_parser
from benchmarks.support.checks import WrongResultError
from benchmarks.support.report import heading, line, save, target_line
from benchmarks.support.samples import MAX_PIXELS, samples
from benchmarks.support.stopwatch import timed
from kseg_batch import segment
from kseg_batch.bench.exact_cost import DistinctColors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.support.samples import Sample

PROGRAM = "benchmarks.studies.quality"

NOTES = f"""\
ratio   compactness of segment() divided by that of the best start: below 1, ours is better. Both are
        computed anew from the centres: float64, every pixel to its nearest centre
best    KMeans(algorithm="lloyd") on the weighted distinct colours, on all cores
Photos are scaled down to {MAX_PIXELS / 1e6:g} megapixel at most; if there are too few, halves are added."""

SEED, TOL, MAX_ITER = 0, 1e-6, 1000
"""Options of scikit-learn's KMeans."""

MEDIAN, WORST = 1.0005, 1.01
"""Targets: the ratio's median and greatest value, at most."""

WIDTHS = (-32, 8, 4, 16, 16, 10, 9)
COLUMNS = ("photo", "colours", "k", "segment()", "best start", "ratio", "seconds")


@dataclass(frozen=True, slots=True)
class QualityResult:
    """One photo at one k."""

    photo: str
    digest: str
    """SHA-256 of the colours and their counts, its first 16 digits."""
    colors: int
    k: int
    ours: float
    """Exact compactness of our centres."""
    best: float
    """Exact compactness of the centres of the best start."""
    seconds: float
    """Wall time of all starts."""
    ratio: float
    """`ours` divided by `best`; 1 where both are 0."""

    def cells(self) -> tuple[str, ...]:
        """Return the cells of a table row."""
        costs = (f"{self.ours:.1f}", f"{self.best:.1f}", f"{self.ratio:.6f}", f"{self.seconds:.1f}")
        return self.photo[:32], f"{self.colors:,}", str(self.k), *costs


@dataclass(frozen=True, slots=True, eq=False)
class QualityCase:
    """A photo, and a number of clusters."""

    sample: Sample
    distinct: DistinctColors
    k: int

    @property
    def key(self) -> tuple[str, int]:
        """The digest of the colours and k: with the settings, the best start depends on nothing else."""
        content = self.distinct.colors.tobytes() + self.distinct.counts.tobytes()
        return hashlib.sha256(content).hexdigest()[:16], self.k


def main() -> None:
    """Compare, and print a table and the targets."""
    parser = make_parser(PROGRAM, __doc__)
    add_photos(parser, "measured beside the packaged photos")
    parser.add_argument("--k", type=integers, default=(2, 3, 5, 8, 16, 32), help="clusters, such as 2,3,5")
    parser.add_argument("--starts", type=int, default=50, help="starts of scikit-learn")
    parser.add_argument("--samples", type=int, default=20, help="least number of photos and halves of photos")
    add_json(parser)
    given = parser.parse_args()
    reference = {"starts": given.starts, "seed": SEED, "tol": TOL, "max_iter": MAX_ITER}
    results: list[QualityResult] = []
    try:
        reference["scikit_learn"] = version("scikit-learn")
    except PackageNotFoundError:
        sys.exit(f"{PROGRAM}: scikit-learn is not installed; to add it: pip install scikit-learn")
    with exit_with_message(PROGRAM):
        settings = {**reference, "max_pixels": MAX_PIXELS, "k": list(given.k)}
        print(heading("segment() beside the best of many starts", settings), end=f"\n\n{NOTES}\n\n")
        cases = make_cases(samples(given.photos, given.samples), given.k)
        known = read_known(given.json, reference)
        print(f"{sum(case.key in known for case in cases)} of {len(cases)} are known already")
        print(f"expected time: {expected_minutes(cases, known, given.starts):.1f} minutes", end="\n\n")
        print(line(COLUMNS, WIDTHS), flush=True)
        for case in cases:
            results.append(compare(case, known.pop(case.key, None), given.starts))
            print(line(results[-1].cells(), WIDTHS), flush=True)
            if given.json:
                waiting = [known[other.key] for other in cases[len(results) :] if other.key in known]
                save(given.json, settings, [asdict(result) for result in (*results, *waiting)])
        print("", *target_lines(results), sep="\n")


def make_cases(photos: Sequence[Sample], clusters: Sequence[int]) -> list[QualityCase]:
    """Return every photo at every k."""
    counted = [(photo, DistinctColors.of(photo.rgb)) for photo in photos]
    return [QualityCase(photo, distinct, k) for photo, distinct in counted for k in clusters]


def read_known(path: Path | None, reference: Mapping[str, object]) -> dict[tuple[str, int], QualityResult]:
    """Return the results of an earlier run with the same settings of scikit-learn, by `QualityCase.key`.

    Raises:
        OSError: The file exists and cannot be read, or is not a file of this benchmark.
    """
    if path is None or not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if any(content["settings"].get(name) != value for name, value in reference.items()):
            return {}
        results = [QualityResult(**result) for result in content["results"]]
    except (ValueError, KeyError, TypeError) as error:
        raise OSError(f"{path} is not a file of this benchmark; choose another --json") from error
    return {(result.digest, result.k): result for result in results}


def expected_minutes(
    cases: Sequence[QualityCase], known: Mapping[tuple[str, int], QualityResult], starts: int
) -> float:
    """Estimate the minutes of all starts, from a single start at each k on the first photo to be done."""
    first: dict[int, float] = {}
    total = 0.0
    for case in (case for case in cases if case.key not in known):
        if case.k not in first:
            first[case.k] = best_of(case, 1)[0] / len(case.distinct.colors)
        total += starts * first[case.k] * len(case.distinct.colors)
    return total / 60


def best_of(case: QualityCase, starts: int) -> tuple[float, float]:
    """Return the seconds of a number of starts of scikit-learn, and the exact compactness of the best."""
    model = import_module("sklearn.cluster").KMeans(
        n_clusters=min(case.k, len(case.distinct.colors)),
        n_init=starts,
        random_state=SEED,
        tol=TOL,
        max_iter=MAX_ITER,
        algorithm="lloyd",
    )
    seconds, _ = timed(lambda: model.fit(case.distinct.colors, sample_weight=case.distinct.counts))
    return seconds, case.distinct.cost(model.cluster_centers_)


def compare(case: QualityCase, known: QualityResult | None, starts: int) -> QualityResult:
    """Compare a new result of `segment` with the best start, which may be known already.

    Raises:
        WrongResultError: The compactness that `segment` returns is not that of its centres.
    """
    found = segment(case.sample.rgb, case.k, backend="numba")
    ours = case.distinct.cost(found.centers)
    if abs(ours - found.compactness) > 1e-9 * max(ours, 1.0):
        raise WrongResultError(
            f"{case.sample.name}, k = {case.k}: the compactness is not that of the centres"
        )
    seconds, best = (known.seconds, known.best) if known else best_of(case, starts)
    return QualityResult(
        photo=case.sample.name,
        digest=case.key[0],
        colors=len(case.distinct.colors),
        k=case.k,
        ours=ours,
        best=best,
        seconds=seconds,
        ratio=ours / best if best else 1.0 if ours == 0 else float("inf"),
    )


def target_lines(results: Sequence[QualityResult]) -> list[str]:
    """Return the ratios by k, and compare all ratios with the targets."""
    lines = []
    for k in sorted({result.k for result in results}):
        ratios = [result.ratio for result in results if result.k == k]
        lines.append(f"k = {k:<3} median {statistics.median(ratios):.6f}, worst {max(ratios):.6f}")
    ratios = [result.ratio for result in results]
    median, worst = statistics.median(ratios), max(ratios)
    lines.append(target_line(f"median ratio {median:.6f}", median <= MEDIAN, f"at most {MEDIAN}"))
    lines.append(target_line(f"worst ratio {worst:.6f}", worst <= WORST, f"at most {WORST}"))
    return lines


if __name__ == "__main__":
    main()
