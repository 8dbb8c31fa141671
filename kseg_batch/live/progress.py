"""How far it is, on stderr: a bar on a terminal, and a line now and then anywhere else."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from kseg_batch.console import SECONDS_BETWEEN_LINES, print_status

if TYPE_CHECKING:
    from typing import Self


class Progress:
    """Tells of frames; use it as a context manager."""

    def __init__(self, total: int | None, *, quiet: bool) -> None:
        """Begin; `total` frames are expected, None for nobody knows how many."""
        from tqdm import tqdm

        self._done = 0
        self._total = total
        self._quiet = quiet
        self._plain = not quiet and not sys.stderr.isatty()
        self._start = self._last_line = time.monotonic()
        self._bar = tqdm(
            total=total, unit="frame", dynamic_ncols=True, disable=quiet or self._plain, leave=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def message(self, text: str) -> None:
        """Print a line without disturbing the bar."""
        if not self._quiet:
            self._bar.clear()
            print_status(text)

    def frame(self) -> None:
        """One more is done."""
        self._done += 1
        self._bar.update()
        now = time.monotonic()
        if self._plain and now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            of = "" if self._total is None else f" of {self._total}"
            self.message(f"{self._done}{of} frames, {self._done / (now - self._start):.1f} frames/s")
