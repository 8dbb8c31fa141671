"""Waiting with a deadline, and the processes of a command, found in /proc."""

from __future__ import annotations

import time
from dataclasses import dataclass
from os import getpid
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterable, Iterator

PATIENCE = 60
"""Seconds after which a test gives up waiting. No test measures time by this number."""


def wait_until(
    holds: Callable[[], bool], *, process: subprocess.Popen[Any] | None = None, pause: float = 0.01
) -> None:
    """Wait until a condition holds, and fail after PATIENCE, or where the given process exits before."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(pause)


@dataclass(frozen=True, slots=True)
class _Process:
    """A process that has not exited."""

    pid: int
    parent: int
    session: int
    is_worker: bool
    """Whether multiprocessing started the process, by the method `spawn`."""


def _running() -> Iterator[_Process]:
    """Every process of the machine, zombies left out."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[0] != "Z":
            yield _Process(int(folder.name), int(fields[1]), int(fields[3]), b"spawn_main" in command)


def child_workers() -> list[int]:
    """The process ids of this process's workers."""
    return [found.pid for found in _running() if found.parent == getpid() and found.is_worker]


def session_workers(session: int) -> list[int]:
    """The process ids of the workers in a session."""
    return [found.pid for found in _running() if found.session == session and found.is_worker]


def wait_until_session_is_over(session: int) -> None:
    """Wait until no process of a session is left."""
    wait_until(lambda: all(found.session != session for found in _running()))


def wait_until_gone(pids: Iterable[int]) -> None:
    """Wait until none of the processes is left."""
    left = set(pids)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left))
