"""Interrupts as events among others, for a loop that is to end in its own time."""

from __future__ import annotations

import contextlib
import signal
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator
    from queue import SimpleQueue
    from types import FrameType


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Ctrl-C, or a request to end, as by systemd or kill."""

    number: int
    """Of the signal."""


@contextlib.contextmanager
def interrupts_to(done: SimpleQueue[Any]) -> Generator[None]:
    """Put an `Interrupt` into the queue for each SIGINT and SIGTERM; in other than the main thread, none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def take(number: int, _: FrameType | None) -> None:
        done.put(Interrupt(number))

    former = {number: signal.signal(number, take) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
