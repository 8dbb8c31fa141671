"""BMP files, all of which are read here.

Pillow takes some palettes of black and white for others, leaves out the alpha of 16 bits, and does not read
compressed data that end early. OpenCV leaves out all alpha, and knows fields of bits behind some headers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from kseg_batch.errors import ImageError
from kseg_batch.images.formats import BMP_HEADERS
from kseg_batch.images.readers.samples import Samples, apply_palette

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

OS2 = 12
"""Size of the oldest header."""
OS2_2 = (16, 64)
"""Sizes of the headers of OS/2 2, whose compressions 3 and 4 are others than those of Windows."""
NONE, RLE8, RLE4, BITFIELDS, ALPHA_BITFIELDS = 0, 1, 2, 3, 6
COMPRESSIONS = {4: "JPEG", 5: "PNG", 11: "CMYK", 12: "CMYK RLE", 13: "CMYK RLE"}
OS2_COMPRESSIONS = {3: "Huffman", 4: "RLE24"}
INDEXED = (1, 2, 4, 8)
BITS = {
    NONE: (*INDEXED, 16, 24, 32),
    RLE8: (8,),
    RLE4: (4,),
    BITFIELDS: (16, 24, 32),
    ALPHA_BITFIELDS: (16, 32),
}
"""Bits of a pixel that are read, by the compression."""
FIELDS = {16: (0x7C00, 0x3E0, 0x1F, 0), 24: (0xFF0000, 0xFF00, 0xFF, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}
"""The fields of red, green, blue and alpha in a pixel, by its bits, where the file does not say."""
USUAL: dict[tuple[int, tuple[int, ...]], tuple[str, str]] = {
    (24, FIELDS[24]): ("RGB", "BGR"),
    (32, FIELDS[32]): ("RGB", "BGRX"),
    (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)): ("RGBA", "BGRA"),
}
"""Pillow's mode and raw mode of pixels that it unpacks, by their bits and fields."""


@dataclass(frozen=True, slots=True)
class BmpHeader:
    """What the header of a BMP says."""

    width: int
    height: int
    is_top_down: bool
    bits: int
    """Bits of a pixel."""
    compression: int
    palette: NDArray[np.uint8]
    """(256, 3) RGB, black where the file has no colour."""
    fields: tuple[int, ...]
    """The bits of red, green, blue and alpha in a pixel."""
    start: int
    """Position of the pixels."""


def read_bmp_header(data: bytes) -> BmpHeader:
    """Return what the header of a BMP says.

    Raises:
        ImageError: The header is damaged, or of a kind that is not read here.
    """
    try:
        return _read_header(data)
    except struct.error as error:
        raise ImageError("it is truncated: the header of the BMP is longer than the file") from error


def _read_header(data: bytes) -> BmpHeader:
    (size,) = struct.unpack_from("<I", data, 14)
    if size not in BMP_HEADERS:
        raise ImageError(
            f"it is damaged, or a BMP with a header of {size} bytes, which is not read here;"
            " if it opens elsewhere, save it as PNG"
        )
    compression = n_colors = 0
    if size == OS2:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
    else:
        width, height, _, bits = struct.unpack_from("<iiHH", data, 18)
    if size > OS2_2[0]:
        (compression,) = struct.unpack_from("<I", data, 30)
        (n_colors,) = struct.unpack_from("<I", data, 46)
    if width <= 0 or height == 0:
        raise ImageError("it is a damaged BMP file (its size is not positive)")
    _check_kind(size, bits, compression)
    at, fields = 14 + size, (0, 0, 0, 0)
    if compression in (BITFIELDS, ALPHA_BITFIELDS):
        n = 4 if size >= 56 or compression == ALPHA_BITFIELDS else 3
        fields = (*struct.unpack_from(f"<{n}I", data, 54), 0)[:4]
        at = max(at, 54 + 4 * n) if size == 40 else at
    if not any(fields):
        fields = FIELDS.get(bits, fields)
    palette = np.zeros((256, 3), np.uint8)
    if bits in INDEXED:
        entry = 3 if size == OS2 else 4
        (start,) = struct.unpack_from("<I", data, 10)
        most = (start - at) // entry if start > at else 1 << bits
        n = min(n_colors or 1 << bits, 256, most)
        colors = np.frombuffer(data[at : at + n * entry], np.uint8)
        colors = colors[: len(colors) // entry * entry].reshape(-1, entry)
        palette[: len(colors)] = colors[:, 2::-1]
        at += n * entry
    (start,) = struct.unpack_from("<I", data, 10)
    return BmpHeader(width, abs(height), height < 0, bits, compression, palette, fields, max(start, at))


def _check_kind(size: int, bits: int, compression: int) -> None:
    name = (OS2_COMPRESSIONS if size in OS2_2 else COMPRESSIONS).get(compression)
    if name is not None:
        raise ImageError(f"it is a BMP with {name} compression, which is not read here; save it as PNG")
    if compression not in BITS:
        raise ImageError(f"it is a damaged BMP file (its compression is {compression})")
    if bits not in BITS[compression]:
        if bits == 64:
            raise ImageError("it is a BMP with 64-bit pixels, which is not read here; save it as PNG")
        raise ImageError(f"it is a damaged BMP file (its pixels have {bits} bits)")


def read_bmp(data: bytes, header: BmpHeader) -> Samples:
    """Return the pixels of a BMP.

    Raises:
        ImageError: The file is truncated or damaged.
    """
    if header.compression in (RLE8, RLE4):
        pixels = apply_palette(_read_runs(data, header), header.palette)
    elif header.bits in INDEXED:
        indices = _rows(data, header)
        if header.bits < 8:
            shifts = np.arange(8 - header.bits, -1, -header.bits, dtype=np.uint8)
            indices = indices[..., None] >> shifts & np.uint8((1 << header.bits) - 1)
            indices = indices.reshape(header.height, -1)
        pixels = apply_palette(indices[:, : header.width], header.palette)
    else:
        stored = _rows(data, header)
        usual = USUAL.get((header.bits, header.fields))
        if usual is not None:
            mode, raw_mode = usual
            size = header.width, header.height
            pixels = np.asarray(Image.frombuffer(mode, size, stored, "raw", raw_mode, stored.shape[1], 1))
        elif header.bits == 24:
            raise ImageError("it is a damaged BMP file (the fields of its pixels are no bytes)")
        else:
            words = stored.view(f"<u{header.bits // 8}")[:, : header.width]
            fields = header.fields if header.fields[3] else header.fields[:3]
            pixels = np.stack([_field(words, mask) for mask in fields], axis=-1)
    is_gray = header.bits in INDEXED and (header.palette == header.palette[:, :1]).all()
    return Samples(pixels if header.is_top_down else pixels[::-1], "GRAY" if is_gray else "RGB")


def _rows(data: bytes, header: BmpHeader) -> NDArray[np.uint8]:
    """Return the bytes of each row, which is filled up to four bytes."""
    used, stride = (header.width * header.bits + 7) // 8, (header.width * header.bits + 31) // 32 * 4
    size = header.height * stride
    stored = data[header.start : header.start + size]
    if len(stored) < size - (stride - used):  # some programs do not fill up the last row
        raise ImageError("it is truncated: rows of the BMP are missing")
    return np.frombuffer(stored.ljust(size, b"\0"), np.uint8).reshape(header.height, stride)


def _field(words: NDArray[np.uint16] | NDArray[np.uint32], mask: int) -> NDArray[np.uint8]:
    """Return one field of each pixel, rounded to 8 bits."""
    shift = (mask & -mask).bit_length() - 1
    most = mask >> shift if mask else 0
    if most == 0 or most & (most + 1):
        raise ImageError("it is a damaged BMP file (a channel has no bits, or bits apart)")
    values = (words & words.dtype.type(mask)).astype(np.uint64) >> np.uint64(shift)
    return np.asarray((values * np.uint64(255) + np.uint64(most // 2)) // np.uint64(most), np.uint8)


def _read_runs(data: bytes, header: BmpHeader) -> NDArray[np.uint8]:
    """Return the (H, W) indices of run-length encoded pixels, 0 where the runs leave out pixels."""
    width, height, at, x, y = header.width, header.height, header.start, 0, 0
    indices = bytearray(width * height)
    try:
        while y < height:
            n, value = data[at], data[at + 1]
            at += 2
            if n > 0:
                values: Sequence[int] = (
                    [value] * n if header.bits == 8 else [value >> 4, value & 15] * (n // 2 + 1)
                )
            elif value == 0:  # the end of a row
                x, y = 0, y + 1
                continue
            elif value == 1:  # the end of the picture
                break
            elif value == 2:  # a step to the right and upwards
                x, y, at = x + data[at], y + data[at + 1], at + 2
                continue
            else:  # values without runs, filled up to two bytes
                n = value
                size = n if header.bits == 8 else (n + 1) // 2
                values = data[at : at + size]
                if len(values) < size:
                    raise IndexError
                if header.bits == 4:
                    values = [half for byte in values for half in (byte >> 4, byte & 15)]
                at += size + size % 2
            n = max(0, min(n, width - x))
            indices[y * width + x : y * width + x + n] = bytes(values[:n])
            x += n
    except IndexError as error:
        raise ImageError("it is truncated: runs of the BMP are missing") from error
    return np.frombuffer(indices, np.uint8).reshape(height, width)
