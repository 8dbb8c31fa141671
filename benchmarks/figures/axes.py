"""Parts of the charts: a figure with its caption, bars with their spread, and curves over decades."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from benchmarks.speed.scaling import Point

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from matplotlib.axes import Axes

BLUE, RED, ORANGE, GREEN, GRAY = "#0072b2", "#d55e00", "#e69f00", "#009e73", "#888888"
"""Colours that the colour-blind can distinguish (Okabe and Ito, 2002)."""

STYLES = ((BLUE, "o"), (RED, "s"), (GREEN, "^"), (ORANGE, "D"))
"""Colours and markers of the curves of one chart."""

PLAIN = StrMethodFormatter("{x:,.10g}")
"""Formatter of numbers in full, not as powers of ten."""

WIDTH = 8.4
"""Width of every figure, in inches."""


@dataclass(frozen=True, slots=True)
class CurveFields:
    """The fields of points from which curves are drawn."""

    key: Callable[[Point], tuple[Any, ...]]
    """Return the values that are equal along a curve."""
    label: Callable[[Sequence[Point]], str]
    """Return the name of a curve with these points."""
    x: Callable[[Point], float]
    y: Callable[[Point], float]


def whole_figure(content: dict[str, Any], title: str, how: str, height: float) -> Figure:
    """Return an empty figure with a title, and below with the machine, the commit and the method.

    Args:
        content: Content of a benchmark's JSON file.
        title: The measured quantity.
        how: Method of the measurement: medians, threads, repetitions.
        height: Height in inches.
    """
    facts = content["environment"]
    commit = (facts["git_commit"] or "unknown")[:9]
    machine = f"{facts['cpu']}, {count(facts['cores'], 'core')}, commit {commit}"
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.suptitle(title, fontsize=12, fontweight="bold")
    figure.supxlabel(f"{machine}\n{how}", fontsize=8.5, color="#444444")
    return figure


def one_figure(content: dict[str, Any], title: str, how: str, height: float) -> tuple[Figure, Axes]:
    """Return a `whole_figure` with one pair of axes."""
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
    """Draw a bar at the median of each group, its value, and a line from the least to the greatest value."""
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
            label = "_"  # one entry in the legend


def curves(axes: Axes, points: Sequence[Point], fields: CurveFields) -> None:
    """Draw a curve for each value of the key."""
    values = sorted({fields.key(point) for point in points})
    for (color, marker), value in zip(cycle(STYLES), values, strict=False):
        group = sorted((point for point in points if fields.key(point) == value), key=fields.x)
        places, heights = [fields.x(point) for point in group], [fields.y(point) for point in group]
        label = fields.label(group)
        axes.plot(places, heights, color=color, marker=marker, markersize=4, label=label)


def decades(axes: Axes, title: str, x: str, y: str) -> None:
    """Give both axes decades, plain numbers, a title and a legend."""
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
    """Return a number and its noun, in the plural where it is not 1."""
    return f"{n} {noun}{'' if n == 1 else 's'}"
