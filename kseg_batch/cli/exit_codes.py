"""Exit codes, and the message of a command that fails."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NoReturn

import typer

from kseg_batch.console import print_message
from kseg_batch.errors import (
    BackendError,
    BackendUnavailableError,
    ImageError,
    KsegError,
    OptionError,
    describe,
)

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


EXIT_NOTHING_DONE = 1
EXIT_USAGE = 2
EXIT_SOME_FAILED = 3
EXIT_INTERRUPTED = 130
EXIT_SIGNAL = 128
"""Base of the exit codes for signals: the number of the signal is added, as shells do."""


def fail(message: str, code: int) -> NoReturn:
    """Print a message on standard error, and exit."""
    print_message(message)
    raise typer.Exit(code)


@contextlib.contextmanager
def exit_with_message(interrupted: str = "interrupted", image: Path | None = None) -> Generator[None]:
    """Turn an exception of the body into one sentence on standard error and an exit code.

    Args:
        interrupted: The sentence for Ctrl-C.
        image: The image file of the command, if it works on one only. Errors begin with its path.
    """
    try:
        yield
    except OptionError as error:
        fail(error.with_flags, EXIT_USAGE)
    except BackendUnavailableError as error:
        fail(str(error), EXIT_USAGE)
    except (BackendError, ImageError, MemoryError) as error:
        fail(describe(error) if image is None else f"{image}: {describe(error)}", EXIT_NOTHING_DONE)
    except KsegError as error:
        fail(str(error), EXIT_NOTHING_DONE)
    except OSError as error:
        if error.filename is None:  # not about a file of the user, so an error in the program
            raise
        fail(f"{error.filename} cannot be used: {error.strerror}.", EXIT_NOTHING_DONE)
    except KeyboardInterrupt:
        fail(interrupted, EXIT_INTERRUPTED)


def exit_code(*, signal: int | None, failed: bool, done: bool, stopped: bool = False) -> int:
    """Return the exit code of a command over many images.

    Args:
        signal: The signal that interrupted the command, if one did.
        failed: Whether an image failed, or a folder could not be read.
        done: Whether an image is done, now or before.
        stopped: Whether the command stopped early.
    """
    if signal is not None:
        return EXIT_SIGNAL + signal
    if stopped or (failed and not done):
        return EXIT_NOTHING_DONE
    return EXIT_SOME_FAILED if failed else 0
