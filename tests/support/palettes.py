"""Palettes to test with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.kmeans.fixed_point import SCALE
from kseg_batch.kmeans.palette import Palette

if TYPE_CHECKING:
    from collections.abc import Sequence


def palette_of(
    *colors: tuple[float, ...], names: tuple[str, ...] = (), counts: Sequence[int] | None = None
) -> Palette:
    """Clusters of the given colours, each of one pixel where no counts are given."""
    centers = np.round(SCALE * np.array(colors, float)).astype(np.int32)
    return Palette(centers, np.array(counts or [1] * len(colors), np.int64), 0.0, 0, "hand", names=names)


def random_palette(k: int, seed: int = 0) -> Palette:
    """Random centres in no order, of which the last equals the first, and one name."""
    centers = np.random.default_rng(seed).integers(0, 255 * SCALE + 1, (k, 3)).astype(np.int32)
    centers[-1] = centers[0]
    return Palette(centers, np.zeros(k, np.int64), 0.0, None, "none", "lab", ("one",) + ("",) * (k - 1))
