"""Signals of high dynamic range (ITU-R BT.2100), from the formulas of the standards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
"""Linear sRGB to linear light of BT.2020's primaries (ITU-R BT.2087)."""

HLG_WHITE = 0.26496
"""Scene light of reference white in HLG, which has a signal of 75% (ITU-R BT.2408)."""


def srgb_to_linear(values: ArrayLike) -> NDArray[np.float64]:
    """Light, 0 .. 1, of sRGB values, 0 .. 1 (IEC 61966-2-1)."""
    srgb = np.asarray(values, np.float64)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def srgb_level(light: float) -> float:
    """The sRGB level, 0 .. 255, of light, 0 .. 1."""
    return 255 * (12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055)


def pq_signal(nits: float) -> float:
    """The PQ signal of light in cd/m2 (SMPTE ST 2084)."""
    power = (nits / 10_000) ** (2610 / 16384)
    return float(((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375)


def hlg_signals(colors: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """(n, 3) HLG signals, in BT.2020, of sRGB colours, as a studio puts SDR into HLG, with white at 75%."""
    light = np.clip(srgb_to_linear(np.array(colors) / 255) @ TO_BT2020.T, 0, 1) * HLG_WHITE
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    bright = a * np.log(np.maximum(12 * light - b, 1e-9)) + c
    signals: NDArray[np.float64] = np.where(light <= 1 / 12, np.sqrt(3 * light), bright)
    return signals
