"""Folders of image files to run on, and the digest of an output folder."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.bench.synthetic import cover
from kseg_batch.images.png import encode_rgb
from kseg_batch.optional import import_cv2

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

QUALITY = 92
"""JPEG quality of all files."""

PER_FOLDER = 1000
"""Tiny images of one folder."""


def write_jpeg(path: Path, rgb: NDArray[np.uint8]) -> None:
    """Write an (H, W, 3) uint8 picture as JPEG.

    Raises:
        OSError: The picture cannot be encoded or written.
    """
    cv2 = import_cv2()
    done, data = cv2.imencode(".jpg", rgb[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, QUALITY))
    if not done:
        raise OSError("OpenCV cannot write a JPEG")
    path.write_bytes(data)


def write_moved(folder: Path, photo: NDArray[np.uint8], n_photos: int) -> None:
    """Write JPEG files of one (H, W, 3) uint8 photo, moved and brightened differently in each."""
    cv2 = import_cv2()
    folder.mkdir()
    for i in range(n_photos):
        moved = np.roll(photo, (11 * i, 17 * i), axis=(0, 1))
        changed = cv2.convertScaleAbs(moved, alpha=0.75 + 0.5 * i / n_photos, beta=i % 7)
        write_jpeg(folder / f"{i:05}.jpg", changed)


def write_varied(
    folder: Path, photos: Sequence[NDArray[np.uint8]], n_images: int, size: tuple[int, int]
) -> list[Path]:
    """Write JPEG files of one size, made of the photos in turn: each cropped, brightened, some mirrored.

    Args:
        folder: Folder of the files, made here.
        photos: (H, W, 3) uint8 photos.
        n_images: Number of files.
        size: Width and height of every file, in pixels.

    Returns:
        The paths of the files.
    """
    cv2 = import_cv2()
    rng = np.random.default_rng(0)
    folder.mkdir()
    paths = [folder / f"{i:05}.jpg" for i in range(n_images)]
    for i, path in enumerate(paths):
        photo = photos[i % len(photos)]
        height, width = (round(side * rng.uniform(0.85, 1)) for side in photo.shape[:2])
        top, left = rng.integers(photo.shape[0] - height + 1), rng.integers(photo.shape[1] - width + 1)
        cut = cover(photo[top : top + height, left : left + width], *size)
        changed = cv2.convertScaleAbs(cut, alpha=rng.uniform(0.8, 1.2), beta=rng.uniform(-10, 10))
        write_jpeg(path, changed[:, ::-1] if rng.integers(2) else changed)
    return paths


def write_tiny(folder: Path, n_images: int) -> None:
    """Write PNG files of 8 x 8 pixels, a thousand to a folder."""
    rng = np.random.default_rng(0)
    for i in range(n_images):
        path = folder / f"{i // PER_FOLDER:04}/{i % PER_FOLDER:03}.png"
        if i % PER_FOLDER == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(encode_rgb(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)))


def tree_digest(out: Path) -> str:
    """Return the SHA-256 of the names and contents of all PNG files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(out.rglob("*.png")):
        digest.update(str(path.relative_to(out)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
