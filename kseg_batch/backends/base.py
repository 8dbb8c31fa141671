"""What a backend is."""

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
    """What is known of a backend before its device is opened."""

    @property
    def name(self) -> str:
        """As the command line spells it."""

    @property
    def compiled(self) -> bool:
        """Whether its kernels are known to be compiled, so that warming up takes but a moment."""

    def check(self, options: FitOptions) -> None:
        """Raise an OptionError for options that this backend does not have."""


class Backend(BackendInfo, Protocol):
    """Three steps that carry every use. Methods may be called from several threads."""

    def warm_up(self) -> None:
        """Do what the first image would have to wait for, such as compiling kernels."""

    def histogram(self, image: NDArray[np.uint8]) -> ColorHistogram:
        """Count the colours of an (H, W, 3) uint8 RGB image of at least one pixel, in any memory layout."""

    def fit(self, histogram: ColorHistogram, options: FitOptions) -> Palette:
        """Cluster the pixels of a histogram into `options.k` clusters, or one per colour if those are fewer.

        Raises:
            BackendError: It failed.
        """

    def measure(self, histogram: ColorHistogram, palette: Palette) -> Palette:
        """The same centres, in their order, with their counts and compactness over a histogram's pixels.

        `n_iter` is 0, for nothing is fitted.
        """

    def assign(
        self, image: NDArray[np.uint8], palette: Palette, histogram: ColorHistogram | None = None
    ) -> NDArray[np.uint8]:
        """The (H, W) uint8 number of the nearest centre for each pixel, the lowest on a tie.

        Where the image's own histogram is at hand, it saves time on the CPU.
        """

    def label_map(
        self, image: NDArray[np.uint8], palette: Palette, histogram: ColorHistogram, *, masks: bool
    ) -> LabelMap:
        """As `assign`, packed for files; with `masks` where those are going to be written, too."""
