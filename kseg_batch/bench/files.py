"""The files that a benchmark writes: its figures as JSON, and a picture of them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from kseg_batch.bench.report import conditions
from kseg_batch.errors import OutputError
from kseg_batch.kmeans.options import FitOptions

if TYPE_CHECKING:
    from kseg_batch.bench.options import BenchOptions
    from kseg_batch.bench.results import Contest


def save(contest: Contest, options: BenchOptions) -> list[str]:
    """Write the files that were asked for; what was done, in words.

    Raises:
        OutputError: One cannot be written.
    """
    told = []
    try:
        if options.json is not None:
            options.json.write_text(json.dumps(as_dict(contest, options), indent=2) + "\n", encoding="utf-8")
            told.append(f"written: {options.json}")
        if options.plot is not None and not any(row.figures for row in contest.rows):
            told.append("there is nothing to draw")
        elif options.plot is not None:
            from kseg_batch.bench.plot import draw

            draw(contest, title()).savefig(options.plot, dpi=120)
            told.append(f"written: {options.plot}")
    except OSError as error:
        raise OutputError(f"{error.filename} cannot be written: {error.strerror}.") from error
    return told


def title() -> str:
    """The machine, in a line."""
    facts = conditions()
    gpus = "".join(f", {name}" for name in facts["gpus"])  # type: ignore[attr-defined] # a list of names
    return f"{facts['cpu']}{gpus}"


def as_dict(contest: Contest, options: BenchOptions) -> dict[str, object]:
    """All of it, for JSON."""
    return {
        "environment": conditions(),
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
        "photos": [asdict(photo) for photo in contest.photos],
        "contenders": {c.name: c.about for c in contest.contenders},
        "results": [
            {**asdict(row), "by_best": contest.by_best(row), "times_faster": contest.times_faster(row)}
            for row in contest.rows
        ],
        "absent": contest.absent,
        "not_installed": contest.not_installed,
        "unreadable": contest.unreadable,
        "interrupted": contest.interrupted,
    }
