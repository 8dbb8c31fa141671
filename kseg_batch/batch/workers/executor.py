"""Executors: what takes jobs and does them. The pool of CPU workers is one, the process of a GPU another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from kseg_batch.batch.storage.scan import Job


class Executor(Protocol):
    """Takes jobs, and puts the outcome of each into a queue."""

    @property
    def capacity(self) -> int:
        """Most jobs that may be under way; 0 once the executor has failed."""

    def submit(self, job: Job, /) -> None:
        """Take a job."""

    def stop(self) -> None:
        """End at once, with whatever is under way."""


class TrackedExecutor:
    """An executor, and the names of the jobs it is working on."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.names: set[str] = set()

    @property
    def has_room(self) -> bool:
        """Whether the executor takes another job."""
        return len(self.names) < self.executor.capacity

    def submit(self, job: Job) -> None:
        """Give a job to the executor."""
        self.names.add(job.name)
        self.executor.submit(job)
