"""Videos to test with: generated, written and read by PyAV."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from kseg_batch.bench.synthetic import photograph

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tests.support.images import Image

TICKS = Fraction(1, 12800)
"""The time base of the videos."""

RATE = 25


def pan(n_frames: int, width: int = 96, height: int = 64, step: int = 1, seed: int = 0) -> list[Image]:
    """The frames of a camera that moves over a scene."""
    scene = photograph(width + step * n_frames, height, seed)
    return [np.ascontiguousarray(scene[:, step * i : step * i + width]) for i in range(n_frames)]


def write_video(
    path: Path,
    images: Iterable[Image],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv444p",
    ticks: Sequence[int] | None = None,
    sound: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode pictures, at 25 a second or at the given times, in `TICKS`."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream: Any = container.add_stream(codec, rate=RATE)
        if codec == "libx264":
            stream.options = {"crf": "4", "bf": "0", "g": "10", "preset": "ultrafast"}
        stream.codec_context.time_base = TICKS
        noise = container.add_stream("aac", rate=44100) if sound else None
        for i, image in enumerate(images):
            if i == 0:
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = pix_fmt
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = i * 512 if ticks is None else ticks[i]
            frame.time_base = TICKS
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if noise is not None:
            samples = np.zeros((1, 1024), np.float32)
            audio = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            audio.sample_rate = 44100
            container.mux(noise.encode(audio))
            container.mux(noise.encode(None))
    return path


def write_samples(
    path: Path,
    samples: Sequence[Sequence[int]],
    *,
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    matrix: int = 2,
    color_range: int = 0,
    primaries: int = 2,
    transfer: int = 2,
) -> Path:
    """Encode flat frames, whose planes have the given samples, with tags in the numbers of H.273."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=RATE)
        if codec == "libx264":
            stream.options = {"crf": "1", "bf": "0", "preset": "ultrafast"}
        if codec == "mjpeg":
            stream.codec_context.qmin = stream.codec_context.qmax = 1
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, color_range
        stream.codec_context.color_primaries, stream.codec_context.color_trc = primaries, transfer
        for i, values in enumerate(samples):
            frame = av.VideoFrame(*size, pix_fmt)
            frame.colorspace, frame.color_range = matrix, color_range
            frame.color_primaries, frame.color_trc = primaries, transfer
            for plane, value in zip(frame.planes, values, strict=True):
                n_bytes = 2 if frame.format.components[0].bits > 8 else 1
                plane.update(value.to_bytes(n_bytes, "little") * (plane.buffer_size // n_bytes))
            frame.pts = i
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read_video(path: Path) -> tuple[list[Fraction], list[Image]]:
    """The times in seconds and the pictures of a file, which has to be whole."""
    times, images = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            assert not frame.is_corrupt and frame.pts is not None and frame.time_base is not None
            times.append(frame.pts * frame.time_base)
            images.append(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
        stream = container.streams.video[0]
        assert stream.frames in (0, len(images))  # 0 in Matroska, which does not say
    return times, images
