"""Child processes and signals: starting, interrupting and ending them, and the cores they may use."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator
    from queue import SimpleQueue
    from types import FrameType
    from typing import Self

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""Environment variables from which libraries take their number of threads, when they are loaded."""

INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Ctrl-C, or a request to end, as by systemd or kill."""

    number: int
    """Of the signal."""


@contextlib.contextmanager
def queue_interrupts(done: SimpleQueue[Any]) -> Generator[None]:
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


def usable_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@contextlib.contextmanager
def interrupts_blocked() -> Generator[None]:
    """Start processes in here: SIGINT and SIGTERM are held back until the end, and never reach them.

    A terminal sends the one and a service manager the other to all processes at once, also to those that
    are still importing modules; the parent alone decides when they end.
    """
    held: list[int] = []
    former = {}
    if threading.current_thread() is threading.main_thread():  # which may be told by any thread's signal
        former = {number: signal.signal(number, lambda n, _: held.append(n)) for number in INTERRUPTS}
    resource_tracker.ensure_running()  # which would unblock them
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in former.items():
            signal.signal(number, handler)
        for late in held:
            signal.raise_signal(late)


def exit_with_parent() -> None:
    """Wait for the parent process to end, and end this one."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def describe_exit(code: int) -> str:
    """A process's exit code as multiprocessing tells it, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}" + (", as happens for want of memory" if name == "SIGKILL" else "")


class InterruptFlag:
    """Takes the signals while it is entered. The second one is a KeyboardInterrupt."""

    def __init__(self) -> None:
        self.number: int | None = None
        """Of the signal that came."""

    def __enter__(self) -> Self:
        self._former = {n: signal.signal(n, self._take) for n in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _take(self, number: int, _: FrameType | None) -> None:
        if self.number is not None:
            raise KeyboardInterrupt
        self.number = number
