"""The CPU executor: a pool of worker processes, and the preparation of a worker."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from kseg_batch.backends.registry import load
from kseg_batch.batch.workers.jobs import Outcome
from kseg_batch.batch.workers.messages import collect_messages, take_messages
from kseg_batch.batch.workers.pool import Pool
from kseg_batch.batch.workers.process_image import process_image
from kseg_batch.errors import BackendUnavailableError
from kseg_batch.images.decode import prepare_process
from kseg_batch.segmentation.regions import load_cleaner

if TYPE_CHECKING:
    from kseg_batch.batch.storage.scan import Job
    from kseg_batch.batch.workers.jobs import Settings


@dataclass(frozen=True, slots=True)
class ImageTask:
    """An image for a CPU worker."""

    job: Job
    settings: Settings
    backend: str
    """Name of the backend to use."""


CpuPool: TypeAlias = Pool[ImageTask, Outcome]


def cpu_pool(workers: int, timeout: float | None = None, *, regions: bool = False) -> CpuPool:
    """Return a pool of CPU worker processes. No worker is started yet.

    Args:
        workers: The number of worker processes.
        timeout: Seconds that an image may take; None for no limit.
        regions: Whether the regions of label maps will be cleaned.
    """
    return Pool(
        workers,
        _process_task,
        SimpleQueue(),
        initializer=initialize_worker,
        initargs=(regions,),
        timeout=timeout,
    )


def initialize_worker(regions: bool = False) -> None:
    """Prepare a new worker process: load the kernels before the first image.

    Args:
        regions: Whether to load the kernels that clean regions, too.
    """
    prepare_process()
    collect_messages()
    with contextlib.suppress(BackendUnavailableError):
        load("numba").warm_up()
        if regions:
            load_cleaner().warm_up()


def _process_task(task: ImageTask) -> Outcome:
    outcome = process_image(task.job, task.settings, load(task.backend))
    return replace(outcome, messages=take_messages())


class CpuExecutor:
    """The pool of CPU workers as an `Executor`: a worker gets each job with the settings of the run."""

    def __init__(self, pool: CpuPool, settings: Settings, backend: str) -> None:
        self._pool = pool
        self._task = partial(ImageTask, settings=settings, backend=backend)
        self.stop = pool.stop

    @property
    def capacity(self) -> int:
        """See `Executor.capacity`."""
        return self._pool.capacity

    def submit(self, job: Job, /) -> None:
        """See `Executor.submit`."""
        self._pool.submit(self._task(job))
