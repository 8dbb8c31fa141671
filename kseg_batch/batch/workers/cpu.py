"""The worker processes on the CPU, and how they get ready."""

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
from kseg_batch.batch.storage.scan import Job
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
"""How long to wait for another process that compiles the kernels, which takes 10 to 20 seconds."""


@dataclass(frozen=True, slots=True)
class ImageTask:
    """An image for a CPU worker."""

    job: Job
    settings: Settings
    backend: str
    """Name of the one to use."""


CpuPool: TypeAlias = Pool[ImageTask, Outcome]


def cpu_pool(workers: int, timeout: float | None = None, *, regions: bool = False) -> CpuPool:
    """Worker processes on the CPU, not started yet.

    Args:
        workers: How many.
        timeout: Seconds that an image may take.
        regions: Whether label maps will be cleaned.
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
    """In a worker, before its first image: load what it needs, with `regions` to clean label maps, too."""
    prepare_process()
    with contextlib.suppress(BackendUnavailableError):
        warm_up(load("numba"))
        if regions:
            warm_up(load_cleaner())


def warm_up(kernels: Backend | RegionCleaner) -> None:
    """Make kernels ready. One process compiles them; the others wait, and load them then."""
    with contextlib.nullcontext() if kernels.compiled else _compiling():
        kernels.warm_up()


@contextlib.contextmanager
def _compiling() -> Generator[None]:
    lock = FileLock(Path(tempfile.gettempdir(), f"kseg-batch-{getpass.getuser()}.lock"))
    with contextlib.suppress(Timeout):  # whoever has it is stopped: then twice is better than never
        lock.acquire(timeout=COMPILING_SECONDS)
    try:
        yield
    finally:
        lock.release()


def _process_task(task: ImageTask) -> Outcome:
    return process_image(task.job, task.settings, load(task.backend))


class CpuExecutor:
    """The pool as an executor: every job goes to a worker with the settings of the run."""

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
