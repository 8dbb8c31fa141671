"""Clean aperture, rotation and mirroring of HEIC and AVIF files."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from kseg_batch.errors import ImageError
from kseg_batch.images.decode import decode
from tests.support.exactness import greatest_difference
from tests.support.heif_files import aperture_at, clean_aperture, mirror, rotation, with_transformations
from tests.support.image_files import encoded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SIDE = 64
FILES: list[tuple[str, dict[str, Any], int]] = [
    ("AVIF", {"quality": 100, "subsampling": "4:4:4"}, 3),  # stores YCbCr, rounded to 8 bits
    ("HEIF", {"quality": -1, "chroma": 444, "matrix_coefficients": 0}, 0),  # libheif is a second decoder
]
CROP = aperture_at(5, 8, 40, 30, of=(SIDE, SIDE))
TRANSFORMATIONS = [
    [CROP],
    [aperture_at(0, 0, SIDE, SIDE, of=(SIDE, SIDE))],
    [aperture_at(0, 0, 63, 61, of=(SIDE, SIDE))],
    [rotation(1)],
    [rotation(2)],
    [mirror(0)],
    [mirror(1)],
    [rotation(1), mirror(0)],
    [mirror(0), rotation(1)],
    [CROP, rotation(3), mirror(1)],
    [CROP, mirror(1), rotation(3)],
    [rotation(1), CROP],
    [mirror(0), CROP],
]


def scene() -> NDArray[np.uint8]:
    """A picture that differs from each of its turns and crops."""
    y, x = np.mgrid[:SIDE, :SIDE]
    return np.dstack([x * 4, y * 4, x // 16 * 16 + y // 16 * 32]).astype(np.uint8)


def transformed(pixels: NDArray[np.uint8], boxes: Sequence[bytes]) -> NDArray[np.uint8]:
    """The pixels after transformations, by the words of the standard."""
    for box in boxes:
        kind, content = box[4:8], box[8:]
        if kind == b"clap":
            width, _, height, _, across, _, down, _ = struct.unpack(">8i", content)
            left = (across + pixels.shape[1] - width) // 2  # of a centre in halves of a pixel
            top = (down + pixels.shape[0] - height) // 2
            pixels = pixels[top : top + height, left : left + width]
        elif kind == b"irot":
            pixels = np.rot90(pixels, content[0])  # anticlockwise
        else:
            pixels = np.flipud(pixels) if content[0] == 0 else np.fliplr(pixels)
    return pixels


@pytest.mark.parametrize("boxes", TRANSFORMATIONS)
@pytest.mark.parametrize(("kind", "options", "tolerance"), FILES)
def test_transformations_are_applied_in_order(
    kind: str, options: dict[str, Any], tolerance: int, boxes: list[bytes]
) -> None:
    data = with_transformations(encoded(Image.fromarray(scene()), kind, **options), boxes)
    expected = transformed(scene(), boxes)
    photo = decode(data)
    assert photo.rgb.shape == expected.shape
    assert greatest_difference(photo.rgb, expected) <= tolerance
    assert photo.notes == ()
    is_turned = any(box[4:8] != b"clap" for box in boxes)
    assert photo.turned == (is_turned and kind == "AVIF")  # libheif gives upright pixels to all programs


def test_alpha_is_transformed_with_the_colors() -> None:
    pixels = np.dstack([scene(), np.full((SIDE, SIDE), 255, np.uint8)])
    pixels[:32, :, 3] = 0
    data = encoded(Image.fromarray(pixels), "AVIF", quality=100, subsampling="4:4:4")
    photo = decode(with_transformations(data, [rotation(1)]))
    assert photo.opaque is not None
    assert np.array_equal(photo.opaque, np.rot90(pixels[..., 3] > 0))


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((41, 2, 30, 1, 0, 1, 0, 1), "fractions of a pixel, which are not read here; save it as PNG"),
        ((40, 1, 30, 1, 1, 3, 0, 1), "fractions of a pixel, which are not read here; save it as PNG"),
        ((40, 1, 30, 1, 1, 2, 0, 1), "fractions of a pixel, which are not read here; save it as PNG"),
        ((200, 1, 30, 1, 0, 1, 0, 1), "damaged: its clean aperture"),
        ((40, 1, 30, 1, 40, 1, 0, 1), "damaged: its clean aperture"),
        ((40, 1, 30, 1, 0, 0, 0, 1), "damaged: its clean aperture"),
        ((0, 1, 30, 1, 0, 1, 0, 1), "damaged: its clean aperture"),
    ],
)
@pytest.mark.parametrize(("kind", "options", "_"), FILES)
def test_apertures_that_cannot_be_applied(
    kind: str, options: dict[str, Any], _: int, numbers: tuple[int, ...], words: str
) -> None:
    data = encoded(Image.fromarray(scene()), kind, **options)
    with pytest.raises(ImageError, match=words):
        decode(with_transformations(data, [clean_aperture(*numbers)]))


def test_exif_does_not_turn_what_the_properties_turn() -> None:
    """The properties of an AVIF count, and its EXIF data are for information."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.fromarray(scene()), "AVIF", exif=exif.tobytes(), quality=100, subsampling="4:4:4")
    for boxes in ([], [mirror(0)]):
        photo = decode(with_transformations(data, boxes))
        assert greatest_difference(photo.rgb, transformed(scene(), boxes)) <= 3
