"""`kseg-batch run`."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from kseg_batch.cli.exit_codes import exit_with_message
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
    Seed,
    Smooth,
    Sources,
    Space,
    Timeout,
    Workers,
)
from kseg_batch.cli.run_flags import (
    Checksum,
    Config,
    Devices,
    Disable,
    DryRun,
    FullNames,
    GpuMemory,
    K,
    Keep,
    LogFile,
    Out,
    Overwrite,
    PaletteSource,
    RetryFailed,
    SaveKinds,
    Tolerance,
)


def run(
    context: typer.Context,
    sources: Sources,
    out: Out = None,
    k: K = "3",
    palette: PaletteSource = None,
    save: SaveKinds = None,
    disable: Disable = None,
    keep: Keep = None,
    tolerance: Tolerance = 55.0,
    workers: Workers = None,
    timeout: Timeout = None,
    overwrite: Overwrite = False,
    retry_failed: RetryFailed = False,
    checksum: Checksum = False,
    dry_run: DryRun = False,
    include: Include = None,
    exclude: Exclude = None,
    alpha: Alpha = AlphaKind.keep,
    max_pixels: MaxPixels = "200M",
    gpu: Gpu = None,
    require_gpu: RequireGpu = False,
    device: Devices = None,
    gpu_memory: GpuMemory = None,
    backend: Backend = "auto",
    attempts: Attempts = 10,
    max_iter: MaxIter = 100,
    eps: Eps = 0.2,
    seed: Seed = 0,
    init: Init = None,
    color_space: ColorSpace = Space.rgb,
    smooth: Smooth = 0,
    min_region: MinRegion = 0,
    full_names: FullNames = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    log_file: LogFile = None,
    config: Config = None,
) -> None:
    """Segment photos: write the segmented image and the masks of its clusters for each photo."""
    from kseg_batch.batch.storage.scan import FileSelection, Scan, default_output
    from kseg_batch.batch.workers.jobs import Limits, Settings
    from kseg_batch.cli.parsing import parse_pixels, refuse_empty
    from kseg_batch.cli.run_batch import carry_out
    from kseg_batch.cli.run_settings import (
        RunRequest,
        choose_clusters,
        choose_gpus,
        choose_outputs,
        choose_redo,
    )
    from kseg_batch.kmeans.options import RegionOptions

    if config is not None and not quiet:
        print(f"kseg-batch: flags from {config}", file=sys.stderr)
    with exit_with_message("interrupted: all files written are complete"):
        refuse_empty(*sources, out)
        redo = choose_redo(overwrite=overwrite, retry_failed=retry_failed)
        clusters = choose_clusters(
            context,
            palette,
            k=k,
            attempts=attempts,
            max_iter=max_iter,
            eps=eps,
            seed=seed,
            init=init,
            color_space=color_space.value,
        )
        selection = clusters.select(disable, keep, tolerance)
        limits = Limits(workers, timeout, parse_pixels(max_pixels))
        gpus = choose_gpus(backend, gpu, require_gpu=require_gpu, device=device, gpu_memory=gpu_memory)
        paths = [Path(source) for source in sources]
        settings = Settings(
            out=default_output(paths, "-kseg") if out is None else Path(out),
            fit=clusters.options,
            palette=clusters.palette,
            save=choose_outputs(save, selection),
            selection=selection,
            alpha=alpha.value,
            max_pixels=limits.max_pixels,
            regions=RegionOptions(smooth, min_region),
            checksum=checksum,
            k_range=clusters.k_range,
        )
        file_selection = FileSelection(tuple(include or ()), tuple(exclude or ()))
        request = RunRequest(
            sources=paths,
            scan=Scan(paths, full_names=full_names, selection=file_selection),
            settings=settings,
            limits=limits,
            gpus=gpus,
            redo=redo,
            dry_run=dry_run,
            as_json=as_json,
            quiet=quiet,
            log_file=None if log_file is None else Path(log_file),
        )
        code = carry_out(request)
    raise typer.Exit(code)
