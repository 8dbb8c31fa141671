"""Formats that photos have less often: PNM, TGA, QOI, JPEG 2000 and JPEG XL."""

from __future__ import annotations

import io
import struct
import sysconfig
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pillow_jxl
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from kseg_batch.errors import ImageError
from kseg_batch.images.decode import decode
from kseg_batch.images.formats import detect_format, is_image
from tests.support.commands import kseg
from tests.support.damage import SAMPLES
from tests.support.faults import hide_modules
from tests.support.icc import DISPLAY_P3, SRGB_CURVE, matrix_profile
from tests.support.image_files import encoded
from tests.support.images import noise, photos

DEEP_NOTE = ("16-bit samples were rounded to 8 bits",)

LOSSLESS: list[tuple[str, dict[str, Any]]] = [
    ("PPM", {}),
    ("TGA", {}),
    ("TGA", {"compression": "tga_rle"}),
    ("TGA", {"orientation": -1}),
    ("QOI", {"colorspace": "sRGB"}),
    ("JPEG2000", {}),
    ("JPEG2000", {"no_jp2": True}),
    ("JXL", {"lossless": True}),
    ("JXL", {"lossless": True, "use_container": True}),
]


def opened_by_opencv(data: bytes) -> NDArray[Any]:
    """(H, W, 3 or 4) samples, or (H, W) for grey."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    return np.asarray(pixels[..., [2, 1, 0, 3][: pixels.shape[2]]] if pixels.ndim == 3 else pixels)


def written_by_opencv(kind: str, pixels: NDArray[Any], *options: int) -> bytes:
    """A file of RGB or grey samples."""
    done, data = cv2.imencode(kind, pixels[..., ::-1] if pixels.ndim == 3 else pixels, options)
    assert done
    return data.tobytes()


@pytest.mark.parametrize(("kind", "options"), LOSSLESS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_lossless_files_decode_to_their_pixels(kind: str, options: dict[str, Any], mode: str) -> None:
    picture = Image.fromarray(photos()["coffee"][:50, :71]).convert(mode)
    if kind == "QOI":  # has no grey
        picture = picture.convert("RGB")
    photo = decode(encoded(picture, kind, **options))
    assert np.array_equal(photo.rgb, np.asarray(picture.convert("RGB")))
    assert (photo.notes, photo.opaque, photo.converted) == ((), None, False)
    assert photo.rgb.flags.c_contiguous


@pytest.mark.parametrize("kind", ["TGA", "QOI", "JPEG2000", "JXL"])
def test_transparent_pixels_are_left_out(kind: str) -> None:
    alpha = np.array([0, 128, 255], np.uint8)[noise(20, 30, 0, 3, seed=2)[..., 0]]
    pixels = np.dstack([noise(20, 30, 100, 200), alpha])
    options: dict[str, dict[str, Any]] = {"JXL": {"lossless": True}, "QOI": {"colorspace": "sRGB"}}
    data = encoded(Image.fromarray(pixels), kind, **options.get(kind, {}))
    photo = decode(data)
    assert photo.opaque is not None
    assert np.array_equal(photo.opaque, alpha > 0)
    assert np.array_equal(photo.pixels[0], pixels[photo.opaque][:, :3])
    assert photo.notes == ("partly transparent pixels were taken as opaque",)
    assert np.array_equal(decode(data, alpha="ignore").rgb, pixels[..., :3])


@pytest.mark.parametrize("kind", [".ppm", ".jp2"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_rounded_as_those_of_png_are(kind: str, channels: int) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (40, 60, 3)).astype(np.uint16)
    deep = deep[..., 0] if channels == 1 else deep
    name = ".pgm" if (kind, channels) == (".ppm", 1) else kind
    lossless = (cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000) if kind == ".jp2" else ()
    data = written_by_opencv(name, deep, *lossless)
    assert np.array_equal(opened_by_opencv(data), deep)
    photo = decode(data)
    assert np.array_equal(photo.rgb, decode(written_by_opencv(".png", deep)).rgb)
    assert photo.notes == DEEP_NOTE


def test_16_bits_of_jpeg_xl() -> None:
    deep = np.arange(600, dtype=np.uint16).reshape(20, 30) * 109
    data = encoded(Image.fromarray(deep), "JXL", lossless=True)
    assert decode(data).notes == ("Gra_D65_Rel_Lin to sRGB", *DEEP_NOTE)  # the plugin writes linear light
    photo = decode(data, profile="ignore")
    assert np.array_equal(photo.rgb, decode(written_by_opencv(".png", deep)).rgb)
    with pytest.raises(ImageError, match="its samples are floating-point numbers; save it as PNG"):
        decode(encoded(Image.fromarray(deep.astype(np.float32)), "JXL", lossless=True))


# PNM


def pnm(kind: int, samples: NDArray[np.int64], maximum: int | None, comment: bytes = b"") -> bytes:
    """A PNM file of (H, W) or (H, W, 3) samples, as the specification has it."""
    height, width = samples.shape[:2]
    head = b"P%d\n%s%d %d\n" % (kind, comment, width, height)
    head += b"" if maximum is None else b"%d\n" % maximum
    if kind < 4:
        return head + b"\n".join(b" ".join(b"%d" % n for n in row.ravel()) for row in samples)
    if kind == 4:
        return head + np.packbits(samples.astype(bool), axis=1).tobytes()
    return head + samples.astype(np.uint8 if maximum is not None and maximum < 256 else ">u2").tobytes()


@pytest.mark.parametrize("kind", range(1, 7))
@pytest.mark.parametrize("maximum", [255, 65535])
def test_every_kind_of_pnm_decodes_as_in_opencv(kind: int, maximum: int) -> None:
    bits = kind in (1, 4)
    shape = (9, 13, 3) if kind in (3, 6) else (9, 13)
    samples = np.random.default_rng(kind).integers(0, (1 if bits else maximum) + 1, shape)
    data = pnm(kind, samples, None if bits else maximum, b"# a comment\n# and 10 more\n")
    photo = decode(data)
    expected = (1 - samples) * 255 if bits else samples * 255 // maximum
    if maximum == 255 or bits:
        assert np.array_equal(opened_by_opencv(data + b"\n" * 9), expected)  # it reads no text to its end
        assert np.array_equal(photo.rgb, np.dstack([expected] * 3) if len(shape) == 2 else expected)
        assert photo.notes == ()
    else:
        rounded = np.rint(samples / 257)
        assert np.array_equal(photo.rgb, np.dstack([rounded] * 3) if len(shape) == 2 else rounded)
        assert photo.notes == DEEP_NOTE


@pytest.mark.parametrize("kind", [2, 3, 5, 6])
@pytest.mark.parametrize("maximum", [1, 100, 254, 256, 1023, 40000])
def test_white_is_the_maximum_of_a_pnm(kind: int, maximum: int) -> None:
    samples = np.random.default_rng(maximum).integers(
        0, maximum + 1, (5, 7, 3) if kind in (3, 6) else (5, 7, 1)
    )
    photo = decode(pnm(kind, samples, maximum))
    exact = samples * 255 / maximum
    assert np.abs(photo.rgb - exact).max() <= (0.5 if maximum < 256 else 0.5 + 0.5 / 257)  # rounded twice
    bits = {256: 9, 1023: 10, 40000: 16}.get(maximum, 8)
    assert photo.notes == (() if bits == 8 else (f"{bits}-bit samples were rounded to 8 bits",))
    with pytest.raises(ImageError, match="it is damaged: a sample is greater than the maximum"):
        decode(pnm(kind, np.full_like(samples, maximum + 1), maximum))


def test_the_digits_of_a_bilevel_text_may_stand_without_spaces() -> None:
    assert decode(b"P1 4 2 0110\n1001").rgb[..., 0].tolist() == [[255, 0, 0, 255], [0, 255, 255, 0]]


def test_a_second_image_in_a_pnm_is_noted() -> None:
    data = pnm(5, np.full((3, 4), 9), 255)
    assert decode(data + b"\n" + data).notes == ("the first of several images",)
    assert decode(data + b"\nP5 is the kind").notes == ()


@pytest.mark.parametrize("head", [b"P6 0 4 255 ", b"P6 4 4 0 ", b"P6 4 4 65536 "])
def test_impossible_headers_of_pnm(head: bytes) -> None:
    with pytest.raises(ImageError, match="its header has a width, height or maximum that no PNM has"):
        decode(head + bytes(200))


# TGA


def tga(
    image_type: int, pixels: NDArray[Any], descriptor: int, colors: bytes = b"", map_depth: int = 0
) -> bytes:
    """A TGA file of (H, W, channels) bytes, as specified, with an identification of three bytes."""
    height, width, n = pixels.shape
    has_map = int(map_depth > 0)
    entries = len(colors) * 8 // map_depth if has_map else 0
    head = struct.pack("<BBBHHB", 3, has_map, image_type, 0, entries, map_depth)
    size = struct.pack("<HHHHBB", 0, 0, width, height, 8 * n, descriptor)
    return head + size + b"abc" + colors + pixels.tobytes()


@pytest.mark.parametrize(
    ("descriptor", "rows", "columns"), [(0, -1, 1), (0x20, 1, 1), (0x10, -1, -1), (0x30, 1, -1)]
)
def test_the_four_corners_a_tga_may_begin_at(descriptor: int, rows: int, columns: int) -> None:
    rgb = noise(5, 7)
    data = tga(2, rgb[..., ::-1], descriptor)
    assert np.array_equal(decode(data).rgb, rgb[::rows, ::columns])


@pytest.mark.parametrize("map_depth", [16, 24, 32])
@pytest.mark.parametrize("is_compressed", [False, True])
def test_color_maps_of_tga(map_depth: int, is_compressed: bool) -> None:
    colors = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    bgr0 = np.dstack([colors[None, :, ::-1], np.zeros((1, 4), np.uint8)])[0]
    packed = bgr0[:, : map_depth // 8].tobytes()
    if map_depth == 16:
        packed = np.array([0, 31 << 10, 31 << 5, 31], "<u2").tobytes()
    labels = np.array([[0, 1, 2, 3, 3, 3], [3, 3, 3, 0, 1, 2]], np.uint8)[..., None]
    data = tga(9 if is_compressed else 1, labels, 0x20, packed, map_depth)
    if is_compressed:
        literal, run = b"\x02\x00\x01\x02", b"\x82\x03"
        data = data[: -labels.size] + literal + run + run + literal
    photo = decode(data)
    assert np.array_equal(photo.rgb, colors[labels[..., 0]])
    assert (photo.opaque, photo.notes) == (None, ())


def test_16_bit_pixels_of_tga() -> None:
    def pixels(numbers: NDArray[Any]) -> NDArray[np.uint8]:
        return numbers.astype("<u2").view(np.uint8).reshape(1, 32, 2)

    five = np.arange(32)
    numbers = five << 10 | five[::-1] << 5
    photo = decode(tga(2, pixels(numbers), 0x20))
    assert photo.rgb[0, :, 0].tolist() == (five * 255 // 31).tolist()
    assert np.array_equal(photo.rgb[0, :, 1], photo.rgb[0, ::-1, 0])
    for bit in (0, 0x8000):
        marked = decode(tga(2, pixels(numbers | bit), 0x21))
        assert np.array_equal(marked.rgb, photo.rgb) and marked.opaque is None
    numbers[3] |= 0x8000
    with pytest.raises(ImageError, match="its pixels have an attribute bit, whose meaning is not defined"):
        decode(tga(2, pixels(numbers), 0x21))


def test_the_header_of_a_tga_says_whether_it_has_alpha() -> None:
    rgb = noise(4, 6)
    pixels = np.dstack([rgb[..., ::-1], np.zeros((4, 6), np.uint8)])
    photo = decode(tga(2, pixels, 0x20))
    assert np.array_equal(photo.rgb, rgb) and photo.opaque is None
    whole = tga(2, pixels, 0x28)
    with pytest.raises(ImageError, match="every pixel is transparent"):
        decode(whole)
    for attributes in (2, 3, 4):
        extension = struct.pack("<H", 495).ljust(494, b"\0") + bytes([attributes])
        version_2 = whole + extension + struct.pack("<II", len(whole), 0) + b"TRUEVISION-XFILE.\0"
        if attributes == 2:
            assert decode(version_2).opaque is None
        else:
            reason = "every pixel is transparent" if attributes == 3 else "its alpha is premultiplied"
            with pytest.raises(ImageError, match=reason):
                decode(version_2)


OTHERS = [
    b"\0\0\x02\0\x01\0\x20\x20\0\0\x01\0\x08\0\x30\x01\0\0",  # a cursor of Windows
    b"\0\0\x01\0\x01\0\x20\x20\0\0\x01\0\x20\0\x30\x01\0\0",  # an icon
    b"\0\x01\0\0\0\x0c\0\x80\0\x03\0\x40OS/2",  # a font
    b"\0\0\x01\xba\x21\0\x01\0\x01\x80\0\x01\0\0\x01\xbb\0\x0c",  # an MPEG stream
    b"\0\0\x02\0\x06\x04\x06\0\x08\0\0\0\0\0\0\0\0\0",  # a spreadsheet of Lotus
    bytes(200),
]


@pytest.mark.parametrize("start", OTHERS)
def test_no_other_file_is_taken_for_a_tga(start: bytes) -> None:
    with pytest.raises(ImageError, match="it is not an image"):
        decode(start + bytes(1000))


def test_no_file_of_python_is_taken_for_an_image() -> None:
    suffixes = (".py", ".pyc", ".txt", ".so", ".h", ".a")
    files = [path for path in Path(sysconfig.get_path("stdlib")).rglob("*") if path.suffix in suffixes]
    assert len(files) > 500
    for path in files[:2000]:
        with pytest.raises(ImageError, match="it is not an image"):
            detect_format(path.read_bytes())


@pytest.mark.parametrize("name", SAMPLES)
def test_the_first_bytes_tell_an_image(name: str) -> None:
    assert is_image(SAMPLES[name][:64]) == (not name.startswith("tga"))


# QOI


def test_linear_light_in_qoi_is_noted_and_ignored() -> None:
    """Pillow writes so whatever the image is."""
    rgb = noise(9, 9)
    photo = decode(encoded(Image.fromarray(rgb), "QOI"))
    assert np.array_equal(photo.rgb, rgb)
    assert photo.notes == (
        "its header says linear light, as that of many QOI files in sRGB, and was ignored",
    )


# JPEG 2000


def jp2(picture: Image.Image, colr: bytes | None = None, cdef: bytes | None = None, **options: Any) -> bytes:
    """A JP2 file with other boxes colr and cdef."""
    data = encoded(picture, "JPEG2000", **options)
    end = data.index(b"jp2c") - 4
    header = data[40:62]
    for kind, content in ((b"colr", colr), (b"cdef", cdef)):
        if content is not None:
            header += struct.pack(">I4s", 8 + len(content), kind) + content
    return data[:32] + struct.pack(">I4s", 8 + len(header), b"jp2h") + header + data[end:]


def enumerated(space: int) -> bytes:
    return struct.pack(">BBBI", 1, 0, 0, space)


def test_sycc_becomes_rgb() -> None:
    ycc = Image.fromarray(noise(20, 30)).convert("YCbCr")
    data = jp2(Image.fromarray(np.asarray(ycc)), enumerated(18), mct=0)
    assert np.array_equal(decode(data).rgb, np.asarray(ycc.convert("RGB")))


def test_the_icc_profile_of_a_jp2() -> None:
    rgb = noise(20, 30)
    profile = matrix_profile(DISPLAY_P3, SRGB_CURVE, name="Display P3")
    photo = decode(jp2(Image.fromarray(rgb), b"\x02\0\0" + profile))
    same = decode(encoded(Image.fromarray(rgb), "PNG", icc_profile=profile))
    assert np.array_equal(photo.rgb, same.rgb)
    assert photo.notes == same.notes == ("Display P3 to sRGB",)


@pytest.mark.parametrize("space", [0, 12, 14, 17, 20])
def test_other_color_spaces_of_a_jp2_are_refused(space: int) -> None:
    with pytest.raises(ImageError, match="its colour space is not read from JPEG 2000"):
        decode(jp2(Image.fromarray(noise(5, 5)), enumerated(space)))


@pytest.mark.parametrize(
    "channels",
    [
        None,
        [(0, 0, 1), (1, 0, 2), (2, 0, 3), (3, 2, 0)],  # premultiplied alpha
        [(0, 0, 3), (1, 0, 2), (2, 0, 1), (3, 1, 0)],  # blue, green, red
    ],
)
def test_channels_of_another_meaning_are_refused(channels: list[tuple[int, int, int]] | None) -> None:
    entries = [struct.pack(">HHH", *entry) for entry in channels or ()]
    cdef = None if channels is None else b"".join([struct.pack(">H", 4), *entries])
    with pytest.raises(ImageError, match="its 4 channels are not said to be colours and alpha"):
        decode(jp2(Image.fromarray(np.dstack([noise(5, 5), noise(5, 5)[..., :1]])), enumerated(16), cdef))


# JPEG XL


def test_a_packed_jpeg_is_unpacked_to_the_byte(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.jpg"
    Image.fromarray(photos()["coffee"][:40, :60]).save(path, quality=90, exif=exif)
    with Image.open(path) as picture, pytest.warns(UserWarning, match="JPEG reconstruction"):
        packed = encoded(picture, "JXL")
    photo, jpeg = decode(packed), decode(path.read_bytes())
    assert photo.rgb.shape == (60, 40, 3)
    assert np.array_equal(photo.rgb, jpeg.rgb)
    assert (photo.notes, photo.turned) == (jpeg.notes, True)


def test_the_codestream_of_a_jpeg_xl_has_its_orientation_and_exif_has_not() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = decode(encoded(Image.fromarray(noise(20, 30)), "JXL", lossless=True, exif=exif.tobytes()))
    assert (photo.rgb.shape, photo.turned) == ((20, 30, 3), False)


def with_header(*fields: tuple[int, int]) -> bytes:
    """A codestream of 8 x 8 pixels, with metadata given as numbers and their bits."""
    number = at = 0
    for value, bits in ((1, 1), (0, 5), (1, 3), (0, 1), *fields):
        number, at = number | value << at, at + bits
    return b"\xff\x0a" + number.to_bytes(100, "little")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (((1, 1), (0, 3), (0, 1), (0, 1), (1, 1)), "it is an animated JPEG XL"),
        (((0, 1), (1, 1)), "its samples are floating-point numbers"),
        (((0, 1), (0, 1), (0, 2), (1, 1), (1, 2), (0, 1), (0, 2), (0, 1), (0, 2), (0, 2), (0, 2), (1, 1)),
         "its alpha is premultiplied"),
        (((0, 1), (0, 1), (0, 2), (1, 1), (1, 2), (0, 1), (2, 2), (2, 4), (0, 1), (0, 2), (0, 2), (0, 2)),
         "it is a JPEG XL in CMYK"),
    ],
)  # fmt: skip
def test_kinds_of_jpeg_xl_that_the_decoder_misinterprets_are_refused(
    fields: tuple[tuple[int, int], ...], reason: str
) -> None:
    with pytest.raises(ImageError, match=reason):
        decode(with_header(*fields))


def test_a_jpeg_xl_without_its_package(tmp_path: Path) -> None:
    (tmp_path / "a.jxl").write_bytes(SAMPLES["jxl.jxl"])
    (tmp_path / "sitecustomize.py").write_text(hide_modules("pillow_jxl"))
    result = kseg("run", "a.jxl", "-o", "out", cwd=tmp_path, path=tmp_path)
    assert result.returncode == 1
    assert "it is JPEG XL, which needs one more package: pip install pillow-jxl-plugin" in result.stderr


def test_the_profile_of_a_jpeg_xl() -> None:
    """The encoder here writes sRGB alone. The decoder gives the profile that the codestream describes."""
    picture = Image.open(io.BytesIO(SAMPLES["jxl.jxl"]))
    profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
    assert "sRGB" in ImageCms.getProfileDescription(profile)
    assert pillow_jxl.Decoder is not None
    assert decode(SAMPLES["jxl.jxl"]).notes == ()
