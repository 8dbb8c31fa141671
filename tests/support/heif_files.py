"""AVIF and HEIC files with properties that the libraries here do not write, such as a clean aperture."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TRANSFORMATIONS = (b"clap", b"irot", b"imir")


def box(kind: bytes, content: bytes) -> bytes:
    """A box of a type."""
    return struct.pack(">I4s", 8 + len(content), kind) + content


def clean_aperture(*numbers: int) -> bytes:
    """The box of a clean aperture: width, height, and the two offsets of its centre, each as two numbers."""
    return box(b"clap", struct.pack(">8i", *numbers))


def aperture_at(left: int, top: int, width: int, height: int, *, of: tuple[int, int]) -> bytes:
    """The box of a clean aperture of whole pixels, in an image of (width, height)."""
    across, down = 2 * left + width - of[0], 2 * top + height - of[1]
    return clean_aperture(width, 1, height, 1, across, 2, down, 2)


def rotation(quarters: int) -> bytes:
    """The box of a rotation by quarter turns anticlockwise."""
    return box(b"irot", bytes([quarters]))


def mirror(axis: int) -> bytes:
    """The box of a mirroring: 0 exchanges top and bottom, 1 left and right."""
    return box(b"imir", bytes([axis]))


def with_transformations(data: bytes, boxes: Sequence[bytes]) -> bytes:
    """The file with the transformations of its primary image, in this order, in the place of its own."""
    top = dict(_boxes(data))
    meta = dict(_boxes(top[b"meta"][4:]))
    iprp = dict(_boxes(meta[b"iprp"]))
    properties = [box(kind, content) for kind, content in _boxes(iprp[b"ipco"])]
    kept = [i for i, one in enumerate(properties, 1) if one[4:8] not in TRANSFORMATIONS]
    added = range(len(properties) + 1, len(properties) + 1 + len(boxes))
    iprp[b"ipco"] = b"".join([*properties, *boxes])
    iprp[b"ipma"] = _associate(iprp[b"ipma"], meta[b"pitm"][4:6], kept, list(added))
    meta[b"iprp"] = b"".join(box(kind, content) for kind, content in iprp.items())
    before = len(top[b"meta"])
    grown = 4 + sum(8 + len(content) for content in meta.values()) - before
    meta[b"iloc"] = _shifted(meta[b"iloc"], grown)
    top[b"meta"] = top[b"meta"][:4] + b"".join(box(kind, content) for kind, content in meta.items())
    return b"".join(box(kind, content) for kind, content in top.items())


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        size = size or len(data) - at
        yield kind, data[at + 8 : at + size]
        at += size


def _associate(ipma: bytes, item: bytes, kept: Sequence[int], added: Sequence[int]) -> bytes:
    """The associations, of which those of an item lose what is not kept, and gain what is added."""
    assert ipma[:4] == bytes(4)  # short numbers
    (count,) = struct.unpack_from(">I", ipma, 4)
    parts, at = [ipma[:8]], 8
    for _ in range(count):
        n = ipma[at + 2]
        found = ipma[at + 3 : at + 3 + n]
        if ipma[at : at + 2] == item:
            found = bytes([one for one in found if one & 127 in kept] + [128 | one for one in added])
        parts.append(ipma[at : at + 2] + bytes([len(found)]) + found)
        at += 3 + n
    return b"".join(parts)


def _shifted(iloc: bytes, distance: int) -> bytes:
    """The places of items, each of one piece, moved by a number of bytes."""
    version, sizes = iloc[0], iloc[4:6]
    assert version in (0, 1) and sizes[0] == 0x44 and sizes[1] in (0, 0x40)
    (count,) = struct.unpack_from(">H", iloc, 6)
    moved, at = bytearray(iloc), 8
    for _ in range(count):
        in_file = version == 0 or iloc[at + 3] == 0
        at += 2 + (2 if version else 0) + 2
        at += 4 if sizes[1] else 0
        assert struct.unpack_from(">H", iloc, at) == (1,)
        at += 2
        if in_file:
            (offset,) = struct.unpack_from(">I", iloc, at)
            struct.pack_into(">I", moved, at, offset + distance)
        at += 8
    return bytes(moved)
