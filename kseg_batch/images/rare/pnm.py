"""Netpbm's formats PBM, PGM and PPM: bilevel, grey and RGB samples, in binary or as text.

Pillow would decode samples of more than 8 bits of a PPM to 8 bits, and other maxima than 255 one by one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kseg_batch.errors import ImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPACE = rb"(?:[ \t\r\n\v\f]|#[^\r\n]*[\r\n])+"
"""What separates the numbers of a header: white space and comments."""

HEADER = re.compile(
    rb"P(?:([14])%(s)s(\d{1,10})%(s)s(\d{1,10})|([2356])%(s)s(\d{1,10})%(s)s(\d{1,10})%(s)s(\d{1,10}))\s"
    % {b"s": SPACE}
)

TRUNCATED = "it is truncated: the PNM has fewer pixels than its header says"


@dataclass(frozen=True, slots=True)
class PnmHeader:
    """The header of a PNM file."""

    kind: int
    """1 to 3 for text, 4 to 6 for binary: each bilevel, grey and RGB."""
    width: int
    height: int
    maximum: int
    """The sample that is white. 1 for bilevel, where 1 is black."""
    start: int
    """Position of the first byte of the pixels."""

    @property
    def is_text(self) -> bool:
        """Whether the samples are written as text."""
        return self.kind < 4

    @property
    def channels(self) -> int:
        """Samples of a pixel."""
        return 3 if self.kind in (3, 6) else 1

    @property
    def size(self) -> int:
        """Bytes of the pixels of a binary file."""
        if self.kind == 4:
            return (self.width + 7) // 8 * self.height
        return self.width * self.height * self.channels * (2 if self.maximum > 255 else 1)


def read_header(data: bytes) -> PnmHeader | None:
    """Return the header of a file; None if the file does not begin with one."""
    match = HEADER.match(data)
    if match is None:
        return None
    kind, *numbers = (int(number) for number in match.groups() if number is not None)
    width, height, maximum = (*numbers, 1)[:3]
    return PnmHeader(kind, width, height, maximum, match.end())


def is_pnm(data: bytes) -> bool:
    """Return whether a file begins with the header of a PNM file."""
    return read_header(data) is not None


def check_pnm(data: bytes) -> None:
    """Raise an ImageError for a header that cannot be right, or a binary file that is truncated."""
    header = _header(data)
    if not (header.width and header.height and 0 < header.maximum < 65536):
        raise ImageError("it is damaged: its header has a width, height or maximum that no PNM has")
    if not header.is_text and len(data) < header.start + header.size:
        raise ImageError(TRUNCATED)


def decode_pnm(data: bytes) -> tuple[NDArray[Any], int]:
    """Return the samples of a file that `check_pnm` accepts, and the bits of a sample in the file.

    Returns:
        (H, W, 1) for bilevel and grey, (H, W, 3) for RGB; uint8, or uint16 for samples of more than 8 bits.
        White is 255 or 65535.

    Raises:
        ImageError: The file is truncated, or a sample exceeds the maximum.
    """
    header = _header(data)
    if header.kind in (1, 4):
        samples: NDArray[Any] = 1 - (_text_bits if header.kind == 1 else _bits)(data, header)
    elif header.is_text:
        samples = _text_samples(data, header)
    else:
        n = header.width * header.height * header.channels
        samples = np.frombuffer(data, np.uint8 if header.maximum < 256 else ">u2", n, header.start)
    if samples.max() > header.maximum:
        raise ImageError("it is damaged: a sample is greater than the maximum that its header gives")
    shape = header.height, header.width, header.channels
    return _scale(samples, header.maximum).reshape(shape), header.maximum.bit_length()


def follows_another(data: bytes) -> bool:
    """Return whether another image follows the first one of a binary file."""
    header = _header(data)
    return not header.is_text and is_pnm(data[header.start + header.size :][:1000].lstrip())


def _header(data: bytes) -> PnmHeader:
    header = read_header(data)
    assert header is not None, "by detect_format"
    return header


def _scale(samples: NDArray[Any], maximum: int) -> NDArray[Any]:
    """Return the samples scaled to 8 or 16 bits, rounded to the nearest."""
    white = 255 if maximum < 256 else 65535
    if maximum == white:
        return samples.astype(np.uint8 if white == 255 else np.uint16)
    table = (np.arange(maximum + 1) * 2 * white + maximum) // (2 * maximum)
    scaled: NDArray[Any] = table.astype(np.uint8 if white == 255 else np.uint16)[samples]
    return scaled


def _bits(data: bytes, header: PnmHeader) -> NDArray[np.uint8]:
    packed = np.frombuffer(data, np.uint8, header.size, header.start).reshape(header.height, -1)
    return np.unpackbits(packed, axis=1, count=header.width)


def _text_bits(data: bytes, header: PnmHeader) -> NDArray[np.uint8]:
    """Return the bits of a text, which may stand without spaces."""
    text = np.frombuffer(data, np.uint8, offset=header.start)
    bits: NDArray[np.uint8] = text[(text == ord("0")) | (text == ord("1"))][
        : header.width * header.height
    ] - ord("0")
    if bits.size < header.width * header.height:
        raise ImageError(TRUNCATED)
    return bits


def _text_samples(data: bytes, header: PnmHeader) -> NDArray[np.int64]:
    n = header.width * header.height * header.channels
    text = data[header.start :]
    is_space = np.frombuffer(text, np.uint8) <= ord(" ")
    if np.count_nonzero(is_space[:-1] & ~is_space[1:]) + (not is_space[:1].all()) < n:  # numbers begin
        raise ImageError(TRUNCATED)  # of too few numbers, NumPy would invent some
    samples = np.fromstring(text.decode("latin-1"), np.int64, n, sep=" ")
    if samples.size < n:
        raise ImageError("it is damaged: a sample is not a number")
    return np.where(samples < 0, np.iinfo(np.int64).max, samples)
