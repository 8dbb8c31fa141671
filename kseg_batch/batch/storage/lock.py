"""Locks, so that only one process at a time writes a file or an output folder."""

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
    owner = f"Another process is about to write {path}"
    lock = acquire_lock(path.with_name(f".{path.name}.kseg-lock"), path, owner)
    try:
        yield
    finally:
        lock.release()


def acquire_lock(lock_file: Path, path: Path, owner: str) -> FileLock:
    """Return a lock that this process holds, without waiting for it. Make the lock's folder if there is none.

    Args:
        lock_file: The file of the lock.
        path: The file or folder that the lock protects.
        owner: The beginning of the error where another process holds the lock: who that is.

    Raises:
        OutputError: Another process holds the lock, or the folder cannot be written.
    """
    lock = FileLock(lock_file)
    try:
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        raise OutputError(f"{owner}: wait for its end, or choose another -o.") from None
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
    return lock
