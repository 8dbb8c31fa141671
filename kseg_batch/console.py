"""Output: lines on standard output and standard error, and the progress bar.

A line is one line whatever is in it: a file name with a line break, or with the escape sequences of a
terminal, is shown escaped.

The standard streams may be closed, their disk may be full, and their reader may have left. The results of
most commands are files, so that no command fails in the middle of its work because a line of its report
cannot be written. Standard output ends at the first error, so that no line is missing between two others.
"""

from __future__ import annotations

import io
import os
import select
import sys
import time
import unicodedata
import warnings
from typing import TYPE_CHECKING, Any

from kseg_batch.errors import KernelCacheWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self, TextIO

INPUT, OUTPUT, ERRORS = range(3)
"""File descriptors of the standard streams."""

SECONDS_BETWEEN_LINES = 30.0
"""Seconds between two progress lines where standard error is not a terminal."""


JOINERS = "\u200c\u200d"
"""Invisible characters that belong to ordinary text, in emoji, in Persian and in the scripts of India."""


def printable(text: str) -> str:
    r"""Return a text with all but its printable characters escaped, such as \n, \x1b and \u202e.

    Not printable are control characters, line breaks, characters that change the direction of the text, and
    bytes of a file name that are no text. Spaces of all kinds stay.
    """
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(character: str) -> str:
    is_text = character.isprintable() or character in JOINERS or unicodedata.category(character) == "Zs"
    return character if is_text else character.encode("unicode_escape").decode()


def print_line(text: str) -> None:
    """Print a line on standard output."""
    print(printable(text), flush=True)


def print_status(text: str) -> None:
    """Print a line on standard error."""
    print(printable(text), file=sys.stderr, flush=True)


def print_message(text: str, details: Iterable[str] = ()) -> None:
    """Print a message on standard error, after the name of the program, and a line for each detail."""
    for line in (f"kseg-batch: {text}", *details):
        print_status(line)


def compiling_message(waiting: str) -> str:
    """Return the message before the kernels are compiled.

    Args:
        waiting: What waits until the kernels are compiled, such as "the first image".
    """
    return f"compiling the kernels, which takes 10 to 20 seconds; {waiting} waits until they are compiled"


def divert_kernel_warnings(tell: Callable[[str], object]) -> None:
    """Give the text of each warning on compiled kernels to a function, once, in place of Python's output.

    Args:
        tell: The function, which gets one sentence.
    """
    told: set[str] = set()
    show_other = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **where: Any) -> None:
        if not issubclass(category, KernelCacheWarning):
            show_other(message, category, *place, **where)
        elif str(message) not in told:
            told.add(str(message))
            tell(str(message))

    warnings.simplefilter("always", KernelCacheWarning)
    warnings.showwarning = show


def format_duration(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds, such as 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


class ProgressBar:
    """A progress bar on a terminal, and occasional progress lines anywhere else. A context manager."""

    def __init__(self, total: int | None, unit: str, *, quiet: bool) -> None:
        """Start the progress bar at zero items.

        Args:
            total: Number of items expected; None where the number is unknown.
            unit: Singular noun for an item, such as image.
            quiet: Whether to suppress both the bar and the lines.
        """
        from tqdm import TqdmMonitorWarning, tqdm

        self._done = 0
        self._total = total
        self._unit = unit
        self._prints_lines = not quiet and not sys.stderr.isatty()
        self._start = self._last_line = time.monotonic()
        with warnings.catch_warnings(action="ignore", category=TqdmMonitorWarning):  # it lacks a thread
            self._bar = tqdm(
                total=total, unit=unit, dynamic_ncols=True, disable=quiet or self._prints_lines, leave=False
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def clear(self) -> None:
        """Erase the bar to make room for a line of output. The next step redraws the bar."""
        self._bar.clear()

    def expect_fewer(self, number: int) -> None:
        """Subtract items from the total that turned out to be done already."""
        if self._total is not None:
            self._total -= number
            if not self._bar.disable:
                self._bar.total = self._total

    def set_note(self, text: str, *, refresh: bool) -> None:
        """Show a text after the bar: at once with `refresh`, otherwise with the next step."""
        self._bar.set_postfix_str(text, refresh=refresh)

    def advance(self) -> str | None:
        """Count one more item. Return a progress line to print if one is due, else None."""
        self._done += 1
        self._bar.update()
        now = time.monotonic()
        due = self._prints_lines and now - self._last_line >= SECONDS_BETWEEN_LINES
        if not due or self._done == self._total:
            return None
        self._last_line = now
        of = "" if self._total is None else f" of {self._total}"
        rate = self._done / (now - self._start)
        return f"{self._done}{of} {self._unit}s, {rate:.1f} {self._unit}s/s"

    @property
    def seconds_left(self) -> float:
        """Estimated seconds until all items are done, at the rate so far; 0 where the total is unknown."""
        return (time.monotonic() - self._start) / self._done * ((self._total or self._done) - self._done)


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
