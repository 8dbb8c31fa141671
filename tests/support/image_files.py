"""Image files: written to a folder, encoded to bytes, and read back by Pillow."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as Pillow

from tests.support.images import noise

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tests.support.images import Image


def save(image: NDArray[Any], path: Path) -> Path:
    """Write an image in the format of its suffix, and the folders that the path needs; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(image).save(path)
    return path


def save_noise(folder: Path, number: int, side: int = 90) -> Path:
    """Write square images of noise to p, in three subfolders; return the folder."""
    for i in range(number):
        save(noise(side, side, seed=i), folder / f"p/{i % 3}/{i:03}.bmp")
    return folder


def pixels_of(path: Path) -> Image:
    """The pixels of a file: labels of an indexed PNG, True and False of a mask."""
    with Pillow.open(path) as picture:
        return np.asarray(picture)


def with_alpha(rgb: Image, opaque: NDArray[np.bool_]) -> Image:
    """(H, W, 4) the image, transparent where it is not opaque."""
    return np.dstack([rgb, opaque * np.uint8(255)])


def encoded(picture: Pillow.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a file of the given format."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> Pillow.Image:
    """The picture of a file, decoded by Pillow."""
    picture = Pillow.open(io.BytesIO(data))
    picture.load()
    return picture


def png_of_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file of the given chunks."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
