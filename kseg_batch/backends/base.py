"""The interface that every backend implements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from kseg_batch.images.label_map import LabelMap
    from kseg_batch.kmeans.histogram import ColorHistogram
    from kseg_batch.kmeans.options import FitOptions
    from kseg_batch.kmeans.palette import Palette


class BackendInfo(Protocol):
    """The part of a backend that can be asked before its device is opened."""

    @property
    def name(self) -> str:
        """Name of the backend on the command line."""

    @property
    def compiled(self) -> bool:
        """Whether the kernels are known to be compiled already, so that `warm_up` is quick."""

    def check(self, options: FitOptions) -> None:
        """Raise an OptionError if this backend does not support the options."""


class Backend(BackendInfo, Protocol):
    """The steps of a segmentation: `histogram`, `fit`, then `assign` or `label_map`.

    Methods may be called from several threads.
    """

    def warm_up(self) -> None:
        """Prepare everything that would delay the first image, such as compiled kernels."""

    def histogram(self, image: NDArray[np.uint8]) -> ColorHistogram:
        """Count the colours of an (H, W, 3) uint8 RGB image of at least one pixel, in any memory layout."""

    def fit(self, histogram: ColorHistogram, options: FitOptions) -> Palette:
        """Cluster the pixels of a histogram into `options.k` clusters, or one per colour if there are fewer.

        The palette has no mean colours, which `mean_colors.py` adds.

        Raises:
            BackendError: The computation failed.
        """

    def measure(self, histogram: ColorHistogram, palette: Palette) -> Palette:
        """Return the palette with counts and compactness over the pixels of a histogram.

        The centres, their order, names and mean colours stay the same. `n_iter` is 0, because nothing is
        fitted.
        """

    def assign(
        self, image: NDArray[np.uint8], palette: Palette, histogram: ColorHistogram | None = None
    ) -> NDArray[np.uint8]:
        """Return the (H, W) uint8 number of the centre nearest to each pixel, the lowest number on a tie.

        Args:
            image: (H, W, 3) uint8 RGB.
            palette: The centres.
            histogram: The histogram of the same image, if known; on the CPU, it saves time.
        """

    def label_map(
        self, image: NDArray[np.uint8], palette: Palette, histogram: ColorHistogram, *, masks: bool
    ) -> LabelMap:
        """Return the same labels as `assign`, packed for PNG files.

        Args:
            image: (H, W, 3) uint8 RGB.
            palette: The centres.
            histogram: The histogram of the same image.
            masks: Whether a mask of each cluster will be written, so that the backend may pack masks, too.
        """
