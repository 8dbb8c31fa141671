"""Who takes part: our backends, and what every contender is."""

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

REFERENCE = "opencv"
"""The contender that is the tutorial's call, by which times are divided."""

Threads = Literal["all", "one", "GPU"]


@dataclass(frozen=True, slots=True, eq=False)
class Clustering:
    """What a contender makes of a photo."""

    labels: NDArray[np.integer]
    """(H, W) number of each pixel's centre."""
    centers: NDArray[np.floating]
    """(k, 3) RGB, in grey levels; fewer where it found fewer."""
    compactness: float | None = None
    """What the contender itself says; None where it is not asked."""


Cluster: TypeAlias = "Callable[[NDArray[np.uint8], FitOptions], Clustering]"
"""Clusters an (H, W, 3) uint8 photo. Peers take `k` and `seed` alone, and have their own defaults."""


@dataclass(frozen=True, slots=True)
class Contender:
    """Something that clusters photos. It is pickled, and opened in a process of its own."""

    name: str
    """As the tables have it."""
    about: str
    """What is timed, in a line."""
    open: Callable[[int], Cluster]
    """Loads what it needs, and sets how many threads it may use."""
    threads: Threads
    """How many it uses: all that it is given, one whatever it is given, or those of a GPU."""
    exact: bool = False
    """Whether its results have to equal the NumPy reference to the bit."""
    needs: tuple[str, str] | None = None
    """Of other people's: the module that it is, and the distribution that brings it."""

    @property
    def peer(self) -> bool:
        """Whether it is other people's."""
        return self.needs is not None

    @property
    def installed(self) -> bool:
        """Whether its module is there. It is not imported."""
        return self.needs is None or find_spec(self.needs[0]) is not None

    def n_threads(self, given: int) -> int | None:
        """How many threads it uses if it is given so many; None on a GPU."""
        return {"all": given, "one": 1, "GPU": None}[self.threads]


def _open_backend(name: str, threads: int) -> Cluster:
    """`segment` as users call it. The numba backend uses one thread, so `threads` goes no further."""
    from kseg_batch import segment

    load(name).warm_up()

    def cluster(rgb: NDArray[np.uint8], options: FitOptions) -> Clustering:
        found = segment(
            rgb,
            options.k,
            attempts=options.attempts,
            max_iter=options.max_iter,
            seed=options.seed,
            backend=name,
        )
        return Clustering(found.labels, found.centers, found.compactness)

    return cluster


def open_tutorial(threads: int) -> Cluster:
    """cv2.kmeans as the tutorial calls it, without what the backend opencv adds to it."""
    cv2 = import_cv2()
    cv2.setNumThreads(threads)

    def cluster(rgb: NDArray[np.uint8], options: FitOptions) -> Clustering:
        cv2.setRNGSeed(options.seed)
        pixel_values = np.float32(rgb.reshape((-1, 3)))
        criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, options.max_iter, options.eps)
        compactness, labels, centers = cv2.kmeans(
            pixel_values, options.k, None, criteria, options.attempts, cv2.KMEANS_RANDOM_CENTERS
        )
        return Clustering(labels.reshape(rgb.shape[:2]), centers, compactness)

    return cluster


OURS = (
    Contender(
        "cupy",
        "as numba, on a GPU, one photo at a time, copies there and back included",
        partial(_open_backend, "cupy"),
        "GPU",
        exact=True,
    ),
    Contender(
        "numba-cuda",
        "as cupy, by the package numba-cuda",
        partial(_open_backend, "numba-cuda"),
        "GPU",
        exact=True,
    ),
    Contender(
        "numba",
        "segment(): the best of 10 k-means++ starts, 100 iterations, eps 0.2; exact",
        partial(_open_backend, "numba"),
        "one",
        exact=True,
    ),
    Contender(
        REFERENCE,
        "the tutorial's call of cv2.kmeans on float32 pixels: 10 random starts, 100 iterations, eps 0.2",
        open_tutorial,
        "all",
    ),
)
"""Our backends, in the order in which `auto` tries them."""


def unavailable(names: Iterable[str]) -> dict[str, str]:
    """The backends that cannot run here, and why. For a process of its own: a GPU's memory stays taken."""
    reasons = {}
    for name in names:
        try:
            load(name)
        except BackendUnavailableError as error:
            reasons[name] = str(error)
    return reasons
