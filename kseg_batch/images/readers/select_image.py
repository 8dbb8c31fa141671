"""The one image of a file that is read, such as a page of a TIFF, or the default image of an animated PNG.

Pillow and OpenCV then get a file in which they find this image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from kseg_batch.errors import ImageError
from kseg_batch.images.boxes import primary_properties
from kseg_batch.images.readers import bmp, tiff, tiff_samples
from kseg_batch.images.readers.gif import find_frames
from kseg_batch.images.readers.orientation import ORIENTATION, TURNED
from kseg_batch.images.readers.png import take_transparent_color, without_animation
from kseg_batch.images.readers.transformations import check_aperture, is_turned

if TYPE_CHECKING:
    from collections.abc import Callable

    from kseg_batch.images.readers.samples import Samples
    from kseg_batch.images.readers.tiff import Page


@dataclass(frozen=True, slots=True)
class SelectedImage:
    """The one image of a file that is read."""

    data: bytes | None
    """The file, changed so that libraries find this image; None where no library reads it."""
    size: tuple[int, int] | None = None
    """Width and height; None where a library tells them."""
    read: Callable[[Any], Samples] | None = None
    """Returns the pixels of the file as opened by Pillow; None where a library tells what they mean."""
    is_turned: bool = False
    """Whether pixels that are stored turned or mirrored become upright while they are read."""
    page: Page | None = None
    """The page of a TIFF file."""
    transparent: tuple[int, ...] | None = None
    """The samples of transparent pixels, one for grey and three for RGB."""


def select_image(data: bytes, name: str, notes: list[str]) -> SelectedImage:
    """Return the image of a file that is read.

    Args:
        data: The content of the file.
        name: The format of the file, from `detect_format`.
        notes: Notes on other images, to which others are added.

    Raises:
        ImageError: The file is damaged, a camera RAW file, or of a kind that is not read here.
    """
    if name == "PNG":
        still, transparent = take_transparent_color(without_animation(data, notes))
        return SelectedImage(still, transparent=transparent)
    if name == "TIFF":
        page = tiff.select_page(data, notes)
        size, turned = (page.width, page.height), page.first(ORIENTATION, 1) in TURNED
        if not tiff_samples.reads_samples(page):
            return SelectedImage(tiff_samples.with_page_first(data, page), size, is_turned=turned, page=page)
        read = partial(tiff_samples.read_samples, page=page)
        return SelectedImage(tiff_samples.with_gray_pages(data, page), size, read, turned, page)
    if name == "BMP":
        header = bmp.read_bmp_header(data)
        return SelectedImage(None, (header.width, header.height), lambda _: bmp.read_bmp(data, header))
    if name in ("AVIF", "HEIF"):
        properties = primary_properties(data)
        check_aperture(properties)
        return SelectedImage(data, is_turned=name == "AVIF" and is_turned(properties))
    if name == "GIF":
        frames = find_frames(data)
        if frames.n_whole == 0 and not frames.has_trailer:
            raise ImageError("it is truncated: the end of the GIF's first frame is missing")
        if frames.n > 1:
            notes.append(f"the first of {frames.n} frames")
        if not frames.has_trailer:
            notes.append("the end of the GIF is missing; its first frame is whole")
    return SelectedImage(data)
