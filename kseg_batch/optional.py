"""Packages that are imported late, each with the sentence for when the import fails."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from kseg_batch.errors import BackendUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


def import_cv2() -> ModuleType:
    """The cv2 module.

    Raises:
        BackendUnavailableError: It is missing, or a system library that it needs is.
    """
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise BackendUnavailableError(
            "OpenCV is not installed; to add it: pip install opencv-python", installed=False
        ) from error
    except ImportError as error:
        raise BackendUnavailableError(
            f"OpenCV cannot be imported ({error}); on a server, install its system libraries (Debian: "
            "apt-get install libgl1 libglib2.0-0) or use opencv-python-headless in place of opencv-python",
            installed=True,
        ) from error
    return cv2


def import_av() -> ModuleType:
    """The av module, which reads and writes videos by FFmpeg's libraries.

    OpenCV is imported first. Both bring a libxcb of their own, and whichever comes first is everybody's: with
    PyAV's, OpenCV never comes back from opening a window (https://github.com/PyAV-Org/PyAV/issues/978).

    Raises:
        BackendUnavailableError: One of the two is missing, or cannot be loaded.
    """
    import_cv2()
    try:
        import av
    except ModuleNotFoundError as error:
        raise BackendUnavailableError(
            "Video files and addresses are read and written by PyAV, which is not installed; to add it: "
            "pip install 'kseg-batch[video]'",
            installed=False,
        ) from error
    except ImportError as error:
        raise BackendUnavailableError(
            f"PyAV cannot be imported ({error}); to repair it: pip install --force-reinstall av",
            installed=True,
        ) from error
    return av


@contextlib.contextmanager
def explain_numba() -> Iterator[None]:
    """Turn what goes wrong when Numba and jitted kernels are imported in the body into a sentence.

    Raises:
        BackendUnavailableError: Numba or the kernels cannot be imported, or Numba has no cache folder.
    """
    try:
        yield
    except ImportError as error:
        if (error.name or "").startswith("kseg_batch"):
            reason = f"kseg-batch is not complete ({error}); to repair it, install it anew"
        else:
            reason = f"Numba cannot be imported ({error}); to repair it: pip install --force-reinstall numba"
        raise BackendUnavailableError(reason, installed=True) from error
    except RuntimeError as error:  # Numba finds no folder that it may write to
        reason = f"Numba cannot keep its compiled kernels ({error}); set NUMBA_CACHE_DIR to a writable folder"
        raise BackendUnavailableError(reason, installed=True) from error
