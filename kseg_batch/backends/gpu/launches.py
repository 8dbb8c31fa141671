"""The kernel launches of a batch: their order, arguments and grids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kseg_batch.backends.gpu.device import Variant
from kseg_batch.backends.gpu.layout import IMAGE, MAX_SEEDS, N_CELLS, PIXEL_ALIGNMENT, ROW, RUN, STATE
from kseg_batch.kmeans import reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from kseg_batch.backends.gpu.device import Array, Device, Stream
    from kseg_batch.backends.gpu.layout import Layout, Request

NARROW_CLUSTERS = 32
"""Greatest k of the kernels that are compiled for few clusters, and take less shared memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Launches:
    """The steps of a batch on a stream. Each method queues a step, and does not wait until it is done."""

    device: Device
    stream: Stream
    arrays: dict[str, Array]
    """Device arrays of `Layout.arrays` that the steps need, by name."""
    layout: Layout
    """Places of the images in these arrays."""

    def upload(self, images: Sequence[NDArray[np.uint8]]) -> None:
        """Copy the records and the flat images. The caller keeps the images until the copies are done."""
        self.device.upload(self.layout.images.reshape(-1), self.arrays["images"], self.stream)
        starts = 3 * self.layout.images[:, IMAGE.index("pixels")]
        for image, start in zip(images, starts.tolist(), strict=True):
            self.device.upload(image, self.arrays["pixels"][start : start + len(image)], self.stream)

    def histogram(self) -> None:
        """Compute the distinct colours and their counts from the pixels."""
        for first in range(0, len(self.layout.requests), self.layout.tables):
            self._histogram_of_group(first, self.layout.requests[first : first + self.layout.tables])

    def _histogram_of_group(self, first: int, requests: Sequence[Request]) -> None:
        """Compute the histograms of images from number `first` on, at most one for each table."""
        a, n, plain = self.arrays, len(requests), Variant()
        images = a["images"][first * len(IMAGE) : (first + n) * len(IMAGE)]
        states = a["states"][first * len(STATE) : (first + n) * len(STATE)]
        most = max(request.n_pixels for request in requests)
        self.count(images, (self._blocks(-(-most // PIXEL_ALIGNMENT), n), n))
        self._launch("number_cells", plain, (1, n), images, states, a["in_cell"], a["starts"])
        drained = (images, a["table"], a["in_cell"], a["starts"], a["xyz"], a["weights"])
        self._launch("drain_table", plain, (self._blocks(N_CELLS, n), n), *drained)

    def count(self, images: Array, grid: tuple[int, int]) -> None:
        """Count the colours of images: fill `table` and `in_cell` from the pixels."""
        a = self.arrays
        self._launch("count_pixels", Variant(), grid, images, a["pixels"], a["table"], a["in_cell"])

    def fit(self, *, given: bool = False, wide: bool = False) -> None:
        """Compute the sorted centres, unless centres are given, and the sums of their clusters.

        Args:
            given: Whether `centers` holds the centres of palettes, which are only measured.
            wide: Whether pixel counts have 64 bits instead of 32.
        """
        a, n = self.arrays, len(self.layout.requests)
        most = max(request.options.k for request in self.layout.requests)
        variant = Variant(NARROW_CLUSTERS if most <= NARROW_CLUSTERS else ROW, wide)
        both = (a["images"], a["states"])
        colors = (a["xyz"], a["weights"], a["low"], a["high"], a["sums"])
        runs = (a["squares"], a["begun"])
        most_colors = max(request.n_colors for request in self.layout.requests)
        by_run = (self._blocks(-(-most_colors // RUN), n), n)
        self._launch("bound_colors", variant, by_run, *both, *colors, *runs, a["cube_sums"])
        self._launch("number_cubes", variant, (1, n), *both, *runs, a["firsts"])
        if not given:
            self._seed(variant, by_run)
        self._launch("converge_centers", variant, (1, n), *both, *colors, a["centers"], a["clusters"])

    def _seed(self, variant: Variant, by_run: tuple[int, int]) -> None:
        """Compute the centres from which the iterations over all colours start."""
        a, n = self.arrays, len(self.layout.requests)
        both = (a["images"], a["states"])
        seeds = (a["seed_xyz"], a["seed_weights"], a["seed_low"], a["seed_high"], a["seed_sums"])
        self._launch("sum_cubes", variant, by_run, *both, a["xyz"], a["weights"], a["firsts"], a["cube_sums"])
        by_seed_run = (self._blocks(MAX_SEEDS // RUN, n), n)
        self._launch("average_cubes", variant, by_seed_run, *both, a["cube_sums"], *seeds)

        starts = self.layout.starts
        found = (a["costs"], a["attempts"], a["found"])
        self._launch("start_centers", variant, (starts, n), *both, *seeds, a["distances"], *found)
        search = (
            starts,
            reference.SWAP_STREAM,
            reference.SWAP_ROUNDS,
            reference.SWAP_PATIENCE,
            a["distances"],
        )
        self._launch("improve_centers", variant, (1, n), *both, *seeds, *search, *found, a["centers"])

    def labels(self) -> None:
        """Compute the packed rows of labels and masks from the pixels and the centres."""
        a, n = self.arrays, len(self.layout.requests)
        most = max(request.height * -(-request.width // 8) for request in self.layout.requests)
        args = (a["images"], a["states"], a["pixels"], a["centers"], a["output"])
        self._launch("label_pixels", Variant(), (self._blocks(most, n), n), *args)

    def _launch(self, kernel: str, variant: Variant, grid: tuple[int, int], *args: Array | int) -> None:
        self.device.launch(kernel, variant, grid, args, self.stream)

    def _blocks(self, work: int, n_images: int) -> int:
        """Return the blocks for an image: a thread for each piece of work, within the limits."""
        most = max(1, min(self.device.max_blocks, self.layout.tuning.blocks // n_images))
        return max(1, min(most, -(-work // self.device.threads)))
