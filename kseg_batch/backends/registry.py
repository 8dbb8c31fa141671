"""Which backends there are, and which one to take. A backend's module is imported when it is tried.

`choose` opens the device of the backend. `find` opens no GPU, for a process that leaves the work to others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from kseg_batch.backends.gpu.options import GpuOptions
from kseg_batch.errors import BackendUnavailableError, OptionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kseg_batch.backends.base import Backend, BackendInfo
    from kseg_batch.backends.gpu.backend import GpuBackend
    from kseg_batch.kmeans.options import FitOptions

MODULES = {"cupy": "cupy", "numba-cuda": "numba_cuda", "numba": "numba_cpu", "opencv": "opencv"}
"""The module of each backend, in the order in which `auto` tries them."""

GPU_BACKENDS = ("cupy", "numba-cuda")
"""Those that need a GPU."""

Kind = Literal["gpu", "cpu"]

B_co = TypeVar("B_co", bound="BackendInfo", covariant=True)


@dataclass(frozen=True, slots=True)
class UnavailableBackend:
    """A backend that was tried before the chosen one."""

    name: str
    """As the command line spells it."""
    reason: str
    """Why it cannot run here, and what would help."""
    installed: bool
    """Whether its package is there, so that somebody meant to use it."""


@dataclass(frozen=True, slots=True)
class Choice(Generic[B_co]):
    """The backend to use, and those that were passed over for it."""

    backend: B_co
    passed_over: tuple[UnavailableBackend, ...]


def load(name: str, gpu: GpuOptions | None = None) -> Backend:
    """The backend of that name; the same object each time, so that its scratch memory is reused.

    Args:
        name: One of `MODULES`.
        gpu: Which GPU, where it runs on one.

    Raises:
        BackendUnavailableError: It cannot run here.
    """
    return _load(name, (gpu or GpuOptions()) if name in GPU_BACKENDS else None)


def load_gpu(name: str, gpu: GpuOptions) -> GpuBackend:
    """The backend of that name, which runs on a GPU.

    Raises:
        BackendUnavailableError: It cannot run here.
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
    """Take the named backend, or the first that works.

    Args:
        name: A backend's name, or "auto" for the first of `MODULES` that works.
        only: Consider only the backends on this kind of device.
        options: What it will be asked to do.

    Raises:
        OptionError: There is no such backend, it does not run on `only`, or it cannot do what
                `options` ask for.
        BackendUnavailableError: The named backend, or every one, cannot run here.
    """
    return _first(load, name, only, options)


def find(
    name: str = "auto", *, only: Kind | None = None, options: FitOptions | None = None
) -> Choice[BackendInfo]:
    """As `choose`, but without opening a GPU: for a GPU backend, its `GpuLibrary` is what is found.

    A process that opens a GPU holds some of its memory for as long as the process lives.
    """
    return _first(_find, name, only, options)


def _find(name: str) -> BackendInfo:
    return cast("BackendInfo", _module(name).find() if name in GPU_BACKENDS else load(name))


def _first(
    get: Callable[[str], B_co], name: str, only: Kind | None, options: FitOptions | None
) -> Choice[B_co]:
    """The first backend that `get` does not find unavailable; see `choose`."""
    names = [n for n in MODULES if only is None or (n in GPU_BACKENDS) == (only == "gpu")]
    if name != "auto":
        if name not in MODULES:
            raise OptionError(f"There is no backend {name!r}: choose from auto, {', '.join(MODULES)}.")
        if name not in names:
            raise OptionError(f"The backend {name} does not run on the {str(only).upper()}.")
        names = [name]
    passed_over: list[UnavailableBackend] = []
    for candidate in names:
        try:
            backend = get(candidate)
        except BackendUnavailableError as error:
            passed_over.append(UnavailableBackend(candidate, str(error), error.installed))
            continue
        if options is not None:
            backend.check(options)
        return Choice(backend, tuple(passed_over))
    reasons = "; ".join(f"{p.name}: {p.reason}" for p in passed_over)
    raise BackendUnavailableError(reasons, installed=any(p.installed for p in passed_over))


def gpu_packages() -> bool:
    """Whether a package for GPUs is installed, so that a GPU may be what is used."""
    return any(find_spec(name) is not None for name in ("cupy", "numba_cuda"))
