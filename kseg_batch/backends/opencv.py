"""The `opencv` backend: cv2.kmeans as OpenCV's tutorial calls it, on float32 rows.

cv2.kmeans has its own arithmetic and is far slower than the other backends. So this backend is the last
resort, and the baseline of comparisons. The centres are rounded to Q8.6; labels, counts and compactness are
exact for the rounded centres.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.errors import BackendError, OptionError
from kseg_batch.images.label_map import LabelMap
from kseg_batch.kmeans import reference
from kseg_batch.kmeans.fixed_point import SCALE
from kseg_batch.kmeans.histogram import ColorHistogram
from kseg_batch.kmeans.palette import Palette
from kseg_batch.optional import import_cv2

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kseg_batch.kmeans.options import FitOptions

MAX_ITER = range(2, 101)
"""Numbers of iterations that cv2.kmeans accepts; cv2.kmeans clamps other numbers to this range."""

MAX_SEED = (1 << 31) - 1
"""The greatest seed that cv2.setRNGSeed accepts. Each thread has its own generator."""


class OpenCVBackend:
    """k-means by cv2.kmeans, on one float32 row per pixel: 12 bytes a pixel, and slow."""

    name = "opencv"
    compiled = True

    def __init__(self) -> None:
        self._cv2 = import_cv2()

    def check(self, options: FitOptions) -> None:
        """See `Backend.check`."""
        if options.max_iter not in MAX_ITER:
            raise OptionError(
                f"max_iter must be from 2 to 100 with the backend opencv, not {options.max_iter}.", "max_iter"
            )
        if options.seed > MAX_SEED:
            raise OptionError(
                f"seed must be from 0 to {MAX_SEED} with the backend opencv, not {options.seed}.", "seed"
            )

    def warm_up(self) -> None:
        """See `Backend.warm_up`: OpenCV needs no preparation."""

    def histogram(self, image: NDArray[np.uint8]) -> ColorHistogram:
        """See `Backend.histogram`."""
        return ColorHistogram.from_pixels(image)

    def fit(self, histogram: ColorHistogram, options: FitOptions) -> Palette:
        """See `Backend.fit`."""
        cv2 = self._cv2
        k = min(options.k, histogram.n_colors)
        rows = np.repeat(histogram.colors.astype(np.float32), histogram.counts, axis=0)
        if len(rows) == 1:  # cv2.kmeans would take one row for three samples of one dimension
            rows = np.repeat(rows, 2, axis=0)
        criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, options.max_iter, options.eps)
        flags = cv2.KMEANS_PP_CENTERS if options.init == "k-means++" else cv2.KMEANS_RANDOM_CENTERS
        cv2.setRNGSeed(options.seed)
        try:
            _, _, centers = cv2.kmeans(rows, k, None, criteria, options.attempts, flags)
        except cv2.error as error:
            raise BackendError(f"cv2.kmeans failed: {error.err}") from error
        fixed = np.clip(np.rint(SCALE * centers.astype(np.float64)), 0, SCALE * 255).astype(np.int64)
        centers = reference.dark_to_light(fixed, options.color_space)
        return reference.measure(histogram, centers, None, self.name, options.color_space)

    def measure(self, histogram: ColorHistogram, palette: Palette) -> Palette:
        """See `Backend.measure`."""
        return reference.measure_palette(histogram, palette, self.name)

    def assign(
        self, image: NDArray[np.uint8], palette: Palette, histogram: ColorHistogram | None = None
    ) -> NDArray[np.uint8]:
        """See `Backend.assign`."""
        return reference.assign(image, palette)

    def label_map(
        self, image: NDArray[np.uint8], palette: Palette, histogram: ColorHistogram, *, masks: bool
    ) -> LabelMap:
        """See `Backend.label_map`."""
        return LabelMap.pack(self.assign(image, palette), len(palette.counts))


def load() -> OpenCVBackend:
    """Return the backend, ready to use.

    Raises:
        BackendUnavailableError: OpenCV cannot be imported.
    """
    return OpenCVBackend()
