"""Label maps to test with, and the regions in them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.uint8]


def random_labels(height: int, width: int, n: int, seed: int = 0) -> Labels:
    """Uniform random labels in 0 .. n - 1."""
    return np.random.default_rng(seed).integers(0, n, (height, width)).astype(np.uint8)


def region_sizes(labels: Labels, k: int) -> list[int]:
    """Pixels of each region, as OpenCV finds them."""
    return [
        int(size)
        for label in range(k)
        for size in cv2.connectedComponentsWithStats((labels == label).astype(np.uint8), connectivity=4)[2][
            1:, cv2.CC_STAT_AREA
        ]
    ]
