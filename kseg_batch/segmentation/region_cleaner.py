"""The host side of `kernels/regions.py`, which allocates arrays and calls the kernels.

The reference is `smoothed` and `merged` in `segmentation/regions.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.images.label_map import with_transparent
from kseg_batch.kmeans.fixed_point import MAX_CLUSTERS
from kseg_batch.optional import explain_numba

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kseg_batch.kmeans.options import RegionOptions
    from kseg_batch.kmeans.palette import Palette

with explain_numba():
    from kseg_batch.kernels import regions as kernels
    from kseg_batch.kernels.jit import is_cached


class RegionCleaner:
    """Cleaner of label maps, on one CPU core. Several threads may call the methods."""

    @property
    def compiled(self) -> bool:
        """Whether the cache has the compiled kernels, as in `Backend.compiled`."""
        return bool(is_cached(kernels.count_labels))

    def warm_up(self) -> None:
        """Compile the kernels, or load them from the cache, as in `Backend.warm_up`."""
        labels = np.zeros((3, 3), np.uint8)
        merge_small(smooth(labels, 1, 1), 1, 2)
        count_labels(labels, 1)

    def clean(
        self,
        labels: NDArray[np.uint8],
        palette: Palette,
        options: RegionOptions,
        opaque: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.uint8], Palette]:
        """Smooth labels, and then merge small regions with neighbouring regions.

        Args:
            labels: (H, W) uint8 labels; with `opaque`, the labels of the opaque pixels alone, in any shape.
            palette: The clusters.
            options: Radius of the smoothing, and size of the regions to merge.
            opaque: (H, W) bool, False where a pixel is transparent, and so in no cluster and no region.

        Returns:
            The new labels, (H, W), or with `opaque` (N,) for the N opaque pixels; and the palette with the
            new counts.

        Raises:
            ImageError: There are transparent pixels and 256 clusters.
        """
        k = len(palette.counts)
        full = np.ascontiguousarray(labels if opaque is None else with_transparent(labels, k, opaque))
        if options.smooth:
            full = smooth(full, k, options.smooth)
        if options.min_region:
            full = merge_small(full, k, options.min_region)
        cleaned = full if opaque is None else full[opaque]
        return cleaned, replace(palette, counts=count_labels(cleaned, k))


def smooth(labels: NDArray[np.uint8], k: int, radius: int) -> NDArray[np.uint8]:
    """Return the same as `regions.smoothed`, for C-contiguous (H, W) uint8 labels."""
    votes = np.empty(kernels.TILE_WIDTH + 2 * radius, np.uint8)
    total = np.empty(kernels.TILE_WIDTH, np.uint8)
    most = np.empty((kernels.TILE_HEIGHT, kernels.TILE_WIDTH), np.uint8)
    present = np.empty(MAX_CLUSTERS + 1, np.uint8)
    smoothed = np.empty_like(labels)
    kernels.smooth(labels, k, radius, votes, total, most, present, smoothed)
    return smoothed


def merge_small(labels: NDArray[np.uint8], k: int, min_region: int) -> NDArray[np.uint8]:
    """Return the same as `regions.merged`, for C-contiguous (H, W) uint8 labels."""
    threshold = min(min_region, labels.size + 1)
    n = kernels.count_runs(labels)
    runs = np.empty((n + 1, 8), np.uint32)
    kernels.find_regions(labels, runs)
    small, ordered = np.empty((2, n), np.uint32)  # memory that is never written costs nothing
    ends, border = np.empty(threshold, np.int64), np.zeros(MAX_CLUSTERS + 1, np.int64)
    touching = np.empty(4 * min(threshold, n), np.uint32)
    merged = labels.copy()
    kernels.merge_small(merged, k, threshold, runs, small, ordered, ends, border, touching)
    return merged


def count_labels(labels: NDArray[np.uint8], k: int) -> NDArray[np.int64]:
    """Return the (k,) int64 pixels of each label."""
    counts = np.zeros((4, MAX_CLUSTERS), np.int64)
    kernels.count_labels(labels.reshape(-1), counts)
    total: NDArray[np.int64] = counts.sum(axis=0)[:k]
    return total
