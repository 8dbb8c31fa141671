"""Checks of written files, read with Pillow, which wrote none of the files of kseg-batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from benchmarks.support.ceiling import output_paths
from benchmarks.support.checks import WrongResultError
from kseg_batch import segment
from kseg_batch.images.decode import decode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray


def check_exact(sources: Sequence[Path], out: Path, k: int) -> None:
    """Compare the outputs of each photo with the result of `segment`.

    Raises:
        WrongResultError: A label, a colour or a mask differs, or a file cannot be read.
    """
    for source in sources:
        found = segment(decode(source.read_bytes()).rgb, k, backend="numba")
        segmented, masks = output_paths(out, source, len(found.counts))
        labels, colors = _read_indexed(segmented)
        _require(np.array_equal(labels, found.labels), segmented, "the labels are those of segment()")
        same = np.array_equal(colors[: len(found.counts)], found.palette.colors)
        _require(same, segmented, "the colours are those of segment()")
        for cluster, path in enumerate(masks):
            same = np.array_equal(_read(path) > 0, found.mask(cluster))
            _require(same, path, "the mask is that of segment()")


def check_partition(sources: Sequence[Path], out: Path, k: int) -> None:
    """Check, for any centres, that each pixel is in one mask and that all pixels of a mask have one colour.

    Raises:
        WrongResultError: A pixel is in no mask or in several, a colour differs, or a file cannot be read.
    """
    for source in sources:
        segmented, paths = output_paths(out, source, k)
        masks = np.stack([_read(path) > 0 for path in paths])
        _require(bool((masks.sum(axis=0) == 1).all()), segmented, "each pixel is in one mask")
        picture = _read(segmented)
        for mask, path in zip(masks, paths, strict=True):
            pixels = picture[mask]
            _require(bool((pixels == pixels[:1]).all()), path, "its pixels have one colour")


def _read(path: Path) -> NDArray[np.uint8]:
    """Return the pixels as stored in the file: for an image with a palette, the indices."""
    try:
        with Image.open(path) as picture:
            return np.asarray(picture).astype(np.uint8)
    except OSError as error:
        raise WrongResultError(f"{path.name} cannot be read: {error}") from error


def _read_indexed(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the (H, W) uint8 indices and the (n, 3) uint8 palette."""
    labels = _read(path)
    with Image.open(path) as picture:
        palette = picture.getpalette() or []
    return labels, np.array(palette, np.uint8).reshape(-1, 3)


def _require(holds: bool, path: Path, statement: str) -> None:
    if not holds:
        raise WrongResultError(f"{path.name} is wrong; expected: {statement}.")
