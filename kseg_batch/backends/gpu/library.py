"""The library that a GPU backend is built on: found without opening a GPU, and opened where it is used."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kseg_batch.backends.gpu.backend import GpuBackend
from kseg_batch.backends.gpu.driver import device_problem
from kseg_batch.backends.gpu.options import check_options
from kseg_batch.errors import BackendError, BackendUnavailableError, OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kseg_batch.backends.gpu.device import Device
    from kseg_batch.backends.gpu.options import GpuOptions
    from kseg_batch.kmeans.options import FitOptions


@dataclass(frozen=True, slots=True)
class GpuLibrary:
    """The library of a GPU backend, which works here as far as can be told while no GPU is open."""

    name: str
    """The backend's, as the command line spells it."""
    title: str
    """The library's, as users know it."""
    n_devices: int
    """How many GPUs it finds."""
    open_device: Callable[[int], Device]
    """Opens the GPU of a number."""

    @property
    def compiled(self) -> bool:
        """See `GpuBackend.compiled`."""
        return False

    def check(self, options: FitOptions) -> None:
        """See `Backend.check`."""
        check_options(self.name, options)

    def check_device(self, number: int) -> None:
        """Raise an OptionError if there is no GPU of that number."""
        if number >= self.n_devices:
            raise OptionError(f"There is no GPU {number}: this machine has {self.n_devices}, from 0 on.")

    def open(self, options: GpuOptions) -> GpuBackend:
        """Open a GPU, which takes memory of it that this process keeps.

        Raises:
            BackendUnavailableError: It cannot be opened.
            OptionError: There is no such GPU.
        """
        self.check_device(options.device)
        with _failures_of(self.title):
            return GpuBackend(self.name, self.open_device(options.device), options.memory)


def find_library(
    name: str, title: str, open_library: Callable[[], tuple[int, Callable[[int], Device]]]
) -> GpuLibrary:
    """The library of a GPU backend, or the reason why it cannot run. No GPU is opened.

    Args:
        name: The backend's.
        title: The library's, as users know it; it is installed.
        open_library: Imports it; returns how many devices there are, and what opens one.

    Raises:
        BackendUnavailableError: It cannot run here.
    """
    problem = device_problem()
    if problem:
        raise BackendUnavailableError(problem, installed=True)
    with _failures_of(title):
        return GpuLibrary(name, title, *open_library())


@contextlib.contextmanager
def _failures_of(library: str) -> Iterator[None]:
    """Raise what goes wrong in the library as a BackendUnavailableError that says what helps."""
    try:
        yield
    except (BackendError, ImportError, RuntimeError, OSError) as error:
        raise BackendUnavailableError(
            f"{library} does not work here ({' '.join(str(error).split())}); to give it CUDA's compiler and "
            "libraries: pip install 'kseg-batch[cuda12]', or [cuda13] for a driver of CUDA 13",
            installed=True,
        ) from error
