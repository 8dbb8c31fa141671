"""Labels that do not flicker.

A pixel whose colour lies near the border between two clusters would change its label with the noise of the
sensor. So it keeps the one that it had, until its colour is past that border by more than a margin.

The border is the plane half-way between two centres `a` and `b`, and a colour `x` is past it, on the side of
`b`, by (|x - a|**2 - |x - b|**2) / (2 |a - b|). All is in Q8.6 and in whole numbers, so that the kernel and
`held` below agree on every pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.colors import SCALE
from kseg_batch.kernels import live

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kseg_batch.colors import Palette


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


def hold(
    pixels: NDArray[np.uint8],
    palette: Palette,
    margin: float,
    before: NDArray[np.uint8],
    labels: NDArray[np.uint8],
) -> None:
    """Make the nearest labels of a frame steady, in place.

    Args:
        pixels: (H, W, 3) C-contiguous, in the palette's colour space.
        palette: Whose centres the labels are of, those of before as well.
        margin: Grey levels past the border.
        before: (H, W) labels of the frame before.
        labels: (H, W) nearest centre of each pixel.
    """
    flat = pixels.reshape(-1), palette.fixed_centers, slack(palette, margin)
    live.hold_labels(*flat, before.reshape(-1), labels.reshape(-1))


def held(
    pixels: NDArray[np.uint8],
    palette: Palette,
    margin: float,
    before: NDArray[np.uint8],
    labels: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """In plain NumPy, the (H, W) labels that `hold` makes: the reference for its kernel."""
    scaled = pixels.astype(np.int64) * SCALE
    centers = palette.fixed_centers.astype(np.int64)
    to_last = ((scaled - centers[before]) ** 2).sum(axis=2)
    to_nearest = ((scaled - centers[labels]) ** 2).sum(axis=2)
    return np.where(to_last - to_nearest <= slack(palette, margin)[before, labels], before, labels)
