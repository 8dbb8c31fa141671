"""The colours of videos: how samples become sRGB, and RGB becomes samples.

The matrix and the range turn samples into RGB. The primaries turn this RGB into sRGB, as for image files, and
so does the transfer function of HDR. Other transfer functions are read as the curve of sRGB, as players do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kseg_batch.errors import ImageError, SourceError
from kseg_batch.images.profiles.cicp import BT709, HDR, PRIMARIES, cicp_conversion
from kseg_batch.optional import import_av

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kseg_batch.images.profiles.conversion import NamedConversion

BT601 = 5
"""The matrix of BT.601 in H.273, under its PAL name. The NTSC name, 6, has the same coefficients."""

LIMITED_RANGE = 1
"""FFmpeg's tag for samples of 8 bits from 16 (black) to 235 (white); 2 is the full range."""

CONVERTED_MATRICES = frozenset({BT709, 4, BT601, 6, 7, 9})
"""The matrices that swscale converts: BT.709, FCC, BT.601 twice, SMPTE 240M, BT.2020 (not constant)."""

UNTAGGED_MATRICES = frozenset({0, 2, 3})
"""RGB, which samples of luma and chroma cannot be, unspecified, and reserved."""

UNREADABLE_MATRICES = {
    8: "YCgCo",
    10: "BT.2020 with constant luminance",
    11: "Y'D'zD'x",
    12: "a matrix derived from the primaries",
    13: "a matrix derived from the primaries, with constant luminance",
    14: "ICtCp",
    15: "IPT-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}

HD_WIDTH, HD_HEIGHT = 1280, 720

ACCURATE = 0x2 | 0x2000 | 0x40000
"""Flags of swscale: bilinear, with SWS_FULL_CHR_H_INT and SWS_ACCURATE_RND.

A flat colour is rounded to the nearest level; without the flags, 4:2:0 is off by 3 levels."""

FULL_RANGE_OF_LIMITED = np.rint(np.clip((np.arange(256) - 16) * (255 / 219), 0, 255)).astype(np.uint8)
"""(256,) uint8: a sample in the full range for each sample in the limited range."""


def rgb_pixels(decoded: Any, width: int, height: int, source: str) -> NDArray[np.uint8]:
    """Convert a decoded frame to the sRGB that a player shows.

    The tags of the frame count, not those of the container, which may differ. Without a tag for the range,
    grey and RGB have the full range, and the others the limited range, except FFmpeg's "yuvj" formats.

    Args:
        decoded: The `av.VideoFrame`.
        width: Width of the result, in pixels.
        height: Height of the result, in pixels.
        source: Name of the source, for messages.

    Returns:
        (height, width, 3) uint8.

    Raises:
        SourceError: The colours or the pixel format cannot be converted.
    """
    pixel_format = decoded.format
    found = find_conversion(decoded, source)
    is_deep = found is not None and sample_bits(pixel_format) > 8
    try:
        if pixel_format.is_rgb or pixel_format.has_palette:
            rgb = decoded.to_ndarray(width=width, height=height, format="rgb48le" if is_deep else "rgb24")
        elif len(pixel_format.components) < 3:
            rgb = _rgb_of_grey(decoded, width, height)
        else:
            rgb = _rgb_of_luma_and_chroma(decoded, width, height, source, is_deep=is_deep)
    except import_av().FFmpegError as error:
        raise SourceError(
            f"{source} has the pixel format {pixel_format.name}, which cannot be converted to RGB: "
            "convert the video to yuv420p."
        ) from error
    return np.asarray(rgb if found is None else found.conversion.apply(rgb), np.uint8)


def find_conversion(tagged: Any, source: str) -> NamedConversion | None:
    """Return the conversion of a video's RGB to sRGB; None if the RGB is sRGB.

    Args:
        tagged: The `av.VideoFrame` or `av.VideoCodecContext` with the tags. Tags of the primaries that say
            nothing stand for those of sRGB.
        source: Name of the source, for messages.

    Raises:
        SourceError: The video is HDR, and its primaries are not known.
    """
    primaries, transfer = int(tagged.color_primaries), int(tagged.color_trc)
    if transfer not in HDR:
        transfer = BT709
        primaries = primaries if primaries in PRIMARIES else BT709
    try:
        found = cicp_conversion(primaries, transfer)
    except ImageError as error:
        raise SourceError(f"{source} cannot be read: {error}.") from error
    return None if found.conversion.is_identity else found


def _rgb_of_grey(decoded: Any, width: int, height: int) -> NDArray[np.uint8]:
    """Convert a grey frame, which swscale always takes for the full range."""
    rgb = np.asarray(decoded.to_ndarray(width=width, height=height, format="rgb24"))
    return FULL_RANGE_OF_LIMITED[rgb] if decoded.color_range == LIMITED_RANGE else rgb


def _rgb_of_luma_and_chroma(
    decoded: Any, width: int, height: int, source: str, *, is_deep: bool
) -> NDArray[Any]:
    """Convert a frame by its matrix, to samples of 16 bits if `is_deep`, and else of 8 bits.

    The target is three planes, for which swscale has accurate vector code: a frame of 1080p takes 4 ms on one
    core, and 9 ms with the target "rgb24".
    """
    matrix = frame_matrix(decoded)
    if matrix not in CONVERTED_MATRICES:
        name = UNREADABLE_MATRICES.get(matrix, f"the unknown matrix {matrix}")
        raise SourceError(
            f"{source} has its colours in {name}, which cannot be read: convert the video to BT.709."
        )
    planes = decoded.reformat(
        width,
        height,
        "gbrp16le" if is_deep else "gbrp",
        src_colorspace=matrix,  # in the numbers of swscale, which for its matrices are those of H.273
        interpolation=ACCURATE,
        threads=1,
    ).planes
    sample = np.dtype("<u2" if is_deep else "u1")
    green, blue, red = (
        np.frombuffer(plane, sample).reshape(height, plane.line_size // sample.itemsize)[:, :width]
        for plane in planes
    )
    return np.dstack((red, green, blue))


def frame_matrix(decoded: Any) -> int:
    """Return the matrix of a frame's luma and chroma, in the numbers of H.273.

    Without a tag, the matrix is BT.709 from 720 lines or 1280 columns up, else BT.601. Chromium and Firefox
    go by the 720 lines alone. mpv also takes the 1280 columns (`mp_csp_guess_colorspace`), so that a film of
    1280 x 536 has the colours of one of 1280 x 720. The stored size counts, before a video on its side is
    turned.
    """
    tag = int(decoded.colorspace)
    if tag not in UNTAGGED_MATRICES:
        return tag
    return BT709 if decoded.width >= HD_WIDTH or decoded.height >= HD_HEIGHT else BT601


def bt709_frame(rgb: NDArray[np.uint8], pixel_format: str) -> Any:
    """Return the `av.VideoFrame` of (H, W, 3) pixels in the colours that `tag_bt709` names.

    Args:
        rgb: The pixels.
        pixel_format: A format of luma and chroma, such as "yuv420p".
    """
    frame = import_av().VideoFrame.from_ndarray(rgb, format="rgb24")
    return frame.reformat(format=pixel_format, dst_colorspace=BT709, dst_color_range=LIMITED_RANGE)


def tag_bt709(codec_context: Any) -> None:
    """Tag what an encoder writes, in the stream and its container, as BT.709 in the limited range."""
    codec_context.color_primaries = codec_context.color_trc = codec_context.colorspace = BT709
    codec_context.color_range = LIMITED_RANGE


def sample_bits(pixel_format: Any) -> int:
    """Return the bits of the largest sample of an `av.VideoFormat`; 0 for frames outside main memory."""
    bits = [component.bits for component in pixel_format.components]
    return sum(bits) if pixel_format.is_bayer else max(bits, default=0)  # a Bayer sample has one colour
