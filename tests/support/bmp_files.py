"""BMP files of any kind, written from known pixels."""

from __future__ import annotations

import struct
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NONE, RLE8, RLE4, BITFIELDS, ALPHA_BITFIELDS = 0, 1, 2, 3, 6
"""Values of the field biCompression."""
OS2, INFO, V2, V3, OS2_2, V4, V5 = 12, 40, 52, 56, 64, 108, 124
"""Sizes of the headers."""


def bmp(
    rows: Sequence[bytes] | bytes,
    width: int,
    height: int,
    bits: int,
    *,
    header: int = INFO,
    compression: int = NONE,
    palette: NDArray[np.uint8] | None = None,
    masks: Sequence[int] = (),
    top_down: bool = False,
) -> bytes:
    """A BMP of rows from the top, or of compressed data.

    Args:
        rows: The rows, not yet filled up to four bytes; or all data after compression.
        width: The width in pixels.
        height: The height in pixels.
        bits: Bits of a pixel.
        header: Size of the header in bytes.
        compression: Value of biCompression.
        palette: (n, 3) RGB.
        masks: The bits of red, green, blue and alpha in a pixel.
        top_down: Whether the first row is the highest one.
    """
    if isinstance(rows, bytes):
        data = rows
    else:
        data = b"".join(row + bytes(-len(row) % 4) for row in (rows if top_down else rows[::-1]))
    colors = b""
    if palette is not None:
        colors = b"".join(bytes([b, g, r]) + (b"" if header == OS2 else b"\0") for r, g, b in palette)
    fields = struct.pack(f"<{len(masks)}I", *masks)
    if header == OS2:
        head = struct.pack("<IHHHH", header, width, height, 1, bits)
    else:
        n = 0 if palette is None else len(palette)
        signed = -height if top_down else height
        head = struct.pack("<IiiHHIIiiII", header, width, signed, 1, bits, compression, len(data), 0, 0, n, 0)
        if header < INFO:
            head = head[:header]
        elif header > INFO:
            head, fields = (head + fields).ljust(header, b"\0"), b""
    start = 14 + len(head) + len(fields) + len(colors)
    return struct.pack("<2sIII", b"BM", start + len(data), 0, start) + head + fields + colors + data


def packed_indices(indices: NDArray[Any], bits: int) -> list[bytes]:
    """The rows of (H, W) palette indices."""
    digits = np.unpackbits(indices.astype(np.uint8)[..., None], axis=-1)[..., 8 - bits :]
    return [np.packbits(row.reshape(-1)).tobytes() for row in digits]


def packed_fields(pixels: NDArray[Any], bits: int, masks: Sequence[int]) -> list[bytes]:
    """The rows of (H, W, 3 or 4) values, each shifted to the bits of its mask."""
    words = np.zeros(pixels.shape[:2], np.uint64)
    for channel, mask in enumerate(masks):
        if mask:
            words |= pixels[..., channel].astype(np.uint64) << np.uint64((mask & -mask).bit_length() - 1)
    return [row.astype(f"<u{bits // 8}").tobytes() for row in words]


def run_lengths(indices: NDArray[Any], bits: int, *, absolute: bool = False) -> bytes:
    """(H, W) palette indices in RLE4 or RLE8: as runs, or as uncompressed stretches."""
    data = b""
    for row in indices[::-1].tolist():
        if absolute:
            for at in range(0, len(row), 200):
                data += _stretch(row[at : at + 200], bits)
        else:
            for value, group in groupby(row):
                n = len(list(group))
                while n > 0:
                    data += bytes([min(n, 255), value if bits == 8 else value * 17])
                    n -= 255
        data += b"\0\0"
    return data[:-2] + b"\0\1"


def _stretch(values: list[int], bits: int) -> bytes:
    if len(values) < 3:
        return b"".join(bytes([1, value if bits == 8 else value * 17]) for value in values)
    body = bytes(values)
    if bits == 4:
        pairs = [*values, 0]
        body = bytes(16 * pairs[i] + pairs[i + 1] for i in range(0, len(values), 2))
    return bytes([0, len(values)]) + body + bytes(len(body) % 2)
