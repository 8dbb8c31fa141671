"""Image files to arrays: decoding photos to RGB."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.cv2_loader import import_cv2
from kseg_batch.errors import ImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXTENSIONS = frozenset({".bmp", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""File name endings, in lower case, that a folder is searched for."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
TIFF_SIGNATURES = (b"II*\0", b"MM\0*")
EXTRA_SAMPLES = 338  # the TIFF tag that announces alpha


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A decoded image file."""

    rgb: NDArray[np.uint8]
    """(H, W, 3) uint8, upright."""
    notes: tuple[str, ...]
    """What was left behind on the way to 8-bit RGB; empty for an ordinary photo."""
    opaque: NDArray[np.bool_] | None = None

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """What is clustered."""
        return self.rgb if self.opaque is None else self.rgb[self.opaque][None]


def decode(data: bytes, *, max_pixels: int = 200_000_000, alpha: str = "keep") -> Photo:
    """Decode the bytes of an image file, turned upright by its EXIF orientation.

    Raises:
        ImageError: They are not a whole image of a format that OpenCV reads.
    """
    cv2 = import_cv2()
    if not data:
        raise ImageError("the file is empty")
    alpha = _has_alpha(data)
    if alpha and data.startswith(TIFF_SIGNATURES):
        raise ImageError("OpenCV darkens a TIFF by its alpha; save it as PNG, or without alpha")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise ImageError(f"OpenCV cannot decode it: {error.err}") from error
    if pixels is None:
        raise ImageError("it is not an image, or is damaged: OpenCV cannot decode it")
    notes = []
    if alpha:
        notes.append("alpha was ignored")
    if pixels.dtype == np.uint16:
        notes.append("16-bit samples were rounded to 8 bits")
        pixels = ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise ImageError(f"its samples are {pixels.dtype}; convert it to 8 or 16 bits")
    return Photo(rgb=pixels, notes=tuple(notes))


def _has_alpha(data: bytes) -> bool:
    """Whether the header of a PNG, WebP, TIFF or BMP file announces transparency."""
    if data.startswith(PNG_SIGNATURE):
        return data[25:26] in (b"\x04", b"\x06") or b"tRNS" in data[: data.find(b"IDAT")]
    if data[8:12] == b"WEBP" and len(data) > 24:
        chunk = data[12:16]
        return (chunk == b"VP8X" and bool(data[20] & 0x10)) or (chunk == b"VP8L" and bool(data[24] & 0x10))
    if data.startswith(TIFF_SIGNATURES):
        return EXTRA_SAMPLES in _tiff_tags(data)
    return data.startswith(b"BM") and data[28:30] == b"\x20\x00"


def _tiff_tags(data: bytes) -> list[int]:
    """The tags of a TIFF file's first page; empty where the file is damaged."""
    order = "<" if data.startswith(b"II") else ">"
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        return [struct.unpack_from(order + "H", data, start + 2 + 12 * i)[0] for i in range(count)]
    except struct.error:
        return []
