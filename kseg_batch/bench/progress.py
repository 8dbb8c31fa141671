"""The progress of a benchmark on stderr: the current activity on a terminal, and a line for each result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from kseg_batch.bench.tables import format_number

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from kseg_batch.bench.results import ResultRow


class BenchProgress:
    """A `BenchListener` that prints on stderr. Use it as a context manager."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
        self._status = self._console.status("", refresh_per_second=1)  # rarely, as redrawing takes CPU time

    def started(self, activity: str) -> None:
        """See `BenchListener.started`."""
        self._status.update(activity)

    def finished(self, row: ResultRow) -> None:
        """See `BenchListener.finished`."""
        outcome = f"{format_number(row.metrics.median_ms)} ms" if row.metrics else row.status
        self._console.print(f"{row.description}: {outcome}")

    def __enter__(self) -> Self:
        self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.stop()
