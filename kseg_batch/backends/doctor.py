"""The diagnosis of `kseg-batch doctor`: self-tests of all backends, and problems with their remedies."""

from __future__ import annotations

import os
import time
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from kseg_batch.backends.gpu.driver import read_driver
from kseg_batch.backends.machine import (
    CUPY,
    OPENCV,
    Finding,
    find_problems,
    gpu_fix,
    installed_packages,
    matching_packages,
    read_codecs,
    read_kernel_cache,
    read_machine,
)
from kseg_batch.backends.registry import GPU_BACKENDS, MODULES, load
from kseg_batch.backends.self_test import milliseconds, self_test
from kseg_batch.errors import BackendUnavailableError
from kseg_batch.optional import find_cv2, import_cv2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kseg_batch.backends.base import Backend
    from kseg_batch.backends.gpu.driver import Driver
    from kseg_batch.backends.machine import Codec, KernelCache, Machine

T = TypeVar("T")
CheckStatus = Literal["works", "unavailable", "FAILED"]

INTERPRETER_VARIABLES = {"numba": "NUMBA_DISABLE_JIT", "numba-cuda": "NUMBA_ENABLE_CUDASIM"}
"""Environment variables that make Python interpret the kernels, so that a self-test takes minutes."""

CODEC_PACKAGES = {"HEIC": "pillow-heif", "JPEG XL": "pillow-jxl-plugin"}
"""Packages that read formats which Pillow does not read, by format."""


@dataclass(frozen=True, slots=True)
class BackendCheck:
    """The result of the self-test of a backend."""

    name: str
    """Name of the backend on the command line."""
    status: CheckStatus
    """FAILED: the backend was loaded, but raised an error or gave wrong results."""
    packages: dict[str, str]
    """Versions of the packages that the backend needs, as far as they are installed."""
    reason: str | None = None
    """Reason why the backend does not work; None if it works."""
    fix: str | None = None
    """Remedy; None if the backend works, if `reason` names the remedy, or if none is known."""
    prepare_s: float | None = None
    """Seconds for loading or compiling the kernels; None if the self-test did not pass."""
    milliseconds: float | None = None
    """Median time for the test image after this preparation; None if the self-test did not pass."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The diagnosis of this machine; its fields are the keys of the JSON object."""

    version: str
    """Version of kseg-batch."""
    machine: Machine
    """The computer, its operating system and its Python."""
    packages: dict[str, str]
    """Versions of the packages that every run needs, as far as they are installed."""
    driver: Driver
    """NVIDIA's driver and its GPUs."""
    driver_fix: str | None
    """Remedy for the driver; None if the driver has found a GPU."""
    files_problem: str | None
    """Reason why no image file can be read or written; None if files can be."""
    codecs: tuple[Codec, ...]
    """Image formats, and whether each can be read; empty if `files_problem` is not None."""
    kernel_cache: KernelCache | None
    """The cache of the compiled CPU kernels; None if Numba cannot be imported."""
    backends: tuple[BackendCheck, ...]
    """Results of all backends, in the order in which `auto` tries them."""
    findings: tuple[Finding, ...]
    """Other problems of this machine."""

    @property
    def ok(self) -> bool:
        """Whether `kseg-batch run` works on this machine.

        A failed backend is a failure even beside a working one: `auto` chooses the first backend that can be
        loaded, and a wrong result is worse than none.
        """
        statuses = {check.status for check in self.backends}
        return self.files_problem is None and "works" in statuses and "FAILED" not in statuses


@dataclass(frozen=True, slots=True)
class CallResult(Generic[T]):
    """The value that a function returned, or the error that it raised."""

    value: T | None
    """The returned value; None after an error."""
    error: Exception | None
    """The raised error; None after success."""

    @property
    def reason(self) -> str | None:
        """The error in one line; None after success."""
        if self.error is None:
            return None
        text = " ".join(str(self.error).split())
        known = isinstance(self.error, BackendUnavailableError)
        return text if known else f"{type(self.error).__name__}: {text}"


def call_safely(function: Callable[[], T]) -> CallResult[T]:
    """Call a function, and return its value or its error: a broken machine may raise any kind of error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the findings cover the warnings of CuPy and Numba
            return CallResult(function(), None)
    except Exception as error:  # noqa: BLE001 - the purpose of the doctor is to report any error
        return CallResult(None, error)


def examine(notice: Callable[[str], None], use_kernels: Callable[[], object]) -> Diagnosis:
    """Examine this machine and test every backend, which takes a few seconds.

    Args:
        notice: Function that is called with a sentence before a step that takes longer.
        use_kernels: Function that uses the CPU kernels that no backend does, so that the cache has all.
    """
    packages = installed_packages()
    driver = read_driver()  # before the backends, which occupy GPU memory and keep it
    codecs = call_safely(read_codecs)
    if call_safely(lambda: load("numba").compiled).value is False and not _is_interpreted("numba"):
        notice("compiling the kernels of numba, which takes 10 to 20 seconds")
    backends = tuple(_check(name, packages, driver) for name in MODULES)
    if not _is_interpreted("numba"):
        call_safely(use_kernels)
    kernel_cache = call_safely(read_kernel_cache).value
    return Diagnosis(
        version=packages.get("kseg-batch", "unknown"),
        machine=read_machine(),
        packages={name: packages[name] for name in ("numpy", "pillow", "isal") if name in packages},
        driver=driver,
        driver_fix=gpu_fix(driver, packages) if driver.problem else None,
        files_problem=codecs.reason,
        codecs=codecs.value or (),
        kernel_cache=kernel_cache,
        backends=backends,
        findings=(
            *find_problems(packages, driver),
            *_missing_opencv(packages),
            *_shortcomings(codecs.value or (), kernel_cache),
        ),
    )


def _missing_opencv(packages: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what does not work where OpenCV cannot be imported. Conflicts of packages are found elsewhere."""
    installed = matching_packages(OPENCV, packages)
    if len(installed) > 1 or find_cv2() is not None:
        return
    problem = "without OpenCV, PNG files of 16 bits, cameras and windows of live, and bench do not work"
    if not installed:
        yield Finding(problem, "pip install opencv-python")
    elif "shared object" in str(call_safely(import_cv2).error):
        yield Finding(problem, "apt-get install libgl1 libglib2.0-0")
    else:
        yield Finding(problem, f"pip install --force-reinstall {installed[0]}")


def _shortcomings(codecs: tuple[Codec, ...], kernel_cache: KernelCache | None) -> Iterator[Finding]:
    """Yield the problems of the codecs and of the cache."""
    missing = [codec.name for codec in codecs if not codec.read]
    for name, package in CODEC_PACKAGES.items():
        if name in missing:
            yield Finding(f"{name} files need one more package", f"pip install {package}")
            missing.remove(name)
    if missing:
        listed = ", ".join(missing)
        yield Finding(f"this build of Pillow does not read {listed}", "pip install --upgrade pillow")
    if codecs:
        from kseg_batch.images.profiles.littlecms import has_littlecms  # Pillow can be imported

        if not has_littlecms():
            yield Finding(
                "this build of Pillow lacks LittleCMS, which some colour profiles need",
                "pip install --force-reinstall pillow",
            )
    if kernel_cache is not None:
        yield from kernel_cache.problems


def _is_interpreted(name: str) -> bool:
    """Return whether Python would interpret the kernels of a backend."""
    return os.environ.get(INTERPRETER_VARIABLES.get(name, ""), "0") not in ("", "0")


def _check(name: str, packages: Mapping[str, str], driver: Driver) -> BackendCheck:
    """Load, test and time a backend."""
    needed = {
        "cupy": matching_packages(CUPY, packages),
        "numba-cuda": ["numba-cuda", "numba"],
        "numba": ["numba", "llvmlite"],
        "opencv": matching_packages(OPENCV, packages),
    }[name]
    check = BackendCheck(name, "unavailable", {p: packages[p] for p in needed if p in packages})
    if _is_interpreted(name):
        variable = INTERPRETER_VARIABLES[name]
        reason = f"{variable} is set, so that Python would interpret the kernels"
        return replace(check, reason=reason, fix=f"unset {variable}")
    fix = gpu_fix(driver, packages) if name in GPU_BACKENDS else None
    loaded = call_safely(lambda: load(name))
    if loaded.value is None:
        return replace(check, reason=loaded.reason, fix=fix)
    backend = loaded.value
    tested = call_safely(lambda: _test(backend))
    if tested.value is None:
        if name == "opencv" and len(check.packages) < 2:  # the findings have the remedy for several packages
            fix = f"pip install --force-reinstall {' '.join(check.packages) or 'opencv-python'}"
        return replace(check, status="FAILED", reason=tested.reason, fix=fix)
    prepare_s, wrong, median_ms = tested.value
    if wrong:
        listed = ", ".join(wrong)
        reason = f"its {listed} differ from the reference: do not use this backend, and please report it"
        return replace(check, status="FAILED", reason=reason)
    return replace(check, status="works", prepare_s=prepare_s, milliseconds=median_ms)


def _test(backend: Backend) -> tuple[float, list[str], float]:
    """Return the seconds of preparation, the names of wrong results, and the milliseconds for one image."""
    start = time.perf_counter()
    backend.warm_up()
    prepare_s = time.perf_counter() - start
    return round(prepare_s, 2), self_test(backend), milliseconds(backend)
