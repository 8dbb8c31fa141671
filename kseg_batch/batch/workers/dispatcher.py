"""The loop of a batch: hand out work while there is room, take results, and end in time when interrupted."""

from __future__ import annotations

import time
from queue import Empty
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from kseg_batch.processes import Interrupt, queue_interrupts

if TYPE_CHECKING:
    from collections.abc import Callable
    from queue import SimpleQueue

GRACE = 5.0
"""Seconds that the images under way have to end after an interrupt."""

R = TypeVar("R")


class Dispatcher(Generic[R]):
    """Runs in one thread. Results come from other threads, over a queue.

    The first interrupt stops the handing out, and the work under way has `GRACE` seconds. The second
    interrupt ends the loop at once.

    Attributes:
        signal: The number of the signal that interrupted the loop; None if none did.
    """

    def __init__(self, done: SimpleQueue[Any], message: Callable[[str], None]) -> None:
        """Hand out nothing yet.

        Args:
            done: The queue of results. An exception in it is a mistake in the program, and is raised.
            message: Tells people of an interrupt.
        """
        self.signal: int | None = None
        self._done = done
        self._message = message
        self._deadline: float | None = None

    def run(
        self, hand_out: Callable[[], bool], is_busy: Callable[[], bool], take: Callable[[R], None]
    ) -> None:
        """Loop until all work is done or the time is up.

        Args:
            hand_out: Gives one piece of work to whoever has room. Returns whether there was one.
            is_busy: Returns whether work is under way.
            take: Takes a result.
        """
        with queue_interrupts(self._done):
            while True:
                handed_out = self._deadline is None and hand_out()
                if not handed_out and not is_busy():
                    return
                try:
                    event = self._done.get(timeout=0.0 if handed_out else self._patience())
                except Empty:
                    if handed_out:
                        continue
                    return
                if isinstance(event, BaseException):
                    raise event
                if isinstance(event, Interrupt):
                    self._interrupt(event.number)
                else:
                    take(event)

    def end_soon(self) -> None:
        """Hand out nothing more, and end the loop in `GRACE` seconds at the latest."""
        if self._deadline is None:
            self._deadline = time.monotonic() + GRACE

    def _patience(self) -> float | None:
        """Return the seconds to wait for a result; None for any."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _interrupt(self, number: int) -> None:
        if self.signal is None:
            self.signal = number
            self.end_soon()
            self._message("interrupted: ending the images under way; once more stops at once")
        else:
            self._deadline = time.monotonic()
