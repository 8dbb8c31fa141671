"""The ceiling of any pipeline: decode and write, without segmenting.

The labels are made beforehand and kept in memory, 2 MB for a photo of 1920 x 1080. Packing the labels is part
of encoding, and is timed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch import segment
from kseg_batch.images.decode import decode
from kseg_batch.images.label_map import LabelMap
from kseg_batch.images.png import encode_indexed, encode_mask
from kseg_batch.optional import import_cv2

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class CeilingShare:
    """The photos that one process decodes and writes."""

    sources: tuple[Path, ...]
    """JPEG files."""
    out: Path
    """Output folder."""
    k: int


@dataclass(frozen=True, slots=True, eq=False)
class SegmentedPhoto:
    """The outputs of a photo before they are encoded."""

    labels: NDArray[np.uint8]
    """(H, W) cluster numbers."""
    colors: NDArray[np.uint8]
    """(k, 3) RGB."""


def prepare(share: CeilingShare) -> Callable[[], None]:
    """Segment the photos, and return a function that decodes each photo and writes its outputs."""
    cv2 = import_cv2()
    cv2.setNumThreads(1)
    photos = [_segmented(source, share.k) for source in share.sources]
    make_folders(share.out)

    def work() -> None:
        for source, photo in zip(share.sources, photos, strict=True):
            cv2.imdecode(np.frombuffer(source.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
            segmented, masks = output_paths(share.out, source, len(photo.colors))
            packed = LabelMap.pack(photo.labels, len(photo.colors))
            segmented.write_bytes(encode_indexed(packed, photo.colors))
            for cluster, path in enumerate(masks):
                path.write_bytes(encode_mask(packed, cluster))

    return work


def make_folders(out: Path) -> None:
    """Make the folders of `output_paths`."""
    for name in ("segmented", "masks"):
        (out / name).mkdir(parents=True, exist_ok=True)


def output_paths(out: Path, source: Path, k: int) -> tuple[Path, list[Path]]:
    """Return the paths of the segmented image and of the k masks of a photo, named as by `kseg-batch run`."""
    masks = [out / "masks" / f"{source.stem}_mask{cluster}.png" for cluster in range(k)]
    return out / "segmented" / f"{source.stem}.png", masks


def _segmented(source: Path, k: int) -> SegmentedPhoto:
    result = segment(decode(source.read_bytes()).rgb, k, backend="numba")
    return SegmentedPhoto(result.labels, result.palette.colors)
