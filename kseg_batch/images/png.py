"""PNG encoding of label maps, masks and pictures.

Label maps have an encoder of their own, because encoding takes the larger half of a photo's time. A label map
of 1080p at k = 3 takes 0.4 ms here, and 4.4 to 6 ms with Pillow's palette mode; cv2 cannot write a palette.
A picture of 1080p takes 15 ms, and 41 ms with cv2, whose file is a tenth smaller.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
from isal import isal_zlib

from kseg_batch.images.formats import PNG_SIGNATURE
from kseg_batch.images.label_map import with_filter_type

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from kseg_batch.images.formats import PNG_SIGNATURE
from kseg_batch.images.label_map import LabelMap

GRAY, RGB, INDEXED, RGBA = 0, 2, 3, 6  # PNG colour types
SUB = 1  # filter type of PNG: a row holds the differences to the pixels on the left
COMPRESSION_LEVEL = 1  # of ISA-L; level 0 is no faster and gives a fifth more bytes, 2 and 3 gain nothing

FIRST_PIECE = 8  # bytes; ISA-L hashes all but 3 of them, and more than 16 would go through the faulty code


def encode_indexed(labels: LabelMap, colors: NDArray[np.uint8]) -> bytes:
    """Encode an indexed PNG: a pixel's value is its cluster number, the palette is (k, 3) uint8 RGB.

    Transparent pixels have the value k, which the palette declares as black and transparent.
    """
    palette = colors.tobytes()
    transparency = b""
    if labels.transparent is not None:
        palette += bytes(3)
        transparency = _chunk(b"tRNS", b"\xff" * labels.transparent + b"\0")
    return _encode(labels.rows, labels.width, labels.bits, INDEXED, _chunk(b"PLTE", palette) + transparency)


def encode_mask(labels: LabelMap, cluster: int) -> bytes:
    """Encode a 1-bit grey PNG, white where a pixel is in the cluster."""
    return _encode(labels.mask(cluster), labels.width, 1, GRAY)


def encode_union(labels: LabelMap, clusters: Iterable[int]) -> bytes:
    """Encode a 1-bit grey PNG, white where a pixel is in any of the clusters."""
    return _encode(labels.union(clusters), labels.width, 1, GRAY)


def encode_gray(labels: NDArray[np.uint8]) -> bytes:
    """Encode an 8-bit grey PNG whose pixel values are the (H, W) uint8 labels."""
    return _encode(with_filter_type(labels), labels.shape[1], 8, GRAY)


def encode_rgb(rgb: NDArray[np.uint8], opaque: NDArray[np.bool_] | None = None) -> bytes:
    """Encode a PNG of an (H, W, 3) uint8 picture, with alpha 0 where (H, W) `opaque` is False."""
    height, width, channels = rgb.shape
    if opaque is not None:
        rgb, channels = np.dstack([rgb, np.full(opaque.shape, 255, np.uint8)]), 4
        rgb[~opaque] = 0
    samples = rgb.reshape(height, -1)
    rows = np.empty((height, 1 + samples.shape[1]), np.uint8)
    rows[:, 0] = SUB
    rows[:, 1 : 1 + channels] = samples[:, :channels]
    np.subtract(samples[:, channels:], samples[:, :-channels], out=rows[:, 1 + channels :])
    return _encode(rows, width, 8, RGB if opaque is None else RGBA)


def _encode(rows: NDArray[np.uint8], width: int, bits: int, color_type: int, palette: bytes = b"") -> bytes:
    """Return a PNG file with the given rows, each of which begins with its filter type."""
    header = struct.pack(">IIBBBBB", width, len(rows), bits, color_type, 0, 0, 0)
    body = _deflate(rows)
    return b"".join(
        [PNG_SIGNATURE, _chunk(b"IHDR", header), palette, _chunk(b"IDAT", body), _chunk(b"IEND", b"")]
    )


def _deflate(rows: NDArray[np.uint8]) -> bytes:
    """Compress rows to a zlib stream, with the same bytes for the same rows in every run and thread.

    ISA-L's level 1 takes the hash of a stream's third position from an uninitialised register, which holds
    the address of the stream (igzip_icf_body_h1_gr_bt.asm, write_first_byte). So the matches depend on the
    address of the stack, and one in some thousand small images had other bytes in another run or thread
    (https://github.com/intel/isa-l/issues/140). A short first piece goes through other code.
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


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))
