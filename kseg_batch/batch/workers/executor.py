"""The interface of executors, such as the pool of CPU workers and the process of a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from kseg_batch.batch.storage.scan import Job


class Executor(Protocol):
    """An executor takes jobs, and puts the result of each job into a queue."""

    @property
    def capacity(self) -> int:
        """Most jobs that may be in progress at a time; 0 once the executor has failed."""

    def submit(self, job: Job, /) -> None:
        """Take a job."""

    def stop(self) -> None:
        """Stop at once, and drop the jobs in progress."""


class TrackedExecutor:
    """An executor, and the names of the jobs that it is working on."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.names: set[str] = set()

    @property
    def has_room(self) -> bool:
        """Whether the executor has room for another job."""
        return len(self.names) < self.executor.capacity

    def submit(self, job: Job) -> None:
        """Submit a job to the executor, and note its name."""
        self.names.add(job.name)
        self.executor.submit(job)
