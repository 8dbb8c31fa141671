"""`kseg-batch run`."""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kseg_batch.batch.workers.executors import choose_executors
from kseg_batch.cli.dry_run import _show_plan
from kseg_batch.cli.exit_codes import (
    EXIT_NOTHING_DONE,
    EXIT_SIGNAL,
    EXIT_SOME_FAILED,
    choose_backend,
    exit_with_message,
)
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
    Init,
    MaxIter,
    MaxPixels,
    MinRegion,
    Quiet,
    RequireGpu,
    SaveKind,
    Seed,
    Smooth,
    Sources,
    Space,
    Timeout,
    Workers,
)

if TYPE_CHECKING:
    from kseg_batch.backends.base import BackendInfo
    from kseg_batch.backends.registry import Choice
    from kseg_batch.batch.plan import Redo
    from kseg_batch.batch.progress import Log
    from kseg_batch.batch.storage.outputs import Save
    from kseg_batch.batch.storage.scan import Scan
    from kseg_batch.batch.summary import RunSummary
    from kseg_batch.batch.workers.jobs import Settings
    from kseg_batch.kmeans.palette import Palette
    from kseg_batch.segmentation.cluster_selection import ClusterSelection


FITTING = ("k", "attempts", "max_iter", "eps", "seed", "init", "color_space")
"""Flags that say how clusters are found, where none are given."""


def read_config(context: typer.Context, named: str | None) -> str | None:
    """Take flags that are not on the command line from a file."""
    from kseg_batch.cli import config

    with exit_with_message():
        path = config.find(named)
        if path is not None:
            known = {
                p.name: bool(getattr(p, "multiple", False))
                for p in context.command.params
                if p.name and p.param_type_name == "option" and p.name not in ("config", "help")
            }
            context.default_map = config.flags(path, known)
        return None if path is None else str(path)


def run(
    context: typer.Context,
    sources: Sources,
    out: Annotated[
        str | None, typer.Option("--out", "-o", help="Output folder.  [default: SRC-kseg, beside SRC]")
    ] = None,
    k: Annotated[
        str,
        typer.Option(
            "--k", "-k", metavar="N|auto[:LOW-HIGH]", help="Clusters, 1 to 256, or chosen for each image."
        ),
    ] = "3",
    palette: Annotated[
        str | None,
        typer.Option(
            "--palette",
            help="Clusters for all images, in place of their own: a file of kseg-batch fit, a GIMP palette, "
            "a list of hexadecimal colours, or '#112233,#aabbcc'.",
        ),
    ] = None,
    save: Annotated[
        list[SaveKind] | None,
        typer.Option("--save", help="A kind of output; repeat it for more.  [default: segmented, masks]"),
    ] = None,
    disable: Annotated[
        list[str] | None,
        typer.Option(
            "--disable",
            metavar="CLUSTER",
            help="A cluster to black out in the photo: its number, its name, or a colour such as green or "
            "#2e8b57; repeat it for more. Saves masked.",
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            "--keep", metavar="CLUSTER", help="A cluster to show, all others black; otherwise as --disable."
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="Farthest Delta E of the cluster that a colour means.")
    ] = 55.0,
    workers: Workers = None,
    timeout: Timeout = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do again what is done already.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Do again what failed, and nothing else.")
    ] = False,
    checksum: Annotated[
        bool,
        typer.Option("--checksum", help="Tell a changed source by its content, not its size and time."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done and why; write nothing.")
    ] = False,
    include: Include = None,
    exclude: Exclude = None,
    alpha: Alpha = AlphaKind.keep,
    max_pixels: MaxPixels = "200M",
    gpu: Gpu = None,
    require_gpu: RequireGpu = False,
    device: Annotated[
        str | None,
        typer.Option("--device", help="GPUs to use, such as 0,1 or all; implies --gpu.  [default: 0]"),
    ] = None,
    gpu_memory: Annotated[
        str | None,
        typer.Option("--gpu-memory", help="GPU memory to use, such as 4G.  [default: 4/5 of what is free]"),
    ] = None,
    backend: Backend = "auto",
    attempts: Attempts = 10,
    max_iter: MaxIter = 100,
    eps: Eps = 0.2,
    seed: Seed = 0,
    init: Init = None,
    color_space: ColorSpace = Space.rgb,
    smooth: Smooth = 0,
    min_region: MinRegion = 0,
    full_names: Annotated[
        bool, typer.Option("--full-names", help="Keep the extension in output names: a.jpg.png.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    log_file: Annotated[
        str | None, typer.Option("--log-file", help="Append a line per image, with the time, to this file.")
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            callback=read_config,
            is_eager=True,
            help="TOML file with flags.  [default: [tool.kseg-batch] in ./pyproject.toml]",
        ),
    ] = None,
) -> None:
    """Segment photos: write the segmented image and the masks of its clusters for each one."""
    from kseg_batch.backends.gpu.options import GpuOptions
    from kseg_batch.backends.registry import find, gpu_packages
    from kseg_batch.batch.manifest import NAME
    from kseg_batch.batch.progress import Log, Reporter
    from kseg_batch.batch.run import run as run_batch
    from kseg_batch.batch.storage.scan import FileSelection, Scan, beside
    from kseg_batch.batch.workers.cpu import cpu_pool
    from kseg_batch.batch.workers.jobs import Limits, Settings
    from kseg_batch.cli.parsing import parse_bytes, parse_devices, parse_pixels
    from kseg_batch.errors import OptionError, count
    from kseg_batch.kmeans.options import FitOptions, RegionOptions, parse_k
    from kseg_batch.processes import usable_cores
    from kseg_batch.segmentation.cluster_selection import ClusterSelection
    from kseg_batch.segmentation.regions import load_cleaner

    if config is not None and not quiet:
        print(f"kseg-batch: flags from {config}", file=sys.stderr)
    with exit_with_message("interrupted: what is written so far is complete"):
        if "" in (*sources, out):
            raise OptionError("A path is empty: is a variable unset?")
        if overwrite and retry_failed:
            raise OptionError("--overwrite and --retry-failed contradict each other.")
        most, k_range = parse_k(k)
        options = FitOptions(most, attempts, max_iter, eps, seed, init, color_space.value)  # type: ignore[arg-type] # checked there
        given = None if palette is None else _palette(palette, context)
        if given is not None:
            options, k_range = FitOptions(len(given.counts), color_space=given.color_space), None
        names = () if given is None else given.names
        chosen = ClusterSelection.parse(disable or (), keep or None, tolerance, k=options.k, names=names)
        kinds = _kinds(save, chosen)
        regions = RegionOptions(smooth, min_region)
        limits = Limits(workers, timeout, parse_pixels(max_pixels))
        devices = (0,) if device is None else parse_devices(device)
        on_gpu = GpuOptions(memory=None if gpu_memory is None else parse_bytes(gpu_memory))
        if gpu is False and not (device is None and gpu_memory is None):
            raise OptionError("--no-gpu contradicts --device and --gpu-memory.")
        if require_gpu and gpu is False:
            raise OptionError("--require-gpu and --no-gpu contradict each other.")
        paths = [Path(source) for source in sources]
        redo: Redo = "all" if overwrite else "failed" if retry_failed else "changed"
        selection = FileSelection(tuple(include or ()), tuple(exclude or ()))
        settings = Settings(
            out=beside(paths, "-kseg") if out is None else Path(out),
            fit=options,
            palette=given,
            save=kinds,
            filter=chosen,
            alpha=alpha.value,
            max_pixels=limits.max_pixels,
            regions=regions,
            checksum=checksum,
            k_range=k_range,
        )
        found = Scan(paths, full_names=full_names, selection=selection)
        with ExitStack() as cleanup:
            pool = cleanup.enter_context(
                cpu_pool(limits.workers or usable_cores(), limits.timeout, regions=bool(regions))
            )
            if not dry_run and not (settings.out / NAME).exists() and (gpu is False or not gpu_packages()):
                pool.start(found.total)  # while this process loads what it needs itself
            choice = choose_backend(find, backend, gpu if device is None else True, require_gpu, options)
            compiled = choice.backend.compiled and (not regions or load_cleaner().compiled)
            required = require_gpu or backend != "auto"
            team = choose_executors(pool, choice.backend, devices, on_gpu, options, required=required)
            if dry_run:
                _show_plan(found, paths, settings, team, redo, as_json)
                return
            log = cleanup.enter_context(closing(Log(None if log_file is None else Path(log_file))))
            log.add(f"begun: {count(found.total, 'image')} in {', '.join(sources)}, to {settings.out}")
            with Reporter(found.total, log, as_json=as_json, quiet=quiet) as reporter:
                for folder, reason in found.passed_over.unreadable:
                    reporter.message(f"failed: {folder}: it cannot be read: {reason}")
                if not (quiet or compiled or team.gpus):
                    reporter.message("the kernels are not compiled yet: the first image waits for it, once")
                summary = run_batch(found.jobs(), paths, settings, team, reporter, redo=redo)
            _summarise(summary, found, settings, choice, log, as_json, quiet)
    raise typer.Exit(_exit_code(summary, found))


def _palette(text: str, context: typer.Context) -> Palette:
    """The palette that was asked for, with what there is to say of it on stderr.

    Flags that say how to find clusters contradict it, but for those in a file if it is on the command line.
    """
    import warnings

    from kseg_batch.errors import OptionError
    from kseg_batch.kmeans.palette_files import read_palette

    places = {name: getattr(context.get_parameter_source(name), "name", "") for name in ("palette", *FITTING)}
    for name in FITTING:
        if places[name] in ("COMMANDLINE", places["palette"]):
            flag = name.replace("_", "-")
            raise OptionError(f"--{flag} and --palette contradict each other: a palette has its clusters.")
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        palette = read_palette(text)
    for note in notes:
        print(f"kseg-batch: {note.message}", file=sys.stderr)
    return palette


def _kinds(save: list[SaveKind] | None, chosen: ClusterSelection) -> frozenset[Save]:
    from kseg_batch.batch.storage.outputs import FILTERED
    from kseg_batch.errors import OptionError
    from kseg_batch.images.coco import require_pycocotools

    kinds: set[Save] = {kind.value for kind in save or (SaveKind.segmented, SaveKind.masks)}
    if chosen.targets:
        kinds.add("masked")
    elif unclear := kinds & FILTERED:
        raise OptionError(f"--save {min(unclear)} needs --disable or --keep: which clusters does it show?")
    if "coco" in kinds:
        require_pycocotools()
    return frozenset(kinds)


def _summarise(
    summary: RunSummary,
    found: Scan,
    settings: Settings,
    choice: Choice[BackendInfo],
    log: Log,
    as_json: bool,
    quiet: bool,
) -> None:
    import json
    from dataclasses import asdict

    from kseg_batch.batch.progress import summary_lines
    from kseg_batch.console import print_status

    lines = summary_lines(summary, found, settings, choice.backend.name)
    for line in lines:
        log.add(line)
    if as_json:
        passed_over = {
            name: len(value) if isinstance(value, list) else value
            for name, value in asdict(found.passed_over).items()
        }
        totals = {**asdict(summary), "images": found.total, "passed_over": passed_over}
        print(json.dumps({"summary": totals}), flush=True)
    for line in lines if not quiet else ():
        if as_json:
            print_status(line)
        else:
            typer.echo(line)
    if quiet and (stop := summary.stopped):
        print_status(f"kseg-batch: stopped early: {stop}")


def _exit_code(summary: RunSummary, found: Scan) -> int:
    if summary.signal is not None:
        return EXIT_SIGNAL + summary.signal
    if summary.stopped is not None:
        return EXIT_NOTHING_DONE
    if summary.failed or found.passed_over.unreadable:
        return EXIT_SOME_FAILED if summary.done or summary.skipped else EXIT_NOTHING_DONE
    return 0
