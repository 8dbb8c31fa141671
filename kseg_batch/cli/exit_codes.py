"""Exit codes, and the sentence with which a command that fails ends."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, NoReturn

import typer

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
"""Added to a signal's number, as shells do."""


def fail(message: str, code: int) -> NoReturn:
    """Say why on stderr, and end."""
    print(f"kseg-batch: {message}", file=sys.stderr)
    raise typer.Exit(code)


@contextlib.contextmanager
def exit_with_message(interrupted: str = "interrupted", image: Path | None = None) -> Generator[None]:
    """End a command that fails in here with one sentence on stderr and its exit code.

    Args:
        interrupted: The sentence for Ctrl-C.
        image: What it works on, if it is one file.
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
        if error.filename is None:  # it is of no file that somebody named
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
        stopped: Whether the command ended before its time.
    """
    if signal is not None:
        return EXIT_SIGNAL + signal
    if stopped or (failed and not done):
        return EXIT_NOTHING_DONE
    return EXIT_SOME_FAILED if failed else 0
