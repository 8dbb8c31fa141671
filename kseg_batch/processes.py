"""Child processes, signals, and the CPU cores that this process may use."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from contextlib import AbstractContextManager
    from queue import SimpleQueue
    from typing import Self

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""Environment variables from which libraries read their number of threads when they are loaded."""

PRIVATE_FOLDER = "KSEG_BATCH_PRIVATE_FOLDER"
"""Environment variable in which child processes find the private folder of their run."""

PRIVATE_PREFIX = "kseg-batch-run-"
"""Beginning of the names of private folders."""

INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
"""Signals that ask a run to stop."""


@dataclass(frozen=True, slots=True)
class Interrupt:
    """A signal that asks this process to stop, from Ctrl-C, systemd or kill."""

    number: int
    """Signal number: SIGINT or SIGTERM."""


@contextlib.contextmanager
def environment_variables(values: Mapping[str, str]) -> Generator[None]:
    """Set environment variables inside this context, for child processes that are started there."""
    former = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in former.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def private_folder() -> Generator[None]:
    """Make a temporary folder for this user alone, and remove it at the end of this context.

    Child processes that are started in this context find its path in the environment. Where no folder can be
    made, they find none.
    """
    try:
        folder = tempfile.mkdtemp(prefix=PRIVATE_PREFIX)
    except OSError:
        folder = ""
    try:
        with environment_variables({PRIVATE_FOLDER: folder}):
            yield
    finally:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def interrupts_handled(handle: Callable[[int], object]) -> Generator[None]:
    """Call a function with the number of each SIGINT and SIGTERM that arrives inside this context.

    Outside the main thread, where Python allows no signal handlers, this context does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.signal(number, lambda n, _: handle(n)) for number in INTERRUPTS}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def queue_interrupts(done: SimpleQueue[Any]) -> AbstractContextManager[None]:
    """Return a context that puts an `Interrupt` into a queue for each SIGINT and SIGTERM that arrives."""
    return interrupts_handled(lambda number: done.put(Interrupt(number)))


def usable_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@contextlib.contextmanager
def interrupts_blocked() -> Generator[None]:
    """Start child processes inside this context, so that SIGINT and SIGTERM never reach them.

    The parent process gets the signals when the context ends. A terminal sends SIGINT, and a service manager
    SIGTERM, to all processes at once, even to children that are still importing modules. The parent alone
    decides when its children exit.
    """
    held: list[int] = []
    try:
        with interrupts_handled(held.append):  # in the main thread, whichever thread gets the signal
            resource_tracker.ensure_running()  # its start would unblock the signals below
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
            try:
                yield
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    finally:
        for number in held:
            signal.raise_signal(number)


def exit_with_parent() -> None:
    """Make this process exit when its parent exits, and remove the run's private folder. A thread waits."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait_and_exit() -> None:
        connection.wait([parent.sentinel])
        folder = os.environ.get(PRIVATE_FOLDER, "")
        if os.path.basename(folder).startswith(PRIVATE_PREFIX):  # noqa: PTH119 - empty stays empty
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=wait_and_exit, daemon=True).start()


FEWER_WORKERS = "--workers with a lower number needs less"
"""Remedy where the system refuses memory, processes, threads or files."""

NO_MEMORY = 71
"""Exit code of a worker process that did not get the memory or threads to start; EX_OSERR of sysexits.h."""


def describe_exit(code: int) -> str:
    """Describe an exit code of multiprocessing, where a negative code is the number of a signal."""
    if code == NO_MEMORY:
        return "did not get the memory or the threads that it needs"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}" + (", as happens for want of memory" if name == "SIGKILL" else "")


class InterruptFlag:
    """Remember the first SIGINT or SIGTERM inside this context. The second raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.number: int | None = None
        """Number of the signal that arrived; None so far."""
        self._handled = interrupts_handled(self._handle)

    def __enter__(self) -> Self:
        self._handled.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._handled.__exit__(None, None, None)

    def _handle(self, number: int) -> None:
        if self.number is not None:
            raise KeyboardInterrupt
        self.number = number
