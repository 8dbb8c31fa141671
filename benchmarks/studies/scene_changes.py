"""Measure the overlap of the colours of two frames, at cuts, pans, fades and noise.

python -m benchmarks.studies.scene_changes [PHOTO ...] [--json FILE]
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise, permutations
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.photos import SOURCES, packaged_photos, read_photo
from benchmarks.support.arguments import add_json, add_photos, exit_with_message, make_parser
from benchmarks.support.frames import noisy
from benchmarks.support.report import heading, line, save
from kseg_batch.backends.numba_cpu import load
from kseg_batch.bench.synthetic import cover, photograph
from kseg_batch.live.tracker import MIN_INTERSECTION, coarse_histogram, histogram_intersection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]

PROGRAM = "benchmarks.studies.scene_changes"

SIZE = (640, 360)
"""Width and height of the frames."""

GENERATED = 12
"""Generated scenes, all of sky, hills and meadow: cuts between them are hard to find."""

SAME = ("motorcycle_right.png",)
"""Photographs that show the scene of another photograph."""

WIDTHS = (-34, 7, 7, 7, 7, 9)


@dataclass(frozen=True, slots=True)
class Overlap:
    """The overlap of colours over all pairs of one kind of change, from 0 to 1."""

    change: str
    pairs: int
    least: float
    median: float
    most: float
    cuts: float
    """Share of the pairs with an overlap below `MIN_INTERSECTION`."""

    def cells(self) -> tuple[str, ...]:
        """Return the cells of a table row."""
        shares = (f"{share:.3f}" for share in (self.least, self.median, self.most))
        return self.change, str(self.pairs), *shares, f"{100 * self.cuts:.0f}%"


def main() -> None:
    """Measure, and print a row for each kind of change."""
    parser = make_parser(PROGRAM, __doc__)
    add_photos(parser, "measured beside the packaged photos")
    add_json(parser)
    given = parser.parse_args()
    results = []
    with exit_with_message(PROGRAM):
        packaged = [path for package in SOURCES for path in packaged_photos(package) if path.name not in SAME]
        photos = [read_photo(path) for path in (*given.photos, *packaged)]
        settings = {"cut_below": MIN_INTERSECTION, "photos": len(photos)}
        print(heading("Overlap of the colours of two frames", settings), end="\n\n")
        print(line(("", "pairs", "least", "median", "most", "cuts"), WIDTHS), flush=True)
        for change, pairs in changes(photos):
            results.append(measure(change, pairs))
            print(line(results[-1].cells(), WIDTHS), flush=True)
        if given.json:
            save(given.json, settings, [asdict(result) for result in results])


def measure(change: str, pairs: Iterator[Pair]) -> Overlap:
    """Measure the overlap of all pairs of one kind of change."""
    backend = load()
    found = np.array(
        [
            histogram_intersection(*(coarse_histogram(backend.histogram(rgb)) for rgb in pair))
            for pair in pairs
        ]
    )
    cuts = float(np.mean(found < MIN_INTERSECTION))
    return Overlap(change, len(found), float(found.min()), float(np.median(found)), float(found.max()), cuts)


def changes(photos: list[NDArray[np.uint8]]) -> Iterator[tuple[str, Iterator[Pair]]]:
    """Yield each kind of change, and pairs of (H, W, 3) uint8 frames with such a change between them."""
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
    """Return two views of a photo, `step` pixels apart."""
    width, height = SIZE
    wide = cover(rgb, width * 3 // 2, height * 3 // 2)
    left, right = wide[:height, :width], wide[:height, step : step + width]
    return np.ascontiguousarray(left), np.ascontiguousarray(right)


def fade(one: NDArray[np.uint8], other: NDArray[np.uint8], n_frames: int) -> Iterator[Pair]:
    """Return an iterator over neighbouring frames of a picture that turns into another, with noise."""
    shares = np.linspace(0, 1, n_frames + 1)
    mixed = ((one * (1 - share) + other * share).astype(np.uint8) for share in shares)
    return pairwise(noisy(mixed))


if __name__ == "__main__":
    main()
