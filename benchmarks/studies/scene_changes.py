"""Which frames begin another scene: overlap of colours at cuts, pans, fades and noise, between photographs.

python -m benchmarks.studies.scene_changes [PHOTO ...]
"""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise, permutations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.photos import SOURCES, PhotosMissingError, packaged_photos, read_photo
from benchmarks.support.frames import noisy
from benchmarks.support.report import heading, line
from kseg_batch.backends.numba_cpu import load
from kseg_batch.bench.synthetic import cover, photograph
from kseg_batch.errors import KsegError
from kseg_batch.live.tracker import MIN_INTERSECTION, coarse_histogram, histogram_intersection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]

SIZE = (640, 360)
"""Width and height of the frames."""

GENERATED = 12
"""Scenes of one kind, all of sky, hills and meadow: cuts that are hard to tell."""

SAME = ("motorcycle_right.png",)
"""Photographs of what another one shows."""

WIDTHS = (-34, 7, 7, 7, 7, 9)


def main() -> None:
    """Print a row for each kind of change."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies.scene_changes", description=__doc__)
    parser.add_argument("photos", metavar="PHOTO", nargs="*", type=Path, help="besides those of the packages")
    given = parser.parse_args()
    try:
        packaged = [path for package in SOURCES for path in packaged_photos(package) if path.name not in SAME]
        photos = [read_photo(path) for path in (*given.photos, *packaged)]
    except (OSError, KsegError, PhotosMissingError) as error:
        sys.exit(f"benchmarks.studies.scene_changes: {error}")
    print(
        heading(
            "Overlap of the colours of two frames", {"cut below": MIN_INTERSECTION, "photos": len(photos)}
        )
    )
    print()
    print(line(("", "pairs", "least", "median", "most", "cuts"), WIDTHS), flush=True)
    backend = load()
    for what, pairs in changes(photos):
        found = [
            histogram_intersection(*(coarse_histogram(backend.histogram(rgb)) for rgb in pair))
            for pair in pairs
        ]
        shares = (f"{share:.3f}" for share in (min(found), float(np.median(found)), max(found)))
        cuts = f"{100 * np.mean(np.array(found) < MIN_INTERSECTION):.0f}%"
        print(line((what, str(len(found)), *shares, cuts), WIDTHS), flush=True)


def changes(photos: list[NDArray[np.uint8]]) -> Iterator[tuple[str, Iterator[Pair]]]:
    """Kinds of change, and pairs of frames with such a change between them."""
    real = [cover(rgb, *SIZE) for rgb in photos]
    generated = [photograph(*SIZE, seed=seed) for seed in range(GENERATED)]
    scenes = real + generated[:6]
    yield "cut between photographs", permutations(real, 2)
    yield "cut between generated scenes", permutations(generated, 2)
    for sigma in (2.2, 6.0, 12.0):
        yield (
            f"noise of {sigma} grey levels",
            ((a, b) for rgb in scenes for a, b in [noisy([rgb] * 2, sigma)]),
        )
    for part in (40, 10, 5):
        yield f"pan by 1/{part} of the width", (pan_of(rgb, SIZE[0] // part) for rgb in photos)
    for n_frames in (50, 25, 12):
        yield (
            f"fade to black, {n_frames} frames",
            (pair for rgb in scenes for pair in fade(rgb, 0 * rgb, n_frames)),
        )
    for n_frames in (25, 12):
        yield (
            f"dissolve, {n_frames} frames",
            (pair for ab in pairwise(scenes) for pair in fade(*ab, n_frames)),
        )


def pan_of(rgb: NDArray[np.uint8], step: int) -> Pair:
    """Two views of a photo, so many pixels apart."""
    width, height = SIZE
    wide = cover(rgb, width * 3 // 2, height * 3 // 2)
    left, right = wide[:height, :width], wide[:height, step : step + width]
    return np.ascontiguousarray(left), np.ascontiguousarray(right)


def fade(one: NDArray[np.uint8], other: NDArray[np.uint8], n_frames: int) -> Iterator[Pair]:
    """Neighbouring frames of one picture that turns into another, with noise."""
    shares = np.linspace(0, 1, n_frames + 1)
    mixed = ((one * (1 - share) + other * share).astype(np.uint8) for share in shares)
    return pairwise(noisy(mixed))


if __name__ == "__main__":
    main()
