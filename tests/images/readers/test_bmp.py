"""BMP files of every kind: headers, palettes, fields of bits, run lengths."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from kseg_batch.errors import ImageError
from kseg_batch.images.decode import decode
from tests.support.bmp_files import (
    ALPHA_BITFIELDS,
    BITFIELDS,
    INFO,
    OS2,
    OS2_2,
    RLE4,
    RLE8,
    V2,
    V3,
    V4,
    V5,
    bmp,
    packed_fields,
    packed_indices,
    run_lengths,
)
from tests.support.exactness import greatest_difference

HEIGHT, WIDTH = 13, 19
HEADERS = (OS2, 16, INFO, V2, V3, OS2_2, V4, V5)
RNG = np.random.default_rng(0)
FIELDS = {
    16: (
        (0x7C00, 0x3E0, 0x1F), (0xF800, 0x7E0, 0x1F), (0x7C00, 0x3E0, 0x1F, 0x8000),
        (0xF00, 0xF0, 0xF, 0xF000),
    ),
    32: (
        (0xFF0000, 0xFF00, 0xFF), (0xFF, 0xFF00, 0xFF0000), (0xFF0000, 0xFF00, 0xFF, 0xFF000000),
        (0xFF000000, 0xFF0000, 0xFF00, 0xFF), (0x3FF00000, 0xFFC00, 0x3FF),
        (0x3FF, 0xFFC00, 0x3FF00000, 0xC0000000),
    ),
}  # fmt: skip
"""Masks of red, green, blue and alpha, by the bits of a pixel."""


def by_opencv(data: bytes) -> NDArray[np.uint8]:
    """The pixels of a file, decoded by OpenCV."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return np.asarray(pixels[..., ::-1], np.uint8)


def palettes(bits: int) -> list[NDArray[np.uint8]]:
    """Palettes of colours, of black and white, of all greys, and of fewer colours than there could be."""
    n = 1 << bits
    grays = np.arange(n, dtype=np.uint8)[:, None].repeat(3, axis=1)
    colors = RNG.integers(0, 256, (n, 3)).astype(np.uint8)
    return [colors, np.array([[0] * 3, [255] * 3], np.uint8), grays, colors[: max(1, n - 3)]]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes(bits: int) -> None:
    for colors, header, top_down in itertools.product(palettes(bits), HEADERS, (False, True)):
        if header < INFO and (len(colors) < 1 << bits or top_down):
            continue  # these headers have no number of colours, and no negative height
        indices = RNG.integers(0, len(colors), (HEIGHT, WIDTH))
        rows = packed_indices(indices, bits)
        data = bmp(rows, WIDTH, HEIGHT, bits, header=header, palette=colors, top_down=top_down)
        assert np.array_equal(decode(data).rgb, colors[indices]), (len(colors), header, top_down)
        if header == INFO and bits != 2:
            assert np.array_equal(by_opencv(data), colors[indices])


@pytest.mark.parametrize(("bits", "compression"), [(4, RLE4), (8, RLE8)])
@pytest.mark.parametrize("absolute", [False, True])
def test_run_lengths(bits: int, compression: int, absolute: bool) -> None:
    for colors, repeat in itertools.product(palettes(bits), (1, 3, 300)):
        indices = RNG.integers(0, len(colors), (HEIGHT, 331)).repeat(repeat, axis=1)[:, :331]
        stored = run_lengths(indices, bits, absolute=absolute)
        data = bmp(stored, 331, HEIGHT, bits, compression=compression, palette=colors)
        assert np.array_equal(decode(data).rgb, colors[indices])
        assert np.array_equal(by_opencv(data), colors[indices])


@pytest.mark.parametrize(("bits", "compression"), [(4, RLE4), (8, RLE8)])
def test_steps_between_runs(bits: int, compression: int) -> None:
    """What runs leave out has the first colour, also where the picture ends early."""
    colors = palettes(bits)[0]
    twice = 17 if bits == 4 else 1
    stored = bytes([3, 5 * twice, 0, 2, 2, 1, 2, 7 * twice, 0, 0, 4, 9 * twice, 0, 1])
    expected = np.zeros((4, 8), int)
    expected[3, :3], expected[2, 5:7], expected[1, :4] = 5, 7, 9
    data = bmp(stored, 8, 4, bits, compression=compression, palette=colors)
    assert np.array_equal(decode(data).rgb, colors[expected])
    if bits == 8:
        assert np.array_equal(by_opencv(data), colors[expected])


@pytest.mark.parametrize("bits", [16, 32])
def test_fields_of_bits(bits: int) -> None:
    for masks, header in itertools.product(FIELDS[bits], (INFO, V2, V3, V4, V5)):
        has_alpha = len(masks) == 4
        if has_alpha and header == V2:
            continue  # this header has no mask of alpha
        most = [mask // (mask & -mask) for mask in masks]
        values = np.dstack([RNG.integers(0, high + 1, (HEIGHT, WIDTH)) for high in most])
        rounded = (values * 510 + most) // (2 * np.array(most))
        compression = ALPHA_BITFIELDS if has_alpha and header == INFO else BITFIELDS
        rows = packed_fields(values, bits, masks)
        data = bmp(rows, WIDTH, HEIGHT, bits, header=header, compression=compression, masks=masks)
        photo = decode(data)
        opaque = values[..., 3] > 0 if has_alpha else np.ones((HEIGHT, WIDTH), bool)
        found = np.ones((HEIGHT, WIDTH), bool) if photo.opaque is None else photo.opaque
        assert np.array_equal(found, opaque), (masks, header)
        assert np.array_equal(photo.rgb[opaque], rounded[..., :3][opaque]), (masks, header)


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_pixels_without_a_palette(bits: int) -> None:
    masks = FIELDS[16][0] if bits == 16 else FIELDS[32][0]
    high = 31 if bits == 16 else 255
    values = RNG.integers(0, high + 1, (HEIGHT, WIDTH, 3))
    rows = packed_fields(values, 32 if bits == 24 else bits, masks)
    if bits == 24:
        rows = [values[y, :, ::-1].astype(np.uint8).tobytes() for y in range(HEIGHT)]
    for header, top_down in itertools.product(HEADERS, (False, True)):
        if header < INFO and top_down:
            continue
        data = bmp(rows, WIDTH, HEIGHT, bits, header=header, top_down=top_down)
        photo = decode(data)
        assert np.array_equal(photo.rgb, (values * 510 + high) // (2 * high))
        if header == INFO:  # OpenCV leaves the lowest three of 8 bits at 0
            assert greatest_difference(by_opencv(data), photo.rgb) <= (7 if bits == 16 else 0)


@pytest.mark.parametrize(
    ("bits", "header", "compression", "words"),
    [
        (0, INFO, 4, "JPEG compression, which is not read here; save it as PNG"),
        (0, INFO, 5, "PNG compression, which is not read here; save it as PNG"),
        (32, INFO, 11, "CMYK compression, which is not read here; save it as PNG"),
        (1, OS2_2, 3, "Huffman compression, which is not read here; save it as PNG"),
        (24, OS2_2, 4, "RLE24 compression, which is not read here; save it as PNG"),
        (64, INFO, 0, "64-bit pixels, which is not read here; save it as PNG"),
        (8, 41, 0, "a header of 41 bytes, which is not read here; if it opens elsewhere, save it as PNG"),
    ],
)
def test_a_refusal_names_the_kind(bits: int, header: int, compression: int, words: str) -> None:
    data = bmp(bytes(999), 8, 8, bits, header=header, compression=compression)
    with pytest.raises(ImageError, match=f"a BMP with {words}$"):
        decode(data)


def test_damage_and_truncation() -> None:
    colors = palettes(8)[0]
    rows = packed_indices(RNG.integers(0, 256, (HEIGHT, WIDTH)), 8)
    for data in (
        bmp(rows, WIDTH, HEIGHT, 8, palette=colors),
        bmp(b"".join(rows), WIDTH, HEIGHT, 8, compression=RLE8, palette=colors)[:1100],
        bmp(packed_fields(np.zeros((9, 9, 3), int), 16, FIELDS[16][0]), 9, 9, 16),
    ):
        with pytest.raises(ImageError, match="it is truncated"):
            decode(data[:-3])
    with pytest.raises(ImageError, match="it is a damaged BMP file"):
        decode(bmp(rows, WIDTH, HEIGHT, 8, compression=99, palette=colors))
    with pytest.raises(ImageError, match="it is a damaged BMP file"):
        decode(bmp(rows, WIDTH, HEIGHT, 7, palette=colors))
    with pytest.raises(ImageError, match="a channel has no bits, or bits apart"):
        decode(bmp(rows, WIDTH // 2, HEIGHT, 16, compression=BITFIELDS, masks=(0x505, 0x20, 0x1000)))
    with pytest.raises(ImageError, match="over --max-pixels"):
        decode(bmp(rows, WIDTH, HEIGHT, 8, palette=colors), max_pixels=10)
