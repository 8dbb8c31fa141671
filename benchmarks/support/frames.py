"""Videos to measure on: a camera that pans over a generated scene, with a sensor's noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kseg_batch.bench.synthetic import NOISE, photograph
from kseg_batch.optional import import_av

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

RATE = 25
"""Frames a second."""

STEP = 4
"""Pixels that a camera moves from a frame to the next."""

ENCODER = {"preset": "veryfast", "crf": "18"}
"""Of libx264: what a camera of good quality sends."""


def pan(n_frames: int, width: int, height: int, seed: int = 0) -> Iterator[NDArray[np.uint8]]:
    """(height, width, 3) uint8 RGB frames of a camera that goes to the right and back."""
    scene = photograph(width + width // 2, height, seed)
    for number in range(n_frames):
        place = STEP * number % width
        left = min(place, width - place)
        yield np.ascontiguousarray(scene[:, left : left + width])


def noisy(frames: Iterable[NDArray[np.uint8]], noise: float = NOISE) -> Iterator[NDArray[np.uint8]]:
    """The frames with noise that is another in each, and grows with the light, in grey levels."""
    rng = np.random.default_rng(0)
    for rgb in frames:
        grain = (
            rng.standard_normal(rgb.shape, dtype=np.float32) * noise * np.sqrt(rgb / np.float32(128) + 0.05)
        )
        yield np.clip(rgb + grain + 0.5, 0, 255).astype(np.uint8)


def write_video(path: Path, frames: Iterable[NDArray[np.uint8]]) -> Path:
    """Encode frames of even size as H.264; the path."""
    av = import_av()
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE, options=ENCODER)
        for number, rgb in enumerate(frames):
            if number == 0:
                stream.height, stream.width = rgb.shape[:2]
                stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode(None))
    return path
