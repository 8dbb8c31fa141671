"""Sentences for files on which a library fails: damaged, or of a kind that is not read here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from PIL import UnidentifiedImageError

from kseg_batch.images.boxes import codec
from kseg_batch.images.readers.tiff import COMPRESSIONS, refusal

if TYPE_CHECKING:
    from kseg_batch.images.readers.select_image import SelectedImage

UNSUPPORTED = re.compile(
    r"unsupported|not supported|not (yet )?implemented|no codec|not configured|too large|too much memory",
    re.IGNORECASE,
)
"""Words by which libraries say that a file is of a kind that they do not read."""
COMMON_COMPRESSIONS = (1, 2, 3, 4, 5, 7, 8, 32773, 32946)
"""Compressions of TIFF files that Pillow reads wherever it is installed."""
OTHER_COMPRESSIONS = (34925, 50000)
"""Compressions of TIFF files that Pillow's wheels read, and other builds may not."""
CODECS = {
    b"av01": "AV1", b"hvc1": "HEVC", b"avc1": "H.264", b"vvc1": "VVC", b"evc1": "EVC", b"jpeg": "JPEG",
    b"j2k1": "JPEG 2000", b"unci": "uncompressed",
}  # fmt: skip
"""Names of the types of coded images in AVIF and HEIF files."""
CODEC_OF_FORMAT = {"AVIF": "AV1", "HEIF": "HEVC"}


def find_refusal(image: SelectedImage, name: str, error: BaseException) -> str:
    """Return the sentence for a file on which a library failed.

    Args:
        image: The image of the file that was to be read.
        name: The format of the file, from `detect_format`.
        error: The exception that the library raised.
    """
    text = str(error).partition("\n")[0] or type(error).__name__
    is_unidentified = isinstance(error, UnidentifiedImageError)
    if image.page is not None:
        compression = image.page.compression
        if compression in OTHER_COMPRESSIONS:
            words = f"it is damaged, or Pillow lacks {COMPRESSIONS[compression]} compression here"
            return f"{words}; if it opens elsewhere, save it as PNG"
        is_unknown = is_unidentified and image.read is None
        if is_unknown or compression not in COMMON_COMPRESSIONS or UNSUPPORTED.search(text):
            return refusal(image.page)
    if name in CODEC_OF_FORMAT:
        found = CODECS.get(codec(image.data or b""), CODEC_OF_FORMAT[name])
        if found != CODEC_OF_FORMAT[name]:
            return f"it is {name} with {found} images, which is not read here; save it as PNG"
    if UNSUPPORTED.search(text):
        return f"it is a kind of {name} that is not read here ({text}); save it as PNG"
    if is_unidentified and name == "JPEG":  # Pillow hides what it does not know
        return "it is damaged, or a kind of JPEG that is not read here; if it opens elsewhere, save it as PNG"
    return f"it is a damaged {name} file" if is_unidentified else f"it is a damaged {name} file ({text})"
