"""ICC profiles of every kind, built tag by tag, and their conversion by LittleCMS."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageCms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Colorants = tuple[tuple[float, float, float], ...]

# X, Y, Z of red, green and blue, relative to D50, as in the profiles of their owners
SRGB: Colorants = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
DISPLAY_P3: Colorants = (
    (0.51512, 0.24120, -0.00105),
    (0.29198, 0.69225, 0.04189),
    (0.15710, 0.06657, 0.78407),
)
ADOBE_RGB: Colorants = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
PROPHOTO: Colorants = ((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491))


def gamma(value: float) -> bytes:
    """A curve that is a power, in steps of 1/256."""
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(256 * value))


def table(values: NDArray[np.float64]) -> bytes:
    """A curve by samples from 0 to 1."""
    samples = np.round(65535 * values).astype(int).tolist()
    return b"curv" + bytes(4) + struct.pack(f">I{len(samples)}H", len(samples), *samples)


LINEAR = b"curv" + bytes(8)


def parametric(function: int, *parameters: float) -> bytes:
    """A curve by a formula of ICC.1:2022, table 68."""
    fixed = [round(65536 * value) for value in parameters]
    return b"para" + bytes(4) + struct.pack(f">HH{len(fixed)}i", function, 0, *fixed)


SRGB_CURVE = parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def icc_profile(
    kind: bytes,
    tags: dict[bytes, bytes],
    *,
    name: str = "",
    version: int = 2,
    connection: bytes = b"XYZ ",
    device: bytes = b"mntr",
) -> bytes:
    """An ICC profile of the given tags, with a description and a white point."""
    text = name.encode()
    description = b"desc" + bytes(4) + struct.pack(">I", len(text) + 1) + text + bytes(80)
    if version == 4:
        wide = name.encode("utf-16-be")
        header = struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(wide), 28)
        description = b"mluc" + bytes(4) + header + wide
    tags = {b"desc": description, b"wtpt": xyz(0.9642, 1.0, 0.8249), **tags}
    start = 132 + 12 * len(tags)
    listing, bodies = struct.pack(">I", len(tags)), b""
    for signature, body in tags.items():
        listing += struct.pack(">4sII", signature, start + len(bodies), len(body))
        bodies += body + bytes(-len(body) % 4)
    header = struct.pack(">I4sB3x4s4s4s", start + len(bodies), b"lcms", version, device, kind, connection)
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + xyz(0.9642, 1.0, 0.8249)[8:]
    return header.ljust(128, b"\0") + listing + bodies


def xyz(*values: float) -> bytes:
    """The content of an XYZ tag."""
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * value) for value in values))


def matrix_profile(colorants: Colorants, *curves: bytes, name: str = "", version: int = 2) -> bytes:
    """A profile of three primaries, with one curve for all channels or one for each."""
    tags = {tag: xyz(*values) for tag, values in zip((b"rXYZ", b"gXYZ", b"bXYZ"), colorants, strict=True)}
    each = curves if len(curves) == 3 else curves * 3
    tags |= dict(zip((b"rTRC", b"gTRC", b"bTRC"), each, strict=True))
    return icc_profile(b"RGB ", tags, name=name, version=version)


def gray_profile(curve: bytes, *, name: str = "", connection: bytes = b"XYZ ") -> bytes:
    """A profile of a grey curve."""
    return icc_profile(b"GRAY", {b"kTRC": curve}, name=name, connection=connection)


def table_profile(kind: bytes, *, name: str = "") -> bytes:
    """A profile of an 8-bit table of 3 values for each of 3 or 4 channels, to L*a*b*."""
    channels = 4 if kind == b"CMYK" else 3
    grid = np.stack(np.meshgrid(*[[0.0, 0.5, 1.0]] * channels, indexing="ij"), -1).reshape(-1, channels)
    light = 1 - np.clip(grid[:, :3] + grid[:, 3:], 0, 1) if channels == 4 else grid
    lab = np.stack(
        [light.mean(1), 0.5 + (light[:, 0] - light[:, 1]) / 4, 0.5 + (light[:, 1] - light[:, 2]) / 4], 1
    )
    ramp = bytes(range(256))
    body = b"mft1" + bytes(4) + struct.pack(">BBBB", channels, 3, 3, 0)
    body += struct.pack(">9i", *(65536, 0, 0, 0, 65536, 0, 0, 0, 65536)) + ramp * channels
    body += np.round(255 * lab).astype(np.uint8).tobytes() + ramp * 3
    return icc_profile(kind, {b"A2B0": body}, name=name, connection=b"Lab ", device=b"prtr")


def by_littlecms(
    samples: NDArray[np.uint8], profile: bytes, mode: str, *, exact: bool = False
) -> NDArray[Any]:
    """(H, W, 3) the samples converted to sRGB by LittleCMS: relative colorimetric, black points compensated.

    Args:
        samples: (H, W) grey, (H, W, 3) RGB or (H, W, 4) CMYK samples, uint8.
        profile: The profile of the samples.
        mode: Pillow's mode of the samples.
        exact: Whether LittleCMS evaluates the profile for each pixel, without tables of its own.
    """
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags | ImageCms.Flags.NOOPTIMIZE if exact else flags,
    )
    picture = Pillow.frombytes(mode, samples.shape[1::-1], np.ascontiguousarray(samples).tobytes())
    return np.asarray(transform.apply(picture))


def all_colors(levels: Sequence[int] = range(256)) -> NDArray[np.uint8]:
    """(n, n * n, 3) every RGB colour of the given levels."""
    values = np.array(levels, np.uint8)
    return np.stack(np.meshgrid(values, values, values, indexing="ij"), -1).reshape(len(values), -1, 3)
