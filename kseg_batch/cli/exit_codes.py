"""What commands have in common: exit codes, the last words of one that fails, the choice of a backend."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, NoReturn, TypeVar

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
    from collections.abc import Callable, Generator
    from pathlib import Path

    from kseg_batch.backends.base import BackendInfo
    from kseg_batch.backends.registry import Choice
    from kseg_batch.kmeans.options import FitOptions

B = TypeVar("B", bound="BackendInfo")

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
    except (OptionError, BackendUnavailableError) as error:
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


def choose_backend(
    choose: Callable[..., Choice[B]], name: str, gpu: bool | None, require_gpu: bool, options: FitOptions
) -> Choice[B]:
    """Take a backend, and say on stderr where it is not the one that was hoped for.

    Args:
        choose: `backends.choose`, or `backends.find` to open no GPU.
        name: Of the backend, or auto.
        gpu: Whether a GPU is preferred; None for either.
        require_gpu: Whether nothing else will do.
        options: What the backend will be asked to do.
    """
    from kseg_batch.backends.registry import GPU_BACKENDS

    if require_gpu or (gpu and name != "auto"):
        return choose(name, only="gpu", options=options)
    choice = choose(name, only="cpu" if gpu is False else None, options=options)
    missed = [p for p in choice.passed_over if gpu or p.installed]
    if missed:
        reasons = "; ".join(f"{p.name}: {p.reason}" for p in missed)
        place, used = "GPU" if choice.backend.name in GPU_BACKENDS else "CPU", choice.backend.name
        print(f"kseg-batch: running on the {place} with {used} ({reasons})", file=sys.stderr)
    return choice
