"""Reading ahead, in a thread: the next frames are decoded while one is segmented."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from kseg_batch.errors import KsegError
from kseg_batch.live.source import Frame, FrameSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from kseg_batch.live.options import LiveOptions

AHEAD = 4
"""Frames of a file that may wait for somebody to take them."""

BEHIND = 2
"""Frames of a live source that may: the oldest is given up for a newer one."""


class End:
    """There are no more frames."""

    def __init__(self, error: KsegError | None) -> None:
        """Say why, where it is before their time."""
        self.error = error


Event: TypeAlias = FrameSource | Frame | End | BaseException


class Reader:
    """Opens a source and reads it; tells of the source, then of its frames, then of the end.

    All of it in its own thread, for an address may take long to open. Where nobody takes the frames of a file
    in time, it waits. Those of a live source give way to newer ones, so that what is shown does not lag.
    """

    def __init__(self, open_source: Callable[[], FrameSource]) -> None:
        """Begin."""
        self.dropped = 0
        """Frames of a live source that nobody took."""
        self._open_source = open_source
        self._events: deque[Event] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._thread.start()

    def next(self, timeout: float) -> Event | None:
        """What comes next, or None if nothing has come within so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._events, timeout)
            if not self._events:
                return None
            self._changed.notify_all()
            return self._events.popleft()

    def stop(self, patience: float = 1.0) -> None:
        """Read no more and close the source; a thread that hangs in a driver is left to itself."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join(patience)

    def _run(self) -> None:
        try:
            source = self._open_source()
            try:
                self._put(source)
                for frame in source.frames():
                    if self._stopped:
                        return
                    self._put_frame(frame, live=source.live)
            finally:
                source.close()
            self._put(End(None))
        except KsegError as error:
            self._put(End(error))
        except BaseException as error:  # noqa: BLE001 - it is raised where the events are taken
            self._put(error)

    def _put(self, event: Event) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def _put_frame(self, frame: Frame, *, live: bool) -> None:
        with self._changed:
            if live and len(self._events) >= BEHIND and isinstance(self._events[0], Frame):
                self._events.popleft()
                self.dropped += 1
            self._changed.wait_for(lambda: len(self._events) < AHEAD or self._stopped)
            self._events.append(frame)
            self._changed.notify_all()


def open_source(options: LiveOptions) -> FrameSource:
    """Open the source that the options name.

    Raises:
        SourceError: It is missing, busy, or nothing that can be read.
        BackendUnavailableError: The package that reads it is missing.
    """
    if options.source is not None:
        from kseg_batch.live.video import Video

        return Video(options.source, options)
    from kseg_batch.live.camera import Camera

    return Camera(options.camera, options)
