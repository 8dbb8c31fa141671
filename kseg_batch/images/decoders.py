"""Decoding of pixels: each format by the library that decodes it best.

Pillow reads the headers, and the pixels of most formats. simplejpeg decodes JPEG files: in 4.1 ms for
1920 x 1080, where OpenCV takes 4.6 ms, and it refuses damage inside the scan, which Pillow and OpenCV fill
with grey. OpenCV decodes ordinary PNG and WebP files, in 33 and 11 ms where Pillow takes 42 and 16 ms; and
16-bit files, which Pillow would truncate to 8 bits. Without OpenCV, Pillow decodes ordinary PNG and WebP
files to the same pixels, and 16-bit files fail.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kseg_batch.errors import BackendUnavailableError, ImageError
from kseg_batch.images.boxes import bits_per_sample
from kseg_batch.images.jpeg import decode_jpeg
from kseg_batch.images.png_rows import check_rows
from kseg_batch.optional import find_cv2, import_cv2

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kseg_batch.images.profiles.icc import Channels

ORIENTATION = 0x0112  # the EXIF tag
BITS_PER_SAMPLE = 258  # TIFF tags
PHOTOMETRIC = 262  # 1 for grey with 0 as black, 2 for RGB
PLANAR_CONFIGURATION = 284  # 1 where the channels of a pixel are contiguous
EXTRA_SAMPLES = 338  # 2 for alpha that is not premultiplied
DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")  # Pillow's modes of more than 8 bits per sample
PNG_GRAY = (0, 4)  # colour types of PNG: grey, and grey with alpha
GRAY_MODES = ("1", "L", "LA", "La", *DEEP_MODES)


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """The pixels of a file, in its own colours, not yet turned upright."""

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    """(H, W, 3), with three equal channels for grey; (H, W, 4) with alpha; or the four inks of CMYK."""
    channels: Channels
    """What the channels are."""


def decode_samples(data: bytes, name: str, picture: Any, notes: list[str]) -> Samples:
    """Decode the pixels of a file.

    Args:
        data: The content of the file.
        name: The format of the file, from `detect_format`.
        picture: The image as opened by Pillow.
        notes: Notes on what is lost, to which others are added.

    Raises:
        ImageError: The file is damaged, or of a kind that is not read here. Pillow and simplejpeg raise
            errors of their own.
    """
    channels: Channels = "GRAY" if _is_gray(data, name, picture) else "RGB"
    if name == "JPEG":
        return Samples(decode_jpeg(data, picture, notes), "CMYK" if picture.mode == "CMYK" else channels)
    if _is_deep(data, name, picture):
        if name == "TIFF":
            _check_deep_tiff(data, picture)
        notes.append("16-bit samples were rounded to 8 bits")
        return Samples(_decode_deep(_without_orientation(data) if name == "TIFF" else data), channels)
    if name in ("PNG", "WEBP") and picture.mode in ("L", "RGB") and _is_plain(picture) and find_cv2():
        return Samples(_decode_plain(data), channels)
    if name in ("AVIF", "HEIF") and (bits := bits_per_sample(data)) > 8:
        notes.append(f"{bits}-bit samples were rounded to 8 bits")
    if name == "PNG":
        check_rows(data)
    picture.load()
    if picture.mode in DEEP_MODES:
        raise ImageError(f"its samples are not of 8 or 16 bits ({picture.mode}); convert it")
    if picture.mode in ("CMYK", "LAB"):
        return Samples(np.asarray(picture), picture.mode)
    if picture.has_transparency_data or picture.mode in ("RGBa", "La"):
        return Samples(np.asarray(picture.convert("RGBA")), channels)
    return Samples(np.asarray(picture.convert("RGB")), channels)


def _is_gray(data: bytes, name: str, picture: Any) -> bool:
    """Whether a file holds grey samples. Pillow's mode for a PNG of 16-bit grey and alpha is RGBA."""
    return data[25] in PNG_GRAY if name == "PNG" else picture.mode in GRAY_MODES


def _is_plain(picture: Any) -> bool:
    """Whether a file has one frame, and no colour that marks transparent pixels."""
    return getattr(picture, "n_frames", 1) == 1 and "transparency" not in picture.info


def _decode_plain(data: bytes) -> NDArray[np.uint8]:
    """Decode 8-bit grey or RGB samples with OpenCV."""
    cv2 = import_cv2()
    pixels = _decode_by_opencv(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    return np.asarray(pixels, np.uint8)


def _decode_by_opencv(data: bytes, flags: int) -> NDArray[Any]:
    cv2 = import_cv2()
    try:
        pixels: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f"OpenCV cannot decode it: {error.err}") from error
    if pixels is None:
        raise ImageError("it is damaged: OpenCV cannot decode it")
    return pixels


def _is_deep(data: bytes, name: str, picture: Any) -> bool:
    """Whether the samples of a file have 16 bits."""
    if name == "PNG":
        return data[24] == 16
    return name == "TIFF" and max(picture.tag_v2.get(BITS_PER_SAMPLE, (1,))) == 16


def _check_deep_tiff(data: bytes, picture: Any) -> None:
    """Raise an ImageError for the kinds of 16-bit TIFF that OpenCV misinterprets."""
    if b"+" in data[2:4]:
        raise ImageError("it is a BigTIFF with 16-bit samples; save it as PNG")
    for tag, usual in ((PLANAR_CONFIGURATION, (1,)), (PHOTOMETRIC, (1, 2)), (EXTRA_SAMPLES, (2,))):
        found = picture.tag_v2.get(tag, usual[0])
        value = found[0] if isinstance(found, tuple) else found
        if value not in usual:
            raise ImageError(f"it is an unusual 16-bit TIFF (tag {tag} is {value}); save it as PNG")


def _decode_deep(data: bytes) -> NDArray[np.uint16]:
    """Decode 16-bit samples to (H, W, 3 or 4) uint16 RGB or RGBA."""
    try:
        cv2 = import_cv2()
    except BackendUnavailableError as error:
        raise ImageError(f"its 16-bit samples are decoded by OpenCV: {error}") from error
    pixels = _decode_by_opencv(data, cv2.IMREAD_UNCHANGED)
    if pixels.dtype != np.uint16:
        raise ImageError(f"its samples are {pixels.dtype}; convert it to 8 or 16 bits")
    conversions = {2: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}
    channels = 2 if pixels.ndim == 2 else pixels.shape[2]
    if channels not in conversions:
        raise ImageError(f"it has {channels} channels; convert it to RGB")
    return np.asarray(cv2.cvtColor(pixels, conversions[channels]), np.uint16)


def _without_orientation(data: bytes) -> bytes:
    """Return the TIFF file marked as upright, because OpenCV applies only some orientations."""
    order = "<" if data.startswith(b"II") else ">"
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    for at in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from(order + "H", data, at)[0] == ORIENTATION:
            return data[: at + 8] + struct.pack(order + "H", 1) + data[at + 10 :]
    return data
