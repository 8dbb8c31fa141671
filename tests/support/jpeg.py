"""A writer of JPEG files of any sampling factors, which the libraries here do not write."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

STEP = 2
"""Step of all coefficients."""
ZIGZAG = sorted(
    range(64), key=lambda i: (i // 8 + i % 8, i // 8 if (i // 8 + i % 8) % 2 else i % 8)
)  # up along even diagonals, down along odd ones
DC_SYMBOLS = list(range(12))
AC_SYMBOLS = [0, 0xF0, *(run << 4 | size for run in range(16) for size in range(1, 11))]
DC_BITS, AC_BITS = 5, 8
"""Lengths of all codes of a table. The code of a symbol is the symbol's place in the list."""


def baseline_jpeg(
    channels: NDArray[np.uint8],
    sampling: Sequence[tuple[int, int]],
    *,
    restart: int = 0,
    adobe: int | None = None,
) -> bytes:
    """Encode an (H, W, C) uint8 image, whose channels are written as they are, as a baseline JPEG.

    Args:
        channels: The components: grey; Y, Cb and Cr; or four inks.
        sampling: The horizontal and vertical sampling factor of each component.
        restart: MCUs between two restart markers; 0 for none.
        adobe: The transform in Adobe's segment; None for no such segment.
    """
    height, width, n = channels.shape
    across, down = (max(factors) for factors in zip(*sampling, strict=True))
    columns, rows = -(-width // (8 * across)), -(-height // (8 * down))
    padded = np.pad(
        channels, ((0, rows * 8 * down - height), (0, columns * 8 * across - width), (0, 0)), mode="edge"
    )
    blocks = [
        _coefficients(_reduced(padded[..., i], across / h, down / v)) for i, (h, v) in enumerate(sampling)
    ]
    intervals: list[bytes] = []
    bits: list[str] = []
    before = [0] * n
    for mcu in range(rows * columns):
        if restart and mcu and mcu % restart == 0:
            intervals.append(_packed(bits))
            bits, before = [], [0] * n
        row, column = divmod(mcu, columns)
        for i, (h, v) in enumerate(sampling):
            for y in range(row * v, (row + 1) * v):
                for x in range(column * h, (column + 1) * h):
                    bits += _codes(blocks[i][y, x], before[i])
                    before[i] = int(blocks[i][y, x, 0])
    intervals.append(_packed(bits))
    scan = intervals[0]
    for i, interval in enumerate(intervals[1:]):
        scan += bytes([0xFF, 0xD0 + i % 8]) + interval
    components = b"".join(bytes([i + 1, h << 4 | v, 0]) for i, (h, v) in enumerate(sampling))
    segments = [
        (0xDB, bytes([0]) + bytes([STEP]) * 64),
        (0xC0, struct.pack(">BHHB", 8, height, width, n) + components),
        (0xC4, _table(0, DC_BITS, DC_SYMBOLS) + _table(0x10, AC_BITS, AC_SYMBOLS)),
        (0xDD, struct.pack(">H", restart)),
        (0xDA, bytes([n]) + b"".join(bytes([i + 1, 0]) for i in range(n)) + bytes([0, 63, 0])),
    ]
    if adobe is not None:
        segments.insert(0, (0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, adobe)))
    return b"\xff\xd8" + b"".join(map(segment, *zip(*segments, strict=True))) + scan + b"\xff\xd9"


def segment(marker: int, content: bytes) -> bytes:
    """A segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content


def _reduced(channel: NDArray[np.uint8], across: float, down: float) -> NDArray[np.float64]:
    """The channel at the resolution of its sampling factors: the nearest sample of each pixel."""
    height, width = int(channel.shape[0] / down), int(channel.shape[1] / across)
    rows, columns = (np.arange(height) * down).astype(int), (np.arange(width) * across).astype(int)
    return np.asarray(channel[rows][:, columns], float)


def _coefficients(channel: NDArray[np.float64]) -> NDArray[np.int64]:
    """(rows, columns, 64) quantised coefficients of each block, in zigzag order."""
    k, x = np.mgrid[:8, :8]
    dct = np.cos((2 * x + 1) * k * np.pi / 16) * np.where(k == 0, np.sqrt(1 / 8), 0.5)
    blocks = (channel - 128).reshape(channel.shape[0] // 8, 8, -1, 8).swapaxes(1, 2)
    coefficients = np.rint((dct @ blocks @ dct.T) / STEP).reshape(*blocks.shape[:2], 64)
    return np.asarray(coefficients[..., ZIGZAG], np.int64)


def _codes(block: NDArray[np.int64], before: int) -> list[str]:
    """The bits of a block, for the tables of `_table`."""
    size, value = _value(int(block[0]) - before)
    codes, run = [f"{size:0{DC_BITS}b}{value}"], 0
    for coefficient in block[1:].tolist():
        if coefficient == 0:
            run += 1
            continue
        size, value = _value(coefficient)
        codes += [_ac_code(0xF0)] * (run // 16)
        codes.append(_ac_code(run % 16 << 4 | size) + value)
        run = 0
    return [*codes, _ac_code(0)] if run else codes


def _ac_code(symbol: int) -> str:
    return f"{AC_SYMBOLS.index(symbol):0{AC_BITS}b}"


def _value(number: int) -> tuple[int, str]:
    """The size of a number in bits, and the bits: of a negative number, those of number - 1."""
    size = abs(number).bit_length()
    return size, f"{number if number > 0 else number + (1 << size) - 1:0{size}b}" if size else ""


def _packed(codes: list[str]) -> bytes:
    """The bytes of codes, filled up with ones, with a zero after each byte 0xFF."""
    text = "".join(codes)
    text += "1" * (-len(text) % 8)
    return int("1" + text, 2).to_bytes(len(text) // 8 + 1, "big")[1:].replace(b"\xff", b"\xff\0")


def _table(number: int, length: int, symbols: list[int]) -> bytes:
    """A Huffman table whose codes all have the same length."""
    return bytes([number, *(len(symbols) * (n == length) for n in range(1, 17)), *symbols])
