"""The command line: flags in; printing and exit codes out."""

from __future__ import annotations

import io
import os
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from kseg_batch.backends import Choice
    from kseg_batch.options import FitOptions, GpuOptions
    from kseg_batch.run import Summary
    from kseg_batch.scan import Scan
    from kseg_batch.worker import Outcome, Settings

EXIT_NOTHING_DONE = 1
EXIT_USAGE = 2
EXIT_SOME_FAILED = 3
EXIT_INTERRUPTED = 130

NOTABLE_WARM_UP = 3.0
"""Seconds of preparation from which it is explained: loading compiled kernels takes under one."""

app = typer.Typer(
    name="kseg-batch",
    help="Colour segmentation of photos by exact k-means, in bulk.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class SaveKind(StrEnum):
    """Kinds of output."""

    segmented = "segmented"
    masks = "masks"
    labels = "labels"
    masked = "masked"


def main() -> None:
    """Run the command line."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")  # failures are reported with the file's name instead
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # any file name can be printed anywhere
    app()


def show_version(value: bool) -> None:
    """Print the version and end."""
    if value:
        from importlib.metadata import version

        typer.echo(f"kseg-batch {version('kseg-batch')}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Colour segmentation of photos by exact k-means, in bulk."""


@app.command()
def run(
    sources: Annotated[
        list[str], typer.Argument(metavar="SRC", help="Folders, searched recursively, and files.")
    ],
    out: Annotated[
        str | None, typer.Option("--out", "-o", help="Output folder.  [default: SRC-kseg, beside SRC]")
    ] = None,
    k: Annotated[int, typer.Option("--k", "-k", help="Clusters, 1 to 256.")] = 3,
    save: Annotated[
        list[SaveKind] | None,
        typer.Option("--save", help="A kind of output; repeat it for more.  [default: segmented, masks]"),
    ] = None,
    disable: Annotated[
        list[int] | None,
        typer.Option(
            "--disable", help="A cluster to black out in the photo; repeat it for more. Saves masked."
        ),
    ] = None,
    gpu: Annotated[
        bool | None, typer.Option("--gpu/--no-gpu", help="Use a GPU if there is one, or do not.")
    ] = None,
    require_gpu: Annotated[bool, typer.Option("--require-gpu", help="Fail where there is no GPU.")] = False,
    device: Annotated[
        int | None,
        typer.Option("--device", help="Number of the GPU to use; implies --gpu.  [default: 0]"),
    ] = None,
    gpu_memory: Annotated[
        str | None,
        typer.Option("--gpu-memory", help="GPU memory to use, such as 4G.  [default: 4/5 of what is free]"),
    ] = None,
    backend: Annotated[
        str, typer.Option("--backend", help="auto, cupy, numba-cuda, numba or opencv.")
    ] = "auto",
    attempts: Annotated[int, typer.Option("--attempts", help="Starts, of which the best is kept.")] = 10,
    max_iter: Annotated[int, typer.Option("--max-iter", help="Most iterations.")] = 100,
    eps: Annotated[float, typer.Option("--eps", help="Stop when no centre moved by more grey levels.")] = 0.2,
    seed: Annotated[int, typer.Option("--seed", help="Of the random numbers.")] = 0,
    init: Annotated[
        str | None, typer.Option("--init", help="k-means++, or random with the opencv backend.")
    ] = None,
    full_names: Annotated[
        bool, typer.Option("--full-names", help="Keep the extension in output names: a.jpg.png.")
    ] = False,
) -> None:
    """Segment photos: write the segmented image and the masks of its clusters for each one."""
    from kseg_batch.errors import BackendUnavailableError, KsegError, OptionError
    from kseg_batch.options import FitOptions, GpuOptions, parse_bytes
    from kseg_batch.scan import default_output, scan
    from kseg_batch.worker import Settings

    try:
        options = FitOptions(k=k, attempts=attempts, max_iter=max_iter, eps=eps, seed=seed, init=init)  # type: ignore[arg-type] # checked there
        kinds = {SaveKind.segmented, SaveKind.masks} if save is None else set(save)
        if disable:
            _check_clusters(disable, k)
            kinds.add(SaveKind.masked)
        elif SaveKind.masked in kinds:
            raise OptionError("--save masked needs --disable: which clusters are to be black?")
        if "" in (*sources, out):
            raise OptionError("A path is empty: is a variable unset?")
        on_gpu = GpuOptions(device or 0, None if gpu_memory is None else parse_bytes(gpu_memory))
        if gpu is False and not (device is None and gpu_memory is None):
            raise OptionError("--no-gpu contradicts --device and --gpu-memory.")
        if device is not None:
            gpu = True
        choice = _choose(backend, gpu, require_gpu, options, on_gpu)
    except (OptionError, BackendUnavailableError) as error:
        _fail(str(error), EXIT_USAGE)
    try:
        paths = [Path(source) for source in sources]
        target = default_output(paths) if out is None else Path(out)
        found = scan(paths, full_names=full_names)
        settings = Settings(target, options, frozenset(kind.value for kind in kinds), tuple(disable or ()))
        summary = _run(found, settings, choice)
    except KsegError as error:
        _fail(str(error), EXIT_NOTHING_DONE)
    except KeyboardInterrupt:
        _fail("interrupted: what is written so far is complete", EXIT_INTERRUPTED)
    _summarise(summary, found, settings, choice)
    if summary.failed or found.unreadable:
        raise typer.Exit(EXIT_SOME_FAILED if summary.done else EXIT_NOTHING_DONE)


@app.command()
def doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
) -> None:
    """Show what this machine can do, and test each backend."""
    import json
    from dataclasses import asdict

    from kseg_batch.doctor import as_lines, examine

    report = examine(lambda text: print(f"kseg-batch: {text}", file=sys.stderr))
    if as_json:
        typer.echo(json.dumps({"ok": report.ok, **asdict(report)}, indent=2))
    else:
        for line in as_lines(report):
            typer.echo(line)
    if not report.ok:
        raise typer.Exit(EXIT_NOTHING_DONE)


def _run(found: Scan, settings: Settings, choice: Choice) -> Summary:
    from kseg_batch.progress import Progress
    from kseg_batch.run import run as run_batch

    start = time.perf_counter()
    choice.backend.warm_up()
    if (seconds := time.perf_counter() - start) > NOTABLE_WARM_UP:
        note = f"prepared {choice.backend.name} in {seconds:.0f} s; compiled kernels are kept for later runs"
        print(f"kseg-batch: {note}", file=sys.stderr)
    with Progress(len(found.jobs)) as progress:
        for folder, reason in found.unreadable:
            progress.message(f"failed: {folder}: it cannot be read: {reason}")

        fallbacks = 0

        def report(outcome: Outcome) -> None:
            nonlocal fallbacks
            if outcome.fallback is not None:
                fallbacks += 1
                if fallbacks == 1:  # when the GPU fails there may be thousands; the manifest names them all
                    progress.message(f"{outcome.source}: done on the CPU: {outcome.fallback}")
            if outcome.error is not None:
                progress.message(f"failed: {outcome.source}: {outcome.error}")
            progress.advance(failed=outcome.error is not None)

        return run_batch(found.jobs, settings, choice.backend, report)


def _choose(
    name: str, gpu: bool | None, require_gpu: bool, options: FitOptions, on_gpu: GpuOptions
) -> Choice:
    """Take a backend, and say on stderr where it is not the one that was hoped for."""
    from kseg_batch.backends import choose
    from kseg_batch.errors import OptionError

    if require_gpu and gpu is False:
        raise OptionError("--require-gpu and --no-gpu contradict each other.")
    if require_gpu or (gpu and name != "auto"):
        return choose(name, only="gpu", options=options, gpu=on_gpu)
    choice = choose(name, only="cpu" if gpu is False else None, options=options, gpu=on_gpu)
    missed = [p for p in choice.passed_over if gpu or p.installed]
    if missed:
        reasons = "; ".join(f"{p.name}: {p.reason}" for p in missed)
        print(f"kseg-batch: running on the CPU with {choice.backend.name} ({reasons})", file=sys.stderr)
    return choice


def _check_clusters(clusters: list[int], k: int) -> None:
    from kseg_batch.errors import OptionError

    for cluster in clusters:
        if not 0 <= cluster < k:
            raise OptionError(f"--disable {cluster}: with --k {k} the clusters are 0 to {k - 1}.")


def _summarise(summary: Summary, found: Scan, settings: Settings, choice: Choice) -> None:
    from kseg_batch.manifest import NAME
    from kseg_batch.scan import count

    megapixels = summary.pixels / 1e6
    typer.echo(
        f"{count(summary.done, 'image')}, {megapixels:.1f} megapixels in {summary.seconds:.2f} s: "
        f"{summary.done / summary.seconds:.1f} images/s with {choice.backend.name}"
    )
    if summary.failed:
        typer.echo(f"{count(summary.failed, 'image')} failed: named above, and in the manifest")
    if summary.fallbacks:
        typer.echo(f"{count(summary.fallbacks, 'image')} done on the CPU instead: noted in the manifest")
    if summary.noted:
        typer.echo(f"{count(summary.noted, 'image')} with a note in the manifest")
    for text in found.passed_over():
        typer.echo(text)
    for kind in sorted(settings.save):
        typer.echo(f"{kind:<10} {settings.out / kind}")
    typer.echo(f"{'manifest':<10} {settings.out / NAME}")


def _fail(message: str, code: int) -> NoReturn:
    print(f"kseg-batch: {message}", file=sys.stderr)
    raise typer.Exit(code)
