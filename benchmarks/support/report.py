"""Reports of the benchmarks: a heading with the conditions, a plain table, targets, and a JSON file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kseg_batch.atomic import replacing
from kseg_batch.bench.environment import environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PACKAGES = ("kseg-batch", "numpy", "opencv-python", "numba", "scikit-learn", "isal")
"""Distributions whose versions are reported."""


def heading(title: str, settings: Mapping[str, object]) -> str:
    """Return the title, the environment and the settings, one fact to a line."""
    conditions = dict(environment(PACKAGES))
    packages = conditions.pop("packages")
    assert isinstance(packages, dict)
    conditions["versions"] = ", ".join(f"{name} {found or 'missing'}" for name, found in packages.items())
    facts = {**conditions, **settings}
    return "\n".join([title, *(f"  {name.replace('_', ' '):<11} {value}" for name, value in facts.items())])


def line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Return a row of a table: a width below 0 aligns to the left, a width above 0 to the right."""
    return "  ".join(
        cell.ljust(-width) if width < 0 else cell.rjust(width)
        for cell, width in zip(cells, widths, strict=True)
    ).rstrip()


def target_line(figure: str, reached: bool, target: str) -> str:
    """Return a line that compares a figure with its target."""
    return f"{'reached' if reached else 'MISSED':<8} {figure} (target: {target})"


def save(path: Path, settings: Mapping[str, object], results: Sequence[Mapping[str, object]]) -> None:
    """Write a JSON file of the environment, the settings and the results, whole or not at all.

    Raises:
        OutputError: The file cannot be written.
    """
    write_json(
        path, {"environment": environment(PACKAGES), "settings": dict(settings), "results": list(results)}
    )


def write_json(path: Path, content: object) -> None:
    """Write a JSON file, whole or not at all.

    Raises:
        OutputError: The file cannot be written.
    """
    with replacing(path) as file:
        file.write(json.dumps(content, indent=2).encode() + b"\n")
