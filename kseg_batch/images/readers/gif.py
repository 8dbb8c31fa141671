"""The blocks of GIF files: how many frames there are, and whether the first is whole."""

from __future__ import annotations

from dataclasses import dataclass

TRAILER, EXTENSION, IMAGE = 0x3B, 0x21, 0x2C
"""First bytes of the blocks of a GIF."""


@dataclass(frozen=True, slots=True)
class GifFrames:
    """The frames of a GIF file."""

    n: int
    """Frames that begin in the file."""
    n_whole: int
    """Frames whose data end with their terminator."""
    has_trailer: bool
    """Whether the blocks lead to the trailer, which ends a whole file."""


def find_frames(data: bytes) -> GifFrames:
    """Return what frames the blocks of a GIF file hold."""
    n = n_whole = 0
    try:
        at = 13 + _palette_bytes(data[10])
        while (block := data[at]) != TRAILER:
            if block == IMAGE:
                at += 11 + _palette_bytes(data[at + 9])
                n += 1
            elif block == EXTENSION:
                at += 2
            else:  # a stray byte, which decoders skip
                at += 1
                continue
            while data[at]:
                at += 1 + data[at]
            at += 1
            n_whole += block == IMAGE
    except IndexError:
        return GifFrames(n, n_whole, False)
    return GifFrames(n, n_whole, True)


def _palette_bytes(flags: int) -> int:
    """Size in bytes of the palette that a flags byte announces; 0 for no palette."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
