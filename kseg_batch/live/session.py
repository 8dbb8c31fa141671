"""One run of `live`: frame after frame to the window and to the file, with keys and signals in between."""

from __future__ import annotations

import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.console import ProgressBar, print_status
from kseg_batch.errors import KsegError
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.live.picture import RenderedFrame
from kseg_batch.live.reader import End, Reader, open_source
from kseg_batch.live.sinks import check_target, open_sink, write_png
from kseg_batch.live.source import Frame
from kseg_batch.live.tracker import Tracker
from kseg_batch.live.view import ViewState, compose
from kseg_batch.live.window import CLOSED, Window, display
from kseg_batch.processes import InterruptFlag

if TYPE_CHECKING:
    from kseg_batch.backends.numba_cpu import NumbaBackend
    from kseg_batch.live.options import LiveOptions
    from kseg_batch.live.sinks import Sink
    from kseg_batch.live.source import FrameSource
    from kseg_batch.live.tracker import TrackedFrame

PATIENCE = 0.05
"""Seconds between looks at signals and keys while no frame comes."""

RATE_FRAMES = 30
"""Over how many frames the rate in the window is taken."""

QUIT = "q"


@dataclass(slots=True)
class SessionSummary:
    """What became of a run."""

    frames: int = 0
    """Frames segmented."""
    size: tuple[int, int] = (0, 0)
    """Their width and height."""
    cuts: int = 0
    """How often another scene began."""
    dropped: int = 0
    """Frames of a live source that came faster than they could be segmented."""
    seconds: float = 0.0
    """From the first frame to the last."""
    kept: int = 0
    """Frames that were saved, or segmented where none are to be."""
    saved: Path | None = None
    """Where to."""
    signal: int | None = None
    """The signal that ended it."""
    error: KsegError | None = None
    """Why it ended before its time, if no signal and no key did."""


def run(options: LiveOptions, backend: NumbaBackend, *, quiet: bool) -> SessionSummary:
    """Segment what the options say, until it ends or somebody ends it.

    Raises:
        KsegError: Nothing could be done.
    """
    summary = SessionSummary()
    with ExitStack() as cleanup:
        interrupt = cleanup.enter_context(InterruptFlag())
        if options.window:
            cleanup.enter_context(display())
        if options.save is not None:
            check_target(options.save)
        if not (quiet or backend.compiled):
            print_status("the kernels are not compiled yet: the first frame waits for it, once")
        _warm_up(backend)
        reader = Reader(partial(open_source, options))
        cleanup.callback(reader.stop)
        source = _wait_for_source(reader, interrupt)
        if source is not None:
            session = cleanup.enter_context(
                _Session(options, backend, source, reader, interrupt, summary, quiet)
            )
            session.run()
        summary.signal = interrupt.number
    return summary


def _warm_up(backend: NumbaBackend) -> None:
    """Compile all kernels, or load them from Numba's cache, before a camera is waiting."""
    backend.warm_up()
    rgb = np.array([[(0, 0, 0), (255, 255, 255)]], np.uint8)
    tracker = Tracker(backend, FitOptions(k=2), steady=1.0)
    for number in range(2):
        assert RenderedFrame(Frame(number, number, rgb), tracker.track(rgb)).rgb.shape == rgb.shape


def _wait_for_source(reader: Reader, interrupt: InterruptFlag) -> FrameSource | None:
    """The source when it is open, or None if somebody did not want to wait for it."""
    while interrupt.number is None:
        event = reader.next(PATIENCE)
        if isinstance(event, End):
            assert event.error is not None
            raise event.error
        if isinstance(event, BaseException):
            raise event
        if event is not None:
            assert not isinstance(event, Frame)
            return event
    return None


class _Session:
    """A run whose source is open; use it as a context manager."""

    def __init__(
        self,
        options: LiveOptions,
        backend: NumbaBackend,
        source: FrameSource,
        reader: Reader,
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
        self._last: tuple[Frame, TrackedFrame] | None = None
        self._pace: float | None = None  # when the source's first frame was shown, or would have been
        self._times: deque[float] = deque(maxlen=RATE_FRAMES)
        self._quit = False
        totals = [n for n in (options.frames, source.n_frames) if n is not None]
        self._quiet = quiet
        self._progress = ProgressBar(min(totals, default=None), "frame", quiet=quiet)
        self._sink: Sink | None = None
        self._window: Window | None = None

    def __enter__(self) -> _Session:
        with ExitStack() as cleanup:
            cleanup.enter_context(self._progress)
            for note in self._source.notes:
                self._message(note)
            if self._options.window:
                self._window = cleanup.enter_context(Window(f"kseg-batch: {self._source.name}"))
            if self._options.save is not None:
                self._sink = open_sink(self._options.save, self._source)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        with self._cleanup:
            if self._sink is not None:
                self._complete(self._sink)
        self._summary.dropped = self._reader.dropped

    def _complete(self, sink: Sink) -> None:
        try:
            sink.close()
        except KsegError as error:
            self._summary.error = self._summary.error or error
        self._summary.kept = sink.written
        self._summary.saved = sink.path if sink.written else None

    def run(self) -> None:
        """Until the source or somebody ends it."""
        start = time.monotonic()
        while not self._over:
            event = None if self._view.paused else self._reader.next(PATIENCE)
            if isinstance(event, Frame):
                start = time.monotonic() if self._last is None else start
                try:
                    self._segment(event)
                except KsegError as error:
                    self._summary.error = error
                    break
            elif isinstance(event, End):
                self._summary.error = event.error
                break
            elif isinstance(event, BaseException):
                raise event
            elif self._window is not None:
                self._press(self._window.key(PATIENCE))
        self._summary.seconds = time.monotonic() - start

    @property
    def _over(self) -> bool:
        enough = self._options.frames is not None and self._summary.frames >= self._options.frames
        return enough or self._quit or self._interrupt.number is not None

    def _segment(self, frame: Frame) -> None:
        tracked = self._tracker.track(frame.rgb)
        self._last = frame, tracked
        self._times.append(time.monotonic())
        summary = self._summary
        summary.frames += 1
        summary.cuts += tracked.cut
        summary.size = frame.rgb.shape[1], frame.rgb.shape[0]
        picture = self._picture()
        if self._sink is None:
            summary.kept += 1
        else:
            self._sink.write(picture)
            if self._sink.written == 1:
                for note in self._sink.notes:
                    self._message(note)
        if (progress := self._progress.advance()) is not None:
            self._message(progress)
        if self._window is not None:
            self._wait_for_its_time(self._window, frame)
            self._show()
            self._press(self._window.key(0))

    def _message(self, text: str) -> None:
        """Print a line without disturbing the bar."""
        if not self._quiet:
            self._progress.clear()
            print_status(text)

    def _picture(self) -> RenderedFrame:
        assert self._last is not None
        return RenderedFrame(*self._last, disabled=frozenset(self._view.disabled))

    def _show(self) -> None:
        if self._window is not None and self._last is not None:
            self._window.show(compose(self._picture(), self._view, self._rate))

    @property
    def _rate(self) -> float:
        """Frames a second, lately."""
        if len(self._times) < 2:
            return 0.0
        return (len(self._times) - 1) / max(1e-6, self._times[-1] - self._times[0])

    def _wait_for_its_time(self, window: Window, frame: Frame) -> None:
        """Show a file as fast as it is meant to be seen. What was late is not made up for."""
        if self._source.live:
            return
        at = float(frame.ticks * self._source.time_base)
        now = time.monotonic()
        self._pace = now - at if self._pace is None else max(self._pace, now - at)
        while not (self._over or self._view.paused) and (left := self._pace + at - time.monotonic()) > 0:
            self._press(window.key(min(left, PATIENCE)))

    def _press(self, key: str | None) -> None:
        """Do what a key says."""
        if key in (QUIT, CLOSED):
            self._quit = True
        elif key == " ":
            self._view.paused = not self._view.paused
            self._pace = None
        elif key == "o":
            self._view.beside = not self._view.beside
        elif key == "r":
            self._tracker.reseed()
        elif key == "s":
            self._snapshot()
        elif key is not None and key.isdecimal() and int(key) < self._options.fit.k:
            self._view.disabled ^= {int(key)}
        if key is not None and self._view.paused:
            self._show()

    def _snapshot(self) -> None:
        """Write the frame that is shown to the current folder, and replace nothing there."""
        if self._last is None:
            return
        stem = f"{self._source.stem}-frame{self._last[0].number:06}"
        path, copy = Path(f"{stem}.png"), 1
        while path.exists():
            copy += 1
            path = Path(f"{stem}-{copy}.png")
        try:
            write_png(self._picture(), path)
            self._message(f"snapshot: {path}")
        except KsegError as error:
            self._message(f"no snapshot: {error}")
