"""GIF files of any kind, written from known indices."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def gif(
    width: int,
    height: int,
    *frames: bytes,
    palette: NDArray[np.uint8] | None = None,
    trailer: bytes = b";",
) -> bytes:
    """A GIF of a canvas and its frames, with a (256, 3) palette for all frames."""
    flags = 0 if palette is None else 0x80 | 7
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, flags, 0, 0)
    return head + (b"" if palette is None else palette.tobytes()) + b"".join(frames) + trailer


def frame(
    indices: NDArray[np.uint8],
    left: int = 0,
    top: int = 0,
    *,
    palette: NDArray[np.uint8] | None = None,
    transparent: int | None = None,
    interlaced: bool = False,
) -> bytes:
    """A frame of (H, W) indices, with a (256, 3) palette of its own."""
    height, width = indices.shape
    control = b""
    if transparent is not None:
        control = b"\x21\xf9\x04\x01\0\0" + bytes([transparent]) + b"\0"
    flags = (0 if palette is None else 0x80 | 7) | (0x40 if interlaced else 0)
    if interlaced:
        order = [*range(0, height, 8), *range(4, height, 8), *range(2, height, 4), *range(1, height, 2)]
        indices = indices[order]
    head = b"," + struct.pack("<HHHHB", left, top, width, height, flags)
    colors = b"" if palette is None else palette.tobytes()
    return control + head + colors + _blocks(indices.reshape(-1).tolist())


def _blocks(indices: list[int]) -> bytes:
    """Codes of 9 bits alone, with a clear code before the codes would need 10 bits, in blocks."""
    codes = []
    for i, index in enumerate(indices):
        if i % 250 == 0:
            codes.append(256)
        codes.append(index)
    number = sum(code << 9 * i for i, code in enumerate([*codes, 257]))
    data = number.to_bytes(-(-9 * (len(codes) + 1) // 8), "little")
    blocks = [data[i : i + 255] for i in range(0, len(data), 255)]
    return b"\x08" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"
