"""GIF files: frames that cover a part of the canvas, palettes, transparent colours and missing ends."""

from __future__ import annotations

import itertools
import struct

import numpy as np
import pytest
from numpy.typing import NDArray

from kseg_batch.errors import ImageError
from kseg_batch.images.decode import decode
from tests.support.gif_files import frame, gif
from tests.support.image_files import decoded

RNG = np.random.default_rng(0)
COLORS, OTHER_COLORS = (RNG.integers(0, 256, (256, 3)).astype(np.uint8) for _ in range(2))
GRAYS = np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)
INDICES = RNG.integers(0, 256, (13, 17)).astype(np.uint8)
INDICES[0, :5] = 7
NO_END = "the end of the GIF is missing; its first frame is whole"


def check(data: bytes, expected: NDArray[np.uint8], opaque: NDArray[np.bool_]) -> None:
    """Assert that a file has the expected pixels where it is opaque."""
    photo = decode(data)
    found = np.ones(photo.rgb.shape[:2], bool) if photo.opaque is None else photo.opaque
    assert np.array_equal(found, opaque)
    assert np.array_equal(photo.rgb[opaque], expected[opaque])


def canvas(
    height: int, width: int, left: int, top: int, palette: NDArray[np.uint8], transparent: int | None
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The pixels of `INDICES` on a canvas, and where they are opaque."""
    pixels, opaque = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), bool)
    part = np.s_[top : top + INDICES.shape[0], left : left + INDICES.shape[1]]
    pixels[part] = palette[INDICES]
    opaque[part] = True if transparent is None else transparent != INDICES
    return pixels, opaque


@pytest.mark.parametrize("place", [(0, 0), (3, 2), (13, 7)])
@pytest.mark.parametrize("transparent", [None, 7])
def test_a_frame_on_a_larger_canvas(place: tuple[int, int], transparent: int | None) -> None:
    left, top = place
    for interlaced, palettes in itertools.product(
        (False, True),
        ((COLORS, None), (COLORS, OTHER_COLORS), (None, OTHER_COLORS), (GRAYS, None), (None, None)),
    ):
        of_all, own = palettes
        colors = own if own is not None else of_all if of_all is not None else GRAYS
        first = frame(INDICES, left, top, palette=own, transparent=transparent, interlaced=interlaced)
        data = gif(30, 20, first, palette=of_all)
        check(data, *canvas(20, 30, left, top, colors, transparent))
        check(
            gif(30, 20, first, frame(INDICES), palette=of_all),
            *canvas(20, 30, left, top, colors, transparent),
        )


def test_another_decoder_agrees() -> None:
    """The writer of the tests writes what Pillow reads."""
    for interlaced in (False, True):
        data = gif(17, 13, frame(INDICES, interlaced=interlaced), palette=COLORS)
        assert np.array_equal(np.asarray(decoded(data).convert("RGB")), COLORS[INDICES])


def test_a_frame_beyond_its_canvas() -> None:
    """The canvas grows, as in browsers."""
    check(gif(10, 10, frame(INDICES, 1, 1), palette=COLORS), *canvas(14, 18, 1, 1, COLORS, None))


def test_a_gif_without_its_end() -> None:
    first, expected = frame(INDICES), COLORS[INDICES]
    photo = decode(gif(17, 13, first, palette=COLORS, trailer=b""))
    assert np.array_equal(photo.rgb, expected)
    assert photo.notes == (NO_END,)


def test_a_gif_that_ends_within_a_later_frame() -> None:
    data = gif(17, 13, frame(INDICES), frame(INDICES[::-1]), palette=COLORS)
    assert decode(data).notes == ("the first of 2 frames",)
    for cut in (1, 2, 100):
        photo = decode(data[:-cut])
        assert np.array_equal(photo.rgb, COLORS[INDICES])
        assert photo.notes == ("the first of 2 frames", NO_END)
    photo = decode(data[: -len(frame(INDICES))])
    assert photo.notes == (NO_END,)


def test_a_gif_that_ends_within_its_first_frame() -> None:
    data = gif(17, 13, frame(INDICES), palette=COLORS, trailer=b"")
    for cut in (1, 2, 30, len(frame(INDICES))):
        with pytest.raises(ImageError, match="it is truncated: the end of the GIF's first frame is missing"):
            decode(data[:-cut])


def test_a_frame_that_ends_before_its_last_pixel() -> None:
    """The blocks are whole, and hold too few rows."""
    short = frame(INDICES[:7])
    short = short[:7] + struct.pack("<H", 13) + short[9:]
    with pytest.raises(ImageError, match="damaged GIF file"):
        decode(gif(17, 13, short, palette=COLORS))
