"""Sinks, which write the segmented frames: a video file, or a folder of PNG files."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kseg_batch.errors import OptionError, OutputError
from kseg_batch.images.label_map import LabelMap
from kseg_batch.images.png import encode_indexed
from kseg_batch.live.video_colors import bt709_frame, tag_bt709
from kseg_batch.optional import import_av

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kseg_batch.live.rendered_frame import RenderedFrame
    from kseg_batch.live.source import FrameSource

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov")
"""Suffixes of the containers that hold H.264 at a variable frame rate."""

H264_OPTIONS = {"preset": "ultrafast", "crf": "20", "bf": "0"}
"""Options of libx264.

Areas of one colour gain nothing from a slower preset, which takes twice the time. Without B-frames,
containers declare the correct duration."""

NOMINAL_FRAME_RATE = Fraction(30)
"""Frames per second, a hint to the encoder if the source has no rate; frames keep their own times."""


class FrameSink(Protocol):
    """Writes frames. Call `close` at the end, also after an error."""

    path: Path
    """The file or the folder."""
    written: int
    """Number of frames on the disk; 0 again if the file had to be removed."""
    notes: tuple[str, ...]
    """Remarks for the user, known once the first frame is written."""

    def write(self, rendered: RenderedFrame) -> None:
        """Write the next frame.

        Raises:
            OutputError: The frame cannot be written.
        """

    def close(self) -> None:
        """Complete the output.

        Raises:
            OutputError: The output cannot be completed; an incomplete video file is removed.
        """


def check_save_path(path: Path) -> None:
    """Check, before any other work, that a sink can be opened for a path.

    Raises:
        OptionError: The suffix is neither empty nor that of a video.
        OutputError: The parent folder is missing, or the path is taken.
        BackendUnavailableError: PyAV is missing.
    """
    if not path.parent.is_dir():
        raise OutputError(f"{path} cannot be written: there is no folder {path.parent}.")
    if _is_folder(path):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise OutputError(f"{path} already exists and is not an empty folder: name a new folder.")
    elif path.suffix.lower() not in VIDEO_SUFFIXES:
        raise OptionError(
            f"save {path} is neither a video ({', '.join(VIDEO_SUFFIXES)}) nor a folder (without a suffix).",
            "save",
        )
    else:
        import_av()


def open_sink(path: Path, source: FrameSource) -> FrameSink:
    """Open the sink for a checked path.

    Raises:
        OutputError: The file cannot be created.
    """
    return PngFolderSink(path) if _is_folder(path) else VideoSink(path, source)


def _is_folder(path: Path) -> bool:
    return path.is_dir() or not path.suffix


class PngFolderSink:
    """Indexed PNG files, named by frame number: pixel value = cluster, palette = the clusters' colours."""

    def __init__(self, path: Path) -> None:
        """Prepare the folder, which is created with the first file."""
        self.path = path
        self.written = 0
        self.notes: tuple[str, ...] = ()

    def write(self, rendered: RenderedFrame) -> None:
        """Write the frame to a file: see `FrameSink.write`."""
        with _output_errors(self.path):
            self.path.mkdir(exist_ok=True)
        write_png(rendered, self.path / f"frame{rendered.frame.number:06}.png")
        self.written += 1

    def close(self) -> None:
        """Do nothing: each file is complete on its own."""


class VideoSink:
    """An H.264 file, under a temporary name until the file is complete."""

    def __init__(self, path: Path, source: FrameSource) -> None:
        """Create the temporary file.

        Args:
            path: The path of the complete file.
            source: The source, whose times, frame rate and pixel aspect ratio the file takes over.
        """
        self.path = path
        self.written = 0
        self.notes: tuple[str, ...] = ()
        self._source = source
        self._av = import_av()
        self._temporary = path.with_name(f".{path.stem}.kseg-tmp{path.suffix}")
        self._first_ticks = 0
        self._last_ticks = -1
        self._stream: Any = None
        with self._removing_on_error():
            self._container = self._av.open(f"file:{self._temporary}", "w")

    def write(self, rendered: RenderedFrame) -> None:
        """Encode the frame: see `FrameSink.write`."""
        with self._removing_on_error():
            if self._stream is None:
                self._stream = self._add_stream(*rendered.rgb.shape[:2])
                self._first_ticks = rendered.frame.ticks
            frame = bt709_frame(rendered.rgb, self._stream.pix_fmt)
            self._last_ticks = max(rendered.frame.ticks - self._first_ticks, self._last_ticks + 1)
            frame.pts, frame.time_base = self._last_ticks, self._source.time_base
            self._container.mux(self._stream.encode(frame))
        self.written += 1

    def _add_stream(self, height: int, width: int) -> Any:
        frame_rate = self._source.frame_rate or NOMINAL_FRAME_RATE
        stream = self._container.add_stream("libx264", rate=frame_rate, options=H264_OPTIONS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if width % 2 or height % 2:
            stream.pix_fmt = "yuv444p"
            self.notes = (
                f"{self.path}: the size {width} x {height} is odd, so the video is in 4:4:4, which some "
                "players cannot show; choose an even --size for 4:2:0",
            )
        tag_bt709(stream.codec_context)
        stream.codec_context.time_base = self._source.time_base
        if self._source.pixel_aspect:
            stream.codec_context.sample_aspect_ratio = self._source.pixel_aspect
        return stream

    def close(self) -> None:
        """Complete and rename the file, or remove a file without frames: see `FrameSink.close`."""
        with self._removing_on_error():
            if self.written:
                self._container.mux(self._stream.encode(None))
                self._container.close()
                self._temporary.replace(self.path)
            else:
                self._container.close()
                self._temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _removing_on_error(self) -> Iterator[None]:
        """Turn a failure into an OutputError, and remove the incomplete file."""
        try:
            with _output_errors(self.path, self._av.FFmpegError):
                yield
        except OutputError:
            self.written = 0
            with contextlib.suppress(OSError):
                self._temporary.unlink()
            raise


def write_png(rendered: RenderedFrame, path: Path) -> None:
    """Write the label map of a frame as an indexed PNG with the clusters' colours.

    Raises:
        OutputError: The file cannot be written.
    """
    label_map = LabelMap.pack(rendered.tracked.labels, len(rendered.colors))
    data = encode_indexed(label_map, rendered.colors)
    with _output_errors(path):
        try:
            path.write_bytes(data)
        except OSError:
            path.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _output_errors(path: Path, *errors: type[Exception]) -> Iterator[None]:
    """Turn an OSError, or one of the given errors, into an OutputError that names the path."""
    caught: tuple[type[Exception], ...] = (OSError, *errors)
    try:
        yield
    except caught as error:
        raise OutputError(
            f"{path} cannot be written: {getattr(error, 'strerror', None) or error}."
        ) from error
