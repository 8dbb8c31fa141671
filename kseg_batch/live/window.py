"""A window of OpenCV's, and whether there can be one."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from kseg_batch.cv2_loader import import_cv2
from kseg_batch.errors import DisplayError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WITHOUT = "; without a window: --no-window, with --save"

PROBE = "import os, cv2; cv2.namedWindow('kseg-batch'); os._exit(0)"
"""Tried in a process of its own, because Qt aborts one that asks for a window where there is no display."""

PROBE_SECONDS = 30.0

CLOSED = "\x1b"
"""The key that stands for a window that was closed: Escape."""

QUIET = "default.warning=false"
"""Qt's rule that keeps it from telling about fonts that it misses in OpenCV's package, and does not need."""


def check_display() -> None:
    """See that a window can be opened.

    Raises:
        DisplayError: It cannot.
        BackendUnavailableError: OpenCV cannot be imported.
    """
    cv2 = import_cv2()
    if any(line.split() == ["GUI:", "NONE"] for line in cv2.getBuildInformation().splitlines()):
        raise DisplayError(
            f"This OpenCV is a headless one, which has no windows: pip uninstall opencv-python-headless, and "
            f"pip install --force-reinstall opencv-python{WITHOUT}."
        )
    named = [f"{name}={os.environ[name]}" for name in ("DISPLAY", "WAYLAND_DISPLAY") if os.environ.get(name)]
    if sys.platform == "linux" and not named:
        raise DisplayError(f"There is no display to open a window on: DISPLAY is not set{WITHOUT}.")
    try:
        probe = subprocess.run(
            [sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DisplayError(f"The display ({', '.join(named)}) does not answer{WITHOUT}.") from error
    if probe.returncode:
        reason = (probe.stderr.strip().splitlines() or ["no reason is given"])[0]
        raise DisplayError(f"A window cannot be opened here ({reason}){WITHOUT}.")


class Window:
    """An open window; use it as a context manager."""

    def __init__(self, title: str) -> None:
        os.environ.setdefault("QT_LOGGING_RULES", QUIET)
        self._cv2 = import_cv2()
        self._title = title
        self._size: tuple[int, ...] | None = None
        flags = self._cv2.WINDOW_NORMAL | self._cv2.WINDOW_KEEPRATIO | self._cv2.WINDOW_GUI_NORMAL
        self._cv2.namedWindow(title, flags)

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *_: object) -> None:
        self._cv2.destroyAllWindows()

    def show(self, bgr: NDArray[np.uint8]) -> None:
        """Show an (H, W, 3) uint8 picture, and make the window as large as it whenever that changes."""
        if bgr.shape != self._size:
            self._size = bgr.shape
            self._cv2.resizeWindow(self._title, bgr.shape[1], bgr.shape[0])
        self._cv2.imshow(self._title, bgr)

    def key(self, seconds: float) -> str | None:
        """The key that is pressed within so many seconds, if any; Escape where the window was closed."""
        code = self._cv2.waitKey(max(1, round(1000 * seconds)))
        if not self._visible:
            return CLOSED
        return None if code < 0 else chr(code & 0xFF)

    @property
    def _visible(self) -> bool:
        """Whether nobody has closed it; Qt's windows cannot be asked any more when they are."""
        try:
            return bool(self._cv2.getWindowProperty(self._title, self._cv2.WND_PROP_VISIBLE) >= 1)
        except self._cv2.error:
            return False
