"""PNG files of every kind: colour types, depths, interlacing, filters, transparent colours and animations."""

from __future__ import annotations

import itertools
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from kseg_batch.errors import ImageError
from kseg_batch.images.decode import decode
from tests.support.image_files import decoded, png_of_chunks
from tests.support.png_files import (
    CHANNELS,
    DEPTHS,
    GRAY,
    GRAY_ALPHA,
    INDEXED,
    RGB,
    RGBA,
    compressed,
    png,
    transparent_color,
)

KINDS = [(color_type, bits) for color_type, depths in DEPTHS.items() for bits in depths]
FILTERS = ((0,), (1,), (2,), (3,), (4,), (4, 1, 3, 2, 0))
SIZES = ((9, 11), (1, 1), (5, 3))


def to_8_bits(samples: NDArray[Any], bits: int) -> NDArray[np.int64]:
    """Samples as (H, W, 3) values up to 255."""
    most = (1 << bits) - 1
    values = (samples.astype(np.int64) * 510 + most) // (2 * most)
    return values.repeat(3 // values.shape[2], axis=2)


def opaque_of(data: bytes) -> NDArray[np.bool_]:
    """Where the pixels of a file are opaque; all, if there is nothing else in it."""
    photo = decode(data)
    return np.ones(photo.rgb.shape[:2], bool) if photo.opaque is None else photo.opaque


def random_png(
    color_type: int,
    bits: int,
    size: tuple[int, int],
    seed: int,
    *,
    interlaced: bool,
    filters: tuple[int, ...],
) -> tuple[bytes, NDArray[np.int64]]:
    """A PNG without transparent pixels, and its pixels."""
    rng = np.random.default_rng(seed)
    samples = rng.integers(0, 1 << bits, (*size, CHANNELS[color_type]))
    before = []
    if color_type in (GRAY_ALPHA, RGBA):
        samples[..., -1] = (1 << bits) - 1
    expected = to_8_bits(samples[..., : 3 if color_type in (RGB, RGBA) else 1], bits)
    if color_type == INDEXED:
        palette = rng.integers(0, 256, (1 << bits, 3)).astype(np.uint8)
        before, expected = [(b"PLTE", palette.tobytes())], palette[samples[..., 0]].astype(np.int64)
    return png(samples, color_type, bits, interlaced=interlaced, filters=filters, before=before), expected


@pytest.mark.parametrize(("color_type", "bits"), KINDS)
def test_every_kind_gives_its_pixels(color_type: int, bits: int, soak: bool) -> None:
    for i, (size, interlaced, filters) in enumerate(
        list(itertools.product(SIZES, (False, True), FILTERS))[:: 1 if soak else 5]
    ):
        data, expected = random_png(color_type, bits, size, i, interlaced=interlaced, filters=filters)
        photo = decode(data)
        assert np.array_equal(photo.rgb, expected), (size, interlaced, filters)
        assert photo.opaque is None


@pytest.mark.parametrize(("color_type", "bits"), KINDS)
def test_other_decoders_agree(color_type: int, bits: int) -> None:
    """The writer of the tests writes what Pillow and OpenCV read: Pillow up to 8 bits, OpenCV up to 16."""
    data, expected = random_png(color_type, bits, (9, 11), 1, interlaced=True, filters=(4, 1, 3, 2, 0))
    if bits < 16:
        assert np.array_equal(np.asarray(decoded(data).convert("RGB")), expected)
        return
    deep = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert deep is not None and deep.dtype == np.uint16
    colors = deep[..., None] if deep.ndim == 2 else deep[..., 2::-1]
    assert np.array_equal(to_8_bits(colors, 16), expected)


@pytest.mark.parametrize(("color_type", "bits"), [kind for kind in KINDS if kind[0] in (GRAY, RGB)])
def test_the_pixels_of_a_transparent_color(color_type: int, bits: int) -> None:
    rng = np.random.default_rng(bits)
    samples = rng.integers(0, min(1 << bits, 3), (12, 10, CHANNELS[color_type]))
    samples[0, 0], samples[0, 1] = 0, 1  # not one colour alone
    if bits == 16:
        samples[0, 2] = samples[0, 0] + 40  # with the same 8 bits as the transparent colour
    key = samples[0, 0]
    for interlaced in (False, True):
        data = png(samples, color_type, bits, interlaced=interlaced, before=[transparent_color(*key)])
        opaque = (samples != key).any(axis=2)
        photo = decode(data)
        assert np.array_equal(opaque_of(data), opaque)
        assert np.array_equal(photo.rgb[opaque], to_8_bits(samples, bits)[opaque])
        photo = decode(data, alpha="ignore")
        assert np.array_equal(photo.rgb, to_8_bits(samples, bits))
        assert "alpha was ignored" in photo.notes


def test_a_transparent_color_of_no_pixel() -> None:
    for color_type, bits in ((GRAY, 4), (RGB, 8), (RGB, 16)):
        samples = np.ones((4, 4, CHANNELS[color_type]), np.uint16)
        data = png(samples, color_type, bits, before=[transparent_color(*[7] * CHANNELS[color_type])])
        assert decode(data).opaque is None


def test_high_bits_of_a_transparent_color_mean_nothing() -> None:
    """Below 16 bits, the lower bits of the number count."""
    samples = np.array([[[3], [5]]])
    data = png(samples, GRAY, 4, before=[transparent_color(0x103)])
    assert opaque_of(data).tolist() == [[False, True]]


def test_a_transparent_color_of_a_wrong_length() -> None:
    data = png(np.zeros((2, 2, 3), np.uint8), RGB, 8, before=[(b"tRNS", bytes(2))])
    with pytest.raises(ImageError, match=r"damaged PNG file \(its chunk tRNS has a wrong length\)"):
        decode(data)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_partly_transparent_colors_of_a_palette(bits: int) -> None:
    rng = np.random.default_rng(bits)
    palette = rng.integers(0, 256, (1 << bits, 3)).astype(np.uint8)
    alpha = np.resize(np.array([0, 128, 255], np.uint8), max(2, (1 << bits) - 1))  # the last one has none
    indices = rng.integers(0, 1 << bits, (12, 10, 1))
    indices[0, :2, 0] = 0, 1
    before = [(b"PLTE", palette.tobytes()), (b"tRNS", alpha.tobytes())]
    data = png(indices, INDEXED, bits, before=before)
    opaque = np.append(alpha, 255)[indices[..., 0]] > 0
    photo = decode(data)
    assert np.array_equal(opaque_of(data), opaque)
    assert np.array_equal(photo.rgb[opaque], palette[indices[..., 0]][opaque])
    assert photo.notes == ("partly transparent pixels were taken as opaque",)


def animated(color_type: int, bits: int, *, apart: bool) -> tuple[bytes, NDArray[Any]]:
    """An animation of two frames, and its default image, which may be no frame of it."""
    rng = np.random.default_rng(bits)
    still, *others = (rng.integers(1, 1 << bits, (8, 8, CHANNELS[color_type])) for _ in range(3))

    def control(number: int) -> tuple[bytes, bytes]:
        return b"fcTL", struct.pack(">IIIIIHHBB", number, 8, 8, 0, 0, 1, 10, 0, 0)

    before, after, number = [(b"acTL", struct.pack(">II", 2, 0))], [], 0
    if not apart:
        before.append(control(0))
        number = 1
    for frame in others if apart else others[:1]:
        after += [control(number), (b"fdAT", struct.pack(">I", number + 1) + compressed(frame, bits))]
        number += 2
    return png(still, color_type, bits, before=before, after=after), still


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("color_type", [GRAY, RGB, GRAY_ALPHA, RGBA])
def test_the_default_image_of_an_animation(color_type: int, bits: int, apart: bool) -> None:
    data, still = animated(color_type, bits, apart=apart)
    photo = decode(data, alpha="ignore")
    colors = still[..., : 3 if color_type in (RGB, RGBA) else 1]
    assert np.array_equal(photo.rgb, to_8_bits(colors, bits))
    assert photo.notes[0] == f"the first of {3 if apart else 2} frames"


def test_a_png_for_ios_is_refused() -> None:
    """Such a file has a chunk before its header, and pixels without the header and the checksum of zlib."""
    header = struct.pack(">IIBBBBB", 4, 4, 8, 6, 0, 0, 0)
    deflate = zlib.compressobj(wbits=-15)
    body = deflate.compress(bytes(4 * 17)) + deflate.flush()
    chunks = [(b"CgBI", b"P\0 \2"), (b"IHDR", header), (b"IDAT", body), (b"IEND", b"")]
    with pytest.raises(
        ImageError,
        match=r"^it is a PNG for iOS \(CgBI\), which is not read here; save it as an ordinary PNG$",
    ):
        decode(png_of_chunks(*chunks))
    with pytest.raises(ImageError, match="damaged: the PNG does not begin with its header"):
        decode(png_of_chunks((b"tEXt", b"a\0b"), *chunks[1:]))
