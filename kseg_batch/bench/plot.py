"""The plot of a benchmark: a bar for each implementation, and curves over several sizes or k."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from kseg_batch.bench.tables import format_number

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes

    from kseg_batch.bench.results import BenchResults, ResultRow

BACKEND_COLORS = {"numba": "#d55e00", "cupy": "#cc3377", "numba-cuda": "#e69f00", "opencv": "#000000"}
LIBRARY_COLORS = (
    "#0072b2",
    "#56b4e9",
    "#009e73",
    "#66c2a5",
    "#7b4ea3",
    "#b39ddb",
    "#7f7f7f",
    "#bdbdbd",
    "#a6761d",
)
MARKERS = "os^vD<>Pp"
PLAIN = StrMethodFormatter("{x:,g}")
"""Format of tick labels: numbers without an exponent."""
PANEL_WIDTH = 5.5
"""Width of a panel, in inches."""


def draw(results: BenchResults, title: str) -> Figure:
    """Return a figure of the median times.

    Args:
        results: The results, with at least one measured row.
        title: The title, one line.
    """
    rows = [row for row in results.rows if row.metrics is not None]
    (size, k), _ = Counter(row.case for row in rows).most_common(1)[0]
    same_k = [row for row in rows if row.k == k]
    same_size = [row for row in rows if row.size == size]
    curves: list[tuple[Sequence[ResultRow], Callable[[ResultRow], float], str, str]] = []
    if len({row.megapixels for row in same_k}) > 1:
        curves.append((same_k, lambda row: row.megapixels, "megapixels", f"k = {k}"))
    if len({row.k for row in same_size}) > 1:
        curves.append((same_size, lambda row: row.k, "k, clusters", size))
    names = list(dict.fromkeys(row.implementation for row in rows))
    height = max(3.6, 1.6 + 0.3 * len(names)) + (0.25 * len(names) if curves else 0)
    figure = Figure(figsize=(PANEL_WIDTH * (1 + len(curves)) + 1, height), layout="constrained")
    figure.suptitle(title, fontsize="medium")
    panels = figure.subplots(1, 1 + len(curves), squeeze=False)[0]
    styles = _styles(rows)
    _bars(panels[0], [row for row in rows if row.case == (size, k)], styles)
    panels[0].set_title(f"{size}, k = {k}", fontsize="medium")
    for axes, (part, place, label, name) in zip(panels[1:], curves, strict=True):
        _curves(axes, part, place, styles)
        axes.set_xlabel(label)
        axes.set_title(name, fontsize="medium")
    if curves:
        handles = {line.get_label(): line for axes in panels[1:] for line in axes.get_lines()}
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize="small")
    return figure


def _styles(rows: Sequence[ResultRow]) -> dict[str, tuple[str, str]]:
    """Return a colour and a marker for each implementation."""
    library_styles = iter(zip(LIBRARY_COLORS, MARKERS, strict=True))
    names = dict.fromkeys((row.implementation, row.is_library) for row in rows)
    return {
        name: next(library_styles) if is_library else (BACKEND_COLORS[name], "o")
        for name, is_library in names
    }


def _bars(axes: Axes, rows: Sequence[ResultRow], styles: dict[str, tuple[str, str]]) -> None:
    """Draw the milliseconds of each row on a logarithmic scale, with the spread as an error bar."""
    for row in sorted(rows, key=_milliseconds):
        assert row.metrics is not None
        median = row.metrics.median_ms
        spread = [[median - row.metrics.min_ms], [row.metrics.max_ms - median]]
        label = f"{row.implementation} [{row.threads or 'GPU'}]"
        color = styles[row.implementation][0]
        axes.barh(label, median, xerr=spread, color=color, capsize=2, ecolor="#555555")
        axes.annotate(
            format_number(median),
            (row.metrics.max_ms, label),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
        )
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(PLAIN)
    low, high = min(map(_milliseconds, rows)), max(map(_milliseconds, rows))
    axes.set_xlim(low / 3, high * (high / low) ** 0.2 * 3)  # room for the numbers beside the bars
    axes.set_xlabel("ms a photo; threads in brackets")


def _curves(
    axes: Axes,
    rows: Sequence[ResultRow],
    place: Callable[[ResultRow], float],
    styles: dict[str, tuple[str, str]],
) -> None:
    """Draw a line for each implementation, on logarithmic scales."""
    for name, (color, marker) in styles.items():
        points = sorted((place(row), _milliseconds(row)) for row in rows if row.implementation == name)
        if points:
            x, y = zip(*points, strict=True)
            axes.plot(x, y, label=name, color=color, marker=marker, markersize=5)
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks = sorted({place(row) for row in rows})
    axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(PLAIN)
    axes.set_ylabel("ms a photo")
    axes.grid(alpha=0.3)


def _milliseconds(row: ResultRow) -> float:
    assert row.metrics is not None
    return row.metrics.median_ms
