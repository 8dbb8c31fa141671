"""The GPU executor: a process that drives one GPU. Jobs and results are sent over a pipe."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import time
import traceback
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from kseg_batch.batch.workers.gpu_pipeline import IMAGES_PER_THREAD, process_on_gpu
from kseg_batch.batch.workers.jobs import Lost, Outcome
from kseg_batch.batch.workers.messages import collect_messages, take_messages
from kseg_batch.errors import KsegError, describe
from kseg_batch.images.decode import prepare_process
from kseg_batch.processes import describe_exit, exit_with_parent, interrupts_blocked, usable_cores
from kseg_batch.segmentation.regions import load_cleaner

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing import connection

    from kseg_batch.backends.gpu.backend import GpuBackend
    from kseg_batch.batch.storage.scan import Job
    from kseg_batch.batch.workers.jobs import Settings

OPENING_SECONDS = 300.0
"""Seconds that opening a GPU may take. This includes compiling or loading its kernels."""

KILL_SECONDS = 5.0
"""Seconds to wait for a killed process to exit. A process that hangs in the driver may never exit."""

JOBS_IN_PIPE = 2
"""Jobs in the pipe, in addition to those that the process works on."""

READY = "ready"
"""Message of the process when the GPU is open and its kernels are compiled."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """Message of the process when the GPU failed: a text, because not every exception can be pickled."""

    reason: str


class GpuProcess:
    """The process of a GPU, and the thread that reads its results.

    The result of a job arrives on a queue: an `Outcome`; a `Lost`, if the GPU could not process the image or
    the process exited before; or an exception, which is an error in the program.

    Attributes:
        failure: Why the process takes no more jobs; None while it works.
    """

    def __init__(
        self,
        load: Callable[[], GpuBackend],
        settings: Settings,
        done: SimpleQueue[Any],
        *,
        name: str,
        timeout: float | None = None,
        threads: int | None = None,
    ) -> None:
        """Start the process.

        Args:
            load: The function that opens the GPU, called in the process. It is pickled.
            settings: What to do with every image.
            done: The queue that gets the results, from another thread.
            name: The name of the GPU in messages about failures.
            timeout: Seconds without a result after which the process is killed; None for no limit.
            threads: Number of decoding threads, and of encoding threads; None for one per usable core.
        """
        threads = threads or usable_cores()
        self._name = name
        self._done = done
        self._timeout = timeout
        self._max_jobs = IMAGES_PER_THREAD * threads + JOBS_IN_PIPE
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}  # by name, the jobs in progress
        self.failure: str | None = None
        self._stopped = False
        self._opened_or_failed = threading.Event()
        self._last_submit = time.monotonic()
        context = multiprocessing.get_context("spawn")
        self._pipe, child_pipe = context.Pipe()
        self._process = context.Process(
            target=_serve_jobs, args=(child_pipe, load, settings, threads), daemon=True
        )
        with interrupts_blocked():
            self._process.start()
        child_pipe.close()
        self._reader = threading.Thread(target=self._read_results)
        self._reader.start()

    @property
    def capacity(self) -> int:
        """See `Executor.capacity`."""
        return 0 if self.failure is not None else self._max_jobs

    def submit(self, job: Job, /) -> None:
        """See `Executor.submit`."""
        with self._lock:
            failure = self.failure
            if failure is None:
                self._jobs[job.name] = job
                self._last_submit = time.monotonic()
        if failure is not None:
            self._done.put(Lost(job, failure))
            return
        with contextlib.suppress(OSError):  # the process has just died; the reading thread will notice
            self._pipe.send(job)

    def wait_until_open(self) -> None:
        """Wait until the GPU is open or has failed. If the GPU has failed, `failure` has the reason."""
        self._opened_or_failed.wait()

    def stop(self) -> None:
        """See `Executor.stop`."""
        self._stopped = True
        self._process.kill()
        self._process.join()
        self._reader.join()
        self._pipe.close()

    def _read_results(self) -> None:
        """Pass results on until the process fails or exits, then return the jobs in progress as lost."""
        try:
            while (result := self._next_result()) is not None and not isinstance(result, _Failure):
                self._take(result)
            failure = result.reason if result else f"nothing came back for {self._max_silence:g} seconds"
            self._process.kill()
            self._process.join(KILL_SECONDS)  # CPU workers will write files with the same temporary names
        except (EOFError, OSError):
            self._process.join()
            failure = f"its process {describe_exit(self._process.exitcode or 0)}"
        with self._lock:
            self.failure = f"{self._name}: {failure}"
            lost = list(self._jobs.values())
            self._jobs.clear()
        self._opened_or_failed.set()
        for job in lost if not self._stopped else ():
            self._done.put(Lost(job, self.failure))

    @property
    def _max_silence(self) -> float | None:
        """Seconds that a busy process may send nothing; None for no limit."""
        return self._timeout if self._opened_or_failed.is_set() else OPENING_SECONDS

    def _next_result(self) -> Any:
        """Wait for a message of the process, and return it; None if a busy process is silent for too long."""
        while not self._pipe.poll(self._max_silence):
            with self._lock:
                busy = self._jobs or not self._opened_or_failed.is_set()
                if busy and time.monotonic() - self._last_submit >= (self._max_silence or 0):
                    return None
        return self._pipe.recv()

    def _take(self, result: Any) -> None:
        """Put a result into the queue, or note that the GPU is open."""
        if result == READY:
            self._opened_or_failed.set()
            return
        if not isinstance(result, BaseException):
            with self._lock:
                del self._jobs[result.job.name]
        self._done.put(result)


def _serve_jobs(
    pipe: connection.Connection[Any, Any], load: Callable[[], GpuBackend], settings: Settings, threads: int
) -> None:
    """Run the process of a GPU: open the GPU, then process jobs from the pipe until the parent stops it."""
    exit_with_parent()
    jobs: SimpleQueue[Job | None] = SimpleQueue()
    threading.Thread(target=_receive_jobs, args=(pipe, jobs), daemon=True).start()
    try:
        prepare_process()
        collect_messages()
        gpu = load()
        gpu.warm_up(settings.cluster_numbers)
        if settings.regions:
            load_cleaner().warm_up()
        pipe.send(READY)
        for result in process_on_gpu(iter(jobs.get, None), settings, gpu, threads=threads):
            pipe.send(replace(result, messages=take_messages()) if isinstance(result, Outcome) else result)
    except (KsegError, MemoryError) as error:
        pipe.send(_Failure(describe(error)))
    except Exception:  # noqa: BLE001 - raised again in the parent
        pipe.send(RuntimeError(f"unexpected error in the process of a GPU:\n{traceback.format_exc()}"))


def _receive_jobs(pipe: connection.Connection[Any, Any], jobs: SimpleQueue[Job | None]) -> None:
    """Move jobs from the pipe to a queue, also while the GPU is opening, so that the parent never blocks."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            jobs.put(pipe.recv())
    jobs.put(None)
