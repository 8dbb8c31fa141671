"""The command line: a module for each command, with its flags, its output and its exit codes."""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from kseg_batch.cli import bench, doctor, fit, live, run, show
from kseg_batch.cli.exit_codes import EXIT_NOTHING_DONE, EXIT_SIGNAL, describe_shortage
from kseg_batch.cli.help import Command, CommandGroup
from kseg_batch.console import divert_kernel_warnings, open_streams, output_error, print_message

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
    """Run the command line, and exit."""
    open_streams()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # nothing large is multiplied, and each takes memory
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")  # failures are reported with the file's name instead
    divert_kernel_warnings(print_message)
    signal.signal(signal.SIGTERM, _exit_on_signal)
    code: object = None
    try:
        app()
    except SystemExit as end:
        code = end.code
    except Exception as error:
        message = describe_shortage(error)
        if message is None:
            raise
        print_message(message)
        code = EXIT_NOTHING_DONE
    sys.stdout.flush()
    failure = output_error()
    if (
        failure is not None and failure.errno != errno.EPIPE
    ):  # a reader that has left, as head does, is content
        print_message(f"standard output cannot be written: {failure.strerror}")
        code = code or EXIT_NOTHING_DONE
    raise SystemExit(code)


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
