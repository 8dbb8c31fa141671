"""A segmented frame in the colours of its clusters."""

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
    """A segmented frame in its display colours: the window shows them, and files store them."""

    frame: Frame
    """The frame as read."""
    tracked: TrackedFrame
    """The labels and the palette of the frame."""
    disabled: Collection[int] = ()
    """Numbers of the clusters that are painted black."""

    @cached_property
    def colors(self) -> NDArray[np.uint8]:
        """(k, 3) uint8 RGB colour that each cluster is painted in."""
        colors = self.tracked.palette.colors
        colors[[cluster for cluster in self.disabled if cluster < len(colors)]] = 0
        return colors

    @cached_property
    def rgb(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB: each pixel in the colour of its cluster."""
        color_table = np.zeros((MAX_CLUSTERS, 3), np.uint8)
        color_table[: len(self.colors)] = self.colors
        labels = self.tracked.labels
        painted = np.empty((*labels.shape, 3), np.uint8)
        live.paint(labels.reshape(-1), color_table, painted.reshape(-1))
        return painted
