"""Draw the results of `benchmarks.gpu_trial`.

python -m benchmarks.gpu.plot RESULTS.json [PICTURE.png]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    from matplotlib.figure import Figure
except ImportError as error:
    raise SystemExit(
        f"benchmarks.gpu.plot needs matplotlib ({error}); to add it: pip install matplotlib"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

COLORS = {1: "#d55e00", 8: "#0072b2", 64: "#009e73"}
OTHER_COLORS = ("#cc79a7", "#e69f00", "#56b4e9")
STEP_COLORS = {
    "histogram": "#0072b2",
    "points": "#f0e442",
    "seeding": "#e69f00",
    "converging": "#009e73",
    "labels": "#cc79a7",
    "other": "#999999",
}

KernelFigures = dict[str, Any]
"""One configuration of the step that times kernels, as in the JSON file."""


def draw(content: dict[str, Any]) -> Figure:
    """Return a figure of three parts: time against k, time against megapixels, and the kernels' shares."""
    figures = {entry["step"]: entry["figures"] for entry in content.get("steps", [])}
    timed = figures.get("kernels", {}).get("configurations", [])
    entries = [entry for entry in timed if entry["size"] is not None]
    figure = Figure(figsize=(11, 8), layout="constrained")
    device = figures.get("versions", {}).get("gpu", {}).get("name") or "GPU"
    backend = figures.get("self-test", {}).get("backend", "")
    figure.suptitle(f"kseg-batch on {device}, backend {backend}: ten starts, swaps and convergence included")
    grid = figure.add_gridspec(2, 2)
    by_k, by_size = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    shares = figure.add_subplot(grid[1, :])
    if not entries:
        by_k.set_title("nothing was measured")
        return figure
    size, k = entries[0]["size"], entries[0]["k"]
    same_size = [entry for entry in entries if entry["size"] == size]
    same_k = [entry for entry in entries if entry["k"] == k]
    _times(by_k, same_size, [entry["k"] for entry in same_size], "clusters")
    by_k.set_title(f"{size[0]} x {size[1]}")
    _times(by_size, same_k, [entry["pixels_per_image"] / 1e6 for entry in same_k], "megapixels")
    by_size.set_title(f"k = {k}")
    figure.legend(*by_k.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
    batch = entries[0]["batch"]
    _shares(shares, [entry for entry in same_size if entry["batch"] == batch])
    shares.set_title(f"where the kernels' time goes, {size[0]} x {size[1]}, batch of {batch}")
    return figure


def _times(axes: Axes, entries: Sequence[KernelFigures], places: Sequence[float], label: str) -> None:
    """Draw a line for each batch size, one for the floor, and one for the CPU."""
    batches = sorted({entry["batch"] for entry in entries})
    others = iter(OTHER_COLORS * len(batches))
    pairs = list(zip(places, entries, strict=True))
    for batch in batches:
        points = sorted((x, entry["kernels_ms_per_image"]) for x, entry in pairs if entry["batch"] == batch)
        color = COLORS.get(batch) or next(others)
        _line(axes, points, label=f"batch of {batch}, on the device", color=color, marker="o")
    largest = [(x, entry) for x, entry in pairs if entry["batch"] == batches[-1]]
    copies = sorted((x, entry["copies_ms_per_image"]) for x, entry in largest)
    _line(axes, copies, label=f"batch of {batches[-1]}, with copies", color="#009e73", linestyle=":")
    floor = sorted({(x, entry["floor_ms_per_image"]) for x, entry in pairs if entry["floor_ms_per_image"]})
    _line(axes, floor, label="floor: 4 bytes a pixel", color="#999999", linestyle="--")
    cpu = sorted({(x, entry["cpu"]["two_threads"]) for x, entry in pairs if entry.get("cpu")})
    _line(axes, cpu, label="backend numba, 2 threads", color="#000000", marker="s")
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks = sorted(set(places))
    axes.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(label)
    axes.set_ylabel("ms an image")
    axes.grid(alpha=0.3)


def _line(axes: Axes, points: Sequence[tuple[float, float]], **style: Any) -> None:
    if points:
        axes.plot([x for x, _ in points], [y for _, y in points], markersize=4, **style)


def _shares(axes: Axes, entries: Sequence[KernelFigures]) -> None:
    """Draw a bar for each k, divided among the steps of the algorithm."""
    entries = sorted(entries, key=lambda entry: entry["k"])
    names = [f"k = {entry['k']}" for entry in entries]
    left = [0.0] * len(entries)
    for step, color in STEP_COLORS.items():
        widths = [100 * entry["shares"].get(step, 0.0) for entry in entries]
        if any(widths):
            axes.barh(names, widths, left=left, label=step, color=color)
            left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_xlabel("% of the kernels' time")
    axes.set_xlim(0, 100)
    axes.invert_yaxis()
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small")


def main() -> None:
    """Draw the results file named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.plot", description=__doc__)
    parser.add_argument("results", metavar="RESULTS", type=Path, help="JSON file of benchmarks.gpu_trial")
    parser.add_argument(
        "picture", metavar="PICTURE", type=Path, nargs="?", help="PNG file; default: the name of RESULTS"
    )
    given = parser.parse_args()
    try:
        content = json.loads(given.results.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"benchmarks.gpu.plot: {given.results} cannot be read: {error}")
    picture = given.picture or given.results.with_suffix(".png")
    draw(content).savefig(picture, dpi=120)
    print(f"written: {picture}")


if __name__ == "__main__":
    main()
