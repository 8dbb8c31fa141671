"""The results of a benchmark: a row for each implementation, size and number of clusters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from kseg_batch.bench.implementations import BASELINE

if TYPE_CHECKING:
    from kseg_batch.bench.implementations import Implementation

RowStatus = Literal["measured", "WRONG", "FAILED", "stopped", "skipped"]
"""WRONG and FAILED are errors; a slow implementation was stopped, or skipped at larger sizes and k."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """The measurements of an implementation at one size and k.

    A time is the duration of a pass over the photos, divided by the number of photos.
    """

    median_ms: float
    """Median of the timed passes, in milliseconds a photo."""
    min_ms: float
    """Fastest timed pass, in milliseconds a photo."""
    max_ms: float
    """Slowest timed pass, in milliseconds a photo."""
    passes: int
    """Number of timed passes."""
    compactness: float
    """Exact compactness of the centres, summed over all photos, in squared grey levels."""
    peak_mb: float
    """Peak growth of the process's resident memory in the first pass, in MB of 10**6 bytes."""
    cores: float
    """Mean number of busy CPU cores."""

    @property
    def images_per_s(self) -> float:
        """Photos a second, by the median."""
        return 1e3 / self.median_ms


@dataclass(frozen=True, slots=True)
class ResultRow:
    """The outcome of one implementation at one size and k."""

    implementation: str
    """Name of the implementation."""
    is_library: bool
    """Whether the implementation is another project's library."""
    threads: int | None
    """Number of threads that the implementation may use; None on a GPU."""
    size: str
    """Label of the size asked for, such as 2 MP; without `--sizes`, the size of the photos."""
    megapixels: float
    """Mean megapixels of a photo."""
    k: int
    """Number of clusters."""
    status: RowStatus
    metrics: Metrics | None = None
    """The measurements; None unless the status is measured."""
    reason: str | None = None
    """Why there are no metrics."""

    @property
    def case(self) -> tuple[str, int]:
        """The size and k: rows of the same case can be compared."""
        return self.size, self.k

    @property
    def description(self) -> str:
        """The implementation, size and k, such as `numba, 2 MP, k = 3`."""
        return f"{self.implementation}, {self.size}, k = {self.k}"


@dataclass(frozen=True, slots=True)
class PhotoInfo:
    """The description of a photo that was clustered."""

    name: str
    """Name of the photo's file, or the seed of a generated photo."""
    size: str
    """Width and height, such as 1920x1080."""
    colors: int
    """Number of distinct colours."""


@dataclass(slots=True)
class BenchResults:
    """The results of a benchmark, which grow while the benchmark runs."""

    rows: list[ResultRow] = field(default_factory=list)
    photos: list[PhotoInfo] = field(default_factory=list)
    """The photos, once for each size."""
    implementations: list[Implementation] = field(default_factory=list)
    """The implementations that are measured."""
    unavailable: dict[str, str] = field(default_factory=dict)
    """Names of the backends that cannot run here, each with the reason."""
    not_installed: dict[str, str] = field(default_factory=dict)
    """Names of the libraries that are not installed, each with the command that installs it."""
    unreadable: list[str] = field(default_factory=list)
    """Image files that were passed over, each with the reason, as sentences."""
    interrupted: bool = False
    """Whether a keyboard interrupt ended the benchmark early."""

    @property
    def ok(self) -> bool:
        """Whether no implementation failed or gave a wrong result."""
        return not any(row.status in ("WRONG", "FAILED") for row in self.rows)

    def relative_compactness(self, row: ResultRow) -> float | None:
        """Return a row's compactness divided by the lowest of its case.

        None where the row has no metrics, or the lowest compactness is 0.
        """
        costs = [r.metrics.compactness for r in self.rows if r.metrics and r.case == row.case]
        if row.metrics is None or min(costs) == 0:
            return None
        return row.metrics.compactness / min(costs)

    def speedup(self, row: ResultRow) -> float | None:
        """Return the baseline's median time divided by a row's; None if either was not measured."""
        for other in self.rows:
            if other.implementation == BASELINE and other.case == row.case and other.metrics and row.metrics:
                return other.metrics.median_ms / row.metrics.median_ms
        return None
