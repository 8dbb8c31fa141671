"""The photos that are measured on: read from a folder or generated, scaled, and kept in files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.batch.storage.scan import Scan
from kseg_batch.bench.exact_cost import DistinctColors
from kseg_batch.bench.options import ASPECT
from kseg_batch.bench.synthetic import cover, photograph
from kseg_batch.errors import ImageError, SourceError
from kseg_batch.images.decode import decode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from kseg_batch.bench.options import BenchOptions, Size


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A photo at the size at which it is measured."""

    name: str
    """Of its file, or how it was generated."""
    rgb: NDArray[np.uint8]
    """(H, W, 3) uint8."""
    colors: DistinctColors
    """Its colours."""
    file: str
    """Where `rgb` is kept for the contenders' processes."""

    @property
    def pixels(self) -> int:
        """How many there are."""
        return self.rgb.size // 3

    @property
    def shape(self) -> str:
        """Such as 1920x1080."""
        return f"{self.rgb.shape[1]}x{self.rgb.shape[0]}"


class Album:
    """The photos, in a folder of files from which every size is made."""

    def __init__(self, options: BenchOptions, folder: Path) -> None:
        """Find and decode the photos, unless they are to be generated.

        Args:
            options: Where they are, and how many at most.
            folder: An empty one, for the pixels.

        Raises:
            SourceError: There is no such folder, or no photo in it that can be read.
        """
        self._options = options
        self._folder = folder
        self.unreadable: list[str] = []
        self._originals = [] if options.folder is None else list(self._read(options.folder))

    def _read(self, source: Path) -> Iterator[tuple[str, Path]]:
        """The names of the first photos that can be read, and the files of their pixels."""
        if not source.is_dir():
            raise SourceError(f"{source}: there is no such folder.")
        n = 0
        for job in Scan([source], full_names=True).jobs():
            try:
                rgb = decode(job.source.read_bytes(), alpha="ignore").rgb
            except (ImageError, OSError) as error:
                self.unreadable.append(f"{job.name} was passed over: {error}")
                continue
            yield job.name, self._keep(f"original-{n}", rgb)
            n += 1
            if n == self._options.images:
                return
        if n == 0:
            raise SourceError(f"{source}: none of the images in it can be read: {self.unreadable[0]}.")

    def at(self, size: Size | None) -> tuple[Photo, ...]:
        """The photos at a size; None for that which they have."""
        photos = []
        for number, (name, rgb) in enumerate(self._scaled(size)):
            file = self._keep(f"photo-{number}", rgb)
            photos.append(Photo(name, rgb, DistinctColors.of(rgb), str(file)))
        return tuple(photos)

    def _scaled(self, size: Size | None) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        if size is not None and self._options.folder is None:
            for seed in range(self._options.images):
                yield f"generated, seed {seed}", photograph(*size.of(ASPECT), seed)
        for name, file in self._originals:
            rgb = np.load(file)
            yield name, rgb if size is None else cover(rgb, *size.of(rgb.shape[1] / rgb.shape[0]))

    def _keep(self, name: str, rgb: NDArray[np.uint8]) -> Path:
        path = self._folder / f"{name}.npy"
        np.save(path, rgb)
        return path
