"""Batches of different photos: real photos, cut, mirrored and scaled to the measured sizes."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.photos import SOURCES, PhotosMissingError, packaged_photos, read_photo
from kseg_batch.bench.synthetic import cover
from kseg_batch.errors import ImageError
from kseg_batch.images.extensions import EXTENSIONS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from kseg_batch.backends.gpu.backend import GpuBackend

Size = tuple[int, int]
"""Width and height, in pixels."""

MOST_PHOTOS = 64
"""Most photos read from a folder: a batch has no more."""
CUT = 0.12
"""Share of a photo's sides by which each further cut is smaller."""


def read_photos(folder: Path | None) -> list[NDArray[np.uint8]]:
    """Return the (H, W, 3) uint8 RGB photos of a folder, if any, then those of the installed packages.

    Raises:
        PhotosMissingError: There is no photo.
    """
    paths: list[Path] = []
    if folder is not None:
        paths += [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in EXTENSIONS]
    paths = paths[:MOST_PHOTOS]
    missing = None
    for package in reversed(
        SOURCES
    ):  # scikit-learn first: figures of the documentation are of one of its photos
        try:
            paths += packaged_photos(package)
        except PhotosMissingError as error:
            missing = error
    photos = []
    for path in paths:
        try:
            photos.append(read_photo(path))
        except (ImageError, OSError):
            continue  # a folder may hold anything
    if not photos:
        raise missing or PhotosMissingError(f"{folder} holds no photo that can be read")
    return photos


def make_cut(photo: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """Return the photo for 0, its mirror image for 1, then smaller and smaller cuts from changing corners."""
    part = photo
    if cut := number // 2:
        height, width = (max(8, round(side * (1 - CUT * min(cut, 5)))) for side in photo.shape[:2])
        top = 0 if cut % 2 else max(0, photo.shape[0] - height)
        left = 0 if cut // 2 % 2 else max(0, photo.shape[1] - width)
        part = photo[top : top + height, left : left + width]
    return np.ascontiguousarray(part[:, ::-1] if number % 2 else part)


@dataclass(slots=True, eq=False)
class PhotoBatches:
    """The images of every batch, made on first use, in page-locked memory."""

    photos: list[NDArray[np.uint8]]
    _images: dict[Size, list[NDArray[np.uint8]]] = field(default_factory=dict)

    def batch(self, size: Size, n: int, gpu: GpuBackend | None = None) -> list[NDArray[np.uint8]]:
        """Return `n` different (H, W, 3) uint8 images. Larger batches begin with the smaller ones."""
        images = self._images.setdefault(size, [])
        missing = range(len(images), n)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            made = list(pool.map(lambda number: self._make(size, number), missing))
        images += [image if gpu is None else gpu.stage(image) for image in made]
        return images[:n]

    def ragged(self, n: int, sizes: list[Size], gpu: GpuBackend) -> list[NDArray[np.uint8]]:
        """Return `n` images, each of the next size of a list, which is repeated."""
        return [gpu.stage(self._make(sizes[i % len(sizes)], i)) for i in range(n)]

    def _make(self, size: Size, number: int) -> NDArray[np.uint8]:
        photo = self.photos[number % len(self.photos)]
        return cover(make_cut(photo, number // len(self.photos)), *size)
