"""Video files and streams, through PyAV, which knows each frame's time, and damage from an end."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from kseg_batch.errors import SourceError
from kseg_batch.live.source import Frame
from kseg_batch.optional import import_av

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kseg_batch.live.options import LiveOptions

PATIENCE = 10.0
"""Seconds that an address may take to answer, or to send the next frame."""

MISSING = 1.0
"""Seconds that may lack at the end: containers round their length, and some count the last frame twice."""

STREAM_OPTIONS = {"rtsp_flags": "prefer_tcp"}
"""RTSP over UDP loses packets, which show as grey smears; cameras that have only that still work."""


class Video:
    """A `Source`."""

    def __init__(self, source: str, options: LiveOptions) -> None:
        """Open it.

        Args:
            source: A path, or an address with "://" in it.
            options: Of which size, and how many frames to pass over.

        Raises:
            SourceError: It is missing, or nothing that can be read.
        """
        self._av = import_av()
        self._every, self._size = options.every, options.size
        self._address = "://" in source
        if self._address:
            parts = urlsplit(source)
            self.name = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()  # without a password
            self.stem = parts.hostname or "stream"
        else:
            self.name, self.stem = source, Path(source).stem
            self._refuse_what_is_no_file(Path(source))
        try:
            self._container: Any = self._av.open(
                source if self._address else f"file:{source}",
                timeout=(PATIENCE, PATIENCE) if self._address else None,
                container_options=STREAM_OPTIONS if source.startswith("rtsp") else {},
            )
        except self._av.FFmpegError as error:
            raise SourceError(f"{self.name} cannot be read: {self._reason(error)}.") from error
        if not self._container.streams.video:
            self._container.close()
            raise SourceError(f"{self.name} has no pictures in it.")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self.time_base: Fraction = self._stream.time_base
        self.rate: Fraction | None = self._stream.average_rate or self._stream.guessed_rate
        self.aspect = self._stream.sample_aspect_ratio if self._size is None else None
        self.live = self._address and self._container.duration is None
        self._read_to = 0.0  # seconds
        self._declared: int = self._stream.frames
        self.n_frames = -(-self._frames_by_duration() // options.every) or None
        self.notes = tuple(self._notes())

    def _refuse_what_is_no_file(self, path: Path) -> None:
        """FFmpeg's own words for these are about protocols."""
        if path.is_dir():
            raise SourceError(
                f"{path} is a folder: --source takes a video file or an address, `kseg-batch run` a folder."
            )
        if not path.exists():
            raise SourceError(f"{path}: there is no such file.")

    def _frames_by_duration(self) -> int:
        """How many frames there should be, as the file says or as its length lets expect; 0 if unknown."""
        if self._declared:
            return self._declared
        length = self._container.duration  # microseconds
        return round(length * self.rate / 1_000_000) if length and self.rate else 0

    def _notes(self) -> Iterator[str]:
        if self._container.streams.audio:
            yield f"{self.name}: its sound is left out"
        if len(self._container.streams.video) > 1:
            yield f"{self.name}: it has several pictures, of which the first is taken"
        form = self._stream.codec_context.format
        if form is not None and form.components[0].bits > 8:
            yield f"{self.name}: its {form.components[0].bits}-bit samples are rounded to 8 bits"

    def _reason(self, error: Exception) -> str:
        """What FFmpeg says, or that it waited in vain."""
        if isinstance(error, self._av.error.ExitError):
            return f"nothing came for {PATIENCE:.0f} seconds"
        return str(getattr(error, "strerror", None) or error)

    def frames(self) -> Iterator[Frame]:
        """See `Source.frames`: whatever can be read, in order."""
        number, first = 0, None
        damaged, broken = False, None
        packets = self._container.demux()  # sound, too: it shows how far the file goes
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except self._av.FFmpegError as error:
                broken = self._reason(error)
                break
            self._follow(packet)
            if packet.stream is not self._stream:
                continue
            damaged |= packet.is_corrupt
            try:
                pictures = packet.decode()
            except self._av.FFmpegError:
                damaged = True
                continue
            for picture in pictures:
                damaged |= picture.is_corrupt
                time = self._time_of(picture, number)
                first = time if first is None else first
                if number % self._every == 0:
                    yield Frame(number, time - first, self._rgb(picture))
                number += 1
        self._judge(number, damaged, broken)

    def _follow(self, packet: Any) -> None:
        """Note how far it has been read."""
        if packet.pts is not None:
            self._read_to = max(self._read_to, float(packet.pts * packet.time_base))

    def _time_of(self, picture: Any, number: int) -> int:
        """When a picture is to be seen, in ticks; by its number where the file does not say."""
        if picture.pts is not None:
            return int(picture.pts)
        return round(number / (self.rate or 25) / self.time_base)

    def _rgb(self, picture: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The pixels, upright, of the size of the first picture or that which was asked for."""
        turned = round(picture.rotation / 90) % 4
        if self._size is None:
            self._size = (picture.height, picture.width) if turned % 2 else (picture.width, picture.height)
        width, height = self._size[::-1] if turned % 2 else self._size
        rgb = picture.to_ndarray(format="rgb24", width=width, height=height)
        return np.ascontiguousarray(np.rot90(rgb, turned))

    def _judge(self, number: int, damaged: bool, broken: str | None) -> None:
        """Raise a SourceError unless all was read that there is."""
        if number == 0:
            raise SourceError(
                f"{self.name} has no picture that can be read{f': {broken}' if broken else ''}."
            )
        if broken is not None:
            raise SourceError(f"{self.name} broke off after {number} frames: {broken}.")
        if self.live:
            raise SourceError(f"{self.name} ended after {number} frames.")
        if number < self._declared:
            raise SourceError(
                f"{self.name} is damaged or cut short: it has {number} of its {self._declared} frames."
            )
        if damaged:
            raise SourceError(
                f"{self.name} is damaged: {number} frames were read, and some are wrong or missing."
            )
        start, length = self._container.start_time or 0, self._container.duration  # microseconds
        if length is not None and self._read_to < (start + length) / 1e6 - MISSING:
            raise SourceError(
                f"{self.name} is cut short: it has {number} frames, and should last {length / 1e6:.1f} s."
            )

    def close(self) -> None:
        """See `Source.close`."""
        self._container.close()
