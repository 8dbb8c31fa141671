"""What the figures have in common: their frame, bars with their spread, and curves over decades."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from benchmarks.speed.scaling_points import Point

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from matplotlib.axes import Axes

BLUE, RED, ORANGE, GREEN, GRAY = "#0072b2", "#d55e00", "#e69f00", "#009e73", "#888888"
"""Told apart by the colour-blind, too (Okabe and Ito, 2002)."""

STYLES = ((BLUE, "o"), (RED, "s"), (GREEN, "^"), (ORANGE, "D"))
"""Colours and markers of curves."""

PLAIN = StrMethodFormatter("{x:,.10g}")
"""Numbers as one says them, not as powers of ten."""

WIDTH = 8.4
"""Inches."""


@dataclass(frozen=True, slots=True)
class Lines:
    """How points make curves."""

    key: Callable[[Point], tuple[Any, ...]]
    """What is the same along a curve."""
    label: Callable[[Sequence[Point]], str]
    """What a curve is called, by its points."""
    x: Callable[[Point], float]
    y: Callable[[Point], float]


def whole_figure(content: dict[str, Any], title: str, how: str, height: float) -> Figure:
    """An empty figure that says what was measured; and below, on which machine, of which commit, and how.

    Args:
        content: Of a benchmark's JSON file.
        title: What was measured.
        how: What is a median of what, on how many threads.
        height: In inches.
    """
    facts = content["environment"]
    commit = (facts["git_commit"] or "unknown")[:9]
    machine = f"{facts['cpu']}, {count(facts['cores'], 'core')}, commit {commit}"
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.suptitle(title, fontsize=12, fontweight="bold")
    figure.supxlabel(f"{machine}\n{how}", fontsize=8.5, color="#444444")
    return figure


def one_figure(content: dict[str, Any], title: str, how: str, height: float) -> tuple[Figure, Axes]:
    """A `whole_figure` with one pair of axes."""
    figure = whole_figure(content, title, how, height)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    return figure, axes


def bars(
    axes: Axes,
    at: Iterable[float],
    groups: Sequence[Sequence[float]],
    width: float,
    label: str,
    color: str,
) -> None:
    """A bar at the median of each group, its figure above it, and a line from the least to the greatest."""
    for x, group in zip(at, groups, strict=True):
        if group:
            median = statistics.median(group)
            axes.bar(x, median, width, color=color, label=label)
            axes.plot([x, x], [min(group), max(group)], color="black", linewidth=1)
            axes.annotate(
                f"{median:,.0f}",
                (x, max(group)),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
            label = "_"  # told once


def curves(axes: Axes, points: Sequence[Point], lines: Lines) -> None:
    """A curve for each value of the key."""
    values = sorted({lines.key(point) for point in points})
    for (color, marker), value in zip(cycle(STYLES), values, strict=False):
        group = sorted((point for point in points if lines.key(point) == value), key=lines.x)
        places, heights = [lines.x(point) for point in group], [lines.y(point) for point in group]
        label = lines.label(group)
        axes.plot(places, heights, color=color, marker=marker, markersize=4, label=label)


def decades(axes: Axes, title: str, x: str, y: str) -> None:
    """Both axes in decades, with plain numbers, a title and a legend."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        subs = (1,) if high > 300 * low else (1, 2, 5) if high > 10 * low else (1, 2, 3, 5, 7)
        axis.set_major_locator(LogLocator(subs=subs))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(PLAIN)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:
        axes.legend(fontsize=7.5, framealpha=1)


def count(n: int, noun: str) -> str:
    """A number and its noun."""
    return f"{n} {noun}{'' if n == 1 else 's'}"
