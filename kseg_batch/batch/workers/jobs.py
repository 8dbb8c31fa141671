"""What a worker is told of an image, and what it answers."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from kseg_batch.batch.storage.outputs import Output, Save
from kseg_batch.batch.storage.source import SourceVersion
from kseg_batch.errors import BackendError, ImageError, OptionError, OutputError, OutputGoneError, describe
from kseg_batch.images import decode
from kseg_batch.kmeans.options import RegionOptions
from kseg_batch.segmentation.cluster_selection import ALL_CLUSTERS, ClusterSelection

if TYPE_CHECKING:
    from pathlib import Path

    from kseg_batch.batch.storage.scan import Job
    from kseg_batch.kmeans.options import FitOptions, KRange
    from kseg_batch.kmeans.palette import Palette
    from kseg_batch.segmentation.select_k import KCandidate

MAX_WORKERS = 1024

FAILURES = (BackendError, ImageError, OutputError, MemoryError)
"""What may end the work on an image, and on that one alone."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a run may take."""

    workers: int | None
    """Processes on the CPU; None for one a core."""
    timeout: float | None
    """Seconds for an image; None for any."""
    max_pixels: int
    """Of an image."""

    def __post_init__(self) -> None:
        """Raise an OptionError for a value that is out of range."""
        if self.workers is not None and not 1 <= self.workers <= MAX_WORKERS:
            raise OptionError(f"workers must be from 1 to {MAX_WORKERS}, not {self.workers}.", "workers")
        if self.timeout is not None and not (math.isfinite(self.timeout) and self.timeout > 0):
            raise OptionError(f"timeout must be a number of seconds above 0, not {self.timeout}.", "timeout")


@dataclass(frozen=True, slots=True)
class Settings:
    """What to do with every image."""

    out: Path
    """The output folder."""
    fit: FitOptions
    """How to cluster; where there is a palette, with its number of clusters and its colour space."""
    save: frozenset[Save]
    """The kinds of output to write."""
    selection: ClusterSelection = ALL_CLUSTERS
    """Which clusters are shown in the `masked` and `kept` outputs."""
    palette: Palette | None = None
    """Whose clusters all images are divided among; None to find each one's own."""
    alpha: decode.Alpha = "keep"
    """What becomes of transparent pixels."""
    max_pixels: int = decode.MAX_PIXELS
    """Most pixels of an image; larger ones fail before they are decoded."""
    regions: RegionOptions = field(default_factory=RegionOptions)
    """How to clean the labels."""
    checksum: bool = False
    """Whether the journal gets a checksum of the source."""
    k_range: KRange | None = None
    """Where k is chosen from, for each image; `fit.k` is then its end. None where k is `fit.k`."""

    @property
    def cluster_numbers(self) -> tuple[int, ...]:
        """The fewest and the most clusters that a backend is asked for; one number where k is given."""
        return (self.fit.k,) if self.k_range is None else (self.k_range.low, self.k_range.high)


@dataclass(frozen=True, slots=True)
class Lost:
    """An image that is not done and did not fail: its worker died or hung, or the GPU could not do it."""

    job: Job
    reason: str
    """What happened."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one image."""

    job: Job
    seconds: float
    """Time from opening it to the last output, in seconds."""
    error: str | None = None
    """Why it failed; None if it is done."""
    output_gone: bool = False
    """Whether it failed because nothing can be written any more."""
    palette: Palette | None = None
    """The clusters; None if it failed, or only its colours were counted."""
    k_curve: tuple[KCandidate, ...] | None = None
    """What k was chosen from; None if it was given, or the image failed."""
    size: tuple[int, int] = (0, 0)
    """Width and height, in pixels."""
    version: SourceVersion | None = None
    """What the source held; None if it failed."""
    disabled: tuple[int, ...] = ()
    """The clusters that are not shown in the `masked` and `kept` outputs."""
    outputs: tuple[Output, ...] = ()
    """The files written, all complete."""
    notes: tuple[str, ...] = ()
    """What a user might not expect of the result."""
    fallback: str | None = None
    """Why it was not done on the GPU that was to do it; None where there was none, or it was."""

    @property
    def status(self) -> Literal["done", "failed"]:
        """Whether all its outputs are written."""
        return "done" if self.error is None else "failed"


def failure(job: Job, error: Exception, start: float) -> Outcome:
    """The outcome of a job that ended with one of `FAILURES`."""
    gone = isinstance(error, OutputGoneError)
    return Outcome(job, time.perf_counter() - start, error=describe(error), output_gone=gone)
