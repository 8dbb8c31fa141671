"""`kseg-batch fit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kseg_batch.cli.backend import choose_backend
from kseg_batch.cli.exit_codes import exit_code, exit_with_message
from kseg_batch.cli.flags import (
    AlphaFlag,
    AsJsonFlag,
    AttemptsFlag,
    BackendFlag,
    ColorSpaceFlag,
    EpsFlag,
    ExcludeFlag,
    GpuFlag,
    IncludeFlag,
    MaxIterFlag,
    MaxPixelsFlag,
    ProfileFlag,
    QuietFlag,
    RequireGpuFlag,
    SeedFlag,
    Sources,
    TimeoutFlag,
    WorkersFlag,
)
from kseg_batch.cli.help import CLUSTERS, OUTPUT

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
        typer.Option(
            "--out",
            "-o",
            metavar="PATH",
            help="Palette file.  [default: SRC-palette.json, beside SRC]",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    k: Annotated[
        str,
        typer.Option(
            "--k",
            "-k",
            metavar="N|auto[:LOW-HIGH]",
            help="Number of clusters, 1 to 256; auto chooses the number for the dataset.",
            rich_help_panel=CLUSTERS,
        ),
    ] = "3",
    names: Annotated[
        str | None,
        typer.Option(
            "--names",
            metavar="NAME,...",
            help="Names of the clusters, dark to light, such as shadow,,sky; empty for no name.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    workers: WorkersFlag = None,
    timeout: TimeoutFlag = None,
    include: IncludeFlag = None,
    exclude: ExcludeFlag = None,
    alpha: AlphaFlag = "keep",
    profile: ProfileFlag = "convert",
    max_pixels: MaxPixelsFlag = "200M",
    gpu: GpuFlag = None,
    require_gpu: RequireGpuFlag = False,
    backend: BackendFlag = "auto",
    attempts: AttemptsFlag = 10,
    max_iter: MaxIterFlag = 100,
    eps: EpsFlag = 0.2,
    seed: SeedFlag = 0,
    color_space: ColorSpaceFlag = "rgb",
    as_json: AsJsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Fit one palette to all photos together, for `run --palette`."""
    from contextlib import ExitStack
    from dataclasses import asdict

    from kseg_batch.backends.registry import choose
    from kseg_batch.batch.fit import FitSettings
    from kseg_batch.batch.fit import fit as fit_dataset
    from kseg_batch.batch.progress import Log, Reporter
    from kseg_batch.batch.storage.scan import Scan, default_output
    from kseg_batch.batch.storage.walk import FileSelection
    from kseg_batch.batch.workers.count_colors import CountSettings, count_pool
    from kseg_batch.batch.workers.jobs import Limits
    from kseg_batch.cli.parsing import parse_pixels, refuse_contradiction, refuse_empty
    from kseg_batch.cli.summary import print_summary
    from kseg_batch.console import compiling_message, divert_kernel_warnings
    from kseg_batch.errors import OptionError
    from kseg_batch.kmeans.cluster_names import check_names
    from kseg_batch.kmeans.options import FitOptions, parse_k
    from kseg_batch.processes import private_folder, usable_cores

    with exit_with_message("interrupted: the same command continues with the rest"):
        refuse_empty(*sources, out)
        refuse_contradiction(gpu, require_gpu=require_gpu)
        max_k, k_range = parse_k(k)
        options = FitOptions(max_k, attempts, max_iter, eps, seed, color_space=color_space)
        limits = Limits(workers, timeout, parse_pixels(max_pixels))
        cluster_names = () if names is None else tuple(name.strip() for name in names.split(","))
        if cluster_names and k_range is not None:
            raise OptionError("--names needs a number for --k: name the clusters when there is a palette.")
        check_names(cluster_names, max_k)
        paths = [Path(source) for source in sources]
        settings = FitSettings(
            out=default_output(paths, "-palette.json") if out is None else Path(out),
            options=options,
            count_settings=CountSettings(alpha, profile, limits.max_pixels),
            names=cluster_names,
            k_range=k_range,
        )
        scan = Scan(paths, outputs=False, selection=FileSelection(tuple(include or ()), tuple(exclude or ())))
        with ExitStack() as cleanup:
            cleanup.enter_context(private_folder())
            pool = cleanup.enter_context(count_pool(limits.workers or usable_cores(), limits.timeout))
            pool.start(scan.total)  # in parallel to the imports of this process
            choice = choose_backend(choose, backend, gpu, require_gpu, options)
            cpu_backend = choose(only="cpu").backend
            reporter = cleanup.enter_context(Reporter(scan.total, Log(None), as_json=as_json, quiet=quiet))
            divert_kernel_warnings(reporter.message)
            reporter.unreadable(scan.passed_over)
            if not (quiet or cpu_backend.compiled):
                reporter.message(compiling_message("the first image"))
            summary, palette = fit_dataset(scan, settings, pool, cpu_backend.name, choice.backend, reporter)
        totals = {**asdict(summary), "palette": None if palette is None else str(settings.out)}
        lines = _summary_lines(summary, palette, scan, settings)
        print_summary(lines, totals, as_json=as_json, quiet=quiet)
        failed = bool(summary.failed or scan.passed_over.unreadable)
        stopped = palette is None  # there was no image
        code = exit_code(signal=summary.signal, failed=failed, done=bool(summary.images), stopped=stopped)
    raise typer.Exit(code)


def _summary_lines(
    summary: FitSummary, palette: Palette | None, scan: Scan, settings: FitSettings
) -> Iterator[str]:
    """Yield the summary of the fit as lines of text."""
    from kseg_batch.errors import count

    yield (
        f"{count(summary.counted, 'image')} in {summary.seconds:.2f} s: "
        f"{summary.counted / summary.seconds:.1f} images/s"
    )
    if summary.resumed:
        yield f"{count(summary.resumed, 'image')} counted before"
    if summary.failed:
        yield f"{count(summary.failed, 'image')} failed: listed above"
    if summary.converted:
        yield f"{count(summary.converted, 'image')} converted to sRGB: --json shows the notes"
    if summary.noted:
        yield f"{count(summary.noted, 'image')} with a note: --json shows the notes"
    if summary.signal is not None:
        yield "interrupted: the same command continues with the rest"
    yield from scan.passed_over.as_lines()
    if palette is not None:
        colors = count(summary.colors, "colour")
        yield f"{summary.pixels / 1e6:,.1f} megapixels of {colors}, clustered with {palette.backend}:"
        yield from _palette_lines(palette)
        if (k := len(palette.counts)) < settings.options.k:
            yield f"{count(k, 'cluster')}, not {settings.options.k}: there are no more colours"
        yield f"palette    {settings.out}"


def _palette_lines(palette: Palette) -> Iterator[str]:
    """Yield a line for each cluster: its number, colour, share of the pixels, and name."""
    total = int(palette.counts.sum())
    for cluster, (color, pixels) in enumerate(zip(palette.colors, palette.counts.tolist(), strict=True)):
        name = palette.names[cluster] if palette.names else ""
        yield f"{cluster:>7}  #{bytes(color).hex()}  {100 * pixels / total:5.1f} %  {name}".rstrip()
