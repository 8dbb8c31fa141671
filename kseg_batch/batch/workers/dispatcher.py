"""The loop of a batch: it hands out work, takes results, and ends soon when it is interrupted."""

from __future__ import annotations

import time
from queue import Empty
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from kseg_batch.processes import Interrupt, queue_interrupts

if TYPE_CHECKING:
    from collections.abc import Callable
    from queue import SimpleQueue

GRACE_SECONDS = 5.0
"""Seconds after an interrupt in which images in progress may be finished."""

R = TypeVar("R")


class Dispatcher(Generic[R]):
    """Hands out work and takes results, in one thread. Results come from other threads, over a queue.

    After the first interrupt no more work is handed out, and work in progress has `GRACE_SECONDS` to finish.
    The second interrupt ends the loop at once.

    Attributes:
        signal: The number of the signal that interrupted the loop; None if none did.
    """

    def __init__(self, done: SimpleQueue[Any], message: Callable[[str], None]) -> None:
        """Create the loop, without starting it.

        Args:
            done: The queue of results. An exception in the queue is an error in the program, and is raised.
            message: The function that gets a message for the user when the loop is interrupted.
        """
        self.signal: int | None = None
        self._done = done
        self._message = message
        self._deadline: float | None = None

    def run(
        self, hand_out: Callable[[], bool], is_busy: Callable[[], bool], take: Callable[[R], None]
    ) -> None:
        """Loop until all work is finished, or until the deadline after an interrupt.

        Args:
            hand_out: Submits one task to an executor with room. Returns whether there was a task.
            is_busy: Returns whether any task is in progress.
            take: Takes a result.
        """
        with queue_interrupts(self._done):
            while True:
                handed_out = self._deadline is None and hand_out()
                if not handed_out and not is_busy():
                    return
                try:
                    event = self._done.get(timeout=0.0 if handed_out else self._seconds_left())
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
        """Hand out no more work, and end the loop in `GRACE_SECONDS` at the latest."""
        if self._deadline is None:
            self._deadline = time.monotonic() + GRACE_SECONDS

    def _seconds_left(self) -> float | None:
        """Return the seconds until the deadline; None if there is no deadline."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _interrupt(self, number: int) -> None:
        if self.signal is None:
            self.signal = number
            self.end_soon()
            self._message("interrupted: finishing the images in progress; a second interrupt stops at once")
        else:
            self._deadline = time.monotonic()
