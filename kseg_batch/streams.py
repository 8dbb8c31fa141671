"""The standard streams where they are closed, where their disk is full, and where their reader has left.

The results of most commands are files, so that no command fails in the middle of its work because a line of
its report cannot be written. Standard output ends at the first error, so that no line is missing between two
others. `output_error` tells of the error when the command ends.
"""

from __future__ import annotations

import io
import os
import select
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, TextIO

INPUT, OUTPUT, ERRORS = range(3)
"""File descriptors of the standard streams."""


class ReportStream(io.FileIO):
    """Standard output or standard error, unbuffered. An error in writing is kept and not raised.

    Attributes:
        error: The first error; None so far.
    """

    def __init__(self, descriptor: int, *, ends_at_error: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.error: OSError | None = None
        self._ends_at_error = ends_at_error

    def write(self, data: Any, /) -> int:
        """Write data, and return the number of bytes that need not be written again."""
        if self.error is None or not self._ends_at_error:
            try:
                while (written := super().write(data)) is None:  # the stream is full, and does not block
                    select.select([], [self], [])
                return written
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes


def open_streams() -> None:
    """Open the null device in place of closed standard streams, and let no error in writing be raised.

    Without the null device, a file that is opened next would get the descriptor of standard error, and C
    libraries would write their complaints into the file. Child processes inherit the device.
    """
    for descriptor in (INPUT, OUTPUT, ERRORS):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free descriptor
    sys.stdout = _report(sys.stdout, OUTPUT)
    sys.stderr = _report(sys.stderr, ERRORS)


def _report(stream: TextIO | None, descriptor: int) -> TextIO:
    """Return a text stream to a descriptor with the properties of Python's own one, which may be missing."""
    if stream is not None and not isinstance(stream, io.TextIOWrapper):
        return stream  # of a program that captures what this process prints
    raw = ReportStream(descriptor, ends_at_error=descriptor == OUTPUT)
    unbuffered = stream is not None and stream.write_through
    return io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),
        encoding=None if stream is None else stream.encoding,
        errors="backslashreplace",  # any file name can be printed anywhere
        line_buffering=descriptor != OUTPUT or raw.isatty(),
        write_through=unbuffered,
    )


def silence_c_libraries() -> None:
    """Let nothing but Python write to standard error from now on."""
    sys.stderr = _report(None, os.dup(ERRORS))
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device, not a file
        os.dup2(nowhere.fileno(), ERRORS)


def output_error() -> OSError | None:
    """Return the first error in writing to standard output; None if there was none so far."""
    buffer = getattr(sys.stdout, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    return raw.error if isinstance(raw, ReportStream) else None
