"""Where the segmented frames are written to: a video file, or a folder of PNG files."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kseg_batch.errors import OptionError, OutputError
from kseg_batch.images.label_map import LabelMap
from kseg_batch.images.png import encode_indexed
from kseg_batch.optional import import_av

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kseg_batch.live.picture import RenderedFrame
    from kseg_batch.live.source import FrameSource

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov")
"""Containers that hold H.264, and frames at any time."""

H264 = {"preset": "ultrafast", "crf": "20", "bf": "0"}
"""Of libx264: areas of one colour need no better preset, which takes twice the time and loses no less.

Without B-frames, containers state the right length."""

NOMINAL_RATE = Fraction(30)
"""Frames a second for the encoder where the source does not tell; all are shown at their own times."""


class Sink(Protocol):
    """Takes pictures. Use it as a context manager: it is complete at the end, whatever happened."""

    path: Path
    written: int
    """Pictures that are there to stay."""
    notes: tuple[str, ...]
    """What one might not expect of it, known from the first picture on."""

    def write(self, picture: RenderedFrame) -> None:
        """Take the next picture.

        Raises:
            OutputError: It cannot be written.
        """

    def close(self) -> None:
        """Complete what was written.

        Raises:
            OutputError: It cannot be; of a video, nothing is left then.
        """


def check_target(path: Path) -> None:
    """See that a path can be written to, before anything else is done.

    Raises:
        OptionError: Its suffix is not that of a video, or of nothing.
        OutputError: There is no folder for it, or something else is in its place.
        BackendUnavailableError: PyAV is missing.
    """
    if not path.parent.is_dir():
        raise OutputError(f"{path} cannot be written: there is no folder {path.parent}.")
    if _is_folder(path):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise OutputError(f"{path} is there already, and no empty folder: name a new one.")
    elif path.suffix.lower() not in VIDEO_SUFFIXES:
        raise OptionError(
            f"--save {path} is neither a video ({', '.join(VIDEO_SUFFIXES)}) nor a folder (without a suffix)."
        )
    else:
        import_av()


def open_sink(path: Path, source: FrameSource) -> Sink:
    """What writes to a path that has been checked.

    Raises:
        OutputError: It cannot be written.
    """
    return FrameFolder(path) if _is_folder(path) else VideoFile(path, source)


def _is_folder(path: Path) -> bool:
    return path.is_dir() or not path.suffix


class FrameFolder:
    """Indexed PNG files, named by the frames' numbers: pixel value = cluster, palette = its colour."""

    def __init__(self, path: Path) -> None:
        """Begin; the folder is made with the first file."""
        self.path = path
        self.written = 0
        self.notes: tuple[str, ...] = ()

    def write(self, picture: RenderedFrame) -> None:
        """See `Sink.write`."""
        with explained(self.path):
            self.path.mkdir(exist_ok=True)
        write_png(picture, self.path / f"frame{picture.frame.number:06}.png")
        self.written += 1

    def close(self) -> None:
        """See `Sink.close`: each file is complete by itself."""


class VideoFile:
    """H.264, under a temporary name until it is complete."""

    def __init__(self, path: Path, source: FrameSource) -> None:
        """Begin a file of frames at the times that a source has."""
        self.path = path
        self.written = 0
        self.notes: tuple[str, ...] = ()
        self._source = source
        self._av = import_av()
        self._temporary = path.with_name(f".{path.stem}.kseg-tmp{path.suffix}")
        self._first_ticks = 0
        self._last_ticks = -1
        self._stream: Any = None
        with self._or_nothing():
            self._container = self._av.open(f"file:{self._temporary}", "w")

    def write(self, picture: RenderedFrame) -> None:
        """See `Sink.write`."""
        with self._or_nothing():
            if self._stream is None:
                self._stream = self._add_stream(*picture.rgb.shape[:2])
                self._first_ticks = picture.frame.ticks
            frame = self._av.VideoFrame.from_ndarray(picture.rgb, format="rgb24")
            self._last_ticks = max(picture.frame.ticks - self._first_ticks, self._last_ticks + 1)
            frame.pts, frame.time_base = self._last_ticks, self._source.time_base
            self._container.mux(self._stream.encode(frame))
        self.written += 1

    def _add_stream(self, height: int, width: int) -> Any:
        stream = self._container.add_stream("libx264", rate=self._source.rate or NOMINAL_RATE, options=H264)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if width % 2 or height % 2:
            stream.pix_fmt = "yuv444p"
            self.notes = (
                f"{self.path}: {width} x {height} is odd, so it is in 4:4:4, which not every player shows; "
                "--size makes it even",
            )
        stream.codec_context.time_base = self._source.time_base
        if self._source.aspect:
            stream.codec_context.sample_aspect_ratio = self._source.aspect
        return stream

    def close(self) -> None:
        """See `Sink.close`."""
        with self._or_nothing():
            if self.written:
                self._container.mux(self._stream.encode(None))
                self._container.close()
                self._temporary.replace(self.path)
            else:
                self._container.close()
                self._temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _or_nothing(self) -> Iterator[None]:
        """Say what could not be written, and leave nothing half-written."""
        try:
            with explained(self.path, self._av.FFmpegError):
                yield
        except OutputError:
            self.written = 0
            with contextlib.suppress(OSError):
                self._temporary.unlink()
            raise


def write_png(picture: RenderedFrame, path: Path) -> None:
    """Write the label map of a picture, with its colours.

    Raises:
        OutputError: It cannot be written.
    """
    data = encode_indexed(LabelMap.pack(picture.tracked.labels, len(picture.colors)), picture.colors)
    with explained(path):
        try:
            path.write_bytes(data)
        except OSError:
            path.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def explained(path: Path, *errors: type[Exception]) -> Iterator[None]:
    """Say what could not be written, and why."""
    kinds: tuple[type[Exception], ...] = (OSError, *errors)
    try:
        yield
    except kinds as error:
        raise OutputError(
            f"{path} cannot be written: {getattr(error, 'strerror', None) or error}."
        ) from error
