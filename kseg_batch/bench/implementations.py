"""The backends as the benchmark calls them, and the description of every implementation it compares."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from kseg_batch.backends.registry import load
from kseg_batch.errors import BackendUnavailableError
from kseg_batch.optional import import_cv2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from kseg_batch.kmeans.options import FitOptions

BASELINE = "opencv"
"""Name of the implementation that the speedups refer to: the tutorial's call of cv2.kmeans."""

ThreadUse = Literal["all", "one", "GPU"]
"""Threads that an implementation uses: all that are allowed, one regardless, or those of a GPU."""


@dataclass(frozen=True, slots=True, eq=False)
class Clustering:
    """The result of an implementation for one photo."""

    labels: NDArray[np.integer]
    """(H, W) index of each pixel's centre."""
    centers: NDArray[np.floating]
    """(k, 3) RGB centres, in grey levels; fewer rows where the implementation found fewer clusters."""
    compactness: float | None = None
    """Compactness reported by the implementation; None where the benchmark does not read it."""


ClusterFunction: TypeAlias = "Callable[[NDArray[np.uint8], FitOptions], Clustering]"
"""Cluster an (H, W, 3) uint8 RGB photo. Libraries take `k` and `seed`, and their own defaults otherwise."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """A package that an implementation needs."""

    module: str
    """Name under which the package is imported, such as sklearn."""
    distribution: str
    """Name under which pip installs the package, such as scikit-learn."""

    @property
    def installed(self) -> bool:
        """Whether the module can be found. The module is not imported."""
        return find_spec(self.module) is not None


@dataclass(frozen=True, slots=True)
class Implementation:
    """A way to cluster photos. The object is pickled, and opened in a process of its own."""

    name: str
    """Name in the tables."""
    description: str
    """One line about the call that is timed."""
    open: Callable[[int], ClusterFunction]
    """Import the packages, allow a number of threads, and return the function to time."""
    thread_use: ThreadUse
    exact: bool = False
    """Whether the results have to equal the NumPy reference to the bit."""
    requirement: Requirement | None = None
    """The package of another project's library; None for the backends."""

    @property
    def is_library(self) -> bool:
        """Whether the implementation is another project's library."""
        return self.requirement is not None

    def n_threads(self, allowed: int) -> int | None:
        """Return the number of threads used of those allowed; None on a GPU."""
        return {"all": allowed, "one": 1, "GPU": None}[self.thread_use]


def _open_backend(name: str, threads: int) -> ClusterFunction:
    """Return `segment` with a backend, after its warm-up. `threads` has no effect: numba uses one thread."""
    from kseg_batch import segment

    load(name).warm_up()

    def cluster(rgb: NDArray[np.uint8], options: FitOptions) -> Clustering:
        result = segment(
            rgb,
            options.k,
            attempts=options.attempts,
            max_iter=options.max_iter,
            seed=options.seed,
            backend=name,
        )
        return Clustering(result.labels, result.centers, result.compactness)

    return cluster


def open_tutorial(threads: int) -> ClusterFunction:
    """Return cv2.kmeans as the tutorial calls it, without the steps that the backend opencv adds.

    The function starts from k-means++ centres if the options say so, otherwise from random ones.
    """
    cv2 = import_cv2()
    cv2.setNumThreads(threads)

    def cluster(rgb: NDArray[np.uint8], options: FitOptions) -> Clustering:
        cv2.setRNGSeed(options.seed)
        pixel_values = np.float32(rgb.reshape((-1, 3)))
        criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, options.max_iter, options.eps)
        flags = cv2.KMEANS_PP_CENTERS if options.init == "k-means++" else cv2.KMEANS_RANDOM_CENTERS
        compactness, labels, centers = cv2.kmeans(
            pixel_values, options.k, None, criteria, options.attempts, flags
        )
        return Clustering(labels.reshape(rgb.shape[:2]), centers, compactness)

    return cluster


BACKENDS = (
    Implementation(
        "cupy",
        "as numba, on a GPU, one photo at a time, copies there and back included",
        partial(_open_backend, "cupy"),
        "GPU",
        exact=True,
    ),
    Implementation(
        "numba-cuda",
        "as cupy, by the package numba-cuda",
        partial(_open_backend, "numba-cuda"),
        "GPU",
        exact=True,
    ),
    Implementation(
        "numba",
        "segment(): the best of 10 k-means++ starts, 100 iterations, eps 0.2; exact",
        partial(_open_backend, "numba"),
        "one",
        exact=True,
    ),
    Implementation(
        BASELINE,
        "the tutorial's call of cv2.kmeans on float32 pixels: 10 random starts, 100 iterations, eps 0.2",
        open_tutorial,
        "all",
    ),
)
"""The backends, in the order in which `auto` tries them."""


def find_unavailable_backends(names: Iterable[str]) -> dict[str, str]:
    """Return the backends that cannot run here, each with the reason.

    Call this function in a process of its own: a backend that loads keeps GPU memory until the process exits.
    """
    reasons = {}
    for name in names:
        try:
            load(name)
        except BackendUnavailableError as error:
            reasons[name] = str(error)
    return reasons
