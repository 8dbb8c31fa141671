"""What is printed on standard error below the command line: status lines, and the one progress bar."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

SECONDS_BETWEEN_LINES = 30.0
"""Seconds between two lines of progress where standard error is no terminal."""


def print_status(text: str) -> None:
    """Print a line on standard error."""
    print(text, file=sys.stderr, flush=True)


def format_duration(seconds: float) -> str:
    """Return hours, minutes and seconds, such as 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


class ProgressBar:
    """A bar on a terminal; anywhere else, a line is due now and then. Use it as a context manager."""

    def __init__(self, total: int | None, unit: str, *, quiet: bool) -> None:
        """Begin with nothing done.

        Args:
            total: How many things are expected; None if nobody knows.
            unit: What one of them is called, such as image.
            quiet: Whether to show neither a bar nor lines.
        """
        from tqdm import tqdm

        self._done = 0
        self._total = total
        self._unit = unit
        self._prints_lines = not quiet and not sys.stderr.isatty()
        self._start = self._last_line = time.monotonic()
        self._bar = tqdm(
            total=total, unit=unit, dynamic_ncols=True, disable=quiet or self._prints_lines, leave=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def clear(self) -> None:
        """Make room for a line of output. The bar comes back with its next step."""
        self._bar.clear()

    def expect_fewer(self, number: int) -> None:
        """Take things off the total that turned out to be done already."""
        if self._total is not None:
            self._total -= number
            if not self._bar.disable:
                self._bar.total = self._total

    def set_note(self, text: str, *, refresh: bool) -> None:
        """Show a text behind the bar: at once with `refresh`, else with its next step."""
        self._bar.set_postfix_str(text, refresh=refresh)

    def advance(self) -> str | None:
        """Count one more. Return a line that says how far it is if one is due, else None."""
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
        """Seconds until all is done, at the rate so far; 0 where the total is not known."""
        return (time.monotonic() - self._start) / self._done * ((self._total or self._done) - self._done)
