"""`kseg-batch bench`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from kseg_batch.cli.exit_codes import EXIT_INTERRUPTED, EXIT_NOTHING_DONE, exit_with_message

LOG_COLUMNS = 200
"""How wide a table may be where there is no terminal."""


def bench(
    folder: Annotated[
        str | None, typer.Argument(metavar="DIR", help="Photos to measure on.  [default: generated ones]")
    ] = None,
    k: Annotated[str, typer.Option("--k", "-k", help="Clusters, such as 2,3,5,8,16,64.")] = "3",
    sizes: Annotated[
        str | None,
        typer.Option(
            "--sizes",
            help="Megapixels or WIDTHxHEIGHT, such as 0.1,2,12.  [default: 1920x1080, or as DIR's are]",
        ),
    ] = None,
    images: Annotated[int, typer.Option("--images", help="Photos of each size, at most.")] = 3,
    repeat: Annotated[int, typer.Option("--repeat", help="Timed passes over them, at most.")] = 5,
    threads: Annotated[
        int | None, typer.Option("--threads", help="What libraries get.  [default: the usable cores]")
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option("--backend", help="One to measure; repeat it for more.  [default: all that run here]"),
    ] = None,
    peers: Annotated[
        bool, typer.Option("--peers", help="Measure other people's libraries, too, those that are installed.")
    ] = False,
    budget: Annotated[
        float,
        typer.Option(
            "--budget",
            help="Seconds for a contender at each size and k. One that is slower is measured once and left "
            "out of what is larger.",
        ),
    ] = 20.0,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the figures there.")
    ] = None,
    plot: Annotated[
        str | None,
        typer.Option("--plot", metavar="FILE", help="Draw them, as .png or .svg; needs matplotlib."),
    ] = None,
) -> None:
    """Compare the backends, and other people's libraries, on the same photos."""
    from rich.console import Console

    from kseg_batch.bench.benchmark import hold
    from kseg_batch.bench.files import save
    from kseg_batch.bench.options import DEFAULT_SIZE, BenchOptions, parse_sizes
    from kseg_batch.bench.progress import Progress
    from kseg_batch.bench.report import parts
    from kseg_batch.cli.parsing import parse_k_list
    from kseg_batch.processes import usable_cores

    if sizes is None and folder is None:
        sizes = DEFAULT_SIZE
    with exit_with_message():
        options = BenchOptions(
            folder=None if folder is None else Path(folder),
            sizes=() if sizes is None else parse_sizes(sizes),
            k=parse_k_list(k),
            images=images,
            repeat=repeat,
            threads=usable_cores() if threads is None else threads,
            backends=tuple(backend or ()),
            peers=peers,
            budget=budget,
            json=None if json_file is None else Path(json_file),
            plot=None if plot is None else Path(plot),
        )
        with Progress() as progress:
            contest = hold(options, progress)
        width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else LOG_COLUMNS
        console = Console(width=width, highlight=False, markup=False, emoji=False)
        for part in parts(contest, options, console):
            console.print(part)
        for text in save(contest, options):
            print(f"kseg-batch: {text}", file=sys.stderr)
    if contest.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if not contest.ok:
        raise typer.Exit(EXIT_NOTHING_DONE)
