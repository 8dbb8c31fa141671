"""The list of backends, and the choice of one. The module of a backend is imported when the backend is tried.

`choose` opens the device of the backend. `find` opens no GPU: it serves a process that leaves the computing
to other processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from kseg_batch.backends.gpu.options import GpuOptions
from kseg_batch.errors import BackendUnavailableError, OptionError, unknown_choice

if TYPE_CHECKING:
    from collections.abc import Callable

    from kseg_batch.backends.base import Backend, BackendInfo
    from kseg_batch.backends.gpu.backend import GpuBackend
    from kseg_batch.kmeans.options import FitOptions

MODULES = {"cupy": "cupy", "numba-cuda": "numba_cuda", "numba": "numba_cpu", "opencv": "opencv"}
"""The module of each backend, in the order in which `auto` tries them."""

GPU_BACKENDS = ("cupy", "numba-cuda")
"""The backends that need a GPU."""

Kind = Literal["gpu", "cpu"]

B_co = TypeVar("B_co", bound="BackendInfo", covariant=True)


@dataclass(frozen=True, slots=True)
class UnavailableBackend:
    """A backend that was tried before the chosen one, and cannot run on this machine."""

    name: str
    """Name of the backend on the command line."""
    reason: str
    """Why the backend cannot run, and the remedy where one is known."""
    installed: bool
    """Whether the package of the backend is installed, so that the user probably expects it to run."""


@dataclass(frozen=True, slots=True)
class Choice(Generic[B_co]):
    """The backend to use, and the backends before it in the order of `MODULES` that cannot run."""

    backend: B_co
    unavailable: tuple[UnavailableBackend, ...]


def load(name: str, gpu: GpuOptions | None = None) -> Backend:
    """Return the backend of a name: the same object each time, so that its scratch memory is reused.

    Args:
        name: One of `MODULES`.
        gpu: The GPU to use, and how much of its memory; ignored by backends that run on the CPU.

    Raises:
        BackendUnavailableError: The backend cannot run on this machine.
    """
    return _load(name, (gpu or GpuOptions()) if name in GPU_BACKENDS else None)


def load_gpu(name: str, gpu: GpuOptions) -> GpuBackend:
    """Return the GPU backend of a name, one of `GPU_BACKENDS`.

    Raises:
        BackendUnavailableError: The backend cannot run on this machine.
    """
    return cast("GpuBackend", load(name, gpu))


@cache
def _load(name: str, gpu: GpuOptions | None) -> Backend:
    module = _module(name)
    return cast("Backend", module.load() if gpu is None else module.load(gpu))


def _module(name: str) -> Any:
    return import_module(f"kseg_batch.backends.{MODULES[name]}")


def choose(
    name: str = "auto", *, only: Kind | None = None, options: FitOptions | None = None
) -> Choice[Backend]:
    """Choose the named backend, or the first one that can run.

    Args:
        name: Name of a backend, or "auto" for the first of `MODULES` that can run.
        only: Kind of device; backends on other devices are not considered.
        options: Options of the fits to come, which the backend has to support.

    Raises:
        OptionError: There is no backend of this name, or the backend does not run on the `only` device, or
            the backend does not support the options.
        BackendUnavailableError: The named backend cannot run on this machine; with "auto", none can.
    """
    return _first_available(load, name, only, options)


def find(
    name: str = "auto", *, only: Kind | None = None, options: FitOptions | None = None
) -> Choice[BackendInfo]:
    """Choose a backend as `choose` does, but open no GPU: in place of a GPU backend, return its `GpuLibrary`.

    A process that opens a GPU holds some of the GPU's memory until the process exits.
    """
    return _first_available(_find, name, only, options)


def _find(name: str) -> BackendInfo:
    return cast("BackendInfo", _module(name).find() if name in GPU_BACKENDS else load(name))


def _first_available(
    get: Callable[[str], B_co], name: str, only: Kind | None, options: FitOptions | None
) -> Choice[B_co]:
    """Return the first backend for which `get` raises no BackendUnavailableError; see `choose`."""
    names = [n for n in MODULES if only is None or (n in GPU_BACKENDS) == (only == "gpu")]
    if name != "auto":
        if name not in MODULES:
            raise unknown_choice("backend", name, ["auto", *MODULES])
        if name not in names:
            raise OptionError(f"The backend {name} does not run on the {str(only).upper()}.")
        names = [name]
    unavailable: list[UnavailableBackend] = []
    for candidate in names:
        try:
            backend = get(candidate)
        except BackendUnavailableError as error:
            unavailable.append(UnavailableBackend(candidate, str(error), error.installed))
            continue
        if options is not None:
            backend.check(options)
        return Choice(backend, tuple(unavailable))
    reasons = "; ".join(f"{p.name}: {p.reason}" for p in unavailable)
    raise BackendUnavailableError(reasons, installed=any(p.installed for p in unavailable))


def gpu_package_installed() -> bool:
    """Return whether the package of a GPU backend is installed, so that `auto` may choose a GPU."""
    return any(find_spec(name) is not None for name in ("cupy", "numba_cuda"))
