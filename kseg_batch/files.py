"""Files that are there whole or not at all, and one process at a time at them."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from kseg_batch.errors import OutputError
from kseg_batch.outputs import SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO


def temporary_of(path: Path) -> Path:
    """Where a file is written before it takes its name: beside it, hidden."""
    return path.with_name(f".{path.name}{SUFFIX}")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file, which takes its name when it is whole and on the disk.

    Raises:
        OutputError: It cannot be written. What was there before is still there.
    """
    temporary = temporary_of(path)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
        raise


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let nobody else write a file meanwhile. The lock stays beside it, as removing it would let two in.

    Raises:
        OutputError: Somebody else writes it, or nobody can.
    """
    lock = FileLock(path.with_name(f".{path.name}.kseg-lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise OutputError(
            f"Another process is about to write {path}: let it end, or choose another -o."
        ) from None
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
    try:
        yield
    finally:
        lock.release()
