"""A lock, so that only one process at a time writes a file."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from kseg_batch.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock of a file while the body of the `with` runs. Make the file's folder if there is none.

    The lock file stays beside the file: if it were removed, two processes could hold the lock.

    Args:
        path: The file to be written.

    Raises:
        OutputError: Another process holds the lock, or the folder cannot be written.
    """
    lock = FileLock(path.with_name(f".{path.name}.kseg-lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        raise OutputError(
            f"Another process is about to write {path}: wait for its end, or choose another -o."
        ) from None
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
    try:
        yield
    finally:
        lock.release()
