"""ICC profiles: reading of the tags that describe a matrix profile or a grey profile (ICC.1:2022).

A matrix profile has a curve for each channel, and the XYZ of the three primaries. Profiles with tables of
many colours (LUT profiles) are only recognised here, and left to LittleCMS.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from kseg_batch.kmeans.color_spaces import lab_root_to_light

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]
    """Convert device values, 0 .. 1, to linear light, 0 .. 1."""

Channels = Literal["RGB", "GRAY", "CMYK", "LAB"]
"""The channels of an image: red, green and blue; grey; four inks; or CIE L*a*b*."""

HEADER_BYTES = 128
MAX_TAGS = 200
"""Most tags of a profile. The largest known profiles have some 40."""
SIGNATURES: dict[bytes, Channels] = {b"RGB ": "RGB", b"GRAY": "GRAY", b"CMYK": "CMYK"}
CLASSES = (b"scnr", b"mntr", b"prtr", b"spac")
"""Classes of profiles that describe a device or a colour space; device links and named colours do not."""
TABLES = (b"A2B0", b"A2B1", b"D2B0", b"D2B1", b"D2B3")
"""Tags of tables from device colours; a colour engine prefers these to a matrix."""
FUNCTION_PARAMETERS = (1, 3, 4, 5, 7)
"""Number of parameters of a parametric curve, by the type of its function."""
MAX_NAME = 60
"""Most characters of a profile's name in a note."""


class ProfileError(ValueError):
    """A profile is damaged, or describes no image. The message completes the words "its colour profile"."""


@dataclass(frozen=True, slots=True, eq=False)
class IccProfile:
    """An ICC profile."""

    name: str
    """The profile's description, in printable characters; empty if there is none."""
    channels: Channels
    """The channels of the images that the profile describes."""
    has_tables: bool
    """Whether only a colour engine can evaluate the profile: its colours are in tables, or are inks."""
    cicp: tuple[int, int] | None = None
    """Colour primaries and transfer characteristics by ITU-T H.273, where the profile has this tag."""
    curves: tuple[Curve, ...] = ()
    """A curve for each channel, unless `has_tables`."""
    colorants: NDArray[np.float64] | None = None
    """(3, 3): columns are X, Y, Z of the red, green and blue primary, relative to D50; None for grey."""


def read_icc(data: bytes) -> IccProfile:
    """Read a profile.

    Raises:
        ProfileError: The profile is damaged, or describes no image.
    """
    try:
        return _read(data)
    except (struct.error, IndexError, KeyError, ValueError) as error:
        raise error if isinstance(error, ProfileError) else ProfileError("is damaged") from error


def _read(data: bytes) -> IccProfile:
    if data[36:40] != b"acsp":
        raise ProfileError("is damaged")
    if data[12:16] not in CLASSES or data[16:20] not in SIGNATURES:
        raise ProfileError("describes no RGB, grey or CMYK image")
    tags = _tags(data)
    channels = SIGNATURES[data[16:20]]
    name = _name(tags.get(b"desc", b""))
    cicp = _cicp(tags.get(b"cicp", b""))
    if channels == "CMYK" or any(tag in tags for tag in TABLES):
        return IccProfile(name, channels, has_tables=True, cicp=cicp)
    if channels == "GRAY":
        curve = _curve(tags[b"kTRC"])
        if data[20:24] == b"Lab ":
            return IccProfile(name, channels, False, cicp, (lambda values: _luminance(curve(values)),))
        return IccProfile(name, channels, False, cicp, (curve,))
    colorants = np.stack([_xyz(tags[tag]) for tag in (b"rXYZ", b"gXYZ", b"bXYZ")], axis=1)
    curves = tuple(_curve(tags[tag]) for tag in (b"rTRC", b"gTRC", b"bTRC"))
    return IccProfile(name, channels, False, cicp, curves, colorants)


def _luminance(lightness: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert CIE L*, 0 .. 1, to luminance, 0 .. 1."""
    return lab_root_to_light((100 * lightness + 16) / 116)


def gamma_curve(gamma: float) -> Curve:
    """Return the curve of a power of the signal."""
    return lambda signal: np.asarray(signal**gamma, np.float64)


def _tags(data: bytes) -> dict[bytes, bytes]:
    """Return the content of each tag that lies in the profile, by its signature."""
    (count,) = struct.unpack_from(">I", data, HEADER_BYTES)
    if count > MAX_TAGS:
        raise ProfileError("is damaged")
    tags = {}
    for i in range(count):
        signature, start, size = struct.unpack_from(">4sII", data, HEADER_BYTES + 4 + 12 * i)
        if start + size <= len(data):
            tags[signature] = data[start : start + size]
    return tags


def _name(tag: bytes) -> str:
    """Return the text of a description tag: ASCII up to version 2, a list of languages from version 4 on.

    A damaged description is empty: it changes no colour.
    """
    text = ""
    if tag.startswith(b"desc"):
        text = tag[12 : 12 + int.from_bytes(tag[8:12], "big")].decode("ascii", "replace")
    elif tag.startswith(b"mluc") and len(tag) >= 28:
        length, start = struct.unpack_from(">II", tag, 20)
        text = tag[start : start + length].decode("utf-16-be", "replace")
    printable = "".join(char for char in text.partition("\0")[0] if char.isprintable())
    return " ".join(printable.split())[:MAX_NAME]


def _cicp(tag: bytes) -> tuple[int, int] | None:
    return (tag[8], tag[9]) if tag.startswith(b"cicp") else None


def _xyz(tag: bytes) -> NDArray[np.float64]:
    """Return the (3,) numbers of an XYZ tag."""
    if not tag.startswith(b"XYZ "):
        raise ProfileError("is damaged")
    return np.array(struct.unpack_from(">3i", tag, 8), np.float64) / 65536


def _curve(tag: bytes) -> Curve:
    if tag.startswith(b"curv"):
        return _sampled_curve(tag)
    if tag.startswith(b"para"):
        return _parametric_curve(tag)
    raise ProfileError("is damaged")


def _sampled_curve(tag: bytes) -> Curve:
    """Return the curve of a tag without samples (linear), with one (a gamma), or with many (a table)."""
    (count,) = struct.unpack_from(">I", tag, 8)
    samples = np.array(struct.unpack_from(f">{count}H", tag, 12), np.float64)
    if count == 0:
        return lambda values: values
    if count == 1:
        return gamma_curve(samples[0] / 256)
    positions = np.linspace(0.0, 1.0, count)
    return lambda values: np.interp(values, positions, samples / 65535)


def _parametric_curve(tag: bytes) -> Curve:
    """Return a curve of ICC.1:2022, table 68. Parameters that a function lacks have no effect."""
    (function,) = struct.unpack_from(">H", tag, 8)
    n = FUNCTION_PARAMETERS[function]
    g, *rest = (value / 65536 for value in struct.unpack_from(f">{n}i", tag, 12))
    a, b, c, d, e, f = 1.0, 0.0, 0.0, 0.0, 0.0, 0.0
    if function == 1:
        a, b = rest
        d = -b / a if a else 0.0
    elif function == 2:
        a, b, c = rest
        d, e, f, c = (-b / a if a else 0.0), c, c, 0.0
    elif function in (3, 4):
        a, b, c, d, *ef = rest
        e, f = ef or (0.0, 0.0)

    def curve(values: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(divide="ignore", over="ignore"):  # the power may be infinite before it is clipped
            power = np.maximum(a * values + b, 0.0) ** g + e
        return np.clip(np.where(values >= d, power, c * values + f), 0.0, 1.0)

    return curve
