"""The tables of a benchmark's results: one wide table, or a narrow table for each size and k."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.measure import Measurement
from rich.table import Table

from kseg_batch.errors import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from kseg_batch.bench.results import BenchResults, ResultRow


def tables(results: BenchResults, console: Console) -> Iterator[Table]:
    """Yield the wide table if it fits the console's width, else the narrow tables."""
    wide = wide_table(results)
    needed = Measurement.get(console, console.options.update(max_width=1000), wide).maximum
    if needed <= console.width:
        yield wide
    else:
        yield from narrow_tables(results)


def wide_table(results: BenchResults) -> Table:
    """Return a table with one line for each row of the results."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("implementation", no_wrap=True)
    columns = (
        "ms",
        "least",
        "most",
        "passes",
        "images/s",
        "MP/s",
        "compactness",
        "/ best",
        "x cv2",
        "peak MB",
    )
    for name in ("threads", "size", "k", *columns):
        table.add_column(name, justify="right", no_wrap=True)
    for row, following in zip(results.rows, [*results.rows[1:], None], strict=True):
        cells = _cells(results, row)
        table.add_row(
            *(row.implementation, cells["threads"], row.size, str(row.k)),
            *(cells[name] for name in columns),
            end_section=following is not None and following.case != row.case,
        )
    return table


def narrow_tables(results: BenchResults) -> Iterator[Table]:
    """Yield a table for each size and k, with two lines for each row, for a terminal of 80 columns."""
    for case in dict.fromkeys(row.case for row in results.rows):
        size, k = case
        table = Table(box=SIMPLE_HEAD, pad_edge=False, title=f"{size}, k = {k}", title_justify="left")
        table.add_column("implementation\nthreads, passes", no_wrap=True)
        for name in ("ms\nleast-most", "images/s\nMP/s", "compactness\n/ best", "x cv2\npeak MB"):
            table.add_column(name, justify="right", no_wrap=True)
        for row in (row for row in results.rows if row.case == case):
            cells = _cells(results, row)
            spread = f"{cells['least']}-{cells['most']}" if row.metrics else ""
            passes = f", passes: {cells['passes']}" if row.metrics else ""
            threads = "GPU" if row.threads is None else count(row.threads, "thread")
            table.add_row(
                f"{row.implementation}\n  {threads}{passes}",
                f"{cells['ms']}\n{spread}",
                f"{cells['images/s']}\n{cells['MP/s']}",
                f"{cells['compactness']}\n{cells['/ best']}",
                f"{cells['x cv2']}\n{cells['peak MB']}",
            )
        yield table


def _cells(results: BenchResults, row: ResultRow) -> dict[str, str]:
    """Return the texts of a row by column. Without metrics, the status stands in the column of the time."""
    threads = "GPU" if row.threads is None else str(row.threads)
    metrics = row.metrics
    names = ("least", "most", "passes", "images/s", "MP/s", "compactness", "/ best", "x cv2", "peak MB")
    if metrics is None:
        return {"threads": threads, "ms": row.status, **dict.fromkeys(names, "")}
    relative_compactness, speedup = results.relative_compactness(row), results.speedup(row)
    return {
        "threads": threads,
        "ms": format_number(metrics.median_ms),
        "least": format_number(metrics.min_ms),
        "most": format_number(metrics.max_ms),
        "passes": str(metrics.passes),
        "images/s": format_number(metrics.images_per_s),
        "MP/s": format_number(metrics.images_per_s * row.megapixels),
        "compactness": f"{metrics.compactness:.5e}",
        "/ best": "" if relative_compactness is None else f"{relative_compactness:.4f}",
        "x cv2": "" if speedup is None else format_number(speedup),
        "peak MB": f"{metrics.peak_mb:.0f}",
    }


def format_number(number: float) -> str:
    """Return a number with three digits or more, without an exponent."""
    digits = 0 if number >= 100 else 1 if number >= 10 else 2 if number >= 1 else 3
    return f"{number:,.{digits}f}"
