"""Where frames come from."""

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
    """A picture at its time."""

    number: int
    """From 0, in the source: those that are passed over count, too."""
    ticks: int
    """When it is to be seen, in units of the source's time base; 0 for the first."""
    rgb: NDArray[np.uint8]
    """(H, W, 3), C-contiguous. All frames of a source are of one size."""


class FrameSource(Protocol):
    """A camera, a stream or a file, opened."""

    name: str
    """What people call it."""
    stem: str
    """What files made of it are called."""
    time_base: Fraction
    """Seconds in a tick."""
    rate: Fraction | None
    """Frames a second, where it tells."""
    aspect: Fraction | None
    """Width of a pixel by its height, where it tells and is not 1."""
    n_frames: int | None
    """How many there will be, where it tells: with `LiveOptions.every` taken into account."""
    live: bool
    """Whether frames come at their own pace, so that those that nobody waits for are lost."""
    notes: tuple[str, ...]
    """What one might not expect of its frames, known from the start."""

    def frames(self) -> Iterator[Frame]:
        """The frames, every `LiveOptions.every`-th of them.

        Raises:
            SourceError: It ends before its time, or a part of it could not be read; after the last frame.
        """

    def close(self) -> None:
        """Let go of it."""
