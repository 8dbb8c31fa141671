"""What does the work: the pool of CPU workers, or the process of a GPU."""

from __future__ import annotations

from typing import Protocol

from kseg_batch.batch.storage.scan import Job

GRACE = 5.0
"""Seconds that images under way have to end when a run is interrupted."""


class _Worker(Protocol):
    """What does images: the pool of CPU workers, or a GPU's process."""

    @property
    def capacity(self) -> int: ...

    def submit(self, job: Job, /) -> None: ...

    def stop(self) -> None: ...
