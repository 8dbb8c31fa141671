"""Clean labels: the README's picture of them, and what they take.

python -m benchmarks.figures.regions [PHOTO ...]

The picture, benchmarks/results/regions.png, is the generated landscape of `benchmarks.figures.landscape` in
four colours: as it comes, and with smooth edges and no small regions. Of each photo, scaled to 1920 x 1080,
the regions at k = 3 and k = 16 are counted, and each step is timed on one thread.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from benchmarks.figures.landscape import GAP, HEIGHT, landscape
from benchmarks.photos import read_photo
from kseg_batch import segment
from kseg_batch.bench.synthetic import cover
from kseg_batch.segmentation import region_cleaner

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from kseg_batch import Segmentation

TARGET = Path(__file__).parents[1] / "results" / "regions.png"
K, SMOOTH, MIN_REGION = 4, 1, 100

TIMED_MIN_REGION = 50
REPEATS = 25


def panels() -> tuple[Segmentation, Segmentation]:
    """The scene before and after."""
    photo = landscape()
    return segment(photo, K), segment(photo, K, smooth=SMOOTH, min_region=MIN_REGION)


def side_by_side(before: Segmentation, after: Segmentation) -> NDArray[np.uint8]:
    """(H, W) uint8 labels of both, and K between them."""
    gap = np.full((HEIGHT, GAP), K, np.uint8)
    return np.concatenate([before.labels, gap, after.labels], axis=1)


def n_regions(labels: NDArray[np.uint8], k: int) -> int:
    """Regions of all clusters, as OpenCV counts them."""
    masks = ((labels == cluster).astype(np.uint8) for cluster in range(k))
    return sum(cv2.connectedComponents(mask, connectivity=4)[0] - 1 for mask in masks)


def milliseconds(step: Callable[[], object]) -> float:
    """Median of the time that a step takes on its thread."""
    step()
    times = []
    for _ in range(REPEATS):
        start = time.thread_time()
        step()
        times.append(time.thread_time() - start)
    return 1e3 * median(times)


def time_photo(path: Path) -> None:
    """Print a row for each k."""
    photo = cover(read_photo(path), 1920, 1080)
    for k in (3, 16):
        labels = segment(photo, k).labels
        smooth = partial(region_cleaner.smooth, labels, k, 1)
        smoothed = smooth()
        steps = (
            smooth,
            partial(region_cleaner.merge_small, labels, k, TIMED_MIN_REGION),
            partial(region_cleaner.merge_small, smoothed, k, TIMED_MIN_REGION),
        )
        times = "".join(f"{milliseconds(step):14.1f} ms" for step in steps)
        print(f"{path.stem:14}{k:3}{n_regions(labels, k):10,}{times}")


def main() -> None:
    """Write the picture, say how many regions it has, and time the photos."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.figures.regions", description=__doc__)
    parser.add_argument("photos", metavar="PHOTO", nargs="*", type=Path, help="image files to time")
    photos: list[Path] = parser.parse_args().photos
    before, after = panels()
    picture = Image.fromarray(side_by_side(before, after))
    picture.putpalette([*before.palette.colors.ravel().tolist(), 255, 255, 255])
    picture.save(TARGET, optimize=True)
    counts = [f"{n_regions(result.labels, K):,}" for result in (before, after)]
    print(f"wrote {TARGET.name}: {counts[0]} regions, and {counts[1]}")
    if photos:
        least = f"--min-region {TIMED_MIN_REGION}"
        print(f"{'':14}{'k':>3}{'regions':>10}{'--smooth 1':>17}{least:>17}{'after --smooth':>17}")
    for path in photos:
        time_photo(path)


if __name__ == "__main__":
    main()
