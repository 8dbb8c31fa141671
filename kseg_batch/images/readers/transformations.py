"""Transformations of HEIF and AVIF images: clean aperture, rotation and mirroring (ISO/IEC 23008-12).

libheif applies them in the order of the file. libavif leaves out the clean aperture, and knows one order.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from kseg_batch.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CROP, ROTATE, MIRROR = b"clap", b"irot", b"imir"
"""Types of the properties of an image that transform it."""


def transform(pixels: NDArray[Any], properties: Sequence[tuple[bytes, bytes]]) -> NDArray[Any]:
    """Return a view of (H, W, ...) pixels to which the transformations of an image were applied.

    Args:
        pixels: The pixels as they are stored.
        properties: The type and content of each property of the image, in order.

    Raises:
        ImageError: The clean aperture is damaged, or has fractions of a pixel.
    """
    for kind, content in properties:
        if kind == CROP:
            left, top, width, height = _clean_aperture(content, pixels.shape[1], pixels.shape[0])
            pixels = pixels[top : top + height, left : left + width]
        elif kind == ROTATE:
            pixels = np.rot90(pixels, content[0] & 3 if content else 0)
        elif kind == MIRROR:
            pixels = pixels[:, ::-1] if content and content[0] & 1 else pixels[::-1]
    return pixels


def is_turned(properties: Sequence[tuple[bytes, bytes]]) -> bool:
    """Return whether an image has a rotation or a mirroring among its properties."""
    return any(kind in (ROTATE, MIRROR) for kind, _ in properties)


def check_aperture(properties: Sequence[tuple[bytes, bytes]]) -> None:
    """Raise an ImageError for a clean aperture that cannot be applied exactly.

    Args:
        properties: The type and content of each property of the image, in order.

    Raises:
        ImageError: The clean aperture is damaged, or has fractions of a pixel.
    """
    size = dict(properties).get(b"ispe", b"")
    if len(size) >= 12:
        width, height = struct.unpack_from(">II", size, 4)
        transform(np.broadcast_to(np.uint8(0), (height, width)), properties)


def _clean_aperture(content: bytes, width: int, height: int) -> tuple[int, int, int, int]:
    """Return the left and upper edge of a clean aperture, its width and its height."""
    try:
        numbers = struct.unpack_from(">IIIIiIiI", content)
        across, down, right, below = (Fraction(*numbers[i : i + 2]) for i in (0, 2, 4, 6))
    except (struct.error, ZeroDivisionError) as error:
        raise ImageError("it is damaged: its clean aperture (clap) is no rectangle") from error
    edges = (right + (width - across) / 2, below + (height - down) / 2, across, down)
    if any(edge.denominator != 1 for edge in edges):
        raise ImageError(
            "its clean aperture (clap) has fractions of a pixel, which are not read here; save it as PNG"
        )
    left, top, across, down = edges
    if not (0 <= left < left + across <= width and 0 <= top < top + down <= height):
        raise ImageError("it is damaged: its clean aperture (clap) is not inside of the image")
    return int(left), int(top), int(across), int(down)
