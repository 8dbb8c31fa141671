"""`kseg-batch run`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

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
    SaveKind,
    Seed,
    Smooth,
    Sources,
    Space,
    Timeout,
    Workers,
)


def read_config(context: typer.Context, value: str | None) -> str | None:
    """Make the flags of a file the defaults of the command line.

    Args:
        context: The context of the command.
        value: The value of `--config`.

    Returns:
        The path of the file; None if there is none.
    """
    from kseg_batch.cli.config import find_config, read_flags

    with exit_with_message():
        path = find_config(value)
        if path is not None:
            known = {
                parameter.name: bool(getattr(parameter, "multiple", False))
                for parameter in context.command.params
                if parameter.name
                and parameter.param_type_name == "option"
                and parameter.name not in ("config", "help")
            }
            context.default_map = read_flags(path, known)
        return None if path is None else str(path)


def run(
    context: typer.Context,
    sources: Sources,
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", help="Output folder.  [default: SRC-kseg, beside SRC]"),
    ] = None,
    k: Annotated[
        str,
        typer.Option(
            "--k",
            "-k",
            metavar="N|auto[:LOW-HIGH]",
            help="Number of clusters, 1 to 256; auto chooses the number for each image.",
        ),
    ] = "3",
    palette: Annotated[
        str | None,
        typer.Option(
            "--palette",
            help="Palette whose colours are the clusters of all images: a file of kseg-batch fit, a GIMP "
            "palette, a list of hexadecimal colours, or '#112233,#aabbcc'.",
        ),
    ] = None,
    save: Annotated[
        list[SaveKind] | None,
        typer.Option("--save", help="Kind of output; repeatable.  [default: segmented, masks]"),
    ] = None,
    disable: Annotated[
        list[str] | None,
        typer.Option(
            "--disable",
            metavar="CLUSTER",
            help="Cluster to black out in the photo: its number, its name, or a colour such as green or "
            "#2e8b57; repeatable. Implies --save masked.",
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            "--keep",
            metavar="CLUSTER",
            help="Cluster to show while all others are black; otherwise as --disable.",
        ),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option("--tolerance", help="Largest Delta E between a colour and the cluster it selects."),
    ] = 55.0,
    workers: Workers = None,
    timeout: Timeout = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Process images again that are done already.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Process only images that failed before.")
    ] = False,
    checksum: Annotated[
        bool,
        typer.Option("--checksum", help="Detect changed images by content, not by size and time."),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print which images would be processed, and why; write nothing."),
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
        typer.Option(
            "--gpu-memory", help="Most GPU memory to use, such as 4G.  [default: 4/5 of the free memory]"
        ),
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
        str | None, typer.Option("--log-file", help="Log file, to which a line per image is appended.")
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
