"""Worker processes of which one may crash or hang without harm to the others, on pebble's pools.

Each worker is a pebble pool of its own, a lane. Workers of one pool share a pipe and its lock, and one that
is killed while it holds the lock stops them all; here it stops its lane, which gets a new pool.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pebble import CONSTS, ProcessExpired, ProcessPool

from kseg_batch.errors import BackendError
from kseg_batch.processes import THREAD_VARIABLES, describe_exit, exit_with_parent, interrupts_blocked

if TYPE_CHECKING:
    from queue import SimpleQueue
    from types import TracebackType
    from typing import Self

T = TypeVar("T")
R = TypeVar("R")

TASKS_PER_WORKER = 2
"""One at work, and one that waits, so that a worker has never to wait for its next."""

BREAKS = 3
"""Workers of a lane that may end one after the other with no task begun."""

WATCH_SECONDS = 1.0
"""How often to look for lanes that broke without a word."""


ENVIRONMENT = {
    **dict.fromkeys(THREAD_VARIABLES, "1"),
    "MALLOC_MMAP_THRESHOLD_": f"{64 << 20}",
    "MALLOC_TRIM_THRESHOLD_": f"{128 << 20}",
}
"""Of the workers: libraries use one thread, and glibc keeps the memory of an image for the next one.

Without the latter, a 1080p image takes 500 page faults, 1 of some 15 ms.
"""


LOCK_SECONDS = 3.0
"""How long a worker waits for the lock of its lane: nobody alive holds it for more than a moment."""


@dataclass(frozen=True, slots=True)
class Crash(Generic[T]):
    """A task whose worker died or hung while it was at it.

    Or just after: then the next task is to blame, if the worker died before its last messages were read. To
    be sure, try it again alone.
    """

    task: T
    reason: str
    """What happened."""


class Pool(Generic[T, R]):
    """Worker processes, started when there are tasks for them.

    What becomes of a task arrives on a queue: the function's result; a `Crash`; or an exception that the
    function raised, which is a mistake in the program. If no worker can be started, a `BackendError` arrives.
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
        """Start nothing yet.

        Args:
            workers: Most processes.
            function: What a worker does with a task. It is pickled, as tasks and results are.
            done: Where results go. They are put there by other threads.
            initializer: Called by each worker before its first task.
            initargs: Its arguments.
            timeout: Seconds that a task may take from when its worker begins it.
        """
        self.function = function
        self.done = done
        self.begin = partial(_begin_worker, initializer, initargs)
        self.timeout = timeout
        self.any_finished = False
        self.stopped = False
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._watch_lanes)
        self._workers = workers
        self._lanes: list[_Lane[T, R]] = []
        self._environment = {name: os.environ.get(name) for name in ENVIRONMENT}
        CONSTS.term_timeout = 0  # workers are deaf to SIGTERM, so do not wait for it to do anything

    @property
    def capacity(self) -> int:
        """Most tasks that may be under way."""
        return TASKS_PER_WORKER * self._workers

    def start(self, n_tasks: int) -> None:
        """Start the workers that so many tasks will need, ahead of the first."""
        while len(self._lanes) < min(n_tasks, self._workers):
            self._new_lane()

    def submit(self, task: T, /) -> None:
        """Give a task to the worker with the fewest. There may be `capacity` under way."""
        lane = min(self._lanes, key=lambda lane: lane.n_tasks, default=None)
        if lane is None or (lane.n_tasks and len(self._lanes) < self._workers):
            lane = self._new_lane()
        lane.submit(task)

    def _new_lane(self) -> _Lane[T, R]:
        if not self._lanes:
            os.environ.update(ENVIRONMENT)
            self._watch.start()
        self._lanes.append(_Lane(self))
        return self._lanes[-1]

    def _watch_lanes(self) -> None:
        while not self._over.wait(WATCH_SECONDS):
            for lane in list(self._lanes):
                lane.check()

    def stop(self) -> None:
        """End all workers at once, whatever they are doing."""
        self.stopped = True
        self._over.set()
        for lane in self._lanes:
            lane.stop()
        for lane in self._lanes:
            lane.join()
        if self._lanes:
            self._watch.join()
            for name, value in self._environment.items():
                os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
        self._lanes.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Lane(Generic[T, R]):
    """One worker, and those that come after it.

    When a worker dies its pool goes with it, and what that pool had been given goes to a new one. pebble
    tells of one task that the worker had begun. But it may have been between two, or have taken one out of
    the pipe without a word, and for such a task pebble waits for ever.
    """

    def __init__(self, owner: Pool[T, R]) -> None:
        self._owner = owner
        self._lock = threading.Lock()
        self._given: dict[Future[R], T] = {}  # to the pool, which has not told yet what became of it
        self._waiting: list[T] | None = None  # for the next pool, while this one is given up
        self._breaks = 0
        self._renewal: threading.Thread | None = None
        self._pool, started = self._new_pool()
        started.add_done_callback(self._ended)

    @property
    def n_tasks(self) -> int:
        """Tasks under way."""
        with self._lock:
            return len(self._given) + len(self._waiting or ())

    def _new_pool(self) -> tuple[ProcessPool, Future[None]]:
        """A pool, and the first task of its worker."""
        pool = ProcessPool(max_workers=1, initializer=self._owner.begin, context=_SpawnContext())
        with interrupts_blocked():
            return pool, pool.schedule(_nothing)  # starts the worker, and the threads that start later ones

    def submit(self, task: T) -> None:
        with self._lock:
            if self._waiting is not None:
                self._waiting.append(task)
                return
            try:
                future = self._pool.schedule(self._owner.function, args=(task,), timeout=self._owner.timeout)
            except RuntimeError:  # its worker died while it had nothing to do
                self._renew(task)
                return
            self._given[future] = task
        future.add_done_callback(self._ended)

    def check(self) -> None:
        """Take a new pool if this one broke before it knew of all that it was given."""
        with self._lock:
            if not self._pool.active:
                self._renew()

    def _ended(self, future: Future[Any]) -> None:
        """Pass on what became of a task; called by a thread of pebble's."""
        error = None if future.cancelled() else future.exception()
        if self._owner.stopped or future.cancelled() or isinstance(error, CancelledError):
            return
        hung = isinstance(error, TimeoutError) and error.__cause__ is None
        with self._lock:
            if hung or isinstance(error, ProcessExpired | BrokenProcessPool):
                self._renew()
            if isinstance(error, BrokenProcessPool) or future not in self._given:
                return
            task = self._given.pop(future)
            self._breaks = 0
        if isinstance(error, ProcessExpired):
            self._owner.done.put(Crash(task, f"its worker {describe_exit(error.exitcode)}"))
        elif hung:
            self._owner.done.put(Crash(task, f"it took longer than {self._owner.timeout:g} seconds"))
        else:
            self._owner.any_finished = True
            self._owner.done.put(future.result() if error is None else error)

    def _renew(self, *waiting: T) -> None:
        """Begin to take a new pool if there are tasks for it; with the lock held.

        In a thread of its own, because the old pool's threads have to end first.
        """
        if self._waiting is not None or self._owner.stopped or not (self._given or waiting):
            return
        self._waiting = list(waiting)
        self._breaks += 1
        self._renewal = threading.Thread(target=self._replace_pool)
        self._renewal.start()

    def _replace_pool(self) -> None:
        self._pool.stop()
        self._pool.join()
        if self._owner.stopped:
            return
        with self._lock:
            self._pool, started = self._new_pool()
            tasks = [*self._given.values(), *(self._waiting or ())]
            self._given.clear()
            self._waiting = None
            given_up = self._breaks >= BREAKS
            if given_up:
                self._breaks = 0
        started.add_done_callback(self._ended)
        if given_up and not self._owner.any_finished:
            self._owner.done.put(BackendError("worker processes end as soon as they are started"))
        for task in tasks:
            if given_up:
                self._owner.done.put(Crash(task, "its worker ended as soon as it was started"))
            else:
                self.submit(task)

    def stop(self) -> None:
        self._pool.stop()

    def join(self) -> None:
        with self._lock:
            renewal = self._renewal
        if renewal is not None:
            renewal.join()
        self._pool.stop()
        self._pool.join()


class _Process(SpawnProcess):
    """A process that several threads may look at.

    While one thread takes an ended process's exit code from the system, which `start` does for all processes
    that have ended, multiprocessing tells another one that it is alive; pebble then fails to end it.
    """

    def is_alive(self) -> bool:
        """Whether it runs; if not, its exit code is known."""
        alive = super().is_alive()
        if alive and connection.wait([self.sentinel], 0):
            while self.exitcode is None:
                time.sleep(0.001)
            alive = False
        return alive


class _SpawnContext(SpawnContext):
    Process = _Process


def _nothing() -> None:
    """A task for a worker that is only to start."""


def _begin_worker(initializer: Callable[..., object], initargs: tuple[object, ...]) -> None:
    """In a new worker: it ends with the parent."""
    CONSTS.channel_lock_timeout = LOCK_SECONDS
    threading.Thread(target=exit_with_parent, daemon=True).start()
    initializer(*initargs)
