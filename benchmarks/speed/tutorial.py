"""The tutorial's cv2.kmeans call, scikit-learn and kseg-batch on the same photos, side by side.

python -m benchmarks.speed.tutorial [PHOTO ...]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.photos import PhotosMissingError, photo_1080p, read_photo
from benchmarks.speed.verdict import COLUMNS, Row, table_line, verdict
from benchmarks.support import contenders
from benchmarks.support.checks import WrongResultError, check
from benchmarks.support.report import heading, save
from kseg_batch.bench.exact_cost import DistinctColors
from kseg_batch.bench.synthetic import cover
from kseg_batch.errors import KsegError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

NOTES = """\
kseg    kseg_batch.segment(rgb, k), backend numba, 1 thread, median after a warm-up run
cv2     the tutorial's cv2.kmeans call, median of 3 runs (seeds 0 to 2) up to k = 5, above that one run
sk      scikit-learn KMeans(n_init=10) on the distinct colours weighted by their counts, one fit
cost    exact compactness of each one's own centres: float64, every pixel to its nearest centre,
        for cv2 the lowest of its runs. What cv2 returns as compactness is in the JSON only."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked for on the command line."""

    photos: tuple[Path, ...]
    """Image files; none means the packaged photo."""
    k: tuple[int, ...]
    repeat: int
    """Timed runs of kseg-batch."""
    threads: int
    """For cv2 and scikit-learn."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    cv2: bool
    sklearn: bool
    json: Path | None

    def told(self) -> dict[str, object]:
        """The settings for the heading and the JSON file, without folder names."""
        told = {name: value for name, value in asdict(self).items() if name not in ("json", "photos")}
        return {**told, "k": list(self.k), "photos": [path.name for path in self.photos]}


def main() -> None:
    """Run the comparison and print the table and the verdict."""
    settings = parse()
    rows: list[Row] = []
    try:
        print(heading("kseg-batch beside the tutorial's cv2.kmeans", shown(settings)), end="\n\n")
        print(NOTES, end="\n\n")
        print(table_line(COLUMNS), flush=True)
        for row in compare(settings):
            print(table_line(row.cells()), flush=True)
            rows.append(row)
    except (KsegError, OSError, PhotosMissingError, WrongResultError) as error:
        sys.exit(f"benchmarks.speed.tutorial: {error}")
    print("", *verdict(rows), sep="\n")
    if settings.json:
        save(settings.json, settings.told(), [row.as_dict() for row in rows])


def parse() -> Settings:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.tutorial", description=__doc__)
    parser.add_argument("photos", metavar="PHOTO", nargs="*", type=Path, help="default: a packaged photo")
    parser.add_argument("--k", type=integers, default=(2, 3, 5, 8, 16), help="e.g. 2,3,5,8,16")
    parser.add_argument("--repeat", type=int, default=7, help="timed runs of kseg-batch")
    parser.add_argument("--threads", type=int, default=2, help="for cv2 and scikit-learn")
    parser.add_argument("--size", type=size, default=(1920, 1080), help="WIDTHxHEIGHT of the photos")
    parser.add_argument("--no-cv2", action="store_true", help="leave cv2.kmeans out: the slow part")
    parser.add_argument("--no-sklearn", action="store_true", help="leave scikit-learn out")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures there too")
    given = parser.parse_args()
    if not given.no_sklearn and not (find_spec("sklearn") and find_spec("threadpoolctl")):
        parser.error("scikit-learn is not installed: pip install 'kseg-batch[photos]', or --no-sklearn")
    return Settings(
        photos=tuple(given.photos),
        k=given.k,
        repeat=given.repeat,
        threads=given.threads,
        width=given.size[0],
        height=given.size[1],
        cv2=not given.no_cv2,
        sklearn=not given.no_sklearn,
        json=given.json,
    )


def integers(text: str) -> tuple[int, ...]:
    """Numbers with commas between them."""
    return tuple(int(part) for part in text.split(","))


def size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT."""
    width, height = text.split("x")
    return int(width), int(height)


def shown(settings: Settings) -> dict[str, object]:
    """The settings that the heading tells."""
    return {
        "size": f"{settings.width} x {settings.height}",
        "threads": f"{settings.threads} for cv2 and scikit-learn, 1 for kseg-batch",
        "repeat": settings.repeat,
    }


def load(settings: Settings) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """The name and the (height, width, 3) uint8 RGB pixels of each photo."""
    if not settings.photos:
        yield "china.jpg", cover(photo_1080p(), settings.width, settings.height)
    for path in settings.photos:
        yield path.name, cover(read_photo(path), settings.width, settings.height)


def compare(settings: Settings) -> Iterator[Row]:
    """Check, then measure, each photo at each k.

    Raises:
        WrongResultError: A result of kseg-batch is not right.
    """
    for name, rgb in load(settings):
        distinct = DistinctColors.of(rgb)
        for k in settings.k:
            try:
                check(rgb, k)
            except WrongResultError as error:
                raise WrongResultError(f"{name}, k = {k}: {error}") from error
            yield Row(
                photo=name,
                colors=len(distinct.colors),
                k=k,
                ours=contenders.kseg_batch(rgb, distinct, k, settings.repeat),
                cv2=contenders.opencv(rgb, distinct, k, settings.threads) if settings.cv2 else None,
                sklearn=contenders.scikit_learn(distinct, k, settings.threads) if settings.sklearn else None,
            )


if __name__ == "__main__":
    main()
