"""A batch of images on the host: its items, its results, and the conversions between them and the kernels."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kseg_batch.backends.gpu.device import DeviceMemoryError
from kseg_batch.backends.gpu.layout import ROW, STATE, TABLE_BYTES, Layout, Request, total_bytes
from kseg_batch.backends.gpu.memory import PinnedPool, Slot
from kseg_batch.images.label_map import LabelMap, index_bits, row_bytes
from kseg_batch.kmeans import reference
from kseg_batch.kmeans.fixed_point import SCALE
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.kmeans.palette import Palette

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from kseg_batch.kmeans.color_spaces import ColorSpace


@dataclass(frozen=True, slots=True, eq=False)
class BatchItem:
    """An image to segment in a batch, and how to segment it."""

    image: NDArray[np.uint8]
    """(H, W, 3) uint8 RGB pixels; the copy to the GPU is fastest from memory of `GpuBackend.stage`."""
    options: FitOptions
    """Options of the clustering."""
    masks: bool
    """Whether masks will be written."""
    tag: Any = None
    """Any object of the caller, who gets it back with the result."""
    palette: Palette | None = None
    """Palette for the labels; None to fit a palette by `options`."""


@dataclass(frozen=True, slots=True, eq=False)
class BatchResult:
    """The result of a batch item: labels and palette, or an error."""

    item: BatchItem
    """The item that was segmented."""
    labels: LabelMap | None
    """Packed labels of the image; None after an error."""
    palette: Palette | None
    """Fitted or measured palette; None after an error."""
    error: DeviceMemoryError | None = None
    """Error of an image that does not fit in the device memory; None after success."""


class QueuedBatch:
    """A batch that is queued on a slot, and the host memory of its inputs and outputs.

    Attributes:
        items: The n items of the batch.
        layout: Places of their images in the arrays.
        slot: The slot on which the batch is queued.
        states: (n * len(STATE),) int64 records State.
        centers: (4 * n * ROW,) int32 centres from the device.
        clusters: (4 * n * ROW,) int64 channel sums and pixel count of each cluster.
        output: (layout.n_output,) uint8 rows of labels and masks.
        given: (4 * n * ROW,) int32 centres of given palettes for the device.
        images: Flat, contiguous uint8 pixels of each image.
    """

    def __init__(self, items: Sequence[BatchItem], layout: Layout, slot: Slot, pool: PinnedPool) -> None:
        n = len(items)
        self.items = items
        self.layout = layout
        self.slot = slot
        self.states = pool.take(8 * n * len(STATE)).view(np.int64)
        self.centers = pool.take(16 * n * ROW).view(np.int32)
        self.clusters = pool.take(32 * n * ROW).view(np.int64)
        self.output = pool.take(layout.n_output)
        self.given = pool.take(16 * n * ROW).view(np.int32)
        self.images = [np.ascontiguousarray(item.image).reshape(-1) for item in items]


@functools.lru_cache(maxsize=4096)
def bytes_without_tables(request: Request) -> int:
    """Return the device memory in bytes that an image needs beside its tables; for a batch, about the sum."""
    return Layout.of([request]).n_bytes - TABLE_BYTES


def build_request(item: BatchItem) -> Request:
    """Return the request for an item: the size of its image, and the wanted results."""
    height, width = item.image.shape[:2]
    if item.palette is None:
        return Request(height, width, item.options, item.masks)
    return Request(height, width, options_for_palette(item.palette), item.masks, given=True)


def options_for_palette(palette: Palette) -> FitOptions:
    """Return options with the number of clusters and the colour space of a palette that is not fitted."""
    return FitOptions(k=len(palette.fixed_centers), attempts=1, color_space=palette.color_space)


def pad_centers(palette: Palette) -> NDArray[np.int32]:
    """Return the centres of a palette as the kernels expect them: (4 * ROW,) int32, padded with zeros."""
    rows = np.zeros((ROW, 4), np.int32)
    rows[: len(palette.fixed_centers), :3] = palette.fixed_centers
    return rows.reshape(-1)


def unpack_colors(xyz: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the (n, 3) uint8 colours at (n,) int64 packed positions."""
    return np.stack([(xyz >> (shift + 6)).astype(np.uint8) for shift in (32, 16, 0)], axis=-1)


def build_label_map(output: NDArray[np.uint8], request: Request, k: int) -> LabelMap:
    """Return the label map of an image of a batch.

    Args:
        output: (request.output_bytes,) uint8 output of the kernel `label_pixels` for the image.
        request: The request for the image.
        k: Number of clusters in the image, at most `request.options.k`.
    """
    height, width = request.height, request.width
    bits = index_bits(k)
    rows = output[: height * row_bytes(width, bits)].reshape(height, -1)
    masks = None
    if request.sends_masks:
        n_bytes = k * height * row_bytes(width, 1)
        masks = output[request.index_bytes :][:n_bytes].reshape(k, height, -1)
    return LabelMap(rows, width, bits, masks)


def build_palette(
    backend: str,
    state: NDArray[np.int64],
    centers: NDArray[np.int32],
    clusters: NDArray[np.int64],
    color_space: ColorSpace,
    given: Palette | None,
) -> Palette:
    """Return the palette of one image of a batch.

    Args:
        backend: Name of the backend.
        state: (len(STATE),) int64 record State of the image.
        centers: (4 * ROW,) int32 centres from the kernels.
        clusters: (4 * ROW,) int64 channel sums and pixel count of each cluster, from the kernels.
        color_space: Colour space of a fitted palette.
        given: The palette that the kernels measured; None if they fitted one.
    """
    k = int(state[STATE.index("clusters")])
    fixed = centers.reshape(ROW, 4)[:k, :3].copy()
    sums = clusters.reshape(ROW, 4)[:k]
    squares = int(state[STATE.index("squares")])
    return Palette(
        fixed_centers=fixed,
        counts=sums[:, 3].copy(),
        compactness=reference.compactness(squares, sums[:, :3] // SCALE, sums[:, 3], fixed.astype(np.int64)),
        n_iter=int(state[STATE.index("iterations")]),
        backend=backend,
        color_space=color_space if given is None else given.color_space,
        names=() if given is None else given.names,
        mean_colors=None if given is None else given.mean_colors,
    )


def require_memory(needs: Mapping[str, tuple[int, str]], limit: int) -> None:
    """Raise a DeviceMemoryError if the arrays of an image take more than `limit` bytes of GPU memory.

    Args:
        needs: The length and the dtype of each array, by name.
        limit: Bytes that the arrays may take together.
    """
    needed = total_bytes(needs)
    if needed > limit:
        raise DeviceMemoryError(
            f"the image needs {needed / 1e6:.0f} MB of GPU memory, and may use {limit / 1e6:.0f} MB"
        )
