"""Frames, and the interface of the sources that frames are read from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from fractions import Fraction

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image of a source, and its presentation time."""

    number: int
    """Index in the source, from 0; skipped frames are counted."""
    ticks: int
    """Presentation time in units of the source's time base; 0 for the first frame."""
    rgb: NDArray[np.uint8]
    """(H, W, 3) uint8, C-contiguous. All frames of a source have one size."""


class FrameSource(Protocol):
    """An open camera, stream or file."""

    name: str
    """Name of the source in messages."""
    stem: str
    """File name stem of snapshots."""
    time_base: Fraction
    """Seconds in a tick."""
    frame_rate: Fraction | None
    """Frames per second; None if unknown."""
    pixel_aspect: Fraction | None
    """Width of a pixel divided by its height; None for square pixels, or if unknown."""
    n_frames: int | None
    """Number of frames that `frames` is expected to yield; None if unknown."""
    live: bool
    """Whether frames arrive in real time, so that late frames are dropped."""
    notes: tuple[str, ...]
    """Remarks for the user that are known from the start, such as an ignored sound track."""

    def frames(self) -> Iterator[Frame]:
        """Yield every `LiveOptions.every`-th frame.

        Raises:
            SourceError: The source ended early, or a part of the source is damaged. The error is raised
                after the last frame.
        """

    def close(self) -> None:
        """Release the device, the connection or the file."""
