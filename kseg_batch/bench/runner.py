"""A runner: the process of one implementation, which clusters the photos each time it is asked to."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kseg_batch.bench.memory import PeakMemory
from kseg_batch.errors import BackendError
from kseg_batch.kmeans.equality import ClusteringDigest, digest_labels
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.processes import (
    THREAD_VARIABLES,
    describe_exit,
    environment_variables,
    exit_with_parent,
    interrupts_blocked,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing import connection
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

    from kseg_batch.bench.implementations import ClusterFunction, Clustering, Implementation

WARM_UP_PHOTO = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * np.uint8(5)
"""(4, 4, 3) uint8 photo, clustered before the first pass, so that libraries load and kernels are compiled."""

START_SECONDS = 300.0
"""Seconds that an implementation may take to load its libraries and to compile its kernels."""

EXIT_SECONDS = 5.0
"""Seconds that the process may take to exit before it is killed."""


@dataclass(frozen=True, slots=True, eq=False)
class CheckedClustering:
    """The clustering of a photo, reduced to a digest, and whether its shapes and values are possible."""

    digest: ClusteringDigest
    """Centres in RGB; the compactness is the one that the implementation reports."""
    problem: str | None
    """Why the clustering would be wrong for any photo; None if its shapes and values are possible."""


@dataclass(frozen=True, slots=True, eq=False)
class PassResult:
    """The result of one pass: every photo clustered once."""

    seconds: float
    """Time from pixels to labels and centres, summed over the photos."""
    cores: float
    """Mean number of CPU cores that were busy during these seconds."""
    peak_mb: float
    """Peak growth of the process's resident memory, in MB of 10**6 bytes."""
    clusterings: tuple[CheckedClustering, ...]
    """One for each photo."""


@dataclass(frozen=True, slots=True)
class _FailureMessage:
    """The process's answer when the implementation failed. A text, as not every exception can be pickled."""

    reason: str


class Runner:
    """The process of one implementation. It loads the photos and the libraries before the first pass."""

    def __init__(self, implementation: Implementation, files: Sequence[str], threads: int) -> None:
        """Start the process.

        Args:
            implementation: The implementation to run.
            files: NumPy files of the (H, W, 3) uint8 photos.
            threads: Number of threads that the implementation may use.
        """
        context = multiprocessing.get_context("spawn")
        self._pipe, child_pipe = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(child_pipe, implementation, tuple(files), threads), daemon=True
        )
        with environment_variables(dict.fromkeys(THREAD_VARIABLES, str(threads))), interrupts_blocked():
            self._process.start()
        child_pipe.close()

    def wait_until_ready(self) -> None:
        """Wait until the libraries are loaded and the warm-up photo is clustered.

        Raises:
            BackendError: The implementation failed, or was not ready in time.
        """
        try:
            self._receive(START_SECONDS)
        except TimeoutError as error:
            raise BackendError(f"it was not ready after {START_SECONDS:g} s") from error

    def run_pass(
        self, options: FitOptions, limit: float, photo: NDArray[np.uint8] | None = None
    ) -> PassResult:
        """Cluster the photos once, or one other photo instead.

        Args:
            options: How to cluster.
            limit: Seconds to wait for the result.
            photo: An (H, W, 3) uint8 photo to cluster in place of the runner's own.

        Raises:
            BackendError: The implementation failed, or its process exited.
            TimeoutError: The pass took longer than `limit` seconds.
        """
        with contextlib.suppress(OSError):  # the process has just exited, which _receive reports
            self._pipe.send((options, photo))
        result = self._receive(limit)
        assert result is not None
        return result

    def _receive(self, limit: float) -> PassResult | None:
        """Return the next message of the process: the result of a pass, or None once it is ready."""
        try:
            if not self._pipe.poll(limit):
                raise TimeoutError
            message: PassResult | _FailureMessage | None = self._pipe.recv()
        except (EOFError, ConnectionResetError) as error:
            self._process.join()
            raise BackendError(f"its process {describe_exit(self._process.exitcode or 0)}") from error
        if isinstance(message, _FailureMessage):
            raise BackendError(message.reason)
        return message

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process. Unless a pass is running, let it exit by itself, so that it frees a GPU."""
        self._pipe.close()
        if error is None:
            self._process.join(EXIT_SECONDS)
        self._process.kill()
        self._process.join()


def _serve(
    pipe: connection.Connection[Any, Any],
    implementation: Implementation,
    files: tuple[str, ...],
    threads: int,
) -> None:
    """Run in the process: answer each request with the result of a pass, until the pipe is closed."""
    exit_with_parent()
    os.dup2(2, 1)  # keep the libraries' output out of the table
    warnings.simplefilter("ignore")
    try:
        photos = [np.load(file) for file in files]
        cluster = implementation.open(threads)
        cluster(WARM_UP_PHOTO, FitOptions(k=2))
        pipe.send(None)
        while True:
            options, photo = pipe.recv()
            pipe.send(_cluster_all(cluster, options, photos if photo is None else [photo]))
    except (EOFError, BrokenPipeError):
        pass  # the parent closed the pipe
    except Exception as error:  # noqa: BLE001 - a library may raise anything, and the other libraries go on
        with contextlib.suppress(OSError):
            pipe.send(_FailureMessage(f"{type(error).__name__}: {' '.join(str(error).split())}"))


def _cluster_all(
    cluster: ClusterFunction, options: FitOptions, photos: Sequence[NDArray[np.uint8]]
) -> PassResult:
    """Cluster each photo, and time the clustering alone."""
    seconds = cpu_seconds = 0.0
    clusterings = []
    memory = PeakMemory()
    for photo in photos:
        start, cpu_start = time.perf_counter(), time.process_time()
        clustering = cluster(photo, options)
        seconds += time.perf_counter() - start
        cpu_seconds += time.process_time() - cpu_start
        clusterings.append(_checked(clustering, photo, options.k))
    return PassResult(seconds, cpu_seconds / seconds, memory.growth_mb(), tuple(clusterings))


def _checked(clustering: Clustering, photo: NDArray[np.uint8], k: int) -> CheckedClustering:
    """Check the shapes and values of a clustering, and reduce it to a digest."""
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
    return CheckedClustering(digest, problem)
