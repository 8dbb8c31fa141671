"""Atomic writing of local files: a file appears complete, or not at all."""

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
"""Suffix of the names of incomplete files."""


def temporary_of(path: Path) -> Path:
    """Return the hidden path in the same folder to which a file is written before it gets its name."""
    return path.with_name(f".{path.name}{SUFFIX}")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces `path` on leaving, when the content is complete and on the disk.

    Yields:
        The temporary file, open for writing bytes.

    Raises:
        OutputError: The file cannot be written. A file that was at `path` before is unchanged.
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
