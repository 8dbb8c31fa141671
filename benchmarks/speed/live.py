"""Compare `kseg-batch live` with the tutorial's loop: frames a second, and how steady the labels are.

python -m benchmarks.speed.live [--json FILE]
"""

from __future__ import annotations

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

from benchmarks.support.arguments import add_json, exit_with_message, make_parser, size
from benchmarks.support.checks import WrongResultError
from benchmarks.support.frames import noisy, pan, write_video
from benchmarks.support.report import heading, line, save, target_line
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

PROGRAM = "benchmarks.speed.live"

K = 5
STEADY = 8.0
"""K and STEADY are the defaults of the command."""

CHECKED = (320, 180)
"""Width and height at which each frame is compared with the reference before anything is timed."""

STATIC_FRAMES = 20
"""Frames of the static scene whose labels are compared."""

WIDTHS = (-44, 5, 9, 11, 9)
COLUMNS = ("command", "runs of", "frames/s", "least", "changed")


@dataclass(frozen=True, slots=True)
class LiveRate:
    """The frames per second of one command, and the flicker of its labels."""

    command: str
    frames: int
    """Timed frames of each run."""
    rate: float
    """Frames per second, the median of the runs; ours as the command prints it, without its start."""
    least: float
    """The lowest rate of the runs."""
    changed: float | None
    """Share of the pixels that change their label from a frame to the next of a static scene; median."""

    def cells(self) -> tuple[str, ...]:
        """Return the cells of a table row."""
        changed = "" if self.changed is None else f"{100 * self.changed:.3f}%"
        return self.command, str(self.frames), f"{self.rate:.2f}", f"{self.least:.2f}", changed


def main() -> None:
    """Check, measure, and print a table and the targets."""
    parser = make_parser(PROGRAM, __doc__)
    parser.add_argument("--size", type=size, default=(1920, 1080), help="WIDTHxHEIGHT of the video")
    parser.add_argument("--frames", type=int, default=250, help="frames of the video")
    parser.add_argument("--repeat", type=int, default=5, help="runs of the command")
    parser.add_argument("--tutorial-frames", type=int, default=2, help="frames of the tutorial's slow loop")
    add_json(parser)
    given = parser.parse_args()
    settings = {
        "size": f"{given.size[0]} x {given.size[1]}",
        "k": K,
        "video": f"{given.frames} frames of H.264, a pan over a generated scene with a sensor's noise",
        "steady": STEADY,
        "repeat": given.repeat,
    }
    print(heading("kseg-batch live beside the tutorial's loop", settings), end="\n\n")
    rates: list[LiveRate] = []
    with exit_with_message(PROGRAM):
        check_tracker()
        static = list(noisy([photograph(*given.size)] * STATIC_FRAMES))
        with tempfile.TemporaryDirectory() as folder:
            clip = write_video(Path(folder, "clip.mp4"), noisy(pan(given.frames, *given.size)))
            print(line(COLUMNS, WIDTHS), flush=True)
            for found in measure(clip, static, given.frames, given.repeat, given.tutorial_frames):
                print(line(found.cells(), WIDTHS), flush=True)
                rates.append(found)
        print("", *target_lines(rates), sep="\n")
        if given.json:
            save(given.json, settings, [asdict(found) for found in rates])


def check_tracker() -> None:
    """Compare palettes and labels with the reference, frame after frame.

    Raises:
        WrongResultError: A centre or a label differs.
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
            raise WrongResultError("The centres are not those of the reference.")
        if not np.array_equal(found.labels, labels):
            raise WrongResultError("The labels are not those of the reference.")


def measure(
    clip: Path, static: Sequence[NDArray[np.uint8]], n_frames: int, repeat: int, tutorial_frames: int
) -> Iterator[LiveRate]:
    """Measure the command with each kind of output, and the tutorial's loop."""
    variants = (
        ("kseg-batch live --no-window", (), STEADY),
        ("the same with --steady 0", ("--steady", "0"), 0.0),
        ("the same with --save out.mp4", ("--save", "out.mp4"), None),
        ("the same with --save frames", ("--save", "frames"), None),
    )
    for name, flags, steady in variants:
        rates = [command_rate(clip, n_frames, flags) for _ in range(repeat)]
        changed = None if steady is None else changed_labels(track(static, steady))
        yield LiveRate(name, n_frames, statistics.median(rates), min(rates), changed)
    labels, seconds = tutorial(clip, tutorial_frames)
    rate = len(labels) / seconds
    small = [cover(rgb, *CHECKED) for rgb in static[:5]]
    yield LiveRate(
        "the tutorial's loop, without its window",
        len(labels),
        rate,
        rate,
        changed_labels(segment_each(small)),
    )


def command_rate(clip: Path, n_frames: int, flags: Sequence[str]) -> float:
    """Return the frames per second that one run of the command prints.

    Raises:
        WrongResultError: The command fails, or does not do every frame.
    """
    command = [sys.executable, "-m", "kseg_batch", "live", "--source", str(clip), "--no-window"]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*command, "--k", str(K), *flags], cwd=folder, capture_output=True, text=True, check=False
        )
    found = re.match(rf"{n_frames} frames of .*: ([\d.]+) frames/s", done.stdout)
    if done.returncode or found is None:
        raise WrongResultError(f"The command failed: {done.stdout}{done.stderr}")
    return float(found[1])


def track(frames: Sequence[NDArray[np.uint8]], steady: float) -> Iterator[NDArray[np.uint8]]:
    """Yield the (H, W) uint8 labels of each (H, W, 3) uint8 frame."""
    tracker = Tracker(load(), FitOptions(k=K), steady)
    for rgb in frames:
        yield tracker.track(rgb).labels


def changed_labels(labels: Iterator[NDArray[np.uint8]]) -> float:
    """Return the share of labels that differ from the frame before, the median over the frames."""
    last, shares = next(labels), []
    for found in labels:
        shares.append(float((found != last).mean()))
        last = found
    return statistics.median(shares)


def segment_each(frames: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """Yield the labels of each frame as the tutorial's second script does: clustered anew every time."""
    cv2 = import_cv2()
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 100, 0.2)
    for image in frames:
        pixel_values = np.float32(image.reshape((-1, 3)))
        _, labels, centers = cv2.kmeans(pixel_values, K, None, criteria, 10, cv2.KMEANS_RANDOM_CENTERS)
        segmented = centers.astype(np.uint8)[labels.flatten()].reshape(image.shape)
        assert segmented.shape == image.shape
        yield labels.reshape(image.shape[:2]).astype(np.uint8)


def tutorial(clip: Path, n_frames: int) -> tuple[list[NDArray[np.uint8]], float]:
    """Run the tutorial's loop over the first frames of a video, and return their labels and the seconds."""
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


def target_lines(rates: Sequence[LiveRate]) -> list[str]:
    """Compare the rates and the flicker with the targets."""
    ours, theirs = rates[0], rates[-1]
    assert ours.changed is not None
    return [
        target_line(f"{ours.rate:.1f} frames/s", ours.rate >= 60, "at least 60"),
        target_line(f"{theirs.rate:.2f} frames/s by the tutorial's loop", theirs.rate < 1, "under 1"),
        target_line(f"{100 * ours.changed:.3f}% of the labels change", ours.changed < 0.005, "under 0.5%"),
    ]


if __name__ == "__main__":
    main()
