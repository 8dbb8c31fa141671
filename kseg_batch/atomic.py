"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from kseg_batch.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO


SUFFIX = ".kseg-tmp"
"""Of the names of files that are not complete."""


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
