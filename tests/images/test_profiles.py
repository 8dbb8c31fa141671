"""Colour profiles: the colours of all kinds of files become those of LittleCMS, or of a standard."""

from __future__ import annotations

import io
import struct
import zlib
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from PIL import Image

from kseg_batch.errors import ImageError
from kseg_batch.images import av1
from kseg_batch.images.boxes import bits_per_sample
from kseg_batch.images.decode import Photo, decode
from kseg_batch.images.profiles.cicp import cicp_conversion
from kseg_batch.images.profiles.littlecms import littlecms_version
from kseg_batch.images.profiles.matrix import MatrixConversion, convert_reference
from tests.support.exactness import greatest_difference
from tests.support.hdr import hlg_signals, pq_signal, srgb_level, srgb_to_linear
from tests.support.icc import (
    ADOBE_RGB,
    DISPLAY_P3,
    LINEAR,
    PROPHOTO,
    SRGB,
    SRGB_CURVE,
    all_colors,
    by_littlecms,
    gamma,
    gray_profile,
    icc_profile,
    matrix_profile,
    parametric,
    table,
    table_profile,
    xyz,
)
from tests.support.image_files import encoded, png_of_chunks
from tests.support.images import noise, photos

if TYPE_CHECKING:
    from numpy.typing import NDArray

COARSE = (*range(0, 256, 15), 1, 2, 3, 5, 8, 254)
"""Levels for most profiles, with dark ones in small steps, where the sRGB curve is steepest."""
RAMP = np.linspace(0, 1, 1024)

P3 = matrix_profile(DISPLAY_P3, SRGB_CURVE, name="Display P3", version=4)
ADOBE = matrix_profile(ADOBE_RGB, gamma(563 / 256), name="Adobe RGB (1998)")
SWAPPED = matrix_profile((SRGB[1], SRGB[2], SRGB[0]), SRGB_CURVE, name="swapped")
MATRIX_PROFILES = {
    "Display P3": P3,
    "Adobe RGB": ADOBE,
    "ProPhoto": matrix_profile(PROPHOTO, gamma(1.8), name="ProPhoto RGB"),
    "ProPhoto with a toe": matrix_profile(PROPHOTO, parametric(3, 1.8, 1, 0, 1 / 16, 1 / 32)),
    "linear": matrix_profile(SRGB, LINEAR),
    "swapped channels": SWAPPED,
    "a curve by samples": matrix_profile(DISPLAY_P3, table(RAMP**2.2)),
    "a curve of two samples": matrix_profile(SRGB, table(np.array([0.0, 1.0]))),
    "a raised black": matrix_profile(SRGB, table(0.03 + 0.97 * RAMP**2.2)),
    "a curve for each channel": matrix_profile(ADOBE_RGB, gamma(1.8), gamma(2.2), SRGB_CURVE),
    "functions 0, 1 and 2": matrix_profile(
        DISPLAY_P3, parametric(0, 2.2), parametric(1, 2.0, 1.1, -0.1), parametric(2, 2.0, 0.9, 0.1, -0.01)
    ),
    "function 4": matrix_profile(SRGB, parametric(4, 2.4, 0.9479, 0.0521, 0.0774, 0.0405, 0.01, 0.0)),
}


def png(samples: NDArray[Any], *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with more chunks before its pixels."""
    data = encoded(Image.fromarray(samples), "PNG")
    extra = png_of_chunks(*chunks)[8:]
    return data[:33] + extra + data[33:]


def with_profile(samples: NDArray[np.uint8], profile: bytes, kind: str = "PNG", **options: Any) -> bytes:
    return encoded(Image.fromarray(samples), kind, icc_profile=profile, **options)


def pixel(photo: Photo) -> list[int]:
    return [int(value) for value in photo.rgb[0, 0]]


def flat(*color: int) -> NDArray[np.uint8]:
    return np.full((8, 8, 3), color, np.uint8)


# ---- matrix profiles -------------------------------------------------------------------------------------


FAULTY_TABLES = ("functions 0, 1 and 2",)
"""Profiles for which LittleCMS's tables of its own are up to 16 levels off from its formulas."""


@pytest.mark.parametrize("name", MATRIX_PROFILES)
def test_matrix_profiles_are_within_one_level_of_littlecms(name: str) -> None:
    colors = all_colors(COARSE)
    photo = decode(with_profile(colors, MATRIX_PROFILES[name]))
    expected = by_littlecms(colors, MATRIX_PROFILES[name], "RGB", exact=name in FAULTY_TABLES)
    assert greatest_difference(photo.rgb, expected) <= 1
    assert photo.converted and len(photo.notes) == 1


def test_every_color_of_display_p3_is_within_one_level_of_littlecms() -> None:
    conversion = MatrixConversion([srgb_to_linear] * 3, _to_srgb(DISPLAY_P3))
    for red in range(256):
        colors = np.empty((256, 256, 3), np.uint8)
        colors[..., 0], colors[..., 1], colors[..., 2] = red, np.arange(256)[:, None], np.arange(256)
        assert greatest_difference(conversion.apply(colors.copy()), by_littlecms(colors, P3, "RGB")) <= 1


@pytest.mark.parametrize("name", MATRIX_PROFILES)
def test_every_color_of_every_profile(name: str, soak: bool) -> None:
    if not soak:
        pytest.skip("compares 16.7 million colours by each profile; run by --soak")
    colors = all_colors()
    photo = decode(with_profile(colors, MATRIX_PROFILES[name], compress_level=0))
    expected = by_littlecms(colors, MATRIX_PROFILES[name], "RGB", exact=name in FAULTY_TABLES)
    assert greatest_difference(photo.rgb, expected) <= 1


def _to_srgb(colorants: tuple[tuple[float, float, float], ...]) -> NDArray[np.float64]:
    matrix: NDArray[np.float64] = np.linalg.inv(np.array(SRGB).T) @ np.array(colorants).T
    return matrix


def test_a_black_with_a_hue_becomes_black() -> None:
    """LittleCMS differs here from version to version: 2.17 leaves the hue, and 2.19 does not."""
    profile = matrix_profile(SRGB, *(table(low + (1 - low) * RAMP**2) for low in (0.01, 0.02, 0.05)))
    assert pixel(decode(with_profile(flat(0, 0, 0), profile))) == [0, 0, 0]
    assert pixel(decode(with_profile(flat(255, 255, 255), profile))) == [255, 255, 255]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("name", ["Display P3", "ProPhoto", "a raised black"])
def test_the_kernel_equals_its_reference(name: str, bits: int) -> None:
    conversion = _conversion_of(MATRIX_PROFILES[name])
    samples = np.random.default_rng(5).integers(0, 1 << bits, (40, 50, 3)).astype(f"u{bits // 8}")
    expected = np.empty(samples.size, np.uint8)
    tables = conversion._tables(bits)
    red, green, blue = tables.shares
    convert_reference(samples.reshape(-1), red, green, blue, tables.shift, tables.levels, expected)
    assert_array_equal(conversion.apply(samples).reshape(-1), expected)


def _conversion_of(profile: bytes) -> MatrixConversion:
    from kseg_batch.images.profiles.source_colors import find_colors

    data = with_profile(flat(0, 0, 0), profile)
    with Image.open(io.BytesIO(data)) as picture:
        conversion = find_colors(data, "PNG", picture, "RGB", "convert", is_adobe_rgb=False).conversion
    assert isinstance(conversion, MatrixConversion)
    return conversion


@pytest.mark.parametrize(
    "profile",
    [
        matrix_profile(SRGB, SRGB_CURVE, name="sRGB IEC61966-2.1"),
        matrix_profile(SRGB, table(srgb_to_linear(RAMP)), name="sRGB by samples"),
        matrix_profile(SRGB, SRGB_CURVE, name="c2", version=4),
    ],
)
def test_an_srgb_profile_changes_nothing(profile: bytes) -> None:
    photo = decode(with_profile(noise(30, 40), profile))
    assert_array_equal(photo.rgb, noise(30, 40))
    assert (photo.notes, photo.converted) == ((), False)


@pytest.mark.parametrize(
    ("stored", "profile", "expected"),
    [
        ((200, 40, 30), SWAPPED, (30, 200, 40)),
        ((30, 50, 180), SWAPPED, (180, 30, 50)),
        ((200, 40, 30), ADOBE, (233, 35, 24)),  # 23 by LittleCMS's tables, 23.5 by the formula
        ((30, 50, 180), ADOBE, (5, 46, 185)),
        ((40, 160, 60), P3, (0, 163, 40)),
        ((255, 255, 255), P3, (255, 255, 255)),
    ],
)
def test_known_colors(stored: tuple[int, ...], profile: bytes, expected: tuple[int, ...]) -> None:
    assert np.abs(np.subtract(pixel(decode(with_profile(flat(*stored), profile))), expected)).max() <= 1


# ---- kinds of files --------------------------------------------------------------------------------------

FILES: list[tuple[str, dict[str, Any]]] = [
    ("PNG", {}),
    ("JPEG", {"quality": 90}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("WEBP", {"lossless": True}),
    ("WEBP", {"quality": 80}),
    ("HEIF", {"quality": 90}),
    ("AVIF", {"quality": 90}),
]


@pytest.mark.parametrize(("kind", "options"), FILES)
def test_every_format_carries_a_profile(kind: str, options: dict[str, Any]) -> None:
    data = with_profile(photos()["coffee"][:60, :80], ADOBE, kind, **options)
    stored, converted = decode(data, profile="ignore"), decode(data)
    assert converted.notes == ("Adobe RGB (1998) to sRGB",)
    assert stored.notes == ("its colour profile was ignored (Adobe RGB (1998))",)
    assert greatest_difference(converted.rgb, by_littlecms(stored.rgb, ADOBE, "RGB")) <= 1
    assert greatest_difference(converted.rgb, stored.rgb) > 10


def test_a_bmp_carries_a_profile() -> None:
    plain = encoded(Image.fromarray(flat(200, 40, 30)), "BMP")
    pixels = plain[54:]
    header = struct.pack("<IiiHHIIiiII", 124, 8, 8, 1, 24, 0, len(pixels), 0, 0, 0, 0).ljust(124, b"\0")
    start = 124 + len(pixels)
    header = header[:56] + b"DEBM" + header[60:112] + struct.pack("<III", start, len(ADOBE), 0)
    body = struct.pack("<2sIHHI", b"BM", 14 + start + len(ADOBE), 0, 0, 138) + header + pixels + ADOBE
    photo = decode(body)
    assert photo.notes == ("Adobe RGB (1998) to sRGB",)
    assert greatest_difference(photo.rgb, by_littlecms(flat(200, 40, 30), ADOBE, "RGB")) <= 1


def test_a_palette_image_with_a_profile() -> None:
    picture = Image.fromarray(photos()["coffee"][:40, :40]).quantize(16)
    photo = decode(encoded(picture, "PNG", icc_profile=ADOBE))
    expected = by_littlecms(np.asarray(picture.convert("RGB")), ADOBE, "RGB")
    assert greatest_difference(photo.rgb, expected) <= 1


def test_transparent_pixels_stay_transparent() -> None:
    opaque = noise(20, 30, 0, 2)[..., 0] > 0
    rgba = np.dstack([noise(20, 30), opaque * np.uint8(255)])
    photo = decode(with_profile(rgba, P3))
    assert photo.opaque is not None
    assert_array_equal(photo.opaque, opaque)
    assert greatest_difference(photo.rgb, by_littlecms(rgba[..., :3], P3, "RGB")) <= 1


def test_a_turned_photo_is_converted() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = with_profile(noise(20, 30), P3, exif=exif)
    photo = decode(data)
    assert photo.turned
    assert greatest_difference(photo.rgb, by_littlecms(np.rot90(noise(20, 30), -1), P3, "RGB")) <= 1


# ---- 16 bits ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_samples_are_rounded_after_the_conversion(kind: str) -> None:
    """Dark linear light of 8 bits would fall onto a few levels: 0, 13, 22, 28."""
    ramp = np.arange(0, 4096, 7, dtype=np.uint16)
    profile = matrix_profile(SRGB, LINEAR, name="linear")
    if kind == "PNG":
        rows = b"".join(b"\0" + np.repeat(ramp, 3).astype(">u2").tobytes() for _ in range(2))
        header = struct.pack(">IIBBBBB", len(ramp), 2, 16, 2, 0, 0, 0)
        icc = b"p\0\0" + zlib.compress(profile)
        data = png_of_chunks(
            (b"IHDR", header), (b"iCCP", icc), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
        )
    else:
        picture = Image.fromarray(ramp[None].repeat(2, axis=0))
        data = encoded(picture, "TIFF", icc_profile=gray_profile(LINEAR, name="linear"))
    photo = decode(data)
    light = ramp / 65535
    levels = np.array([srgb_level(value) for value in light])
    # the light is looked up in steps of 1/16384, of 0.2 levels where the curve is steepest
    assert np.abs(photo.rgb[1] - levels[:, None]).max() <= 0.5 + 0.1
    assert set(photo.notes) == {"linear to sRGB", "16-bit samples were rounded to 8 bits"}


# ---- grey ------------------------------------------------------------------------------------------------

GRAYS = {
    "gamma 1.8": gray_profile(gamma(1.8), name="Gray gamma 1.8"),
    "gamma 2.2": gray_profile(gamma(2.2)),
    "linear": gray_profile(LINEAR),
    "dot gain": gray_profile(table(RAMP**1.7 * 0.9 + 0.1 * RAMP)),
    "a raised black": gray_profile(table(0.04 + 0.96 * RAMP**2)),
    "lightness": gray_profile(LINEAR, connection=b"Lab "),
}


@pytest.mark.parametrize("name", GRAYS)
@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("TIFF", {}), ("JPEG", {"quality": 100})])
def test_grey_profiles_are_within_one_level_of_littlecms(
    name: str, kind: str, options: dict[str, Any]
) -> None:
    """LittleCMS's own tables for grey are up to 10 levels off for a linear curve, so it goes without them."""
    ramp = np.arange(256, dtype=np.uint8)[None].repeat(8, axis=0)
    data = encoded(Image.fromarray(ramp), kind, icc_profile=GRAYS[name], **options)
    stored = decode(data, profile="ignore").rgb[..., 0]
    photo = decode(data)
    assert greatest_difference(photo.rgb, by_littlecms(stored, GRAYS[name], "L", exact=True)) <= 1
    assert photo.converted


def test_a_known_grey() -> None:
    data = encoded(Image.new("L", (4, 4), 87), "PNG", icc_profile=GRAYS["gamma 1.8"])
    photo = decode(data)
    assert (pixel(photo), photo.notes) == ([106] * 3, ("Gray gamma 1.8 to sRGB",))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_grey_profile_for_every_kind_of_grey_png(bits: int) -> None:
    """The kinds with alpha have 8 or 16 bits."""
    icc = (b"iCCP", b"p\0\0" + zlib.compress(GRAYS["gamma 1.8"]))
    for color_type in (0, 4) if bits >= 8 else (0,):
        header = struct.pack(">IIBBBBB", 8, 1, bits, color_type, 0, 0, 0)
        row = b"\xff" * (bits if color_type == 0 else 2 * bits)
        data = png_of_chunks((b"IHDR", header), icc, (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b""))
        photo = decode(data)
        assert photo.converted
        assert photo.notes[0] == "Gray gamma 1.8 to sRGB"


def test_a_grey_image_may_have_an_rgb_profile() -> None:
    data = encoded(Image.new("L", (4, 4), 87), "PNG", icc_profile=MATRIX_PROFILES["linear"])
    assert pixel(decode(data)) == pixel(decode(with_profile(flat(87, 87, 87), MATRIX_PROFILES["linear"])))


# ---- tables and inks -------------------------------------------------------------------------------------


def test_tables_are_left_to_littlecms() -> None:
    profile = table_profile(b"RGB ", name="a printer")
    photo = decode(with_profile(noise(30, 40), profile))
    assert_array_equal(photo.rgb, by_littlecms(noise(30, 40), profile, "RGB"))
    assert photo.notes == (f"a printer to sRGB by {littlecms_version()}",)


@pytest.mark.parametrize("pixels", [1, 40, 100, 1199, 1200])
def test_parts_of_an_image_are_the_whole(pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kseg_batch.images.profiles.littlecms.PART_PIXELS", pixels)
    profile = table_profile(b"RGB ", name="a printer")
    photo = decode(with_profile(noise(30, 40), profile))
    assert_array_equal(photo.rgb, by_littlecms(noise(30, 40), profile, "RGB"))


@pytest.mark.parametrize(("kind", "options"), [("TIFF", {}), ("JPEG", {"quality": 100})])
def test_inks_are_left_to_littlecms(kind: str, options: dict[str, Any]) -> None:
    inks = np.dstack([noise(30, 40), noise(30, 40, seed=1)[..., :1] // 2])
    profile = table_profile(b"CMYK", name="FOGRA")
    data = encoded(Image.frombytes("CMYK", (40, 30), inks.tobytes()), kind, icc_profile=profile, **options)
    with Image.open(io.BytesIO(data)) as picture:
        stored = np.asarray(picture)
    photo = decode(data)
    assert_array_equal(photo.rgb, by_littlecms(stored, profile, "CMYK"))
    assert photo.notes == (f"FOGRA to sRGB by {littlecms_version()}",)
    assert decode(data, profile="ignore").notes == (
        "its colour profile was ignored (FOGRA)",
        "CMYK was converted to RGB without a colour profile",
    )


def test_lab_needs_no_profile() -> None:
    lab = np.zeros((4, 4, 3), np.uint8)
    lab[..., 0] = 128
    photo = decode(encoded(Image.frombytes("LAB", (4, 4), lab.tobytes()), "TIFF"))
    assert greatest_difference(photo.rgb, np.full((4, 4, 3), 119, np.uint8)) <= 1  # L* of 50.2
    assert photo.notes == (f"CIE L*a*b* to sRGB by {littlecms_version()}",)


def test_lab_of_a_color_is_that_of_the_formula() -> None:
    """Stored a* and b* are signed."""
    lightness, a, b = 150, 30, -40
    tags = {256: 1, 257: 1, 258: 8, 259: 1, 262: 8, 273: 200, 277: 3, 278: 1, 279: 3}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    header = b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + bytes(4)
    photo = decode(header.ljust(200, b"\0") + struct.pack("<Bbb", lightness, a, b))
    middle = (lightness / 2.55 + 16) / 116
    roots = np.array([middle + a / 500, middle, middle - b / 200])
    linear = np.linalg.inv(np.array(SRGB).T) @ (np.array([0.9642, 1.0, 0.8249]) * roots**3)
    assert np.abs(np.subtract(pixel(photo), [srgb_level(value) for value in linear])).max() <= 1


# ---- profiles that cannot be used ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        (P3[:200], "is damaged"),
        (b"no profile at all", "is damaged"),
        (P3.replace(b"rXYZ", b"xXYZ"), "is damaged"),
        (P3.replace(b"mntr", b"link"), "describes no RGB, grey or CMYK image"),
        (GRAYS["linear"], "is for GRAY images"),
        (table_profile(b"CMYK"), "is for CMYK images"),
        (matrix_profile(((900.0, 0.0, 0.0), *SRGB[1:]), LINEAR), "describes impossible colours"),
        (icc_profile(b"RGB ", {b"A2B0": bytes(60)}, connection=b"Lab "), "is one that LittleCMS cannot use"),
    ],
)
def test_a_profile_that_cannot_be_used_is_noted(profile: bytes, reason: str) -> None:
    photo = decode(with_profile(noise(9, 9), profile))
    assert_array_equal(photo.rgb, noise(9, 9))
    assert photo.notes == (f"its colour profile {reason}, and was ignored",)
    assert not photo.converted


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a name",
        b"p\0",
        b"p\0\0not compressed",
        b"p\0\1" + zlib.compress(P3),  # an unknown method
        b"p\0\0" + zlib.compress(P3)[:-9],
        b"p\0\0" + zlib.compress(bytes(1 << 27)),
    ],
)
def test_a_damaged_chunk_of_png_fails_no_image(content: bytes) -> None:
    photo = decode(png(noise(9, 9), (b"iCCP", content)))
    assert_array_equal(photo.rgb, noise(9, 9))
    assert photo.notes == ("its colour profile is damaged, and was ignored",)


def test_a_profile_without_its_checksum_is_whole() -> None:
    photo = decode(png(flat(200, 40, 30), (b"iCCP", b"p\0\0" + zlib.compress(P3)[:-4])))
    assert photo.notes == ("Display P3 to sRGB",)


@pytest.mark.parametrize("mode", ["RGB", "P", "LA"])
def test_a_profile_after_the_pixels_of_a_png_does_not_count(mode: str) -> None:
    plain = encoded(Image.fromarray(flat(200, 40, 30)).convert(mode), "PNG")
    end = len(plain) - 12
    data = plain[:end] + png_of_chunks((b"iCCP", b"p\0\0" + zlib.compress(P3)))[8:] + plain[end:]
    photo = decode(data)
    assert_array_equal(photo.rgb, decode(plain).rgb)
    assert photo.notes == ()


def jpeg(*parts: bytes) -> bytes:
    """A JPEG with parts of a profile, each with its number and the number of parts."""
    plain = encoded(Image.fromarray(flat(200, 40, 30)), "JPEG", quality=100, subsampling=0)
    contents = [b"ICC_PROFILE\0" + part for part in parts]
    segments = [b"\xff\xe2" + struct.pack(">H", 2 + len(content)) + content for content in contents]
    return plain[:2] + b"".join(segments) + plain[2:]


def test_parts_of_a_profile_in_any_order() -> None:
    photo = decode(jpeg(b"\2\2" + P3[300:], b"\1\2" + P3[:300]))
    assert photo.notes == ("Display P3 to sRGB",)
    assert_array_equal(photo.rgb, decode(jpeg(b"\1\1" + P3)).rgb)


@pytest.mark.parametrize(
    "parts",
    [
        [b"\1\2" + P3[:300]],
        [b"\1\2" + P3[:300], b"\1\2" + P3[:300], b"\2\2" + P3[300:]],
        [b"\1\1" + P3, b"\1\1" + P3],
        [b"\0\1" + P3],
        [b"\1\1"],
        [b""],
        [b"\1\1" + P3] * 300,
    ],
)
def test_parts_of_no_whole_profile_fail_no_image(parts: list[bytes]) -> None:
    photo = decode(jpeg(*parts))
    assert_array_equal(photo.rgb, decode(jpeg()).rgb)
    assert photo.notes == ("its colour profile is damaged, and was ignored",)


@pytest.mark.parametrize("curve", [parametric(0, -2.2), parametric(3, 30_000, 30_000, 0, 0.1, 1), gamma(0)])
def test_an_infinite_curve_gives_no_warning(curve: bytes) -> None:
    photo = decode(with_profile(noise(9, 9), matrix_profile(DISPLAY_P3, curve)))
    assert photo.notes == ("a colour profile without a name to sRGB",)


def test_a_curve_with_a_peak_between_the_samples_of_8_bits() -> None:
    """The fields of the kernel's tables would overflow for 16 bits alone."""
    peak = np.zeros(65536)
    peak[100:200] = 1
    profile = matrix_profile(((90.0, 90.0, 90.0),) * 3, table(peak))
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    icc, row = b"p\0\0" + zlib.compress(profile), zlib.compress(b"\0" + 3 * b"\0\x96")
    photo = decode(png_of_chunks((b"IHDR", header), (b"iCCP", icc), (b"IDAT", row), (b"IEND", b"")))
    assert photo.notes[0] == "its colour profile describes impossible colours, and was ignored"


@pytest.mark.parametrize(
    "description",
    [
        b"desc" + bytes(4),
        b"mluc" + bytes(4) + struct.pack(">II", 0, 12),
        b"text" + bytes(4) + b"no description",
    ],
)
def test_a_damaged_description_changes_no_color(description: bytes) -> None:
    tags = {tag: xyz(*values) for tag, values in zip((b"rXYZ", b"gXYZ", b"bXYZ"), DISPLAY_P3, strict=True)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), SRGB_CURVE) | {b"desc": description}
    photo = decode(with_profile(noise(9, 9), icc_profile(b"RGB ", tags)))
    assert_array_equal(photo.rgb, decode(with_profile(noise(9, 9), P3)).rgb)
    assert photo.notes == ("a colour profile without a name to sRGB",)


def test_a_tag_outside_the_profile_is_left_out_as_littlecms_does() -> None:
    at = P3.index(b"wtpt")
    profile = P3[: at + 4] + struct.pack(">I", 1 << 24) + P3[at + 8 :]
    photo = decode(with_profile(noise(9, 9), profile))
    assert greatest_difference(photo.rgb, by_littlecms(noise(9, 9), profile, "RGB")) <= 1
    assert photo.notes == ("Display P3 to sRGB",)


@pytest.mark.parametrize(("kind", "value"), [(1, 7), (2, ord("a")), (3, 300), (4, 70_000)])
def test_a_profile_of_tiff_that_is_a_number_fails_no_image(kind: int, value: int) -> None:
    tags = {256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 273: 200, 277: 1, 278: 1, 279: 1}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, content) for tag, content in tags.items())
    directory += struct.pack("<HHII", 34675, kind, 1, value)
    header = b"II*\0" + struct.pack("<IH", 8, len(tags) + 1) + directory + bytes(4)
    photo = decode(header.ljust(200, b"\0") + b"\x57")
    assert (pixel(photo), photo.notes) == ([87] * 3, ("its colour profile is damaged, and was ignored",))


@settings(max_examples=300, deadline=None)
@given(
    profile=st.sampled_from([P3, ADOBE, table_profile(b"RGB ", name="t"), *MATRIX_PROFILES.values()]),
    changes=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), min_size=1, max_size=8),
    length=st.integers(0, 3000),
)
def test_a_damaged_profile_fails_no_image(
    profile: bytes, changes: list[tuple[int, int]], length: int
) -> None:
    damaged = bytearray(profile[:length] if length else profile)
    for at, value in changes:
        if at < len(damaged):
            damaged[at] = value
    photo = decode(with_profile(flat(10, 200, 30), bytes(damaged) or b"\0"))
    assert photo.rgb.shape == (8, 8, 3)


def test_names_of_profiles_are_printable() -> None:
    for version in (2, 4):
        name = "a\x1b[31m\nvery " + 20 * "long "
        photo = decode(
            with_profile(flat(1, 2, 3), matrix_profile(ADOBE_RGB, LINEAR, name=name, version=version))
        )
        assert photo.notes[0].isprintable() and len(photo.notes[0]) <= 60 + len(" to sRGB")
    photo = decode(with_profile(flat(1, 2, 3), matrix_profile(ADOBE_RGB, LINEAR)))
    assert photo.notes == ("a colour profile without a name to sRGB",)


# ---- chunks of PNG ---------------------------------------------------------------------------------------


def gama(value: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(100_000 * value))


def chrm(*values: float) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", *(round(100_000 * value) for value in values))


def cicp(primaries: int, transfer: int, full: int = 1) -> tuple[bytes, bytes]:
    return b"cICP", bytes([primaries, transfer, 0, full])


SRGB_CHUNK = (b"sRGB", b"\0")
ADOBE_CHUNK = chrm(0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
SRGB_PRIMARIES = chrm(0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
P3_CHUNK = (b"iCCP", b"p\0\0" + zlib.compress(P3))


@pytest.mark.parametrize(
    ("chunks", "expected", "notes"),
    [
        ([gama(1.0)], (229, 110, 96), ("linear light to sRGB",)),
        ([gama(1 / 1.8)], (210, 53, 40), ("gamma 1.8 to sRGB",)),
        ([gama(0.45455)], (200, 40, 30), ()),
        ([gama(0.45455), SRGB_PRIMARIES], (200, 40, 30), ()),
        ([gama(1.0), SRGB_CHUNK], (200, 40, 30), ()),
        ([SRGB_CHUNK, gama(1.0)], (200, 40, 30), ()),
        ([gama(1.0), P3_CHUNK], (218, 0, 4), ("Display P3 to sRGB",)),
        ([cicp(12, 13)], (218, 0, 4), ("Display P3 to sRGB",)),
        ([cicp(1, 13)], (200, 40, 30), ()),
        ([cicp(2, 2)], (200, 40, 30), ()),
        ([cicp(1, 13), P3_CHUNK], (200, 40, 30), ()),
        ([P3_CHUNK, (b"iCCP", b"a\0\0" + zlib.compress(ADOBE))], (218, 0, 4), ("Display P3 to sRGB",)),
        ([gama(0.0)], (200, 40, 30), ("its colour profile (gAMA) is damaged, and was ignored",)),
        ([gama(0.00001)], (200, 40, 30), ("its colour profile (gAMA) is damaged, and was ignored",)),
        ([gama(20_000.0)], (200, 40, 30), ("its colour profile (gAMA) is damaged, and was ignored",)),
        ([(b"gAMA", b"\0\0")], (200, 40, 30), ("its colour profile (gAMA) is damaged, and was ignored",)),
        ([(b"cHRM", bytes(31))], (200, 40, 30), ("its colour profile (cHRM) is damaged, and was ignored",)),
        ([(b"sRGB", b"")], (200, 40, 30), ()),
        ([cicp(12, 13), SRGB_CHUNK, gama(1.0)], (218, 0, 4), ("Display P3 to sRGB",)),
        ([ADOBE_CHUNK, gama(256 / 563)], (233, 35, 24), ("gamma 2.2 and cHRM to sRGB",)),
        ([cicp(12, 13, 2)], (200, 40, 30), ("its colour profile (cICP) is damaged, and was ignored",)),
        ([(b"cICP", b"\x0c\x0d")], (200, 40, 30), ("its colour profile (cICP) is damaged, and was ignored",)),
        (
            [cicp(3, 13)],
            (200, 40, 30),
            ("its colour profile has colour primaries that are not known here (code 3), and was ignored",),
        ),
        (
            [cicp(1, 99)],
            (200, 40, 30),
            ("its colour profile has a transfer function that is not known here (code 99), and was ignored",),
        ),
        ([chrm(*[0.0] * 8)], (200, 40, 30), ("its colour profile has no white, and was ignored",)),
        (
            [chrm(0.3127, 0.3290, *[0.3, 0.3] * 3)],
            (200, 40, 30),
            ("its colour profile has primaries on a line, and was ignored",),
        ),
        (
            [chrm(0.9, 0.05, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)],
            (200, 40, 30),
            ("its colour profile has a white that its primaries cannot mix, and was ignored",),
        ),
    ],
)
def test_chunks_of_png(
    chunks: list[tuple[bytes, bytes]], expected: tuple[int, ...], notes: tuple[str, ...]
) -> None:
    photo = decode(png(flat(200, 40, 30), *chunks))
    assert np.abs(np.subtract(pixel(photo), expected)).max() <= 1
    assert photo.notes == notes


@pytest.mark.parametrize("codes", [(1, 13), (12, 13), (9, 16)])
def test_the_limited_range_of_png(codes: tuple[int, int]) -> None:
    """The samples from 16 to 235 mean what those from 0 to 255 mean in the full range."""
    full = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    limited = np.round(16 + full * (219 / 255)).astype(np.uint8)
    photo, expected = decode(png(limited, cicp(*codes, 0))), decode(png(full, cicp(*codes)))
    assert greatest_difference(photo.rgb, expected.rgb) <= 3  # half a level of PQ is up to 3 of sRGB
    assert " in the limited range to sRGB" in photo.notes[0]
    assert pixel(decode(png(flat(16, 16, 16), cicp(*codes, 0)))) == [0, 0, 0]
    assert pixel(decode(png(flat(10, 10, 10), cicp(*codes, 0)))) == [0, 0, 0]


def test_a_damaged_source_of_colors_is_passed_over() -> None:
    broken_profile = (b"iCCP", b"p\0\0" + zlib.compress(P3[:200]))
    photo = decode(png(flat(200, 40, 30), (b"cICP", b"\x0c"), broken_profile, gama(1.0)))
    assert photo.notes == (
        "linear light to sRGB",
        "its colour profile (cICP) is damaged, and was ignored",
        "its colour profile is damaged, and was ignored",
    )
    assert pixel(photo) == [229, 110, 96]
    ignored = decode(png(flat(200, 40, 30), broken_profile, gama(1.0)), profile="ignore")
    assert (ignored.notes[1], pixel(ignored)) == (
        "its colour profile was ignored (linear light)",
        [200, 40, 30],
    )


def test_primaries_without_a_curve_have_that_of_srgb() -> None:
    photo = decode(png(noise(20, 20), ADOBE_CHUNK))
    expected = by_littlecms(noise(20, 20), matrix_profile(ADOBE_RGB, SRGB_CURVE), "RGB")
    assert greatest_difference(photo.rgb, expected) <= 1


@pytest.mark.parametrize(
    ("primaries", "colorants"),
    [
        (1, SRGB),
        (12, DISPLAY_P3),
        (9, ((0.67348, 0.27904, -0.00194), (0.16566, 0.67534, 0.02998), (0.12505, 0.04561, 0.79686))),
    ],
)
def test_primaries_by_code_equal_those_of_profiles(primaries: int, colorants: Any) -> None:
    conversion = cicp_conversion(primaries, 8).conversion
    found = conversion.apply(noise(50, 50))
    expected = by_littlecms(noise(50, 50), matrix_profile(colorants, LINEAR), "RGB")
    assert greatest_difference(found, expected) <= 1


# ---- EXIF ------------------------------------------------------------------------------------------------


def exif_of(color_space: int, index: bytes | None) -> bytes:
    """EXIF data with ColorSpace and, by DCF, the interoperability index."""
    exif_ifd = struct.pack("<H", 1 if index is None else 2) + struct.pack(
        "<HHIHxx", 0xA001, 3, 1, color_space
    )
    if index is not None:
        exif_ifd += struct.pack("<HHII", 0xA005, 4, 1, 26 + 2 + 24 + 4)
    interop = struct.pack("<HHHI4sI", 1, 1, 2, 4, (index or b"").ljust(4, b"\0"), 0)
    root = struct.pack("<HHHIII", 1, 0x8769, 4, 1, 26, 0)
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + root + exif_ifd + bytes(4) + interop


@pytest.mark.parametrize(
    ("color_space", "index", "adobe"),
    [
        (0xFFFF, b"R03", True),
        (2, None, True),
        (0xFFFF, None, False),
        (1, b"R98", False),
        (1, b"R03", False),
        (0xFFFF, b"R98", False),
    ],
)
def test_cameras_say_adobe_rgb_by_exif(color_space: int, index: bytes | None, adobe: bool) -> None:
    exif = exif_of(color_space, index)
    data = encoded(Image.fromarray(flat(200, 40, 30)), "JPEG", quality=100, subsampling=0, exif=exif)
    photo = decode(data)
    assert photo.notes == (("Adobe RGB (by EXIF) to sRGB",) if adobe else ())
    expected = (233, 35, 23) if adobe else (200, 40, 30)
    assert np.abs(np.subtract(pixel(photo), expected)).max() <= 3  # JPEG rounds in YCbCr
    ours = encoded(Image.fromarray(flat(200, 40, 30)), "JPEG", quality=100, exif=exif, icc_profile=P3)
    assert decode(ours).notes == ("Display P3 to sRGB",)


# ---- HEIF and AVIF ---------------------------------------------------------------------------------------


def test_heif_by_codes() -> None:
    codes = {"color_primaries": 12, "transfer_characteristics": 13, "matrix_coefficients": 0}
    data = encoded(Image.fromarray(flat(200, 40, 30)), "HEIF", quality=-1, chroma=444, **codes)
    photo = decode(data)
    assert photo.notes == ("Display P3 to sRGB",)
    assert np.abs(np.subtract(pixel(photo), (218, 0, 4))).max() <= 1


def test_a_profile_of_heif_comes_before_its_codes() -> None:
    codes = {"color_primaries": 9, "transfer_characteristics": 16, "matrix_coefficients": 0}
    data = with_profile(flat(200, 40, 30), ADOBE, "HEIF", quality=-1, chroma=444, **codes)
    assert decode(data).notes == ("Adobe RGB (1998) to sRGB",)


@pytest.mark.parametrize(("bits", "noted"), [(10, True), (12, True), (8, False)])
def test_the_depth_of_heif_is_noted(bits: int, noted: bool) -> None:
    pillow_heif.options.SAVE_HDR_TO_12_BIT = bits == 12
    mode, scale = ("RGB", 1) if bits == 8 else ("RGB;16", 257)
    samples = flat(200, 40, 30).astype(np.uint16 if bits > 8 else np.uint8) * scale
    buffer = io.BytesIO()
    pillow_heif.encode(mode, (8, 8), samples.tobytes(), buffer, quality=-1, chroma=444, matrix_coefficients=0)
    photo = decode(buffer.getvalue())
    assert photo.notes == ((f"{bits}-bit samples were rounded to 8 bits",) if noted else ())
    assert np.abs(np.subtract(pixel(photo), (200, 40, 30))).max() <= 1


def box(kind: bytes, *contents: bytes) -> bytes:
    """A box of ISO/IEC 14496-12."""
    body = b"".join(contents)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def test_fields_after_the_bits_of_the_channels() -> None:
    """A later edition of HEIF describes the channels further, after their bits."""
    pixi = box(b"pixi", bytes(4), b"\3\x08\x08\x08", b"\x20\x20")
    association = box(b"ipma", bytes(4), struct.pack(">IHBB", 1, 1, 1, 1))
    properties = box(b"iprp", box(b"ipco", pixi), association)
    assert bits_per_sample(box(b"meta", bytes(4), box(b"pitm", bytes(4), b"\0\1"), properties)) == 8


def avif(samples: NDArray[np.uint8], codes: tuple[int, int], pixel_format: str = "yuv420p") -> bytes:
    """An AVIF file by SVT-AV1, with colour codes and the matrix of BT.709."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="avif") as container:
        stream: Any = container.add_stream("libsvtav1", rate=Fraction(1))
        stream.height, stream.width, stream.pix_fmt = *samples.shape[:2], pixel_format
        context = stream.codec_context
        context.color_primaries, context.color_trc = codes
        context.colorspace, context.color_range = 1, 1
        context.options = {"crf": "10", "svtav1-params": "avif=1"}
        frame = av.VideoFrame.from_ndarray(samples, format="rgb24")
        frame = frame.reformat(format=pixel_format, dst_colorspace="ITU709")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def test_avif_by_codes() -> None:
    data = avif(np.full((64, 64, 3), (200, 40, 30), np.uint8), (12, 13))
    stored, photo = decode(data, profile="ignore"), decode(data)
    assert photo.notes == ("Display P3 to sRGB",)
    assert np.abs(np.subtract(pixel(stored), (200, 40, 30))).max() <= 4  # a lossy codec
    assert greatest_difference(photo.rgb, by_littlecms(stored.rgb, P3, "RGB")) <= 1


@pytest.mark.parametrize("codes", [(12, 13), (9, 16), (1, 13)])
def test_avif_by_the_codes_of_its_stream(codes: tuple[int, int]) -> None:
    data = avif(np.full((64, 64, 3), (200, 40, 30), np.uint8), codes)
    boxed, bare = decode(data), decode(data.replace(b"colrnclx", b"colrxxxx"))
    assert b"colrnclx" in data and bare.notes == boxed.notes
    assert_array_equal(bare.rgb, boxed.rgb)


@given(header=st.binary(max_size=40))
def test_no_header_of_av1_fails(header: bytes) -> None:
    codes = av1.color_codes(b"\x12\0\x0a\x0b" + header)
    assert codes is None or all(0 <= code < 256 for code in codes)
    assert av1.color_codes(header) is None or len(header) > 5


def test_avif_of_10_bits_and_hlg() -> None:
    data = avif(np.full((64, 64, 3), 191, np.uint8), (9, 18), "yuv420p10le")
    photo = decode(data)
    assert photo.notes == (
        "BT.2020 HLG to sRGB, tone-mapped by ITU-R BT.2390",
        "10-bit samples were rounded to 8 bits",
    )
    (level,) = hdr_gray(18, [decode(data, profile="ignore").rgb[0, 0, 0] / 255])
    assert pixel(photo) == [level] * 3


# ---- HDR -------------------------------------------------------------------------------------------------


def hdr_gray(transfer: int, signals: list[float]) -> NDArray[np.uint8]:
    """(n,) sRGB levels of grey of given signals, through a 16-bit PNG."""
    samples = np.round(65535 * np.array(signals)).astype(">u2")
    header = struct.pack(">IIBBBBB", len(samples), 1, 16, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" + samples.tobytes())
    photo = decode(png_of_chunks((b"IHDR", header), cicp(9, transfer), (b"IDAT", rows), (b"IEND", b"")))
    assert np.ptp(photo.rgb, axis=2).max() == 0
    return photo.rgb[0, :, 0]


def test_dark_colors_of_pq_keep_their_light() -> None:
    nits = [0, 0.5, 2, 10, 30, 60, 90]
    found = hdr_gray(16, [pq_signal(value) for value in nits])
    expected = [srgb_level(value / 203) for value in nits]
    assert np.abs(found - np.array(expected)).max() <= 1


def test_highlights_of_pq_stay_apart() -> None:
    found = hdr_gray(16, [pq_signal(value) for value in (90, 203, 400, 700, 1000, 4000)]).astype(int)
    assert (np.diff(found[:4]) > 0).all()
    assert found[4] == found[5] == 255
    assert 200 < found[1] < 245  # reference white


def test_hlg_keeps_the_colors_of_an_sdr_picture() -> None:
    """An SDR picture that a studio put into HLG by BT.2408, with white at 75%, looks about as it did."""
    colors = [(255, 0, 0), (0, 200, 0), (0, 0, 255), (240, 200, 40), (120, 120, 120)]
    samples = np.round(65535 * hlg_signals(colors)).astype(">u2")
    header = struct.pack(">IIBBBBB", len(colors), 1, 16, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" + samples.tobytes())
    photo = decode(png_of_chunks((b"IHDR", header), cicp(9, 18), (b"IDAT", rows), (b"IEND", b"")))
    # the tone mapping compresses light above half of white, by a tenth of the levels at most
    assert np.abs(photo.rgb[0].astype(int) - colors).max() <= 27
    assert photo.notes[0] == "BT.2020 HLG to sRGB, tone-mapped by ITU-R BT.2390"


def test_hdr_without_primaries_has_those_of_its_standard() -> None:
    photo = decode(png(flat(150, 100, 100), cicp(2, 16)))
    assert pixel(photo) == pixel(decode(png(flat(150, 100, 100), cicp(9, 16))))
    assert photo.notes[0].startswith("BT.2020 PQ to sRGB")


def test_hdr_by_a_profile_of_version_4() -> None:
    codes = b"cicp" + bytes(4) + bytes([9, 16, 0, 1])
    tags = {b"cicp": codes, b"A2B0": bytes(60)}
    photo = decode(with_profile(flat(100, 100, 100), icc_profile(b"RGB ", tags, name="PQ", version=4)))
    assert photo.notes == ("BT.2020 PQ to sRGB, tone-mapped by ITU-R BT.2390",)


def test_hdr_by_a_grey_profile() -> None:
    codes = b"cicp" + bytes(4) + bytes([9, 16, 0, 1])
    profile = icc_profile(b"GRAY", {b"kTRC": LINEAR, b"cicp": codes}, version=4)
    photo = decode(with_profile(flat(100, 100, 100)[..., 0], profile))
    assert photo.notes == ("BT.2020 PQ to sRGB, tone-mapped by ITU-R BT.2390",)


def test_hdr_of_unknown_primaries_is_never_taken_for_sdr_unasked() -> None:
    data = png(flat(100, 100, 100), cicp(99, 16))
    photo = decode(data, profile="ignore")
    assert (pixel(photo), photo.notes) == ([100] * 3, ("its colour profile was ignored",))
    with pytest.raises(ImageError, match=r"HDR with colour primaries that are not known here \(code 99\)"):
        decode(data)
