"""`kseg-batch bench`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from kseg_batch.cli.exit_codes import EXIT_INTERRUPTED, EXIT_NOTHING_DONE, exit_with_message
from kseg_batch.cli.help import BACKEND, BATCH, CLUSTERS, INPUT, OUTPUT
from kseg_batch.cli.values import number, whole_number

LOG_COLUMNS = 200
"""Columns of the report where the output is no terminal."""


def bench(
    folder: Annotated[
        str | None,
        typer.Argument(
            metavar="DIR",
            help="Folder of photos to cluster.  [default: generated photos]",
            rich_help_panel=INPUT,
        ),
    ] = None,
    k: Annotated[
        str,
        typer.Option(
            "--k",
            "-k",
            metavar="N[,N...]",
            help="Numbers of clusters, such as 2,3,5,8,16,64.",
            rich_help_panel=CLUSTERS,
        ),
    ] = "3",
    sizes: Annotated[
        str | None,
        typer.Option(
            "--sizes",
            metavar="SIZE[,SIZE...]",
            help="Sizes to scale the photos to, in megapixels or as WIDTHxHEIGHT, such as 0.1,2,12.  "
            "[default: 1920x1080; with DIR, the size of each photo]",
            rich_help_panel=INPUT,
        ),
    ] = None,
    images: Annotated[
        int,
        typer.Option(
            "--images",
            parser=whole_number,
            metavar="N",
            help="Greatest number of photos of each size.",
            rich_help_panel=INPUT,
        ),
    ] = 3,
    repeat: Annotated[
        int,
        typer.Option(
            "--repeat",
            parser=whole_number,
            metavar="N",
            help="Greatest number of timed passes over the photos.",
            rich_help_panel=BATCH,
        ),
    ] = 5,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            parser=whole_number,
            metavar="N",
            help="Threads for libraries that can use several.  [default: usable cores]",
            rich_help_panel=BATCH,
        ),
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(
            "--backend",
            metavar="NAME",
            help="Backend to measure: cupy, numba-cuda, numba, opencv; repeatable.  [default: every backend "
            "that runs here]",
            rich_help_panel=BACKEND,
        ),
    ] = None,
    peers: Annotated[
        bool,
        typer.Option(
            "--peers",
            help="Also measure other projects' libraries, as far as they are installed.",
            rich_help_panel=BACKEND,
        ),
    ] = False,
    budget: Annotated[
        float,
        typer.Option(
            "--budget",
            parser=number,
            metavar="SECONDS",
            help="Time for the passes of an implementation at one size and k. A slower implementation is "
            "measured once, and skipped at larger sizes and k.",
            rich_help_panel=BATCH,
        ),
    ] = 20,
    json_file: Annotated[
        str | None,
        typer.Option("--json", metavar="PATH", help="File to write the results to.", rich_help_panel=OUTPUT),
    ] = None,
    plot: Annotated[
        str | None,
        typer.Option(
            "--plot",
            metavar="PATH",
            help="File to draw the results into, .png or .svg; needs matplotlib.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
) -> None:
    """Compare the backends, and other libraries, on the same photos."""
    from rich.console import Console

    from kseg_batch.bench.benchmark import run_benchmark
    from kseg_batch.bench.files import write_files
    from kseg_batch.bench.options import DEFAULT_SIZE, BenchOptions, parse_sizes
    from kseg_batch.bench.progress import BenchProgress
    from kseg_batch.bench.report import report_parts
    from kseg_batch.cli.parsing import parse_k_list
    from kseg_batch.console import print_message
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
            libraries=peers,
            budget=budget,
            json=None if json_file is None else Path(json_file),
            plot=None if plot is None else Path(plot),
        )
        with BenchProgress() as progress:
            results = run_benchmark(options, progress)
        width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else LOG_COLUMNS
        console = Console(width=width, highlight=False, markup=False, emoji=False)
        for part in report_parts(results, options, console):
            console.print(part)
        for message in write_files(results, options):
            print_message(message)
    if results.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if not results.ok:
        raise typer.Exit(EXIT_NOTHING_DONE)
