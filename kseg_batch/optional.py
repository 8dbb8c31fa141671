"""Late imports of packages, each with a message for the user where the import fails."""

from __future__ import annotations

import contextlib
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from kseg_batch.errors import BackendUnavailableError, is_memory_shortage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


def import_cv2() -> ModuleType:
    """Import and return the cv2 module.

    Raises:
        BackendUnavailableError: OpenCV is not installed, lacks a system library, or is damaged.
        MemoryError: There is not enough memory for OpenCV.
    """
    found = _try_cv2()
    if isinstance(found, BackendUnavailableError):
        raise found
    return found


def find_cv2() -> ModuleType | None:
    """Return the cv2 module; None where it cannot be imported, for callers that can do without."""
    found = _try_cv2()
    return None if isinstance(found, BackendUnavailableError) else found


@cache
def _try_cv2() -> ModuleType | BackendUnavailableError:
    """Import cv2, or return the error. After a failure, cv2 hides the cause from who imports it again."""
    try:
        import cv2

        if not hasattr(cv2, "imdecode"):  # folders that an uninstallation has left can be imported, too
            raise ImportError("its files are not complete")
    except ModuleNotFoundError as error:
        if error.name == "cv2":
            return BackendUnavailableError(
                "OpenCV is not installed; to add it: pip install opencv-python", installed=False
            )
        return _broken_cv2(error)
    except Exception as error:  # a damaged package may raise any kind of error
        if is_memory_shortage(error):
            raise MemoryError("OpenCV cannot be loaded") from error
        return _broken_cv2(error)
    return cv2


def _broken_cv2(error: Exception) -> BackendUnavailableError:
    remedy = "to repair it: pip install --force-reinstall opencv-python"
    if "shared object" in str(error):
        remedy = (
            "on a server, install its system libraries (Debian: apt-get install libgl1 libglib2.0-0) or use "
            "opencv-python-headless in place of opencv-python"
        )
    return BackendUnavailableError(f"OpenCV cannot be imported ({error}); {remedy}", installed=True)


def import_av() -> ModuleType:
    """Import and return the av module (PyAV), which reads and writes videos with FFmpeg's libraries.

    OpenCV is imported first, where it can be. Both packages bundle a copy of libxcb, and the process uses the
    copy that is loaded first. With PyAV's copy, OpenCV hangs when it opens a window
    (https://github.com/PyAV-Org/PyAV/issues/978).

    Raises:
        BackendUnavailableError: PyAV is not installed, or cannot be loaded.
        MemoryError: There is not enough memory for PyAV.
    """
    find_cv2()
    try:
        import av
    except ModuleNotFoundError as error:
        raise BackendUnavailableError(
            "Video files and addresses are read and written by PyAV, which is not installed; to add it: "
            "pip install av",
            installed=False,
        ) from error
    except ImportError as error:
        if is_memory_shortage(error):
            raise MemoryError("PyAV cannot be loaded") from error
        raise BackendUnavailableError(
            f"PyAV cannot be imported ({error}); to repair it: pip install --force-reinstall av",
            installed=True,
        ) from error
    return av


@cache
def find_kernel(module: str, name: str) -> Any | None:
    """Return a jitted kernel; None where Numba cannot be imported, for callers with a reference in NumPy.

    Args:
        module: The module of `kseg_batch.kernels`.
        name: The kernel.
    """
    try:
        with explain_numba():
            return getattr(import_module(f"kseg_batch.kernels.{module}"), name)
    except BackendUnavailableError:
        return None


@contextlib.contextmanager
def explain_numba() -> Iterator[None]:
    """Import Numba and jitted kernels inside this context: a failure becomes an error with a remedy.

    Raises:
        BackendUnavailableError: Numba or the kernels cannot be imported.
        MemoryError: There is not enough memory for Numba.
    """
    try:
        yield
    except (ImportError, OSError, SystemError) as error:
        if is_memory_shortage(error):
            raise MemoryError("Numba cannot be loaded") from error
        if not isinstance(error, ImportError) and "shared object" not in str(error):  # of llvmlite
            raise
        if isinstance(error, ImportError) and (error.name or "").startswith("kseg_batch"):
            reason = f"kseg-batch is not complete ({error}); to repair it, reinstall it"
        else:
            reason = f"Numba cannot be imported ({error}); to repair it: pip install --force-reinstall numba"
        raise BackendUnavailableError(reason, installed=True) from error
