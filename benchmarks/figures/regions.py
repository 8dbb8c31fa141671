"""Draw the generated landscape with and without small regions (regions.png), and time the steps on photos.

python -m benchmarks.figures.regions [PHOTO ...] [--out DIR]

The picture has four colours: as segmented, and with smooth edges and no small regions. The regions of each
photo, scaled to 1920 x 1080, are counted at k = 3 and k = 16, and each step is timed on one thread.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from benchmarks.figures.landscape import GAP, HEIGHT, landscape
from benchmarks.photos import read_photo
from benchmarks.support.arguments import RESULTS, add_out, add_photos, exit_with_message, make_parser
from benchmarks.support.stopwatch import median_seconds
from kseg_batch import segment
from kseg_batch.bench.synthetic import cover
from kseg_batch.segmentation import region_cleaner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kseg_batch import Segmentation

PROGRAM = "benchmarks.figures.regions"

TARGET = RESULTS / "regions.png"
K, SMOOTH, MIN_REGION = 4, 1, 100

TIMED_MIN_REGION = 50
REPEATS = 25


def panels() -> tuple[Segmentation, Segmentation]:
    """Return the segmented landscape, as it is and with smooth edges and no small regions."""
    photo = landscape()
    return segment(photo, K), segment(photo, K, smooth=SMOOTH, min_region=MIN_REGION)


def side_by_side(before: Segmentation, after: Segmentation) -> NDArray[np.uint8]:
    """Return the (H, W) uint8 labels of both, with the label K in the gap between them."""
    gap = np.full((HEIGHT, GAP), K, np.uint8)
    return np.concatenate([before.labels, gap, after.labels], axis=1)


def n_regions(labels: NDArray[np.uint8], k: int) -> int:
    """Return the number of regions of all clusters, as OpenCV counts them."""
    masks = ((labels == cluster).astype(np.uint8) for cluster in range(k))
    return sum(cv2.connectedComponents(mask, connectivity=4)[0] - 1 for mask in masks)


def time_photo(path: Path) -> None:
    """Print a row for each k: the regions, and the milliseconds of each step."""
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
        times = ""
        for step in steps:
            step()  # loads the kernels
            times += f"{1e3 * median_seconds(step, REPEATS, time.thread_time):14.1f} ms"
        print(f"{path.stem[:14]:14}{k:3}{n_regions(labels, k):10,}{times}", flush=True)


def main() -> None:
    """Write the picture, print its number of regions, and time the photos."""
    parser = make_parser(PROGRAM, __doc__)
    add_photos(parser, "to time; default: none")
    add_out(parser)
    given = parser.parse_args()
    before, after = panels()
    picture = Image.fromarray(side_by_side(before, after))
    picture.putpalette([*before.palette.colors.ravel().tolist(), 255, 255, 255])
    with exit_with_message(PROGRAM):
        target = given.out / TARGET.name
        target.parent.mkdir(parents=True, exist_ok=True)
        picture.save(target, optimize=True)
        counts = [f"{n_regions(result.labels, K):,}" for result in (before, after)]
        print(f"written: {target}, with {counts[0]} regions and {counts[1]}")
        if given.photos:
            least = f"--min-region {TIMED_MIN_REGION}"
            print(f"{'':14}{'k':>3}{'regions':>10}{'--smooth 1':>17}{least:>17}{'after --smooth':>17}")
        for path in given.photos:
            time_photo(path)


if __name__ == "__main__":
    main()
