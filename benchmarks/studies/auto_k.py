"""Compare criteria for the number of clusters, on generated images with a known number and on photos.

python -m benchmarks.studies.auto_k [PHOTO ...] [--json FILE]
"""

from __future__ import annotations

import itertools
import statistics
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.photos import SOURCES, packaged_photos, read_photo
from benchmarks.studies.validity import CRITERIA, HIGH, LOW, choice, fits
from benchmarks.support.arguments import add_json, add_photos, exit_with_message, make_parser
from benchmarks.support.report import heading, line, save
from benchmarks.support.samples import shrink
from benchmarks.support.stopwatch import median_seconds
from kseg_batch import segment
from kseg_batch.backends.registry import load
from kseg_batch.bench.synthetic import cover
from kseg_batch.optional import import_cv2

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

PROGRAM = "benchmarks.studies.auto_k"

NOTES = f"""\
apart    share of generated images of 2 to 10 noisy colours whose number is found
edges    the same where 3% of the pixels are mixtures of two colours, as at edges
photos   the least, the median and the greatest k, and the share at an end of {LOW} to {HIGH}
grey     the share at an end for the same photos without colour
half, noise, JPEG
         share of photos with the same k at half the size, with noise of 3 grey levels, at quality 50"""

SIDE = 160
"""Side of a generated image, in pixels."""
APART = 60
"""Least distance of its colours, in grey levels."""
NOISE = (2, 6, 12)
"""Standard deviations of each channel, in grey levels."""
SHARES = ("equal", "random", "geometric")
MIXED = 0.03
"""Share of mixed pixels, in the images that have some."""
LEAST_SHARE = 0.01

WIDTHS = (-29, 6, 6, 11, 7, 7, 6, 6, 6)
COLUMNS = ("criterion", "apart", "edges", "photos", "at end", "grey", "half", "noise", "JPEG")
TIME_WIDTHS = (-20, 8, 3, 11, 15)
TIME_COLUMNS = ("1920 x 1080", "colours", "k", "segment(k)", "segment(auto)")


@dataclass(slots=True)
class Tally:
    """The choices of one criterion."""

    criterion: str
    apart: list[bool] = field(default_factory=list)
    """True for each generated image without mixtures whose number was found."""
    edges: list[bool] = field(default_factory=list)
    """The same for each image with mixtures."""
    photos: dict[str, dict[str, int]] = field(default_factory=dict)
    """The chosen k, by variant and photo."""

    def result(self) -> CriterionResult:
        """Return the shares."""
        plain, grey = self.photos["plain"], self.photos["grey"]
        same = {
            variant: _share([self.photos[variant][name] == k for name, k in plain.items()])
            for variant in ("half", "noise", "JPEG")
        }
        at_end, grey_at_end = (_share([k in (LOW, HIGH) for k in found.values()]) for found in (plain, grey))
        return CriterionResult(
            self.criterion, _share(self.apart), _share(self.edges), plain, at_end, grey_at_end, same
        )


@dataclass(frozen=True, slots=True)
class CriterionResult:
    """The results of one criterion. Shares are from 0 to 1."""

    criterion: str
    apart: float
    edges: float
    photos: dict[str, int]
    """The chosen k of each photo."""
    at_end: float
    grey_at_end: float
    same: dict[str, float]
    """Share of photos with the same k, by variant."""

    def cells(self) -> tuple[str, ...]:
        """Return the cells of a table row."""
        found = sorted(self.photos.values())
        spread = f"{found[0]}, {statistics.median_low(found)}, {found[-1]}"
        shares = (self.at_end, self.grey_at_end, *self.same.values())
        return self.criterion, _percent(self.apart), _percent(self.edges), spread, *map(_percent, shares)


@dataclass(frozen=True, slots=True)
class ChoiceTime:
    """The time of the choice on a photo, on one thread."""

    photo: str
    colors: int
    """Distinct colours."""
    k: int
    """The chosen number."""
    given: float
    """Processor seconds of `segment` with this k."""
    chosen: float
    """Processor seconds of `segment` with "auto"."""

    def cells(self) -> tuple[str, ...]:
        """Return the cells of a table row."""
        seconds = (f"{1e3 * found:.1f} ms" for found in (self.given, self.chosen))
        return self.photo[:20], f"{self.colors:,}", str(self.k), *seconds


def _share(holds: Sequence[bool]) -> float:
    return sum(holds) / len(holds)


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"


def main() -> None:
    """Compare, and print the tables."""
    parser = make_parser(PROGRAM, __doc__)
    add_photos(parser, "measured beside the packaged photos")
    parser.add_argument("--pixels", type=int, default=1_000_000, help="most pixels of a photo")
    add_json(parser)
    given = parser.parse_args()
    settings = {"range": f"{LOW} to {HIGH}", "max_pixels": given.pixels}
    print(heading("Criteria for the number of clusters", settings), end=f"\n\n{NOTES}\n\n")
    with exit_with_message(PROGRAM):
        paths = [*(path for package in SOURCES for path in packaged_photos(package)), *given.photos]
        results = [tally.result() for tally in compare(paths, given.pixels)]
        print(
            line(COLUMNS, WIDTHS), *(line(found.cells(), WIDTHS) for found in results), sep="\n", end="\n\n"
        )
        times = [measure(path) for path in paths]
        print(
            line(TIME_COLUMNS, TIME_WIDTHS), *(line(found.cells(), TIME_WIDTHS) for found in times), sep="\n"
        )
        if given.json:
            save(given.json, settings, [*map(asdict, results), *map(asdict, times)])


def compare(paths: Sequence[Path], pixels: int) -> list[Tally]:
    """Let all criteria choose, on generated images and on photos of at most a number of pixels."""
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
    """Yield images of k noisy colours: k, whether pixels are mixed, and the (SIDE, SIDE, 3) uint8 image."""
    rng = np.random.default_rng(0)
    for share, noise, mixed in itertools.product(SHARES, NOISE, (False, True)):
        for k in range(2, 11):
            yield k, mixed, blobs(rng, _shares(rng, share, k), noise, MIXED * mixed)


def _shares(rng: np.random.Generator, kind: str, k: int) -> NDArray[np.float64]:
    """Return the (k,) shares of the pixels."""
    if kind == "equal":
        return np.full(k, 1 / k)
    shares = rng.dirichlet(np.ones(k)) if kind == "random" else 0.6 ** np.arange(k)
    shares = np.maximum(shares / shares.sum(), LEAST_SHARE)
    return np.asarray(shares / shares.sum())


def blobs(
    rng: np.random.Generator, shares: NDArray[np.float64], noise: float, mixed: float
) -> NDArray[np.uint8]:
    """Return a (SIDE, SIDE, 3) uint8 image of colours at least `APART` from each other, in random order."""
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
    """Yield a photo, versions of it that should keep its number of clusters, and the grey photo."""
    cv2 = import_cv2()
    yield "plain", rgb
    yield "half", shrink(rgb, rgb.size // 12)
    noise = np.random.default_rng(0).normal(0, 3, rgb.shape)
    yield "noise", np.clip(np.rint(rgb + noise), 0, 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, 50])
    yield "JPEG", np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    yield "grey", np.repeat(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def measure(path: Path) -> ChoiceTime:
    """Time the choice on a photo at 1920 x 1080."""
    rgb = cover(read_photo(path), 1920, 1080)
    k = len(segment(rgb, "auto", backend="numba").counts)
    n_colors = load("numba").histogram(rgb).n_colors
    return ChoiceTime(path.stem, n_colors, k, _seconds(rgb, k), _seconds(rgb, "auto"))


def _seconds(rgb: NDArray[np.uint8], k: int | str) -> float:
    """Return the median processor time of five calls on one thread."""
    return median_seconds(lambda: segment(rgb, k, backend="numba"), 5, time.process_time)


if __name__ == "__main__":
    main()
