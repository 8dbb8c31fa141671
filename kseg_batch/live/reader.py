"""Reading ahead in a thread: the next frames are decoded while one frame is segmented."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from kseg_batch.errors import KsegError
from kseg_batch.live.source import Frame, FrameSource

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_QUEUED = 4
"""Frames that may wait in the queue; the thread of a file then waits for the queue to shrink."""

MAX_QUEUED_LIVE = 2
"""Frames of a live source that may wait in the queue; a newer frame then replaces the oldest."""


@dataclass(frozen=True, slots=True)
class EndOfStream:
    """The last event of a reader: no more frames follow."""

    error: KsegError | None
    """Why the source ended early, or could not be opened; None at the regular end."""


ReaderEvent: TypeAlias = FrameSource | Frame | EndOfStream
"""A reader's events are the open source, the frames, and the end of the stream, in this order."""


class FrameReader:
    """A thread that opens a source, reads its frames and puts both into a queue.

    The source is opened in the thread because an address may take long to answer. No frame of a file is
    dropped: the thread waits while the queue is full. Frames of a live source are dropped when newer frames
    arrive, so that the display does not lag.
    """

    def __init__(self, open_source: Callable[[], FrameSource]) -> None:
        """Start the thread.

        Args:
            open_source: Return the open source; called once, in the thread.
        """
        self.dropped = 0
        """Frames of a live source that were replaced by newer ones."""
        self._open_source = open_source
        self._events: deque[ReaderEvent | BaseException] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._thread.start()

    def next(self, timeout: float) -> ReaderEvent | None:
        """Return the next event, or None if no event arrives within `timeout` seconds.

        Raises:
            BaseException: An unexpected exception of the thread, such as a programming error.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._events, timeout)
            if not self._events:
                return None
            self._changed.notify_all()
            event = self._events.popleft()
        if isinstance(event, BaseException):
            raise event
        return event

    def stop(self, timeout: float = 1.0) -> None:
        """Stop reading and close the source; abandon a thread that hangs in a driver after `timeout` s."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join(timeout)

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
            self._put(EndOfStream(None))
        except KsegError as error:
            self._put(EndOfStream(error))
        except BaseException as error:  # noqa: BLE001 - raised again by `next`
            self._put(error)

    def _put(self, event: ReaderEvent | BaseException) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def _put_frame(self, frame: Frame, *, live: bool) -> None:
        """Append a frame to the queue: drop the oldest frame of a live source, or wait for room."""
        with self._changed:
            if live and len(self._events) >= MAX_QUEUED_LIVE and isinstance(self._events[0], Frame):
                self._events.popleft()
                self.dropped += 1
            self._changed.wait_for(lambda: len(self._events) < MAX_QUEUED or self._stopped)
            self._events.append(frame)
            self._changed.notify_all()
