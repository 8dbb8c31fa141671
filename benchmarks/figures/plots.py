"""Draw the charts of docs/speed.md from the JSON files of the benchmarks.

python -m benchmarks.figures.plots [--results DIR] [--out DIR]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.support.arguments import RESULTS, exit_with_message, make_parser

try:
    from benchmarks.figures import charts
except ImportError as error:
    raise SystemExit(
        f"benchmarks.figures.plots needs matplotlib ({error}); to add it: pip install matplotlib"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

PROGRAM = "benchmarks.figures.plots"

CHARTS: dict[str, Callable[[dict[str, Any]], Figure]] = {
    "speed.tutorial": charts.tutorial,
    "speed.scaling": charts.scaling,
    "speed.end_to_end": charts.end_to_end,
    "studies.quality": charts.quality,
}
"""Charts by benchmark. The JSON file and the chart have the benchmark's name without its folder."""

DOTS_PER_INCH = 150
"""Resolution of charts 8.4 inches wide: twice that at which a page is shown."""


def main() -> None:
    """Draw a chart for each JSON file that exists, and print the command of each missing file."""
    parser = make_parser(PROGRAM, __doc__)
    parser.add_argument(
        "--results", metavar="DIR", type=Path, default=RESULTS, help="folder of the JSON files"
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="folder of the charts; default: that of --results"
    )
    given = parser.parse_args()
    out = given.out or given.results
    missing = []
    with exit_with_message(PROGRAM):
        out.mkdir(parents=True, exist_ok=True)
        for benchmark, draw in CHARTS.items():
            name = benchmark.partition(".")[2]
            source = given.results / f"{name}.json"
            if not source.exists():
                missing.append(
                    f"missing: {source}, for which: python -m benchmarks.{benchmark} --json {source}"
                )
                continue
            try:
                figure = draw(json.loads(source.read_text(encoding="utf-8")))
            except (ValueError, KeyError, TypeError) as error:
                sys.exit(f"{PROGRAM}: {source} is not a file of benchmarks.{benchmark}: {error!r}")
            figure.savefig(out / f"{name}.png", dpi=DOTS_PER_INCH)
            print(f"written: {out / f'{name}.png'}")
    print(*missing, sep="\n", end="\n" if missing else "")


if __name__ == "__main__":
    main()
