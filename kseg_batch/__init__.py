"""Colour segmentation of photos by exact k-means.

from kseg_batch import segment
s = segment(rgb, k=3)    # rgb: (H, W, 3) uint8
"""

from kseg_batch.kmeans.palette import Palette
from kseg_batch.kmeans.palette_files import read_palette, write_palette
from kseg_batch.segmentation.segment import Segmentation, apply_palette, fit_palette, segment

__all__ = [
    "Palette",
    "Segmentation",
    "apply_palette",
    "fit_palette",
    "read_palette",
    "segment",
    "write_palette",
]
