"""A contender in a process of its own, which does a pass over the photos whenever it is told to."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kseg_batch.bench.memory import PeakMemory
from kseg_batch.errors import BackendError
from kseg_batch.kmeans.equality import ClusteringDigest, digest_labels
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.processes import THREAD_VARIABLES, describe_exit, exit_with_parent, interrupts_blocked

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from multiprocessing import connection
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

    from kseg_batch.bench.implementations import Cluster, Clustering, Contender

TINY = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * np.uint8(5)
"""The first photo, which is not measured: with it, libraries load and kernels are compiled."""

OPENING_SECONDS = 300.0
"""How long it may take until its libraries are loaded and its kernels are compiled."""

END_SECONDS = 5.0
"""How long a process may take to end by itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The clustering of a photo by an implementation."""

    clustering: ClusteringDigest
    """Centres in RGB; the compactness is the implementation's own."""
    problem: str | None
    """Why the clustering is wrong, whatever the photo; None if no reason is found."""


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """One pass over the photos."""

    seconds: float
    """From pixels to labels and centres, of all photos together."""
    cores: float
    """How many cores of the CPU were busy meanwhile, on average."""
    peak_mb: float
    """By how much the process's memory grew at most, in MB."""
    found: tuple[Found, ...]


@dataclass(frozen=True, slots=True)
class _Failure:
    """What the process says when the contender failed: in words, as not every exception survives pickling."""

    reason: str


class Contestant:
    """The process. The photos are in its memory, and its libraries are loaded, before it is told to begin."""

    def __init__(self, contender: Contender, photos: Sequence[str], threads: int) -> None:
        """Start it.

        Args:
            contender: What it runs.
            photos: NumPy files of the (H, W, 3) uint8 photos.
            threads: How many the contender may use.
        """
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(other, contender, tuple(photos), threads), daemon=True
        )
        with _threads_in_environment(threads), interrupts_blocked():
            self._process.start()
        other.close()

    def wait_until_ready(self) -> None:
        """Wait until its libraries are loaded, and have done something small.

        Raises:
            BackendError: They cannot be loaded.
        """
        try:
            self._answer(OPENING_SECONDS)
        except TimeoutError as error:
            raise BackendError(f"it was not ready after {OPENING_SECONDS:g} s") from error

    def run(self, options: FitOptions, limit: float, photo: NDArray[np.uint8] | None = None) -> Pass:
        """Do a pass over the photos, or over the one that is given.

        Raises:
            BackendError: The contender failed.
            TimeoutError: It took longer than `limit` seconds.
        """
        with contextlib.suppress(OSError):  # it has just died, as is found out below
            self._pipe.send((options, photo))
        answer = self._answer(limit)
        assert answer is not None
        return answer

    def _answer(self, limit: float) -> Pass | None:
        try:
            if not self._pipe.poll(limit):
                raise TimeoutError
            answer: Pass | _Failure | None = self._pipe.recv()
        except (EOFError, ConnectionResetError) as error:
            self._process.join()
            raise BackendError(f"its process {describe_exit(self._process.exitcode or 0)}") from error
        if isinstance(answer, _Failure):
            raise BackendError(answer.reason)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process: gently, so that a GPU is given back, unless it is busy."""
        self._pipe.close()
        if error is None:
            self._process.join(END_SECONDS)
        self._process.kill()
        self._process.join()


@contextlib.contextmanager
def _threads_in_environment(threads: int) -> Generator[None]:
    """Set the variables that libraries read when they are loaded, for a process that is started in here."""
    former = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in former.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def _serve(
    pipe: connection.Connection[Any, Any], contender: Contender, files: tuple[str, ...], threads: int
) -> None:
    """The process: do a pass for each message, until there are no more."""
    threading.Thread(target=exit_with_parent, daemon=True).start()
    os.dup2(2, 1)  # what libraries print must not get into the table
    warnings.simplefilter("ignore")
    try:
        photos = [np.load(file) for file in files]
        cluster = contender.open(threads)
        cluster(TINY, FitOptions(k=2))
        pipe.send(None)
        while True:
            options, photo = pipe.recv()
            pipe.send(_pass(cluster, options, photos if photo is None else [photo]))
    except (EOFError, BrokenPipeError):
        pass  # the parent has what it wanted
    except Exception as error:  # noqa: BLE001 - other people's libraries may raise anything, and others go on
        with contextlib.suppress(OSError):
            pipe.send(_Failure(f"{type(error).__name__}: {' '.join(str(error).split())}"))


def _pass(cluster: Cluster, options: FitOptions, photos: Sequence[NDArray[np.uint8]]) -> Pass:
    """Cluster each photo; what is done with the results is not timed."""
    seconds = busy = 0.0
    found = []
    memory = PeakMemory()
    for photo in photos:
        start, cpu = time.perf_counter(), time.process_time()
        clustering = cluster(photo, options)
        seconds += time.perf_counter() - start
        busy += time.process_time() - cpu
        found.append(_found(clustering, photo, options.k))
    return Pass(seconds, busy / seconds, memory.growth_mb(), tuple(found))


def _found(clustering: Clustering, photo: NDArray[np.uint8], k: int) -> Found:
    labels, centers = clustering.labels, np.asarray(clustering.centers, np.float64)
    problem = None
    if centers.ndim != 2 or centers.shape[1] != 3 or not 1 <= len(centers) <= k:
        problem = f"its centres have the shape {centers.shape}, with k = {k}"
    elif not np.isfinite(centers).all() or centers.min() < -1 or centers.max() > 256:
        problem = "its centres are no colours"
    elif labels.shape != photo.shape[:2]:
        problem = f"its labels have the shape {labels.shape}, for a photo of {photo.shape[:2]}"
    elif labels.min() < 0 or labels.max() >= len(centers):
        problem = f"its labels are from {labels.min()} to {labels.max()}, for {len(centers)} centres"
    digest = ClusteringDigest(centers, digest_labels(labels), labels.size, clustering.compactness)
    return Found(digest, problem)
