"""One image: read, segment, write, report. A failure is an outcome, not an exception."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from kseg_batch.batch.manifest import Version
from kseg_batch.batch.storage.outputs import Output, Save, dataset_name, mask_name, picture_name, write_all
from kseg_batch.errors import BackendError, ImageError, OutputError, OutputGoneError, count, in_words
from kseg_batch.images import coco, decode, png
from kseg_batch.images.label_map import LabelMap, black_out
from kseg_batch.kmeans.color_spaces import convert
from kseg_batch.kmeans.options import RegionOptions
from kseg_batch.segmentation.cluster_selection import ALL_CLUSTERS, ClusterFilter
from kseg_batch.segmentation.regions import load_cleaner
from kseg_batch.segmentation.select_k import Chosen, choose_k

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from kseg_batch.backends.base import Backend
    from kseg_batch.batch.storage.scan import Job
    from kseg_batch.images.decode import Photo
    from kseg_batch.kmeans.histogram import ColorHistogram
    from kseg_batch.kmeans.options import FitOptions, KRange
    from kseg_batch.kmeans.palette import Palette
    from kseg_batch.segmentation.select_k import Candidate

FAILURES = (BackendError, ImageError, OutputError, MemoryError)
"""What may end the work on an image, and on that one alone."""

BYTES_PER_PIXEL = 8
"""Of the largest file that is read: 16 bits for each of four channels."""


class Reading(Protocol):
    """How image files are read; part of what `Settings` say."""

    @property
    def alpha(self) -> decode.Alpha:
        """What becomes of transparent pixels."""

    @property
    def max_pixels(self) -> int:
        """Most pixels of an image; larger ones fail before they are decoded."""

    @property
    def checksum(self) -> bool:
        """Whether the version has a checksum."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to do with every image."""

    out: Path
    """The output folder."""
    fit: FitOptions
    """How to cluster; where there is a palette, with its number of clusters and its colour space."""
    save: frozenset[Save]
    """The kinds of output to write."""
    filter: ClusterFilter = ALL_CLUSTERS
    """Which clusters are shown in the `masked` and `kept` outputs."""
    palette: Palette | None = None
    """Whose clusters all images are divided among; None to find each one's own."""
    alpha: decode.Alpha = "keep"
    """What becomes of transparent pixels."""
    max_pixels: int = decode.MAX_PIXELS
    """Most pixels of an image; larger ones fail before they are decoded."""
    regions: RegionOptions = field(default_factory=RegionOptions)
    """How to clean the labels."""
    checksum: bool = False
    """Whether the journal gets a checksum of the source."""
    k_range: KRange | None = None
    """Where k is chosen from, for each image; `fit.k` is then its end. None where k is `fit.k`."""

    @property
    def cluster_numbers(self) -> tuple[int, ...]:
        """The fewest and the most clusters that a backend is asked for; one number where k is given."""
        return (self.fit.k,) if self.k_range is None else (self.k_range.low, self.k_range.high)


@dataclass(frozen=True, slots=True)
class Lost:
    """An image that is not done and did not fail: its worker died or hung, or the GPU could not do it."""

    job: Job
    reason: str
    """What happened."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one image."""

    job: Job
    seconds: float
    """Time from opening it to the last output, in seconds."""
    error: str | None = None
    """Why it failed; None if it is done."""
    output_gone: bool = False
    """Whether it failed because nothing can be written any more."""
    palette: Palette | None = None
    """The clusters; None if it failed, or only its colours were counted."""
    k_curve: tuple[Candidate, ...] | None = None
    """What k was chosen from; None if it was given, or the image failed."""
    size: tuple[int, int] = (0, 0)
    """Width and height, in pixels."""
    version: Version | None = None
    """What the source held; None if it failed."""
    disabled: tuple[int, ...] = ()
    """The clusters that are not shown in the `masked` and `kept` outputs."""
    outputs: tuple[Output, ...] = ()
    """The files written, all complete."""
    notes: tuple[str, ...] = ()
    """What a user might not expect of the result."""
    fallback: str | None = None
    """Why it was not done on the GPU that was to do it; None where there was none, or it was."""

    @property
    def status(self) -> Literal["done", "failed"]:
        """Whether all its outputs are written."""
        return "done" if self.error is None else "failed"


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """An image that is read and decoded."""

    photo: Photo
    version: Version
    """What its file held."""


def process(job: Job, settings: Settings, backend: Backend) -> Outcome:
    """Segment one image file and write its outputs."""
    start = time.perf_counter()
    try:
        source = read(job, settings)
        pixels, opaque = convert(source.photo.pixels, settings.fit.color_space), source.photo.opaque
        histogram = backend.histogram(pixels)
        chosen = find_clusters(backend, histogram, settings)
        palette = chosen.palette
        if opaque is None and not settings.regions:
            masks = "masks" in settings.save
            labels = backend.label_map(pixels, palette, histogram, masks=masks)
        else:
            numbers = backend.assign(pixels, palette, histogram)
            labels, palette = pack(numbers, palette, settings.regions, opaque)
        return write(job, settings, source, labels, palette, start, chosen.curve)
    except FAILURES as error:
        return failure(job, error, start)


def find_clusters(backend: Backend, histogram: ColorHistogram, settings: Settings) -> Chosen:
    """The clusters of an image's colours: those of the palette for all images, or its own.

    Raises:
        BackendError: The backend failed.
    """
    if settings.palette is not None:
        return Chosen(backend.measure(histogram, settings.palette), None)
    return choose_k(backend, histogram, settings.fit, settings.k_range)


def read(job: Job, settings: Reading) -> Source:
    """Read and decode a job's file.

    Raises:
        ImageError: It cannot be read, or is not an image that `settings` admit.
    """
    data, version = _read(job.source, settings)
    photo = decode.decode(data, max_pixels=settings.max_pixels, alpha=settings.alpha)
    return Source(photo, version)


def pack(
    labels: NDArray[np.uint8],
    palette: Palette,
    regions: RegionOptions,
    opaque: NDArray[np.bool_] | None,
) -> tuple[LabelMap, Palette]:
    """Clean labels, if that is wanted, and pack them; and the palette with the counts of what is packed.

    Args:
        labels: (H, W) uint8; or with `opaque`, one for each pixel that is, in any shape.
        palette: The clusters.
        regions: How to clean the labels.
        opaque: (H, W) False where a pixel is transparent; None where none is.

    Raises:
        ImageError: There are transparent pixels, and 256 clusters.
    """
    if regions:
        labels, palette = load_cleaner().clean(labels, palette, regions, opaque)
    return LabelMap.pack(labels, len(palette.counts), opaque), palette


def write(
    job: Job,
    settings: Settings,
    source: Source,
    labels: LabelMap,
    palette: Palette,
    start: float,
    k_curve: tuple[Candidate, ...] | None = None,
) -> Outcome:
    """Write all outputs of an image, or none.

    Args:
        job: The image.
        settings: What to write.
        source: What was read; its pixels are needed for the `masked` output only.
        labels: Its packed labels.
        palette: Its clusters.
        start: When it was begun, by time.perf_counter().
        k_curve: What their number was chosen from; None if it was given.

    Raises:
        OutputError: One of them cannot be written.
    """
    resolved = settings.filter.resolve(palette)
    files = _files(job, settings, source.photo, labels, palette, resolved.disabled)
    outputs = write_all(settings.out, job, files)
    notes, k = source.photo.notes, len(palette.counts)
    if k < (settings.k_range.low if settings.k_range else settings.fit.k):
        notes += (f"it has {count(k, 'colour')}, so as many clusters",)
    return Outcome(
        job=job,
        seconds=time.perf_counter() - start,
        palette=palette,
        k_curve=k_curve,
        size=(labels.width, labels.height),
        version=source.version,
        disabled=resolved.disabled,
        outputs=outputs,
        notes=(*notes, *resolved.notes),
    )


def failure(job: Job, error: Exception, start: float) -> Outcome:
    """The outcome of a job that ended with one of `FAILURES`."""
    gone = isinstance(error, OutputGoneError)
    return Outcome(job, time.perf_counter() - start, error=in_words(error), output_gone=gone)


def _files(
    job: Job,
    settings: Settings,
    photo: Photo,
    labels: LabelMap,
    palette: Palette,
    disabled: tuple[int, ...],
) -> Iterator[tuple[str, bytes]]:
    """Each output's name and content."""
    k = len(palette.counts)
    if "segmented" in settings.save:
        yield picture_name(job, "segmented"), png.encode_indexed(labels, palette.colors)
    if "masks" in settings.save:
        for cluster in range(k):
            yield mask_name(job, cluster, palette.names), png.encode_mask(labels, cluster)
    if "labels" in settings.save:
        yield picture_name(job, "labels"), png.encode_gray(labels.gray)
    if "masked" in settings.save:
        picture = black_out(photo.rgb, labels.labels, disabled)
        yield picture_name(job, "masked"), png.encode_rgb(picture, photo.opaque)
    if "kept" in settings.save:
        yield picture_name(job, "kept"), png.encode_union(labels, set(range(k)) - set(disabled))
    if "coco" in settings.save:
        yield dataset_name(job), coco.encode(job, labels, palette)


def _read(path: Path, settings: Reading) -> tuple[bytes, Version]:
    """A regular file's content, and which version of it that is."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device, which might never end
            raise ImageError("it is not a regular file")
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            if before.st_size > BYTES_PER_PIXEL * settings.max_pixels + (1 << 20):
                raise ImageError(
                    f"its {before.st_size / 1e6:.0f} MB are more than an image of "
                    f"--max-pixels {settings.max_pixels} can have"
                )
            data = file.read()
            after = os.fstat(file.fileno())
    except OSError as error:
        raise ImageError(f"it cannot be read: {error.strerror}") from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise ImageError("it was written to while it was read")
    checksum = hashlib.sha256(data).hexdigest() if settings.checksum else None
    return data, Version(before.st_size, before.st_mtime_ns, checksum)
