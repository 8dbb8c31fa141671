"""What this machine can do: every backend tested against the oracle, and what keeps it from working."""

from __future__ import annotations

import os
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from kseg_batch.backends.gpu.driver import read_driver
from kseg_batch.backends.machine import (
    CUPY,
    OPENCV,
    Finding,
    find_problems,
    gpu_fix,
    installed_packages,
    like,
    read_codecs,
    read_kernel_cache,
    read_machine,
)
from kseg_batch.backends.registry import GPU_BACKENDS, MODULES, load
from kseg_batch.backends.self_test import milliseconds, self_test
from kseg_batch.errors import BackendUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kseg_batch.backends.base import Backend
    from kseg_batch.backends.gpu.driver import Driver
    from kseg_batch.backends.machine import Codec, KernelCache, Machine

T = TypeVar("T")
CheckStatus = Literal["works", "unavailable", "FAILED"]

SWITCHES = {"numba": "NUMBA_DISABLE_JIT", "numba-cuda": "NUMBA_ENABLE_CUDASIM"}
"""Environment variables that make Python interpret a backend's kernels: the test would take minutes."""


@dataclass(frozen=True, slots=True)
class BackendCheck:
    """A backend, and how its self-test ended."""

    name: str
    """As the command line spells it."""
    status: CheckStatus
    """FAILED: it is there, but raised an error or gave wrong results."""
    packages: dict[str, str]
    """Versions of the packages that it needs, as far as they are installed."""
    reason: str | None = None
    """Why it does not work."""
    fix: str | None = None
    """What mends it; None if it works, or if `reason` says it."""
    prepare_s: float | None = None
    """Seconds for loading its kernels, or for compiling them."""
    milliseconds: float | None = None
    """For the test image, once it is prepared: the median of a few runs."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything that was found."""

    version: str
    """Of kseg-batch."""
    machine: Machine
    packages: dict[str, str]
    """Versions of the packages that every run needs, as far as they are installed."""
    driver: Driver
    """NVIDIA's driver, with the GPUs."""
    driver_fix: str | None
    """What mends the driver; None if it has a GPU to offer."""
    files_problem: str | None
    """Why no image file can be read or written; None if they can."""
    codecs: tuple[Codec, ...]
    """Kinds of image files; empty if there is such a problem."""
    kernel_cache: KernelCache | None
    """Where Numba keeps its kernels; None if it cannot tell."""
    backends: tuple[BackendCheck, ...]
    """All of them, in the order in which `auto` tries them."""
    findings: tuple[Finding, ...]
    """What else is wrong."""

    @property
    def ok(self) -> bool:
        """Whether `kseg-batch run` does its work here.

        A backend that failed counts against it even beside one that works, because `auto` takes the first
        that is there, and a wrong result is worse than none.
        """
        statuses = {check.status for check in self.backends}
        return self.files_problem is None and "works" in statuses and "FAILED" not in statuses


@dataclass(frozen=True, slots=True)
class Attempt(Generic[T]):
    """What came of something that may fail in any way."""

    value: T | None
    error: Exception | None

    @property
    def reason(self) -> str | None:
        """Why it failed, in one line; None if it did not."""
        if self.error is None:
            return None
        text = " ".join(str(self.error).split())
        known = isinstance(self.error, BackendUnavailableError)
        return text if known else f"{type(self.error).__name__}: {text}"


def attempt(task: Callable[[], T]) -> Attempt[T]:
    """Run a task that meets whatever is broken on this machine, so that any kind of error may come of it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what CuPy and Numba warn of is among the findings
            return Attempt(task(), None)
    except Exception as error:  # noqa: BLE001 - to report it, whatever it is, is what the doctor is for
        return Attempt(None, error)


def examine(notice: Callable[[str], None]) -> Diagnosis:
    """Look at everything and test every backend, which takes a few seconds.

    Args:
        notice: Called with a sentence before something that takes longer.
    """
    packages = installed_packages()
    driver = read_driver()  # first, because a backend takes memory of the GPU and keeps it
    codecs = attempt(read_codecs)
    kernel_cache = attempt(read_kernel_cache).value
    if kernel_cache is not None and kernel_cache.files == 0:
        notice("compiling the kernels of numba, which takes 10 to 20 seconds, once on a machine")
    backends = tuple(_check(name, packages, driver) for name in MODULES)
    kernel_cache = attempt(read_kernel_cache).value  # again, for what was compiled
    return Diagnosis(
        version=packages.get("kseg-batch", "unknown"),
        machine=read_machine(),
        packages={name: packages[name] for name in ("numpy", "isal") if name in packages},
        driver=driver,
        driver_fix=gpu_fix(driver, packages) if driver.problem else None,
        files_problem=codecs.reason,
        codecs=codecs.value or (),
        kernel_cache=kernel_cache,
        backends=backends,
        findings=(*find_problems(packages, driver), *_shortcomings(codecs.value or (), kernel_cache)),
    )


def _shortcomings(codecs: tuple[Codec, ...], kernel_cache: KernelCache | None) -> Iterator[Finding]:
    """What follows from the codecs and the cache."""
    missing = [codec.name for codec in codecs if not codec.read]
    if "HEIC" in missing:
        yield Finding("HEIC files need one more package", "pip install 'kseg-batch[heic]'")
        missing.remove("HEIC")
    if missing:
        listed = ", ".join(missing)
        yield Finding(f"this build of Pillow does not read {listed}", "pip install --upgrade pillow")
    if kernel_cache is None:
        return
    fix = "export NUMBA_CACHE_DIR=/a/writable/folder"
    if kernel_cache.problem or kernel_cache.files == 0:
        why = kernel_cache.problem or "nothing was written to it"
        yield Finding(f"each run compiles its kernels anew: {kernel_cache.folder}: {why}", fix)
    if kernel_cache.wanted and not _is_inside(kernel_cache.folder, kernel_cache.wanted):
        yield Finding(f"Numba passes over NUMBA_CACHE_DIR={kernel_cache.wanted}: is it writable?", fix)


def _is_inside(folder: str, parent: str) -> bool:
    return Path(folder).resolve().is_relative_to(Path(parent).resolve())


def _check(name: str, packages: Mapping[str, str], driver: Driver) -> BackendCheck:
    """Load a backend, test it, time it."""
    needed = {
        "cupy": like(CUPY, packages),
        "numba-cuda": ["numba-cuda", "numba"],
        "numba": ["numba", "llvmlite"],
        "opencv": like(OPENCV, packages),
    }[name]
    check = BackendCheck(name, "unavailable", {p: packages[p] for p in needed if p in packages})
    switch = SWITCHES.get(name)
    if switch is not None and os.environ.get(switch, "0") not in ("", "0"):
        reason = f"{switch} is set, with which Python would interpret its kernels"
        return replace(check, reason=reason, fix=f"unset {switch}")
    fix = gpu_fix(driver, packages) if name in GPU_BACKENDS else None
    loaded = attempt(lambda: load(name))
    if loaded.value is None:
        return replace(check, reason=loaded.reason, fix=fix)
    backend = loaded.value
    tested = attempt(lambda: _test(backend))
    if tested.value is None:
        if len(like(OPENCV, check.packages)) < 2:  # of several, which is among the findings, one has to go
            fix = fix or f"pip install --force-reinstall {' '.join(check.packages) or name}"
        return replace(check, status="FAILED", reason=tested.reason, fix=fix)
    prepare_s, wrong, median_ms = tested.value
    if wrong:
        reason = f"its {', '.join(wrong)} differ from the reference: do not use it, and please report it"
        return replace(check, status="FAILED", reason=reason)
    return replace(check, status="works", prepare_s=prepare_s, milliseconds=median_ms)


def _test(backend: Backend) -> tuple[float, list[str], float]:
    """Seconds of preparation, what is wrong with the results, and the milliseconds for one image."""
    start = time.perf_counter()
    backend.warm_up()
    prepare_s = time.perf_counter() - start
    return round(prepare_s, 2), self_test(backend), milliseconds(backend)
