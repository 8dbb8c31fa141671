"""`kseg-batch run`."""

from __future__ import annotations

from pathlib import Path

import typer

from kseg_batch.cli.exit_codes import exit_with_message
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
    InitFlag,
    MaxIterFlag,
    MaxPixelsFlag,
    MinRegionFlag,
    ProfileFlag,
    QuietFlag,
    RequireGpuFlag,
    SeedFlag,
    SmoothFlag,
    Sources,
    TimeoutFlag,
    WorkersFlag,
)
from kseg_batch.cli.run_flags import (
    ChecksumFlag,
    ConfigFlag,
    DevicesFlag,
    DisableFlag,
    DryRunFlag,
    FullNamesFlag,
    GpuMemoryFlag,
    KeepFlag,
    KFlag,
    LogFileFlag,
    OutFlag,
    OverwriteFlag,
    PaletteSourceFlag,
    RetryFailedFlag,
    SaveKindsFlag,
    ToleranceFlag,
)
from kseg_batch.console import print_message


def run(
    context: typer.Context,
    sources: Sources,
    out: OutFlag = None,
    k: KFlag = "3",
    palette: PaletteSourceFlag = None,
    save: SaveKindsFlag = None,
    disable: DisableFlag = None,
    keep: KeepFlag = None,
    tolerance: ToleranceFlag = 55,
    workers: WorkersFlag = None,
    timeout: TimeoutFlag = None,
    overwrite: OverwriteFlag = False,
    retry_failed: RetryFailedFlag = False,
    checksum: ChecksumFlag = False,
    dry_run: DryRunFlag = False,
    include: IncludeFlag = None,
    exclude: ExcludeFlag = None,
    alpha: AlphaFlag = "keep",
    profile: ProfileFlag = "convert",
    max_pixels: MaxPixelsFlag = "200M",
    gpu: GpuFlag = None,
    require_gpu: RequireGpuFlag = False,
    device: DevicesFlag = None,
    gpu_memory: GpuMemoryFlag = None,
    backend: BackendFlag = "auto",
    attempts: AttemptsFlag = 10,
    max_iter: MaxIterFlag = 100,
    eps: EpsFlag = 0.2,
    seed: SeedFlag = 0,
    init: InitFlag = None,
    color_space: ColorSpaceFlag = "rgb",
    smooth: SmoothFlag = 0,
    min_region: MinRegionFlag = 0,
    full_names: FullNamesFlag = False,
    as_json: AsJsonFlag = False,
    quiet: QuietFlag = False,
    log_file: LogFileFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Segment photos: write the segmented image and the masks of each."""
    from kseg_batch.batch.storage.folding import find_fold
    from kseg_batch.batch.storage.scan import Scan, default_output
    from kseg_batch.batch.storage.walk import FileSelection
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
        print_message(f"flags from {config}")
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
            color_space=color_space,
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
            alpha=alpha,
            profile=profile,
            max_pixels=limits.max_pixels,
            regions=RegionOptions(smooth, min_region),
            checksum=checksum,
            k_range=clusters.k_range,
        )
        file_selection = FileSelection(tuple(include or ()), tuple(exclude or ()))
        request = RunRequest(
            sources=paths,
            scan=Scan(paths, full_names=full_names, selection=file_selection, fold=find_fold(settings.out)),
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
