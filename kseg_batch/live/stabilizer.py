"""Labels that do not flicker.

A pixel whose colour lies near the border between two clusters would change its label with the noise of the
sensor. So it keeps the one that it has, until its colour is past that border by more than a margin, or on the
other side for several frames in a row: noise comes and goes, and what has moved stays.

The border is the plane half-way between two centres `a` and `b`, and a colour `x` is past it, on the side of
`b`, by (|x - a|**2 - |x - b|**2) / (2 |a - b|). All is in Q8.6 and in whole numbers, so that the kernel and
`held` below agree on every pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.kernels import live
from kseg_batch.kmeans.fixed_point import SCALE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kseg_batch.kmeans.palette import Palette

LONGEST = 4
"""Frames in a row for which a pixel is held.

With more of them less flickers, which `python -m benchmarks.speed.live` measures, and edges that move over
soft shades leave a longer trail."""


class LabelStabilizer:
    """Makes the labels of one frame after the other steady."""

    def __init__(self, margin: float) -> None:
        """Begin; `margin` is in grey levels past the border, and 0 leaves all labels as they are."""
        self._margin = margin
        self._before: NDArray[np.uint8] | None = None
        self._streaks = np.empty(0, np.uint8)

    def forget(self) -> None:
        """Take the labels of the next frame as they are."""
        self._before = None

    def hold(self, pixels: NDArray[np.uint8], palette: Palette, labels: NDArray[np.uint8]) -> None:
        """Change the labels of the next frame, in place.

        Args:
            pixels: (H, W, 3), C-contiguous, in the palette's colour space.
            palette: Whose centres the labels are of. Those of the frame before were of its predecessors.
            labels: (H, W) nearest centre of each pixel.
        """
        if self._margin == 0:
            return
        flat = labels.reshape(-1)
        if self._before is None:
            self._streaks = np.zeros(flat.size, np.uint8)
        else:
            how = palette.fixed_centers, slack(palette, self._margin), LONGEST
            live.hold_labels(pixels.reshape(-1), *how, self._before, self._streaks, flat)
        self._before = flat


def slack(palette: Palette, margin: float) -> NDArray[np.int64]:
    """The (k, k) greatest excesses in squared distance, Q8.6, of a colour that keeps its label.

    Args:
        palette: Of k clusters.
        margin: Grey levels past the border.
    """
    centers = palette.fixed_centers.astype(np.float64)
    apart = np.sqrt(((centers[:, None] - centers[None]) ** 2).sum(axis=2))  # (k, k), Q8.6
    most: NDArray[np.int64] = np.floor(2 * SCALE * margin * apart).astype(np.int64)
    return most


def held(
    pixels: NDArray[np.uint8],
    palette: Palette,
    margin: float,
    before: NDArray[np.uint8],
    streaks: NDArray[np.uint8],
    labels: NDArray[np.uint8],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """In plain NumPy, what `LabelStabilizer` makes of a frame: the reference for its kernel.

    Args:
        pixels: (H, W, 3) uint8, in the palette's colour space.
        palette: Whose centres the labels are of.
        margin: Grey levels past the border.
        before: (H, W) labels that the frame before was given.
        streaks: (H, W) frames in a row for which each pixel has been held.
        labels: (H, W) nearest centre of each pixel.

    Returns:
        The (H, W) labels and the (H, W) streaks.
    """
    scaled = pixels.astype(np.int64) * SCALE
    centers = palette.fixed_centers.astype(np.int64)
    to_last = ((scaled - centers[before]) ** 2).sum(axis=2)
    to_nearest = ((scaled - centers[labels]) ** 2).sum(axis=2)
    near = to_last - to_nearest <= slack(palette, margin)[before, labels]
    keep = (before != labels) & near & (streaks < LONGEST)
    return np.where(keep, before, labels), np.where(keep, streaks + 1, 0).astype(np.uint8)
