"""What a benchmark has found out: a row for each contender, size and number of clusters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from kseg_batch.bench.implementations import REFERENCE

if TYPE_CHECKING:
    from kseg_batch.bench.implementations import Contender

Status = Literal["measured", "WRONG", "FAILED", "stopped", "skipped"]


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of a contender. Times are those of a pass over the photos by the number of photos."""

    median_ms: float
    least_ms: float
    most_ms: float
    passes: int
    """How many were timed."""
    compactness: float
    """Exact one of its centres, of all photos together."""
    peak_mb: float
    """By how much its process grew at most in the first pass, in MB of 10**6 bytes."""
    cores: float
    """How many cores of the CPU were busy, on average."""

    @property
    def images_per_s(self) -> float:
        """Photos a second, by the median."""
        return 1e3 / self.median_ms


@dataclass(frozen=True, slots=True)
class Row:
    """A contender at a size and a k."""

    contender: str
    peer: bool
    """Whether it is other people's."""
    threads: int | None
    """What it may use; None on a GPU."""
    size: str
    """As it was asked for; else that of the photos."""
    megapixels: float
    """Of a photo; the mean where they differ."""
    k: int
    status: Status
    """WRONG and FAILED are errors; a contender that was too slow was stopped, or skipped from then on."""
    figures: Figures | None = None
    reason: str | None = None
    """Why there are no figures."""

    @property
    def cell(self) -> tuple[str, int]:
        """What it may be compared within."""
        return self.size, self.k

    @property
    def where(self) -> str:
        """In words."""
        return f"{self.contender}, {self.size}, k = {self.k}"


@dataclass(frozen=True, slots=True)
class PhotoFacts:
    """A photo that was measured on."""

    name: str
    """Of its file, or how it was generated."""
    size: str
    """Such as 1920x1080."""
    colors: int
    """Distinct ones."""


@dataclass(slots=True)
class Contest:
    """Everything so far."""

    rows: list[Row] = field(default_factory=list)
    photos: list[PhotoFacts] = field(default_factory=list)
    contenders: list[Contender] = field(default_factory=list)
    """Those that take part."""
    absent: dict[str, str] = field(default_factory=dict)
    """Backends that cannot run here, and why."""
    not_installed: dict[str, str] = field(default_factory=dict)
    """Peers that are not installed, and the command that brings each."""
    unreadable: list[str] = field(default_factory=list)
    """Image files that were passed over, and why."""
    interrupted: bool = False

    @property
    def ok(self) -> bool:
        """Whether no contender failed or was wrong."""
        return not any(row.status in ("WRONG", "FAILED") for row in self.rows)

    def by_best(self, row: Row) -> float | None:
        """A row's compactness by the lowest at its size and k; None if there is none."""
        costs = [r.figures.compactness for r in self.rows if r.figures and r.cell == row.cell]
        if row.figures is None or min(costs) == 0:
            return None
        return row.figures.compactness / min(costs)

    def times_faster(self, row: Row) -> float | None:
        """The time of the tutorial's call by a row's; None if one of them was not measured."""
        for other in self.rows:
            if other.contender == REFERENCE and other.cell == row.cell and other.figures and row.figures:
                return other.figures.median_ms / row.figures.median_ms
        return None
