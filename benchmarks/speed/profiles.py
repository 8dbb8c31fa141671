"""Time of a photo from file to outputs, by its colour profile.

python -m benchmarks.speed.profiles [PHOTO ...] [--size 1920x1080] [--repeat 15] [--json FILE]
"""

from __future__ import annotations

import io
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from benchmarks.photos import SOURCES, packaged_photos, read_photo
from benchmarks.support.arguments import add_json, add_photos, exit_with_message, make_parser, size
from benchmarks.support.checks import WrongResultError
from benchmarks.support.folders import QUALITY
from benchmarks.support.report import heading, line, save, target_line
from kseg_batch.backends.registry import load
from kseg_batch.batch.storage.outputs import prepare_folders
from kseg_batch.batch.storage.scan import Job
from kseg_batch.batch.workers.jobs import Settings
from kseg_batch.batch.workers.process_image import process_image
from kseg_batch.bench.synthetic import cover
from kseg_batch.images.decode import decode, prepare_process
from kseg_batch.kmeans.options import FitOptions
from tests.support.icc import (
    ADOBE_RGB,
    DISPLAY_P3,
    SRGB,
    SRGB_CURVE,
    by_littlecms,
    gamma,
    matrix_profile,
    table_profile,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROGRAM = "benchmarks.speed.profiles"

K = 3

PROFILES: dict[str, bytes | None] = {
    "none": None,
    "sRGB": matrix_profile(SRGB, SRGB_CURVE, name="sRGB"),
    "Display P3": matrix_profile(DISPLAY_P3, SRGB_CURVE, name="Display P3"),
    "Adobe RGB": matrix_profile(ADOBE_RGB, gamma(563 / 256), name="Adobe RGB"),
    "a table, by LittleCMS": table_profile(b"RGB ", name="table"),
}

TARGET = 1.3
"""Greatest time of a Display P3 photo, in times of the same photo with a profile of sRGB."""

WIDTHS = (-14, -22, 9, 7)
COLUMNS = ("photo", "profile", "ms", "ratio")


@dataclass(frozen=True, slots=True)
class ProfileTime:
    """A photo with one profile."""

    photo: str
    profile: str
    milliseconds: float
    """Median CPU time from reading the file to its last output."""
    ratio: float
    """Median of the ratios to the time with the profile of sRGB in the same turn."""

    def cells(self) -> tuple[str, ...]:
        """Return the cells of a table row."""
        return self.photo, self.profile, f"{self.milliseconds:.2f}", f"{self.ratio:.2f}"


def main() -> None:
    """Measure each photo, and print a table and the target."""
    parser = make_parser(PROGRAM, __doc__)
    add_photos(parser, "default: packaged photos")
    parser.add_argument("--size", type=size, default=(1920, 1080), help="WIDTHxHEIGHT of the photos")
    parser.add_argument("--repeat", type=int, default=15, help="number of turns")
    add_json(parser)
    given = parser.parse_args()
    settings = {
        "size": f"{given.size[0]} x {given.size[1]}",
        "k": K,
        "quality": QUALITY,
        "repeat": given.repeat,
    }
    print(heading("One photo from JPEG to PNG, on one core, by its colour profile", settings), end="\n\n")
    print(line(COLUMNS, WIDTHS))
    paths = given.photos or [path for package in SOURCES for path in packaged_photos(package)]
    found: list[ProfileTime] = []
    with exit_with_message(PROGRAM):
        prepare_process()
        for path in paths:
            for result in measure(path.stem, cover(read_photo(path), *given.size), given.repeat):
                print(line(result.cells(), WIDTHS), flush=True)
                found.append(result)
        worst = max(result.ratio for result in found if result.profile == "Display P3")
        figure = f"Display P3 takes {worst:.2f} times the time of sRGB at most"
        print("", target_line(figure, worst <= TARGET, f"{TARGET}"), sep="\n")
        if given.json:
            save(given.json, settings, [asdict(result) for result in found])


def measure(name: str, rgb: NDArray[np.uint8], repeat: int) -> list[ProfileTime]:
    """Check and time a photo with each profile, one after the other, in turns.

    Raises:
        WrongResultError: Colours are more than a level off those of LittleCMS, or an image fails.
    """
    backend = load("numba")
    with tempfile.TemporaryDirectory() as folder:
        jobs: dict[str, Job] = {}
        for profile, icc in PROFILES.items():
            source = Path(folder, f"{len(jobs)}.jpg")
            source.write_bytes(jpeg(rgb, icc))
            check(source, icc)
            jobs[profile] = Job(source, Path(source.stem))
        settings = Settings(Path(folder, "out"), FitOptions(k=K), frozenset({"segmented", "masks"}))
        prepare_folders(settings.out, settings.save, [Path(folder)])
        seconds: dict[str, list[float]] = {profile: [] for profile in jobs}
        for turn in range(repeat + 1):
            for profile, job in jobs.items():
                start = time.process_time()
                outcome = process_image(job, settings, backend)
                if outcome.error is not None:
                    raise WrongResultError(f"{profile}: {outcome.error}")
                if turn:  # the first turn warms up
                    seconds[profile].append(time.process_time() - start)
    return [
        ProfileTime(
            photo=name,
            profile=profile,
            milliseconds=1e3 * statistics.median(times),
            ratio=statistics.median(a / b for a, b in zip(times, seconds["sRGB"], strict=True)),
        )
        for profile, times in seconds.items()
    ]


def jpeg(rgb: NDArray[np.uint8], icc: bytes | None) -> bytes:
    """Return a JPEG file of an (H, W, 3) uint8 image with an ICC profile, or without."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=QUALITY, icc_profile=icc)
    return buffer.getvalue()


def check(source: Path, icc: bytes | None) -> None:
    """Compare the decoded colours with those of LittleCMS.

    Raises:
        WrongResultError: A colour is more than one level off.
    """
    data = source.read_bytes()
    stored, found = decode(data, profile="ignore").rgb, decode(data).rgb
    expected = stored if icc is None else by_littlecms(stored, icc, "RGB")
    if np.abs(found.astype(np.int16) - expected).max() > 1:
        raise WrongResultError(f"{source}: the colours are not those of LittleCMS.")


if __name__ == "__main__":
    main()
