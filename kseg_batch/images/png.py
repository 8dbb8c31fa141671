"""Arrays to image files: label maps, masks and pictures as PNG.

The encoder is ours because it is the larger half of a photo's cost: one 1080p label map at k = 3 takes
0.4 ms here, 4.4 to 6 ms with Pillow's palette mode, and cv2 cannot write a palette at all.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
from isal import isal_zlib

from kseg_batch.errors import ImageError
from kseg_batch.images.label_map import with_filter_type
from kseg_batch.optional import import_cv2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from kseg_batch.images.label_map import LabelMap

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY, INDEXED = 0, 3  # PNG colour types
COMPRESSION_LEVEL = 1  # of ISA-L: level 0 is no faster and a fifth larger, 2 and 3 gain nothing

FIRST_PIECE = 8  # bytes, of which ISA-L hashes all but 3; more than 16 would go through the faulty code


def encode_indexed(labels: LabelMap, colors: NDArray[np.uint8]) -> bytes:
    """A PNG whose pixel value is the cluster number and whose palette holds the (k, 3) uint8 RGB centres.

    Transparent pixels have the next value, which is black in the palette and declared transparent.
    """
    palette = colors.tobytes()
    transparency = b""
    if labels.transparent is not None:
        palette += bytes(3)
        transparency = _chunk(b"tRNS", b"\xff" * labels.transparent + b"\0")
    return _encode(labels.rows, labels.width, labels.bits, INDEXED, _chunk(b"PLTE", palette) + transparency)


def encode_mask(labels: LabelMap, cluster: int) -> bytes:
    """A 1-bit grey PNG, white where the pixel is in the cluster."""
    return _encode(labels.mask(cluster), labels.width, 1, GRAY)


def encode_union(labels: LabelMap, clusters: Iterable[int]) -> bytes:
    """A 1-bit grey PNG, white where the pixel is in one of the clusters."""
    return _encode(labels.union(clusters), labels.width, 1, GRAY)


def encode_gray(labels: NDArray[np.uint8]) -> bytes:
    """An 8-bit grey PNG of the raw (H, W) uint8 numbers."""
    return _encode(with_filter_type(labels), labels.shape[1], 8, GRAY)


def encode_rgb(rgb: NDArray[np.uint8], opaque: NDArray[np.bool_] | None = None) -> bytes:
    """A lossless PNG of an (H, W, 3) uint8 picture, with alpha 0 where it is not (H, W) `opaque`."""
    cv2 = import_cv2()
    picture = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    if opaque is not None:
        picture = np.dstack([picture, np.full(opaque.shape, 255, np.uint8)])
        picture[~opaque] = 0
    try:
        done, buffer = cv2.imencode(".png", picture)
    except cv2.error as error:
        raise ImageError(f"OpenCV cannot encode the picture as PNG: {error.err}") from error
    if not done:
        raise ImageError("OpenCV cannot encode the picture as PNG")
    return bytes(buffer)


def _encode(rows: NDArray[np.uint8], width: int, bits: int, color_type: int, palette: bytes = b"") -> bytes:
    """A PNG file of rows that each begin with their filter type."""
    header = struct.pack(">IIBBBBB", width, len(rows), bits, color_type, 0, 0, 0)
    body = _deflate(rows)
    return b"".join(
        [PNG_SIGNATURE, _chunk(b"IHDR", header), palette, _chunk(b"IDAT", body), _chunk(b"IEND", b"")]
    )


def _deflate(rows: NDArray[np.uint8]) -> bytes:
    """A zlib stream, the same for the same rows wherever and whenever it is made.

    ISA-L's level 1 takes the hash of a stream's third position from a register that it has not set, which
    holds the address of the stream (igzip_icf_body_h1_gr_bt.asm, write_first_byte). So the matches that it
    finds depend on where the stack lies: one in some thousand small images came out otherwise in another run
    or thread (https://github.com/intel/isa-l/issues/140). A short first piece goes through other code.
    """
    deflate = isal_zlib.compressobj(COMPRESSION_LEVEL)
    data = rows.reshape(-1)
    return b"".join(
        [
            deflate.compress(data[:FIRST_PIECE]),
            deflate.flush(isal_zlib.Z_SYNC_FLUSH),
            deflate.compress(data[FIRST_PIECE:]),
            deflate.flush(),
        ]
    )


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
