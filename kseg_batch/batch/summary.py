"""The totals of a run and of a fit, and the protocols of their listeners."""

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
    """Images with all outputs written."""
    skipped: int = 0
    """Images with nothing to do: they were done before, or are left out by `--retry-failed`."""
    failed: int = 0
    """Images that could not be read, segmented or written."""
    noted: int = 0
    """Images done that have a note in the manifest, besides one on the conversion of their colours."""
    converted: int = 0
    """Images done whose colours were converted to sRGB."""
    fallbacks: int = 0
    """Images done on the CPU because the GPU could not process them."""
    pixels: int = 0
    """Pixels of the images done."""
    seconds: float = 0.0
    """Wall time of the run so far, in seconds."""
    swept: int = 0
    """Incomplete files of an earlier run that were removed."""
    signal: int | None = None
    """Number of the signal that interrupted the run; None if none did."""
    stopped: str | None = None
    """Why the run stopped early; None if it did not, or was interrupted."""

    def add(self, outcome: Outcome) -> None:
        """Add an image to the totals."""
        if outcome.palette is None:
            self.failed += 1
        else:
            self.done += 1
            self.noted += len(outcome.notes) > outcome.converted
            self.converted += outcome.converted
            self.fallbacks += outcome.fallback is not None
            self.pixels += outcome.size[0] * outcome.size[1]


class RunListener(Protocol):
    """A listener that is told of the images of a run."""

    def skipped(self, step: Step) -> None:
        """Take note of an image that is skipped."""

    def finished(self, outcome: Outcome, line: dict[str, object]) -> None:
        """Take note of an image that is done or has failed, and of its line in the journal."""

    def message(self, text: str) -> None:
        """Take note of any other event, described by a line of text for the user."""


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
    """Images counted that have a note, besides one on the conversion of their colours."""
    converted: int = 0
    """Images counted whose colours were converted to sRGB."""
    pixels: int = 0
    """Pixels of all images, without the transparent ones that were left out."""
    colors: int = 0
    """Distinct colours of these pixels."""
    seconds: float = 0.0
    """Wall time in seconds."""
    signal: int | None = None
    """Number of the signal that interrupted the fit; None if none did."""

    @property
    def images(self) -> int:
        """Images in the sum of histograms."""
        return self.counted + self.resumed


class FitListener(Protocol):
    """A listener that is told of the images of a fit."""

    def resumed(self, n_images: int) -> None:
        """Take note of the number of images that an earlier fit counted."""

    def finished(self, outcome: Outcome, line: dict[str, Any]) -> None:
        """Take note of an image that is counted or has failed, and of its line for `--json`."""

    def message(self, text: str) -> None:
        """Take note of any other event, described by a line of text for the user."""
