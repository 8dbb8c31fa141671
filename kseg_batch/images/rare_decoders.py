"""Decoding of the formats that photos have less often: PNM, TGA, QOI, JPEG 2000 and JPEG XL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kseg_batch.errors import ImageError
from kseg_batch.images.decoders import decode_deep
from kseg_batch.images.rare.jpeg2000 import read_jpeg2000
from kseg_batch.images.rare.jpegxl import read_jpegxl
from kseg_batch.images.rare.pnm import decode_pnm, follows_another
from kseg_batch.images.rare.tga import decode_tga
from kseg_batch.images.readers.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

QOI_COLORS = 13
"""Position of the byte of a QOI file that is 0 for sRGB. Pillow writes 1, linear light, in files in sRGB."""


def _decode_pnm(data: bytes, picture: Any, notes: list[str]) -> Samples:
    samples, bits = decode_pnm(data)
    if bits > 8:
        notes.append(f"{bits}-bit samples were rounded to 8 bits")
    if follows_another(data):
        notes.append("the first of several images")
    return _as_samples(samples)


def _decode_tga(data: bytes, picture: Any, notes: list[str]) -> Samples:
    pixels = decode_tga(data, picture)
    return Samples(pixels, "GRAY" if picture.mode in ("L", "LA") else "RGB")


def _decode_qoi(data: bytes, picture: Any, notes: list[str]) -> Samples:
    if data[QOI_COLORS]:
        notes.append("its header says linear light, as that of many QOI files in sRGB, and was ignored")
    picture.load()
    return Samples(np.asarray(picture), "RGB")


def _decode_jpeg2000(data: bytes, picture: Any, notes: list[str]) -> Samples:
    file = read_jpeg2000(data)
    if file.bits == 8:
        picture.load()
        has_color = picture.mode in ("RGB", "RGBA")
        pixels = np.asarray(picture.convert("RGBA" if file.has_alpha else "RGB"))
        return Samples(pixels, "RGB" if has_color else "GRAY")
    if picture.mode == "LA":
        raise ImageError("it is a JPEG 2000 of deep grey samples with alpha; save it as PNG")
    notes.append(f"{file.bits}-bit samples were rounded to 8 bits")
    white = (1 << file.bits) - 1
    deep = (decode_deep(data).astype(np.uint32) * 65535 + white // 2) // white
    return Samples(deep.astype(np.uint16), "GRAY" if picture.mode == "I;16" else "RGB")


def _decode_jpegxl(data: bytes, picture: Any, notes: list[str]) -> Samples:
    if (bits := read_jpegxl(data).bits) > 8:
        notes.append(f"{bits}-bit samples were rounded to 8 bits")
    if (picture.info.get("icc_profile") or b"")[16:20] == b"CMYK":
        raise ImageError("it is a JPEG XL in CMYK, which is not read here; save it as PNG")
    picture.load()
    if picture.mode in ("I;16", "L"):
        return _as_samples(np.asarray(picture)[..., None])
    if picture.mode not in ("LA", "RGB", "RGBA"):
        raise ImageError(f"its samples are not of 8 or 16 bits ({picture.mode}); save it as PNG")
    if picture.mode == "LA":
        return Samples(np.asarray(picture.convert("RGBA")), "GRAY")
    return Samples(np.asarray(picture), "RGB")


def _as_samples(samples: NDArray[Any]) -> Samples:
    """Return samples of (H, W, 1), (H, W, 3) or (H, W, 4) as RGB or RGBA."""
    if samples.shape[2] == 1:
        return Samples(np.repeat(samples, 3, axis=2), "GRAY")
    return Samples(np.ascontiguousarray(samples), "RGB")


RARE_DECODERS: dict[str, Callable[[bytes, Any, list[str]], Samples]] = {
    "PPM": _decode_pnm,
    "TGA": _decode_tga,
    "QOI": _decode_qoi,
    "JPEG2000": _decode_jpeg2000,
    "JXL": _decode_jpegxl,
}
"""Decoders by the names of `detect_format`. Each takes the content of a file, the image as opened by Pillow,
and notes on what is lost, to which it adds others."""
