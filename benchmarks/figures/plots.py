"""All figures of the README's section "How fast", from the JSON files of the benchmarks.

python -m benchmarks.figures.plots [--results DIR] [--out DIR]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    from benchmarks.figures import charts
except ImportError as error:
    raise SystemExit(
        f"benchmarks.figures.plots needs matplotlib ({error}); to add it: pip install 'kseg-batch[bench]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

RESULTS = Path(__file__).parents[1] / "results"

FIGURES: dict[str, Callable[[dict[str, Any]], Figure]] = {
    "tutorial": charts.tutorial,
    "scaling": charts.scaling,
    "end_to_end": charts.end_to_end,
    "quality": charts.quality,
}
"""By the name of the benchmark, of its JSON file and of the picture."""

DOTS_PER_INCH = 150
"""Of figures 8.4 inches wide: twice as many as a README is shown with."""


def main() -> None:
    """Draw what there are results for, and say what is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.figures.plots", description=__doc__)
    parser.add_argument("--results", metavar="DIR", type=Path, default=RESULTS, help="of the JSON files")
    parser.add_argument("--out", metavar="DIR", type=Path, help="for the pictures; default: beside the files")
    asked = parser.parse_args()
    out = asked.out or asked.results
    missing = []
    for name, draw in FIGURES.items():
        source = asked.results / f"{name}.json"
        if not source.exists():
            missing.append(name)
            continue
        try:
            figure = draw(json.loads(source.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            sys.exit(f"benchmarks.figures.plots: {source} is not a file of benchmarks.{name}: {error!r}")
        picture = out / f"{name}.png"
        out.mkdir(parents=True, exist_ok=True)
        figure.savefig(picture, dpi=DOTS_PER_INCH)
        print(f"written: {picture}")
    for name in missing:
        file = f"{name}.json"
        print(f"missing: {asked.results / file}, for which: python -m benchmarks.{name} --json {file}")


if __name__ == "__main__":
    main()
