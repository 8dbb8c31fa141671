"""Image files as people have them: every format is decoded upright and exactly."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from kseg_batch.errors import ImageError
from kseg_batch.images.decode import decode
from tests.support.exactness import greatest_difference
from tests.support.image_files import decoded, encoded, png_of_chunks
from tests.support.images import noise, photos

LOSSLESS: list[tuple[str, dict[str, Any]]] = [
    ("PNG", {}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ("TIFF", {"compression": "packbits"}),
    ("WEBP", {"lossless": True}),
    ("AVIF", {"quality": 100, "subsampling": "4:4:4"}),
    ("HEIF", {"quality": -1, "chroma": 444, "matrix_coefficients": 0}),
]
ORIENTED: list[tuple[str, dict[str, Any]]] = [
    ("JPEG", {"quality": 100, "subsampling": 0}),
    ("PNG", {}),
    ("WEBP", {"lossless": True}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("AVIF", {"quality": 100}),
    ("HEIF", {"quality": 100}),
]


@pytest.mark.parametrize(("kind", "options"), LOSSLESS)
def test_lossless_formats_decode_to_their_pixels(kind: str, options: dict[str, Any]) -> None:
    rgb = photos()["coffee"][:50, :70]
    photo = decode(encoded(Image.fromarray(rgb), kind, **options))
    tolerance = 2 if kind in ("AVIF", "HEIF") else 0  # these formats store YCbCr, rounded to 8 bits
    assert greatest_difference(photo.rgb, rgb) <= tolerance
    assert photo.rgb.flags.c_contiguous
    assert (photo.notes, photo.opaque) == ((), None)
    assert photo.pixels is photo.rgb


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}]
)
def test_jpeg_decodes_close_to_another_decoder(options: dict[str, Any]) -> None:
    data = encoded(Image.fromarray(photos()["coffee"]), "JPEG", quality=95, **options)
    photo = decode(data)
    # two builds of libjpeg-turbo may round chroma and colour differently
    assert greatest_difference(photo.rgb, np.asarray(decoded(data))) <= 4
    assert photo.notes == ()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF"])
def test_gray_files_become_rgb(kind: str) -> None:
    gray = np.arange(0, 250, dtype=np.uint8).reshape(10, 25).repeat(8, axis=0).repeat(8, axis=1)
    data = encoded(Image.fromarray(gray), kind, **({"lossless": True} if kind == "WEBP" else {}))
    photo = decode(data)
    assert greatest_difference(photo.rgb, np.stack([gray] * 3, axis=-1)) <= (6 if kind == "JPEG" else 0)
    assert photo.notes == ()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_png_of_few_bits(bits: int) -> None:
    rows = np.random.default_rng(bits).integers(0, 1 << bits, (5, 16)).astype(np.uint8)
    header = struct.pack(">IIBBBBB", 16, 5, bits, 0, 0, 0, 0)
    packed = np.packbits(np.unpackbits(rows[..., None], axis=2)[..., 8 - bits :].reshape(5, -1), axis=1)
    body = zlib.compress(np.insert(packed, 0, 0, axis=1).tobytes())
    data = png_of_chunks((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    expected = rows.astype(int) * 255 // ((1 << bits) - 1)
    assert np.array_equal(decode(data).rgb[..., 1], expected)


def test_interlaced_png() -> None:
    """The seven passes of Adam7, written by hand, because no library here writes interlaced PNG."""
    rgb = noise(11, 13)
    starts = [
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ]
    passes = [rgb[y::dy, x::dx] for y, x, dy, dx in starts]
    raw = b"".join(b"\0" + row.tobytes() for part in passes for row in part)
    header = struct.pack(">IIBBBBB", 13, 11, 8, 2, 0, 0, 1)
    data = png_of_chunks((b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    assert np.array_equal(decode(data).rgb, rgb)


def test_palette_files() -> None:
    picture = Image.fromarray(photos()["chelsea"][:60, :60]).quantize(50)
    expected = np.asarray(picture.convert("RGB"))
    for kind in ("PNG", "GIF", "BMP", "TIFF"):
        assert np.array_equal(decode(encoded(picture, kind)).rgb, expected)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk(kind: str) -> None:
    inks = np.zeros((16, 32, 4), np.uint8)
    inks[:8, :, 0], inks[8:, :, 3] = 255, 128  # cyan above half black
    photo = decode(
        encoded(Image.fromarray(inks, "CMYK"), kind, **({"quality": 100} if kind == "JPEG" else {}))
    )
    assert greatest_difference(photo.rgb[:8], np.full((8, 32, 3), (0, 255, 255))) <= 3
    assert greatest_difference(photo.rgb[8:], np.full((8, 32, 3), 127)) <= 3
    assert photo.notes == ("CMYK was converted to RGB without a colour profile",)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "options"), ORIENTED)
def test_exif_orientation_is_applied_once(kind: str, options: dict[str, Any], orientation: int) -> None:
    scene = np.zeros((16, 32, 3), np.uint8)
    scene[:8, :8] = 255  # a white corner
    scene[:8, 24:] = 128
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(scene), kind, exif=exif.tobytes() if kind != "TIFF" else exif, **options)
    turned = Image.fromarray(scene)
    turned.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(turned))
    photo = decode(data)
    assert greatest_difference(photo.rgb, expected) <= 4  # of the lossy formats


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_16_bit_tiff(orientation: int) -> None:
    scene = np.arange(6 * 4, dtype=np.uint16).reshape(4, 6) * 2570
    turned = Image.fromarray((scene // 257).astype(np.uint8))
    turned.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(turned))
    photo = decode(encoded(Image.fromarray(scene), "TIFF", tiffinfo={0x0112: orientation}))
    assert np.array_equal(photo.rgb[..., 0], expected)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", [0, 1, 9])
def test_orientations_without_a_meaning_are_upright(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert not decode(encoded(Image.fromarray(noise(8, 12)), kind, exif=exif)).turned


@pytest.mark.parametrize("kind", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_rounded_and_noted(kind: str, channels: int) -> None:
    deep = np.array([[0, 128, 129, 385, 386, 65535]], np.uint16)  # 128.5 is half of one 8-bit step
    if channels > 1:
        deep = np.stack([deep, deep[:, ::-1], deep, np.full_like(deep, 65535)][:channels], axis=-1)
    done, data = cv2.imencode(kind, deep)
    assert done
    photo = decode(data.tobytes())
    expected = [0, 0, 1, 1, 2, 255]
    assert photo.rgb[0, :, 0].tolist() == expected
    assert photo.rgb[0, :, 1].tolist() == (expected if channels == 1 else expected[::-1])
    assert (photo.notes, photo.opaque) == (("16-bit samples were rounded to 8 bits",), None)


def rgba() -> NDArray[np.uint8]:
    """Noise with transparent, half transparent and opaque pixels."""
    alpha = np.array([0, 128, 255], np.uint8)[noise(20, 30, 0, 3, seed=2)[..., 0]]
    return np.dstack([noise(20, 30, 100, 200), alpha])


ALPHA: list[tuple[str, dict[str, Any]]] = [
    ("PNG", {}),
    ("WEBP", {"lossless": True, "exact": True}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("BMP", {}),
]


def bmp_with_alpha(pixels: NDArray[np.uint8]) -> bytes:
    """A BMP with a mask for each of red, green, blue and alpha, which Pillow does not write."""
    height, width = pixels.shape[:2]
    masks = 0xFF0000, 0xFF00, 0xFF, 0xFF000000
    header = struct.pack("<IiiHHIIiiII4I", 108, width, -height, 1, 32, 3, pixels.size, 0, 0, 0, 0, *masks)
    start = 14 + 108
    return (
        struct.pack("<2sIHHI", b"BM", start + pixels.size, 0, 0, start)
        + header.ljust(108, b"\0")
        + pixels[..., [2, 1, 0, 3]].tobytes()
    )


@pytest.mark.parametrize(("kind", "options"), ALPHA)
def test_transparent_pixels_are_left_out(kind: str, options: dict[str, Any]) -> None:
    pixels = rgba()
    data = bmp_with_alpha(pixels) if kind == "BMP" else encoded(Image.fromarray(pixels), kind, **options)
    photo = decode(data)
    assert photo.opaque is not None
    assert np.array_equal(photo.opaque, pixels[..., 3] > 0)
    assert np.array_equal(photo.pixels, pixels[photo.opaque][None, :, :3])
    assert photo.notes == ("partly transparent pixels were taken as opaque",)
    photo = decode(data, alpha="ignore")
    assert np.array_equal(photo.rgb, pixels[..., :3])
    assert (photo.opaque, photo.notes) == (None, ("alpha was ignored",))


@pytest.mark.parametrize("kind", ["AVIF", "HEIF", "WEBP"])
def test_transparency_of_lossy_files(kind: str) -> None:
    pixels = np.dstack([np.full((64, 64, 3), 90, np.uint8), np.full((64, 64), 255, np.uint8)])
    pixels[:32, :, 3] = 0
    photo = decode(encoded(Image.fromarray(pixels), kind, quality=95))
    assert photo.opaque is not None
    assert photo.opaque[40:].all() and not photo.opaque[:24].any()


def test_16_bit_alpha() -> None:
    deep = np.zeros((4, 4, 4), np.uint16)
    deep[1:, :, 3] = 65535
    deep[2, :, 2] = 65535  # red, in OpenCV's order
    for kind in (".png", ".tiff"):
        photo = decode(cv2.imencode(kind, deep)[1].tobytes())
        assert photo.opaque is not None
        assert photo.opaque.tolist() == [[False] * 4] + [[True] * 4] * 3
        assert photo.rgb[2, 0].tolist() == [255, 0, 0]


def test_transparent_colors_of_palettes() -> None:
    picture = Image.fromarray(noise(8, 8)).quantize(4)
    for kind in ("PNG", "GIF"):
        photo = decode(encoded(picture, kind, transparency=0))
        assert photo.opaque is not None
        assert np.array_equal(photo.opaque, np.asarray(picture) != 0)
        assert decode(encoded(picture, kind)).opaque is None


def test_an_opaque_alpha_channel_is_none() -> None:
    pixels = rgba()
    pixels[..., 3] = 255
    photo = decode(encoded(Image.fromarray(pixels), "PNG"))
    assert (photo.opaque, photo.notes) == (None, ())


def test_nothing_but_transparent_pixels() -> None:
    data = encoded(Image.fromarray(np.zeros((4, 4, 4), np.uint8)), "PNG")
    with pytest.raises(ImageError, match="every pixel is transparent; --alpha ignore takes the colours"):
        decode(data)
    assert decode(data, alpha="ignore").rgb.shape == (4, 4, 3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG", "AVIF"])
def test_the_first_of_several_frames(kind: str) -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (40, 200, 90)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    photo = decode(data)
    assert greatest_difference(photo.rgb, np.full((8, 8, 3), 40)) <= 2
    assert photo.notes == ("the first of 3 frames",)


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_of_either_byte_order(order: str) -> None:
    entries = [(256, 2), (257, 1), (258, 8), (259, 1), (262, 1), (273, 200), (277, 1), (278, 1), (279, 2)]
    ifd = struct.pack(order + "H", len(entries)) + b"".join(
        struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in entries
    )
    data = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8) + ifd + bytes(4)
    data = data.ljust(200, b"\0") + b"\x10\x80"
    assert decode(data).rgb.tolist() == [[[16] * 3, [128] * 3]]


def test_the_second_picture_of_a_phone_is_no_news() -> None:
    photo = Image.fromarray(photos()["coffee"][:40, :60])
    data = encoded(photo, "MPO", save_all=True, append_images=[photo.convert("L").convert("RGB")])
    assert getattr(decoded(data), "n_frames") == 2  # noqa: B009 - Image has none, MpoImageFile has
    assert decode(data).notes == ()


def test_bigtiff() -> None:
    rgb = photos()["coffee"][:40, :60]
    assert np.array_equal(decode(encoded(Image.fromarray(rgb), "TIFF", big_tiff=True)).rgb, rgb)
    deep = Image.fromarray(np.full((4, 4), 40_000, np.uint16))
    assert (decode(encoded(deep, "TIFF", big_tiff=True)).rgb == 156).all()
