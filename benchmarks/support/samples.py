"""Photos to compare results on: the photos given, the packaged photos, and halves of both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.photos import SOURCES, packaged_photos, read_photo
from kseg_batch.optional import import_cv2

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

MAX_PIXELS = 250_000
"""Pixels to which larger photos are scaled down, to limit the time."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A photo, or a half of a photo."""

    name: str
    """Name of the file, and of the half."""
    rgb: NDArray[np.uint8]
    """(H, W, 3) uint8."""


def samples(paths: Sequence[Path], least: int) -> list[Sample]:
    """Return the photos given and the packaged photos; below `least` of them, also halves of the largest.

    Photos are halved before they are scaled down to `MAX_PIXELS`.

    Raises:
        PhotosMissingError: A package that carries photos is not installed.
        ImageError: A file cannot be read.
    """
    packaged = [path for package in SOURCES for path in packaged_photos(package)]
    found = [Sample(path.name, read_photo(path)) for path in (*paths, *packaged)]
    whole = sorted(found, key=lambda sample: -sample.rgb.size)
    for sample in whole:  # the list grows meanwhile
        if len(found) >= least:
            break
        halves = _halves(sample)
        found += halves
        whole += halves
    return [Sample(sample.name, shrink(sample.rgb, MAX_PIXELS)) for sample in found]


def shrink(rgb: NDArray[np.uint8], most: int) -> NDArray[np.uint8]:
    """Scale an (H, W, 3) uint8 photo down to at most so many pixels, by averaging areas."""
    height, width = rgb.shape[:2]
    if height * width <= most:
        return rgb
    scale = math.sqrt(most / (height * width))
    size = (max(1, int(width * scale)), max(1, int(height * scale)))
    return np.asarray(import_cv2().resize(rgb, size, interpolation=import_cv2().INTER_AREA), np.uint8)


def _halves(sample: Sample) -> list[Sample]:
    """Return the two halves across the longer side."""
    height, width = sample.rgb.shape[:2]
    axis, names = (1, ("left", "right")) if width >= height else (0, ("top", "bottom"))
    parts = np.array_split(sample.rgb, 2, axis=axis)
    return [
        Sample(f"{sample.name} {name}", np.ascontiguousarray(part))
        for name, part in zip(names, parts, strict=True)
    ]
