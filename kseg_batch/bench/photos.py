"""The photos to measure on: read from a folder or generated, scaled, and kept in files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.batch.storage.scan import Scan
from kseg_batch.bench.exact_cost import DistinctColors
from kseg_batch.bench.options import ASPECT
from kseg_batch.bench.synthetic import cover, photograph
from kseg_batch.console import printable
from kseg_batch.errors import ImageError, SourceError
from kseg_batch.images.decode import decode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from kseg_batch.bench.options import BenchOptions, Size


@dataclass(frozen=True, slots=True, eq=False)
class BenchPhoto:
    """A photo at the size at which implementations cluster it."""

    name: str
    """Name of the photo's file, or the seed of a generated photo."""
    rgb: NDArray[np.uint8]
    """(H, W, 3) uint8 RGB pixels."""
    colors: DistinctColors
    """The distinct colours of `rgb`, counted."""
    file: str
    """NumPy file of `rgb`, which the runners' processes read."""

    @property
    def n_pixels(self) -> int:
        """Number of pixels."""
        return self.rgb.size // 3

    @property
    def shape(self) -> str:
        """Width and height, such as 1920x1080."""
        return f"{self.rgb.shape[1]}x{self.rgb.shape[0]}"


class PhotoSet:
    """The photos of a benchmark, decoded once and kept in files, from which each size is made."""

    def __init__(self, options: BenchOptions, folder: Path) -> None:
        """Find and decode the photos of `options.folder`, if there is one.

        Args:
            options: The options of the benchmark.
            folder: An empty folder for the NumPy files.

        Raises:
            SourceError: `options.folder` does not exist, or has no photo that can be read.
        """
        self._options = options
        self._folder = folder
        self.unreadable: list[str] = []
        self._originals = [] if options.folder is None else list(self._read(options.folder))

    def _read(self, source: Path) -> Iterator[tuple[str, Path]]:
        """Yield the names of the first readable photos in a folder, each with the file of its pixels."""
        if not source.is_dir():
            raise SourceError(f"{source}: there is no such folder.")
        n = 0
        for job in Scan([source], full_names=True).jobs():
            try:
                rgb = decode(job.source.read_bytes(), alpha="ignore").rgb
            except (ImageError, OSError) as error:
                self.unreadable.append(printable(f"{job.name} was passed over: {error}"))
                continue
            yield printable(job.name), self._save(f"original-{n}", rgb)
            n += 1
            if n == self._options.images:
                return
        if n == 0:
            raise SourceError(f"{source}: none of the images in it can be read: {self.unreadable[0]}.")

    def load(self, size: Size | None) -> tuple[BenchPhoto, ...]:
        """Return the photos scaled to a size; None for the size that each photo has."""
        photos = []
        for number, (name, rgb) in enumerate(self._scaled(size)):
            file = self._save(f"photo-{number}", rgb)
            photos.append(BenchPhoto(name, rgb, DistinctColors.of(rgb), str(file)))
        return tuple(photos)

    def _scaled(self, size: Size | None) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """Yield the name and the (H, W, 3) uint8 pixels of each photo at a size."""
        if size is not None and self._options.folder is None:
            for seed in range(self._options.images):
                yield f"generated, seed {seed}", photograph(*size.dimensions(ASPECT), seed)
        for name, file in self._originals:
            rgb = np.load(file)
            yield name, rgb if size is None else cover(rgb, *size.dimensions(rgb.shape[1] / rgb.shape[0]))

    def _save(self, name: str, rgb: NDArray[np.uint8]) -> Path:
        path = self._folder / f"{name}.npy"
        np.save(path, rgb)
        return path
