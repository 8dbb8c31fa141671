"""The ceiling of any pipeline: decode and write, with nothing between.

The labels are made beforehand and kept in memory, 2 MB for a photo of 1920 x 1080. Packing them is the
encoder's work, as it is for whoever has labels.
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
class Share:
    """What a process has to do."""

    sources: tuple[Path, ...]
    """JPEG files."""
    out: Path
    """Where to write to."""
    k: int


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """A photo's outputs before they are encoded."""

    labels: NDArray[np.uint8]
    """(H, W) cluster numbers."""
    colors: NDArray[np.uint8]
    """(k, 3) RGB."""


def prepare(share: Share) -> Callable[[], None]:
    """Segment the photos; return what decodes each and writes what was found."""
    cv2 = import_cv2()
    cv2.setNumThreads(1)
    ready = [_segmented(source, share.k) for source in share.sources]
    make_folders(share.out)

    def work() -> None:
        for source, made in zip(share.sources, ready, strict=True):
            cv2.imdecode(np.frombuffer(source.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
            segmented, masks = output_paths(share.out, source, len(made.colors))
            packed = LabelMap.pack(made.labels, len(made.colors))
            segmented.write_bytes(encode_indexed(packed, made.colors))
            for cluster, path in enumerate(masks):
                path.write_bytes(encode_mask(packed, cluster))

    return work


def make_folders(out: Path) -> None:
    """Make the folders in which `output_paths` are."""
    for name in ("segmented", "masks"):
        (out / name).mkdir(parents=True, exist_ok=True)


def output_paths(out: Path, source: Path, k: int) -> tuple[Path, list[Path]]:
    """Where the segmented image and the k masks of a photo go, named as `kseg-batch run` names them."""
    masks = [out / "masks" / f"{source.stem}_mask{cluster}.png" for cluster in range(k)]
    return out / "segmented" / f"{source.stem}.png", masks


def _segmented(source: Path, k: int) -> Ready:
    result = segment(decode(source.read_bytes()).rgb, k, backend="numba")
    return Ready(result.labels, result.palette.colors)
