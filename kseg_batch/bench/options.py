"""The options of a benchmark, checked once, here."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from kseg_batch.backends.registry import MODULES
from kseg_batch.errors import OptionError, unknown_choice
from kseg_batch.images.decode import MAX_PIXELS

if TYPE_CHECKING:
    from pathlib import Path

ASPECT = 16 / 9
"""Width divided by height of a generated photo whose size is given in megapixels."""

MAX_THREADS = 1024
"""Greatest number of threads that a user may ask for."""

DEFAULT_SIZE = "1920x1080"
"""Size of generated photos."""

PLOT_SUFFIXES = (".png", ".svg")


@dataclass(frozen=True, slots=True)
class Size:
    """A size to which photos are scaled."""

    label: str
    """Name of the size in the tables, such as 1920x1080 or 2 MP."""
    width: int | None
    """Width in pixels; None where a photo keeps its aspect ratio."""
    height: int | None
    """Height in pixels; None where a photo keeps its aspect ratio."""
    megapixels: float

    def dimensions(self, aspect: float) -> tuple[int, int]:
        """Return the width and height of a scaled photo.

        Args:
            aspect: The photo's width divided by its height.
        """
        if self.width is not None and self.height is not None:
            return self.width, self.height
        height = max(1, round(math.sqrt(self.megapixels * 1e6 / aspect)))
        return max(1, round(self.megapixels * 1e6 / height)), height


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """The cases to measure, and how thoroughly."""

    folder: Path | None
    """Folder of photos; None to generate photos."""
    sizes: tuple[Size, ...]
    """Sizes to scale the photos to, ascending; empty to keep the size of the photos in `folder`."""
    k: tuple[int, ...]
    """Numbers of clusters, ascending."""
    images: int
    """Greatest number of photos of each size."""
    repeat: int
    """Greatest number of timed passes over the photos."""
    threads: int
    """Number of threads for libraries that can use several."""
    backends: tuple[str, ...]
    """Names of the backends to measure; empty for all that run here."""
    libraries: bool
    """Whether to measure other projects' libraries."""
    budget: float
    """Seconds for the passes of an implementation at one size and k."""
    json: Path | None
    """File to write the results to."""
    plot: Path | None
    """File to draw the results into."""

    def __post_init__(self) -> None:
        """Raise an OptionError for a value that is out of range, or a file that cannot be written."""
        if self.images < 1:
            raise OptionError(f"images must be 1 or more, not {self.images}.", "images")
        if self.repeat < 1:
            raise OptionError(f"repeat must be 1 or more, not {self.repeat}.", "repeat")
        if not 1 <= self.threads <= MAX_THREADS:
            raise OptionError(f"threads must be from 1 to {MAX_THREADS}, not {self.threads}.", "threads")
        if not (math.isfinite(self.budget) and self.budget > 0):
            raise OptionError(f"budget must be a number of seconds above 0, not {self.budget}.", "budget")
        for name in self.backends:
            if name not in MODULES:
                raise unknown_choice("backend", name, [*MODULES])
        _check_file(self.json, "json")
        _check_file(self.plot, "plot")
        if self.plot is not None and self.plot.suffix.lower() not in PLOT_SUFFIXES:
            raise OptionError(f"plot must be a file that ends in .png or .svg, not {self.plot}.", "plot")
        if self.plot is not None and find_spec("matplotlib") is None:
            raise OptionError("plot needs matplotlib; to add it: pip install matplotlib", "plot")


def _check_file(path: Path | None, parameter: str) -> None:
    """Raise an OptionError if a file cannot be written because of its folder, or is a folder."""
    if path is None:
        return
    if path.is_dir():
        raise OptionError(f"{parameter} must be a file: {path} is a folder.", parameter)
    if not path.parent.is_dir():
        raise OptionError(f"{parameter} {path}: there is no folder {path.parent}.", parameter)


def parse_sizes(text: str) -> tuple[Size, ...]:
    """Return the sizes of a list such as 0.1,2,12 in megapixels, or 1920x1080, ascending.

    Raises:
        OptionError: The text is no such list, or a size is out of range.
    """
    sizes = {part: _parse_size(part) for part in text.lower().replace(" ", "").split(",")}
    return tuple(sorted(sizes.values(), key=lambda size: size.megapixels))


def _parse_size(text: str) -> Size:
    if match := re.fullmatch(r"(\d{1,9})x(\d{1,9})", text):
        width, height = int(match[1]), int(match[2])
        size = Size(f"{width}x{height}", width, height, width * height / 1e6)
    elif re.fullmatch(r"\d+(\.\d+)?|\.\d+", text):
        size = Size(f"{float(text):g} MP", None, None, float(text))
    else:
        raise OptionError(
            f"sizes must be megapixels or WIDTHxHEIGHT, such as 0.1,2,1920x1080, not {text!r}.", "sizes"
        )
    if not 1 <= size.megapixels * 1e6 <= MAX_PIXELS:
        raise OptionError(
            f"sizes must be from one pixel to {MAX_PIXELS / 1e6:g} megapixels, not {text}.", "sizes"
        )
    return size
