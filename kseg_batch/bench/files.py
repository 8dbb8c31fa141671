"""The files that a benchmark writes: the results as JSON, and a plot of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kseg_batch.bench.conditions import read_conditions
from kseg_batch.errors import OutputError
from kseg_batch.kmeans.options import FitOptions

if TYPE_CHECKING:
    from kseg_batch.bench.options import BenchOptions
    from kseg_batch.bench.results import BenchResults, Metrics, ResultRow


def write_files(results: BenchResults, options: BenchOptions) -> list[str]:
    """Write the JSON file and the plot that the options ask for, and return a message about each.

    Raises:
        OutputError: A file cannot be written.
    """
    messages = []
    try:
        if options.json is not None:
            options.json.write_text(json.dumps(to_json(results, options), indent=2) + "\n", encoding="utf-8")
            messages.append(f"written: {options.json}")
        if options.plot is not None and not any(row.metrics for row in results.rows):
            messages.append("there is nothing to draw")
        elif options.plot is not None:
            from kseg_batch.bench.plot import draw

            draw(results, _machine_name()).savefig(options.plot, dpi=120)
            messages.append(f"written: {options.plot}")
    except OSError as error:
        raise OutputError(f"{error.filename} cannot be written: {error.strerror}.") from error
    return messages


def _machine_name() -> str:
    """Return the names of the CPU and the GPUs, in one line."""
    conditions = read_conditions()
    return ", ".join([conditions["cpu"], *conditions["gpus"]])


def to_json(results: BenchResults, options: BenchOptions) -> dict[str, object]:
    """Return the content of the JSON file. Its keys stay as they are: files of earlier versions have them."""
    return {
        "environment": read_conditions(),
        "settings": {
            "folder": None if options.folder is None else str(options.folder),
            "sizes": [size.label for size in options.sizes],
            "k": list(options.k),
            "images": options.images,
            "repeat": options.repeat,
            "threads": options.threads,
            "budget_s": options.budget,
            "seed": FitOptions().seed,
        },
        "photos": [
            {"name": photo.name, "size": photo.size, "colors": photo.colors} for photo in results.photos
        ],
        "contenders": {one.name: one.description for one in results.implementations},
        "results": [_row_to_json(results, row) for row in results.rows],
        "absent": results.unavailable,
        "not_installed": results.not_installed,
        "unreadable": results.unreadable,
        "interrupted": results.interrupted,
    }


def _row_to_json(results: BenchResults, row: ResultRow) -> dict[str, object]:
    return {
        "contender": row.implementation,
        "peer": row.is_library,
        "threads": row.threads,
        "size": row.size,
        "megapixels": row.megapixels,
        "k": row.k,
        "status": row.status,
        "figures": None if row.metrics is None else _metrics_to_json(row.metrics),
        "reason": row.reason,
        "by_best": results.relative_compactness(row),
        "times_faster": results.speedup(row),
    }


def _metrics_to_json(metrics: Metrics) -> dict[str, object]:
    return {
        "median_ms": metrics.median_ms,
        "least_ms": metrics.min_ms,
        "most_ms": metrics.max_ms,
        "passes": metrics.passes,
        "compactness": metrics.compactness,
        "peak_mb": metrics.peak_mb,
        "cores": metrics.cores,
    }
