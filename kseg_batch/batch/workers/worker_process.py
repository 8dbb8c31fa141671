"""The start of a worker process, by multiprocessing's method `spawn`."""

from __future__ import annotations

import os
import pickle
import time
from multiprocessing import connection
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from pebble import CONSTS

from kseg_batch.errors import is_memory_shortage
from kseg_batch.processes import NO_MEMORY, exit_with_parent

LOCK_SECONDS = 3.0
"""Seconds that a process waits for the lock of its pipe. No living process holds the lock for long."""


class WorkerProcess(SpawnProcess):
    """A process whose state several threads may ask for.

    `start` takes the exit codes of all processes that have exited from the system. While one thread does so,
    multiprocessing tells other threads that such a process is still alive, and pebble fails to stop it.
    """

    def is_alive(self) -> bool:
        """Return whether the process is running. If it is not, its exit code is known."""
        alive = super().is_alive()
        if alive and connection.wait([self.sentinel], 0):
            while self.exitcode is None:
                time.sleep(0.001)
            alive = False
        return alive


class PipeLock:
    """A reentrant lock between processes, for where semaphores lack /dev/shm, as in some containers.

    The owner is the process that has read the one byte of a pipe. One thread of a process uses the lock.
    """

    def __init__(self, context: SpawnContext) -> None:
        ends = context.Pipe(duplex=False)
        os.set_blocking(ends[0].fileno(), False)
        os.write(ends[1].fileno(), b"1")
        self.__setstate__(ends)

    def __getstate__(self) -> tuple[Any, Any]:
        return self._reader, self._writer

    def __setstate__(self, ends: tuple[Any, Any]) -> None:
        self._reader, self._writer = ends
        self._depth = 0

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Acquire the lock, and return whether that was possible in `timeout` seconds; None for no limit."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._depth:
            try:
                os.read(self._reader.fileno(), 1)
            except BlockingIOError:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                if not block or not connection.wait([self._reader], left):
                    return False
            else:
                break
        self._depth += 1
        return True

    def release(self) -> None:
        """Release the lock once."""
        self._depth -= 1
        if not self._depth:
            os.write(self._writer.fileno(), b"1")


class WorkerContext(SpawnContext):
    """The start of a worker's processes, one after the other. The last one is kept for its exit code."""

    def __init__(self) -> None:
        super().__init__()
        self._last: WorkerProcess | None = None

    def Process(self, *args: Any, **kwargs: Any) -> WorkerProcess:  # type: ignore[override]
        """Return a new process, not started."""
        self._last = WorkerProcess(*args, **kwargs)
        return self._last

    def RLock(self) -> Any:
        """Return a new reentrant lock."""
        try:
            return super().RLock()
        except (ImportError, OSError):
            return PipeLock(self)

    @property
    def exit_code(self) -> int:
        """Exit code of the last process; 0 while there is none."""
        return 0 if self._last is None else self._last.exitcode or 0


def do_nothing() -> None:
    """Do nothing: the first task of a process, which starts the process."""


def initialize_process(pickled: bytes) -> None:
    """Initialise a new worker process, and make it exit when its parent exits.

    Args:
        pickled: The initializer and its arguments. Unpickling them imports most of the worker's modules.
    """
    CONSTS.channel_lock_timeout = LOCK_SECONDS
    try:
        exit_with_parent()
        initializer, initargs = pickle.loads(pickled)
        initializer(*initargs)
    except Exception as error:
        if is_memory_shortage(error) or "new thread" in str(error):
            os._exit(NO_MEMORY)  # the parent says it once for all workers
        raise
