"""The libraries of the GPU backends, CuPy and numba-cuda: to find one opens no GPU."""

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

PACKAGES = {
    12: "'cupy-cuda12x[ctk]' 'numba-cuda[cu12]'",
    13: "'cupy-cuda13x[ctk]' 'numba-cuda[cu13]'",
}
"""The packages of both GPU backends, as words of a pip command, by major version of CUDA."""


@dataclass(frozen=True, slots=True)
class GpuLibrary:
    """The library of a GPU backend. It works as far as can be known before a GPU is opened."""

    name: str
    """Name of the backend on the command line."""
    title: str
    """Name of the library, as users know it."""
    n_devices: int
    """Number of GPUs that the library finds."""
    open_device: Callable[[int], Device]
    """Function that opens the GPU with a number."""

    @property
    def compiled(self) -> bool:
        """See `BackendInfo.compiled`: not known before the GPU is used."""
        return False

    def check(self, options: FitOptions) -> None:
        """See `BackendInfo.check`."""
        check_options(self.name, options)

    def check_device(self, number: int) -> None:
        """Raise an OptionError if there is no GPU with a number."""
        if number >= self.n_devices:
            raise OptionError(f"There is no GPU {number}: this machine has {self.n_devices}, from 0 on.")

    def open(self, options: GpuOptions) -> GpuBackend:
        """Open a GPU. Some memory of the GPU stays in use until this process exits.

        Raises:
            BackendUnavailableError: The GPU cannot be opened.
            OptionError: There is no GPU with the number in the options.
        """
        self.check_device(options.device)
        with _explain_failures(self.title):
            return GpuBackend(self.name, self.open_device(options.device), options.memory)


def find_library(
    name: str, title: str, open_library: Callable[[], tuple[int, Callable[[int], Device]]]
) -> GpuLibrary:
    """Return the installed library of a GPU backend. No GPU is opened.

    Args:
        name: Name of the backend on the command line.
        title: Name of the library, as users know it.
        open_library: Function that imports the library, and returns the number of GPUs and the function that
            opens one.

    Raises:
        BackendUnavailableError: There is no driver, no GPU, or the library does not work.
    """
    problem = device_problem()
    if problem:
        raise BackendUnavailableError(problem, installed=True)
    with _explain_failures(title):
        return GpuLibrary(name, title, *open_library())


@contextlib.contextmanager
def _explain_failures(library: str) -> Iterator[None]:
    """Turn errors of a library into a BackendUnavailableError that names the remedy."""
    try:
        yield
    except (BackendError, ImportError, RuntimeError, OSError) as error:
        commands = "; ".join(f"of CUDA {cuda}: pip install {names}" for cuda, names in PACKAGES.items())
        raise BackendUnavailableError(
            f"{library} does not work here ({' '.join(str(error).split())}); to install CUDA's compiler "
            f"and libraries for a driver {commands}",
            installed=True,
        ) from error
