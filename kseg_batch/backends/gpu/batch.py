"""A batch of images on the host: what goes in, what comes out, and the memory in between."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kseg_batch.backends.gpu.device import DeviceMemoryError
from kseg_batch.backends.gpu.layout import ROW, STATE, TABLE_BYTES, Layout, Request
from kseg_batch.backends.gpu.memory import PinnedPool, Slot
from kseg_batch.images.label_map import LabelMap, index_bits, row_bytes
from kseg_batch.kmeans import reference
from kseg_batch.kmeans.fixed_point import SCALE
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.kmeans.palette import Palette

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from kseg_batch.kmeans.color_spaces import ColorSpace


@dataclass(frozen=True, slots=True, eq=False)
class BatchItem:
    """An image to segment in a batch."""

    image: NDArray[np.uint8]
    """(H, W, 3) uint8 RGB; fastest from `GpuBackend.stage`."""
    options: FitOptions
    """How to cluster."""
    masks: bool
    """Whether masks will be written."""
    tag: Any = None
    """The caller's own; it comes back with the result."""
    palette: Palette | None = None
    """What its labels are of, in place of the palette that would be fitted by `options`."""


@dataclass(frozen=True, slots=True, eq=False)
class BatchResult:
    """What became of a task."""

    task: BatchItem
    labels: LabelMap | None
    palette: Palette | None
    error: DeviceMemoryError | None = None
    """Why it could not be done on the device; None if it was."""


class QueuedBatch:
    """A batch that is queued on a slot, and the host memory that it comes from and goes to."""

    def __init__(self, tasks: Sequence[BatchItem], layout: Layout, slot: Slot, pool: PinnedPool) -> None:
        n = len(tasks)
        self.tasks = tasks
        self.layout = layout
        self.slot = slot
        self.states = pool.take(8 * n * len(STATE)).view(np.int64)
        self.centers = pool.take(16 * n * ROW).view(np.int32)
        self.clusters = pool.take(32 * n * ROW).view(np.int64)
        self.output = pool.take(layout.n_output)
        self.given = pool.take(16 * n * ROW).view(np.int32)
        self.images = [np.ascontiguousarray(task.image).reshape(-1) for task in tasks]


@functools.lru_cache(maxsize=4096)
def bytes_beside_tables(request: Request) -> int:
    """Device memory of a batch of one without its tables; several together take about the sum."""
    return Layout.of([request]).n_bytes - TABLE_BYTES


def request_of(task: BatchItem) -> Request:
    """Return the size of an item's image, and what is wanted of it."""
    height, width = task.image.shape[:2]
    if task.palette is None:
        return Request(height, width, task.options, task.masks)
    return Request(height, width, options_of(task.palette), task.masks, given=True)


def options_of(palette: Palette) -> FitOptions:
    """Options of a fit in place of which there is a palette: they say how many clusters it has."""
    return FitOptions(k=len(palette.fixed_centers), attempts=1, color_space=palette.color_space)


def rows_of(palette: Palette) -> NDArray[np.int32]:
    """(4 * ROW,) a palette's centres as the kernels take them."""
    rows = np.zeros((ROW, 4), np.int32)
    rows[: len(palette.fixed_centers), :3] = palette.fixed_centers
    return rows.reshape(-1)


def colors_of(xyz: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(n, 3) uint8 colours of packed positions."""
    return np.stack([(xyz >> (shift + 6)).astype(np.uint8) for shift in (32, 16, 0)], axis=-1)


def label_map_of(output: NDArray[np.uint8], request: Request, k: int) -> LabelMap:
    """The rows and masks of an image with k clusters, which may be fewer than were asked for."""
    height, width = request.height, request.width
    bits = index_bits(k)
    rows = output[: height * row_bytes(width, bits)].reshape(height, -1)
    masks = None
    if request.sends_masks:
        n_bytes = k * height * row_bytes(width, 1)
        masks = output[request.index_bytes :][:n_bytes].reshape(k, height, -1)
    return LabelMap(rows, width, bits, masks)


def palette_of(
    backend: str,
    state: NDArray[np.int64],
    centers: NDArray[np.int32],
    clusters: NDArray[np.int64],
    color_space: ColorSpace,
    given: Palette | None,
) -> Palette:
    """Return the palette of one image of a batch.

    Args:
        backend: The name of the backend.
        state: The image's record of kernels/batch.cuh.
        centers: (4 * ROW,) the centres as the kernels leave them.
        clusters: (4 * ROW,) the channel sums and the pixels of each cluster.
        color_space: The colour space of a fitted palette.
        given: The palette that was given in place of a fit, if any.
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
    )
