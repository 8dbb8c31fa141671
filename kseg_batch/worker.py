"""One image: read, segment, write, report. A failure is an outcome, not an exception."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kseg_batch import decoding, encoding
from kseg_batch.errors import BackendError, ImageError, OutputError
from kseg_batch.labelmap import LabelMap
from kseg_batch.scan import count
from kseg_batch.segmentation import Segmentation, segment_with

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kseg_batch.backends.base import Backend
    from kseg_batch.colors import Palette
    from kseg_batch.decoding import Photo
    from kseg_batch.options import FitOptions
    from kseg_batch.scan import Job

FAILURES = (BackendError, ImageError, OutputError, MemoryError)
"""What may end the work on an image, and on that one alone."""

Alpha = Literal["keep", "ignore"]
"""Leave transparent pixels out of the clustering and of the outputs, or take the colours hidden under them."""

MAX_PIXELS = 200_000_000
"""The default of `Settings.max_pixels`."""

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
    alpha: Alpha = "keep"
    """What becomes of transparent pixels."""
    max_pixels: int = MAX_PIXELS
    """Most pixels of an image; larger ones fail before they are decoded."""


@dataclass(frozen=True, slots=True)
class Lost:
    """An image that is not done and did not fail: its worker died or hung, or the GPU could not do it."""

    job: Job
    reason: str
    """What happened."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one image."""

    source: Path
    """The file."""
    seconds: float
    """Time from opening it to the last output, in seconds."""
    error: str | None = None
    """Why it failed; None if it is done."""
    palette: Palette | None = None
    """The clusters; None if it failed."""
    size: tuple[int, int] = (0, 0)
    """Width and height, in pixels."""
    outputs: tuple[Path, ...] = ()
    """The files written, all complete."""
    notes: tuple[str, ...] = ()
    """What a user might not expect of the result."""
    fallback: str | None = None
    """Why it was not done on the GPU that was to do it; None where there was none, or it was."""

    @property
    def status(self) -> Literal["done", "failed"]:
        """Whether all its outputs are written."""
        return "done" if self.error is None else "failed"


def process(job: Job, settings: Settings, backend: Backend) -> Outcome:
    """Segment one image file and write its outputs."""
    start = time.perf_counter()
    try:
        photo = read(job)
        result = segment_with(backend, photo.rgb, settings.fit)
        labels = LabelMap.pack(result.labels, len(result.counts))
        return write(job, settings, photo, labels, result.palette, start)
    except FAILURES as error:
        return failure(job, error, start)


def read(job: Job) -> Photo:
    """Read and decode a job's file.

    Raises:
        ImageError: It cannot be read, or is not an image.
    """
    return decoding.decode(_read(job.source))


def write(
    job: Job, settings: Settings, photo: Photo, labels: LabelMap, palette: Palette, start: float
) -> Outcome:
    """Write all outputs of an image, or none.

    Args:
        job: The image.
        settings: What to write.
        photo: The decoded image; its pixels are needed for the `masked` output only.
        labels: Its packed labels.
        palette: Its clusters.
        start: When it was begun, by time.perf_counter().

    Raises:
        OutputError: One of them cannot be written.
    """
    written: list[Path] = []
    try:
        for path, data in _outputs(job.stem, settings, photo, labels, palette):
            _write(path, data)
            written.append(path)
    except FAILURES:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    notes, k = photo.notes, len(palette.counts)
    if k < settings.fit.k:
        notes += (f"it has {count(k, 'colour')}, so as many clusters",)
    return Outcome(
        source=job.source,
        seconds=time.perf_counter() - start,
        palette=palette,
        size=(labels.width, labels.height),
        outputs=tuple(written),
        notes=notes,
    )


def failure(job: Job, error: Exception, start: float) -> Outcome:
    """The outcome of a job that ended with one of `FAILURES`."""
    reason = str(error) or "there is not enough memory for it"
    return Outcome(job.source, time.perf_counter() - start, error=reason)


def _outputs(
    stem: Path, settings: Settings, photo: Photo, labels: LabelMap, palette: Palette
) -> Iterator[tuple[Path, bytes]]:
    """Each output's path and content."""
    k = len(palette.counts)
    folder, name = stem.parent, stem.name
    if "segmented" in settings.save:
        data = encoding.encode_indexed(labels, palette.colors)
        yield settings.out / "segmented" / folder / f"{name}.png", data
    if "masks" in settings.save:
        for cluster in range(k):
            path = settings.out / "masks" / folder / f"{name}_mask{cluster}.png"
            yield path, encoding.encode_mask(labels, cluster)
    if "labels" in settings.save:
        yield settings.out / "labels" / folder / f"{name}.png", encoding.encode_gray(labels.labels)
    if "masked" in settings.save:
        result = Segmentation(labels.labels, palette)
        picture = result.masked(photo.rgb, disable=[cluster for cluster in settings.disable if cluster < k])
        yield settings.out / "masked" / folder / f"{name}.png", encoding.encode_rgb(picture)


def _read(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # a pipe or a device, which might never end
            raise ImageError("it is not a regular file")
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"it cannot be read: {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    """Write a whole file or none: to a temporary name in the same folder, then renamed."""
    temporary = path.with_name(f".{os.getpid()}-{threading.get_native_id()}.kseg-tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
