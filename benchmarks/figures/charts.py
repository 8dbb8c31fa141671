"""The charts of docs/speed.md. Each function takes the content of a benchmark's JSON file."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.figures.axes import (
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    PLAIN,
    RED,
    CurveFields,
    bars,
    count,
    curves,
    decades,
    one_figure,
    whole_figure,
)
from benchmarks.speed.scaling import WORKER_BYTES, WORKER_MB, Point, exponent
from benchmarks.studies.quality import MEDIAN, WORST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Content = dict[str, Any]


def tutorial(content: Content) -> Figure:
    """Draw the milliseconds of one photo of the largest size by k, for each implementation."""
    threads = content["settings"]["threads"]
    width, height = max(((row["width"], row["height"]) for row in content["results"]), key=math.prod)
    rows = [row for row in content["results"] if (row["width"], row["height"]) == (width, height)]
    figure, axes = one_figure(
        content,
        f"One {width} × {height} photo, from its pixels to labels and centres",
        f"medians over {len({row['photo'] for row in rows})} photos, lines from the fastest to the slowest",
        4.4,
    )
    clusters = sorted({row["k"] for row in rows})
    implementations = {
        "ours": ("kseg-batch, 1 thread", BLUE),
        "sklearn": (f"scikit-learn, 10 starts on weighted colours, {count(threads, 'thread')}", ORANGE),
        "cv2_one_start": (f"cv2.kmeans, one k-means++ start, {count(threads, 'thread')}", GREEN),
        "cv2": (f"cv2.kmeans as in the tutorial, {count(threads, 'thread')}", RED),
    }
    present = {key: style for key, style in implementations.items() if any(row[key] for row in rows)}
    bar = 0.8 / len(present)
    for i, (key, (label, color)) in enumerate(present.items()):
        groups = [[1e3 * row[key]["seconds"] for row in rows if row["k"] == k and row[key]] for k in clusters]
        at = np.arange(len(clusters)) + (i - (len(present) - 1) / 2) * bar
        bars(axes, at, groups, bar * 0.94, label, color)
    axes.set_xticks(range(len(clusters)), [f"k = {k}" for k in clusters])
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(PLAIN)
    axes.set_ylabel("ms, lower is better")
    axes.margins(y=0.12)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize="small")  # above the bars
    return figure


def scaling(content: Content) -> Figure:
    """Draw time against megapixels, k and images, and the memory of a worker."""
    parts: dict[str, list[Point]] = {}
    for row in content["results"]:
        parts.setdefault(row["part"], []).append(Point(**row))
    how = "segment(): medians, 1 thread; runs: whole commands, once each, workers of one thread"
    figure = whole_figure(content, "How time and memory grow", how, 7)
    pixels, clusters, memory, images = figure.subplots(2, 2).flat
    _pixels(pixels, parts.get("pixels", []))
    _clusters(clusters, parts.get("clusters", []))
    _memory(memory, parts.get("worker", []))
    _images(images, parts.get("images", []))
    return figure


def _pixels(axes: Axes, points: Sequence[Point]) -> None:
    """Draw the time of segment() by the size of the image."""

    def label(group: Sequence[Point]) -> str:
        slope = exponent(group)
        fitted = "" if slope is None else f": pixels ** {slope:.2f}"
        return f"k = {group[0].k}, 1 thread{fitted}"

    fields = CurveFields(
        key=lambda point: (point.k,),
        label=label,
        x=lambda point: point.pixels / 1e6,
        y=lambda point: 1e3 * point.seconds,
    )
    curves(axes, points, fields)
    decades(axes, "segment(), by size; exponents from 1 megapixel on", "megapixels", "ms")


def _clusters(axes: Axes, points: Sequence[Point]) -> None:
    """Draw the time of segment() by k."""
    fields = CurveFields(
        key=lambda _: (),
        label=lambda _: "1 thread",
        x=lambda point: point.k,
        y=lambda point: 1e3 * point.seconds,
    )
    curves(axes, points, fields)
    decades(axes, "segment(), by k, 1920 × 1080", "clusters", "ms")


def _memory(axes: Axes, points: Sequence[Point]) -> None:
    """Draw the peak memory of a worker, and its target."""
    fields = CurveFields(
        key=lambda point: (point.k,),
        label=lambda group: f"a worker on one JPEG, k = {group[0].k}",
        x=lambda point: point.pixels / 1e6,
        y=lambda point: point.peak_mb,
    )
    curves(axes, points, fields)
    sizes = np.unique([point.pixels / 1e6 for point in points])
    target = f"target: {WORKER_MB:g} MB + {WORKER_BYTES:g} bytes a pixel"
    axes.plot(sizes, WORKER_MB + WORKER_BYTES * sizes, color=GRAY, linestyle="--", label=target)
    decades(axes, "peak memory of a worker", "megapixels", "MB")


def _images(axes: Axes, points: Sequence[Point]) -> None:
    """Draw the time of a run by the number of images."""
    sizes = {"photo": "1920 × 1080", "tiny": "8 × 8"}
    fields = CurveFields(
        key=lambda point: (point.kind, point.workers or 0),
        label=lambda group: f"{sizes[group[0].kind]}, {count(group[0].workers or 0, 'worker')}",
        x=lambda point: point.images,
        y=lambda point: point.seconds,
    )
    curves(axes, points, fields)
    decades(axes, "kseg-batch run, with its start", "images", "seconds")


def end_to_end(content: Content) -> Figure:
    """Draw the images per second of each implementation."""
    rows, settings = content["results"], content["settings"]
    rounds = max(row["round"] for row in rows)
    figure, axes = one_figure(
        content,
        f"Folders of {settings['size']} JPEG photos to indexed PNG and masks, k = {settings['k']}",
        f"medians over {count(rounds, 'round')}, lines from the slowest to the fastest; "
        "without the start of processes, but for the whole command",
        3.4,
    )
    implementations = (
        ("ceiling", "rate", "only decoding and writing", GRAY),
        ("kseg-batch", "rate", "kseg-batch run", BLUE),
        ("kseg-batch", "rate_with_start", f"its whole command, {count(settings['images'], 'image')}", BLUE),
        ("intelex", "rate", "scikit-learn-intelex, Pillow", ORANGE),
        ("tutorial", "rate", "the tutorial as a script", RED),
    )
    found = []
    for name, kind, label, color in implementations:
        own = [row for row in rows if row["implementation"] == name]
        if own:
            found.append((f"{label}\n{own[0]['processes']}", color, [row[kind] for row in own]))
    for at, (_, color, rates) in enumerate(found):
        median = statistics.median(rates)
        axes.barh(at, median, color=color, height=0.7)
        axes.plot([min(rates), max(rates)], [at, at], color="black", linewidth=1)
        axes.annotate(
            f"{median:.3g}", (max(rates), at), xytext=(4, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(range(len(found)), [label for label, _, _ in found], fontsize="small")
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(PLAIN)
    axes.margins(x=0.12)
    axes.set_xlabel("images a second, higher is better")
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", alpha=0.3)
    return figure


def quality(content: Content) -> Figure:
    """Draw our compactness divided by that of the best start, for each photo at each k."""
    rows, settings = content["results"], content["settings"]
    figure, axes = one_figure(
        content,
        f"Compactness of segment() over the best of {settings['starts']} starts of scikit-learn",
        f"a dot for each of {len({row['digest'] for row in rows})} photos, a bar at the median; not a timing",
        4.0,
    )
    clusters = sorted({row["k"] for row in rows})
    for at, k in enumerate(clusters):
        excess = [100 * (row["ratio"] - 1) for row in rows if row["k"] == k]
        spread = np.linspace(-0.25, 0.25, len(excess)) if len(excess) > 1 else np.zeros(1)
        axes.plot(at + spread, excess, "o", color=BLUE, markersize=4, alpha=0.6, markeredgewidth=0)
        axes.hlines(statistics.median(excess), at - 0.35, at + 0.35, color="black", linewidth=2)
    for limit, figure_name in ((MEDIAN, "median"), (WORST, "worst")):
        percent = 100 * (limit - 1)
        axes.axhline(percent, color=RED, linestyle="--", linewidth=1)
        label = f"target of the {figure_name}: +{percent:.2g} %"
        place = axes.get_yaxis_transform()  # x from 0 to 1, y in percent
        axes.text(0.005, percent, label, transform=place, va="bottom", color=RED, fontsize=8)
    axes.set_yscale("symlog", linthresh=0.01, linscale=0.7)
    ticks = [sign * tick for sign in (-1, 1) for tick in (0.01, 0.1, 1, 10)]
    low, high = axes.get_ylim()
    shown = sorted([0, *(tick for tick in ticks if low <= tick <= high)])
    axes.set_yticks(shown, [f"{tick:+g} %" if tick else "equal" for tick in shown])
    axes.minorticks_off()
    axes.set_xticks(range(len(clusters)), [f"k = {k}" for k in clusters])
    axes.set_ylabel("below 0, ours is better")
    return figure
