"""A pool of worker processes. A worker that crashes or hangs does no harm to the others.

Each worker is a pebble pool with one process. The processes of a larger pebble pool would share a pipe and
its lock, and a process that is killed while it holds the lock would block all of them. Here it blocks only
its own worker, which then starts a new pebble pool.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pebble import CONSTS, ProcessExpired, ProcessPool

from kseg_batch.batch.workers.worker_process import WorkerContext, do_nothing, initialize_process
from kseg_batch.errors import BackendError
from kseg_batch.processes import (
    FEWER_WORKERS,
    THREAD_VARIABLES,
    describe_exit,
    environment_variables,
    interrupts_blocked,
)

if TYPE_CHECKING:
    from queue import SimpleQueue
    from types import TracebackType
    from typing import Self

T = TypeVar("T")
R = TypeVar("R")

TASKS_PER_WORKER = 2
"""Tasks of a worker at a time: one in progress and one waiting, so that the worker is never idle."""

MAX_FAILED_STARTS = 3
"""Processes of a worker that may exit one after the other without a result before the tasks are given up."""

CHECK_SECONDS = 1.0
"""Seconds between two checks for workers whose process died without a message."""


ENVIRONMENT = {
    **dict.fromkeys(THREAD_VARIABLES, "1"),
    "MALLOC_MMAP_THRESHOLD_": f"{64 << 20}",
    "MALLOC_TRIM_THRESHOLD_": f"{128 << 20}",
}
"""Environment of the worker processes: libraries use one thread, and glibc reuses the memory of images.

Without the latter, an image of 1920 x 1080 pixels takes 500 page faults: 1 ms of some 15 ms.
"""


@dataclass(frozen=True, slots=True)
class Crash(Generic[T]):
    """The result of a task whose worker died or hung.

    The cause may be the next task of the worker: the worker may have died before its last messages were read.
    To be sure, try the task again alone.
    """

    task: T
    reason: str
    """How the worker died, or how long it hung."""


class Pool(Generic[T, R]):
    """A pool of worker processes, which are started when there are tasks for them.

    The result of a task arrives on a queue: the function's result; a `Crash`; or an exception that the
    function raised, which is an error in the program. If no worker can be started, a `BackendError` arrives.
    """

    def __init__(
        self,
        workers: int,
        function: Callable[[T], R],
        done: SimpleQueue[Any],
        *,
        initializer: Callable[..., object],
        initargs: tuple[object, ...] = (),
        timeout: float | None = None,
    ) -> None:
        """Create the pool, without starting a worker.

        Args:
            workers: Most worker processes.
            function: The function that a worker calls with a task. It is pickled, as tasks and results are.
            done: The queue that gets the results, from other threads.
            initializer: The function that each worker process calls before its first task.
            initargs: The arguments of the initializer.
            timeout: Seconds that a task may take after its worker has begun it; None for no limit.
        """
        self.function = function
        self.done = done
        self.initializer = partial(initialize_process, pickle.dumps((initializer, initargs)))
        self.timeout = timeout
        self.any_finished = False
        self.stopped = False
        self._max_workers = workers
        self._workers: list[_Worker[T, R]] = []
        self._stop_checks = threading.Event()
        self._checks = threading.Thread(target=self._check_workers)
        self._environment = ExitStack()  # open while there are workers
        CONSTS.term_timeout = 0  # worker processes block SIGTERM, so pebble need not wait for its effect

    @property
    def capacity(self) -> int:
        """Most tasks that may be submitted and not finished."""
        return TASKS_PER_WORKER * self._max_workers

    def start(self, n_tasks: int) -> None:
        """Start the workers that a number of tasks will need, before the first task is submitted."""
        while len(self._workers) < min(n_tasks, self._max_workers):
            self._add_worker()

    def submit(self, task: T, /) -> None:
        """Submit a task to the worker with the fewest tasks. At most `capacity` tasks may be unfinished."""
        worker = min(self._workers, key=lambda worker: worker.n_tasks, default=None)
        if worker is None or (worker.n_tasks and len(self._workers) < self._max_workers):
            worker = self._add_worker()
        worker.submit(task)

    def _add_worker(self) -> _Worker[T, R]:
        if not self._workers:
            self._environment.enter_context(environment_variables(ENVIRONMENT))
            try:
                self._checks.start()
            except RuntimeError as error:
                raise _refusal(error) from error
        self._workers.append(_Worker(self))
        return self._workers[-1]

    def _check_workers(self) -> None:
        while not self._stop_checks.wait(CHECK_SECONDS):
            for worker in list(self._workers):
                worker.check()

    def stop(self) -> None:
        """Kill all worker processes at once, and drop their tasks."""
        self.stopped = True
        self._stop_checks.set()
        for worker in self._workers:
            worker.stop()
        for worker in self._workers:
            worker.join()
        if self._workers:
            self._checks.join()
            self._environment.close()
        self._workers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Worker(Generic[T, R]):
    """One worker: a pebble pool with one process, which is replaced when the process dies.

    The unfinished tasks of the former pebble pool are submitted to the new one. When a process dies, pebble
    reports the task that the process had begun. But the process may have died between two tasks, or after it
    took a task out of the pipe without a message; for such a task pebble would wait for ever.
    """

    def __init__(self, owner: Pool[T, R]) -> None:
        self._owner = owner
        self._lock = threading.Lock()
        self._scheduled: dict[Future[R], T] = {}  # the unfinished tasks of the pebble pool
        self._held_back: list[T] | None = None  # while the pebble pool is replaced, tasks for the next one
        self._failed_starts = 0
        self._replacement: threading.Thread | None = None
        self._context = WorkerContext()
        self._pool, started = self._new_pool()
        started.add_done_callback(self._finished)

    @property
    def n_tasks(self) -> int:
        """Number of unfinished tasks."""
        with self._lock:
            return len(self._scheduled) + len(self._held_back or ())

    def _new_pool(self) -> tuple[ProcessPool, Future[None]]:
        """Return a pebble pool, and the first task of its process.

        Raises:
            BackendError: The system refuses another process or thread.
        """
        pool = ProcessPool(max_workers=1, initializer=self._owner.initializer, context=self._context)
        try:
            with interrupts_blocked():
                return pool, pool.schedule(do_nothing)  # starts the process, and pebble's threads
        except (BrokenProcessPool, OSError, RuntimeError) as error:
            raise _refusal(error.__cause__ or error) from error

    def submit(self, task: T) -> None:
        with self._lock:
            if self._held_back is not None:
                self._held_back.append(task)
                return
            try:
                future = self._pool.schedule(self._owner.function, args=(task,), timeout=self._owner.timeout)
            except RuntimeError:  # the process died while it had no task
                self._replace_later(task)
                return
            self._scheduled[future] = task
        future.add_done_callback(self._finished)

    def check(self) -> None:
        """Replace the pebble pool if it has stopped before it knew of all its tasks."""
        with self._lock:
            if not self._pool.active:
                self._replace_later()

    def _finished(self, future: Future[Any]) -> None:
        """Put the result of a task into the queue. Called by a thread of pebble."""
        error = None if future.cancelled() else future.exception()
        if self._owner.stopped or future.cancelled() or isinstance(error, CancelledError):
            return
        hung = isinstance(error, TimeoutError) and error.__cause__ is None
        with self._lock:
            if hung or isinstance(error, ProcessExpired | BrokenProcessPool):
                self._replace_later()
            if isinstance(error, BrokenProcessPool) or future not in self._scheduled:
                return
            task = self._scheduled.pop(future)
            self._failed_starts = 0
        if isinstance(error, ProcessExpired):
            self._owner.done.put(Crash(task, f"its worker {describe_exit(error.exitcode)}"))
        elif hung:
            self._owner.done.put(Crash(task, f"it took longer than {self._owner.timeout:g} seconds"))
        else:
            self._owner.any_finished = True
            self._owner.done.put(future.result() if error is None else error)

    def _replace_later(self, *tasks: T) -> None:
        """Start a thread that replaces the pebble pool, if there are tasks for it. The caller holds the lock.

        Another thread has to do it, because the caller may be a thread of the former pool, and all of these
        have to end first.
        """
        if self._held_back is not None or self._owner.stopped or not (self._scheduled or tasks):
            return
        self._held_back = list(tasks)
        self._failed_starts += 1
        self._replacement = threading.Thread(target=self._replace_pool)
        self._replacement.start()

    def _replace_pool(self) -> None:
        """Stop the pebble pool, and submit its unfinished tasks to a new one."""
        self._pool.stop()
        self._pool.join()
        if self._owner.stopped:
            return
        exited = describe_exit(self._context.exit_code)
        try:
            pool, started = self._new_pool()
        except BackendError as error:
            self._owner.done.put(error)
            return
        with self._lock:
            self._pool = pool
            tasks = [*self._scheduled.values(), *(self._held_back or ())]
            self._scheduled.clear()
            self._held_back = None
            gives_up = self._failed_starts >= MAX_FAILED_STARTS
            if gives_up:
                self._failed_starts = 0
        started.add_done_callback(self._finished)
        if gives_up and not self._owner.any_finished:
            self._owner.done.put(BackendError(f"No worker process can start: each {exited}; {FEWER_WORKERS}"))
        for task in tasks:
            if gives_up:
                self._owner.done.put(Crash(task, "its worker ended as soon as it was started"))
            else:
                self.submit(task)

    def stop(self) -> None:
        self._pool.stop()

    def join(self) -> None:
        with self._lock:
            replacement = self._replacement
        if replacement is not None:
            replacement.join()
        self._pool.stop()
        self._pool.join()


def _refusal(cause: BaseException) -> BackendError:
    """Return the error for a process or thread that the system did not start."""
    if isinstance(cause, FileNotFoundError):  # a new process is told the current folder
        return BackendError("The current folder is gone: change to a folder that exists")
    return BackendError(
        f"The system refuses another worker process ({cause}): memory, processes or files are used up, or "
        f"limited (ulimit -a); {FEWER_WORKERS}"
    )
