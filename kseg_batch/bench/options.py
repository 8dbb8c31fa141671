"""What a user may choose about a benchmark, checked once, here."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from kseg_batch.backends.registry import MODULES
from kseg_batch.errors import OptionError
from kseg_batch.images.decode import MAX_PIXELS

if TYPE_CHECKING:
    from pathlib import Path

ASPECT = 16 / 9
"""Width by height of a generated photograph of which only the megapixels are given."""

MAX_THREADS = 1024

DEFAULT_SIZE = "1920x1080"
"""Of generated photographs."""

PICTURES = (".png", ".svg")


@dataclass(frozen=True, slots=True)
class Size:
    """To what photos are scaled."""

    label: str
    """As the tables have it: 1920x1080, or 2 MP."""
    width: int | None
    """Pixels; None where a photo keeps its shape, and `megapixels` says how large it gets."""
    height: int | None
    megapixels: float

    def of(self, aspect: float) -> tuple[int, int]:
        """Width and height of a photo whose width was `aspect` times its height."""
        if self.width is not None and self.height is not None:
            return self.width, self.height
        height = max(1, round(math.sqrt(self.megapixels * 1e6 / aspect)))
        return max(1, round(self.megapixels * 1e6 / height)), height


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What to measure, and how thoroughly."""

    folder: Path | None
    """Where the photos are; None to generate them."""
    sizes: tuple[Size, ...]
    """Ascending; empty to take the photos of `folder` as they are."""
    k: tuple[int, ...]
    """Clusters, ascending."""
    images: int
    """Photos of each size, at most."""
    repeat: int
    """Timed passes over the photos, at most."""
    threads: int
    """What libraries get that can use several."""
    backends: tuple[str, ...]
    """Names of those that must take part; empty for all that can."""
    peers: bool
    """Whether other people's libraries take part."""
    budget: float
    """Seconds for the passes of one contender at one size and k."""
    json: Path | None
    """File to write the figures to."""
    plot: Path | None
    """File to draw a picture of them into."""

    def __post_init__(self) -> None:
        """Refuse what is out of range or cannot be written, naming the option as the command line does."""
        if self.images < 1:
            raise OptionError(f"--images must be 1 or more, not {self.images}.")
        if self.repeat < 1:
            raise OptionError(f"--repeat must be 1 or more, not {self.repeat}.")
        if not 1 <= self.threads <= MAX_THREADS:
            raise OptionError(f"--threads must be from 1 to {MAX_THREADS}, not {self.threads}.")
        if not (math.isfinite(self.budget) and self.budget > 0):
            raise OptionError(f"--budget must be a number of seconds above 0, not {self.budget}.")
        for name in self.backends:
            if name not in MODULES:
                raise OptionError(f"There is no backend {name!r}: choose from {', '.join(MODULES)}.")
        for flag, path in (("--json", self.json), ("--plot", self.plot)):
            if path is not None and (path.is_dir() or not path.parent.is_dir()):
                raise OptionError(f"{flag} {path}: there is no such folder, or it is one.")
        if self.plot is not None and self.plot.suffix.lower() not in PICTURES:
            raise OptionError(f"--plot must be a file that ends in .png or .svg, not {self.plot}.")
        if self.plot is not None and find_spec("matplotlib") is None:
            raise OptionError("--plot needs matplotlib; to add it: pip install 'kseg-batch[bench]'.")


def parse_sizes(text: str) -> tuple[Size, ...]:
    """Sizes such as 0.1,2,12 in megapixels, or 1920x1080, ascending.

    Raises:
        OptionError: They are none, or out of range.
    """
    sizes = {part: _size(part) for part in text.lower().replace(" ", "").split(",")}
    return tuple(sorted(sizes.values(), key=lambda size: size.megapixels))


def _size(text: str) -> Size:
    if match := re.fullmatch(r"(\d{1,9})x(\d{1,9})", text):
        width, height = int(match[1]), int(match[2])
        size = Size(f"{width}x{height}", width, height, width * height / 1e6)
    elif re.fullmatch(r"\d+(\.\d+)?|\.\d+", text):
        size = Size(f"{float(text):g} MP", None, None, float(text))
    else:
        raise OptionError(
            f"--sizes must be megapixels or WIDTHxHEIGHT, such as 0.1,2,1920x1080, not {text!r}."
        )
    if not 1 <= size.megapixels * 1e6 <= MAX_PIXELS:
        raise OptionError(f"--sizes must be from one pixel to {MAX_PIXELS / 1e6:g} megapixels, not {text}.")
    return size
