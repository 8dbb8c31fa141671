"""`kseg-batch live` beside the tutorial's loop: frames a second, and how steady the labels are.

python -m benchmarks.speed.live
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.support.checks import WrongResultError
from benchmarks.support.frames import noisy, pan, write_video
from benchmarks.support.report import heading, judged, line, save
from kseg_batch.backends.numba_cpu import load
from kseg_batch.bench.synthetic import cover, photograph
from kseg_batch.kmeans import reference
from kseg_batch.kmeans.histogram import ColorHistogram
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.live.stabilizer import hold_labels_reference
from kseg_batch.live.tracker import Tracker
from kseg_batch.optional import import_cv2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

K = 5
STEADY = 8.0
"""Both are the command's defaults."""

CHECKED = (320, 180)
"""Width and height at which each frame is compared with the NumPy oracle before anything is timed."""

STATIC_FRAMES = 20

TARGET = Path(__file__).parents[1] / "results" / "live.json"

WIDTHS = (-44, 5, 9, 11, 9)


@dataclass(frozen=True, slots=True)
class Row:
    """One way to do it."""

    what: str
    frames: int
    """That were timed, in each run."""
    rate: float
    """Frames a second, the median of the runs; ours as the command itself tells, so without its start."""
    least: float
    """Of the runs."""
    changed: float | None
    """Share of the pixels that change their label from a frame to the next of a static scene; median."""

    def cells(self) -> tuple[str, ...]:
        """What the table shows."""
        changed = "" if self.changed is None else f"{100 * self.changed:.3f}%"
        return self.what, str(self.frames), f"{self.rate:.2f}", f"{self.least:.2f}", changed


def main() -> None:
    """Check, measure, print, and write the JSON file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.live", description=__doc__)
    parser.add_argument("--size", default="1920x1080", help="WIDTHxHEIGHT of the video")
    parser.add_argument("--frames", type=int, default=250, help="of the video")
    parser.add_argument("--repeat", type=int, default=5, help="runs of the command")
    parser.add_argument(
        "--tutorial-frames", type=int, default=2, help="for the tutorial's loop, the slow part"
    )
    parser.add_argument(
        "--json", metavar="FILE", type=Path, default=TARGET, help="where to write the figures"
    )
    given = parser.parse_args()
    width, height = map(int, given.size.split("x"))
    settings = {
        "size": f"{width} x {height}",
        "k": K,
        "video": f"{given.frames} frames of H.264, a pan over a generated scene with a sensor's noise",
        "steady": STEADY,
        "repeat": given.repeat,
    }
    print(heading("kseg-batch live beside the tutorial's loop", settings), end="\n\n")
    try:
        check_tracker()
        static = list(noisy([photograph(width, height)] * STATIC_FRAMES))
        with tempfile.TemporaryDirectory() as folder:
            clip = write_video(Path(folder, "clip.mp4"), noisy(pan(given.frames, width, height)))
            print(line(("", "runs of", "frames/s", "least", "changed"), WIDTHS), flush=True)
            rows = []
            for row in measure(clip, static, given.frames, given.repeat, given.tutorial_frames):
                rows.append(row)
                print(line(row.cells(), WIDTHS), flush=True)
    except (OSError, WrongResultError) as error:
        sys.exit(f"benchmarks.speed.live: {error}")
    print("", *verdict(rows), sep="\n")
    save(given.json, settings, [asdict(row) for row in rows])


def check_tracker() -> None:
    """See that palettes and labels equal the NumPy oracle's, frame after frame.

    Raises:
        WrongResultError: They do not.
    """
    options = FitOptions(k=K)
    tracker = Tracker(load(), options, STEADY)
    palette = labels = streaks = None
    for rgb in noisy(pan(8, *CHECKED)):
        found = tracker.track(rgb)
        palette = reference.fit(ColorHistogram.from_pixels(rgb), options, palette)
        nearest = reference.assign(rgb, palette)
        if labels is None or streaks is None:
            labels, streaks = nearest, np.zeros_like(nearest)
        else:
            labels, streaks = hold_labels_reference(rgb, palette, STEADY, labels, streaks, nearest)
        if found.cut or not np.array_equal(found.palette.fixed_centers, palette.fixed_centers):
            raise WrongResultError("It does not hold that the centres equal the oracle's.")
        if not np.array_equal(found.labels, labels):
            raise WrongResultError("It does not hold that the labels equal the oracle's.")


def measure(
    clip: Path, static: Sequence[NDArray[np.uint8]], n_frames: int, repeat: int, tutorial_frames: int
) -> Iterator[Row]:
    """The command without and with what it can write, and the tutorial's loop."""
    ways = (
        ("kseg-batch live --no-window", (), STEADY),
        ("the same with --steady 0", ("--steady", "0"), 0.0),
        ("the same with --save out.mp4", ("--save", "out.mp4"), None),
        ("the same with --save frames", ("--save", "frames"), None),
    )
    for what, flags, steady in ways:
        rates = [command_rate(clip, n_frames, flags) for _ in range(repeat)]
        changed = None if steady is None else changed_labels(track(static, steady))
        yield Row(what, n_frames, statistics.median(rates), min(rates), changed)
    labels, seconds = tutorial(clip, tutorial_frames)
    rate = len(labels) / seconds
    small = [cover(rgb, *CHECKED) for rgb in static[:5]]
    yield Row(
        "the tutorial's loop, without its window",
        len(labels),
        rate,
        rate,
        changed_labels(segment_each(small)),
    )


def command_rate(clip: Path, n_frames: int, flags: Sequence[str]) -> float:
    """Frames a second of one run of the command, as it tells.

    Raises:
        WrongResultError: It fails, or does not do every frame.
    """
    command = [sys.executable, "-m", "kseg_batch", "live", "--source", str(clip), "--no-window"]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*command, "--k", str(K), *flags], cwd=folder, capture_output=True, text=True, check=False
        )
    found = re.match(rf"{n_frames} frames of .*: ([\d.]+) frames/s", done.stdout)
    if done.returncode or found is None:
        raise WrongResultError(f"the command failed: {done.stdout}{done.stderr}")
    return float(found[1])


def track(frames: Sequence[NDArray[np.uint8]], steady: float) -> Iterator[NDArray[np.uint8]]:
    """The labels of each frame."""
    tracker = Tracker(load(), FitOptions(k=K), steady)
    for rgb in frames:
        yield tracker.track(rgb).labels


def changed_labels(labels: Iterator[NDArray[np.uint8]]) -> float:
    """The share of the pixels that differ from the frame before, the median over the frames."""
    last, shares = next(labels), []
    for found in labels:
        shares.append(float((found != last).mean()))
        last = found
    return statistics.median(shares)


def segment_each(frames: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """The labels of each frame as the tutorial's second script finds them: from scratch, every time."""
    cv2 = import_cv2()
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 100, 0.2)
    for image in frames:
        pixel_values = np.float32(image.reshape((-1, 3)))
        _, labels, centers = cv2.kmeans(pixel_values, K, None, criteria, 10, cv2.KMEANS_RANDOM_CENTERS)
        segmented = centers.astype(np.uint8)[labels.flatten()].reshape(image.shape)
        assert segmented.shape == image.shape
        yield labels.reshape(image.shape[:2]).astype(np.uint8)


def tutorial(clip: Path, n_frames: int) -> tuple[list[NDArray[np.uint8]], float]:
    """The tutorial's loop over the first frames of a video: their labels, and the seconds that it took."""
    cv2 = import_cv2()
    capture = cv2.VideoCapture(str(clip))

    def read() -> Iterator[NDArray[np.uint8]]:
        for _ in range(n_frames):
            done, image = capture.read()
            if not done:
                raise WrongResultError(f"OpenCV cannot read {clip}")
            yield image

    start = time.perf_counter()
    labels = list(segment_each(read()))
    return labels, time.perf_counter() - start


def verdict(rows: Sequence[Row]) -> list[str]:
    """The figures that there are targets for."""
    ours, theirs = rows[0], rows[-1]
    assert ours.changed is not None
    return [
        judged(f"{ours.rate:.1f} frames/s", ours.rate >= 60, "at least 60"),
        judged(f"{theirs.rate:.2f} frames/s by the tutorial's loop", theirs.rate < 1, "under 1"),
        judged(f"{100 * ours.changed:.3f}% of the labels change", ours.changed < 0.005, "under 0.5%"),
    ]


if __name__ == "__main__":
    main()
