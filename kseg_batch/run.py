"""The batch: do every job, keep the journal, sum up."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kseg_batch.backends.gpu import GpuBackend
from kseg_batch.errors import OutputError
from kseg_batch.manifest import Manifest
from kseg_batch.pipeline import process_on_gpu
from kseg_batch.scan import MARKER
from kseg_batch.worker import process

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from kseg_batch.backends.base import Backend
    from kseg_batch.scan import Job
    from kseg_batch.worker import Outcome, Settings


@dataclass(slots=True)
class Summary:
    """The totals of a run."""

    done: int = 0
    """Images with all their outputs written."""
    failed: int = 0
    """Images that could not be read, segmented or written."""
    noted: int = 0
    """Images done with a note in the manifest."""
    fallbacks: int = 0
    """Images done on the CPU because the GPU could not."""
    pixels: int = 0
    """Pixels of the images done."""
    seconds: float = 0.0
    """Wall time of the run so far."""

    def add(self, outcome: Outcome) -> None:
        """Count an image in."""
        if outcome.palette is None:
            self.failed += 1
        else:
            self.done += 1
            self.noted += bool(outcome.notes)
            self.fallbacks += outcome.fallback is not None
            self.pixels += outcome.size[0] * outcome.size[1]


def run(
    jobs: Sequence[Job], settings: Settings, backend: Backend, on_outcome: Callable[[Outcome], None]
) -> Summary:
    """Do all jobs, in this process: one after the other on the CPU, many at a time on a GPU.

    Args:
        jobs: The images.
        settings: What to do with each.
        backend: What segments them.
        on_outcome: Called after each image, when its line is in the manifest.

    Raises:
        OutputError: The output folder or its manifest cannot be written.
    """
    start = time.perf_counter()
    summary = Summary()
    _prepare(settings, jobs)
    if isinstance(backend, GpuBackend):
        outcomes: Generator[Outcome] = process_on_gpu(jobs, settings, backend)
    else:
        outcomes = (process(job, settings, backend) for job in jobs)
    with Manifest(settings.out) as manifest, contextlib.closing(outcomes):
        for outcome in outcomes:
            manifest.add(outcome)
            summary.add(outcome)
            on_outcome(outcome)
    summary.seconds = time.perf_counter() - start
    return summary


def _prepare(settings: Settings, jobs: Sequence[Job]) -> None:
    """Make a folder for each kind of output, and mark it as one that scans do not enter.

    Raises:
        OutputError: One cannot be made, holds files of somebody else, or holds a source.
    """
    sources = [(job.source, job.source.resolve()) for job in jobs]
    for kind in sorted(settings.save):
        folder = settings.out / kind
        try:
            folder.mkdir(parents=True, exist_ok=True)
            marker = folder / MARKER
            if not marker.exists():
                if any(folder.iterdir()):
                    raise OutputError(
                        f"{folder} holds files that kseg-batch did not write: choose another -o."
                    )
                marker.write_text("Written by kseg-batch; its scans do not enter this folder.\n")
        except OSError as error:
            raise OutputError(f"{folder} cannot be written: {error.strerror}.") from error
        place = folder.resolve()
        for source, resolved in sources:
            if resolved.is_relative_to(place):
                raise OutputError(f"{source} lies in the output folder {folder}: choose another -o.")
