"""The pixels of a file before their colours are converted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kseg_batch.images.profiles.icc import Channels


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """The pixels of a file, in its own colours, not yet turned upright by EXIF."""

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    """(H, W, 3), with three equal channels for grey; (H, W, 4) with alpha; or the four inks of CMYK."""
    channels: Channels
    """What the channels are."""


def apply_palette(indices: NDArray[np.uint8], palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the (H, W, 3) colours of (H, W) indices in a palette of up to 256 RGB colours.

    Pillow takes 1.6 ms for 1920 x 1080 pixels, and NumPy 3.3 to 14 ms.
    """
    height, width = indices.shape
    picture = Image.frombuffer("P", (width, height), np.ascontiguousarray(indices), "raw", "P", 0, 1)
    picture.putpalette(palette.tobytes())
    return np.asarray(picture.convert("RGB"))
