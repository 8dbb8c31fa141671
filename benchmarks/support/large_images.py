"""Images of any number of megapixels, made of one photo or of noise, W : H near 16 : 9."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.photos import photo_1080p, read_photo
from kseg_batch.bench.synthetic import cover
from kseg_batch.optional import import_cv2

if TYPE_CHECKING:
    from numpy.typing import NDArray

DRIFT = (0, 2, -1, 1, -2, 3, -3)
"""Grey levels added to the channels of one tile after the other."""


def load_photo(photo: str | None) -> NDArray[np.uint8]:
    """Return the (H, W, 3) uint8 RGB pixels of a photo's file, or for None of the packaged photo.

    Raises:
        ImageError: The file is not an image.
        PhotosMissingError: The package with the photo is not installed.
    """
    return photo_1080p() if photo is None else read_photo(Path(photo))


def enlarged(photo: NDArray[np.uint8], megapixels: float) -> NDArray[np.uint8]:
    """Return the (H, W, 3) uint8 photo scaled to a number of megapixels, and so blurred."""
    width, height = _sides(megapixels)
    return cover(photo, width, height)


def noise(megapixels: float) -> NDArray[np.uint8]:
    """Return an (H, W, 3) uint8 image of uniform, independent channels."""
    width, height = _sides(megapixels)
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def tiled(photo: NDArray[np.uint8], megapixels: float) -> NDArray[np.uint8]:
    """Return the (H, W, 3) uint8 photo scaled down, or tiled with mirrored, brighter and darker copies.

    An enlarged photo is blurred: neighbouring pixels are alike, and new colours appear between the colours of
    the photo. Tiles are as sharp as the photo.
    """
    width, height = _sides(megapixels)
    if height <= photo.shape[0] and width <= photo.shape[1]:
        return cover(photo, width, height)
    cv2 = import_cv2()
    image = np.empty((height, width, 3), np.uint8)
    columns = -(-width // photo.shape[1])
    for row, top in enumerate(range(0, height, photo.shape[0])):
        for column, left in enumerate(range(0, width, photo.shape[1])):
            tile = photo[:: -1 if row % 2 else 1, :: -1 if column % 2 else 1]
            target = image[top : top + photo.shape[0], left : left + photo.shape[1]]
            part = np.ascontiguousarray(tile[: target.shape[0], : target.shape[1]])
            drift = DRIFT[(row * columns + column) % len(DRIFT)]
            target[:] = cv2.add(part, (drift, drift, drift, 0))
    return image


def _sides(megapixels: float) -> tuple[int, int]:
    """Return width and height, in pixels."""
    height = max(1, round(math.sqrt(megapixels * 1e6 * 9 / 16)))
    return max(1, round(megapixels * 1e6 / height)), height
