"""Who does the work: worker processes on the CPU, a process for each GPU, and how they get ready."""

from __future__ import annotations

import contextlib
import getpass
import tempfile
from dataclasses import dataclass
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
    from collections.abc import Callable, Generator

    from kseg_batch.backends.base import Backend
    from kseg_batch.backends.gpu.backend import GpuBackend
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


@dataclass(frozen=True, slots=True)
class Executors:
    """What does the work."""

    pool: CpuPool
    """Worker processes on the CPU."""
    backend: str
    """Name of the backend that they use."""
    exact: bool
    """Whether it gives the same bytes as the GPU backends do."""
    gpus: tuple[tuple[str, Callable[[], GpuBackend]], ...] = ()
    """The name of each GPU, and what opens it in its process."""
    gpus_required: bool = False
    """Whether nothing is done unless all of them can be opened."""


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
