"""A photo and its label maps, scaled to the size at which a figure shows them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kseg_batch.images.decode import Photo
    from kseg_batch.kmeans.palette import Palette

CHECKERBOARD_SQUARES = 24
"""Squares along the longer side of an image; the checkerboard stands for transparency."""

LIGHT_SQUARE, DARK_SQUARE = np.uint8(255), np.uint8(205)
"""Grey levels of the checkerboard."""


@dataclass(frozen=True, slots=True, eq=False)
class ScaledPhoto:
    """A photo of h x w pixels in the figure, of H x W in the file."""

    rgb: NDArray[np.uint8]
    """(h, w, 3) uint8, with a checkerboard where the photo is transparent."""
    opaque: NDArray[np.bool_] | None
    """(h, w) bool, False where a pixel is transparent; None if no pixel is."""

    @classmethod
    def scale_down(cls, photo: Photo, width: int, height: int) -> ScaledPhoto:
        """Scale a photo to at most `width` x `height` pixels. A smaller photo keeps its size."""
        rgb, opaque = photo.rgb, photo.opaque
        if opaque is not None:  # hidden colours must not bleed into visible ones
            rgb = np.where(opaque[..., None], rgb, np.uint8(255))
        size = min(width, rgb.shape[1]), min(height, rgb.shape[0])
        if size != rgb.shape[1::-1]:
            from PIL import Image

            picture = Image.fromarray(np.ascontiguousarray(rgb))
            rgb = np.asarray(picture.resize(size, Image.Resampling.BOX))  # the mean of the pixels below
        if opaque is None:
            return cls(rgb, None)
        scaled = cls(rgb, _resize_nearest(opaque.view(np.uint8), size).astype(bool))
        return replace(scaled, rgb=scaled.on_checkerboard(rgb))

    def scale_labels(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the (h, w) uint8 labels of the nearest pixels of an (H, W) label map."""
        return _resize_nearest(labels, (self.rgb.shape[1], self.rgb.shape[0]))

    def segmented(self, labels: NDArray[np.uint8], palette: Palette) -> NDArray[np.uint8]:
        """Return (h, w, 3) uint8: each pixel in the colour of its centre, by its (H, W) label."""
        return self.on_checkerboard(palette.colors[self.scale_labels(labels)])

    def single_cluster(self, labels: NDArray[np.uint8], cluster: int) -> NDArray[np.uint8]:
        """Return (h, w, 3) uint8: the pixels of one cluster, the others black, by their (H, W) labels."""
        member = self.scale_labels(labels) == cluster
        return self.on_checkerboard(np.where(member[..., None], self.rgb, np.uint8(0)))

    def on_checkerboard(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the (h, w, 3) image with a checkerboard where the photo is transparent."""
        if self.opaque is None:
            return rgb
        side = max(1, max(self.opaque.shape) // CHECKERBOARD_SQUARES)
        y, x = (np.arange(n) // side for n in self.opaque.shape)
        checkerboard = np.where((y[:, None] + x) % 2, DARK_SQUARE, LIGHT_SQUARE)
        return np.where(self.opaque[..., None], rgb, checkerboard[..., None])


def _resize_nearest(values: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return (H, W) values at another width and height, by the nearest pixels."""
    if size == values.shape[::-1]:
        return values
    columns, rows = (
        (2 * np.arange(n) + 1) * old // (2 * n) for n, old in zip(size, values.shape[::-1], strict=True)
    )
    nearest: NDArray[np.uint8] = values[rows[:, None], columns]
    return nearest
