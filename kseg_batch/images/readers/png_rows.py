"""Check that a PNG file has all its rows, which Pillow does not: it takes missing rows for black ones."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from isal import isal_zlib

from kseg_batch.errors import ImageError
from kseg_batch.images.formats import PNG_SIGNATURE

if TYPE_CHECKING:
    from collections.abc import Iterator

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples of a pixel, by the colour type."""

WHOLE = ((0, 0, 1, 1),)
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column and row, and the steps to the next, of each pass of an interlaced PNG."""

PIECE = 1 << 20
"""Bytes that are decompressed at a time."""


def check_rows(data: bytes) -> None:
    """Raise an ImageError if the compressed data of a PNG file end before the last row, or are damaged.

    A photo of 1920 x 1080 takes 6 ms.

    Args:
        data: The file, whose chunks are whole.
    """
    missing = _bytes_of_rows(data)
    stream = isal_zlib.decompressobj()
    try:
        for content in _compressed(data):
            piece = stream.decompress(content, PIECE)
            while piece:
                missing -= len(piece)
                piece = stream.decompress(stream.unconsumed_tail, PIECE)
    except isal_zlib.error as error:  # type: ignore[misc]  # its stubs declare an instance
        raise ImageError(f"it is damaged: its PNG data cannot be decompressed ({error})") from error
    if missing > 0 or not stream.eof:
        raise ImageError("it is damaged: its PNG data end too soon")


def _bytes_of_rows(data: bytes) -> int:
    """Return the number of bytes of all rows, with their filter types."""
    width, height, bits, color_type, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    total = 0
    for x, y, x_step, y_step in ADAM7 if interlaced else WHOLE:
        columns, rows = -((x - width) // x_step), -((y - height) // y_step)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits * CHANNELS[color_type] + 7) // 8)
    return total


def _compressed(data: bytes) -> Iterator[memoryview]:
    """Yield the contents of the IDAT chunks."""
    view = memoryview(data)
    at = len(PNG_SIGNATURE)
    while (kind := data[at + 4 : at + 8]) != b"IEND":
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if kind == b"IDAT":
            yield view[at + 8 : end]
        at = end + 4
