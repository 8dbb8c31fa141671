"""The report of a benchmark: a heading with the conditions, tables, and notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kseg_batch.bench.benchmark import STOP_FACTOR
from kseg_batch.bench.conditions import read_conditions
from kseg_batch.bench.implementations import BACKENDS, BASELINE
from kseg_batch.bench.tables import tables
from kseg_batch.kmeans.options import FitOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, RenderableType

    from kseg_batch.bench.options import BenchOptions
    from kseg_batch.bench.results import BenchResults

EXACT = tuple(backend.name for backend in BACKENDS if backend.exact)
"""Names of the exact backends, which all find the same centres."""

BETTER = 0.999
"""A note is printed about centres that cost less than this factor times the cost of the exact backends'."""

COLUMNS = (
    (
        "ms",
        "a photo, from uint8 pixels in memory to labels and centres: median, least and most of the passes",
    ),
    ("MP/s", "megapixels a second"),
    (
        "compactness",
        "sum of the squared distances of all pixels to the nearest centre, computed by kseg-batch in float64",
    ),
    ("/ best", "compactness divided by the lowest in the table at the same size and k"),
    ("x cv2", f"how many times faster than {BASELINE}, the tutorial's call of cv2.kmeans"),
    (
        "peak MB",
        "peak growth of the implementation's process in its first pass, above the libraries and the photos, "
        "without the memory of a GPU",
    ),
)
"""The columns of the tables, each with its meaning."""


def report_parts(results: BenchResults, options: BenchOptions, console: Console) -> Iterator[RenderableType]:
    """Yield the parts of the report in order. The console is not printed on: its width chooses the tables."""
    yield Text("kseg-batch bench")
    yield _definitions(_condition_lines(results, options))
    yield Text("Columns")
    yield _definitions(COLUMNS)
    if results.implementations:
        yield Text("Implementations, each in its own process, checked in an untimed first pass")
        yield _definitions([(one.name, one.description) for one in results.implementations])
    if results.rows:
        yield from tables(results, console)
    yield from map(Text, _notes(results))
    for name, command in results.not_installed.items():  # not wrapped, so that the command can be copied
        yield Text(f"{name} is not installed; to add it: {command}", no_wrap=True, overflow="ignore")


def _definitions(pairs: Sequence[tuple[str, str]]) -> RenderableType:
    """Return two columns, of terms and of texts; the texts are wrapped."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for name, text in pairs:
        table.add_row(name, text)
    return Padding(table, (0, 0, 1, 2), expand=False)


def _condition_lines(results: BenchResults, options: BenchOptions) -> list[tuple[str, str]]:
    """Return the machine, the versions, the options and the photos, each with its label."""
    facts = read_conditions()
    cores = f"{facts['usable_cores']} of {facts['cores']} cores usable"
    return [
        ("CPU", f"{facts['cpu']}, {facts['machine']}, {cores}"),
        *(("GPU", name) for name in facts["gpus"]),
        ("system", facts["os"]),
        ("Python", facts["python"]),
        ("versions", ", ".join(f"{name} {version}" for name, version in facts["packages"].items())),
        ("commit", facts["git_commit"] or "unknown"),
        ("threads", f"{options.threads} for libraries that use several"),
        ("passes", f"at most {options.repeat}, until they have taken {options.budget:g} s (--budget)"),
        (
            "slow ones",
            f"after a first pass above {options.budget:g} s no other is timed, and larger sizes and k are "
            f"skipped; a pass above {STOP_FACTOR * options.budget:g} s is stopped",
        ),
        ("random", f"seed {FitOptions().seed}, where an implementation takes a seed"),
        *(("photo", f"{photo.name}, {photo.size}, {photo.colors:,} colours") for photo in results.photos),
    ]


def _notes(results: BenchResults) -> Iterator[str]:
    """Yield the sentences for which the tables have no room."""
    for row in results.rows:
        if row.reason is not None:
            yield f"{row.description}: {row.status}: {row.reason}"
    for row in results.rows:
        exact = [
            r.metrics for r in results.rows if r.case == row.case and r.implementation in EXACT and r.metrics
        ]
        if row.metrics and exact:
            ratio = row.metrics.compactness / max(exact[0].compactness, 1e-9)
            if ratio < BETTER:
                text = "its centres are better than those of the exact backends"
                yield f"{row.description}: {text}, {ratio:.4f} times the compactness"
    for name, reason in results.unavailable.items():
        yield f"{name} takes no part: {reason}"
    yield from results.unreadable
    if results.interrupted:
        yield "interrupted: this is what was measured until then"
