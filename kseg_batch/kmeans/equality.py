"""Equality of clusterings: how a result differs from the expected one, such as the reference's."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Self

import numpy as np

from kseg_batch.kmeans import reference
from kseg_batch.kmeans.fixed_point import SCALE
from kseg_batch.kmeans.histogram import ColorHistogram

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kseg_batch.kmeans.options import FitOptions
    from kseg_batch.kmeans.palette import Palette


@dataclass(frozen=True, slots=True, eq=False)
class ClusteringDigest:
    """A clustering of an image with a digest in place of the labels, small enough to store or send."""

    centers: NDArray[np.float64]
    """(k, 3) centres, in grey levels."""
    labels: bytes
    """16-byte digest of the (H, W) labels."""
    n_pixels: int
    """Number of pixels of the image."""
    compactness: float | None = None
    """Sum of squared distances of the pixels to their centres; None where unknown."""
    counts: NDArray[np.int64] | None = None
    """(k,) pixels of each cluster; None where unknown."""
    n_iter: int | None = None
    """Iterations of Lloyd's algorithm; None where unknown."""

    @classmethod
    def of(cls, labels: NDArray[np.uint8], palette: Palette) -> Self:
        """Return the digest of (H, W) labels and their palette, with the centres in its colour space."""
        return cls(
            centers=palette.fixed_centers / SCALE,
            labels=digest_labels(labels),
            n_pixels=labels.size,
            compactness=palette.compactness,
            counts=palette.counts,
            n_iter=palette.n_iter,
        )

    @classmethod
    def of_reference(cls, image: NDArray[np.uint8], options: FitOptions) -> Self:
        """Return the digest of the NumPy reference's clustering of an (H, W, 3) uint8 image.

        The image is already in the colour space of the options.
        """
        palette = reference.fit(ColorHistogram.from_pixels(image), options)
        return cls.of(reference.assign(image, palette), palette)

    def differences(self, expected: ClusteringDigest, *, steps: int = 0) -> list[str]:
        """Return the names of the parts that differ. Parts that are None on either side are not compared.

        Args:
            expected: The clustering to compare with.
            steps: Tolerance for each coordinate of a centre, in steps of Q8.6. A centre that is off by d adds
                d * d for each of its pixels to the compactness, which gets this tolerance, too.
        """
        slack = 3 * (steps / SCALE) ** 2 * self.n_pixels
        equal = {
            "centres": self.centers.shape == expected.centers.shape
            and bool((np.abs(self.centers - expected.centers) <= steps / SCALE).all()),
            "labels": self.labels == expected.labels,
            "counts": self.counts is None
            or expected.counts is None
            or np.array_equal(self.counts, expected.counts),
            "compactness": self.compactness is None
            or expected.compactness is None
            or abs(self.compactness - expected.compactness) <= slack,
            "iterations": None in (self.n_iter, expected.n_iter) or self.n_iter == expected.n_iter,
        }
        return [name for name, is_equal in equal.items() if not is_equal]


def digest_labels(labels: NDArray[np.integer]) -> bytes:
    """Return a 16-byte digest of (H, W) labels below 256, the same for every memory layout and dtype."""
    shape = np.array(labels.shape, np.int64).tobytes()
    return blake2b(shape + np.ascontiguousarray(labels, dtype=np.uint8).tobytes(), digest_size=16).digest()
