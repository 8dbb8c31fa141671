"""How far a benchmark is, on stderr: on a terminal what is being measured, and a line for what has been."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from kseg_batch.bench.report import shown

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from kseg_batch.bench.results import Row


class Progress:
    """A `Listener`."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
        self._status = self._console.status("", refresh_per_second=1)  # it must not take a core's time

    def doing(self, text: str) -> None:
        """See `Listener.doing`."""
        self._status.update(text)

    def done(self, row: Row) -> None:
        """See `Listener.done`."""
        outcome = f"{shown(row.figures.median_ms)} ms" if row.figures else row.status
        self._console.print(f"{row.where}: {outcome}")

    def __enter__(self) -> Self:
        self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.stop()
