"""The CPU executor: a pool of worker processes, and the preparation of a worker."""

from __future__ import annotations

import contextlib
import getpass
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from filelock import FileLock, Timeout

from kseg_batch.backends.registry import load
from kseg_batch.batch.workers.jobs import Outcome
from kseg_batch.batch.workers.pool import Pool
from kseg_batch.batch.workers.process_image import process_image
from kseg_batch.errors import BackendUnavailableError
from kseg_batch.images.decode import prepare_process
from kseg_batch.segmentation.regions import load_cleaner

if TYPE_CHECKING:
    from collections.abc import Generator

    from kseg_batch.backends.base import Backend
    from kseg_batch.batch.storage.scan import Job
    from kseg_batch.batch.workers.jobs import Settings
    from kseg_batch.segmentation.region_cleaner import RegionCleaner

COMPILING_SECONDS = 60.0
"""Seconds to wait for another process that compiles the kernels. Compiling takes 10 to 20 seconds."""


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
    with contextlib.suppress(BackendUnavailableError):
        warm_up(load("numba"))
        if regions:
            warm_up(load_cleaner())


def warm_up(kernels: Backend | RegionCleaner) -> None:
    """Load kernels, and compile them if need be. One process compiles; the others wait and load then."""
    with contextlib.nullcontext() if kernels.compiled else _compiler_lock():
        kernels.warm_up()


@contextlib.contextmanager
def _compiler_lock() -> Generator[None]:
    """Let one process of this user compile at a time, but wait no longer than COMPILING_SECONDS."""
    lock = FileLock(Path(tempfile.gettempdir(), f"kseg-batch-{getpass.getuser()}.lock"))
    with contextlib.suppress(Timeout):  # the lock's owner hangs: compiling twice is better than waiting
        lock.acquire(timeout=COMPILING_SECONDS)
    try:
        yield
    finally:
        lock.release()


def _process_task(task: ImageTask) -> Outcome:
    return process_image(task.job, task.settings, load(task.backend))


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
