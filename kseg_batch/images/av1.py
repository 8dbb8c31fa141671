"""The sequence header of AV1, which has the colour codes of an AVIF file without a box for them.

The order of the fields is that of the AV1 specification, sections 5.5.1 to 5.5.5.
"""

from __future__ import annotations

SEQUENCE_HEADER = 1
"""Type of the OBU that holds the header."""
SELECT = 2
"""Value by which each frame chooses its screen content tools."""


def color_codes(stream: bytes) -> tuple[int, int] | None:
    """Return the codes of the primaries and of the transfer function, by ITU-T H.273; None if there are none.

    Args:
        stream: The first bytes of an image's OBUs, up to the end of the sequence header.
    """
    try:
        return _color_codes(_sequence_header(stream))
    except (IndexError, ValueError):  # the header is cut short, or there is none
        return None


class _Bits:
    """Reads the bits of a header, the highest of a byte first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def read(self, n: int) -> int:
        """Return the next n bits as a number."""
        self._left -= n
        return self._value >> self._left & ((1 << n) - 1)  # a negative shift raises a ValueError

    def flag(self) -> bool:
        return self.read(1) == 1

    def skip_variable_number(self) -> None:
        """Skip a number with as many leading zeros as bits after its first one."""
        zeros = 0
        while not self.flag():
            zeros += 1
        self.read(min(zeros, 32))


def _sequence_header(stream: bytes) -> bytes:
    """Return the bytes of a stream from the content of its sequence header on."""
    at = 0
    while True:
        kind, has_extension = stream[at] >> 3 & 15, stream[at] & 4
        at += 2 if has_extension else 1
        size, shift = 0, 0
        while True:  # 7 bits of the size in each byte, the lowest first; the last byte is below 128
            size |= (stream[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if stream[at - 1] < 0x80:
                break
        if kind == SEQUENCE_HEADER:
            return stream[at:]
        at += size


def _color_codes(header: bytes) -> tuple[int, int] | None:
    bits = _Bits(header)
    profile = bits.read(3)
    bits.flag()  # still picture
    reduced = bits.flag()
    if reduced:
        bits.read(5)  # level
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    bits.read(width_bits + height_bits)
    if not reduced and bits.flag():
        bits.read(4 + 3)  # frame numbers
    bits.read(3)  # superblocks, two filters
    if not reduced:
        _skip_tools(bits)
    bits.read(3)  # super-resolution, two filters
    is_high = bits.flag()
    if profile == 2 and is_high:
        bits.flag()  # 12 bits
    if profile != 1:
        bits.flag()  # monochrome
    return (bits.read(8), bits.read(8)) if bits.flag() else None


def _skip_operating_points(bits: _Bits) -> None:
    has_model, delay_bits = False, 0
    if bits.flag():  # timing
        bits.read(32 + 32)
        if bits.flag():
            bits.skip_variable_number()
        has_model = bits.flag()
        if has_model:
            delay_bits = bits.read(5) + 1
            bits.read(32 + 5 + 5)
    has_delay = bits.flag()
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:  # level
            bits.flag()  # tier
        if has_model and bits.flag():
            bits.read(2 * delay_bits + 1)
        if has_delay and bits.flag():
            bits.read(4)


def _skip_tools(bits: _Bits) -> None:
    bits.read(4)  # four tools of inter frames
    has_order = bits.flag()
    if has_order:
        bits.read(2)
    screen_tools = SELECT if bits.flag() else bits.read(1)
    if screen_tools > 0 and not bits.flag():
        bits.flag()  # whole motion vectors
    if has_order:
        bits.read(3)
