"""CPU kernels for video: labels that do not flicker, and frames in the colours of their clusters.

Single-threaded and without the GIL, like the kernels of `numba_cpu.py`. All arrays are C-contiguous and come
from the caller.

    pixels          (3 N,) uint8         R, G, B of each pixel
    labels          (N,) uint8           cluster of each pixel
    before          (N,) uint8           labels of the previous frame
    streaks         (N,) uint8           frames in a row for which each pixel has been held
    centers         (k, 3) int32         R, G, B of the centres, Q8.6
    slack           (k, k) int64         by the previous and the nearest centre: how much farther, in squared
                                         distance, Q8.6, the previous centre may be for a label to be held
    longest         integer              most frames in a row for which a pixel is held
    colors          (256, 3) uint8       R, G, B to paint for each label
    picture         (3 N,) uint8         R, G, B of each painted pixel

Why this way. At most one pixel in a hundred changes its label from frame to frame, so distances are computed
for those pixels alone; the other pixels cost a comparison of two bytes. Painting is a separate pass, which is
skipped when no frame is shown or saved.
"""

from __future__ import annotations

import numpy as np

from kseg_batch.kernels.jit import kernel


@kernel
def hold_labels(pixels, centers, slack, longest, before, streaks, labels):
    """Restore the previous label of each pixel whose previous centre is within the slack of the nearest one.

    A pixel is held for at most `longest` frames in a row.
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
    """Write the colour of each pixel's label to `picture`."""
    for i in range(labels.shape[0]):
        label = labels[i]
        picture[3 * i] = colors[label, 0]
        picture[3 * i + 1] = colors[label, 1]
        picture[3 * i + 2] = colors[label, 2]
