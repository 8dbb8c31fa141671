"""`kseg-batch live`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kseg_batch.cli.exit_codes import (
    EXIT_NOTHING_DONE,
    EXIT_SIGNAL,
    EXIT_SOME_FAILED,
    exit_with_message,
    fail,
)
from kseg_batch.cli.flags import ColorSpaceFlag, QuietFlag, SeedFlag
from kseg_batch.cli.help import CLUSTERS, INPUT, OUTPUT
from kseg_batch.cli.values import number, whole_number

if TYPE_CHECKING:
    from kseg_batch.live.session import SessionSummary


def live(
    camera: Annotated[
        str | None,
        typer.Option(
            "--camera",
            metavar="N|PATH",
            help="Number or device file of a camera.  [default: 0]",
            rich_help_panel=INPUT,
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            metavar="PATH|URL",
            help="Video file to read, or address of a stream: rtsp://, http://, ...",
            rich_help_panel=INPUT,
        ),
    ] = None,
    k: Annotated[
        int,
        typer.Option(
            "--k",
            "-k",
            parser=whole_number,
            metavar="N",
            help="Number of clusters, 1 to 256.",
            rich_help_panel=CLUSTERS,
        ),
    ] = 5,
    window: Annotated[
        bool,
        typer.Option(
            "--window/--no-window",
            help="Show the frames in a window, or run without a window.",
            rich_help_panel=OUTPUT,
        ),
    ] = True,
    save: Annotated[
        str | None,
        typer.Option(
            "--save",
            metavar="PATH",
            help="Write the frames to a video (.mp4, .mkv, .mov), or as PNG files to a new folder.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    disable: Annotated[
        list[int] | None,
        typer.Option(
            "--disable",
            parser=whole_number,
            metavar="N",
            help="Number of a cluster to paint black; repeatable.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            "--frames",
            parser=whole_number,
            metavar="N",
            help="Stop after this number of segmented frames.  [default: all]",
            rich_help_panel=INPUT,
        ),
    ] = None,
    every: Annotated[
        int,
        typer.Option(
            "--every",
            parser=whole_number,
            metavar="N",
            help="Segment every n-th frame.",
            rich_help_panel=INPUT,
        ),
    ] = 1,
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            metavar="WIDTHxHEIGHT",
            help="Scale the frames to this size in pixels.  [default: the source's]",
            rich_help_panel=INPUT,
        ),
    ] = None,
    steady: Annotated[
        float,
        typer.Option(
            "--steady",
            parser=number,
            metavar="LEVELS",
            help="Reduce flicker: a pixel changes its cluster at once if its colour is this many grey levels "
            "past the border between the two clusters, else after five frames.",
            rich_help_panel=CLUSTERS,
        ),
    ] = 8,
    seed: SeedFlag = 0,
    color_space: ColorSpaceFlag = "rgb",
    quiet: QuietFlag = False,
) -> None:
    """Segment a camera, a stream or a video, frame by frame."""
    from kseg_batch.console import print_line
    from kseg_batch.errors import OptionError
    from kseg_batch.kmeans.options import FitOptions
    from kseg_batch.live.options import LiveOptions, parse_size

    with exit_with_message("interrupted before the output was complete"):
        if camera is not None and source is not None:
            raise OptionError("--camera and --source contradict each other: give one of the two.")
        if "" in (camera, source, save):
            raise OptionError("A name is empty: check whether a variable is unset.")
        options = LiveOptions(
            fit=FitOptions(k=k, seed=seed, color_space=color_space),
            camera="0" if camera is None else camera,
            source=source,
            size=None if size is None else parse_size(size),
            every=every,
            frames=frames,
            steady=steady,
            disable=tuple(disable or ()),
            window=window,
            save=None if save is None else Path(save),
        )
        from kseg_batch.backends.numba_cpu import load

        backend = load()
        from kseg_batch.live.session import run

        summary = run(options, backend, quiet=quiet)
    if not quiet:
        for line in _summary_lines(summary):
            print_line(line)
    if summary.error is not None:
        fail(str(summary.error), EXIT_SOME_FAILED if summary.completed else EXIT_NOTHING_DONE)
    if summary.signal is not None:
        raise typer.Exit(EXIT_SIGNAL + summary.signal)


def _summary_lines(summary: SessionSummary) -> list[str]:
    """Return the lines of text that report the results of a session."""
    from kseg_batch.errors import count

    lines = []
    if summary.frames:
        width, height = summary.size
        lines.append(
            f"{count(summary.frames, 'frame')} of {width} x {height} in {summary.seconds:.2f} s: "
            f"{summary.frames / summary.seconds:.1f} frames/s, {count(summary.cuts, 'cut')}"
        )
    if summary.dropped:
        lines.append(f"{count(summary.dropped, 'frame')} dropped to keep up with the source")
    if summary.signal is not None:
        lines.append("interrupted: all output written so far is complete")
    if summary.saved_to is not None:
        lines.append(f"saved to {summary.saved_to}")
    return lines
