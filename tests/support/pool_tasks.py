"""Functions that worker processes of a pool run: workers import them by the name of this module."""

from __future__ import annotations

import ctypes
import os
import time
from typing import Any

from kseg_batch.batch.workers.pool import ENVIRONMENT
from tests.support.processes import PATIENCE


def initialize() -> None:
    """Initialise a worker, for which there is nothing to do."""


def exit_at_once() -> None:
    """Initialise a worker, which exits."""
    os._exit(7)


def echo(task: Any) -> Any:
    """Return the task."""
    return task


def do(task: tuple[str, Any]) -> Any:
    """Do to the worker as the task says, and return the task where the worker is still there."""
    action, value = task
    if action == "exit":
        os._exit(value)
    if action == "kill":
        os.kill(os.getpid(), value)
        time.sleep(PATIENCE)
    if action == "segfault":
        ctypes.string_at(0)
    if action == "sleep":
        time.sleep(value)
    if action == "nap":
        time.sleep(value % 5 / 1000)
    if action == "raise":
        raise ZeroDivisionError(value)
    if action == "environment":
        return (action, [os.environ.get(name) for name in ENVIRONMENT])
    if action == "signal itself":  # as a service manager or a terminal does to a whole group
        os.kill(os.getpid(), value)
    return task
