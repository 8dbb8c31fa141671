"""One image: read, segment, write, report. A failure is an outcome, not an exception."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kseg_batch import images
from kseg_batch.errors import BackendError, ImageError, OutputError
from kseg_batch.scan import count
from kseg_batch.segmentation import Segmentation, segment_with

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from kseg_batch.backends.base import Backend
    from kseg_batch.options import FitOptions
    from kseg_batch.scan import Job

Save = Literal["segmented", "masks", "labels", "masked"]
"""A kind of output, and the name of its folder."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to do with every image."""

    out: Path
    """The output folder."""
    fit: FitOptions
    """How to cluster."""
    save: frozenset[Save]
    """The kinds of output to write."""
    disable: tuple[int, ...] = ()
    """Clusters that are black in the `masked` output."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one image."""

    source: Path
    """The file."""
    seconds: float
    """Time from opening it to the last output, in seconds."""
    error: str | None = None
    """Why it failed; None if it is done."""
    segmentation: Segmentation | None = None
    """The result; None if it failed."""
    outputs: tuple[Path, ...] = ()
    """The files written, all complete."""
    notes: tuple[str, ...] = ()
    """What a user might not expect of the result."""

    @property
    def status(self) -> Literal["done", "failed"]:
        """Whether all its outputs are written."""
        return "done" if self.error is None else "failed"


def process(job: Job, settings: Settings, backend: Backend) -> Outcome:
    """Segment one image file and write its outputs."""
    start = time.perf_counter()
    written: list[Path] = []
    try:
        photo = images.decode(_read(job.source))
        result = segment_with(backend, photo.rgb, settings.fit)
        for path, data in _outputs(job.stem, settings, photo.rgb, result):
            _write(path, data)
            written.append(path)
    except (BackendError, ImageError, OutputError, MemoryError) as error:
        for path in written:
            path.unlink(missing_ok=True)
        reason = str(error) or "there is not enough memory for it"
        return Outcome(job.source, time.perf_counter() - start, error=reason)
    notes = photo.notes
    if len(result.counts) < settings.fit.k:
        notes += (f"it has {count(len(result.counts), 'colour')}, so as many clusters",)
    return Outcome(
        job.source, time.perf_counter() - start, segmentation=result, outputs=tuple(written), notes=notes
    )


def _outputs(
    stem: Path, settings: Settings, rgb: NDArray[np.uint8], result: Segmentation
) -> Iterator[tuple[Path, bytes]]:
    """Each output's path and content."""
    k = len(result.counts)
    folder, name = stem.parent, stem.name
    if "segmented" in settings.save:
        data = images.encode_indexed(result.labels, result.palette.colors)
        yield settings.out / "segmented" / folder / f"{name}.png", data
    if "masks" in settings.save:
        for cluster in range(k):
            path = settings.out / "masks" / folder / f"{name}_mask{cluster}.png"
            yield path, images.encode_mask(result.mask(cluster))
    if "labels" in settings.save:
        yield settings.out / "labels" / folder / f"{name}.png", images.encode_gray(result.labels)
    if "masked" in settings.save:
        picture = result.masked(rgb, disable=[cluster for cluster in settings.disable if cluster < k])
        yield settings.out / "masked" / folder / f"{name}.png", images.encode_rgb(picture)


def _read(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # a pipe or a device, which might never end
            raise ImageError("it is not a regular file")
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"it cannot be read: {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    """Write a whole file or none: to a temporary name in the same folder, then renamed."""
    temporary = path.with_name(f".{os.getpid()}.kseg-tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
