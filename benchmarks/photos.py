"""Copy the photos that scikit-image and scikit-learn carry into a folder.

python -m benchmarks.photos DIR
"""

from __future__ import annotations

import argparse
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from kseg_batch.bench.synthetic import cover
from kseg_batch.images.decode import decode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SOURCES = {
    "skimage": (
        "data",
        (
            "astronaut.png",
            "chelsea.png",
            "coffee.png",
            "hubble_deep_field.jpg",
            "ihc.png",
            "motorcycle_left.png",
            "motorcycle_right.png",
            "retina.jpg",
            "rocket.jpg",
        ),
    ),
    "sklearn": ("datasets/images", ("china.jpg", "flower.jpg")),
}
"""The folder and the colour photographs of each package, by import name; a version may lack some."""


class PhotosMissingError(Exception):
    """A package that carries photographs is not installed, or has no photograph."""


def packaged_photos(package: str) -> list[Path]:
    """Return the paths of the photographs inside an installed package, without importing the package.

    Raises:
        PhotosMissingError: The package, or every photograph, is missing.
    """
    folder, names = SOURCES[package]
    spec = find_spec(package)
    roots = spec.submodule_search_locations if spec else None
    found = [Path(root) / folder / name for root in roots or () for name in names]
    photos = [path for path in found if path.is_file()]
    if not photos:
        raise PhotosMissingError(
            f"The package {package}, which carries photographs, is not installed or lacks them; "
            "to add all photographs: pip install scikit-image scikit-learn"
        )
    return photos


def collect(target: Path) -> list[Path]:
    """Copy all packaged photographs into a folder, under their own names, and return the copies.

    Raises:
        PhotosMissingError: A package is missing; nothing is copied.
    """
    photos = [path for package in SOURCES for path in packaged_photos(package)]
    target.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copyfile(path, target / path.name)) for path in photos]


def read_photo(path: Path) -> NDArray[np.uint8]:
    """Return the (H, W, 3) uint8 RGB pixels of an image file.

    Raises:
        ImageError: The file is not an image, or is damaged.
        OSError: The file cannot be read.
    """
    return decode(path.read_bytes()).rgb


def photo_1080p() -> NDArray[np.uint8]:
    """Return a (1080, 1920, 3) uint8 RGB photo: china.jpg of scikit-learn, enlarged and cropped.

    Raises:
        PhotosMissingError: scikit-learn is not installed.
    """
    china = next(path for path in packaged_photos("sklearn") if path.name == "china.jpg")
    return cover(read_photo(china), 1920, 1080)


def main() -> None:
    """Copy the photographs into the folder named on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.photos",
        description=__doc__.partition("\n")[0],
    )
    parser.add_argument("target", metavar="DIR", type=Path, help="folder of the copies, made if missing")
    target: Path = parser.parse_args().target
    try:
        photos = collect(target)
    except PhotosMissingError as error:
        sys.exit(str(error))
    print(f"{len(photos)} photographs in {target}")


if __name__ == "__main__":
    main()
