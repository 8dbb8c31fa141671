"""Compare two calls of cv2.kmeans, scikit-learn and kseg-batch on the same photos.

python -m benchmarks.speed.tutorial [PHOTO ...] [--json FILE]
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from benchmarks.photos import photo_1080p, read_photo
from benchmarks.support import implementations
from benchmarks.support.arguments import add_json, add_photos, exit_with_message, integers, make_parser, sizes
from benchmarks.support.checks import WrongResultError, check
from benchmarks.support.implementations import Measurement
from benchmarks.support.report import heading, line, save, target_line
from kseg_batch.bench.exact_cost import DistinctColors
from kseg_batch.bench.synthetic import cover

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

PROGRAM = "benchmarks.speed.tutorial"

NOTES = """\
kseg    kseg_batch.segment(rgb, k), backend numba, 1 thread, median after a warm-up run
cv2     the tutorial's cv2.kmeans call, median of 3 runs (seeds 0 to 2) up to k = 5, above 5 one run
one     cv2.kmeans with one attempt and KMEANS_PP_CENTERS, else as the tutorial, median of 3 runs
sk      scikit-learn KMeans(n_init=10) on the distinct colours weighted by their counts, one fit
cost    exact compactness of the centres of each: float64, every pixel to its nearest centre,
        for cv2 the lowest of its runs. The compactness that cv2 returns is in the JSON file only."""

WIDTHS = (-16, -9, 3, 7, 7, 7, 7, 7, 6, 6, 8, 8, 8)
COLUMNS = (
    *("photo", "size", "k", "colours", "kseg ms", "cv2 ms", "one ms", "sk ms"),
    *("x cv2", "x one", "cost/cv2", "cost/one", "cost/sk"),
)

DIGITS = (0, 1, 0, 1, 0, 0, 1, 6, 6, 6)
"""Digits after the point of each column of figures."""

RATIOS = ("speed_up", "speed_up_one_start", "cost_over_cv2", "cost_over_one_start", "cost_over_sklearn")
"""Properties of a comparison that the JSON file has beside its fields."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One photo at one size and k."""

    photo: str
    """File name of the photo."""
    width: int
    """Pixels of a row, at the measured size."""
    height: int
    """Rows of pixels."""
    colors: int
    """Distinct colours at the measured size."""
    k: int
    ours: Measurement
    cv2: Measurement | None
    """The tutorial's call. None where cv2.kmeans was left out."""
    cv2_one_start: Measurement | None
    """The call with one k-means++ start. None where cv2.kmeans was left out."""
    sklearn: Measurement | None
    """None where scikit-learn was left out."""

    @property
    def speed_up(self) -> float | None:
        """The time of the tutorial's call divided by ours."""
        return self.cv2.seconds / self.ours.seconds if self.cv2 else None

    @property
    def speed_up_one_start(self) -> float | None:
        """The time of the call with one start divided by ours."""
        return self.cv2_one_start.seconds / self.ours.seconds if self.cv2_one_start else None

    @property
    def cost_over_cv2(self) -> float | None:
        """Our compactness divided by that of the tutorial's centres: below 1, ours is better."""
        return _ratio(self.ours.compactness, self.cv2)

    @property
    def cost_over_one_start(self) -> float | None:
        """Our compactness divided by that of the centres of the call with one start."""
        return _ratio(self.ours.compactness, self.cv2_one_start)

    @property
    def cost_over_sklearn(self) -> float | None:
        """Our compactness divided by that of scikit-learn's centres."""
        return _ratio(self.ours.compactness, self.sklearn)

    @property
    def group(self) -> tuple[str, str]:
        """The size and k, as in the table."""
        return f"{self.width}x{self.height}", str(self.k)

    @property
    def figures(self) -> tuple[float | None, ...]:
        """The figures of a table row, after the photo, its size and k. None where a call was left out."""
        return (
            self.colors,
            *(1e3 * found.seconds if found else None for found in self._measurements),
            self.speed_up,
            self.speed_up_one_start,
            self.cost_over_cv2,
            self.cost_over_one_start,
            self.cost_over_sklearn,
        )

    @property
    def _measurements(self) -> tuple[Measurement | None, ...]:
        return self.ours, self.cv2, self.cv2_one_start, self.sklearn

    def as_dict(self) -> dict[str, object]:
        """Return all figures with their ratios, for JSON."""
        return {**asdict(self), **{name: getattr(self, name) for name in RATIOS}}


def _ratio(cost: float, other: Measurement | None) -> float | None:
    """Divide costs. A photo of at most k colours costs nothing, and two costs of 0 are equal."""
    if other is None:
        return None
    if other.compactness == 0:
        return 1.0 if cost == 0 else float("inf")
    return cost / other.compactness


def row(name: str, group: tuple[str, str], figures: Sequence[float | None]) -> str:
    """Return a row of the table."""
    cells = ("-" if x is None else f"{x:.{digits}f}" for x, digits in zip(figures, DIGITS, strict=True))
    return line((name[:16], *group, *cells), WIDTHS)


def median_rows(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """Yield a row for each size and k, with the medians over the photos of each column."""
    for group in dict.fromkeys(found.group for found in comparisons):
        columns = zip(*(found.figures for found in comparisons if found.group == group), strict=True)
        known = [[figure for figure in column if figure is not None] for column in columns]
        yield row("median", group, [statistics.median(column) if column else None for column in known])


@dataclass(frozen=True, slots=True)
class ComparisonTarget:
    """A limit for one figure of every comparison in a range of k."""

    name: str
    figure: Callable[[Comparison], float | None]
    lowest_k: int
    highest_k: int
    limit: float
    at_least: bool
    """True where the limit is the least allowed value, False where it is the greatest."""

    def lines(self, comparisons: Sequence[Comparison]) -> list[str]:
        """Return a line with the worst and the best figure, and a line for every miss."""
        chosen = [found for found in comparisons if self.lowest_k <= found.k <= self.highest_k]
        figures = [(figure, found) for found in chosen if (figure := self.figure(found)) is not None]
        if not figures:
            return []
        figures.sort(key=lambda pair: pair[0], reverse=not self.at_least)
        misses = [(figure, found) for figure, found in figures if self._is_missed_by(figure)]
        digits = 0 if self.at_least else 6
        text = f"{self.name}: worst {figures[0][0]:.{digits}f}, best {figures[-1][0]:.{digits}f}"
        bound = f"{'at least' if self.at_least else 'at most'} {self.limit:g}"
        lines = [target_line(text, not misses, bound)]
        return lines + [
            f"    {found.photo}, {found.width}x{found.height}, k = {found.k}: {figure:.{digits}f}"
            for figure, found in misses
        ]

    def _is_missed_by(self, figure: float) -> bool:
        return figure < self.limit if self.at_least else figure > self.limit


SPEED_TARGETS = (
    ComparisonTarget("times faster than cv2, k = 3", lambda found: found.speed_up, 3, 3, 150, True),
    ComparisonTarget("times faster than cv2, k = 16", lambda found: found.speed_up, 16, 16, 1000, True),
)
"""Targets at the largest size. A small photo has more distinct colours for its pixels, and gains less."""

COST_TARGETS = (
    ComparisonTarget("cost / cv2, any k", lambda found: found.cost_over_cv2, 1, 256, 1.001, False),
    ComparisonTarget(
        "cost / scikit-learn, k <= 8", lambda found: found.cost_over_sklearn, 1, 8, 1.001, False
    ),
    ComparisonTarget(
        "cost / scikit-learn, k 9 to 32", lambda found: found.cost_over_sklearn, 9, 32, 1.01, False
    ),
)


def main() -> None:
    """Compare, and print a table and the targets."""
    given = parse()
    settings = {
        "k": list(given.k),
        "repeat": given.repeat,
        "threads": given.threads,
        "sizes": [f"{width}x{height}" for width, height in given.sizes],
        "cv2": not given.no_cv2,
        "sklearn": not given.no_sklearn,
        "photos": [path.name for path in given.photos],
    }
    comparisons: list[Comparison] = []
    with exit_with_message(PROGRAM):
        shown = {**settings, "threads": f"{given.threads} for cv2 and scikit-learn, 1 for kseg-batch"}
        print(heading("kseg-batch beside cv2.kmeans and scikit-learn", shown), end=f"\n\n{NOTES}\n\n")
        print(line(COLUMNS, WIDTHS), flush=True)
        for found in compare(given):
            print(row(found.photo, found.group, found.figures), flush=True)
            comparisons.append(found)
        print("", *median_rows(comparisons), "", *target_lines(comparisons), sep="\n")
        if given.json:
            save(given.json, settings, [found.as_dict() for found in comparisons])


def target_lines(comparisons: Sequence[Comparison]) -> list[str]:
    """Return the lines of all targets."""
    most = max(found.width * found.height for found in comparisons)
    largest = [found for found in comparisons if found.width * found.height == most]
    return [
        *(text for target in SPEED_TARGETS for text in target.lines(largest)),
        *(text for target in COST_TARGETS for text in target.lines(comparisons)),
    ]


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(PROGRAM, __doc__)
    add_photos(parser, "default: a packaged photo")
    parser.add_argument("--k", type=integers, default=(2, 3, 5, 8, 16), help="clusters, such as 2,3,5,8,16")
    parser.add_argument("--repeat", type=int, default=7, help="timed runs of kseg-batch")
    parser.add_argument("--threads", type=int, default=2, help="threads of cv2 and scikit-learn")
    parser.add_argument(
        "--sizes",
        type=sizes,
        default=((1920, 1080), (500, 375)),
        help="WIDTHxHEIGHT,... to which each photo is scaled and cropped; default: 1920x1080,500x375",
    )
    parser.add_argument("--no-cv2", action="store_true", help="leave cv2.kmeans out, the slow part")
    parser.add_argument("--no-sklearn", action="store_true", help="leave scikit-learn out")
    add_json(parser)
    given = parser.parse_args()
    if not given.no_sklearn and not (find_spec("sklearn") and find_spec("threadpoolctl")):
        parser.error(
            "scikit-learn is not installed; to add it: pip install scikit-learn; to do without: --no-sklearn"
        )
    return given


def compare(given: argparse.Namespace) -> Iterator[Comparison]:
    """Check, then measure, each photo at each size and k.

    Raises:
        WrongResultError: A result of kseg-batch is wrong.
    """
    for name, rgb in load(given):
        distinct = DistinctColors.of(rgb)
        for k in given.k:
            try:
                check(rgb, k)
            except WrongResultError as error:
                raise WrongResultError(f"{name}, k = {k}: {error}") from error
            yield Comparison(
                photo=name,
                width=rgb.shape[1],
                height=rgb.shape[0],
                colors=len(distinct.colors),
                k=k,
                ours=implementations.kseg_batch(rgb, distinct, k, given.repeat),
                cv2=None if given.no_cv2 else implementations.tutorial(rgb, distinct, k, given.threads),
                cv2_one_start=None
                if given.no_cv2
                else implementations.opencv_one_start(rgb, distinct, k, given.threads),
                sklearn=None
                if given.no_sklearn
                else implementations.scikit_learn(distinct, k, given.threads),
            )


def load(given: argparse.Namespace) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield the name and the (H, W, 3) uint8 RGB pixels of each photo, at one size after the other."""
    for size in given.sizes:
        if not given.photos:
            yield "china.jpg", cover(photo_1080p(), *size)
        for path in given.photos:
            yield path.name, cover(read_photo(path), *size)


if __name__ == "__main__":
    main()
