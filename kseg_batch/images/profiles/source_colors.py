"""What the numbers of an image file mean as colours, and how they become 8-bit sRGB.

A file says in one of these ways what its numbers mean, the first that it has:

    cICP of PNG, an ICC profile, nclx of HEIF and AVIF, sRGB, gAMA and cHRM of PNG, EXIF's Adobe RGB

A file without any is in sRGB.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from kseg_batch.errors import ImageError
from kseg_batch.images import av1
from kseg_batch.images.boxes import primary_properties, primary_start
from kseg_batch.images.formats import png_chunk
from kseg_batch.images.profiles.cicp import (
    BT709,
    D50_XYZ,
    D65,
    HDR,
    PRIMARIES,
    XYZ_TO_SRGB,
    cicp_conversion,
    to_xyz,
)
from kseg_batch.images.profiles.conversion import NamedConversion, round_to_8_bits
from kseg_batch.images.profiles.embedded import icc_profile
from kseg_batch.images.profiles.icc import Channels, IccProfile, ProfileError, gamma_curve, read_icc
from kseg_batch.images.profiles.littlecms import LittleCmsConversion, littlecms_version
from kseg_batch.images.profiles.matrix import MatrixConversion
from kseg_batch.kmeans.color_spaces import srgb_to_linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kseg_batch.images.profiles.conversion import Conversion

ProfileUse = Literal["convert", "ignore"]
"""How to treat a colour profile: "convert" to sRGB, or "ignore" and take the numbers as they are."""

ADOBE_RGB = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06, *D65)
"""x and y of red, green, blue and white (Adobe RGB (1998) Color Image Encoding)."""
ADOBE_GAMMA = 563 / 256
SRGB_GAMMA = (0.4545, 0.4546)
"""Range of gAMA in which the curve is that of sRGB: the PNG specification gives 0.45455 for sRGB."""
GAMMAS = (0.1, 10.0)
"""Range of gAMA that a picture may have. libpng's own test pictures have 0.35 to 2.5."""
MAX_SEQUENCE_HEADER = 1024
"""Bytes from the start of an AV1 stream that are searched for its sequence header."""
MAX_BLACK = 0.184
"""Greatest luminance of a black point that is compensated: L* = 50, as in LittleCMS."""


@dataclass(frozen=True, slots=True, eq=False)
class SourceColors:
    """What the numbers of an image file mean."""

    channels: Channels
    """The channels of the image."""
    conversion: Conversion | None = None
    """The conversion to sRGB; None for numbers that are in sRGB, or are taken as such."""
    notes: tuple[str, ...] = ()
    """What is done, such as "Display P3 to sRGB"; empty for an image in sRGB."""

    def to_srgb(self, samples: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
        """Return (H, W, 3) uint8 sRGB, contiguous.

        Args:
            samples: (H, W, 3) samples of 8 or 16 bits, with three equal channels for grey; or (H, W, 4) for
                CMYK. The array may be overwritten.
        """
        if self.conversion is not None:
            return self.conversion.apply(samples)
        rounded = np.ascontiguousarray(round_to_8_bits(samples))
        if self.channels == "CMYK":
            return np.array(Image.fromarray(rounded, "CMYK").convert("RGB"), np.uint8)
        return rounded


def find_colors(
    data: bytes,
    name: str,
    picture: Any,
    channels: Channels,
    use: ProfileUse,
    *,
    is_adobe_rgb: bool,
) -> SourceColors:
    """Return what the numbers of an image file mean, and how they become sRGB.

    Args:
        data: The content of the file.
        name: The format of the file, from `detect_format`.
        picture: The image as opened by Pillow.
        channels: The channels of the image.
        use: How to treat a colour profile.
        is_adobe_rgb: Whether EXIF says that an image without a profile is in Adobe RGB.

    Raises:
        ImageError: The colours cannot be converted here, and must not be taken as sRGB unasked.
    """
    if channels == "LAB":
        return SourceColors(channels, _lab_conversion(), (f"CIE L*a*b* to sRGB by {littlecms_version()}",))
    file = _ImageFile(data, name, picture, channels, is_adobe_rgb)
    notes, found = [], None
    for read in READERS:
        try:
            found = read(file)
        except ProfileError as error:
            notes.append(f"its colour profile {error}, and was ignored")
        except ImageError as error:
            if use == "convert":
                raise ImageError(f"{error}; --profile ignore takes its numbers as they are") from error
            notes.append("its colour profile was ignored")
            break
        if found is not None:
            break
    conversion = None
    if found is not None and not found.conversion.is_identity:
        if use == "convert":
            conversion = found.conversion
            notes.insert(0, found.note)
        else:
            notes.append(f"its colour profile was ignored ({found.name})")
    if channels == "CMYK" and conversion is None:
        notes.append("CMYK was converted to RGB without a colour profile")
    return SourceColors(channels, conversion, tuple(notes))


@dataclass(frozen=True, slots=True, eq=False)
class _ImageFile:
    """An image file, as `find_colors` gets it."""

    data: bytes
    name: str
    picture: Any
    channels: Channels
    is_adobe_rgb: bool


def _read_cicp(file: _ImageFile) -> NamedConversion | None:
    codes = png_chunk(file.data, b"cICP") if file.name == "PNG" else None
    if codes is None:
        return None
    if len(codes) != 4 or codes[3] > 1:
        raise ProfileError("(cICP) is damaged")
    primaries, transfer, _, full_range = codes  # the matrix has no meaning for RGB
    return cicp_conversion(primaries, transfer, full_range=full_range == 1)


def _read_icc_profile(file: _ImageFile) -> NamedConversion | None:
    profile = icc_profile(file.data, file.name, file.picture)
    return None if profile is None else _from_icc(profile, file.channels)


def _read_nclx(file: _ImageFile) -> NamedConversion | None:
    """Return the conversion by the codes in a box; without a box, by the codes in the stream of AV1."""
    if file.name not in ("AVIF", "HEIF"):
        return None
    for kind, content in primary_properties(file.data):
        if kind == b"colr" and content.startswith(b"nclx") and len(content) >= 10:
            return cicp_conversion(*struct.unpack_from(">HH", content, 4))
    codes = av1.color_codes(primary_start(file.data, MAX_SEQUENCE_HEADER)) if file.name == "AVIF" else None
    return None if codes is None else cicp_conversion(*codes)


def _read_png_chunks(file: _ImageFile) -> NamedConversion | None:
    """Return the conversion of gAMA and cHRM; None without them, or where sRGB comes before them."""
    if file.name != "PNG" or png_chunk(file.data, b"sRGB") is not None:
        return None
    gamma = _hundred_thousandths(file.data, b"gAMA", 1)
    points = _hundred_thousandths(file.data, b"cHRM", 8)
    if gamma is None and points is None:
        return None
    if points is None:
        primaries = PRIMARIES[BT709][1]
    else:
        white_x, white_y, *others = points
        primaries = (*others, white_x, white_y)
    if gamma is None or SRGB_GAMMA[0] < gamma[0] < SRGB_GAMMA[1]:
        return _from_primaries(primaries, None, "cHRM")
    if not GAMMAS[0] <= gamma[0] <= GAMMAS[1]:
        raise ProfileError("(gAMA) is damaged")
    name = "linear light" if gamma[0] == 1 else f"gamma {1 / gamma[0]:.3g}"
    return _from_primaries(primaries, 1 / gamma[0], name if points is None else f"{name} and cHRM")


def _read_exif(file: _ImageFile) -> NamedConversion | None:
    if not file.is_adobe_rgb:
        return None
    return _from_primaries(ADOBE_RGB, ADOBE_GAMMA, "Adobe RGB (by EXIF)")


READERS = (_read_cicp, _read_icc_profile, _read_nclx, _read_png_chunks, _read_exif)
"""Each returns the conversion from the colours that a file declares in one way; None if the file does not.

They are in the order in which they count: where one raises a ProfileError, the next is asked."""


@lru_cache(maxsize=64)
def _from_icc(profile: bytes, channels: Channels) -> NamedConversion:
    """Return the conversion of an ICC profile."""
    icc = read_icc(profile)
    if icc.channels != channels and (icc.channels, channels) != ("RGB", "GRAY"):
        raise ProfileError(f"is for {icc.channels} images")
    if icc.cicp is not None and icc.cicp[1] in HDR:
        return cicp_conversion(*icc.cicp)
    name = icc.name or "a colour profile without a name"
    if icc.has_tables:
        conversion = LittleCmsConversion(icc.channels, profile)
        return NamedConversion(conversion, name, f" by {littlecms_version()}")
    return NamedConversion(_matrix_conversion(icc), name)


def _matrix_conversion(icc: IccProfile) -> MatrixConversion:
    """Return the relative colorimetric conversion of a matrix or a grey profile.

    Black points are compensated as LittleCMS 2.19 does: X, Y and Z are scaled so that the device's black
    becomes 0, and white stays.
    """
    gray = D50_XYZ[:, None] * np.full(3, 1 / 3)
    curves, colorants = (icc.curves * 3, gray) if icc.colorants is None else (icc.curves, icc.colorants)
    black = colorants @ np.array([curve(np.zeros(1))[0] for curve in curves])
    if black[1] > MAX_BLACK:
        black *= MAX_BLACK / black[1]
    scale = D50_XYZ / (D50_XYZ - black)
    matrix = XYZ_TO_SRGB @ (scale[:, None] * colorants)
    return MatrixConversion(curves, matrix, XYZ_TO_SRGB @ (-scale * black))


def _hundred_thousandths(data: bytes, chunk_type: bytes, n: int) -> tuple[float, ...] | None:
    """Return the numbers in a chunk of a PNG; None if there is no such chunk.

    Raises:
        ProfileError: The chunk does not hold n numbers.
    """
    content = png_chunk(data, chunk_type)
    if content is None:
        return None
    if len(content) != 4 * n:
        raise ProfileError(f"({chunk_type.decode()}) is damaged")
    return tuple(value / 100_000 for value in struct.unpack(f">{n}I", content))


@lru_cache(maxsize=64)
def _from_primaries(chromaticities: tuple[float, ...], gamma: float | None, name: str) -> NamedConversion:
    """Return the conversion of given primaries, and of a gamma or, where it is None, of sRGB's curve."""
    curve = srgb_to_linear if gamma is None else gamma_curve(gamma)
    matrix = XYZ_TO_SRGB @ to_xyz(chromaticities)
    return NamedConversion(MatrixConversion([curve] * 3, matrix), name)


@lru_cache(maxsize=1)
def _lab_conversion() -> LittleCmsConversion:
    return LittleCmsConversion("LAB", None)
