"""A window of OpenCV's, and whether there can be one."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING

from kseg_batch.errors import DisplayError
from kseg_batch.optional import import_cv2

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

WITHOUT = "; without a window: --no-window, with --save"

QT_PLUGIN = Path("qt", "plugins", "platforms", "libqxcb.so")
"""In OpenCV's package for Linux: what its Qt draws by."""

CLOSED = "\x1b"
"""The key that stands for a window that was closed: Escape."""

QUIET = "default.warning=false"
"""Qt's rule that keeps it from telling about fonts that it misses in OpenCV's package, and does not need."""


@contextlib.contextmanager
def display() -> Iterator[None]:
    """See that a window can be opened, and keep the way to the display open until the end.

    Qt aborts the process where it cannot open one, so it is not asked. The connection stays because an X
    server like Xvfb starts anew when its last client leaves, and then refuses the next for a moment.

    Raises:
        DisplayError: It cannot be opened.
        BackendUnavailableError: OpenCV cannot be imported.
    """
    cv2 = import_cv2()
    if any(line.split() == ["GUI:", "NONE"] for line in cv2.getBuildInformation().splitlines()):
        raise DisplayError(
            "This OpenCV is a headless one, which has no windows: pip uninstall opencv-python-headless, and "
            f"pip install --force-reinstall opencv-python{WITHOUT}."
        )
    plugin = Path(str(cv2.__file__)).parent / QT_PLUGIN
    if not plugin.exists():  # another system, or another toolkit: these raise an error
        yield
        return
    try:
        ctypes.CDLL(str(plugin))
        xcb = ctypes.CDLL("libxcb.so.1")
    except OSError as error:
        raise DisplayError(
            f"OpenCV cannot open windows here ({error}): install that library (Debian: apt-get install "
            f"libsm6 libxext6){WITHOUT}."
        ) from error
    xcb.xcb_connect.restype = ctypes.c_void_p
    connection = ctypes.c_void_p(xcb.xcb_connect(None, None))
    try:
        if xcb.xcb_connection_has_error(connection):
            name = os.environ.get("DISPLAY")
            reason = f"{name} cannot be opened" if name else "DISPLAY is not set"
            raise DisplayError(f"There is no display for a window: {reason}{WITHOUT}.")
        yield
    finally:
        xcb.xcb_disconnect(connection)


class Window:
    """An open window; use it as a context manager."""

    def __init__(self, title: str) -> None:
        os.environ.setdefault("QT_LOGGING_RULES", QUIET)
        self._cv2 = import_cv2()
        self._title = title
        self._size: tuple[int, ...] | None = None
        flags = self._cv2.WINDOW_NORMAL | self._cv2.WINDOW_KEEPRATIO | self._cv2.WINDOW_GUI_NORMAL
        try:
            self._cv2.namedWindow(title, flags)
        except self._cv2.error as error:
            raise DisplayError(f"OpenCV cannot open a window: {error.err}{WITHOUT}.") from error

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
