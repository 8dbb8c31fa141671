"""Count the units of work of one exact Lloyd iteration, for each of four methods.

python -m benchmarks.studies.lloyd_ways [PHOTO ...] [--json FILE]

A unit is the squared distance of one point to one centre, or a test of the same size. Nothing is timed. The
photos are scaled to 1920 x 1080; the centres are the final centres of `segment`. The methods:

pixels    every pixel against every centre
colors    every distinct colour against every centre
columns   the colours of equal R and G, in which each centre owns an interval of B: the lower envelope of k
          lines for each column takes at least k units to set up and k units to go through
runs      16 neighbours in z-order: a unit and a test for each centre and run; where several centres can win,
          every colour against each of them. kernels/clusters.cuh does this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.photos import photo_1080p, read_photo
from benchmarks.support.arguments import add_json, add_photos, exit_with_message, make_parser
from benchmarks.support.report import line, save
from kseg_batch.backends.gpu.layout import RUN
from kseg_batch.backends.registry import load
from kseg_batch.bench.synthetic import cover
from kseg_batch.kmeans.fixed_point import SCALE
from kseg_batch.kmeans.options import FitOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kseg_batch.kmeans.histogram import ColorHistogram

PROGRAM = "benchmarks.studies.lloyd_ways"

WIDTH, HEIGHT = 1920, 1080
CLUSTERS = (3, 16, 64, 256)


def count(histogram: ColorHistogram, centers: NDArray[np.int64]) -> dict[str, int]:
    """Return the units of one iteration over the colours of an image, by method.

    Args:
        histogram: Colours of the image.
        centers: (k, 3) int64, Q8.6.
    """
    k = len(centers)
    colors = histogram.colors.astype(np.int64)
    columns = len(np.unique(colors[:, 0] << 8 | colors[:, 1]))
    return {
        "pixels": histogram.n_pixels * k,
        "colors": len(colors) * k,
        "columns": columns * 2 * k,
        "runs": _count_runs(colors * SCALE, centers),
    }


def _count_runs(points: NDArray[np.int64], centers: NDArray[np.int64]) -> int:
    starts = np.arange(0, len(points), RUN)
    low, high = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
    middle = (low + high) >> 1
    lengths = np.diff(np.append(starts, len(points)))
    units = 0
    for part in np.array_split(np.arange(len(starts)), len(starts) // 4096 + 1):
        distances = ((middle[part, None] - centers) ** 2).sum(axis=2)
        owner = distances.argmin(axis=1)
        reach = (high - middle)[part, None] * np.abs(centers - centers[owner][:, None])
        margins = distances - distances.min(axis=1)[:, None] - 2 * reach.sum(axis=2)
        ties = (margins == 0) & (np.arange(len(centers)) <= owner[:, None])
        candidates = ((margins < 0) | ties).sum(axis=1)
        units += int(2 * margins.size + (lengths[part] * candidates)[candidates > 1].sum())
    return units


def main() -> None:
    """Count, and print a table."""
    parser = make_parser(PROGRAM, __doc__)
    add_photos(parser, "default: a packaged photo")
    add_json(parser)
    given = parser.parse_args()
    results = []
    widths = (-14, 8, 4, 9, 9, 9, 9)
    with exit_with_message(PROGRAM):
        print("units of one iteration, in millions")
        print(line(("photo", "colours", "k", "pixels", "colors", "columns", "runs"), widths))
        photos = {path.name: cover(read_photo(path), WIDTH, HEIGHT) for path in given.photos}
        backend = load("numba")
        for name, rgb in (photos or {"china.jpg": photo_1080p()}).items():
            histogram = backend.histogram(rgb)
            for k in CLUSTERS:
                centers = backend.fit(histogram, FitOptions(k=k)).fixed_centers.astype(np.int64)
                units = count(histogram, centers)
                results.append({"photo": name, "colors": histogram.n_colors, "k": k, "units": units})
                cells = [f"{value / 1e6:.2f}" for value in units.values()]
                print(line((name[:14], f"{histogram.n_colors:,}", str(k), *cells), widths), flush=True)
        if given.json:
            save(given.json, {"size": f"{WIDTH} x {HEIGHT}"}, results)


if __name__ == "__main__":
    main()
