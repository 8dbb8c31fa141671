"""The options of `live`, checked once, here."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kseg_batch.errors import OptionError

if TYPE_CHECKING:
    from kseg_batch.kmeans.options import FitOptions

MAX_SIDE = 16384
"""Longest side of a frame in pixels, which libx264 and camera drivers accept."""


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """The source to segment, and the outputs to produce."""

    fit: FitOptions
    """Options of the clustering."""
    camera: str
    """Number or device file of a camera; ignored if `source` is given."""
    source: str | None
    """A video file, or the address of a stream."""
    size: tuple[int, int] | None
    """Width and height that frames are scaled to, in pixels; None to keep the size of the source."""
    every: int
    """Segment every n-th frame."""
    frames: int | None
    """Number of frames after which `live` stops; None for all."""
    steady: float
    """Margin of the label stabiliser in grey levels; 0 to switch the stabiliser off."""
    disable: tuple[int, ...]
    """Numbers of the clusters that are painted black."""
    window: bool
    """Whether to show the frames in a window."""
    save: Path | None
    """Video file or folder to write to."""

    def __post_init__(self) -> None:
        """Raise an OptionError if an option is out of range."""
        if self.every < 1:
            raise OptionError(f"every must be 1 or more, not {self.every}.", "every")
        if self.frames is not None and self.frames < 1:
            raise OptionError(f"frames must be 1 or more, not {self.frames}.", "frames")
        if not (math.isfinite(self.steady) and 0 <= self.steady <= 255):
            raise OptionError(f"steady must be from 0 to 255 grey levels, not {self.steady}.", "steady")
        for cluster in self.disable:
            if not 0 <= cluster < self.fit.k:
                raise OptionError(
                    f"disable {cluster}: with k {self.fit.k} the clusters are 0 to {self.fit.k - 1}.",
                    *("disable", "k"),
                )
        if self.save is not None and self.source is not None:
            source = Path(self.source)
            if self.save.exists() and source.exists() and self.save.samefile(source):
                raise OptionError(f"save {self.save} is the source itself: name another file.", "save")


def parse_size(text: str) -> tuple[int, int]:
    """Return the width and the height, in pixels, of a text such as 1280x720.

    Raises:
        OptionError: The text has another form, or a side is 0 or longer than `MAX_SIDE`.
    """
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text.strip().lower())
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (min(size) >= 1 and max(size) <= MAX_SIDE):
        raise OptionError(f"size must be WIDTHxHEIGHT such as 1280x720, not {text!r}.", "size")
    return size
