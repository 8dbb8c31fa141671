"""Conversion to sRGB by LittleCMS, through Pillow: for LUT profiles, inks, and CIE L*a*b*.

LittleCMS takes about 33 ms for a 1080p photo, so matrix profiles have a faster way; see `matrix.py`.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image, features

from kseg_batch.errors import ImageError
from kseg_batch.images.profiles.conversion import round_to_8_bits
from kseg_batch.images.profiles.icc import ProfileError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "LAB": "LAB"}
"""Pillow's mode for the channels of an image."""

PART_PIXELS = 1 << 20
"""Pixels that are converted at a time."""


class LittleCmsConversion:
    """A conversion to sRGB by LittleCMS: relative colorimetric, with black point compensation."""

    is_identity = False

    def __init__(self, channels: Literal["RGB", "GRAY", "CMYK", "LAB"], profile: bytes | None) -> None:
        """Build the conversion.

        Args:
            channels: The channels of the image.
            profile: The ICC profile; None for L*a*b*, which needs none.

        Raises:
            ProfileError: LittleCMS cannot use the profile.
            ImageError: This Pillow has no LittleCMS.
        """
        if not has_littlecms():
            raise ImageError(
                "its colours need LittleCMS, which this build of Pillow lacks: "
                "pip install --force-reinstall pillow"
            )
        from PIL import ImageCms

        self._mode = MODES[channels]
        try:
            source: Any = ImageCms.createProfile("LAB") if profile is None else io.BytesIO(profile)
            self._transform = ImageCms.buildTransform(
                ImageCms.ImageCmsProfile(source),
                ImageCms.createProfile("sRGB"),
                self._mode,
                "RGB",
                ImageCms.Intent.RELATIVE_COLORIMETRIC,
                ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
            raise ProfileError("is one that LittleCMS cannot use") from error

    def apply(self, samples: NDArray[Any]) -> NDArray[np.uint8]:
        """Convert (H, W, 3 or 4) samples, rounded to 8 bits, to (H, W, 3) uint8 sRGB.

        Grey has three equal channels. Rows are converted in parts: a photo of 48 megapixels takes 150 MB this
        way, and 650 MB in one part.
        """
        samples = samples[..., 0] if self._mode == "L" else samples
        rgb = np.empty((*samples.shape[:2], 3), np.uint8)
        rows = max(PART_PIXELS // samples.shape[1], 1)
        for top in range(0, len(samples), rows):
            part = np.ascontiguousarray(round_to_8_bits(samples[top : top + rows]))
            picture = Image.frombytes(self._mode, part.shape[1::-1], part.tobytes())
            rgb[top : top + rows] = self._transform.apply(picture)
        return rgb


def has_littlecms() -> bool:
    """Return whether this build of Pillow has LittleCMS."""
    return bool(features.check("littlecms2"))


def littlecms_version() -> str:
    """Return the version of LittleCMS, such as "LittleCMS 2.17"."""
    return f"LittleCMS {features.version('littlecms2')}"
