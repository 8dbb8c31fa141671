"""How many clusters: criteria compared on generated images, whose number is known, and on photos.

python -m benchmarks.studies.auto_k [PHOTO ...] [--json FILE]
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.photos import SOURCES, PhotosMissingError, packaged_photos, read_photo
from benchmarks.studies.samples import shrink
from benchmarks.studies.validity import CRITERIA, HIGH, LOW, choice, fits
from benchmarks.support.report import heading, line, save
from kseg_batch import segment
from kseg_batch.backends.registry import load
from kseg_batch.bench.synthetic import cover
from kseg_batch.errors import KsegError
from kseg_batch.optional import import_cv2

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

NOTES = f"""\
apart    of generated images of 2 to 10 noisy colours, the share whose number is found
edges    the same where 3% of the pixels are mixtures of two colours, as edges make them
photos   the least, the median and the greatest k, and the share at an end of {LOW} to {HIGH}
grey     the share at an end for the same photos without colour
half, noise, JPEG
         the share of photos with the same k at half the size, with noise of 3 grey levels, at quality 50"""

SIDE = 160
"""Pixels along the sides of generated images."""
APART = 60
"""Least distance of their colours, in grey levels."""
NOISE = (2, 6, 12)
"""Standard deviations of each channel."""
SHARES = ("equal", "random", "geometric")
MIXED = 0.03
"""Share of the pixels that are mixtures, where some are."""
LEAST_SHARE = 0.01

WIDTHS = (-29, 6, 6, 11, 7, 7, 6, 6, 6)
COLUMNS = ("criterion", "apart", "edges", "photos", "at end", "grey", "half", "noise", "JPEG")
TIME_WIDTHS = (-20, 8, 3, 11, 15)
TIME_COLUMNS = ("1920 x 1080", "colours", "k", "segment(k)", "segment(auto)")


@dataclass(slots=True)
class Tally:
    """What a criterion chooses."""

    criterion: str
    apart: list[bool] = field(default_factory=list)
    """Whether the number was found, for each generated image without mixtures."""
    edges: list[bool] = field(default_factory=list)
    """For each with them."""
    photos: dict[str, dict[str, int]] = field(default_factory=dict)
    """By variant and photo, the k chosen."""

    def row(self) -> Row:
        """The shares."""
        plain, grey = self.photos["plain"], self.photos["grey"]
        same = {
            variant: _share([self.photos[variant][name] == k for name, k in plain.items()])
            for variant in ("half", "noise", "JPEG")
        }
        at_end, grey_at_end = (_share([k in (LOW, HIGH) for k in found.values()]) for found in (plain, grey))
        return Row(self.criterion, _share(self.apart), _share(self.edges), plain, at_end, grey_at_end, same)


@dataclass(frozen=True, slots=True)
class Row:
    """A criterion; shares are of 1."""

    criterion: str
    apart: float
    edges: float
    photos: dict[str, int]
    """The k of each."""
    at_end: float
    grey_at_end: float
    same: dict[str, float]
    """By variant."""

    def cells(self) -> tuple[str, ...]:
        """What the table shows."""
        found = sorted(self.photos.values())
        spread = f"{found[0]}, {statistics.median_low(found)}, {found[-1]}"
        shares = (self.at_end, self.grey_at_end, *self.same.values())
        return self.criterion, _percent(self.apart), _percent(self.edges), spread, *map(_percent, shares)


@dataclass(frozen=True, slots=True)
class Time:
    """What the choice costs on a photo, on one thread."""

    photo: str
    colors: int
    """Distinct ones."""
    k: int
    """Chosen."""
    given: float
    """Processor seconds of `segment` with that k."""
    chosen: float
    """The same with "auto"."""

    def cells(self) -> tuple[str, ...]:
        """What the table shows."""
        seconds = (f"{1e3 * found:.1f} ms" for found in (self.given, self.chosen))
        return self.photo[:20], f"{self.colors:,}", str(self.k), *seconds


def _share(holds: Sequence[bool]) -> float:
    return sum(holds) / len(holds)


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"


def main() -> None:
    """Compare, print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies.auto_k", description=__doc__)
    parser.add_argument("photos", metavar="PHOTO", nargs="*", type=Path, help="besides the packaged ones")
    parser.add_argument("--pixels", type=int, default=1_000_000, help="of a photo at most")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures there")
    asked = parser.parse_args()
    settings = {"range": f"{LOW} to {HIGH}", "max_pixels": asked.pixels}
    print(heading("criteria for the number of clusters", settings), end=f"\n\n{NOTES}\n\n")
    try:
        paths = [*(path for package in SOURCES for path in packaged_photos(package)), *asked.photos]
        rows = [tally.row() for tally in compare(paths, asked.pixels)]
        print(line(COLUMNS, WIDTHS), *(line(row.cells(), WIDTHS) for row in rows), sep="\n", end="\n\n")
        times = [measure(path) for path in paths]
        print(
            line(TIME_COLUMNS, TIME_WIDTHS), *(line(found.cells(), TIME_WIDTHS) for found in times), sep="\n"
        )
        if asked.json:
            save(asked.json, settings, [*map(asdict, rows), *map(asdict, times)])
    except (KsegError, OSError, PhotosMissingError) as error:
        sys.exit(f"benchmarks.studies.auto_k: {error}")


def compare(paths: Sequence[Path], pixels: int) -> list[Tally]:
    """Have all criteria choose, on generated images and on photos of at most so many pixels."""
    tallies = [Tally(criterion) for criterion in CRITERIA]
    for k, mixed, rgb in generated():
        found = fits(rgb)
        for tally in tallies:
            (tally.edges if mixed else tally.apart).append(choice(tally.criterion, found) == k)
    for path in paths:
        for variant, rgb in variants(shrink(read_photo(path), pixels)):
            found = fits(rgb)
            for tally in tallies:
                tally.photos.setdefault(variant, {})[path.name] = choice(tally.criterion, found)
    return tallies


def generated() -> Iterator[tuple[int, bool, NDArray[np.uint8]]]:
    """Images of k noisy colours: k, whether some pixels are mixtures, and the (SIDE, SIDE, 3) uint8 image."""
    rng = np.random.default_rng(0)
    for share, noise, mixed in itertools.product(SHARES, NOISE, (False, True)):
        for k in range(2, 11):
            yield k, mixed, blobs(rng, _shares(rng, share, k), noise, MIXED * mixed)


def _shares(rng: np.random.Generator, kind: str, k: int) -> NDArray[np.float64]:
    """(k,) shares of the pixels."""
    if kind == "equal":
        return np.full(k, 1 / k)
    shares = rng.dirichlet(np.ones(k)) if kind == "random" else 0.6 ** np.arange(k)
    shares = np.maximum(shares / shares.sum(), LEAST_SHARE)
    return np.asarray(shares / shares.sum())


def blobs(
    rng: np.random.Generator, shares: NDArray[np.float64], noise: float, mixed: float
) -> NDArray[np.uint8]:
    """A (SIDE, SIDE, 3) uint8 image of colours at least `APART` from each other, in no order."""
    colors: list[NDArray[np.float64]] = []
    while len(colors) < len(shares):
        color = rng.uniform(20, 235, 3)
        if all(np.linalg.norm(color - other) >= APART for other in colors):
            colors.append(color)
    n = SIDE * SIDE
    pixels = np.array(colors)[rng.choice(len(shares), n, p=shares)]
    others = np.array(colors)[rng.integers(0, len(shares), n)]
    part = np.where(rng.random(n) < mixed, rng.random(n), 1.0)[:, None]
    pixels = part * pixels + (1 - part) * others + rng.normal(0, noise, (n, 3))
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8).reshape(SIDE, SIDE, 3)


def variants(rgb: NDArray[np.uint8]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """A photo, and what should not change the number of its clusters, or takes its colours away."""
    cv2 = import_cv2()
    yield "plain", rgb
    yield "half", shrink(rgb, rgb.size // 12)
    noise = np.random.default_rng(0).normal(0, 3, rgb.shape)
    yield "noise", np.clip(np.rint(rgb + noise), 0, 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, 50])
    yield "JPEG", np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    yield "grey", np.repeat(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def measure(path: Path) -> Time:
    """Time a photo at 1920 x 1080."""
    rgb = cover(read_photo(path), 1920, 1080)
    k = len(segment(rgb, "auto", backend="numba").counts)
    n_colors = load("numba").histogram(rgb).n_colors
    return Time(path.stem, n_colors, k, _seconds(rgb, k), _seconds(rgb, "auto"))


def _seconds(rgb: NDArray[np.uint8], k: int | str) -> float:
    """The median processor time of five calls, of which each has one thread."""
    seconds = []
    for _ in range(5):
        start = time.process_time()
        segment(rgb, k, backend="numba")
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
