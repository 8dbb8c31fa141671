"""The rows of the comparison, the targets, and the verdict."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from benchmarks.support.report import line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.support.contenders import Measurement

WIDTHS = (-18, 3, 7, 9, 8, 8, 9, 12, 12)
COLUMNS = ("photo", "k", "colours", "kseg ms", "cv2 ms", "sk ms", "x cv2", "cost/cv2", "cost/sk")


@dataclass(frozen=True, slots=True)
class Row:
    """One photo at one k."""

    photo: str
    """Its file name."""
    colors: int
    """Its distinct colours at the size measured."""
    k: int
    ours: Measurement
    cv2: Measurement | None
    """None where it was left out, and so below."""
    sklearn: Measurement | None

    @property
    def speed_up(self) -> float | None:
        """How many times faster than cv2.kmeans."""
        return self.cv2.seconds / self.ours.seconds if self.cv2 else None

    @property
    def cost_over_cv2(self) -> float | None:
        """Our compactness by the exact one of cv2's centres: below 1 is better than cv2."""
        return _ratio(self.ours.compactness, self.cv2)

    @property
    def cost_over_sklearn(self) -> float | None:
        """Our compactness by the exact one of scikit-learn's centres."""
        return _ratio(self.ours.compactness, self.sklearn)

    def cells(self) -> tuple[str, ...]:
        """What the table shows."""
        return (
            self.photo[:18],
            str(self.k),
            str(self.colors),
            f"{1e3 * self.ours.seconds:.1f}",
            _shown(1e3 * self.cv2.seconds if self.cv2 else None, 0),
            _shown(1e3 * self.sklearn.seconds if self.sklearn else None, 0),
            _shown(self.speed_up, 0),
            _shown(self.cost_over_cv2, 6),
            _shown(self.cost_over_sklearn, 6),
        )

    def as_dict(self) -> dict[str, object]:
        """All of it, with the ratios, for JSON."""
        ratios = {name: getattr(self, name) for name in ("speed_up", "cost_over_cv2", "cost_over_sklearn")}
        return {**asdict(self), **ratios}


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure of every row in a range of k should reach."""

    name: str
    figure: Callable[[Row], float | None]
    lowest_k: int
    highest_k: int
    limit: float
    at_least: bool
    """Whether the limit is the least or the greatest allowed value."""

    def measured(self, rows: Sequence[Row]) -> list[tuple[float, Row]]:
        """The figures of the rows that it speaks of, worst first."""
        figures = [(self.figure(row), row) for row in rows if self.lowest_k <= row.k <= self.highest_k]
        known = [(figure, row) for figure, row in figures if figure is not None]
        return sorted(known, key=lambda pair: pair[0], reverse=not self.at_least)

    def missed_by(self, figure: float) -> bool:
        """Whether a figure is on the wrong side of the limit."""
        return figure < self.limit if self.at_least else figure > self.limit


TARGETS = (
    Target("times faster than cv2, k = 3", lambda row: row.speed_up, 3, 3, 150, True),
    Target("times faster than cv2, k = 16", lambda row: row.speed_up, 16, 16, 1000, True),
    Target("cost / cv2, any k", lambda row: row.cost_over_cv2, 1, 256, 1.001, False),
    Target("cost / scikit-learn, k <= 8", lambda row: row.cost_over_sklearn, 1, 8, 1.001, False),
    Target("cost / scikit-learn, k 9 to 32", lambda row: row.cost_over_sklearn, 9, 32, 1.01, False),
)


def table_line(cells: Sequence[str]) -> str:
    """A line of the table, or with `COLUMNS` its head."""
    return line(cells, WIDTHS)


def verdict(rows: Sequence[Row]) -> list[str]:
    """For each target the worst and the best figure, and every miss."""
    lines = []
    for target in TARGETS:
        measured = target.measured(rows)
        if not measured:
            continue
        (worst, _), (best, _) = measured[0], measured[-1]
        misses = [(figure, row) for figure, row in measured if target.missed_by(figure)]
        outcome = f"missed by {len(misses)} of {len(measured)}" if misses else f"met by all {len(measured)}"
        bound = f"{'>=' if target.at_least else '<='} {target.limit:g}"
        digits = 0 if target.at_least else 6
        lines.append(
            f"{target.name:<31} worst {worst:.{digits}f}, best {best:.{digits}f}; target {bound}: {outcome}"
        )
        lines.extend(f"    {row.photo}, k = {row.k}: {figure:.{digits}f}" for figure, row in misses)
    return lines


def _ratio(cost: float, other: Measurement | None) -> float | None:
    """Cost by cost; a photo of at most k colours costs nothing, and then equal is 1."""
    if other is None:
        return None
    if other.compactness == 0:
        return 1.0 if cost == 0 else float("inf")
    return cost / other.compactness


def _shown(figure: float | None, digits: int) -> str:
    return "-" if figure is None else f"{figure:.{digits}f}"
