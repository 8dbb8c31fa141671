"""Video files and streams, through PyAV, which gives frame times and tells damage from a regular end."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from kseg_batch.errors import SourceError
from kseg_batch.live.source import Frame
from kseg_batch.live.video_colors import find_conversion, rgb_pixels, sample_bits
from kseg_batch.optional import import_av

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from kseg_batch.live.options import LiveOptions

NETWORK_TIMEOUT = 10.0
"""Seconds to wait for an address to answer, and for each packet of a stream."""

DURATION_TOLERANCE = 1.0
"""Seconds that a complete file may fall short of its declared duration.

Containers round the duration, and some count the last frame twice."""

STREAM_OPTIONS = {"rtsp_flags": "prefer_tcp"}
"""RTSP over UDP loses packets, which show as grey smears. Cameras that offer UDP alone still work."""

ASSUMED_FRAME_RATE = 25
"""Frames per second of a file that declares neither times nor a frame rate."""


class VideoSource:
    """A video file or a network stream as a `FrameSource`."""

    def __init__(self, source: str, options: LiveOptions) -> None:
        """Open the file or the stream.

        Args:
            source: A path, or an address with "://" in the text.
            options: The options; `size` and `every` are used.

        Raises:
            SourceError: The source is missing, unreadable, without a video track, or of unknown colours.
            BackendUnavailableError: PyAV is missing.
        """
        self._av = import_av()
        self._every, self._size = options.every, options.size
        self._is_address = "://" in source
        if self._is_address:
            parts = urlsplit(source)
            self.name = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()  # without a password
            self.stem = parts.hostname or "stream"
        else:
            self.name, self.stem = source, Path(source).stem
            _check_path(Path(source))
        self._container = self._open(source)
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self.time_base: Fraction = self._stream.time_base
        self.frame_rate: Fraction | None = self._stream.average_rate or self._stream.guessed_rate
        self.pixel_aspect = self._stream.sample_aspect_ratio if self._size is None else None
        self.live = self._is_address and self._container.duration is None
        self._seconds_read = 0.0
        self._declared_frames: int = self._stream.frames
        self.n_frames = -(-self._expected_frames() // options.every) or None
        self.notes = tuple(self._notes())

    def _open(self, source: str) -> Any:
        """Return the open container, which has a video track."""
        try:
            container: Any = self._av.open(
                source if self._is_address else f"file:{source}",
                timeout=(NETWORK_TIMEOUT, NETWORK_TIMEOUT) if self._is_address else None,
                container_options=STREAM_OPTIONS if source.startswith("rtsp") else {},
            )
        except self._av.FFmpegError as error:
            raise SourceError(f"{self.name} cannot be read: {self._reason(error)}.") from error
        if not container.streams.video:
            container.close()
            raise SourceError(f"{self.name} has no video track.")
        return container

    def _expected_frames(self) -> int:
        """Return the declared number of frames, or an estimate by the duration; 0 if unknown."""
        if self._declared_frames:
            return self._declared_frames
        duration = self._container.duration  # microseconds
        return round(duration * self.frame_rate / 1_000_000) if duration and self.frame_rate else 0

    def _notes(self) -> Iterator[str]:
        if self._container.streams.audio:
            yield f"{self.name}: the sound track is ignored"
        if len(self._container.streams.video) > 1:
            yield f"{self.name}: the file has several video tracks; the first one is used"
        pixel_format = self._stream.codec_context.format
        if pixel_format is not None and (bits := sample_bits(pixel_format)) > 8:
            yield f"{self.name}: {bits}-bit samples are rounded to 8 bits"
        if (conversion := find_conversion(self._stream.codec_context, self.name)) is not None:
            yield f"{self.name}: {conversion.note}"

    def _reason(self, error: Exception) -> str:
        """Return FFmpeg's message, or that the network timed out."""
        if isinstance(error, self._av.error.ExitError):
            return f"no data arrived for {NETWORK_TIMEOUT:.0f} seconds"
        return str(getattr(error, "strerror", None) or error)

    def frames(self) -> Iterator[Frame]:
        """Yield all readable frames, also of a damaged file: see `FrameSource.frames`."""
        number, first_ticks = 0, None
        damaged, failure = False, None
        packets = self._container.demux()  # with the sound, whose times show how far the file reaches
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except self._av.FFmpegError as error:
                failure = self._reason(error)
                break
            if packet.pts is not None:
                self._seconds_read = max(self._seconds_read, float(packet.pts * packet.time_base))
            if packet.stream is not self._stream:
                continue
            damaged |= packet.is_corrupt
            try:
                decoded_frames = packet.decode()
            except self._av.FFmpegError:
                damaged = True
                continue
            for decoded in decoded_frames:
                damaged |= decoded.is_corrupt
                ticks = self._ticks(decoded, number)
                first_ticks = ticks if first_ticks is None else first_ticks
                if number % self._every == 0:
                    yield Frame(number, ticks - first_ticks, self._upright_rgb(decoded))
                number += 1
        self._check_complete(number, damaged, failure)

    def _ticks(self, decoded: Any, number: int) -> int:
        """Return a frame's presentation time in ticks; computed from its number if the file has no times."""
        if decoded.pts is not None:
            return int(decoded.pts)
        return round(number / (self.frame_rate or ASSUMED_FRAME_RATE) / self.time_base)

    def _upright_rgb(self, decoded: Any) -> NDArray[np.uint8]:
        """Return the (H, W, 3) pixels, upright, in the requested size or that of the first frame."""
        quarter_turns = round(decoded.rotation / 90) % 4
        sideways = quarter_turns % 2 == 1
        if self._size is None:
            self._size = (decoded.height, decoded.width) if sideways else (decoded.width, decoded.height)
        width, height = self._size[::-1] if sideways else self._size
        rgb = rgb_pixels(decoded, width, height, self.name)
        return np.ascontiguousarray(np.rot90(rgb, quarter_turns))

    def _check_complete(self, n_read: int, damaged: bool, failure: str | None) -> None:
        """Raise a SourceError unless the whole source was read without damage.

        Args:
            n_read: Number of frames that were decoded.
            damaged: Whether a packet or a frame is corrupt.
            failure: Why reading stopped early; None if the end was reached.
        """
        if n_read == 0:
            raise SourceError(f"{self.name} has no readable frame{f': {failure}' if failure else ''}.")
        if failure is not None:
            raise SourceError(f"{self.name} broke off after {n_read} frames: {failure}.")
        if self.live:
            raise SourceError(f"{self.name} ended after {n_read} frames.")
        if n_read < self._declared_frames:
            raise SourceError(
                f"{self.name} is damaged or truncated: {n_read} of {self._declared_frames} frames were read."
            )
        if damaged:
            raise SourceError(
                f"{self.name} is damaged: {n_read} frames were read, and some frames are wrong or missing."
            )
        start, duration = self._container.start_time or 0, self._container.duration  # microseconds
        if duration is not None and self._seconds_read < (start + duration) / 1e6 - DURATION_TOLERANCE:
            raise SourceError(
                f"{self.name} is truncated: {n_read} frames were read, but the declared duration is "
                f"{duration / 1e6:.1f} s."
            )

    def close(self) -> None:
        """Close the file or the connection."""
        self._container.close()


def _check_path(path: Path) -> None:
    """Raise a SourceError for a path that is no file; FFmpeg's own messages speak of protocols."""
    if path.is_dir():
        raise SourceError(
            f"{path} is a folder: --source takes a video file or an address; for a folder, "
            "use `kseg-batch run`."
        )
    if not path.exists():
        raise SourceError(f"{path} does not exist.")
