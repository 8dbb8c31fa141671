"""Time and memory of `segment`, each case in a fresh process. Linux only.

Larger images are made of one photo by tiling mirrored copies of it, each a little brighter or darker, because
an enlarged photo is blurred: neighbours are alike, and colours between those of the photo come up.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.photos import photo_1080p, read_photo
from benchmarks.speed.memory import WARM_UP
from benchmarks.support.contenders import timed
from kseg_batch import segment
from kseg_batch.backends.registry import load
from kseg_batch.bench.memory import PEAK_RESET, resident_mb
from kseg_batch.bench.synthetic import cover
from kseg_batch.optional import import_cv2

if TYPE_CHECKING:
    from numpy.typing import NDArray

DRIFT = (0, 2, -1, 1, -2, 3, -3)
"""What is added to the channels of one tile after the other, in grey levels."""


@dataclass(frozen=True, slots=True)
class Case:
    """What to measure."""

    photo: str | None
    """The file to tile; None for the packaged one."""
    megapixels: float
    k: int
    repeat: int
    """Timed calls, after one that is not."""


@dataclass(frozen=True, slots=True)
class Call:
    """What the calls took. 1 MB is 10**6 bytes."""

    pixels: int
    colors: int
    """Distinct ones."""
    k: int
    seconds: float
    """Median of the calls."""
    peak_mb: float
    """Peak resident memory of the process during the first call, with the image."""
    above_mb: float
    """The same, less what the process had just before the call."""
    digest: str
    """Of labels and centres."""


def tiled(photo: NDArray[np.uint8], megapixels: float) -> NDArray[np.uint8]:
    """An (H, W, 3) uint8 image, W : H near 16 : 9: the photo scaled down, or tiles of it."""
    height = max(1, round(math.sqrt(megapixels * 1e6 * 9 / 16)))
    width = max(1, round(megapixels * 1e6 / height))
    if height <= photo.shape[0] and width <= photo.shape[1]:
        return cover(photo, width, height)
    cv2 = import_cv2()
    image = np.empty((height, width, 3), np.uint8)
    columns = -(-width // photo.shape[1])
    for row, top in enumerate(range(0, height, photo.shape[0])):
        for column, left in enumerate(range(0, width, photo.shape[1])):
            tile = photo[:: -1 if row % 2 else 1, :: -1 if column % 2 else 1]
            target = image[top : top + photo.shape[0], left : left + photo.shape[1]]
            part = np.ascontiguousarray(tile[: target.shape[0], : target.shape[1]])
            drift = DRIFT[(row * columns + column) % len(DRIFT)]
            target[:] = cv2.add(part, (drift, drift, drift, 0))
    return image


def load_photo(photo: str | None) -> NDArray[np.uint8]:
    """The (H, W, 3) uint8 photo to tile."""
    return photo_1080p() if photo is None else read_photo(Path(photo))


def measure(case: Case) -> Call:
    """Measure a case in a process of its own.

    Raises:
        subprocess.CalledProcessError: It fails; its stderr went to the terminal.
    """
    command = [sys.executable, "-m", "benchmarks.speed.calls", json.dumps(asdict(case))]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return Call(**json.loads(done.stdout))


def measure_here(case: Case) -> Call:
    """Measure a case in this process, which should be fresh."""
    rgb = tiled(load_photo(case.photo), case.megapixels)
    segment(WARM_UP, 2, backend="numba")
    PEAK_RESET.write_text("5", encoding="ascii")  # the peak counts from here
    before = resident_mb("VmRSS")
    result = segment(rgb, case.k, backend="numba")
    peak = resident_mb("VmHWM")
    assert result.counts.sum() == result.labels.size == rgb.size // 3
    seconds = [timed(lambda: segment(rgb, case.k, backend="numba"))[0] for _ in range(case.repeat)]
    return Call(
        pixels=rgb.size // 3,
        colors=load("numba").histogram(rgb).n_colors,
        k=case.k,
        seconds=statistics.median(seconds),
        peak_mb=peak,
        above_mb=peak - before,
        digest=hashlib.sha256(result.labels.tobytes() + result.centers.tobytes()).hexdigest()[:16],
    )


if __name__ == "__main__":
    print(json.dumps(asdict(measure_here(Case(**json.loads(sys.argv[1]))))))
