"""Work for the GPU's host program, and a driver that answers as the test says."""

from __future__ import annotations

import functools
import subprocess
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.backends.gpu.batch import BatchItem
from kseg_batch.kmeans.options import FitOptions
from tests.support.images import AWKWARD, photos

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.images import Image


def ragged_batch(n: int) -> tuple[list[Image], list[FitOptions]]:
    """Images of all shapes, each with options of its own."""
    rng = np.random.default_rng(n)
    names = list(AWKWARD)
    images = [AWKWARD[names[i % len(names)]] for i in range(n)]
    options = [
        FitOptions(
            k=int(rng.choice([1, 2, 3, 4, 5, 7, 16, 17])),
            attempts=int(rng.integers(1, 4)),
            max_iter=int(rng.choice([1, 3, 100])),
            eps=float(rng.choice([0, 0.2, 5])),
            seed=int(rng.integers(1 << 62)),
        )
        for _ in range(n)
    ]
    return images, options


@functools.cache
def seven_items() -> list[BatchItem]:
    """Batch items of seven images of nearly the same size, tagged by their number."""
    images = [photos()["coffee"][i::13, ::11] for i in range(7)]
    return [BatchItem(image, FitOptions(k=3, attempts=1), True, i) for i, image in enumerate(images)]


def compile_driver(folder: Path, text: str) -> Path:
    """Compile C to a library with the name of the NVIDIA driver."""
    source, library = folder / "driver.c", folder / "libcuda.so.1"
    source.write_text(text)
    subprocess.run(["g++", "-x", "c", "-shared", "-fPIC", "-o", library, source], check=True)
    return library
