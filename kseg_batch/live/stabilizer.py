"""Labels that do not flicker.

Sensor noise moves a colour near the border between two clusters back and forth across the border. A pixel
therefore keeps its previous label until its colour is past the border by more than a margin, or on the other
side for several frames in a row. Noise is brief; a moved object stays.

The border is the plane half-way between two centres `a` and `b`. A colour `x` is past the border, on the side
of `b`, by (|x - a|**2 - |x - b|**2) / (2 |a - b|). All arithmetic is in Q8.6 integers, so that the kernel and
`hold_labels_reference` below agree on every pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.kernels import live
from kseg_batch.kmeans.fixed_point import SCALE
from kseg_batch.kmeans.flat_pixels import flat_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kseg_batch.kmeans.palette import Palette

MAX_HELD_FRAMES = 4
"""Frames in a row for which a pixel is held.

A larger number reduces flicker, which `python -m benchmarks.speed.live` measures, but lengthens the trails of
edges that move over soft shades."""


class LabelStabilizer:
    """Steadies the labels of successive frames."""

    def __init__(self, margin: float) -> None:
        """Start without a previous frame.

        Args:
            margin: Grey levels past the border from which a pixel changes at once; 0 to hold no label.
        """
        self._margin = margin
        self._previous_labels: NDArray[np.uint8] | None = None
        self._streaks = np.empty(0, np.uint8)

    def reset(self) -> None:
        """Forget the previous frame, so that the labels of the next frame stay as they are."""
        self._previous_labels = None

    def hold(self, pixels: NDArray[np.uint8], palette: Palette, labels: NDArray[np.uint8]) -> None:
        """Replace, in place, the labels of the next frame that have to be held.

        Args:
            pixels: (H, W, 3) uint8, C-contiguous, in the palette's colour space.
            palette: The palette of this frame. The previous labels are judged by its centres, too.
            labels: (H, W) uint8 nearest centre of each pixel.
        """
        if self._margin == 0:
            return
        flat_labels = labels.reshape(-1)
        if self._previous_labels is None:
            self._streaks = np.zeros(flat_labels.size, np.uint8)
        else:
            live.hold_labels(
                flat_pixels(pixels),
                palette.fixed_centers,
                squared_distance_slack(palette, self._margin),
                MAX_HELD_FRAMES,
                self._previous_labels,
                self._streaks,
                flat_labels,
            )
        self._previous_labels = flat_labels


def squared_distance_slack(palette: Palette, margin: float) -> NDArray[np.int64]:
    """Return how much farther than the nearest centre the previous centre may be for a label to be held.

    Args:
        palette: A palette of k clusters.
        margin: Grey levels past the border.

    Returns:
        (k, k) int64 squared distances in Q8.6, by the previous and the nearest centre.
    """
    centers = palette.fixed_centers.astype(np.float64)
    distances = np.sqrt(((centers[:, None] - centers[None]) ** 2).sum(axis=2))  # (k, k), Q8.6
    slack: NDArray[np.int64] = np.floor(2 * SCALE * margin * distances).astype(np.int64)
    return slack


def hold_labels_reference(
    pixels: NDArray[np.uint8],
    palette: Palette,
    margin: float,
    previous_labels: NDArray[np.uint8],
    streaks: NDArray[np.uint8],
    labels: NDArray[np.uint8],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Hold labels in plain NumPy: the reference for the kernel `hold_labels`.

    Args:
        pixels: (H, W, 3) uint8, in the palette's colour space.
        palette: The palette of this frame.
        margin: Grey levels past the border.
        previous_labels: (H, W) uint8 labels of the previous frame, after holding.
        streaks: (H, W) uint8 frames in a row for which each pixel has been held.
        labels: (H, W) uint8 nearest centre of each pixel.

    Returns:
        The (H, W) uint8 labels and the (H, W) uint8 streaks of this frame.
    """
    scaled = pixels.astype(np.int64) * SCALE
    centers = palette.fixed_centers.astype(np.int64)
    to_previous = ((scaled - centers[previous_labels]) ** 2).sum(axis=2)
    to_nearest = ((scaled - centers[labels]) ** 2).sum(axis=2)
    within_margin = (
        to_previous - to_nearest <= squared_distance_slack(palette, margin)[previous_labels, labels]
    )
    held = (previous_labels != labels) & within_margin & (streaks < MAX_HELD_FRAMES)
    return np.where(held, previous_labels, labels), np.where(held, streaks + 1, 0).astype(np.uint8)
