"""PNG files of any kind, written from known samples."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.support.image_files import png_of_chunks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

GRAY, RGB, INDEXED, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6
"""Colour types."""
CHANNELS = {GRAY: 1, RGB: 3, INDEXED: 1, GRAY_ALPHA: 2, RGBA: 4}
DEPTHS = {GRAY: (1, 2, 4, 8, 16), RGB: (8, 16), INDEXED: (1, 2, 4, 8), GRAY_ALPHA: (8, 16), RGBA: (8, 16)}
"""Bits of a sample that each colour type may have."""
ADAM7 = (
    (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1),
)  # fmt: skip
"""First row, first column, and the distances of rows and columns of each pass."""


def png(
    samples: NDArray[Any],
    color_type: int,
    bits: int,
    *,
    interlaced: bool = False,
    filters: Sequence[int] = (0,),
    before: Sequence[tuple[bytes, bytes]] = (),
    after: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    """A PNG of (H, W, N) samples.

    Args:
        samples: The samples of a pixel; one for grey and for palette indices.
        color_type: The colour type.
        bits: Bits of a sample.
        interlaced: Whether the rows are in the order of Adam7.
        filters: Filter types of rows, repeated from the first row of each pass.
        before: Chunks before the pixels.
        after: Chunks after the pixels.
    """
    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, interlaced)
    return png_of_chunks(
        (b"IHDR", header),
        *before,
        (b"IDAT", compressed(samples, bits, interlaced=interlaced, filters=filters)),
        *after,
        (b"IEND", b""),
    )


def compressed(
    samples: NDArray[Any], bits: int, *, interlaced: bool = False, filters: Sequence[int] = (0,)
) -> bytes:
    """The content of the chunk IDAT for (H, W, N) samples."""
    passes = [samples[y::dy, x::dx] for y, x, dy, dx in ADAM7] if interlaced else [samples]
    step = max(1, samples.shape[2] * bits // 8)
    raw = b"".join(_filtered(_packed(part, bits), step, filters) for part in passes if part.size)
    return zlib.compress(raw)


def transparent_color(*values: int) -> tuple[bytes, bytes]:
    """The chunk that marks a colour as transparent."""
    return b"tRNS", struct.pack(f">{len(values)}H", *values)


def _packed(part: NDArray[Any], bits: int) -> list[bytes]:
    if bits == 16:
        return [row.astype(">u2").tobytes() for row in part]
    digits = np.unpackbits(part.astype(np.uint8)[..., None], axis=-1)[..., 8 - bits :]
    return [np.packbits(row.reshape(-1)).tobytes() for row in digits]


def _filtered(rows: list[bytes], step: int, filters: Sequence[int]) -> bytes:
    filtered, above = b"", bytes(len(rows[0]))
    for i, row in enumerate(rows):
        kind = filters[i % len(filters)]
        left, corner = bytes(step) + row[:-step], bytes(step) + above[:-step]
        near = zip(left[: len(row)], above, corner[: len(row)], strict=True)
        guesses = [_guess(kind, a, b, c) for a, b, c in near]
        filtered += bytes([kind, *((value - guess) & 255 for value, guess in zip(row, guesses, strict=True))])
        above = row
    return filtered


def _guess(kind: int, left: int, above: int, corner: int) -> int:
    if kind < 4:
        return (0, left, above, (left + above) // 2)[kind]
    distances = [abs(above - corner), abs(left - corner), abs(left + above - 2 * corner)]
    return (left, above, corner)[distances.index(min(distances))]
