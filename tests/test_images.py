"""Image files: what is written reads back the same with other libraries; what is damaged is refused."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from kseg_batch import decoding, encoding
from kseg_batch.errors import ImageError
from kseg_batch.labelmap import LabelMap
from tests.samples import noise, photos

WIDTHS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33]


def pillow(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 16, 17, 255, 256])
def test_indexed_png(k: int, width: int) -> None:
    rng = np.random.default_rng(k * 100 + width)
    labels = rng.integers(0, k, (6, width)).astype(np.uint8)
    colors = rng.integers(0, 256, (k, 3)).astype(np.uint8)
    data = encoding.encode_indexed(LabelMap.pack(labels, k), colors)
    picture = pillow(data)
    assert picture.mode == "P"
    assert np.array_equal(np.asarray(picture), labels)
    assert np.array_equal(np.asarray(picture.convert("RGB")), colors[labels])
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert np.array_equal(decoded[..., ::-1], colors[labels])
    bits = data[24]
    assert bits == next(b for b in (1, 2, 4, 8) if k <= 2**b)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 16, 17, 256])
def test_packed_labels_and_masks(k: int, width: int) -> None:
    """What comes packed, as from a GPU, unpacks to the labels, and its masks are those of the labels."""
    labels = np.random.default_rng(k * 100 + width).integers(0, k, (6, width)).astype(np.uint8)
    packed = LabelMap.pack(labels, k)
    again = LabelMap(packed.rows, width, packed.bits)
    assert np.array_equal(again.labels, labels)
    masks = np.stack([packed.mask(cluster) for cluster in range(k)])
    assert masks.shape == (k, 6, 1 + (width + 7) // 8)
    given = LabelMap(packed.rows, width, packed.bits, masks)
    for cluster in range(k):
        unpacked = np.unpackbits(given.mask(cluster)[:, 1:], axis=1)[:, :width]
        assert np.array_equal(unpacked, labels == cluster)


def test_indexed_png_of_a_view() -> None:
    labels = np.random.default_rng(0).integers(0, 3, (40, 60)).astype(np.uint8)[::2, ::-3]
    picture = pillow(encoding.encode_indexed(LabelMap.pack(labels, 3), np.zeros((3, 3), np.uint8)))
    assert np.array_equal(np.asarray(picture), labels)


@pytest.mark.parametrize("width", WIDTHS)
def test_mask_png(width: int) -> None:
    mask = np.random.default_rng(width).random((5, width)) < 0.5
    data = encoding.encode_mask(LabelMap.pack(mask.astype(np.uint8), 2), 1)
    assert pillow(data).mode == "1"
    assert np.array_equal(np.asarray(pillow(data)), mask)
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert decoded is not None
    assert np.array_equal(decoded, mask * np.uint8(255))


def test_gray_and_rgb_png() -> None:
    labels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    assert pillow(encoding.encode_gray(labels)).mode == "L"
    assert np.array_equal(np.asarray(pillow(encoding.encode_gray(labels))), labels)
    rgb = noise(9, 11)
    assert np.array_equal(np.asarray(pillow(encoding.encode_rgb(rgb))), rgb)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_decode_to_their_pixels(kind: str) -> None:
    rgb = photos()["coffee"][:50, :70]
    photo = decoding.decode(saved(Image.fromarray(rgb), kind, lossless=True))
    assert np.array_equal(photo.rgb, rgb)
    assert photo.rgb.flags.c_contiguous
    assert photo.notes == ()


def test_jpeg_decodes_close_to_another_decoder() -> None:
    data = saved(Image.fromarray(photos()["coffee"]), "JPEG", quality=95)
    photo = decoding.decode(data)
    difference = np.abs(photo.rgb.astype(int) - np.asarray(pillow(data)).astype(int))
    assert difference.max() <= 4  # two builds of libjpeg-turbo may round chroma and colour differently
    assert photo.notes == ()


def test_gray_files_become_rgb() -> None:
    gray = np.arange(200, dtype=np.uint8).reshape(10, 20)
    photo = decoding.decode(saved(Image.fromarray(gray), "PNG"))
    assert np.array_equal(photo.rgb, np.stack([gray] * 3, axis=-1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(orientation: int) -> None:
    scene = np.zeros((16, 32, 3), np.uint8)
    scene[:8, :8] = 255  # a white corner
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(scene), "JPEG", quality=100, exif=exif)
    from PIL import ImageOps

    expected = np.asarray(ImageOps.exif_transpose(pillow(data)))
    photo = decoding.decode(data)
    assert photo.rgb.shape == expected.shape
    assert np.abs(photo.rgb.astype(int) - expected.astype(int)).max() <= 4


def test_sixteen_bits_are_rounded_and_noted() -> None:
    deep = np.array([[0, 128, 129, 385, 386, 65535]], np.uint16)  # 128.5 is half of one 8-bit step
    done, data = cv2.imencode(".png", deep)
    assert done
    photo = decoding.decode(data.tobytes())
    assert photo.rgb[0, :, 0].tolist() == [0, 0, 1, 1, 2, 255]
    assert photo.notes == ("16-bit samples were rounded to 8 bits",)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("WEBP", {"lossless": True}), ("WEBP", {"quality": 80}), ("BMP", {})],
)
def test_alpha_is_noted_and_the_colors_below_it_kept(kind: str, options: dict[str, object]) -> None:
    rgba = np.dstack([noise(20, 20, 100, 200), noise(20, 20, 0, 2)[..., 0] * np.uint8(255)])
    options = {"exact": True, **options} if kind == "WEBP" else options
    photo = decoding.decode(saved(Image.fromarray(rgba), kind, **options))
    assert photo.notes == ("alpha was ignored",)
    assert options.get("quality") or np.array_equal(photo.rgb, rgba[..., :3])


def test_tiff_with_alpha_is_refused() -> None:
    rgba = np.dstack([noise(8, 8), noise(8, 8)[..., 0]])
    with pytest.raises(ImageError, match="save it as PNG, or without alpha"):
        decoding.decode(saved(Image.fromarray(rgba), "TIFF"))


def test_transparent_palette_png_is_noted() -> None:
    picture = Image.fromarray(noise(8, 8)).convert("P")
    assert decoding.decode(saved(picture, "PNG", transparency=0)).notes == ("alpha was ignored",)
    assert decoding.decode(saved(picture, "PNG")).notes == ()


@pytest.mark.parametrize("data", [b"", b"\x00" * 100, b"just some text", b"\xff\xd8\xff\xe0"])
def test_not_an_image(data: bytes) -> None:
    with pytest.raises(ImageError):
        decoding.decode(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files_are_refused(kind: str, share: float) -> None:
    data = saved(Image.fromarray(photos()["coffee"]), kind)
    with pytest.raises(ImageError):
        decoding.decode(data[: int(share * len(data))])


def test_float_samples_are_refused() -> None:
    done, data = cv2.imencode(".tiff", np.ones((4, 4, 3), np.float32))
    assert done
    with pytest.raises(ImageError, match="float32; convert it to 8 or 16 bits"):
        decoding.decode(data.tobytes())
