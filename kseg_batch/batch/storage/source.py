"""Source files: reading them, and telling the versions of a file apart."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from kseg_batch.errors import ImageError

if TYPE_CHECKING:
    from pathlib import Path

BYTES_PER_PIXEL = 8
"""Bytes per pixel of the largest file that is read: 16 bits for each of four channels."""

DIGEST_BYTES = 16
"""Length of `SourceVersion.digest` in bytes."""


@dataclass(frozen=True, slots=True)
class SourceVersion:
    """The state of a source file when the file was read."""

    size: int
    """Size of the file in bytes."""
    modified: int
    """Time of the last modification, in nanoseconds since 1970."""
    checksum: str | None = None
    """SHA-256 of the content in hexadecimal; None unless checksums were asked for."""

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """Return the version with the size and time of a stat call, without a checksum."""
        return cls(status.st_size, status.st_mtime_ns)

    def digest(self, path: str) -> bytes:
        """Return 16 bytes that stand for the file at an absolute path with this size and time."""
        text = f"{path}\0{self.size}\0{self.modified}"
        return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=DIGEST_BYTES).digest()


def absolute(path: str | Path) -> str:
    """Return the absolute path of a file. Links stay as they are."""
    return os.path.abspath(path)  # noqa: PTH100 - Path.resolve() would follow links


def read_source(path: Path, *, max_pixels: int, checksum: bool) -> tuple[bytes, SourceVersion]:
    """Read a regular file.

    Args:
        path: The file.
        max_pixels: Most pixels of an image. Files too large for such an image are refused unread.
        checksum: Whether the version gets a checksum.

    Returns:
        The content, and the version of the file that has this content.

    Raises:
        ImageError: The file is no regular file, cannot be read, is too large, or changed during the read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device, which might never end
            raise ImageError("it is not a regular file")
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            if before.st_size > BYTES_PER_PIXEL * max_pixels + (1 << 20):
                raise ImageError(
                    f"its {before.st_size / 1e6:.0f} MB are more than an image of "
                    f"--max-pixels {max_pixels} can have"
                )
            data = file.read()
            after = os.fstat(file.fileno())
    except OSError as error:
        raise ImageError(f"it cannot be read: {error.strerror}") from error
    version = SourceVersion.of(before)
    if version != SourceVersion.of(after):
        raise ImageError("it was written to while it was read")
    if checksum:
        version = SourceVersion(version.size, version.modified, hashlib.sha256(data).hexdigest())
    return data, version


def first_bytes(path: str, number: int) -> bytes:
    """Return the first bytes of a regular file; none of another file, or of one that cannot be read."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - called for every file of some kinds
            return b""
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            return file.read(number) or b""
    except OSError:
        return b""


def find_version(path: Path) -> SourceVersion | None:
    """Return the present version of a file, without a checksum; None if the file cannot be examined."""
    try:
        return SourceVersion.of(path.stat())
    except OSError:
        return None


def describe_change(path: Path, known: SourceVersion, *, checksum: bool) -> str | None:
    """Return how a file differs from the known version; None if it does not.

    Args:
        path: The file.
        known: The version of the file when it was read.
        checksum: Whether the content decides, in place of size and time.
    """
    found = find_version(path)
    if found is None:
        return "its file cannot be examined"  # the worker's error will have the reason
    if not checksum:
        return None if (found.size, found.modified) == (known.size, known.modified) else "its file changed"
    if known.checksum is None:
        return "its checksum is not known yet"
    return None if found.size == known.size and _checksum(path) == known.checksum else "its content changed"


def _checksum(path: Path) -> str | None:
    """Return the SHA-256 of a file's content; None if the file cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
