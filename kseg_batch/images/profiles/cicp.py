"""Colour spaces by the code points of ITU-T H.273 (CICP): primaries, transfer functions, and HDR.

The curves of cameras (BT.709, BT.601, BT.2020) are read as the curve of sRGB, as players and browsers do: a
picture is graded by its look on a display, and not by the camera's curve.

High dynamic range is tone-mapped to the range of sRGB. White is the reference white of ITU-R BT.2408:

    PQ    the display light of ITU-R BT.2100, with white at 203 cd/m2
    HLG   the scene light of BT.2100, with white at a signal of 75%

The tone mapping is the EETF of ITU-R BT.2390 (section 5.4.1) for red, green and blue: dark colours stay as
they are, and highlights of up to 1,000 cd/m2 are compressed into the range below white.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.errors import ImageError
from kseg_batch.images.profiles.conversion import NamedConversion
from kseg_batch.images.profiles.icc import ProfileError, gamma_curve
from kseg_batch.images.profiles.matrix import MatrixConversion
from kseg_batch.kmeans.color_spaces import srgb_to_linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kseg_batch.images.profiles.icc import Curve

UNSPECIFIED = 2
"""The code for primaries and for a transfer function that are not known.

Those of sRGB are assumed, and for HDR the primaries of BT.2020, which BT.2100 prescribes."""
BT709, BT2020 = 1, 9
"""Codes of primaries."""
PQ, HLG = 16, 18
"""Codes of transfer functions."""
HDR = (PQ, HLG)
"""Codes of the transfer functions of high dynamic range."""

D65 = (0.3127, 0.3290)
D50_XYZ = np.array([0.9642, 1.0, 0.8249])
"""White of the profile connection space (ICC.1:2022)."""
PRIMARIES: dict[int, tuple[str, tuple[float, ...]]] = {
    1: ("BT.709", (0.640, 0.330, 0.300, 0.600, 0.150, 0.060, *D65)),
    4: ("BT.470 M", (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, 0.310, 0.316)),
    5: ("BT.601 (625 lines)", (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *D65)),
    6: ("BT.601 (525 lines)", (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *D65)),
    7: ("SMPTE 240M", (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *D65)),
    8: ("generic film", (0.681, 0.319, 0.243, 0.692, 0.145, 0.049, 0.310, 0.316)),
    9: ("BT.2020", (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *D65)),
    10: ("XYZ", (1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1 / 3, 1 / 3)),
    11: ("DCI-P3", (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351)),
    12: ("Display P3", (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *D65)),
    22: ("EBU 3213", (0.630, 0.340, 0.295, 0.605, 0.155, 0.077, *D65)),
}
"""By code: the name; x and y of red, green, blue and white (H.273, table 2)."""

BRADFORD = np.array(
    [
        [0.8951, 0.2664, -0.1614],
        [-0.7502, 1.7135, 0.0367],
        [0.0389, -0.0685, 1.0296],
    ]
)
"""XYZ to cone responses, for the adaptation to another white (ICC.1:2022, annex E)."""

WHITE_NITS = 203.0
"""Luminance of reference white, in cd/m2 (BT.2408)."""
PEAK_NITS = 1000.0
"""Luminance of the brightest highlights that stay apart, in cd/m2."""
HLG_WHITE = 0.75
"""HLG signal of reference white (BT.2408)."""


@lru_cache(maxsize=64)
def cicp_conversion(primaries: int, transfer: int, *, full_range: bool = True) -> NamedConversion:
    """Return the conversion of a colour space to sRGB.

    Args:
        primaries: The code of the colour primaries.
        transfer: The code of the transfer characteristics.
        full_range: Whether black is 0 and white 255; else 16 and 235, or the same parts of 16 bits.

    Raises:
        ProfileError: A code is reserved, or has no meaning for a picture.
        ImageError: The colours are HDR, which must not be taken for SDR, and the primaries are not known.
    """
    if primaries == UNSPECIFIED:
        primaries = BT2020 if transfer in HDR else BT709
    if primaries not in PRIMARIES:
        if transfer in HDR:
            raise ImageError(f"it is HDR with colour primaries that are not known here (code {primaries})")
        raise ProfileError(f"has colour primaries that are not known here (code {primaries})")
    if transfer not in CURVES:
        raise ProfileError(f"has a transfer function that is not known here (code {transfer})")
    name, chromaticities = PRIMARIES[primaries]
    suffix, curve = CURVES[transfer]
    if not full_range:
        suffix, curve = f"{suffix} in the limited range".lstrip(), _in_limited_range(curve)
    conversion = MatrixConversion([curve] * 3, XYZ_TO_SRGB @ to_xyz(chromaticities))
    method = ", tone-mapped by ITU-R BT.2390" if transfer in HDR else ""
    return NamedConversion(conversion, f"{name} {suffix}".rstrip(), method)


def to_xyz(chromaticities: tuple[float, ...]) -> NDArray[np.float64]:
    """Return (3, 3), which converts linear red, green and blue to X, Y, Z relative to D50.

    Args:
        chromaticities: x and y of red, green, blue and white.

    Raises:
        ProfileError: The primaries lie on a line, or white is outside them.
    """
    x, y = np.array(chromaticities).reshape(4, 2).T
    colors = np.stack([x, y, 1 - x - y])  # (3, 4)
    try:
        if y[3] <= 0:
            raise ProfileError("has no white")
        white = colors[:, 3] / y[3]
        amounts = np.linalg.solve(colors[:, :3], white)
    except np.linalg.LinAlgError as error:
        raise ProfileError("has primaries on a line") from error
    if not (amounts > 0).all():
        raise ProfileError("has a white that its primaries cannot mix")
    adapted = (BRADFORD @ D50_XYZ) / (BRADFORD @ white)
    matrix: NDArray[np.float64] = (
        np.linalg.inv(BRADFORD) @ (adapted[:, None] * BRADFORD) @ (colors[:, :3] * amounts)
    )
    return matrix


XYZ_TO_SRGB = np.linalg.inv(to_xyz(PRIMARIES[BT709][1]))
"""(3, 3): X, Y, Z relative to D50 to linear sRGB."""


def _in_limited_range(curve: Curve) -> Curve:
    return lambda signal: curve(np.clip((255 * signal - 16) / 219, 0.0, 1.0))


def _logarithm(decades: float) -> Curve:
    """Return the curve of a logarithmic signal, which is 0 below a power of ten of white."""
    return lambda signal: np.where(signal > 0, 10 ** (decades * (signal - 1)), 0.0)


def _pq_to_nits(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert a PQ signal, 0 .. 1, to light in cd/m2 (BT.2100, table 4)."""
    m1, m2 = 1305 / 8192, 2523 / 32
    c1, c2, c3 = 107 / 128, 2413 / 128, 2392 / 128
    root = signal ** (1 / m2)
    return 10_000 * (np.maximum(root - c1, 0.0) / (c2 - c3 * root)) ** (1 / m1)


def _nits_to_pq(nits: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Convert light in cd/m2 to a PQ signal: the inverse of `_pq_to_nits`."""
    m1, m2 = 1305 / 8192, 2523 / 32
    c1, c2, c3 = 107 / 128, 2413 / 128, 2392 / 128
    power = (np.asarray(nits) / 10_000) ** m1
    return ((c1 + c2 * power) / (1 + c3 * power)) ** m2


def _hlg_to_scene(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert an HLG signal, 0 .. 1, to scene light, 0 .. 1 (BT.2100, table 5)."""
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)


def _tone_map(nits: NDArray[np.float64], peak: float) -> NDArray[np.float64]:
    """Convert light in cd/m2 to light with reference white at 1, by the EETF of BT.2390.

    Args:
        nits: The light.
        peak: The light that becomes white. Brighter light becomes white, too.
    """
    signal = np.minimum(_nits_to_pq(nits) / _nits_to_pq(peak), 1.0)
    white = _nits_to_pq(WHITE_NITS) / _nits_to_pq(peak)
    knee = 1.5 * white - 0.5
    t = np.maximum(signal - knee, 0.0) / (1 - knee)
    rise = 3 * t**2 - 2 * t**3
    spline = (1 - rise) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + rise * white
    mapped = np.where(signal < knee, signal, spline)
    return _pq_to_nits(mapped * _nits_to_pq(peak)) / WHITE_NITS


def _pq_curve(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    return _tone_map(_pq_to_nits(signal), PEAK_NITS)


def _hlg_curve(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    nits_per_unit = WHITE_NITS / _hlg_to_scene(np.array(HLG_WHITE))
    return _tone_map(nits_per_unit * _hlg_to_scene(signal), float(nits_per_unit))


CURVES: dict[int, tuple[str, Curve]] = {
    **dict.fromkeys((1, UNSPECIFIED, 6, 7, 11, 12, 13, 14, 15), ("", srgb_to_linear)),
    4: ("gamma 2.2", gamma_curve(2.2)),
    5: ("gamma 2.8", gamma_curve(2.8)),
    8: ("linear", gamma_curve(1.0)),
    9: ("logarithmic", _logarithm(2.0)),
    10: ("logarithmic", _logarithm(2.5)),
    PQ: ("PQ", _pq_curve),
    17: ("gamma 2.6", gamma_curve(2.6)),
    HLG: ("HLG", _hlg_curve),
}
"""By code: the name of the transfer function, empty where the curve of sRGB is used; and the curve."""
