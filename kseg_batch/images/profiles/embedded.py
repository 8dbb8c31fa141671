"""ICC profiles and colour chunks as files embed them.

JPEG and PNG are read here, and decoders get the file without its colours. Pillow and simplejpeg fail on some
damaged profiles, and Pillow drops others in silence.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

from kseg_batch.images.formats import jpeg_segments, png_chunk, png_chunks, without_spans
from kseg_batch.images.profiles.icc import ProfileError
from kseg_batch.images.rare import jpeg2000

PNG_COLORS = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM")
"""Types of the chunks of a PNG that tell its colours."""
MAX_PROFILE = 1 << 26
"""Most bytes of a profile that is compressed in a PNG."""
APP2 = 0xE2
"""Marker of the segments of a JPEG that hold parts of a profile."""
JPEG_PROFILE = b"ICC_PROFILE\0"
"""First bytes of such a segment. The number of the part, from 1, and the number of parts follow."""
BMP_EMBEDDED = b"DEBM"  # "MBED" as a little-endian number: a profile follows the pixels


def without_colors(data: bytes, name: str) -> bytes:
    """Return a JPEG or a whole PNG without its profile and its colour chunks, and other files as they are.

    Args:
        data: The content of the file.
        name: The format of the file, from `detect_format`.
    """
    if name == "JPEG":
        spans = _jpeg_parts(data)
    elif name == "PNG":
        spans = [(at, end) for chunk_type, at, end in png_chunks(data) if chunk_type in PNG_COLORS]
    else:
        spans = []
    return without_spans(data, spans)


def icc_profile(data: bytes, name: str, picture: Any) -> bytes | None:
    """Return the ICC profile of a file; None if there is none.

    Args:
        data: The content of the file.
        name: The format of the file, from `detect_format`.
        picture: The image as opened by Pillow, which reads the profiles of all other formats.

    Raises:
        ProfileError: The profile is incomplete.
    """
    if name == "JPEG":
        return _jpeg_profile(data)
    if name == "PNG":
        chunk = png_chunk(data, b"iCCP")
        return None if chunk is None else _decompress(chunk)
    if name == "BMP":
        return _bmp_profile(data)
    if name == "JPEG2000":
        return jpeg2000.icc_profile(data)
    profile = picture.info.get("icc_profile") or None
    if not isinstance(profile, bytes | None):  # a TIFF may hold a number or a text
        raise ProfileError("is damaged")
    return profile


def _jpeg_parts(data: bytes) -> list[tuple[int, int]]:
    """Return the first byte and the end of each segment of a JPEG that holds a part of its profile."""
    return [
        (at, end)
        for marker, at, end in jpeg_segments(data)
        if marker == APP2 and data.startswith(JPEG_PROFILE, at + 4)
    ]


def _jpeg_profile(data: bytes) -> bytes | None:
    parts = sorted(data[at + 4 + len(JPEG_PROFILE) : end] for at, end in _jpeg_parts(data))
    if [tuple(part[:2]) for part in parts] != [(i + 1, len(parts)) for i in range(len(parts))]:
        raise ProfileError("is damaged")
    return b"".join(part[2:] for part in parts) if parts else None


def _decompress(chunk: bytes) -> bytes:
    """Return the profile in the content of a chunk iCCP: a name, a zero, the method (0), compressed bytes."""
    _, _, compressed = chunk.partition(b"\0")
    decompressor = zlib.decompressobj()
    try:
        profile = decompressor.decompress(compressed[1:], MAX_PROFILE)
    except zlib.error as error:
        raise ProfileError("is damaged") from error
    size = int.from_bytes(profile[:4], "big")  # a whole profile may lack the checksum that should follow
    if compressed[:1] != b"\0" or decompressor.unconsumed_tail or len(profile) < size:
        raise ProfileError("is damaged")
    return profile


def _bmp_profile(data: bytes) -> bytes | None:
    if data[14:18] != struct.pack("<I", 124) or data[70:74] != BMP_EMBEDDED:
        return None
    start, size = struct.unpack_from("<II", data, 126)
    return data[14 + start : 14 + start + size]
