"""Label maps as the rows of an indexed PNG: what a GPU sends back, and what the encoder deflates."""

from __future__ import annotations

from functools import cache, cached_property
from typing import TYPE_CHECKING, Self

import numpy as np

from kseg_batch.errors import ImageError
from kseg_batch.kmeans.fixed_point import MAX_CLUSTERS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


def index_bits(k: int) -> int:
    """The fewest bits of a PNG pixel that hold k values: 1, 2, 4 or 8."""
    return next(bits for bits in (1, 2, 4, 8) if k <= 1 << bits)


def row_bytes(width: int, bits: int) -> int:
    """Bytes of a PNG row: the filter type, then the packed pixels."""
    return 1 + (width * bits + 7) // 8


class LabelMap:
    """The cluster number of each pixel, packed.

    A row begins with the PNG filter type 0. Then come the pixels, `bits` each, the leftmost in the highest
    bits. Transparent pixels, if there are any, have the number after the last cluster's.
    """

    def __init__(
        self, rows: NDArray[np.uint8], width: int, bits: int, masks: NDArray[np.uint8] | None = None
    ) -> None:
        """Take what is packed already.

        Args:
            rows: (H, row_bytes(width, bits)) uint8.
            width: Pixels of a row.
            bits: Of a pixel: 1, 2, 4 or 8.
            masks: (k, H, row_bytes(width, 1)) uint8, a 1 where a pixel is in the cluster, if they are there.
        """
        self.rows = rows
        self.width = width
        self.bits = bits
        self.transparent: int | None = None
        self._masks = masks

    @classmethod
    def pack(cls, labels: NDArray[np.uint8], k: int, opaque: NDArray[np.bool_] | None = None) -> Self:
        """Pack labels below k.

        Args:
            labels: (H, W) uint8; or with `opaque`, one for each pixel that is, in any shape.
            k: Clusters.
            opaque: (H, W) False where a pixel is transparent and in no cluster.

        Raises:
            ImageError: There are 256 clusters, so that no number is left for transparent pixels.
        """
        if opaque is not None:
            labels = with_transparent(labels, k, opaque)
        bits = index_bits(k if opaque is None else k + 1)
        packed = cls(with_filter_type(_pack(labels, bits)), labels.shape[1], bits)
        packed.labels = labels
        packed.transparent = None if opaque is None else k
        return packed

    @property
    def height(self) -> int:
        """Rows."""
        return len(self.rows)

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        """(H, W) uint8 cluster numbers, `transparent` where a pixel is."""
        packed: NDArray[np.uint8] = self.rows[:, 1:]
        if self.bits == 8:
            return packed
        labels: NDArray[np.uint8] = _unpacked(self.bits).take(packed).view(np.uint8)[:, : self.width]
        return labels

    @property
    def gray(self) -> NDArray[np.uint8]:
        """(H, W) uint8 cluster numbers, and 255 where a pixel is transparent."""
        if self.transparent is None:
            return self.labels
        return np.where(self.labels == self.transparent, np.uint8(255), self.labels)

    def mask(self, cluster: int) -> NDArray[np.uint8]:
        """(H, row_bytes(W, 1)) uint8 rows of a 1-bit PNG, 1 where the pixel is in the cluster."""
        if self._masks is not None:
            rows: NDArray[np.uint8] = self._masks[cluster]
            return rows
        return with_filter_type(np.packbits(self.labels == cluster, axis=1))

    def union(self, clusters: Iterable[int]) -> NDArray[np.uint8]:
        """As `mask`, 1 where the pixel is in one of the clusters."""
        return with_filter_type(np.packbits(members(clusters)[self.labels], axis=1))


def members(clusters: Iterable[int]) -> NDArray[np.bool_]:
    """(256,) whether a label is that of one of the clusters: a table that a whole label map can index."""
    table = np.zeros(MAX_CLUSTERS, bool)
    table[list(clusters)] = True
    return table


def with_transparent(labels: NDArray[np.uint8], k: int, opaque: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(H, W) labels, k where a pixel is transparent, of those of the opaque pixels.

    Raises:
        ImageError: There are 256 clusters, so that no number is left for transparent pixels.
    """
    if k == MAX_CLUSTERS:
        raise ImageError(
            "256 clusters leave no number for its transparent pixels; use 255, or --alpha ignore"
        )
    full = np.full(opaque.shape, k, np.uint8)
    full[opaque] = labels.reshape(-1)
    return full


def with_filter_type(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """PNG rows that are not filtered: label maps have long runs that filters only break up."""
    filtered = np.zeros((rows.shape[0], rows.shape[1] + 1), np.uint8)
    filtered[:, 1:] = rows
    return filtered


@cache
def _unpacked(bits: int) -> NDArray[np.unsignedinteger]:
    """(256,) the pixels in each value of a byte, the leftmost first in memory, as one integer."""
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    pixels = (np.arange(256, dtype=np.uint8)[:, None] >> shifts) & np.uint8((1 << bits) - 1)
    return pixels.view(f"u{8 // bits}").ravel()


def _pack(labels: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """(H, W) values below 2**bits as (H, ceil(W * bits / 8)) bytes, the leftmost pixel in the highest bits.

    Two or four neighbours are read as one little-endian integer, and one multiplication brings their bits
    together: for two pixels, (a + 256 b) * (2**12 + 1) holds 16 a + b in bits 8 to 15.
    """
    if bits == 8:
        return labels
    if bits == 1:
        return np.packbits(labels, axis=1)
    per_byte = 8 // bits
    padding = -labels.shape[1] % per_byte
    padded = np.ascontiguousarray(np.pad(labels, ((0, 0), (0, padding))) if padding else labels)
    if bits == 4:
        packed = (padded.view("<u2") * np.uint16(0x1001)) >> np.uint16(8)
    else:
        packed = (padded.view("<u4") * np.uint32(0x40100401)) >> np.uint32(24)
    return packed.astype(np.uint8)


def black_out(
    rgb: NDArray[np.uint8], labels: NDArray[np.uint8], clusters: Iterable[int]
) -> NDArray[np.uint8]:
    """A copy of an (H, W, 3) uint8 image, black where its (H, W) labels are those of the clusters."""
    picture = rgb.copy()
    picture[members(clusters)[labels]] = 0
    return picture
