"""A conversion of the samples of an image to 8-bit sRGB, and how it is described to users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROUNDED = ((np.arange(1 << 16) * 255 + 32767) // 65535).astype(np.uint8)
"""(65536,) uint8: each sample of 16 bits, rounded to 8 bits."""


class Conversion(Protocol):
    """A conversion to sRGB."""

    @property
    def is_identity(self) -> bool:
        """Whether the colours are those of sRGB already."""

    def apply(self, samples: NDArray[Any]) -> NDArray[np.uint8]:
        """Convert (H, W, 3 or 4) samples of 8 or 16 bits to (H, W, 3) uint8 sRGB, contiguous.

        The samples may be overwritten.
        """


@dataclass(frozen=True, slots=True, eq=False)
class NamedConversion:
    """A conversion with the name of the colours that it converts."""

    conversion: Conversion
    name: str
    """The name of the colour space."""
    method: str = ""
    """How the colours are converted, to follow "to sRGB"; empty for curves and a matrix."""

    @property
    def note(self) -> str:
        """What is done, such as "Display P3 to sRGB"."""
        return f"{self.name} to sRGB{self.method}"


def round_to_8_bits(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """Return samples of 16 bits rounded to 8 bits, and samples of 8 bits unchanged."""
    return ROUNDED[samples] if samples.dtype == np.uint16 else samples
