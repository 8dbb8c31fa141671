"""Draws a benchmark: a bar for each contender, and curves where several sizes or numbers of clusters are."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from kseg_batch.bench.report import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes

    from kseg_batch.bench.results import Contest, Row

OUR_COLORS = {"numba": "#d55e00", "cupy": "#cc3377", "numba-cuda": "#e69f00", "opencv": "#000000"}
PEER_COLORS = (
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
"""Numbers with no exponent."""
PANEL = 5.5
"""Inches that a panel is wide."""


def draw(contest: Contest, title: str) -> Figure:
    """A picture of what was measured.

    Args:
        contest: With at least one measured row.
        title: The machine, in a line.
    """
    rows = [row for row in contest.rows if row.figures is not None]
    (size, k), _ = Counter(row.cell for row in rows).most_common(1)[0]
    same_k = [row for row in rows if row.k == k]
    same_size = [row for row in rows if row.size == size]
    curves: list[tuple[Sequence[Row], Callable[[Row], float], str, str]] = []
    if len({row.megapixels for row in same_k}) > 1:
        curves.append((same_k, lambda row: row.megapixels, "megapixels", f"k = {k}"))
    if len({row.k for row in same_size}) > 1:
        curves.append((same_size, lambda row: row.k, "k, clusters", size))
    names = list(dict.fromkeys(row.contender for row in rows))
    height = max(3.6, 1.6 + 0.3 * len(names)) + (0.25 * len(names) if curves else 0)
    figure = Figure(figsize=(PANEL * (1 + len(curves)) + 1, height), layout="constrained")
    figure.suptitle(title, fontsize="medium")
    panels = figure.subplots(1, 1 + len(curves), squeeze=False)[0]
    styles = _styles(rows)
    _bars(panels[0], [row for row in rows if row.cell == (size, k)], styles)
    panels[0].set_title(f"{size}, k = {k}", fontsize="medium")
    for axes, (part, place, label, name) in zip(panels[1:], curves, strict=True):
        _curves(axes, part, place, styles)
        axes.set_xlabel(label)
        axes.set_title(name, fontsize="medium")
    if curves:
        handles = {line.get_label(): line for axes in panels[1:] for line in axes.get_lines()}
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize="small")
    return figure


def _styles(rows: Sequence[Row]) -> dict[str, tuple[str, str]]:
    """A colour and a marker for each contender."""
    peers = iter(zip(PEER_COLORS, MARKERS, strict=True))
    names = dict.fromkeys((row.contender, row.peer) for row in rows)
    return {name: next(peers) if peer else (OUR_COLORS[name], "o") for name, peer in names}


def _bars(axes: Axes, rows: Sequence[Row], styles: dict[str, tuple[str, str]]) -> None:
    """Milliseconds, on a scale of powers of ten, with the spread as a whisker."""
    for row in sorted(rows, key=_milliseconds):
        assert row.figures is not None
        median = row.figures.median_ms
        spread = [[median - row.figures.least_ms], [row.figures.most_ms - median]]
        label = f"{row.contender} [{row.threads or 'GPU'}]"
        color = styles[row.contender][0]
        axes.barh(label, median, xerr=spread, color=color, capsize=2, ecolor="#555555")
        axes.annotate(
            shown(median),
            (row.figures.most_ms, label),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
        )
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(PLAIN)
    low, high = min(map(_milliseconds, rows)), max(map(_milliseconds, rows))
    axes.set_xlim(low / 3, high * (high / low) ** 0.2 * 3)  # room for the figures
    axes.set_xlabel("ms a photo; threads in brackets")


def _curves(
    axes: Axes, rows: Sequence[Row], place: Callable[[Row], float], styles: dict[str, tuple[str, str]]
) -> None:
    """A line for each contender, on scales of powers of ten."""
    for name, (color, marker) in styles.items():
        points = sorted((place(row), _milliseconds(row)) for row in rows if row.contender == name)
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


def _milliseconds(row: Row) -> float:
    assert row.figures is not None
    return row.figures.median_ms
