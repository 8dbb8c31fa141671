"""Label maps in the form of an indexed PNG's rows, which a GPU sends back and the encoder compresses."""

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
    """Return the fewest bits of a PNG pixel that hold k values: 1, 2, 4 or 8."""
    return next(bits for bits in (1, 2, 4, 8) if k <= 1 << bits)


def row_bytes(width: int, bits: int) -> int:
    """Return the bytes of a PNG row: the filter type, then the packed pixels."""
    return 1 + (width * bits + 7) // 8


class LabelMap:
    """The cluster number of each pixel of an image, packed into bits.

    A row begins with the PNG filter type 0. The pixels follow, with `bits` bits each, the leftmost in the
    highest bits. Transparent pixels, if there are any, have the number after that of the last cluster.
    """

    def __init__(
        self, rows: NDArray[np.uint8], width: int, bits: int, masks: NDArray[np.uint8] | None = None
    ) -> None:
        """Wrap rows that are already packed.

        Args:
            rows: (H, row_bytes(width, bits)) uint8 rows of the label map.
            width: Number of pixels in a row.
            bits: Bits per pixel: 1, 2, 4 or 8.
            masks: (k, H, row_bytes(width, 1)) uint8 rows of each cluster's mask, with a 1 where a pixel is in
                the cluster; None to compute masks on demand.
        """
        self.rows = rows
        self.width = width
        self.bits = bits
        self.transparent: int | None = None
        """Number of the transparent pixels; None if there are none."""
        self._masks = masks

    @classmethod
    def pack(cls, labels: NDArray[np.uint8], k: int, opaque: NDArray[np.bool_] | None = None) -> Self:
        """Pack labels below k.

        Args:
            labels: (H, W) uint8 labels; with `opaque`, the labels of the opaque pixels alone, in any shape.
            k: Number of clusters.
            opaque: (H, W) bool, False where a pixel is transparent, and so in no cluster; None if none is.

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
        """Number of rows, H."""
        return len(self.rows)

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        """(H, W) uint8 cluster numbers; the value of `transparent` for transparent pixels."""
        packed: NDArray[np.uint8] = self.rows[:, 1:]
        if self.bits == 8:
            return packed
        labels: NDArray[np.uint8] = _unpacked(self.bits).take(packed).view(np.uint8)[:, : self.width]
        return labels

    @property
    def gray(self) -> NDArray[np.uint8]:
        """(H, W) uint8 cluster numbers; 255 for transparent pixels."""
        if self.transparent is None:
            return self.labels
        return np.where(self.labels == self.transparent, np.uint8(255), self.labels)

    def mask(self, cluster: int) -> NDArray[np.uint8]:
        """Return (H, row_bytes(W, 1)) uint8 rows of a 1-bit PNG, 1 where a pixel is in the cluster."""
        if self._masks is not None:
            rows: NDArray[np.uint8] = self._masks[cluster]
            return rows
        return with_filter_type(np.packbits(self.labels == cluster, axis=1))

    def union(self, clusters: Iterable[int]) -> NDArray[np.uint8]:
        """Return rows as `mask` does, 1 where a pixel is in any of the clusters."""
        return with_filter_type(np.packbits(membership_table(clusters)[self.labels], axis=1))


def membership_table(clusters: Iterable[int]) -> NDArray[np.bool_]:
    """Return (256,) bool, True for the labels of the clusters, to be indexed by a whole label map."""
    table = np.zeros(MAX_CLUSTERS, bool)
    table[list(clusters)] = True
    return table


def with_transparent(labels: NDArray[np.uint8], k: int, opaque: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return (H, W) uint8 labels from those of the opaque pixels, with k for transparent pixels.

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
    """Prepend filter type 0 (none) to PNG rows: a filter would break up the long runs of a label map."""
    filtered = np.zeros((rows.shape[0], rows.shape[1] + 1), np.uint8)
    filtered[:, 1:] = rows
    return filtered


@cache
def _unpacked(bits: int) -> NDArray[np.unsignedinteger]:
    """Return (256,) integers, each with the pixels of a byte value, the leftmost first in memory."""
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    pixels = (np.arange(256, dtype=np.uint8)[:, None] >> shifts) & np.uint8((1 << bits) - 1)
    return pixels.view(f"u{8 // bits}").ravel()


def _pack(labels: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Pack (H, W) values below 2**bits to (H, ceil(W * bits / 8)) bytes, the leftmost in the highest bits.

    Two or four neighbours are read as a little-endian integer, and a multiplication brings their bits
    together. For two pixels, (a + 256 b) * (2**12 + 1) holds 16 a + b in bits 8 to 15.
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
    """Return a copy of an (H, W, 3) uint8 image, black where its (H, W) labels are among the clusters."""
    picture = rgb.copy()
    picture[membership_table(clusters)[labels]] = 0
    return picture
