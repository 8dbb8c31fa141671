"""OpenCV's window, and the check that a window can be opened."""

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

NO_WINDOW_HINT = "; to run without a window: --no-window, with --save"

QT_PLUGIN = Path("qt", "plugins", "platforms", "libqxcb.so")
"""Qt's platform plugin in OpenCV's package for Linux."""

ESCAPE = "\x1b"
"""The Escape key, which also stands for a closed window."""

QT_LOGGING_RULES = "default.warning=false"
"""Qt's rule against warnings about missing fonts: OpenCV's package has none, and the window needs none."""


@contextlib.contextmanager
def display_connection() -> Iterator[None]:
    """Check that a window can be opened, and keep a connection to the display until exit.

    Qt aborts the process if the display cannot be opened, so the check does not use Qt. The connection stays
    open because an X server such as Xvfb restarts when its last client leaves, and then refuses connections
    for a moment.

    Raises:
        DisplayError: No window can be opened.
        BackendUnavailableError: OpenCV cannot be imported.
    """
    cv2 = import_cv2()
    if any(line.split() == ["GUI:", "NONE"] for line in cv2.getBuildInformation().splitlines()):
        raise DisplayError(
            "The installed OpenCV is headless and has no windows: pip uninstall opencv-python-headless, and "
            f"pip install --force-reinstall opencv-python{NO_WINDOW_HINT}."
        )
    plugin = Path(str(cv2.__file__)).parent / QT_PLUGIN
    if not plugin.exists():  # another operating system or GUI toolkit, which raises an error in `Window`
        yield
        return
    try:
        ctypes.CDLL(str(plugin))
        xcb = ctypes.CDLL("libxcb.so.1")
    except OSError as error:
        raise DisplayError(
            f"OpenCV cannot open windows here ({error}): install the missing library (Debian: apt-get "
            f"install libsm6 libxext6){NO_WINDOW_HINT}."
        ) from error
    xcb.xcb_connect.restype = ctypes.c_void_p
    connection = ctypes.c_void_p(xcb.xcb_connect(None, None))
    try:
        if xcb.xcb_connection_has_error(connection):
            name = os.environ.get("DISPLAY")
            reason = f"{name} cannot be opened" if name else "DISPLAY is not set"
            raise DisplayError(f"There is no display for a window: {reason}{NO_WINDOW_HINT}.")
        yield
    finally:
        xcb.xcb_disconnect(connection)


class Window:
    """An open window. Use it as a context manager, which closes the window."""

    def __init__(self, title: str) -> None:
        """Open the window.

        Raises:
            DisplayError: OpenCV cannot open a window.
        """
        os.environ.setdefault("QT_LOGGING_RULES", QT_LOGGING_RULES)
        self._cv2 = import_cv2()
        self._title = title
        self._shape: tuple[int, ...] | None = None
        flags = self._cv2.WINDOW_NORMAL | self._cv2.WINDOW_KEEPRATIO | self._cv2.WINDOW_GUI_NORMAL
        try:
            self._cv2.namedWindow(title, flags)
        except self._cv2.error as error:
            raise DisplayError(f"OpenCV cannot open a window: {error.err}{NO_WINDOW_HINT}.") from error

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *_: object) -> None:
        self._cv2.destroyAllWindows()

    def show(self, bgr: NDArray[np.uint8]) -> None:
        """Show an (H, W, 3) uint8 B, G, R image, and fit the window to the image when its size changes."""
        if bgr.shape != self._shape:
            self._shape = bgr.shape
            self._cv2.resizeWindow(self._title, bgr.shape[1], bgr.shape[0])
        self._cv2.imshow(self._title, bgr)

    def read_key(self, timeout: float) -> str | None:
        """Return a key pressed within `timeout` seconds, else None; `ESCAPE` if the window was closed."""
        code = self._cv2.waitKey(max(1, round(1000 * timeout)))
        if not self._is_open:
            return ESCAPE
        return None if code < 0 else chr(code & 0xFF)

    @property
    def _is_open(self) -> bool:
        """Whether the user has not closed the window; of a closed one, Qt raises an error."""
        try:
            return bool(self._cv2.getWindowProperty(self._title, self._cv2.WND_PROP_VISIBLE) >= 1)
        except self._cv2.error:
            return False
