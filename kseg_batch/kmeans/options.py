"""Options of a clustering, checked on construction."""

from __future__ import annotations

import math
import operator
import re
from dataclasses import dataclass
from typing import Literal, get_args

from kseg_batch.errors import OptionError, did_you_mean, unknown_choice
from kseg_batch.kmeans.color_spaces import COLOR_SPACES, ColorSpace
from kseg_batch.kmeans.fixed_point import MAX_CLUSTERS, SCALE

Init = Literal["k-means++", "random"]


@dataclass(frozen=True, slots=True)
class FitOptions:
    """Options of a k-means fit. The defaults are those of the cv2.kmeans call in OpenCV's tutorial."""

    k: int = 3
    """Number of clusters, 1 to 256. An image with fewer distinct colours gets fewer clusters."""
    attempts: int = 10
    """Number of starts, 1 to 65535, of which the best is kept."""
    max_iter: int = 100
    """Most iterations of Lloyd's algorithm, 1 to 1,000,000."""
    eps: float = 0.2
    """Distance in grey levels, 0 or more: the iterations stop when no centre moved by more."""
    seed: int = 0
    """Seed of the random number generator, 0 to 2**63 - 1. The same seed gives the same result."""
    init: Init | None = None
    """How starts are drawn. None is the backend's default: random for opencv, k-means++ for the others."""
    color_space: ColorSpace = "rgb"
    """Colour space in which distances are measured; see `color_spaces.convert`."""

    def __post_init__(self) -> None:
        """Raise an OptionError for a value that is out of range or not a whole number."""
        for name in ("k", "attempts", "max_iter", "seed"):
            value = getattr(self, name)
            try:
                operator.index(value)
            except TypeError as error:
                raise OptionError(f"{name} must be a whole number, not {value!r}.", name) from error
        if not 1 <= self.k <= MAX_CLUSTERS:
            raise OptionError(f"k must be from 1 to {MAX_CLUSTERS}, not {self.k}.", "k")
        if not 1 <= self.attempts < 1 << 16:
            raise OptionError(f"attempts must be from 1 to 65535, not {self.attempts}.", "attempts")
        if not 1 <= self.max_iter <= 1_000_000:
            raise OptionError(f"max_iter must be from 1 to 1000000, not {self.max_iter}.", "max_iter")
        if not (math.isfinite(self.eps) and self.eps >= 0):
            raise OptionError(f"eps must be a distance in grey levels, 0 or more, not {self.eps}.", "eps")
        if not 0 <= self.seed < 1 << 63:
            raise OptionError(f"seed must be from 0 to 2**63 - 1, not {self.seed}.", "seed")
        if self.init not in (None, "k-means++", "random"):
            near = did_you_mean(str(self.init), get_args(Init)) or "."
            raise OptionError(f"init must be k-means++ or random, not {self.init}{near}", "init")
        if self.color_space not in COLOR_SPACES:
            raise unknown_choice("color_space", str(self.color_space), COLOR_SPACES)

    @property
    def max_shift(self) -> int:
        """`eps` as a squared distance in Q8.6: a centre that moved by no more counts as unmoved."""
        return int((SCALE * min(self.eps, 512.0)) ** 2)


MAX_SMOOTH = 7
"""Greatest radius of the majority filter, so that a byte can count the 225 pixels of a window."""


@dataclass(frozen=True, slots=True)
class RegionOptions:
    """Options for cleaning a label map. False if there is nothing to clean."""

    smooth: int = 0
    """Radius of the majority filter, in pixels, 0 to 7; 0 for no filter."""
    min_region: int = 0
    """Regions of fewer pixels are merged with a neighbouring region; 0 or 1 for no merging."""

    def __post_init__(self) -> None:
        """Raise an OptionError for a value that is out of range or not a whole number."""
        for name, value in (("smooth", self.smooth), ("min_region", self.min_region)):
            try:
                operator.index(value)
            except TypeError as error:
                raise OptionError(f"{name} must be a whole number, not {value!r}.", name) from error
        if not 0 <= self.smooth <= MAX_SMOOTH:
            raise OptionError(
                f"smooth must be a radius from 0 to {MAX_SMOOTH} pixels, not {self.smooth}.", "smooth"
            )
        if self.min_region < 0:
            raise OptionError(
                f"min_region must be a number of pixels, 0 or more, not {self.min_region}.", "min_region"
            )

    def __bool__(self) -> bool:
        """Whether a label map is to be filtered or merged."""
        return self.smooth > 0 or self.min_region > 1


@dataclass(frozen=True, slots=True)
class KRange:
    """A range of numbers of clusters, from which one is selected by the colours of an image."""

    low: int = 2
    """Fewest clusters, at least 2, because the selection compares clusters with each other."""
    high: int = 12
    """Most clusters, up to 256."""

    def __post_init__(self) -> None:
        """Raise an OptionError if `low` and `high` are out of range, or not in this order."""
        if not 2 <= self.low < self.high <= MAX_CLUSTERS:
            raise OptionError(
                f"k must be a range from 2 to {MAX_CLUSTERS} such as auto:2-20, the lower number first, "
                f"not {self.low}-{self.high}.",
                "k",
            )


def parse_k(k: int | str) -> tuple[int, KRange | None]:
    """Parse a number of clusters, or a range to select it from.

    Args:
        k: A number, as an int or in digits; "auto"; or a range such as "auto:2-20".

    Returns:
        The greatest number of clusters, for `FitOptions.k`; and the range, or None where `k` is a number.

    Raises:
        OptionError: `k` is none of these.
    """
    if not isinstance(k, str):
        return k, None
    if re.fullmatch(r"-?\d{1,9}", k):
        return int(k), None
    match = re.fullmatch(r"auto(?::(\d{1,9})-(\d{1,9}))?", k)
    if match is None:
        raise OptionError(f"k must be a whole number, auto, or a range such as auto:2-20, not {k!r}.", "k")
    k_range = KRange() if match[1] is None else KRange(int(match[1]), int(match[2]))
    return k_range.high, k_range
