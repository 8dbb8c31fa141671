"""Refusals of kinds that are not read: camera RAW files, and what libraries say about others."""

from __future__ import annotations

import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from kseg_batch.errors import ImageError
from kseg_batch.images.decode import decode
from tests.support.image_files import encoded
from tests.support.images import noise
from tests.support.tiff_files import Page, page, tiff

REMEDY = "which is not read here; develop it to JPEG, PNG or TIFF first"
MOSAIC, LINEAR_RAW = 32803, 34892


def small(make: str = "", **tags: list[int]) -> Page:
    """The first page of a RAW file: a preview in RGB."""
    found = {int(tag[1:]): values for tag, values in tags.items()}
    if make:
        found[271] = list(make.encode() + b"\0")
    return page(noise(4, 6), tags={254: [1]} | found)


def mosaic(photometric: int = MOSAIC) -> Page:
    """A page of RAW samples."""
    return page(np.zeros((16, 24, 1), np.uint16), bits=16, photometric=photometric)


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"IIRO\x08\0\0\0", "ORF"),
        (b"IIRS\x08\0\0\0", "ORF"),
        (b"MMOR\0\0\0\x08", "ORF"),
        (b"IIU\0\x08\0\0\0", "RW2"),
        (b"FUJIFILMCCD-RAW 0201", "RAF"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "CR3"),
        (b"FOVb\0\0\3\0", "X3F"),
        (b"\0MRM\0\0\1\0", "MRW"),
        (b"II\x1a\0\0\0HEAPCCDR", "CRW"),
    ],
)
def test_raw_files_with_a_signature(start: bytes, name: str) -> None:
    with pytest.raises(ImageError, match=rf"^it is a camera RAW file \({name}\), {REMEDY}$"):
        decode(start.ljust(200, b"\0"))


@pytest.mark.parametrize(
    ("pages", "name"),
    [
        ([small(t50706=[1, 4, 0, 0])], "DNG"),
        ([page(noise(4, 6), tags={50706: [1, 4, 0, 0]})], "DNG"),
        ([page(noise(4, 6), tags={254: [1], 50706: [1, 4, 0, 0]}, below=[mosaic(LINEAR_RAW)])], "DNG"),
        ([small("NIKON CORPORATION"), mosaic()], "NEF"),
        ([page(noise(4, 6), tags={271: list(b"SONY\0")}, below=[mosaic()])], "ARW"),
        (
            [page(noise(4, 6), below=[page(noise(3, 3), below=[mosaic()])], tags={271: list(b"SAMSUNG\0")})],
            "SRW",
        ),
        ([page(np.zeros((8, 8, 1)), photometric=MOSAIC, tags={271: list(b"PENTAX Corporation\0")})], "PEF"),
    ],
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_raw_files_that_are_tiff_files(pages: list[Page], name: str, order: str) -> None:
    """The preview is not taken for the photo."""
    with pytest.raises(ImageError, match=rf"^it is a camera RAW file \({name}\), {REMEDY}$"):
        decode(tiff(*pages, order=order))


def test_a_raw_file_of_an_unknown_maker() -> None:
    with pytest.raises(ImageError, match=f"^it is a camera RAW file, {REMEDY}$"):
        decode(tiff(small("ACME"), mosaic()))


def with_mark(mark: bytes, make: bytes) -> bytes:
    """A TIFF with a mark between its header and its directory, which has a size and a maker alone."""
    entries = [(256, 4, 1, 8), (257, 4, 1, 8), (271, 2, len(make), 100)]
    directory = struct.pack("<H", 3) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    return (b"II*\0\x10\0\0\0" + mark.ljust(8, b"\0") + directory).ljust(100, b"\0") + make


def test_raw_files_with_a_mark_after_the_header() -> None:
    for mark, make, name in ((b"CR\2\0", b"Canon\0", "CR2"), (b"IIIITwaR", b"Phase One\0", "IIQ")):
        with pytest.raises(ImageError, match=rf"^it is a camera RAW file \({name}\), {REMEDY}$"):
            decode(with_mark(mark, make))


def test_pixels_that_look_like_a_mark() -> None:
    """The pixels of a TIFF may begin where such a mark would stand."""
    pixels = np.array([list(b"CR\2\0"), list(b"IIII"), list(b"TwaR")], np.uint8)
    data = tiff(page(pixels[..., None], photometric=1))
    assert data[8:12] == b"CR\2\0"
    assert np.array_equal(decode(data).rgb[..., 0], pixels)


@pytest.mark.parametrize(
    ("kind", "own", "other", "words"),
    [
        ("AVIF", b"av01", b"j2k1", "AVIF with JPEG 2000 images"),
        ("HEIF", b"hvc1", b"avc1", "HEIF with H.264 images"),
        ("HEIF", b"hvc1", b"vvc1", "HEIF with VVC images"),
    ],
)
def test_a_container_of_other_images(kind: str, own: bytes, other: bytes, words: str) -> None:
    data = encoded(Image.fromarray(noise(64, 64)), kind).replace(own, other)
    with pytest.raises(ImageError, match=f"^it is {words}, which is not read here; save it as PNG$"):
        decode(data)


def test_what_is_read_without_opencv() -> None:
    """Transparent colours of PNG, and TIFF of 16 bits, are read; PNG of 16 bits names what is missing."""
    code = """
import sys
sys.modules["cv2"] = None
import numpy as np
from kseg_batch.errors import ImageError
from kseg_batch.images.decode import decode
from tests.support.images import noise
from tests.support.png_files import png, transparent_color
from tests.support.tiff_files import page, tiff
pixels = noise(6, 8)
photo = decode(png(pixels, 2, 8, before=[transparent_color(*pixels[2, 3])]))
print((photo.rgb == pixels).all(), (~photo.opaque).nonzero())
print((decode(tiff(page(pixels.astype(np.uint16) * 257, bits=16))).rgb == pixels).all())
try:
    decode(png(pixels.astype(np.uint16) * 257, 2, 16))
except ImageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second, third = done.stdout.splitlines()
    assert first == "True (array([2]), array([3]))"
    assert second == "True"
    assert third.startswith("its 16-bit samples are decoded by OpenCV: ")
