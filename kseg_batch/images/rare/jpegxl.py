"""JPEG XL (ISO/IEC 18181): what the boxes and the header of the codestream say before decoding.

The decoder looks at no limit of the size, rounds most deep samples in silence, and knows neither animations
nor premultiplied alpha.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from kseg_batch.errors import ImageError
from kseg_batch.images.boxes import boxes

CODESTREAM = b"\xff\x0a"
CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
RATIOS = ((1, 1), (6, 5), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Width and height of the ratios 1 to 7."""
ALPHA, BLACK = 0, 4
"""Types of extra channels."""

SAVE = "save it as PNG"


@dataclass(frozen=True, slots=True)
class JpegXl:
    """What a file says about its pixels."""

    size: tuple[int, int]
    """Width and height, as stored."""
    bits: int
    """Bits of a sample."""
    is_jpeg: bool
    """Whether the file is a packed JPEG, which can be unpacked to the byte."""


def is_jpegxl(data: bytes) -> bool:
    """Return whether a file begins as a JPEG XL file, or as its bare codestream."""
    return data.startswith((CONTAINER, CODESTREAM))


def read_jpegxl(data: bytes) -> JpegXl:
    """Return what a file says about its pixels.

    Raises:
        ImageError: The file is damaged, or of a kind that is not read here.
    """
    try:
        codestream = _codestream(data)
        if not codestream.startswith(CODESTREAM):
            raise ValueError("there is no codestream")
        bits = _Bits(codestream[2:])
        size = _read_size(bits)
        depth = 8 if bits.read(1) else _read_metadata(bits)  # 1 where all is as usual
        is_jpeg = data.startswith(CONTAINER) and any(kind == b"jbrd" for kind, _ in boxes(data))
    except (ValueError, IndexError, struct.error) as error:
        raise ImageError("it is truncated, or damaged: the JPEG XL has no whole header") from error
    return JpegXl(size, depth, is_jpeg)


class _Bits:
    """Numbers of some bits each, from the lowest bit of the first byte on."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def read(self, n: int) -> int:
        """Read a number of n bits."""
        end = self._at + n
        if end > 8 * len(self._data):
            raise ValueError("the header has no end")
        number = int.from_bytes(self._data[self._at // 8 : end // 8 + 1], "little") >> self._at % 8
        self._at = end
        return number & (1 << n) - 1

    def choose(self, *choices: tuple[int, int]) -> int:
        """Read a number of one of four kinds, each a first number and the bits of what is added."""
        first, n = choices[self.read(2)]
        return first + self.read(n)


def _read_size(bits: _Bits) -> tuple[int, int]:
    """Read the width and the height of an image."""
    is_small = bits.read(1)

    def read_side() -> int:
        return 8 * (1 + bits.read(5)) if is_small else bits.choose((1, 9), (1, 13), (1, 18), (1, 30))

    height = read_side()
    ratio = bits.read(3)
    if ratio == 0:
        return read_side(), height
    across, down = RATIOS[ratio - 1]
    return height * across // down, height


def _skip_preview_size(bits: _Bits) -> None:
    choices = (
        ((16, 0), (32, 0), (1, 5), (33, 9)) if bits.read(1) else ((1, 6), (65, 8), (321, 10), (1345, 12))
    )
    bits.choose(*choices)
    if bits.read(3) == 0:
        bits.choose(*choices)


def _read_metadata(bits: _Bits) -> int:
    """Read the metadata of an image, and return the bits of a sample."""
    if bits.read(1):
        bits.read(3)  # the orientation, which the decoder applies
        if bits.read(1):
            _read_size(bits)
        if bits.read(1):
            _skip_preview_size(bits)
        if bits.read(1):
            raise ImageError(f"it is an animated JPEG XL, which is not read here; {SAVE}")
    depth = _read_depth(bits)
    bits.read(1)
    for _ in range(bits.choose((0, 0), (1, 0), (2, 4), (1, 12))):
        _read_extra_channel(bits)
    return depth


def _read_depth(bits: _Bits) -> int:
    if bits.read(1):
        raise ImageError(f"its samples are floating-point numbers; {SAVE}")
    return bits.choose((8, 0), (10, 0), (12, 0), (1, 6))


def _read_extra_channel(bits: _Bits) -> None:
    if bits.read(1):  # alpha of 8 bits
        return
    kind = bits.choose((0, 0), (1, 0), (2, 4), (18, 6))
    _read_depth(bits)
    bits.choose((0, 0), (3, 0), (4, 0), (1, 3))
    for _ in range(bits.choose((0, 0), (0, 4), (16, 5), (48, 10))):
        bits.read(8)  # the name
    if kind == ALPHA and bits.read(1):
        raise ImageError(f"its alpha is premultiplied, which is not read from JPEG XL; {SAVE}")
    if kind == BLACK:
        raise ImageError(f"it is a JPEG XL in CMYK, which is not read here; {SAVE}")
    if kind not in (ALPHA, 1):
        raise ImageError(f"it is a JPEG XL with other channels than colours and alpha; {SAVE}")


def _codestream(data: bytes) -> bytes:
    """Return the first part of the codestream, which has the header."""
    if data.startswith(CODESTREAM):
        return data
    for kind, content in boxes(data):
        if kind == b"jxlc":
            return content
        if kind == b"jxlp":
            return content[4:]
    raise ValueError("there is no codestream")
