"""A PNG file whose pixel data end too soon is damaged, also where Pillow takes missing rows for black."""

import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray

from kseg_batch.errors import ImageError
from kseg_batch.images.decode import decode
from kseg_batch.images.readers.png_rows import ADAM7, WHOLE
from tests.support.image_files import png_of_chunks
from tests.support.images import noise

SIZES = [(1, 1), (1, 9), (3, 1), (5, 3), (8, 8), (33, 21)]


def png_with_alpha(rgb: NDArray[np.uint8], *, interlaced: bool, missing: int = 0) -> bytes:
    """An opaque PNG of (H, W, 3) pixels with alpha, unfiltered, without the last bytes of its rows."""
    height, width, _ = rgb.shape
    rgba = np.dstack([rgb, np.full((height, width), 255, np.uint8)])
    rows = b"".join(
        b"\0" + row.tobytes()
        for x, y, x_step, y_step in (ADAM7 if interlaced else WHOLE)
        for row in rgba[y::y_step, x::x_step]
        if row.size
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, interlaced)
    data = zlib.compress(rows[: len(rows) - missing])
    middle = len(data) // 2
    return png_of_chunks(
        (b"IHDR", header), (b"IDAT", data[:middle]), (b"IDAT", data[middle:]), (b"IEND", b"")
    )


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_all_rows_are_needed(size: tuple[int, int], interlaced: bool) -> None:
    rgb = noise(*size)
    assert np.array_equal(decode(png_with_alpha(rgb, interlaced=interlaced)).rgb, rgb)
    with pytest.raises(ImageError, match="it is damaged: its PNG data end too soon"):
        decode(png_with_alpha(rgb, interlaced=interlaced, missing=1))


def test_damaged_compression() -> None:
    header = struct.pack(">IIBBBBB", 9, 9, 8, 6, 0, 0, 0)
    data = bytearray(zlib.compress(bytes(9 * 37)))
    data[-1] ^= 1
    with pytest.raises(ImageError, match="it is damaged: its PNG data cannot be decompressed"):
        decode(png_of_chunks((b"IHDR", header), (b"IDAT", bytes(data)), (b"IEND", b"")))
