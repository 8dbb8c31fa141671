"""Progress on stderr: a bar on a terminal, an occasional plain line anywhere else."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

SECONDS_BETWEEN_LINES = 30.0


class Progress:
    """Counts images; use it as a context manager."""

    def __init__(self, total: int) -> None:
        from tqdm import tqdm

        self._total = total
        self._done = 0
        self._failed = 0
        self._start = self._last_line = time.monotonic()
        self._plain = not sys.stderr.isatty()
        self._bar = tqdm(total=total, unit="image", dynamic_ncols=True, disable=self._plain, leave=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def message(self, text: str) -> None:
        """Print a line without disturbing the bar."""
        self._bar.clear()
        print(text, file=sys.stderr, flush=True)

    def advance(self, *, failed: bool) -> None:
        """Count one image."""
        self._done += 1
        self._failed += failed
        if self._failed:
            self._bar.set_postfix_str(f"{self._failed} failed", refresh=failed)
        self._bar.update()
        now = time.monotonic()
        if self._plain and now - self._last_line >= SECONDS_BETWEEN_LINES and self._done < self._total:
            self._last_line = now
            rate = self._done / (now - self._start)
            self.message(f"{self._done} of {self._total} images, {rate:.1f} images/s, {self._failed} failed")
