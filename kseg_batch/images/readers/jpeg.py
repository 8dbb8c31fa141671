"""JPEG files: damage is refused, and a whole file is decoded in spite of oddities around its scans.

simplejpeg refuses each file that libjpeg-turbo warns of, and most of these are damaged. The others are mended
here, and decoded: files with stray bytes between segments, without an end, with a version that nobody knows,
or with rare sampling factors.
"""

from __future__ import annotations

import contextlib
import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from kseg_batch.errors import BackendUnavailableError, ImageError, count
from kseg_batch.images.formats import END_OF_IMAGE, START_OF_SCAN, find_marker, jpeg_segments
from kseg_batch.images.readers.jpeg_scans import ARITHMETIC, DAMAGED, FRAMES, TRUNCATED, Frame, ScanReader

if TYPE_CHECKING:
    from numpy.typing import NDArray

APP0, APP14, JPEG_LS = 0xE0, 0xEE, 0xF7
SOI, EOI = b"\xff\xd8", b"\xff\xd9"
JFIF, JFIF_MAJOR = b"JFIF\0", 9
"""First bytes of the content of JFIF's segment, and the position of the major version in the segment."""
ADOBE, ADOBE_TRANSFORM = b"Adobe", 15
"""First bytes of the content of Adobe's segment, and the position of the colour transform in the segment."""
TRANSFORMS = {3: 1, 4: 2}
"""The transform, YCbCr or YCCK, that decoders assume for an unknown one, by the number of components."""
LOSSLESS, HIERARCHICAL = (0xC3, 0xC7, 0xCB, 0xCF), (0xC5, 0xC6, 0xCD, 0xCE)
"""Markers of frames."""

MALFORMED = (IndexError, KeyError, ValueError, struct.error)
"""Exceptions that segments raise which are too short, or contradict each other."""


def decode_jpeg(data: bytes, picture: Any, notes: list[str]) -> NDArray[np.uint8]:
    """Decode a JPEG file to (H, W, 3) uint8 RGB, or to (H, W, 4) uint8 inks of CMYK.

    Args:
        data: The content of the file.
        picture: The image as opened by Pillow.
        notes: Notes on oddities, to which others are added.

    Raises:
        ImageError: The file is truncated or damaged, or of a kind that is not read here.
        ValueError: The same, in the words of libjpeg-turbo.
    """
    import simplejpeg

    colors = "CMYK" if picture.mode == "CMYK" else "RGB"
    try:
        pixels = simplejpeg.decode_jpeg(data, colors, strict=True)
    except ValueError:
        mended = _mend(data)
        notes += mended.notes
        picture = Image.open(io.BytesIO(mended.data), formats=["JPEG"])
        if not _is_read_by_simplejpeg(mended.data):
            if mended.frame.marker in ARITHMETIC:  # nobody could tell whether the scans are whole
                raise ImageError(
                    "it is a JPEG with arithmetic codes and rare sampling factors; save it as PNG"
                ) from None
            return np.asarray(picture if colors == "CMYK" else picture.convert("RGB"))
        pixels = simplejpeg.decode_jpeg(mended.data, colors, strict=True)
    if colors == "CMYK":  # simplejpeg has found no damage; Pillow knows how Adobe writes CMYK
        return np.asarray(picture)
    return np.asarray(pixels, np.uint8)


def _is_read_by_simplejpeg(data: bytes) -> bool:
    """Whether simplejpeg reads the sampling factors of a file."""
    import simplejpeg

    try:
        simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return False
    return True


def refuse_kind(data: bytes) -> None:
    """Raise an ImageError if a JPEG file is of a kind that no decoder here reads."""
    with contextlib.suppress(*MALFORMED):
        _read_frame(data)


def _read_frame(data: bytes) -> Frame:
    """Return the frame of a JPEG file.

    Raises:
        ImageError: The file has no frame, or no decoder here reads its kind.
    """
    for marker, start, end in jpeg_segments(data):
        if marker == JPEG_LS or marker in FRAMES:
            frame = Frame.read(marker, data[start + 4 : end])
            if (kind := _unread_kind(frame)) is not None:
                raise ImageError(f"it is {kind}, which is not read here; save it as PNG")
            return frame
    raise ImageError(DAMAGED)


def _unread_kind(frame: Frame) -> str | None:
    if frame.marker == JPEG_LS:
        return "a JPEG-LS file"
    if frame.marker in LOSSLESS:
        return "a lossless JPEG"
    if frame.marker in HIERARCHICAL:
        return "a hierarchical JPEG"
    if frame.bits != 8:
        return f"a JPEG with {frame.bits}-bit samples"
    if len(frame.components) not in (1, 3, 4):
        return f"a JPEG of {len(frame.components)} components"
    if frame.height == 0:
        return "a JPEG whose height follows its pixels"
    across, down = frame.sampling
    if any(0 in (c.across, c.down) or across % c.across or down % c.down for c in frame.components.values()):
        return "a JPEG whose sampling factors are no multiples of each other"
    return None


@dataclass(frozen=True, slots=True)
class _Mended:
    """A JPEG file without oddities that libjpeg-turbo warns of."""

    data: bytes
    frame: Frame
    notes: list[str]


def _mend(data: bytes) -> _Mended:
    """Return a JPEG file without the oddities around its scans.

    Raises:
        ImageError: A scan is truncated or damaged, or the file is of a kind that is not read here.
    """
    try:
        return _mend_segments(data, _read_frame(data))
    except MALFORMED as error:
        raise ImageError(DAMAGED) from error
    except BackendUnavailableError as error:
        raise ImageError(f"whether its scan is whole cannot be told: {error}") from error


def _mend_segments(data: bytes, frame: Frame) -> _Mended:
    reader, parts = ScanReader(frame), [SOI]
    notes: list[str] = []
    at, n_stray = len(SOI), 0
    while not reader.is_complete:
        is_scan = False
        for marker, start, end in jpeg_segments(data, at):
            n_stray += _count_stray(data[at:start])
            content, is_scan, at = data[start + 4 : end], marker == START_OF_SCAN, end
            if is_scan:
                at += reader.read_scan(content, memoryview(data)[end:])
            else:
                reader.read_segment(marker, content)
            parts.append(_mend_number(data[start:at], marker, frame, notes))
        if not is_scan:
            raise ImageError("it is truncated: the JPEG's last scans are missing")
    if n_stray:
        notes.append(f"{count(n_stray, 'stray byte')} between its segments skipped")
    end = find_marker(data, at)
    if end < 0 or data[end + 1] != END_OF_IMAGE:
        if frame.marker in ARITHMETIC:
            raise ImageError(TRUNCATED)
        notes.append("the end of the JPEG is missing, after its last pixel")
    elif n_stray := _count_stray(data[at:end]):
        notes.append(f"{count(n_stray, 'stray byte')} before its end skipped")
    return _Mended(b"".join((*parts, EOI)), frame, notes)


def _mend_number(segment: bytes, marker: int, frame: Frame, notes: list[str]) -> bytes:
    """Return a segment with what decoders assume in place of a version or a transform without a meaning."""
    n = len(frame.components)
    if marker == APP0 and segment.startswith(JFIF, 4) and len(segment) > JFIF_MAJOR + 1:
        major, minor = segment[JFIF_MAJOR], segment[JFIF_MAJOR + 1]
        if major != 1:
            notes.append(f"its JFIF version {major}.{minor:02} is unknown")
            return segment[:JFIF_MAJOR] + b"\x01" + segment[JFIF_MAJOR + 1 :]
    if (
        marker == APP14
        and segment.startswith(ADOBE, 4)
        and len(segment) > ADOBE_TRANSFORM
        and n in TRANSFORMS
    ):
        transform = segment[ADOBE_TRANSFORM]
        if transform not in (0, TRANSFORMS[n]):
            notes.append(f"its colour transform {transform} is unknown for {n} components")
            return segment[:ADOBE_TRANSFORM] + bytes([TRANSFORMS[n]]) + segment[ADOBE_TRANSFORM + 1 :]
    return segment


def _count_stray(gap: bytes) -> int:
    """Return the number of bytes between two segments, without bytes 0xFF, which may fill gaps."""
    return len(gap) - gap.count(0xFF)
