"""The printed report of the trial: tables and targets."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.support.report import line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.gpu.trial import Entry

HEADLINE = {"size": [1920, 1080], "k": 3, "batch": 64}
"""The configuration of the targets."""

WIDTHS = (-9, 5, 5, 8, 8, 8, 7, 7, 6)
COLUMNS = ("size", "k", "batch", "kernels", "images/s", "+copies", "x floor", "cpu, 2", "x cpu")
PEER_WIDTHS = (-12, -10, -10, 5, -10, 10, 9)
PEER_COLUMNS = ("peer", "with", "size", "k", "kind", "ms/image", "its cost")
UNITS = """\
kernels   ms an image, data on the device    x floor  by the time of 4 bytes a pixel
+copies   ms an image, many batches in a row cpu, 2   ms an image, numba, 2 threads
          with uploads and downloads         x cpu    cpu, 2 by kernels"""


@dataclass(frozen=True, slots=True)
class Target:
    """A target, and the measured figure."""

    name: str
    limit: float
    at_least: bool
    """True where the limit is the least allowed value, False where it is the greatest."""
    figure: float | None
    """The measured value; None if not measured."""

    @property
    def outcome(self) -> str:
        """Return reached, missed, or not measured."""
        if self.figure is None:
            return "not measured"
        reached = self.figure >= self.limit if self.at_least else self.figure <= self.limit
        return "reached" if reached else "missed"

    def shown(self) -> str:
        """Return two lines: the target with its outcome, and the figure with the limit."""
        figure = "-" if self.figure is None else f"{self.figure:.3g}"
        bound = f"{'>=' if self.at_least else '<='} {self.limit:g}"
        return f"{self.outcome:<13} {self.name}\n{'':<13} {figure}; target {bound}"


def slug(name: str) -> str:
    """Return the name of a device as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "gpu"


def configuration_cells(entry: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of a configuration."""
    cpu = entry.get("cpu")
    return (
        "mixed" if entry["size"] is None else "x".join(map(str, entry["size"])),
        "mixed" if entry["k"] is None else str(entry["k"]),
        str(entry["batch"]),
        f"{entry['kernels_ms_per_image']:.4f}",
        f"{entry['kernels_images_per_s']:.0f}",
        f"{entry['copies_ms_per_image']:.4f}",
        f"{entry['times_floor']:.4g}" if entry["times_floor"] else "-",
        f"{cpu['two_threads']:.1f}" if cpu else "-",
        f"{entry['times_cpu']:.0f}" if cpu else "-",
    )


def configuration_line(cells: tuple[str, ...]) -> str:
    """Return a line of the table, or with `COLUMNS` its head."""
    return line(cells, WIDTHS)


def step_lines(entry: dict[str, Any]) -> list[str]:
    """Return lines with the share and time of each step of the algorithm and of each kernel."""
    lines = []
    total = sum(kernel["median"] for kernel in entry["kernels"].values()) or 1.0
    shares = ", ".join(f"{step} {100 * share:.0f} %" for step, share in entry["shares"].items())
    lines.append(f"the kernels' time: {shares}")
    for name, kernel in entry["kernels"].items():
        per_image = 1e3 * kernel["median"] / entry["batch"]
        lines.append(f"  {name:<18} {100 * kernel['median'] / total:5.1f} %  {per_image:9.2f} µs an image")
    return lines


def peer_line(entry: dict[str, Any]) -> str:
    """Return a line with the time of a peer for a case, or the reason why there is none."""
    if "error" in entry:
        return f"{entry['peer']}: {entry['error']}"[:400]
    ratio = entry.get("cost_ratio")
    cells = (
        entry["peer"],
        entry["mode"],
        "x".join(map(str, entry["size"])),
        str(entry["k"]),
        entry["kind"],
        f"{entry['ms_per_image']:.3f}",
        f"{ratio:.4f}" if ratio else "-",
    )
    return line(cells, PEER_WIDTHS)


def targets(steps: Iterable[Entry]) -> list[Target]:
    """Return the targets, with the figures that the steps have measured."""
    figures = {entry.step: entry.figures for entry in steps}
    main = next((c for c in figures.get("kernels", {}).get("configurations", []) if _is_headline(c)), None)
    kernels = main["kernels_ms_per_image"] if main else None
    cpu = main["cpu"]["two_threads"] if main and main["cpu"] else None
    run = figures.get("end-to-end", {}).get("watched")
    flash = {
        kind: min(
            (
                peer["ms_per_image"]
                for peer in figures.get("peers", {}).get("peers", [])
                if peer["peer"] == "flash-kmeans" and "ms_per_image" in peer
                if _is_headline(peer) and peer["kind"] == kind
            ),
            default=None,
        )
        for kind in ("same start", "ten starts")
    }
    place = "k = 3, 1920x1080, batch of 64"
    return [
        Target(f"{place}, data on the device: ms an image", 0.2, False, kernels),
        Target(f"{place}: times the bytes floor", 20, False, main and main["times_floor"]),
        Target(f"{place}: flash-kmeans by ours, same start", 10, True, _ratio(flash["same start"], kernels)),
        Target(f"{place}: flash-kmeans by ours, ten starts", 10, True, _ratio(flash["ten starts"], kernels)),
        Target(f"{place}: CPU backend on 2 cores by ours", 50, True, _ratio(cpu, kernels)),
        Target(
            f"{place}: the same, copies included",
            50,
            True,
            _ratio(cpu, main["copies_ms_per_image"] if main else None),
        ),
        Target(
            "end to end, k = 3: GPU idle by busy",
            1,
            True,
            _ratio(run["gpu_idle"], run["gpu_busy"]) if run else None,
        ),
    ]


STEP_WIDTHS = (-12, -8, 6)
SUMMARY_WIDTH = 80 - 32


def step_table(steps: Iterable[Entry]) -> list[str]:
    """Return a table of the outcomes of all steps, in lines of 80 characters."""
    lines = [line(("step", "status", "s"), STEP_WIDTHS)]
    for entry in steps:
        told = textwrap.wrap(entry.summary, SUMMARY_WIDTH, max_lines=4, placeholder=" ...") or [""]
        first = line((entry.step, entry.status, f"{entry.seconds:.1f}"), STEP_WIDTHS)
        lines.append(f"{first}  {told[0]}".rstrip())
        lines += [f"{'':<32}{text}" for text in told[1:]]
    return lines


def _is_headline(entry: dict[str, Any]) -> bool:
    return all(entry.get(name) == value for name, value in HEADLINE.items())


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None
