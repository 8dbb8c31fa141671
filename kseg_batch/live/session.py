"""A session of `live`: from the source, frame by frame, to the window and the sink, controlled by keys."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.console import ProgressBar, compiling_message, print_status
from kseg_batch.errors import KsegError
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.live.open_source import open_source
from kseg_batch.live.playback import FrameRateMeter, PlaybackClock
from kseg_batch.live.reader import EndOfStream, FrameReader
from kseg_batch.live.rendered_frame import RenderedFrame
from kseg_batch.live.sinks import check_save_path, open_sink, write_png
from kseg_batch.live.source import Frame
from kseg_batch.live.tracker import Tracker
from kseg_batch.live.view import ViewState, render_window
from kseg_batch.live.window import ESCAPE, Window, display_connection
from kseg_batch.processes import InterruptFlag

if TYPE_CHECKING:
    from typing import Self

    from kseg_batch.backends.numba_cpu import NumbaBackend
    from kseg_batch.live.options import LiveOptions
    from kseg_batch.live.sinks import FrameSink
    from kseg_batch.live.source import FrameSource
    from kseg_batch.live.tracker import TrackedFrame

POLL_SECONDS = 0.05
"""Longest wait for a frame or a key before signals are checked again."""

QUIT = "q"


@dataclass(slots=True)
class SessionSummary:
    """The results of a session."""

    frames: int = 0
    """Number of segmented frames."""
    size: tuple[int, int] = (0, 0)
    """Width and height of the frames, in pixels."""
    cuts: int = 0
    """Number of cuts to a new scene."""
    dropped: int = 0
    """Number of frames of a live source that arrived faster than they could be segmented."""
    seconds: float = 0.0
    """Duration from the first frame to the last."""
    completed: int = 0
    """Number of saved frames; of segmented frames if no output was requested."""
    saved_to: Path | None = None
    """Path of the output; None if no frame was saved."""
    signal: int | None = None
    """Number of the signal that interrupted the session, if any."""
    error: KsegError | None = None
    """The error that stopped the session early, if any."""


def run(options: LiveOptions, backend: NumbaBackend, *, quiet: bool) -> SessionSummary:
    """Segment a source until its end, the last requested frame, a key or a signal.

    Args:
        options: The source and the outputs.
        backend: The backend that segments.
        quiet: Whether to print neither notes nor progress.

    Raises:
        KsegError: The session failed before the first frame.
    """
    summary = SessionSummary()
    with ExitStack() as cleanup:
        interrupt = cleanup.enter_context(InterruptFlag())
        if options.window:
            cleanup.enter_context(display_connection())
        if options.save is not None:
            check_save_path(options.save)
        if not (quiet or backend.compiled):
            print_status(compiling_message("the first frame"))
        warm_up(backend)
        reader = FrameReader(partial(open_source, options))
        cleanup.callback(reader.stop)
        source = _wait_for_source(reader, interrupt)
        if source is not None:
            session = cleanup.enter_context(
                _Session(options, backend, source, reader, interrupt, summary, quiet)
            )
            session.run()
        summary.signal = interrupt.number
    return summary


def warm_up(backend: NumbaBackend) -> None:
    """Compile all kernels of a session, or load them from the cache."""
    backend.warm_up()
    rgb = np.array([[(0, 0, 0), (255, 255, 255)]], np.uint8)
    tracker = Tracker(backend, FitOptions(k=2), margin=1.0)
    for number in range(2):
        assert RenderedFrame(Frame(number, number, rgb), tracker.track(rgb)).rgb.shape == rgb.shape


def _wait_for_source(reader: FrameReader, interrupt: InterruptFlag) -> FrameSource | None:
    """Return the open source, or None if a signal arrives first."""
    while interrupt.number is None:
        event = reader.next(POLL_SECONDS)
        if isinstance(event, EndOfStream):
            assert event.error is not None
            raise event.error
        if event is not None:
            assert not isinstance(event, Frame)
            return event
    return None


class _Session:
    """The main loop over the frames of an open source; as a context manager, it also closes the outputs."""

    def __init__(
        self,
        options: LiveOptions,
        backend: NumbaBackend,
        source: FrameSource,
        reader: FrameReader,
        interrupt: InterruptFlag,
        summary: SessionSummary,
        quiet: bool,
    ) -> None:
        self._options = options
        self._source = source
        self._reader = reader
        self._interrupt = interrupt
        self._summary = summary
        self._tracker = Tracker(backend, options.fit, options.steady)
        self._view = ViewState(disabled=set(options.disable))
        self._current: tuple[Frame, TrackedFrame] | None = None
        self._clock = PlaybackClock()
        self._frame_rate = FrameRateMeter()
        self._quit = False
        totals = [n for n in (options.frames, source.n_frames) if n is not None]
        self._quiet = quiet
        self._progress = ProgressBar(min(totals, default=None), "frame", quiet=quiet)
        self._sink: FrameSink | None = None
        self._window: Window | None = None

    def __enter__(self) -> Self:
        with ExitStack() as cleanup:
            cleanup.enter_context(self._progress)
            for note in self._source.notes:
                self._print(note)
            if self._options.window:
                self._window = cleanup.enter_context(Window(f"kseg-batch: {self._source.name}"))
            if self._options.save is not None:
                self._sink = open_sink(self._options.save, self._source)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        with self._cleanup:
            if self._sink is not None:
                self._close_sink(self._sink)
        self._summary.dropped = self._reader.dropped

    def _close_sink(self, sink: FrameSink) -> None:
        try:
            sink.close()
        except KsegError as error:
            self._summary.error = self._summary.error or error
        self._summary.completed = sink.written
        self._summary.saved_to = sink.path if sink.written else None

    def run(self) -> None:
        """Process frames and keys until the session is finished."""
        start = time.monotonic()
        while not self._finished:
            event = None if self._view.paused else self._reader.next(POLL_SECONDS)
            if isinstance(event, Frame):
                start = time.monotonic() if self._current is None else start
                try:
                    self._process(event)
                except KsegError as error:
                    self._summary.error = error
                    break
            elif isinstance(event, EndOfStream):
                self._summary.error = event.error
                break
            elif self._window is not None:
                self._handle_key(self._window.read_key(POLL_SECONDS))
        self._summary.seconds = time.monotonic() - start

    @property
    def _finished(self) -> bool:
        enough = self._options.frames is not None and self._summary.frames >= self._options.frames
        return enough or self._quit or self._interrupt.number is not None

    def _process(self, frame: Frame) -> None:
        """Segment a frame, then save and show the result."""
        tracked = self._tracker.track(frame.rgb)
        self._current = frame, tracked
        self._frame_rate.count_frame()
        summary = self._summary
        summary.frames += 1
        summary.cuts += tracked.cut
        summary.size = frame.rgb.shape[1], frame.rgb.shape[0]
        self._save()
        if (progress := self._progress.advance()) is not None:
            self._print(progress)
        if self._window is not None:
            self._wait_until_due(self._window, frame)
            self._show()
            self._handle_key(self._window.read_key(0))

    def _save(self) -> None:
        """Write the current frame to the sink, if there is one."""
        if self._sink is None:
            self._summary.completed += 1
            return
        self._sink.write(self._rendered())
        if self._sink.written == 1:
            for note in self._sink.notes:
                self._print(note)

    def _print(self, text: str) -> None:
        """Print a line above the progress bar."""
        if not self._quiet:
            self._progress.clear()
            print_status(text)

    def _rendered(self) -> RenderedFrame:
        """Return the current frame with the clusters that are disabled now."""
        assert self._current is not None
        return RenderedFrame(*self._current, disabled=frozenset(self._view.disabled))

    def _show(self) -> None:
        """Show the current frame in the window, if there are both."""
        if self._window is not None and self._current is not None:
            rate = self._frame_rate.frames_per_second
            self._window.show(render_window(self._rendered(), self._view, rate))

    def _wait_until_due(self, window: Window, frame: Frame) -> None:
        """Handle keys until a frame of a file is due. A frame of a live source is due at once."""
        if self._source.live:
            return
        due = self._clock.schedule(float(frame.ticks * self._source.time_base))
        while not (self._finished or self._view.paused) and (remaining := due - time.monotonic()) > 0:
            self._handle_key(window.read_key(min(remaining, POLL_SECONDS)))

    def _handle_key(self, key: str | None) -> None:
        """Carry out the command of a key; None if no key was pressed."""
        if key in (QUIT, ESCAPE):
            self._quit = True
        elif key == " ":
            self._view.paused = not self._view.paused
            self._clock.reset()
        elif key == "o":
            self._view.show_original = not self._view.show_original
        elif key == "r":
            self._tracker.reseed()
        elif key == "s":
            self._save_snapshot()
        elif key is not None and key.isdecimal() and int(key) < self._options.fit.k:
            self._view.disabled ^= {int(key)}
        if key is not None and self._view.paused:
            self._show()

    def _save_snapshot(self) -> None:
        """Write the current frame as a PNG file to the working folder; overwrite no file."""
        if self._current is None:
            return
        stem = f"{self._source.stem}-frame{self._current[0].number:06}"
        path, copy = Path(f"{stem}.png"), 1
        while path.exists():
            copy += 1
            path = Path(f"{stem}-{copy}.png")
        try:
            write_png(self._rendered(), path)
            self._print(f"snapshot: {path}")
        except KsegError as error:
            self._print(f"snapshot failed: {error}")
