"""CPU kernels for video: labels that do not flicker, and the picture that they make.

Single-threaded and without the GIL, as those of `cpu.py`, and a file of their own for a cache of their own.
All arrays are C-contiguous and come from the caller.

    pixels          (3 N,) uint8         R, G, B of each pixel
    labels          (N,) uint8           cluster of each pixel
    before          (N,) uint8           the same pixels' clusters in the frame before
    streaks         (N,) uint8           frames in a row for which each pixel has been held
    centers         (k, 3) int32         R, G, B of the centres, Q8.6
    slack           (k, k) int64         by the centre before and the nearest: how much farther, in
                                         squared distance, the former may be and keep a pixel
    colors          (256, 3) uint8       R, G, B to show for each label
    picture         (3 N,) uint8         R, G, B of each pixel

Why this way. From frame to frame a pixel in a hundred gets another label, if that, so distances are worked
out for those alone; the rest is a comparison of bytes. Painting is a pass of its own, for where nothing is
shown it is not needed.
"""

from __future__ import annotations

import numpy as np
from numba import njit

kernel = njit(cache=True, nogil=True)


@kernel
def hold_labels(pixels, centers, slack, longest, before, streaks, labels):
    """Give each pixel its label of before again where that centre is hardly farther than the nearest.

    But for at most `longest` frames in a row.
    """
    for i in range(labels.shape[0]):
        last, nearest = before[i], labels[i]
        if last == nearest or streaks[i] == longest:
            streaks[i] = 0
            continue
        farther = np.int64(0)
        for channel in range(3):
            x = np.int64(pixels[3 * i + channel]) << 6
            to_last, to_nearest = x - centers[last, channel], x - centers[nearest, channel]
            farther += to_last * to_last - to_nearest * to_nearest
        if farther <= slack[last, nearest]:
            labels[i] = last
            streaks[i] += np.uint8(1)
        else:
            streaks[i] = 0


@kernel
def paint(labels, colors, picture):
    """Fill in the colour of each pixel's label."""
    for i in range(labels.shape[0]):
        label = labels[i]
        picture[3 * i] = colors[label, 0]
        picture[3 * i + 1] = colors[label, 1]
        picture[3 * i + 2] = colors[label, 2]
