"""Orientations of EXIF: how stored pixels become upright."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

ORIENTATION = 0x0112
"""The tag of EXIF and TIFF."""
TURNED = range(2, 9)
"""Orientations that are not upright. 0 and numbers above 8, which some cameras write, mean nothing."""


def turn_upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return a view of (H, W, ...) pixels turned upright by their EXIF orientation."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
