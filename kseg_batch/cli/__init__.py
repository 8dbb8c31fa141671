"""The command line: a module for each command, with its flags, its output and its exit codes."""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from kseg_batch.cli import bench, doctor, fit, live, run, show
from kseg_batch.cli.exit_codes import EXIT_SIGNAL
from kseg_batch.cli.help import Command, CommandGroup

if TYPE_CHECKING:
    from types import FrameType

app = typer.Typer(
    name="kseg-batch",
    cls=CommandGroup,
    help="Colour segmentation of photos by exact k-means, in bulk.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (run.run, fit.fit, show.show, live.live, doctor.doctor, bench.bench):
    app.command(cls=Command)(command)


def main() -> None:
    """Run the command line."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")  # failures are reported with the file's name instead
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # any file name can be printed anywhere
    signal.signal(signal.SIGTERM, _exit_on_signal)
    app()


def _exit_on_signal(number: int, _: FrameType | None) -> NoReturn:
    """Exit by an exception, so that all resources are cleaned up first."""
    raise SystemExit(EXIT_SIGNAL + number)


def show_version(value: bool) -> None:
    """Print the version and exit."""
    if value:
        from importlib.metadata import version

        typer.echo(f"kseg-batch {version('kseg-batch')}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Colour segmentation of photos by exact k-means, in bulk."""
