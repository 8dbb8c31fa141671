"""`kseg-batch fit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kseg_batch.cli.backend import choose_backend
from kseg_batch.cli.exit_codes import exit_code, exit_with_message
from kseg_batch.cli.flags import (
    Alpha,
    AlphaKind,
    AsJson,
    Attempts,
    Backend,
    ColorSpace,
    Eps,
    Exclude,
    Gpu,
    Include,
    MaxIter,
    MaxPixels,
    Quiet,
    RequireGpu,
    Seed,
    Sources,
    Space,
    Timeout,
    Workers,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kseg_batch.batch.fit import FitSettings
    from kseg_batch.batch.storage.scan import Scan
    from kseg_batch.batch.summary import FitSummary
    from kseg_batch.kmeans.palette import Palette


def fit(
    sources: Sources,
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", help="The palette's file.  [default: SRC-palette.json, beside SRC]"),
    ] = None,
    k: Annotated[
        str,
        typer.Option(
            "--k", "-k", metavar="N|auto[:LOW-HIGH]", help="Clusters, 1 to 256, or chosen for the dataset."
        ),
    ] = "3",
    names: Annotated[
        str | None, typer.Option("--names", help="Of the clusters, dark to light, such as shadow,tree,sky.")
    ] = None,
    workers: Workers = None,
    timeout: Timeout = None,
    include: Include = None,
    exclude: Exclude = None,
    alpha: Alpha = AlphaKind.keep,
    max_pixels: MaxPixels = "200M",
    gpu: Gpu = None,
    require_gpu: RequireGpu = False,
    backend: Backend = "auto",
    attempts: Attempts = 10,
    max_iter: MaxIter = 100,
    eps: Eps = 0.2,
    seed: Seed = 0,
    color_space: ColorSpace = Space.rgb,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fit one palette to all photos together, for `run --palette`."""
    from contextlib import ExitStack

    from kseg_batch.backends.registry import choose
    from kseg_batch.batch.fit import FitSettings
    from kseg_batch.batch.fit import fit as fit_dataset
    from kseg_batch.batch.progress import Log, Reporter
    from kseg_batch.batch.storage.scan import FileSelection, Scan, beside
    from kseg_batch.batch.workers.count_colors import CountSettings, count_pool
    from kseg_batch.batch.workers.jobs import Limits
    from kseg_batch.cli.parsing import parse_pixels, refuse_contradiction, refuse_empty
    from kseg_batch.errors import OptionError
    from kseg_batch.kmeans.cluster_names import check_names
    from kseg_batch.kmeans.options import FitOptions, parse_k
    from kseg_batch.processes import usable_cores

    with exit_with_message("interrupted: the same command goes on with the rest"):
        refuse_empty(*sources, out)
        refuse_contradiction(gpu, require_gpu=require_gpu)
        most, k_range = parse_k(k)
        options = FitOptions(most, attempts, max_iter, eps, seed, color_space=color_space.value)
        limits = Limits(workers, timeout, parse_pixels(max_pixels))
        cluster_names = () if names is None else tuple(name.strip() for name in names.split(","))
        if cluster_names and k_range is not None:
            raise OptionError("--names needs a number for --k: name the clusters when there is a palette.")
        check_names(cluster_names, most)
        paths = [Path(source) for source in sources]
        task = FitSettings(
            out=beside(paths, "-palette.json") if out is None else Path(out),
            options=options,
            counting=CountSettings(alpha.value, limits.max_pixels, options.color_space),
            names=cluster_names,
            k_range=k_range,
        )
        found = Scan(
            paths, outputs=False, selection=FileSelection(tuple(include or ()), tuple(exclude or ()))
        )
        with ExitStack() as cleanup:
            pool = cleanup.enter_context(count_pool(limits.workers or usable_cores(), limits.timeout))
            pool.start(found.total)  # while this process loads what it needs itself
            choice = choose_backend(choose, backend, gpu, require_gpu, options)
            counter = choose(only="cpu").backend
            reporter = cleanup.enter_context(Reporter(found.total, Log(None), as_json=as_json, quiet=quiet))
            for folder, reason in found.passed_over.unreadable:
                reporter.message(f"failed: {folder}: it cannot be read: {reason}")
            if not (quiet or counter.compiled):
                reporter.message("the kernels are not compiled yet: the first image waits for it, once")
            summary, palette = fit_dataset(found, task, pool, counter.name, choice.backend, reporter)
        _summarise(summary, palette, found, task, as_json, quiet)
        failed = bool(summary.failed or found.passed_over.unreadable)
        code = exit_code(signal=summary.signal, failed=failed, done=bool(summary.images))
    raise typer.Exit(code)


def _summarise(
    summary: FitSummary, palette: Palette | None, found: Scan, task: FitSettings, as_json: bool, quiet: bool
) -> None:
    import json
    from dataclasses import asdict

    from kseg_batch.console import print_status

    if as_json:
        totals = {**asdict(summary), "palette": None if palette is None else str(task.out)}
        print(json.dumps({"summary": totals}), flush=True)
    if not quiet:
        for line in _lines(summary, palette, found, task):
            print_status(line) if as_json else typer.echo(line)


def _lines(summary: FitSummary, palette: Palette | None, found: Scan, task: FitSettings) -> Iterator[str]:
    """What was done, for people."""
    from kseg_batch.errors import count

    yield (
        f"{count(summary.counted, 'image')} in {summary.seconds:.2f} s: "
        f"{summary.counted / summary.seconds:.1f} images/s"
    )
    if summary.resumed:
        yield f"{count(summary.resumed, 'image')} had been counted before"
    if summary.failed:
        yield f"{count(summary.failed, 'image')} failed: named above"
    if summary.noted:
        yield f"{count(summary.noted, 'image')} with a note: --json shows it"
    if summary.signal is not None:
        yield "interrupted: the same command goes on with the rest"
    yield from found.passed_over.texts()
    if palette is not None:
        colors = count(summary.colors, "colour")
        yield f"{summary.pixels / 1e6:,.1f} megapixels of {colors}, clustered with {palette.backend}:"
        yield from _table(palette)
        if (k := len(palette.counts)) < task.options.k:
            yield f"{count(k, 'cluster')}, not {task.options.k}: there are no more colours"
        yield f"palette    {task.out}"


def _table(palette: Palette) -> Iterator[str]:
    """A line for each cluster: its number, colour, share of the pixels and name."""
    total = int(palette.counts.sum())
    for cluster, (color, pixels) in enumerate(zip(palette.colors, palette.counts.tolist(), strict=True)):
        name = palette.names[cluster] if palette.names else ""
        yield f"{cluster:>7}  #{bytes(color).hex()}  {100 * pixels / total:5.1f} %  {name}".rstrip()
