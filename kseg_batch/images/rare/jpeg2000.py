"""JPEG 2000 (ISO/IEC 15444-1): what the boxes and the codestream say before the pixels are decoded.

Decoders drop bits, guess the meaning of channels and take unknown colour spaces for sRGB. Files for which
they would have to guess are refused here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kseg_batch.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

CODESTREAM = b"\xff\x4f\xff\x51"
CONTAINER = b"\0\0\0\x0cjP  \r\n\x87\n"
START_OF_TILE, END_OF_CODESTREAM = b"\xff\x90", b"\xff\xd9"

ENUMERATED, RESTRICTED_ICC, ANY_ICC = 1, 2, 3
"""Methods of the box colr."""
SRGB, GRAY, SYCC = 16, 17, 18
"""Colour spaces of the method ENUMERATED."""
COLOR_CHANNEL, OPACITY = 0, 1
"""Types of channels in the box cdef."""

SAVE = "save it as PNG or TIFF"


@dataclass(frozen=True, slots=True)
class Jpeg2000:
    """What a file says about its pixels."""

    bits: int
    """Bits of a sample."""
    has_alpha: bool
    profile: bytes | None
    """The ICC profile."""


def is_jpeg2000(data: bytes) -> bool:
    """Return whether a file begins as a JPEG 2000 file, or as its bare codestream."""
    return data.startswith((CONTAINER, CODESTREAM))


def check_jpeg2000(data: bytes) -> None:
    """Raise an ImageError for a truncated file: the lengths of its tiles have to lead to its end."""
    try:
        start, end = _codestream(data)
        at = start + 2
        while data[at : at + 2] != START_OF_TILE:
            at += 2 + _length(data, at + 2)
        while data[at : at + 2] == START_OF_TILE and at < end:
            (length,) = struct.unpack_from(">I", data, at + 6)
            if length == 0:  # the tile extends to the end of the codestream
                at = data.rindex(END_OF_CODESTREAM, at, end)
            else:
                at += max(length, 12)
        whole = data[at : at + 2] == END_OF_CODESTREAM and at + 2 <= end
    except (struct.error, IndexError, ValueError):
        whole = False
    if not whole:
        raise ImageError("it is truncated, or damaged: the JPEG 2000 codestream has no end")


def read_jpeg2000(data: bytes) -> Jpeg2000:
    """Return what a file says about its pixels.

    Raises:
        ImageError: The file is damaged, or of a kind that is not read here.
    """
    try:
        start, _ = _codestream(data)
        width, height, left, top, *_, n = struct.unpack_from(">8IH", data, start + 8)
        components = [struct.unpack_from("BBB", data, start + 42 + 3 * i) for i in range(n)]
        header = dict(reversed(list(_boxes(_jp2h(data))))) if data.startswith(CONTAINER) else {}
        if header and struct.unpack_from(">II", header[b"ihdr"]) != (height - top, width - left):
            raise ImageError("it is damaged: its header and its codestream have different sizes")
    except (struct.error, IndexError, KeyError, ValueError) as error:
        raise ImageError("it is a damaged JPEG 2000 file") from error
    if any((x, y) != (1, 1) for _, x, y in components):
        raise ImageError(f"it is a JPEG 2000 with subsampled colours; {SAVE}")
    precisions = {precision for precision, _, _ in components}
    bits = 1 + max(precisions)
    if len(precisions) > 1 or not 8 <= bits <= 16:  # 128 more for signed samples
        raise ImageError(f"its samples are signed, or not of 8 to 16 bits; {SAVE}")
    if n > 4:
        raise ImageError(f"it has {n} channels; {SAVE}")
    if b"pclr" in header:
        raise ImageError(f"it is a JPEG 2000 with a palette; {SAVE}")
    has_alpha = _has_alpha(n, header.get(b"cdef"))
    return Jpeg2000(bits, has_alpha, _profile(n - has_alpha, bits, header.get(b"colr")))


def icc_profile(data: bytes) -> bytes | None:
    """Return the ICC profile of a file that `read_jpeg2000` accepts; None if there is none."""
    return read_jpeg2000(data).profile


def _profile(n_colors: int, bits: int, colr: bytes | None) -> bytes | None:
    """Return the ICC profile; None for sRGB, grey, sYCC, and for a codestream without a colour space."""
    if colr is None:
        return None
    if colr[0] in (RESTRICTED_ICC, ANY_ICC):
        return colr[3:]
    space = int.from_bytes(colr[3:7], "big") if colr[0] == ENUMERATED else None
    if (space, n_colors) not in ((SRGB, 3), (GRAY, 1), (SYCC, 3)) or (space == SYCC and bits > 8):
        raise ImageError(f"its colour space is not read from JPEG 2000 ({space}); {SAVE}")
    return None


def _has_alpha(n: int, cdef: bytes | None) -> bool:
    """Return whether the last of n channels is alpha.

    Raises:
        ImageError: The channels have another order, or another meaning than colours and opacity.
    """
    usual = {i: (COLOR_CHANNEL, i + 1) for i in range(n)}
    if n in (2, 4):
        usual[n - 1] = (OPACITY, 0)
    if cdef is None:
        described = {} if n in (2, 4) else usual
    else:
        entries = (struct.unpack_from(">HHH", cdef, 2 + 6 * i) for i in range((len(cdef) - 2) // 6))
        described = {channel: (meaning, color) for channel, meaning, color in entries}
    if described != usual:
        raise ImageError(f"its {n} channels are not said to be colours and alpha; {SAVE}")
    return n in (2, 4)


def _codestream(data: bytes) -> tuple[int, int]:
    """Return the first byte and the end of the codestream. Data may follow a bare one."""
    if data.startswith(CODESTREAM):
        return 0, len(data)
    for kind, start, end in _spans(data):
        if kind == b"jp2c":
            return start, end
    raise ValueError("there is no codestream")


def _jp2h(data: bytes) -> bytes:
    return next(data[start:end] for kind, start, end in _spans(data) if kind == b"jp2h")


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and the content of each box."""
    for kind, start, end in _spans(data):
        yield kind, data[start:end]


def _spans(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the type, the first byte of the content and the end of each box."""
    at = 0
    while at + 8 <= len(data):
        size, kind, start = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], at + 8
        if size == 1:
            size, start = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        end = len(data) if size == 0 else at + size
        if not start <= end:
            raise ValueError("a box is shorter than its head")
        yield kind, start, end
        at = end


def _length(data: bytes, at: int) -> int:
    """Return the length of a marker segment, which is at least that of the length itself."""
    return max(2, int(struct.unpack_from(">H", data, at)[0]))
