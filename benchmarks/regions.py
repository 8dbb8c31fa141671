"""The README's picture of clean labels: `python -m benchmarks.regions` writes benchmarks/results/regions.png.

The generated landscape of `benchmarks.scene` in four colours: as they are, and with smooth edges and no small
regions.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from benchmarks.scene import GAP, HEIGHT, landscape
from kseg_batch import segment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kseg_batch import Segmentation

TARGET = Path(__file__).parent / "results" / "regions.png"
K, SMOOTH, MIN_REGION = 4, 1, 100


def panels() -> tuple[Segmentation, Segmentation]:
    """The scene before and after."""
    photo = landscape()
    return segment(photo, K), segment(photo, K, smooth=SMOOTH, min_region=MIN_REGION)


def side_by_side(before: Segmentation, after: Segmentation) -> NDArray[np.uint8]:
    """(H, W) uint8 labels of both, and K between them."""
    gap = np.full((HEIGHT, GAP), K, np.uint8)
    return np.concatenate([before.labels, gap, after.labels], axis=1)


def n_regions(result: Segmentation) -> int:
    """Regions of all clusters."""
    masks = (result.mask(cluster).astype(np.uint8) for cluster in range(K))
    return sum(cv2.connectedComponents(mask, connectivity=4)[0] - 1 for mask in masks)


def main() -> None:
    """Write the picture, and say how many regions there are."""
    before, after = panels()
    picture = Image.fromarray(side_by_side(before, after))
    picture.putpalette([*before.palette.colors.ravel().tolist(), 255, 255, 255])
    picture.save(TARGET, optimize=True)
    print(f"wrote {TARGET.name}: {n_regions(before):,} regions, and {n_regions(after):,}")


if __name__ == "__main__":
    main()
