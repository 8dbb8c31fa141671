"""What a run has done, and who is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from kseg_batch.batch.workers.jobs import Outcome

if TYPE_CHECKING:
    from kseg_batch.batch.plan import Step


@dataclass(slots=True)
class RunSummary:
    """The totals of a run."""

    done: int = 0
    """Images with all their outputs written."""
    skipped: int = 0
    """Images that had been done before."""
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
    swept: int = 0
    """Incomplete files of an earlier run that were removed."""
    signal: int | None = None
    """The signal that ended the run before its time."""
    stopped: str | None = None
    """Why the run ended before its time, if it was not interrupted."""

    def add(self, outcome: Outcome) -> None:
        """Count an image in."""
        if outcome.palette is None:
            self.failed += 1
        else:
            self.done += 1
            self.noted += bool(outcome.notes)
            self.fallbacks += outcome.fallback is not None
            self.pixels += outcome.size[0] * outcome.size[1]


class RunListener(Protocol):
    """Who is told what happens."""

    def skipped(self, step: Step) -> None:
        """Nothing is to be done for an image."""

    def finished(self, outcome: Outcome, line: dict[str, object]) -> None:
        """An image is done or failed, and this is its line in the journal."""

    def message(self, text: str) -> None:
        """Something else that people should know."""


@dataclass(slots=True)
class FitSummary:
    """The totals of a fit."""

    counted: int = 0
    """Images whose colours were counted."""
    resumed: int = 0
    """Images that an earlier fit had counted."""
    failed: int = 0
    """Images that could not be read."""
    noted: int = 0
    """Images of which there is something to note."""
    pixels: int = 0
    """Pixels of all images, but transparent ones."""
    colors: int = 0
    """Distinct colours of them."""
    seconds: float = 0.0
    """Wall time."""
    signal: int | None = None
    """The signal that ended it before its time."""

    @property
    def images(self) -> int:
        """Images in the sum."""
        return self.counted + self.resumed


class FitListener(Protocol):
    """Who is told what happens."""

    def resumed(self, n_images: int) -> None:
        """So many images are counted already."""

    def finished(self, outcome: Outcome, line: dict[str, Any]) -> None:
        """An image is counted or failed; the line says so."""

    def message(self, text: str) -> None:
        """Something else that people should know."""
