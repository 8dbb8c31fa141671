"""A segmented frame, and what it looks like."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.kernels import live
from kseg_batch.kmeans.fixed_point import MAX_CLUSTERS

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from kseg_batch.live.source import Frame
    from kseg_batch.live.tracker import TrackedFrame


@dataclass(frozen=True)
class RenderedFrame:
    """What is shown and saved of a frame."""

    frame: Frame
    tracked: TrackedFrame
    disabled: Collection[int] = ()
    """Clusters that are black."""

    @cached_property
    def colors(self) -> NDArray[np.uint8]:
        """(k, 3) uint8 RGB that each cluster is shown in."""
        colors = self.tracked.palette.colors
        colors[[cluster for cluster in self.disabled if cluster < len(colors)]] = 0
        return colors

    @cached_property
    def rgb(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8: each pixel in the colour of its cluster."""
        table = np.zeros((MAX_CLUSTERS, 3), np.uint8)
        table[: len(self.colors)] = self.colors
        labels = self.tracked.labels
        painted = np.empty((*labels.shape, 3), np.uint8)
        live.paint(labels.reshape(-1), table, painted.reshape(-1))
        return painted
