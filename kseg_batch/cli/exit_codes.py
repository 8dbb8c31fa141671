"""Exit codes, and the message of a command that fails."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING, NoReturn

import typer

from kseg_batch.console import print_message
from kseg_batch.errors import (
    BackendError,
    BackendUnavailableError,
    ImageError,
    KsegError,
    OptionError,
    SourceError,
    describe,
    is_memory_shortage,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from pathlib import Path


EXIT_NOTHING_DONE = 1
EXIT_USAGE = 2
EXIT_SOME_FAILED = 3
EXIT_INTERRUPTED = 130
EXIT_SIGNAL = 128
"""Base of the exit codes for signals: the number of the signal is added, as shells do."""


PACKAGES = {"PIL": "pillow", "cv2": "opencv-python"}
"""The packages of modules with other names."""

SHORTAGES = {
    errno.ENOMEM: "the memory is used up, or limited (ulimit -v)",
    errno.EAGAIN: "memory, processes or threads are used up, or limited (ulimit -v, ulimit -u)",
    errno.EMFILE: "the number of open files is limited (ulimit -n)",
    errno.ENFILE: "too many files are open on this system",
}
"""Error numbers for which no file is to blame, with what is short."""


def fail(message: str, code: int, details: Iterable[str] = ()) -> NoReturn:
    """Print a message on standard error, and a line for each detail, and exit."""
    print_message(message, details)
    raise typer.Exit(code)


def describe_shortage(error: Exception) -> str | None:
    """Return the sentence for what the machine lacks, such as memory or a package; None for other errors."""
    if isinstance(error, OSError) and error.errno in SHORTAGES:
        return f"The system refuses what the command needs: {SHORTAGES[error.errno]}"
    if is_memory_shortage(error):
        return "There is not enough memory for the command" + (f": {error}" if str(error) else "")
    if isinstance(error, RuntimeError) and "new thread" in str(error):
        return f"The system refuses another thread: {SHORTAGES[errno.EAGAIN]}"
    if isinstance(error, ImportError):
        name = (error.name or "").partition(".")[0]
        package = PACKAGES.get(name, name.replace("_", "-"))
        if name in ("", "kseg_batch"):
            return f"A package cannot be imported ({error}); to repair the installation, reinstall kseg-batch"
        return f"{name} cannot be imported ({error}); to repair it: pip install --force-reinstall {package}"
    return None


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
    except (BackendError, ImageError) as error:
        fail(describe(error) if image is None else f"{image}: {describe(error)}", EXIT_NOTHING_DONE)
    except SourceError as error:
        fail(str(error), EXIT_NOTHING_DONE, error.details)
    except KsegError as error:
        fail(str(error), EXIT_NOTHING_DONE)
    except MemoryError as error:
        if image is None:
            raise
        fail(f"{image}: {describe(error)}", EXIT_NOTHING_DONE)
    except OSError as error:
        if error.filename is None or error.errno in SHORTAGES:  # not about a file of the user
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
