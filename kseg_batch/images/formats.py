"""Checks of image files before decoding: their format, and whether they are complete.

Decoders stop at the last pixel, or fill in missing pixels, so that a truncated file may decode without an
error. Data after a complete image are allowed: phones append videos and metadata.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from kseg_batch.errors import ImageError
from kseg_batch.images.rare.jpeg2000 import check_jpeg2000, is_jpeg2000
from kseg_batch.images.rare.jpegxl import is_jpegxl
from kseg_batch.images.rare.pnm import check_pnm, is_pnm
from kseg_batch.images.rare.tga import check_tga, is_tga
from kseg_batch.images.raw import raw_format, raw_refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of TIFF files in either byte order; with a plus sign, of BigTIFF files."""
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
BOXES = (b"ftyp", b"meta", b"mdat", b"moov", b"free", b"skip", b"uuid")
"""Types of the boxes of an AVIF or HEIC file (ISO/IEC 14496-12)."""

BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
"""Lengths in bytes that the second header of a BMP may have."""
APPLE_DOUBLE = b"\0\x05\x16\x07"
"""First bytes of a file in which macOS keeps the attributes of another file."""

QOI_SIGNATURE, QOI_END = b"qoif", b"\0\0\0\0\0\0\0\x01"

CHECKS = {"JPEG2000": check_jpeg2000, "PPM": check_pnm, "TGA": check_tga}
"""Checks of formats that have modules of their own."""

SIGNATURE_BYTES = 64
"""First bytes of a file that `is_image` needs."""

START_OF_SCAN = 0xDA
"""The JPEG marker that the pixels follow."""
END_OF_IMAGE = 0xD9
MEANINGLESS = (0x00, 0x01, *range(0xD0, 0xD9))
"""JPEG markers without a segment, between segments: a stuffed zero, TEM, RST0 to RST7, SOI."""


def detect_format(data: bytes) -> str:
    """Return Pillow's name of the format of a file, judged by its content.

    Raises:
        ImageError: The format is not supported.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(PNG_SIGNATURE):
        return "PNG"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data.startswith(TIFF_SIGNATURES):
        return "TIFF"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        brands = data[8 : max(16, int.from_bytes(data[:4], "big"))]
        if b"avif" in brands or b"avis" in brands:
            return "AVIF"
        if data[8:12] in HEIF_BRANDS:
            return "HEIF"
    if data.startswith(b"BM"):
        return "BMP"
    if data.startswith(QOI_SIGNATURE):
        return "QOI"
    if is_jpeg2000(data):
        return "JPEG2000"
    if is_jpegxl(data):
        return "JXL"
    if is_pnm(data):
        return "PPM"
    if data.startswith(APPLE_DOUBLE):
        raise ImageError("it is no image: macOS keeps attributes of another file in it (AppleDouble)")
    if raw_format(data) is not None:
        raise ImageError(raw_refusal(data))
    if is_tga(data):  # after all others, as TGA has no signature
        return "TGA"
    raise ImageError("it is not an image, or of a format that is not read here")


def is_image(start: bytes) -> bool:
    """Return whether a file is an image of a format that is read here, by its first SIGNATURE_BYTES bytes."""
    if start.startswith(b"BM"):  # as a text may
        return int.from_bytes(start[14:18], "little") in BMP_HEADERS
    try:
        return detect_format(start) != "TGA"  # of which so few bytes say too little
    except ImageError:
        return False


def check_whole(data: bytes, name: str) -> None:
    """Raise an ImageError for damage that the decoders may overlook.

    Args:
        data: The content of the file.
        name: The format of the file, from `detect_format`.

    Raises:
        ImageError: The file is truncated, or is a PNG with a wrong checksum.
    """
    if name == "PNG":
        _check_png(data)
    if name == "WEBP" and len(data) < 8 + int.from_bytes(data[4:8], "little"):
        raise ImageError("it is truncated: the WebP is longer than the file")
    if name in ("AVIF", "HEIF"):
        _check_boxes(data)
    if name == "QOI" and QOI_END not in data:
        raise ImageError("it is truncated: the QOI's end is missing")
    if name in CHECKS:
        CHECKS[name](data)


def _check_png(data: bytes) -> None:
    """Raise an ImageError for a PNG with a truncated chunk, or a wrong checksum, which decoders overlook."""
    at = len(PNG_SIGNATURE)
    if data[12:16] == b"CgBI":
        raise ImageError("it is a PNG for iOS (CgBI), which is not read here; save it as an ordinary PNG")
    if len(data) > 16 and data[12:16] != b"IHDR":
        raise ImageError("it is damaged: the PNG does not begin with its header")
    while True:
        if at + 12 > len(data):
            raise ImageError("it is truncated: the PNG's end is missing")
        length, chunk_type = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise ImageError("it is truncated: the PNG's end is missing")
        if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ImageError(f"it is damaged: the checksum of a PNG chunk is wrong, at byte {at}")
        if chunk_type == b"IEND":
            return
        at = end


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the type, the first byte and the end of each chunk of a whole PNG before its pixels."""
    at = len(PNG_SIGNATURE)
    while (chunk_type := data[at + 4 : at + 8]) not in (b"IDAT", b"IEND"):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        yield chunk_type, at, end
        at = end


def png_chunk(data: bytes, chunk_type: bytes) -> bytes | None:
    """Return the content of a whole PNG's first chunk of a type before its pixels; None if there is none."""
    contents = (data[at + 8 : end - 4] for found, at, end in png_chunks(data) if found == chunk_type)
    return next(contents, None)


def without_spans(data: bytes, spans: list[tuple[int, int]]) -> bytes:
    """Return a file without some parts, each given by its first byte and its end, in order."""
    if not spans:
        return data
    starts, ends = [0, *(end for _, end in spans)], [*(at for at, _ in spans), len(data)]
    return b"".join(data[start:end] for start, end in zip(starts, ends, strict=True))


def find_marker(data: bytes, at: int) -> int:
    """Return the position of a JPEG's next marker with a meaning, at or after a position; -1 without one."""
    while 0 <= (at := data.find(b"\xff", at)) < len(data) - 1:
        if data[at + 1] == 0xFF:  # a fill byte
            at += 1
        elif data[at + 1] in MEANINGLESS:
            at += 2
        else:
            return at
    return -1


def jpeg_segments(data: bytes, at: int = 2) -> Iterator[tuple[int, int, int]]:
    """Yield the marker, the first byte and the end of each segment of a JPEG, up to the next start of a scan.

    Stray bytes between segments are passed over, as decoders do. The end of the image ends the list.

    Args:
        data: The content of the file.
        at: The position to begin at.
    """
    marker = 0
    while marker != START_OF_SCAN and 0 <= (at := find_marker(data, at)) <= len(data) - 4:
        marker = data[at + 1]
        if marker == END_OF_IMAGE:
            return
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, at, end
        at = end


def _check_boxes(data: bytes) -> None:
    """Raise an ImageError for an AVIF or HEIC file with a truncated box."""
    at = 0
    while data[at + 4 : at + 8] in BOXES:
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size == 0:  # the box extends to the end of the file
            return
        if size < 8 or at + size > len(data):
            raise ImageError("it is truncated, or damaged: a box is longer than the file")
        at += size
