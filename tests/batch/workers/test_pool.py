"""Worker processes that are killed, hang, exit and fail: no task is lost or done twice."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from queue import Empty, SimpleQueue
from typing import Any

import pytest
from pebble.pool import process as pebble_process

from kseg_batch.batch.workers.pool import ENVIRONMENT, Crash, Pool
from kseg_batch.errors import BackendError
from tests.support.pool_tasks import do, echo, exit_at_once, initialize
from tests.support.processes import PATIENCE, child_workers, wait_until, wait_until_gone


def drive(pool: Pool[Any, Any], done: SimpleQueue[Any], tasks: list[Any]) -> list[Any]:
    """Keep a pool at full capacity; return the results of all tasks."""
    results: list[Any] = []
    waiting = list(reversed(tasks))
    while len(results) < len(tasks):
        while waiting and len(tasks) - len(waiting) - len(results) < pool.capacity:
            pool.submit(waiting.pop())
        results.append(done.get(timeout=PATIENCE))
    return results


def test_results_come_back_and_nothing_stays() -> None:
    done: SimpleQueue[Any] = SimpleQueue()
    threads, environment = threading.active_count(), dict(os.environ)
    with Pool(2, echo, done, initializer=initialize) as pool:
        assert not child_workers()  # nothing is started for nothing
        assert sorted(drive(pool, done, list(range(200)))) == list(range(200))
        assert len(child_workers()) == 2
    assert not child_workers()
    assert threading.active_count() == threads
    assert dict(os.environ) == environment


def test_one_task_starts_one_worker_of_one_thread() -> None:
    done: SimpleQueue[Any] = SimpleQueue()
    with Pool(4, do, done, initializer=initialize) as pool:
        assert drive(pool, done, [("environment", None)]) == [("environment", list(ENVIRONMENT.values()))]
        assert len(child_workers()) == 1


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (("exit", 3), "its worker ended with exit code 3"),
        (("segfault", None), "its worker was killed by SIGSEGV"),
        (("kill", signal.SIGKILL), "its worker was killed by SIGKILL, as happens for want of memory"),
        (("kill", signal.SIGABRT), "its worker was killed by SIGABRT"),
        (("sleep", PATIENCE), "it took longer than 1 seconds"),
    ],
)
def test_a_crash_costs_one_task(task: tuple[str, Any], reason: str) -> None:
    done: SimpleQueue[Any] = SimpleQueue()
    tasks: list[Any] = [("echo", i) for i in range(20)]
    tasks[7:7] = [task]
    with Pool(2, do, done, initializer=initialize, timeout=1) as pool:
        results = drive(pool, done, tasks)
        assert drive(pool, done, [("echo", "again")]) == [("echo", "again")]
    assert results.count(Crash(task, reason)) == 1
    others = [r.task if isinstance(r, Crash) and r.reason == reason else r for r in results]
    assert sorted(others, key=str) == sorted(tasks, key=str)
    assert sum(isinstance(result, Crash) for result in results) <= 2  # the task before it may be blamed first


def test_killed_at_any_moment(soak: bool) -> None:
    """At work, between two tasks, with the lock of the pipe in hand, while starting."""
    done: SimpleQueue[Any] = SimpleQueue()
    kills = 100 if soak else 12
    chance = random.Random(0)
    with Pool(2, do, done, initializer=initialize) as pool:
        drive(pool, done, [("echo", 0)])  # three kills at the start would pass for workers that cannot start
        under_way, submitted = 0, 0
        finished: list[Any] = []
        last = time.monotonic()
        while kills or under_way:
            while kills and under_way < pool.capacity:
                pool.submit(("nap", submitted))
                submitted, under_way = submitted + 1, under_way + 1
            if kills and time.monotonic() > last and (alive := child_workers()):
                os.kill(chance.choice(alive), signal.SIGKILL)
                last = time.monotonic() + chance.random() / 2
                kills -= 1
            try:
                result = done.get(timeout=0.01 if kills else PATIENCE)
            except Empty:
                assert kills
                continue
            under_way -= 1
            finished.append(result)
    names = [result.task if isinstance(result, Crash) else result for result in finished]
    assert sorted(names) == [("nap", i) for i in range(submitted)]


def late_once(monkeypatch: pytest.MonkeyPatch, owner: type, method: str, *, before: bool) -> None:
    """Let a thread of pebble lose a second before or after a call, as on a busy machine."""
    prompt = getattr(owner, method)
    delays = [0, 1] if before else [1, 0]

    def late(*args: Any) -> None:
        time.sleep(delays.pop() if delays else 0)
        prompt(*args)
        time.sleep(delays.pop() if delays else 0)

    monkeypatch.setattr(owner, method, late)


def test_killed_before_its_last_messages_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker has done one task and begun the next; the parent reads of both after the worker's death."""
    done: SimpleQueue[Any] = SimpleQueue()
    tasks = [("sleep", 0.3), ("kill", signal.SIGKILL)]
    with Pool(1, do, done, initializer=initialize) as pool:
        assert drive(pool, done, [("echo", 1)]) == [("echo", 1)]
        late_once(monkeypatch, pebble_process.TaskManager, "task_start", before=False)
        results = drive(pool, done, tasks)
    assert [r.task if isinstance(r, Crash) else r for r in results] == tasks
    assert isinstance(results[1], Crash)


def test_killed_when_idle_as_a_task_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pebble gives up its pool before it knows of the task."""
    done: SimpleQueue[Any] = SimpleQueue()
    with Pool(1, do, done, initializer=initialize) as pool:
        assert drive(pool, done, [("echo", 1)]) == [("echo", 1)]
        late_once(monkeypatch, pebble_process.PoolManager, "schedule", before=True)
        pool.submit(("echo", 2))
        os.kill(child_workers()[0], signal.SIGKILL)
        assert done.get(timeout=PATIENCE) == ("echo", 2)


def test_other_threads_look_at_a_worker_that_is_ended() -> None:
    """Each start of a process looks, and takes the exit codes of processes that have exited."""
    done: SimpleQueue[Any] = SimpleQueue()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            multiprocessing.active_children()

    looking = threading.Thread(target=look)
    looking.start()
    try:
        tasks = [("sleep", PATIENCE + i) for i in range(8)]
        with Pool(1, do, done, initializer=initialize, timeout=0.1) as pool:
            assert drive(pool, done, tasks) == [Crash(t, "it took longer than 0.1 seconds") for t in tasks]
    finally:
        over.set()
        looking.join()


def test_an_exception_is_handed_over_with_its_traceback() -> None:
    done: SimpleQueue[Any] = SimpleQueue()
    with Pool(1, do, done, initializer=initialize) as pool:
        (error,) = drive(pool, done, [("raise", "no")])
    assert isinstance(error, ZeroDivisionError)
    assert "pool_tasks.py" in str(error.__cause__)


def test_workers_that_cannot_begin_end_the_matter() -> None:
    done: SimpleQueue[Any] = SimpleQueue()
    with Pool(2, echo, done, initializer=exit_at_once) as pool:
        pool.submit(1)
        error = done.get(timeout=PATIENCE)
    assert isinstance(error, BackendError)
    assert str(error).startswith("No worker process can start: each ended with exit code 7; ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_workers_end_only_when_the_parent_says(number: int) -> None:
    done: SimpleQueue[Any] = SimpleQueue()
    task = ("signal itself", number)
    with Pool(1, do, done, initializer=initialize) as pool:
        assert drive(pool, done, [task] * 3) == [task] * 3


def test_stopped_at_work() -> None:
    done: SimpleQueue[Any] = SimpleQueue()
    threads = threading.active_count()
    with Pool(2, do, done, initializer=initialize) as pool:
        for _ in range(pool.capacity):
            pool.submit(("sleep", 1000))
        wait_until(lambda: len(child_workers()) == 2)
    assert not child_workers()
    assert threading.active_count() == threads
    assert done.empty()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_no_worker_outlives_its_parent(number: int) -> None:
    code = """
import time
from queue import SimpleQueue
from kseg_batch.batch.workers.pool import Pool
from tests.support.pool_tasks import do, initialize
from tests.support.processes import child_workers
if __name__ == "__main__":
    pool = Pool(2, do, SimpleQueue(), initializer=initialize)
    for _ in range(4):
        pool.submit(("sleep", 1000))
    while len(child_workers()) < 2:
        time.sleep(0.01)
    time.sleep(0.5)
    print(*child_workers(), flush=True)
    time.sleep(1000)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    workers = [int(pid) for pid in process.stdout.readline().split()]
    assert len(workers) == 2
    process.send_signal(number)
    assert process.wait(timeout=PATIENCE) == -number
    wait_until_gone(workers)
    _, errors = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in errors
