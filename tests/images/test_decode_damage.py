"""Files that are damaged, of a kind that is not read, or too large: refused with the reason."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from kseg_batch.errors import ImageError
from kseg_batch.images.decode import MAX_PIXELS, decode
from tests.support.damage import SAMPLES, truncations
from tests.support.exactness import greatest_difference
from tests.support.image_files import decoded, encoded, png_of_chunks
from tests.support.images import photos


@pytest.mark.parametrize(("name", "data"), SAMPLES.items())
def test_the_size_is_looked_at_before_decoding(name: str, data: bytes) -> None:
    photo = decode(data)
    n = photo.rgb.shape[0] * photo.rgb.shape[1]
    assert decode(data, max_pixels=n).rgb.shape == photo.rgb.shape
    with pytest.raises(ImageError, match=f"it has 0.0 megapixels, over --max-pixels {n - 1}"):
        decode(data, max_pixels=n - 1)


def test_a_small_file_of_a_huge_image_takes_no_memory() -> None:
    code = """
import resource, struct, zlib
from kseg_batch.images.decode import decode, prepare_process
from kseg_batch.errors import ImageError
from tests.support.image_files import png_of_chunks
prepare_process()
header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
data = png_of_chunks((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
bmp = b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for image in (data, bmp):
    try:
        decode(image)
    except ImageError as error:
        print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    sentence = f"it has 3600.0 megapixels, over --max-pixels {MAX_PIXELS}\n"
    assert done.stdout == 2 * sentence + "True\n"


@pytest.mark.parametrize(
    "data", [b"\x00" * 100, b"just some text", b"\xff\xd8\xff\xe0", b"RIFF", b"BM", b"GIF89a"]
)
def test_not_an_image(data: bytes) -> None:
    with pytest.raises(ImageError):
        decode(data)


def test_an_empty_file() -> None:
    with pytest.raises(ImageError, match="the file is empty"):
        decode(b"")


def test_float_samples_are_refused() -> None:
    done, data = cv2.imencode(".tiff", np.ones((4, 4), np.float32))
    assert done
    with pytest.raises(ImageError, match="32-bit floating-point samples, which is not read here; save it as"):
        decode(data.tobytes())


def test_data_after_a_whole_image_do_not_matter() -> None:
    for data in SAMPLES.values():
        assert np.array_equal(decode(data + b"and a video" * 99).rgb, decode(data).rgb)


def test_damaged_exif_costs_the_orientation_alone() -> None:
    rgb = photos()["coffee"][:40, :60]
    for kind, options in (
        ("JPEG", {"quality": 100, "subsampling": 0}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
    ):
        data = encoded(Image.fromarray(rgb), kind, exif=b"Exif\0\0no TIFF header", **options)
        photo = decode(data)
        assert photo.rgb.shape == rgb.shape
        assert photo.notes == ("its EXIF data are damaged, so it may lie on its side",)


def test_a_png_with_megabytes_of_text() -> None:
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    text = b"History\0\0" + zlib.compress(bytes(8 << 20))
    data = png_of_chunks(
        (b"IHDR", header), (b"zTXt", text), (b"IDAT", zlib.compress(b"\0\x07")), (b"IEND", b"")
    )
    assert decode(data).rgb.tolist() == [[[7, 7, 7]]]


@pytest.mark.parametrize("name", [name for name in SAMPLES if not name.endswith((".avif", ".heic"))])
def test_every_truncation_is_refused(name: str) -> None:
    for length, data in truncations(SAMPLES[name]):
        with pytest.raises(ImageError):
            decode(data)
            print(name, length, "of", len(SAMPLES[name]))


def test_damaged_files_are_refused_or_read() -> None:
    """No library prints anything in a process that is prepared."""
    code = """
from kseg_batch.images.decode import decode, prepare_process
from kseg_batch.errors import ImageError
from tests.support.damage import damaged_files
files = list(damaged_files())
prepare_process()
read = refused = 0
for name, data in files:
    try:
        decode(data, max_pixels=1_000_000)
        read += 1
    except ImageError as error:
        assert str(error).isprintable() and str(error), (name, str(error))
        refused += 1
print(read, refused)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    read, refused = map(int, done.stdout.split())
    assert done.stderr == ""
    assert read + refused >= 2000
    assert refused > 1000


@pytest.mark.parametrize("name", [name for name in SAMPLES if name.startswith("png")])
def test_any_flipped_bit_of_a_png_is_refused(name: str) -> None:
    data = SAMPLES[name]
    for position in range(0, len(data), 7):
        damaged = bytearray(data)
        damaged[position] ^= 1 << (position % 8)
        with pytest.raises(ImageError):
            decode(bytes(damaged))


def test_jpeg_damage_inside_the_scan_is_refused() -> None:
    """Other decoders go on in grey or with a shift."""
    data = encoded(Image.fromarray(photos()["coffee"]), "JPEG")
    start = data.index(b"\xff\xda") + 14
    damaged = bytearray(data)
    damaged[start + 1000 : start + 1100] = bytes(100)
    shown = decoded(bytes(damaged))
    assert greatest_difference(np.asarray(shown), photos()["coffee"]) > 100
    with pytest.raises(ImageError, match="it is a damaged JPEG file"):
        decode(bytes(damaged))
