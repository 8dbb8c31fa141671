"""What COCO annotations take: `python -m benchmarks.studies.coco PHOTO ...`.

Of each photo, scaled to 1920 x 1080, the annotations at k = 3 and k = 16 are encoded on one thread, and
for comparison the same masks as PNG files.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures.regions import milliseconds
from benchmarks.photos import read_photo
from kseg_batch.backends.registry import load
from kseg_batch.batch.storage.scan import Job
from kseg_batch.bench.synthetic import cover
from kseg_batch.images import coco, png
from kseg_batch.images.label_map import LabelMap
from kseg_batch.kmeans.options import FitOptions

if TYPE_CHECKING:
    from kseg_batch.kmeans.palette import Palette


def dataset(job: Job, packed: LabelMap, palette: Palette) -> int:
    """Bytes of the dataset of labels that no other output has unpacked."""
    return len(coco.encode(job.path_below_source, LabelMap(packed.rows, packed.width, packed.bits), palette))


def masks(packed: LabelMap, k: int) -> int:
    """Bytes of the PNG files of all clusters."""
    return sum(len(png.encode_mask(packed, cluster)) for cluster in range(k))


def time_photo(path: Path) -> None:
    """Print a row for each k."""
    backend, job = load("numba"), Job(path, Path(path.stem))
    photo = cover(read_photo(path), 1920, 1080)
    histogram = backend.histogram(photo)
    for k in (3, 16):
        palette = backend.fit(histogram, FitOptions(k))
        packed = backend.label_map(photo, palette, histogram, masks=True)
        ways = (partial(dataset, job, packed, palette), partial(masks, packed, k))
        figures = "".join(f"{milliseconds(way):9.1f} ms{way() / 1e3:7.0f} KB" for way in ways)
        print(f"{path.stem:18}{k:3}{figures}")


def main() -> None:
    """Time the photos."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies.coco", description=__doc__)
    parser.add_argument("photos", metavar="PHOTO", nargs="+", type=Path, help="image files")
    photos: list[Path] = parser.parse_args().photos
    print(f"{'':18}{'k':>3}{'annotations':>22}{'masks as PNG':>22}")
    for path in photos:
        time_photo(path)


if __name__ == "__main__":
    main()
