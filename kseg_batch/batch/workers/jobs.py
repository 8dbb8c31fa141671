"""The settings of a run, and the outcome of an image."""

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
    from kseg_batch.images.profiles.source_colors import ProfileUse
    from kseg_batch.kmeans.options import FitOptions, KRange
    from kseg_batch.kmeans.palette import Palette
    from kseg_batch.segmentation.select_k import KCandidate

MAX_WORKERS = 1024

FAILURES = (BackendError, ImageError, OutputError, MemoryError)
"""Exceptions that end the work on one image, but not the run."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a run or a fit."""

    workers: int | None
    """Number of CPU worker processes; None for one per core."""
    timeout: float | None
    """Seconds that an image may take; None for no limit."""
    max_pixels: int
    """Most pixels of an image."""

    def __post_init__(self) -> None:
        """Raise an OptionError for a value that is out of range."""
        if self.workers is not None and not 1 <= self.workers <= MAX_WORKERS:
            raise OptionError(f"workers must be from 1 to {MAX_WORKERS}, not {self.workers}.", "workers")
        if self.timeout is not None and not (math.isfinite(self.timeout) and self.timeout > 0):
            raise OptionError(f"timeout must be a number of seconds above 0, not {self.timeout}.", "timeout")


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a run: how to process every image."""

    out: Path
    """The output folder."""
    fit: FitOptions
    """How to cluster. With a palette, k and the colour space are those of the palette."""
    save: frozenset[Save]
    """The kinds of output to write."""
    selection: ClusterSelection = ALL_CLUSTERS
    """Which clusters are shown in the `masked` and `kept` outputs."""
    palette: Palette | None = None
    """The clusters of all images; None to find the clusters of each image."""
    alpha: decode.Alpha = "keep"
    """Treatment of transparent pixels."""
    profile: ProfileUse = "convert"
    """Treatment of colour profiles."""
    max_pixels: int = decode.MAX_PIXELS
    """Most pixels of an image. A larger one fails before it is decoded."""
    regions: RegionOptions = field(default_factory=RegionOptions)
    """How to clean the regions of label maps."""
    checksum: bool = False
    """Whether the journal gets a checksum of each image file."""
    k_range: KRange | None = None
    """The numbers of clusters to choose from for each image, up to `fit.k`; None where k is `fit.k`."""

    @property
    def cluster_numbers(self) -> tuple[int, ...]:
        """The fewest and the most clusters that a backend has to find; one number where k is fixed."""
        return (self.fit.k,) if self.k_range is None else (self.k_range.low, self.k_range.high)

    @property
    def takes_means(self) -> bool:
        """Whether clusters get the mean RGB of their pixels: those that an image finds in another space."""
        return self.palette is None and self.fit.color_space != "rgb"


@dataclass(frozen=True, slots=True)
class Lost:
    """An image that a GPU could not process, so that the CPU has to: it is neither done nor failed."""

    job: Job
    reason: str
    """Why the GPU could not process the image."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an image that is done or has failed."""

    job: Job
    seconds: float
    """Time from opening the image file to the last output, in seconds."""
    error: str | None = None
    """Why the image failed; None if it is done."""
    output_gone: bool = False
    """Whether the image failed because no outputs can be written any more."""
    palette: Palette | None = None
    """The clusters; None if the image failed, or only its colours were counted."""
    k_curve: tuple[KCandidate, ...] | None = None
    """The candidates that k was chosen from; None if k was fixed, or the image failed."""
    size: tuple[int, int] = (0, 0)
    """Width and height in pixels."""
    version: SourceVersion | None = None
    """The version of the image file; None if the image failed."""
    disabled: tuple[int, ...] = ()
    """The clusters that are not shown in the `masked` and `kept` outputs."""
    outputs: tuple[Output, ...] = ()
    """The files written, all complete."""
    notes: tuple[str, ...] = ()
    """Remarks on the result that a user might not expect."""
    converted: bool = False
    """Whether the colours were converted to sRGB; the first note tells from which."""
    fallback: str | None = None
    """Why the image was done on the CPU although a GPU was in use; None if it was not."""
    messages: tuple[str, ...] = ()
    """Messages of the worker process for the user, on its compiled kernels and not on this image."""

    @property
    def status(self) -> Literal["done", "failed"]:
        """The status that the journal gets."""
        return "done" if self.error is None else "failed"


def failed_outcome(job: Job, error: Exception, start: float) -> Outcome:
    """Return the outcome of a job that failed.

    Args:
        job: The job.
        error: The exception, one of `FAILURES`.
        start: The time at which the job was begun, by time.perf_counter().
    """
    gone = isinstance(error, OutputGoneError)
    return Outcome(job, time.perf_counter() - start, error=describe(error), output_gone=gone)
