"""The executors of a run: CPU worker processes, and a process for each GPU."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from kseg_batch.backends.gpu.library import GpuLibrary
from kseg_batch.backends.registry import choose, load_gpu
from kseg_batch.batch.workers.gpu_process import GpuProcess
from kseg_batch.errors import BackendUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from kseg_batch.backends.base import BackendInfo
    from kseg_batch.backends.gpu.backend import GpuBackend
    from kseg_batch.backends.gpu.options import GpuOptions
    from kseg_batch.backends.registry import Choice
    from kseg_batch.batch.workers.cpu import CpuPool
    from kseg_batch.batch.workers.jobs import Settings
    from kseg_batch.kmeans.options import FitOptions


@dataclass(frozen=True, slots=True)
class Executors:
    """The executors of a run. None of them is started."""

    pool: CpuPool
    """The CPU worker processes."""
    backend: str
    """Name of the backend of the CPU workers."""
    exact: bool
    """Whether this backend is exact, and so gives the same bytes as the GPU backends."""
    note_on_opencv: str | None = None
    """The note on each image that cv2.kmeans clusters in place of an exact backend; None if it was wanted."""
    gpus: tuple[tuple[str, Callable[[], GpuBackend]], ...] = ()
    """The name of each GPU, and the function that opens the GPU in its process."""
    gpus_required: bool = False
    """Whether the run fails if a GPU cannot be opened."""


@contextmanager
def open_gpus(settings: Settings, executors: Executors) -> Generator[list[GpuProcess]]:
    """Start a process for each GPU, and stop the processes at the end of the `with`.

    Required GPUs are open when the body begins. The others may still be opening.

    Args:
        settings: What to do with every image.
        executors: The executors of the run, for their GPUs.

    Raises:
        BackendUnavailableError: A required GPU cannot be opened.
    """
    done, timeout = executors.pool.done, executors.pool.timeout
    with ExitStack() as cleanup:
        processes = []
        for name, open_gpu in executors.gpus:
            process = GpuProcess(open_gpu, settings, done, name=name, timeout=timeout)
            cleanup.callback(process.stop)
            processes.append(process)
        for process in processes if executors.gpus_required else ():
            process.wait_until_open()
            if not done.empty():  # no job was submitted, so that this is an error in the program
                raise done.get()
            if process.failure is not None:
                raise BackendUnavailableError(process.failure, installed=True)
        yield processes


def choose_executors(
    pool: CpuPool,
    choice: Choice[BackendInfo],
    devices: tuple[int, ...] | None,
    gpu_options: GpuOptions,
    options: FitOptions,
    *,
    required: bool,
) -> Executors:
    """Choose the executors of a run: CPU workers, and a process for each GPU where the backend runs on one.

    Args:
        pool: The CPU workers.
        choice: The backend that was found, and why others were not.
        devices: The CUDA numbers of the GPUs to use; None for all.
        gpu_options: How much of each GPU to use.
        options: How to cluster.
        required: Whether the run fails if a GPU cannot be opened.

    Raises:
        OptionError: There is no GPU with one of the numbers.
    """
    backend = choice.backend
    if not isinstance(backend, GpuLibrary):
        exact = backend.name != "opencv"
        return Executors(pool, backend.name, exact=exact, note_on_opencv=_note_on_opencv(choice))
    numbers = range(backend.n_devices) if devices is None else devices
    for number in numbers:
        backend.check_device(number)
    cpu = choose(only="cpu", options=options)
    gpus = tuple(
        (f"GPU {number}", partial(load_gpu, backend.name, replace(gpu_options, device=number)))
        for number in numbers
    )
    return Executors(
        pool,
        cpu.backend.name,
        exact=True,
        note_on_opencv=_note_on_opencv(cpu),
        gpus=gpus,
        gpus_required=required,
    )


def _note_on_opencv(choice: Choice[Any]) -> str | None:
    """Return the note on images for which opencv takes the place of numba; None if it does not."""
    reasons = [other.reason for other in choice.unavailable if other.name == "numba"]
    if choice.backend.name != "opencv" or not reasons:
        return None
    return f"clustered by cv2.kmeans, which is not exact: {reasons[0]}"
