"""TIFF files of any kind, written from known samples.

The libraries here write few of the kinds that cameras, scanners and programs write.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

NONE, LZW, DEFLATE, PACKBITS = 1, 5, 8, 32773
"""Compressions that are written here."""
WHITE_IS_0, BLACK_IS_0, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
"""Values of the tag PhotometricInterpretation."""

BYTES, SHORT, LONG, RATIONAL, LONG8 = 7, 3, 4, 5, 16
FORMATS = {BYTES: "B", SHORT: "H", LONG: "I", RATIONAL: "I", LONG8: "Q"}
TYPES = {258: SHORT, 320: SHORT, 338: SHORT, 339: SHORT, 529: RATIONAL, 532: RATIONAL, 34675: BYTES}
"""Types of the values of tags; all other tags have positions in the file, or numbers as long."""
SUBFILE_TYPE, STRIPS, STRIP_BYTES, TILES, TILE_BYTES, SUB_IFDS = 254, 273, 279, 324, 325, 330


@dataclass
class Page:
    """A page: its tags, its strips or tiles, and the pages below it."""

    tags: dict[int, Sequence[int]]
    segments: list[bytes]
    below: list[Page] = field(default_factory=list)


def page(
    samples: NDArray[Any],
    *,
    bits: int = 8,
    photometric: int = RGB,
    order: str = "<",
    planar: int = 1,
    tile: int | None = None,
    rows: int = 7,
    compression: int = NONE,
    predictor: int = 1,
    extra: Sequence[int] = (),
    tags: Mapping[int, Sequence[int]] | None = None,
    below: Sequence[Page] = (),
) -> Page:
    """A page of (H, W, N) samples, in strips of `rows` rows, or in tiles of `tile` pixels square."""
    height, width, n = samples.shape
    found: dict[int, Sequence[int]] = {
        256: [width], 257: [height], 258: [bits] * n, 259: [compression], 262: [photometric], 277: [n],
        284: [planar],
    }  # fmt: skip
    if predictor != 1:
        found[317] = [predictor]
    if extra:
        found[338] = list(extra)
    found |= {322: [tile], 323: [tile]} if tile else {278: [rows]}
    planes = [samples] if planar == 1 else [samples[..., [i]] for i in range(n)]
    segments = [
        _compressed(_packed(part, bits, order, predictor), compression)
        for plane in planes
        for part in _parts(plane, tile, rows)
    ]
    return Page(found | dict(tags or {}), segments, list(below))


def tiff(*pages: Page, order: str = "<", big: bool = False) -> bytes:
    """A TIFF file, or a BigTIFF file, of the given pages."""
    number = "Q" if big else "I"
    mark = b"II" if order == "<" else b"MM"
    header = mark + struct.pack(order + ("HHHQ" if big else "HI"), *((43, 8, 0, 0) if big else (42, 0)))
    data = bytearray(header)
    _append_chain(data, list(pages), len(header) - struct.calcsize(number), order, big)
    return bytes(data)


def _append_chain(data: bytearray, pages: list[Page], link: int, order: str, big: bool) -> None:
    """Append pages, each of which is linked from the number at `link`, or from the end of the last one."""
    number = order + ("Q" if big else "I")
    for one in pages:
        struct.pack_into(number, data, link, start := _append(data, one, order, big))
        (n,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
        link = start + (8 + 20 * n if big else 2 + 12 * n)


def _append(data: bytearray, one: Page, order: str, big: bool) -> int:
    """Append a page; return the position of its directory."""
    positions = []
    for segment in one.segments:
        positions.append(len(data))
        data += segment + bytes(len(segment) % 2)
    sizes = [len(segment) for segment in one.segments]
    is_tiled = 322 in one.tags
    tags = {(TILES if is_tiled else STRIPS): positions, (TILE_BYTES if is_tiled else STRIP_BYTES): sizes}
    tags |= {tag: list(values) for tag, values in one.tags.items()}
    if one.below:
        tags[SUB_IFDS] = [_append(data, other, order, big) for other in one.below]
    entries, room = b"", 8 if big else 4
    for tag, values in sorted(tags.items()):
        kind = TYPES.get(tag, LONG8 if big else LONG)
        body = struct.pack(f"{order}{len(values)}{FORMATS[kind]}", *values)
        n = len(values) // 2 if kind == RATIONAL else len(values)
        if len(body) > room:
            at = len(data)
            data += body + bytes(len(body) % 2)
            body = struct.pack(order + ("Q" if big else "I"), at)
        entries += struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, n)
        entries += body.ljust(room, b"\0")
    start = len(data)
    data += struct.pack(order + ("Q" if big else "H"), len(tags)) + entries + bytes(room)
    return start


def _parts(plane: NDArray[Any], tile: int | None, rows: int) -> Iterator[NDArray[Any]]:
    """Yield the strips of a plane, or its tiles, which are filled up with zeros."""
    height, width, n = plane.shape
    if tile is None:
        yield from (plane[y : y + rows] for y in range(0, height, rows))
        return
    for y in range(0, height, tile):
        for x in range(0, width, tile):
            part = plane[y : y + tile, x : x + tile]
            whole = np.zeros((tile, tile, n), plane.dtype)
            whole[: part.shape[0], : part.shape[1]] = part
            yield whole


def _packed(part: NDArray[Any], bits: int, order: str, predictor: int) -> list[bytes]:
    """The rows of a strip or a tile as bytes."""
    if predictor == 2:  # each pixel becomes its difference to the one on its left
        part = np.concatenate([part[:, :1], np.diff(part, axis=1)], axis=1)
    if bits > 8:
        return [row.astype(f"{order}u{bits // 8}").tobytes() for row in part]
    digits = np.unpackbits(part.astype(np.uint8)[..., None], axis=-1)[..., 8 - bits :]
    return [np.packbits(row.reshape(-1)).tobytes() for row in digits]


def _compressed(rows: list[bytes], compression: int) -> bytes:
    if compression == LZW:
        return _lzw(b"".join(rows))
    if compression == DEFLATE:
        return zlib.compress(b"".join(rows))
    if compression == PACKBITS:
        return b"".join(map(_packbits, rows))
    return b"".join(rows)


def _lzw(data: bytes) -> bytes:
    """Codes of 9 bits alone: each byte for itself, and a clear code before the codes would need 10 bits."""
    codes = []
    for i, byte in enumerate(data):
        if i % 250 == 0:
            codes.append(256)
        codes.append(byte)
    text = "".join(f"{code:09b}" for code in [*codes, 257])
    return int(text.ljust(-len(text) % 8 + len(text), "0"), 2).to_bytes(-(-len(text) // 8), "big")


def _packbits(row: bytes) -> bytes:
    """Runs of equal bytes, and single bytes."""
    packed = b""
    for byte, group in groupby(row):
        n = len(list(group))
        while n > 0:
            packed += bytes([(1 - min(n, 128)) & 255, byte])
            n -= 128
    return packed
