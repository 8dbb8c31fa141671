"""Chunks of PNG files that decoders here misinterpret: animations and transparent colours."""

from __future__ import annotations

import struct

from kseg_batch.errors import ImageError
from kseg_batch.images.formats import PNG_SIGNATURE, png_chunk, png_chunks, without_spans

ANIMATION = (b"acTL", b"fcTL", b"fdAT")
"""Types of the chunks that make an animation of a PNG."""
GRAY, RGB, INDEXED = 0, 2, 3
"""Colour types; grey and RGB with alpha have 4 more."""


def without_animation(data: bytes, notes: list[str]) -> bytes:
    """Return a whole PNG without its animation: the default image, which OpenCV would not show.

    Args:
        data: The content of the file.
        notes: Notes, to which the number of frames is added.
    """
    control = png_chunk(data, b"acTL")
    if control is None:
        return data
    n = int.from_bytes(control[:4], "big")
    if png_chunk(data, b"fcTL") is None:  # the default image is no frame of the animation
        n += 1
    if n > 1:
        notes.append(f"the first of {n} frames")
    spans, at = [], len(PNG_SIGNATURE)
    while at < len(data) and (chunk_type := data[at + 4 : at + 8]) != b"IEND":
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if chunk_type in ANIMATION:
            spans.append((at, end))
        at = end
    return without_spans(data, spans)


def take_transparent_color(data: bytes) -> tuple[bytes, tuple[int, ...] | None]:
    """Return a whole PNG without the colour that marks transparent pixels, and the colour.

    The colour is one number for grey and three for RGB, in the values of decoded samples of 8 or 16 bits;
    None if there is none. The alpha of palettes stays in the file.

    Raises:
        ImageError: The chunk with the colour is damaged.
    """
    bits, color_type = data[24], data[25]
    spans = [(at, end) for chunk_type, at, end in png_chunks(data) if chunk_type == b"tRNS"]
    if not spans or color_type == INDEXED:
        return data, None
    found = png_chunk(data, b"tRNS")
    data = without_spans(data, spans)
    n = {GRAY: 1, RGB: 3}.get(color_type)
    if n is None or found is None:
        return data, None
    if len(found) != 2 * n:
        raise ImageError("it is a damaged PNG file (its chunk tRNS has a wrong length)")
    most = (1 << bits) - 1
    scale = 255 // most if bits < 8 else 1
    return data, tuple((value & most) * scale for value in struct.unpack(f">{n}H", found))
