"""A process that owns one GPU. Jobs go in over a pipe, and what became of them comes back over it."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import time
import traceback
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from kseg_batch.batch.workers.cpu import warm_up
from kseg_batch.batch.workers.gpu_pipeline import IMAGES_PER_THREAD, process_on_gpu
from kseg_batch.batch.workers.jobs import Lost
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
"""How long a GPU may take to be opened: its kernels are compiled or loaded then."""

PATIENCE = 5.0
"""Seconds that a killed process has to be gone: one that hangs in the driver may never be."""

SPARE = 2
"""Jobs on their way in the pipe, beyond those that the process works on."""

READY = "ready"
"""What the process says when the GPU is open and its kernels are compiled."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """What the process says when the GPU failed: in words, as not every exception survives pickling."""

    reason: str


class GpuProcess:
    """The process and the thread that listens to it.

    What becomes of a job arrives on a queue: an `Outcome`; a `Lost`, if the GPU could not do it or the
    process came to its end first; or an exception, which is a mistake in the program.

    Attributes:
        failure: Why it does nothing any more; None while it works.
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
            load: Opens the GPU, in the process. It is pickled.
            settings: What to do with every image.
            done: Where results go. They are put there by another thread.
            name: What the GPU is called where it fails.
            timeout: Seconds without any result after which the process is taken for hung.
            threads: How many decode, and as many encode; one for each usable core unless given.
        """
        threads = threads or usable_cores()
        self._name = name
        self._done = done
        self._timeout = timeout
        self._room = IMAGES_PER_THREAD * threads + SPARE
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self.failure: str | None = None
        self._stopped = False
        self._settled = threading.Event()  # when the GPU is open, or has failed
        self._last_job = time.monotonic()
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_own_gpu, args=(other, load, settings, threads), daemon=True)
        with interrupts_blocked():
            self._process.start()
        other.close()
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    @property
    def capacity(self) -> int:
        """Most jobs that may be under way; 0 once it has failed."""
        return 0 if self.failure is not None else self._room

    def submit(self, job: Job, /) -> None:
        """Give it a job."""
        with self._lock:
            failure = self.failure
            if failure is None:
                self._jobs[job.name] = job
                self._last_job = time.monotonic()
        if failure is not None:
            self._done.put(Lost(job, failure))
            return
        with contextlib.suppress(OSError):  # it has just died, as the listener is about to find out
            self._pipe.send(job)

    def wait_until_open(self) -> None:
        """Wait until the GPU is open, or cannot be, as `failure` tells then."""
        self._settled.wait()

    def stop(self) -> None:
        """End the process at once."""
        self._stopped = True
        self._process.kill()
        self._process.join()
        self._listener.join()
        self._pipe.close()

    def _listen(self) -> None:
        """Pass results on until there are no more, and then give back what was not done."""
        try:
            while (result := self._next_result()) is not None and not isinstance(result, _Failure):
                self._take(result)
            failure = result.reason if result else f"nothing came back for {self._limit:g} seconds"
            self._process.kill()
            self._process.join(PATIENCE)  # its writers and those of the CPU would share temporary names
        except (EOFError, OSError):
            self._process.join()
            failure = f"its process {describe_exit(self._process.exitcode or 0)}"
        with self._lock:
            self.failure = f"{self._name}: {failure}"
            lost = list(self._jobs.values())
            self._jobs.clear()
        self._settled.set()
        for job in lost if not self._stopped else ():
            self._done.put(Lost(job, self.failure))

    @property
    def _limit(self) -> float | None:
        """Seconds in which it should say something."""
        return self._timeout if self._settled.is_set() else OPENING_SECONDS

    def _next_result(self) -> Any:
        """Wait for something from the process; None if it has work and says nothing for too long."""
        while not self._pipe.poll(self._limit):
            with self._lock:
                busy = self._jobs or not self._settled.is_set()
                if busy and time.monotonic() - self._last_job >= (self._limit or 0):
                    return None
        return self._pipe.recv()

    def _take(self, result: Any) -> None:
        if result == READY:
            self._settled.set()
            return
        if not isinstance(result, BaseException):
            with self._lock:
                del self._jobs[result.job.name]
        self._done.put(result)


def _own_gpu(
    pipe: connection.Connection[Any, Any], load: Callable[[], GpuBackend], settings: Settings, threads: int
) -> None:
    """The process: everything in it is for the GPU, and the parent alone decides when it ends."""
    threading.Thread(target=exit_with_parent, daemon=True).start()
    jobs: SimpleQueue[Job | None] = SimpleQueue()
    threading.Thread(target=_receive, args=(pipe, jobs), daemon=True).start()
    try:
        prepare_process()
        gpu = load()
        gpu.warm_up(settings.cluster_numbers)
        if settings.regions:
            warm_up(load_cleaner())
        pipe.send(READY)
        for result in process_on_gpu(iter(jobs.get, None), settings, gpu, threads=threads):
            pipe.send(result)
    except (KsegError, MemoryError) as error:
        pipe.send(_Failure(describe(error)))
    except Exception:  # noqa: BLE001 - it is raised again in the parent
        pipe.send(RuntimeError(f"a GPU's process made a mistake:\n{traceback.format_exc()}"))


def _receive(pipe: connection.Connection[Any, Any], jobs: SimpleQueue[Job | None]) -> None:
    """Take jobs out of the pipe, also while the GPU is opened, so that the parent never has to wait."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            jobs.put(pipe.recv())
    jobs.put(None)
