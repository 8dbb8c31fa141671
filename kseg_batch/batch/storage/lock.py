"""One process at a time at a file."""

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
    """Let nobody else write a file meanwhile. Its folder is made if need be.

    The lock's own file stays beside it: removing it would let two in.

    Raises:
        OutputError: Somebody else writes it, or nobody can.
    """
    lock = FileLock(path.with_name(f".{path.name}.kseg-lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
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
