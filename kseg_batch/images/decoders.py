"""Decoding of pixels: each format by the library that decodes it best.

Pillow reads the headers, and the pixels of most formats; the folder `readers` has what Pillow misinterprets.
simplejpeg decodes JPEG files: in 4.1 ms for 1920 x 1080, where OpenCV takes 4.6 ms, and it refuses damage
inside the scan, which Pillow and OpenCV fill with grey. OpenCV decodes ordinary PNG and WebP files, in 33 and
11 ms where Pillow takes 42 and 16 ms; and 16-bit PNG files, which Pillow would truncate to 8 bits. Without
OpenCV, Pillow decodes ordinary PNG and WebP files to the same pixels, and 16-bit PNG files fail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kseg_batch.errors import BackendUnavailableError, ImageError
from kseg_batch.images.boxes import bits_per_sample, primary_properties
from kseg_batch.images.readers.jpeg import decode_jpeg
from kseg_batch.images.readers.png_rows import check_rows
from kseg_batch.images.readers.samples import Samples
from kseg_batch.images.readers.transformations import transform
from kseg_batch.optional import find_cv2, import_cv2

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kseg_batch.images.profiles.icc import Channels
    from kseg_batch.images.readers.select_image import SelectedImage

DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")  # Pillow's modes of more than 8 bits per sample
PNG_GRAY = (0, 4)  # colour types of PNG: grey, and grey with alpha
GRAY_MODES = ("1", "L", "LA", "La", *DEEP_MODES)


def decode_samples(image: SelectedImage, name: str, picture: Any, notes: list[str]) -> Samples:
    """Decode the pixels of a file.

    Args:
        image: The image of the file that is read.
        name: The format of the file, from `detect_format`.
        picture: The image as opened by Pillow.
        notes: Notes on what is lost, to which others are added.

    Raises:
        ImageError: The file is damaged, or of a kind that is not read here. Pillow and simplejpeg raise
            errors of their own.
    """
    samples = image.read(picture) if image.read else _decode(image.data or b"", name, picture, notes)
    if samples.pixels.dtype == np.uint16:
        notes.append("16-bit samples were rounded to 8 bits")
    if image.transparent is None:
        return samples
    return Samples(_with_transparent_color(samples.pixels, image.transparent), samples.channels)


def _decode(data: bytes, name: str, picture: Any, notes: list[str]) -> Samples:
    channels: Channels = "GRAY" if _is_gray(data, name, picture) else "RGB"
    if name == "JPEG":
        return Samples(decode_jpeg(data, picture, notes), "CMYK" if picture.mode == "CMYK" else channels)
    if name == "PNG" and data[24] == 16:
        return Samples(decode_deep(data), channels)
    is_plain = name in ("PNG", "WEBP") and picture.mode in ("L", "RGB")
    if is_plain and getattr(picture, "n_frames", 1) == 1 and find_cv2():
        return Samples(_decode_plain(data), channels)
    if name in ("AVIF", "HEIF") and (bits := bits_per_sample(data)) > 8:
        notes.append(f"{bits}-bit samples were rounded to 8 bits")
    if name == "PNG":
        check_rows(data)
    covered = picture.tile[0][1] if name == "GIF" else None
    picture.load()
    if name == "AVIF":
        return Samples(transform(_to_rgb(picture), primary_properties(data)), channels)
    if picture.mode in DEEP_MODES:
        raise ImageError(
            f"it is a {name} with samples of more than 8 bits, which is not read here; save it as PNG"
        )
    if picture.mode in ("CMYK", "LAB"):
        return Samples(np.asarray(picture), picture.mode)
    if covered not in (None, (0, 0, *picture.size)):
        return Samples(_with_transparent_border(np.asarray(picture.convert("RGBA")), *covered), channels)
    return Samples(_to_rgb(picture), channels)


def _to_rgb(picture: Any) -> NDArray[np.uint8]:
    """Return the (H, W, 3) RGB or (H, W, 4) RGBA pixels of a picture."""
    return np.asarray(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))


def _with_transparent_color(pixels: NDArray[Any], color: tuple[int, ...]) -> NDArray[Any]:
    """Return (H, W, 4) pixels, transparent where (H, W, 3) pixels have a colour."""
    is_opaque = (pixels != np.array(color, np.int64)).any(axis=2, keepdims=True)
    return np.concatenate([pixels, is_opaque * pixels.dtype.type(np.iinfo(pixels.dtype).max)], axis=2)


def _with_transparent_border(
    pixels: NDArray[np.uint8], left: int, top: int, right: int, bottom: int
) -> NDArray[np.uint8]:
    """Return (H, W, 4) pixels, transparent outside of a rectangle."""
    inside = np.zeros_like(pixels)
    inside[top:bottom, left:right] = pixels[top:bottom, left:right]
    return inside


def _is_gray(data: bytes, name: str, picture: Any) -> bool:
    """Whether a file holds grey samples. Pillow's mode for a PNG of 16-bit grey and alpha is RGBA."""
    return data[25] in PNG_GRAY if name == "PNG" else picture.mode in GRAY_MODES


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


def decode_deep(data: bytes) -> NDArray[np.uint16]:
    """Decode samples of more than 8 bits to (H, W, 3 or 4) uint16 RGB or RGBA.

    Raises:
        ImageError: OpenCV is missing, or cannot decode the file.
    """
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
