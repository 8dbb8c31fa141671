"""TIFF files of every kind: their written pixels, or a refusal that names the kind."""

from __future__ import annotations

import io
import itertools
import struct
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms

from kseg_batch.errors import ImageError
from kseg_batch.images.decode import decode
from tests.support.exactness import greatest_difference
from tests.support.image_files import decoded, encoded
from tests.support.images import noise, photos
from tests.support.tiff_files import (
    BLACK_IS_0,
    CMYK,
    DEFLATE,
    LAB,
    LZW,
    NONE,
    PACKBITS,
    PALETTE,
    RGB,
    WHITE_IS_0,
    YCBCR,
    page,
    tiff,
)

HEIGHT, WIDTH = 19, 37
COLOR_SAMPLES = {WHITE_IS_0: 1, BLACK_IS_0: 1, RGB: 3, PALETTE: 1, CMYK: 4}
UNSPECIFIED, PREMULTIPLIED, ALPHA = 0, 1, 2
NOT_READ = "which is not read here; save it as PNG"


class Kind(NamedTuple):
    """A kind of TIFF."""

    photometric: int
    extra: tuple[int, ...]
    planar: int
    order: str
    tile: int | None
    compression: tuple[int, int]
    """The compression, and the predictor."""
    big: bool


KINDS = [
    Kind(*values)
    for values in itertools.product(
        COLOR_SAMPLES,
        ((), (UNSPECIFIED,), (PREMULTIPLIED,), (ALPHA,), (UNSPECIFIED, UNSPECIFIED), (ALPHA, UNSPECIFIED)),
        (1, 2),
        "<>",
        (None, 16),
        ((NONE, 1), (LZW, 1), (DEFLATE, 1), (PACKBITS, 1), (LZW, 2), (DEFLATE, 2)),
        (False, True),
    )
]


def is_refused(kind: Kind, bits: int) -> bool:
    """Whether a kind is refused: libtiff knows no predictor below 8 bits, and the rest is ambiguous."""
    has_alpha = PREMULTIPLIED in kind.extra or ALPHA in kind.extra
    return (
        (kind.compression[1] == 2 and bits < 8)
        or (kind.photometric == CMYK and has_alpha)
        or (kind.photometric == WHITE_IS_0 and PREMULTIPLIED in kind.extra)
        or (kind.photometric == PALETTE and bits == 16)
    )


def to_8_bits(values: NDArray[Any], most: int) -> NDArray[np.int64]:
    """Values up to `most`, rounded to values up to 255."""
    return (values.astype(np.int64) * 510 + most) // (2 * most)


def expected_pixels(
    kind: Kind, bits: int, samples: NDArray[Any], palette: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The (H, W, 3) pixels of samples, and (H, W) where they are opaque."""
    most, n = (1 << bits) - 1, COLOR_SAMPLES[kind.photometric]
    colors = samples[..., :n].astype(np.int64)
    alpha = samples[..., n].astype(np.int64) if kind.extra and kind.extra[0] != UNSPECIFIED else None
    opaque = np.ones(colors.shape[:2], bool) if alpha is None else to_8_bits(alpha, most) > 0
    if kind.photometric == PALETTE:
        return palette[colors[..., 0]], opaque
    if kind.extra[:1] == (PREMULTIPLIED,) and alpha is not None:
        divisor = np.maximum(alpha, 1)[..., None]
        high = most if bits == 16 else 255  # samples below 8 bits have the precision of 8 bits by then
        colors = np.minimum((2 * colors * high + divisor) // (2 * divisor), high)
        most = high
    eight = to_8_bits(colors, most)
    if kind.photometric == CMYK:
        return np.asarray(Image.fromarray(eight.astype(np.uint8), "CMYK").convert("RGB")), opaque
    if kind.photometric == WHITE_IS_0:
        eight = 255 - eight
    return eight.repeat(3 // eight.shape[2], axis=2), opaque


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning")
def test_every_kind_gives_its_pixels_or_is_refused(bits: int, soak: bool) -> None:
    rng = np.random.default_rng(bits)
    palette = rng.integers(0, 256, (1 << min(bits, 8), 3))
    for kind in KINDS[:: 1 if soak else 11]:
        n = COLOR_SAMPLES[kind.photometric] + len(kind.extra)
        samples = rng.integers(0, 1 << bits, (HEIGHT, WIDTH, n)).astype(np.uint16)
        compression, predictor = kind.compression
        data = tiff(
            page(
                samples,
                bits=bits,
                photometric=kind.photometric,
                order=kind.order,
                planar=kind.planar,
                tile=kind.tile,
                compression=compression,
                predictor=predictor,
                extra=kind.extra,
                tags={320: (palette.T * 257).reshape(-1).tolist()} if kind.photometric == PALETTE else {},
            ),
            order=kind.order,
            big=kind.big,
        )
        if is_refused(kind, bits):
            with pytest.raises(ImageError, match=NOT_READ):
                decode(data)
            continue
        photo = decode(data)
        expected, opaque = expected_pixels(kind, bits, samples, palette)
        found = np.ones((HEIGHT, WIDTH), bool) if photo.opaque is None else photo.opaque
        assert np.array_equal(found, opaque), (kind, bits)
        assert np.array_equal(photo.rgb[opaque], expected[opaque]), (kind, bits)
        assert ("16-bit samples were rounded to 8 bits" in photo.notes) == (bits == 16)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_files_of_another_writer(dtype: type[np.uint8 | np.uint16], planar: str) -> None:
    """The writer of the tests and tifffile agree on what a TIFF is."""
    most = np.iinfo(dtype).max
    samples = np.random.default_rng(1).integers(0, most + 1, (40, 48, 4)).astype(dtype)
    stored = samples if planar == "contig" else np.moveaxis(samples, 2, 0)
    orders: tuple[Literal["<", ">"], ...] = ("<", ">")
    for order, big, tile, compression in itertools.product(
        orders, (False, True), (None, (16, 16)), (None, "zlib")
    ):
        file = io.BytesIO()
        tifffile.imwrite(
            file, stored, byteorder=order, bigtiff=big, tile=tile, compression=compression,
            photometric="rgb", planarconfig=planar, extrasamples=["unassalpha"],
        )  # fmt: skip
        photo = decode(file.getvalue())
        opaque = to_8_bits(samples[..., 3], most) > 0
        assert photo.opaque is not None and np.array_equal(photo.opaque, opaque)
        assert np.array_equal(photo.rgb, to_8_bits(samples[..., :3], most))
    data = tiff(page(samples, bits=8 * samples.itemsize, planar=1 if planar == "contig" else 2, extra=(2,)))
    read = tifffile.imread(io.BytesIO(data))
    assert np.array_equal(read, stored)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("factor", [1, 256, 257])
def test_palettes_of_8_and_16_bits(bits: int, factor: int) -> None:
    """Some programs write a palette with values up to 255."""
    palette = np.random.default_rng(bits).integers(0, 256, (1 << bits, 3))
    indices = np.random.default_rng(9).integers(0, 1 << bits, (HEIGHT, WIDTH, 1))
    tags = {320: (palette.T * factor).reshape(-1).tolist()}
    data = tiff(page(indices, bits=bits, photometric=PALETTE, tags=tags))
    assert np.array_equal(decode(data).rgb, palette[indices[..., 0]])


def test_a_palette_that_is_too_short() -> None:
    indices = np.zeros((4, 4, 1), np.uint8)
    data = tiff(page(indices, photometric=PALETTE, tags={320: [0] * 30}))
    with pytest.raises(ImageError, match=r"damaged TIFF file \(its palette is incomplete\)"):
        decode(data)


def test_lab_of_planes_and_pixels() -> None:
    picture = Image.fromarray(photos()["coffee"][:32, :48])
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    transform = ImageCms.buildTransform(*profiles, "RGB", "LAB")
    lab = np.asarray(ImageCms.applyTransform(picture, transform))
    for planar, compression, tile in itertools.product((1, 2), (NONE, LZW), (None, 16)):
        data = tiff(page(lab, photometric=LAB, planar=planar, compression=compression, tile=tile))
        # 8 bits of L*, a* and b* are coarser than those of RGB
        assert greatest_difference(decode(data).rgb, np.asarray(picture)) <= 4


def test_ycbcr_without_subsampling() -> None:
    ycbcr = Image.fromarray(photos()["coffee"][:32, :48]).convert("YCbCr")
    expected = np.asarray(ycbcr.convert("RGB"))
    for compression, tile, planar in itertools.product((NONE, LZW, DEFLATE), (None, 16), (1, 2)):
        data = tiff(
            page(
                np.asarray(ycbcr),
                photometric=YCBCR,
                compression=compression,
                tile=tile,
                planar=planar,
                tags={530: [1, 1]},
            )
        )
        assert np.array_equal(decode(data).rgb, expected)


def test_ycbcr_with_subsampling() -> None:
    """Each 2 x 2 pixels have four values of Y, one of Cb and one of Cr."""
    y = noise(16, 24, 60, 200)[..., 0]
    chroma = noise(8, 12, 100, 156)[..., :2]
    blocks = y.reshape(8, 2, 12, 2).swapaxes(1, 2).reshape(8, 12, 4)
    rows = np.concatenate([blocks, chroma], axis=2).reshape(8, 72)
    whole = np.dstack([y, chroma.repeat(2, axis=0).repeat(2, axis=1)])
    expected = np.asarray(Image.frombytes("YCbCr", (24, 16), whole.tobytes()).convert("RGB"))
    for compression in (NONE, LZW, DEFLATE):
        one = page(np.zeros((16, 24, 3), np.uint8), photometric=YCBCR, rows=16, compression=compression)
        one.segments = page(rows[..., None], rows=16, compression=compression).segments
        if compression == NONE:
            with pytest.raises(ImageError, match=f"it is a TIFF with YCbCr colours, {NOT_READ}"):
                decode(tiff(one))
            continue
        # libtiff and libjpeg round differently
        assert greatest_difference(decode(tiff(one)).rgb, expected) <= 1


def test_ycbcr_of_video_levels_is_refused_without_compression() -> None:
    ycbcr = noise(8, 8, 16, 235)
    levels = [16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1]
    data = tiff(page(ycbcr, photometric=YCBCR, tags={530: [1, 1], 532: levels}))
    with pytest.raises(ImageError, match=f"it is a TIFF with YCbCr colours, {NOT_READ}"):
        decode(data)


@pytest.mark.parametrize(
    "compression", ["zstd", "lzma", "tiff_deflate", "jpeg", "group3", "group4", "tiff_ccitt"]
)
def test_compressions_that_pillow_reads(compression: str) -> None:
    picture = Image.fromarray(photos()["coffee"][:32, :48])
    if compression not in ("zstd", "lzma", "tiff_deflate", "jpeg"):
        picture = picture.convert("1")
    data = encoded(picture, "TIFF", compression=compression)
    assert np.array_equal(decode(data).rgb, np.asarray(decoded(data).convert("RGB")))


def strip_of(data: bytes) -> tuple[int, int]:
    """The first byte and the end of the only strip of a TIFF that Pillow wrote."""
    tags = getattr(decoded(data), "tag_v2")  # noqa: B009 - Image has none, TiffImageFile has
    (start,), (size,) = tags[273], tags[279]
    return start, start + size


def test_16_bits_with_a_rare_compression() -> None:
    """Pillow writes grey pixels, of which each three are one of RGB."""
    deep = noise(8, 8).astype(np.uint16) * 257
    data = encoded(Image.fromarray(deep.reshape(8, 24)), "TIFF", compression="zstd")
    start, end = strip_of(data)
    one = page(deep, bits=16, rows=8, tags={259: [50000]})
    one.segments = [data[start:end]]
    photo = decode(tiff(one))
    assert np.array_equal(photo.rgb, noise(8, 8))
    assert photo.notes == ("16-bit samples were rounded to 8 bits",)


REFUSED = {
    (("compression", 50001),): "WebP compression",
    (("compression", 50001), ("bits", 16)): "WebP compression and 16-bit samples",
    (("compression", 34887),): "LERC compression",
    (("compression", 50002),): "JPEG XL compression",
    (("compression", 34712),): "JPEG 2000 compression",
    (("compression", 34712), ("bits", 16)): "JPEG 2000 compression and 16-bit samples",
    (("compression", 12345),): "compression 12345",
    (("bits", 10),): "10-bit samples",
    (("bits", 12),): "12-bit samples",
    (("bits", 14),): "14-bit samples",
    (("bits", 32),): "32-bit samples",
    (("format", 2),): "8-bit signed samples",
    (("format", 2), ("bits", 16)): "16-bit signed samples",
    (("format", 2), ("bits", 32)): "32-bit signed samples",
    (("format", 3), ("bits", 16)): "16-bit floating-point samples",
    (("format", 3), ("bits", 32)): "32-bit floating-point samples",
    (("format", 3), ("bits", 64)): "64-bit floating-point samples",
    (("format", 5), ("bits", 32)): "32-bit complex samples",
    (("format", 6), ("bits", 64)): "64-bit complex floating-point samples",
    (("photometric", 9),): r"ICC L\*a\*b\* colours",
    (("photometric", 8), ("bits", 16)): r"16-bit samples and CIE L\*a\*b\* colours",
    (("photometric", 32845),): "LogLuv samples",
    (("photometric", 7),): "photometric interpretation 7",
    (("photometric", 4),): "the pixels of a transparency mask",
}


@pytest.mark.parametrize(("traits", "words"), REFUSED.items())
def test_a_refusal_names_the_kind(traits: tuple[tuple[str, int], ...], words: str) -> None:
    tag_of = {"compression": 259, "bits": 258, "format": 339, "photometric": 262}
    one = page(np.zeros((8, 8, 3), np.uint8))
    one.segments = [bytes(4000)]
    for trait, value in traits:
        one.tags[tag_of[trait]] = [value] * (3 if trait in ("bits", "format") else 1)
    for big in (False, True):
        name = "BigTIFF" if big else "TIFF"
        with pytest.raises(ImageError, match=f"^it is a {name} with {words}, {NOT_READ}$"):
            decode(tiff(one, big=big))


def test_damage_is_called_damage() -> None:
    """A compression that is read here does not become a kind that is not."""
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "zstd", "lzma"):
        data = encoded(Image.fromarray(noise(40, 40)), "TIFF", compression=compression)
        start, _ = strip_of(data)
        damaged = data[:start] + bytes(200) + data[start + 200 :]
        with pytest.raises(ImageError, match="damaged"):
            decode(damaged)


def full_page() -> NDArray[np.uint8]:
    return noise(16, 24, seed=3)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_the_full_page_and_not_its_thumbnail(order: str, big: bool, bits: int) -> None:
    factor = 257 if bits == 16 else 1
    full = page(full_page().astype(np.uint16) * factor, bits=bits, order=order)
    small = page(noise(4, 6), order=order, tags={254: [1]})
    for data in (
        tiff(small, full, order=order, big=big),
        tiff(full, small, order=order, big=big),
        tiff(page(noise(4, 6), order=order, tags={254: [1]}, below=[full]), order=order, big=big),
        tiff(page(noise(4, 6), order=order, tags={255: [2]}), full, order=order, big=big),
    ):
        photo = decode(data)
        assert np.array_equal(photo.rgb, full_page())
        assert not any("frames" in note for note in photo.notes)


def test_pages_are_counted_without_their_copies() -> None:
    full, second = page(full_page()), page(noise(9, 9))
    small = page(noise(4, 6), tags={254: [1]})
    photo = decode(tiff(small, full, small, second))
    assert np.array_equal(photo.rgb, full_page())
    assert photo.notes == ("the first of 2 frames",)


def test_a_file_of_thumbnails_alone_has_its_first() -> None:
    small = page(full_page(), tags={254: [1]})
    assert np.array_equal(decode(tiff(small)).rgb, full_page())


def test_a_page_that_is_a_mask_is_noted() -> None:
    mask = page(np.ones((16, 24, 1), np.uint8), bits=1, photometric=4, tags={254: [4]})
    photo = decode(tiff(page(full_page()), mask))
    assert np.array_equal(photo.rgb, full_page())
    assert photo.notes == ("the transparency mask of the TIFF was ignored",)


def test_orientation_is_that_of_the_full_page() -> None:
    for bits, planar in itertools.product((8, 16), (1, 2)):
        samples = full_page().astype(np.uint16) * (257 if bits == 16 else 1)
        full = page(samples, bits=bits, planar=planar, tags={274: [6]})
        photo = decode(tiff(page(noise(4, 6), tags={254: [1], 274: [3]}), full))
        assert np.array_equal(photo.rgb, np.rot90(full_page(), -1))
        assert photo.turned


def test_a_chain_of_pages_that_leads_back() -> None:
    data = bytearray(tiff(page(full_page())))
    data[-4:] = data[4:8]  # the next page is the first
    photo = decode(bytes(data))
    assert np.array_equal(photo.rgb, full_page())
    assert photo.notes == ()


@pytest.mark.parametrize("bits", [8, 16])
def test_a_size_over_the_limit(bits: int) -> None:
    data = tiff(page(full_page().astype(np.uint16), bits=bits, planar=2))
    assert decode(data, max_pixels=16 * 24).rgb.shape == (16, 24, 3)
    with pytest.raises(ImageError, match="over --max-pixels 383"):
        decode(data, max_pixels=383)


def test_an_icc_profile_of_a_page_in_planes() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = decode(encoded(Image.fromarray(full_page()), "TIFF", icc_profile=profile))
    data = tiff(page(full_page(), planar=2, tags={34675: list(profile)}))
    photo = decode(data)
    assert np.array_equal(photo.rgb, plain.rgb)
    assert photo.notes == plain.notes


@pytest.mark.parametrize("tile", [None, 16])
def test_a_page_without_some_of_its_parts(tile: int | None) -> None:
    one = page(full_page(), tile=tile)
    tag = 324 if tile else 273
    data = tiff(one)
    parts = getattr(decoded(data), "tag_v2")[tag]  # noqa: B009 - Image has none, TiffImageFile has
    where = data.index(struct.pack(f"<{len(parts)}I", *parts))
    with pytest.raises(ImageError, match="a TIFF that leaves out parts of its page, which is not read"):
        decode(data[:where] + bytes(4) + data[where + 4 :])


@pytest.mark.parametrize("compression", [NONE, LZW, DEFLATE, PACKBITS])
def test_reversed_bits(compression: int) -> None:
    """In each byte, the first pixel or bit may be in the lowest bit."""
    for bits, order, n in itertools.product((1, 2, 4, 8, 16), "<>", (1, 3, 4)):
        samples = np.random.default_rng(bits).integers(0, 1 << bits, (9, 16, n)).astype(np.uint16)
        one = page(
            samples,
            bits=bits,
            order=order,
            compression=compression,
            photometric=BLACK_IS_0 if n == 1 else RGB,
            extra=(UNSPECIFIED,) if n == 4 else (),
            tags={266: [2]},
        )
        one.segments = [bytes(int(f"{byte:08b}"[::-1], 2) for byte in part) for part in one.segments]
        data = tiff(one, order=order)
        expected = to_8_bits(samples[..., :3], (1 << bits) - 1)
        try:
            found = decode(data).rgb
        except ImageError as error:
            assert "reversed bits, which is not read here" in str(error)
            continue
        assert np.array_equal(found, expected.repeat(3 // expected.shape[2], axis=2)), (bits, order, n)
