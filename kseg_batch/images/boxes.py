"""Boxes of HEIF and AVIF files: the properties and the place of the primary image (ISO/IEC 23008-12)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

DAMAGE = (struct.error, IndexError, KeyError, StopIteration)
"""Exceptions that a damaged file raises here."""
DERIVED = (b"grid", b"iovl", b"iden", b"Exif", b"mime", b"uri ", b"tmap")
"""Types of items that hold no coded image."""


def primary_properties(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the type and content of each property of the primary image; none if the file is damaged."""
    try:
        return _primary_properties(data)
    except DAMAGE:
        return []


def _primary_properties(data: bytes) -> list[tuple[bytes, bytes]]:
    meta = _meta(data)
    primary, iprp = _primary_item(meta), dict(boxes(meta[b"iprp"]))
    properties = list(boxes(iprp[b"ipco"]))
    indices = dict(_associations(iprp[b"ipma"]))[primary]
    return [properties[index - 1] for index in indices if index]


def _meta(data: bytes) -> dict[bytes, bytes]:
    """Return the contents of the boxes in the box meta, by type."""
    return dict(boxes(next(content for kind, content in boxes(data) if kind == b"meta")[4:]))


def _primary_item(meta: dict[bytes, bytes]) -> int:
    """Return the number of the primary image."""
    pitm = meta[b"pitm"]
    (primary,) = struct.unpack_from(">H" if pitm[0] == 0 else ">I", pitm, 4)
    return int(primary)


def primary_start(data: bytes, length: int) -> bytes:
    """Return the first bytes, `length` at most, of the coded primary image; none if it is not found."""
    try:
        start = _primary_start(data)
    except DAMAGE:
        return b""
    return b"" if start is None else data[start : start + length]


def _primary_start(data: bytes) -> int | None:
    """Return the position of the first byte of the primary image, where it is stored in one piece."""
    meta = _meta(data)
    primary, iloc = _primary_item(meta), meta[b"iloc"]
    version = iloc[0]
    offset_bytes, length_bytes = iloc[4] >> 4, iloc[4] & 15
    base_bytes, index_bytes = iloc[5] >> 4, iloc[5] & 15 if version > 0 else 0
    number_bytes = 4 if version == 2 else 2
    at = 6 + number_bytes
    for _ in range(int.from_bytes(iloc[6:at], "big")):
        item = int.from_bytes(iloc[at : at + number_bytes], "big")
        at += number_bytes
        method = iloc[at + 1] & 15 if version > 0 else 0
        at += 4 if version > 0 else 2
        base = int.from_bytes(iloc[at : at + base_bytes], "big")
        at += base_bytes
        (n_extents,) = struct.unpack_from(">H", iloc, at)
        at += 2
        first = at + index_bytes
        if item == primary:
            offset = int.from_bytes(iloc[first : first + offset_bytes], "big")
            return base + offset if method == 0 and n_extents == 1 else None
        at += n_extents * (index_bytes + offset_bytes + length_bytes)
    return None


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and the content of each box."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        header = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
            header = 16
        if size == 0:  # the box extends to the end
            size = len(data) - at
        if size < header:
            return
        yield kind, data[at + header : at + size]
        at += size


def _associations(ipma: bytes) -> Iterator[tuple[int, list[int]]]:
    """Yield each image's number, with the numbers of its properties, from 1."""
    version, flags = ipma[0], ipma[3]
    (count,) = struct.unpack_from(">I", ipma, 4)
    item_format, item_bytes = (">H", 2) if version == 0 else (">I", 4)
    wide = flags & 1
    at = 8
    for _ in range(count):
        (item,) = struct.unpack_from(item_format, ipma, at)
        n = ipma[at + item_bytes]
        at += item_bytes + 1
        values = struct.unpack_from(f">{n}{'H' if wide else 'B'}", ipma, at)
        yield item, [value & (0x7FFF if wide else 0x7F) for value in values]  # the top bit says "essential"
        at += n << wide


def bits_per_sample(data: bytes) -> int:
    """Return the bits of a sample of a file's primary image; 8 if the file does not say."""
    for kind, content in primary_properties(data):
        if kind == b"pixi" and len(content) > 5:
            return max(content[5 : 5 + content[4]], default=8)  # later editions append other fields
        if kind == b"av1C" and len(content) > 2 and content[2] & 0x40:
            return 12 if content[2] & 0x20 else 10
    return 8


def codec(data: bytes) -> bytes:
    """Return the type of a file's coded images, such as hvc1; empty if it is not found.

    A picture that is put together of tiles has the type of its tiles.
    """
    try:
        infe = [content for kind, content in boxes(_meta(data)[b"iinf"][6:]) if kind == b"infe"]
    except DAMAGE:
        return b""
    types = [content[8:12] if content[0] == 2 else content[10:14] for content in infe if len(content) > 12]
    return next((kind for kind in types if kind not in DERIVED), b"")
