"""Loading an image: read the file of a job, and decode it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from kseg_batch.batch.storage.source import read_source
from kseg_batch.images.decode import decode

if TYPE_CHECKING:
    from kseg_batch.batch.storage.scan import Job
    from kseg_batch.batch.storage.source import SourceVersion
    from kseg_batch.images.decode import Alpha, Photo
    from kseg_batch.images.profiles.source_colors import ProfileUse


class LoadOptions(Protocol):
    """How image files are read. The settings of a run and of a fit have these fields."""

    @property
    def alpha(self) -> Alpha:
        """Treatment of transparent pixels."""

    @property
    def profile(self) -> ProfileUse:
        """Treatment of colour profiles."""

    @property
    def max_pixels(self) -> int:
        """Most pixels of an image. A larger one fails before it is decoded."""

    @property
    def checksum(self) -> bool:
        """Whether the version of the file has a checksum."""


@dataclass(frozen=True, slots=True, eq=False)
class LoadedImage:
    """A decoded image."""

    photo: Photo
    version: SourceVersion
    """The version of the file that was read."""


def load_image(job: Job, options: LoadOptions) -> LoadedImage:
    """Read and decode the source file of a job.

    Raises:
        ImageError: The file cannot be read, or is not an image that the options admit.
    """
    data, version = read_source(job.source, max_pixels=options.max_pixels, checksum=options.checksum)
    photo = decode(data, max_pixels=options.max_pixels, alpha=options.alpha, profile=options.profile)
    return LoadedImage(photo, version)
