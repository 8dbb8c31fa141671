"""Small images of every format that the libraries here write, and damaged copies of the files."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401 - lets Pillow write JPEG XL
from PIL import Image

from tests.support.bmp_files import RLE4, bmp, packed_indices, run_lengths
from tests.support.image_files import encoded, with_alpha
from tests.support.images import noise, photos
from tests.support.tiff_files import DEFLATE, page, tiff

if TYPE_CHECKING:
    from collections.abc import Iterator

FLIPS = 60
SWAPS = 12
LENGTHS = 12


def _samples() -> dict[str, bytes]:
    pillow_heif.register_heif_opener()
    photo = Image.fromarray(photos()["coffee"][60:100, 100:160])
    clear = Image.fromarray(with_alpha(np.asarray(photo), noise(40, 60, 0, 2)[..., 0] > 0))
    deep = np.asarray(photo).astype(np.uint16) * 257
    kinds: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
        "jpeg.jpg": (photo, "JPEG", {}),
        "jpeg-progressive.jpg": (photo, "JPEG", {"progressive": True}),
        "jpeg-gray.jpg": (photo.convert("L"), "JPEG", {}),
        "jpeg-cmyk.jpg": (photo.convert("CMYK"), "JPEG", {}),
        "png.png": (photo, "PNG", {}),
        "png-palette.png": (photo.quantize(30), "PNG", {}),
        "png-alpha.png": (clear, "PNG", {}),
        "webp.webp": (photo, "WEBP", {}),
        "webp-lossless.webp": (photo, "WEBP", {"lossless": True}),
        "webp-alpha.webp": (clear, "WEBP", {}),
        "tiff.tif": (photo, "TIFF", {}),
        "tiff-lzw.tif": (photo, "TIFF", {"compression": "tiff_lzw"}),
        "tiff-deflate.tiff": (photo, "TIFF", {"compression": "tiff_adobe_deflate"}),
        "tiff-jpeg.tiff": (photo, "TIFF", {"compression": "jpeg"}),
        "bmp.bmp": (photo, "BMP", {}),
        "gif.gif": (photo.quantize(60), "GIF", {}),
        "avif.avif": (photo, "AVIF", {}),
        "heic.heic": (photo, "HEIF", {}),
        "ppm.ppm": (photo, "PPM", {}),
        "pgm.pgm": (photo.convert("L"), "PPM", {}),
        "pbm.pbm": (photo.convert("1"), "PPM", {}),
        "tga.tga": (clear, "TGA", {}),
        "tga-rle.tga": (photo, "TGA", {"compression": "tga_rle"}),
        "tga-palette.tga": (photo.quantize(30), "TGA", {}),
        "qoi.qoi": (photo, "QOI", {}),
        "jpeg2000.jp2": (photo, "JPEG2000", {"quality_mode": "rates", "quality_layers": [8]}),
        "jpeg2000-lossless.jp2": (clear, "JPEG2000", {}),
        "jpeg2000.j2k": (photo, "JPEG2000", {"no_jp2": True}),
        "jxl.jxl": (photo, "JXL", {}),
        "jxl-lossless.jxl": (clear, "JXL", {"lossless": True, "use_container": True}),
    }
    samples = {}
    for name, (picture, kind, options) in kinds.items():
        samples[name] = encoded(picture, kind, **options)
    samples["png-16.png"] = cv2.imencode(".png", deep)[1].tobytes()
    samples["ppm-16.ppm"] = cv2.imencode(".ppm", deep)[1].tobytes()
    samples["ppm-text.ppm"] = (
        b"P3 60 40 255 " + b" ".join(b"%d" % n for n in np.asarray(photo).ravel()) + b"\n"
    )
    samples["jpeg2000-16.jp2"] = cv2.imencode(".jp2", deep)[1].tobytes()
    samples["tiff-16.tif"] = cv2.imencode(".tiff", deep)[1].tobytes()
    samples["tiff-planes.tif"] = tiff(
        page(deep, bits=16, planar=2, tile=16, compression=DEFLATE, predictor=2)
    )
    samples["tiff-big.tif"] = tiff(page(np.asarray(clear), extra=(1,), order=">"), order=">", big=True)
    indices, palette = np.asarray(photo.convert("L")) // 16, noise(1, 16)[0]
    runs = run_lengths(indices, 4)
    samples["bmp-runs.bmp"] = bmp(runs, 60, 40, 4, compression=RLE4, palette=palette)
    samples["bmp-palette.bmp"] = bmp(packed_indices(indices, 8), 60, 40, 8, palette=palette)
    return samples


SAMPLES = _samples()
"""Whole files, by name."""


def truncations(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The file cut at every 5% of its length, with the length."""
    for percent in range(5, 100, 5):
        length = len(data) * percent // 100
        yield length, data[:length]


def damaged_files(seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Some 2,000 names and contents, always the same for a seed."""
    chance = random.Random(seed)
    for sample, data in SAMPLES.items():
        stem, _, extension = sample.rpartition(".")
        for length, cut in truncations(data):
            yield f"{stem}-cut{length}.{extension}", cut
        for i in range(FLIPS):
            yield f"{stem}-flip{i}.{extension}", _flipped(data, 1 + i % 3, chance)
        for i in range(SWAPS):
            yield f"{stem}-swap{i}.{extension}", _swapped(data, chance)
        for i in range(LENGTHS):
            yield f"{stem}-length{i}.{extension}", _wrong_number(data, chance)


def _flipped(data: bytes, n_bits: int, chance: random.Random) -> bytes:
    """The file with some bits flipped."""
    damaged = bytearray(data)
    for _ in range(n_bits):
        damaged[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def _swapped(data: bytes, chance: random.Random) -> bytes:
    """The file with two blocks exchanged."""
    size = chance.randrange(4, len(data) // 3)
    first, second = sorted(chance.randrange(len(data) - size) for _ in range(2))
    second = max(second, first + size)
    return b"".join(
        (data[:first], data[second : second + size], data[first + size : second], data[first : first + size],
         data[second + size :])
    )  # fmt: skip


def _wrong_number(data: bytes, chance: random.Random) -> bytes:
    """The file with an extreme number in four of the first hundred bytes, which hold lengths and sizes."""
    at = chance.randrange(4, min(100, len(data) - 4))
    number = chance.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, len(data), 0x00010000])
    return data[:at] + number.to_bytes(4, chance.choice(["big", "little"])) + data[at + 4 :]
