"""Videos of a camera that pans over a generated scene, with the noise of a sensor."""

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
"""Frames per second."""

STEP = 4
"""Pixels by which the camera moves from a frame to the next."""

ENCODER = {"preset": "veryfast", "crf": "18"}
"""Options of libx264, as of a camera of good quality."""


def pan(n_frames: int, width: int, height: int, seed: int = 0) -> Iterator[NDArray[np.uint8]]:
    """Yield (height, width, 3) uint8 RGB frames of a camera that moves to the right and back."""
    scene = photograph(width + width // 2, height, seed)
    for number in range(n_frames):
        place = STEP * number % width
        left = min(place, width - place)
        yield np.ascontiguousarray(scene[:, left : left + width])


def noisy(frames: Iterable[NDArray[np.uint8]], noise: float = NOISE) -> Iterator[NDArray[np.uint8]]:
    """Add noise, in grey levels, that differs from frame to frame and grows with the light."""
    rng = np.random.default_rng(0)
    for rgb in frames:
        grain = (
            rng.standard_normal(rgb.shape, dtype=np.float32) * noise * np.sqrt(rgb / np.float32(128) + 0.05)
        )
        yield np.clip(rgb + grain + 0.5, 0, 255).astype(np.uint8)


def write_video(path: Path, frames: Iterable[NDArray[np.uint8]]) -> Path:
    """Encode (H, W, 3) uint8 frames of even size as H.264, and return the path."""
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
