"""What a user may choose about `live`, checked once, here."""

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
"""Pixels: most of a side that libx264 and the cameras' drivers take."""


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """What to segment, and what to do with it."""

    fit: FitOptions
    """How to cluster."""
    camera: str
    """A camera's number, or its device file. It is taken where there is no `source`."""
    source: str | None
    """A video file or an address."""
    size: tuple[int, int] | None
    """Width and height to scale frames to; None for those that they have."""
    every: int
    """Take every so-many-th frame."""
    frames: int | None
    """End after so many; None for all."""
    steady: float
    """Grey levels past the border to another cluster from which a pixel changes at once; 0 for any."""
    disable: tuple[int, ...]
    """Clusters to show black."""
    window: bool
    """Whether to show it."""
    save: Path | None
    """A video file or a folder to write to."""

    def __post_init__(self) -> None:
        """Refuse what is out of range, naming the option as the command line does."""
        if self.every < 1:
            raise OptionError(f"--every must be 1 or more, not {self.every}.")
        if self.frames is not None and self.frames < 1:
            raise OptionError(f"--frames must be 1 or more, not {self.frames}.")
        if not (math.isfinite(self.steady) and 0 <= self.steady <= 255):
            raise OptionError(f"--steady must be from 0 to 255 grey levels, not {self.steady}.")
        for cluster in self.disable:
            if not 0 <= cluster < self.fit.k:
                raise OptionError(
                    f"--disable {cluster}: with --k {self.fit.k} the clusters are 0 to {self.fit.k - 1}."
                )
        if self.save is not None and self.source is not None:
            source = Path(self.source)
            if self.save.exists() and source.exists() and self.save.samefile(source):
                raise OptionError(f"--save {self.save} is the source itself: name another file.")


def parse_size(text: str) -> tuple[int, int]:
    """The width and height in a text such as 1280x720.

    Raises:
        OptionError: It is no such text.
    """
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text.strip().lower())
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (min(size) >= 1 and max(size) <= MAX_SIDE):
        raise OptionError(f"--size must be WIDTHxHEIGHT such as 1280x720, not {text!r}.")
    return size
