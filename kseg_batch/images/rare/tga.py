"""TGA (Truevision Targa): files without a signature, told by a header that cannot be anything else."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kseg_batch.errors import ImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEADER = struct.Struct("<BBBHHBHHHHBB")
"""Identification length, map type, image type; start, length and bits of the map; x, y, width, height, bits,
descriptor."""

MAPPED, TRUE_COLOR, GRAY, COMPRESSED = 1, 2, 3, 8
"""Image types. The last one is added to each of the others for run lengths."""

DEPTHS: dict[int, dict[int, tuple[int, ...]]] = {
    MAPPED: {8: (0, 8)},
    TRUE_COLOR: {16: (0, 1), 24: (0,), 32: (0, 8)},
    GRAY: {8: (0,), 16: (8,)},
}
"""Bits of a pixel by image type, each with the bits of alpha among them that a file may declare."""

MAP_DEPTHS = (16, 24, 32)
"""Bits of an entry of a colour map."""

FOOTER, FOOTER_LENGTH = b"TRUEVISION-XFILE.\0", 26
NO_ALPHA, PREMULTIPLIED = (0, 1, 2), 4
"""Values of the attribute type in the extension area of a file."""


@dataclass(frozen=True, slots=True)
class TgaHeader:
    """The header of a TGA file."""

    kind: int
    """The image type without COMPRESSED."""
    is_compressed: bool
    map_depth: int
    """Bits of an entry of the colour map; 0 without a map."""
    start: int
    """Position of the first byte of the pixels."""
    width: int
    height: int
    depth: int
    """Bits of a pixel."""
    alpha_bits: int
    """Bits of alpha in a pixel, or in an entry of the colour map."""


def read_header(data: bytes) -> TgaHeader | None:
    """Return the header of a file; None if the file cannot be a TGA.

    The unused fields have to be zero, and all others to agree with each other, so that no file of another
    format is taken for a TGA.
    """
    if len(data) < HEADER.size:
        return None
    identification, has_map, image_type, first, entries, map_depth, _, _, width, height, depth, descriptor = (
        HEADER.unpack_from(data)
    )
    kind, alpha_bits = image_type & ~COMPRESSED, descriptor & 15
    if kind not in DEPTHS or alpha_bits not in DEPTHS[kind].get(depth, ()) or descriptor >> 6:
        return None
    if kind == MAPPED:
        plausible = has_map == 1 and 0 < entries <= 256 - first and map_depth in MAP_DEPTHS
    else:
        plausible = (has_map, first, entries, map_depth) == (0, 0, 0, 0)
    if not (plausible and width and height):
        return None
    start = HEADER.size + identification + entries * map_depth // 8
    return TgaHeader(kind, bool(image_type & COMPRESSED), map_depth, start, width, height, depth, alpha_bits)


def is_tga(data: bytes) -> bool:
    """Return whether a file of no other format begins with the header of a TGA."""
    return read_header(data) is not None


def check_tga(data: bytes) -> None:
    """Raise an ImageError for a file that is shorter than its header says."""
    header = _header(data)
    size = header.width * header.height * header.depth // 8
    if header.is_compressed:  # a packet of two bytes or more stands for 128 pixels at most
        size = -(-header.width * header.height // 128) * (1 + header.depth // 8)
    if len(data) < header.start + size:
        raise ImageError("it is truncated: the TGA has fewer pixels than its header says")


def decode_tga(data: bytes, picture: Any) -> NDArray[np.uint8]:
    """Return (H, W, 3) RGB or (H, W, 4) RGBA of the image as opened by Pillow.

    Raises:
        ImageError: The meaning of the alpha channel is not defined. Pillow raises errors of its own for
            damage.
    """
    header = _header(data)
    attributes = _attribute_type(data)
    if attributes == PREMULTIPLIED and header.alpha_bits:
        raise ImageError("its alpha is premultiplied, which is not read from TGA; save it as PNG")
    picture.load()
    if header.kind == TRUE_COLOR and header.alpha_bits == 1 and np.ptp(np.asarray(picture.getchannel("A"))):
        raise ImageError("its pixels have an attribute bit, whose meaning is not defined; save it as PNG")
    has_alpha = header.alpha_bits == 8 and header.map_depth in (0, 32) and attributes not in NO_ALPHA
    return np.asarray(picture.convert("RGBA" if has_alpha else "RGB"))


def _header(data: bytes) -> TgaHeader:
    header = read_header(data)
    assert header is not None, "by detect_format"
    return header


def _attribute_type(data: bytes) -> int | None:
    """Return the attribute type of a file of TGA 2.0; None of a file without an extension area."""
    if not data.endswith(FOOTER):
        return None
    (start,) = struct.unpack_from("<I", data, len(data) - FOOTER_LENGTH)
    return data[start + 494] if start and start + 495 <= len(data) else None
