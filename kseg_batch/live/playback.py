"""When the window shows a frame, and how many frames per second the session reaches."""

from __future__ import annotations

import time
from collections import deque

METERED_FRAMES = 30
"""Frames over which the frame rate is measured."""


class PlaybackClock:
    """Schedules the frames of a file at their presentation times.

    A late frame delays all following frames by the same time: a file never plays faster than intended.
    """

    def __init__(self) -> None:
        self._start: float | None = None  # monotonic time that stands for presentation time 0

    def schedule(self, presentation_seconds: float) -> float:
        """Return the monotonic time, now at the earliest, at which a frame is to be shown.

        Args:
            presentation_seconds: The frame's presentation time.
        """
        earliest = time.monotonic() - presentation_seconds
        self._start = earliest if self._start is None else max(self._start, earliest)
        return self._start + presentation_seconds

    def reset(self) -> None:
        """Show the next frame at once, as after a pause."""
        self._start = None


class FrameRateMeter:
    """Measures the frame rate over the most recent frames."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=METERED_FRAMES)

    def count_frame(self) -> None:
        """Count a frame now."""
        self._times.append(time.monotonic())

    @property
    def frames_per_second(self) -> float:
        """The frame rate; 0 before the second frame."""
        if len(self._times) < 2:
            return 0.0
        return (len(self._times) - 1) / max(1e-6, self._times[-1] - self._times[0])
