"""Where a matplotlib figure goes: into a file, or into a window where there is a display."""

from __future__ import annotations

import io
import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from kseg_batch.atomic import replacing
from kseg_batch.errors import OptionError

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

METADATA: dict[str, dict[str, None]] = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
"""The kinds of file, and what is left out of each, so that the same figure gives the same bytes."""

TOOLKITS = ("_tkinter", "PyQt6", "PySide6", "PyQt5", "PySide2", "gi", "wx")
"""What matplotlib opens windows with."""


def check(dpi: int, path: Path | None) -> None:
    """Refuse what cannot come to be, before any work.

    Args:
        dpi: Pixels for an inch of the figure.
        path: The file to write, if it is to be one.

    Raises:
        OptionError: matplotlib is not installed, or an argument is wrong.
    """
    try:
        import matplotlib  # noqa: F401 - whether it can be
    except ImportError as error:
        raise OptionError("A figure needs matplotlib; to add it: pip install 'kseg-batch[show]'.") from error
    except ValueError as error:  # of MPLBACKEND
        raise OptionError(f"matplotlib cannot be loaded: {error}.") from error
    if not 20 <= dpi <= 600:
        raise OptionError(f"--dpi must be from 20 to 600, not {dpi}.")
    if path is not None and path.suffix.lower() not in METADATA:
        raise OptionError(f"--save must be a file that ends in {', '.join(METADATA)}, not {path}.")
    if path is not None and (os.path.isdir(path) or not os.path.isdir(path.parent)):  # noqa: PTH112 - raises nothing
        raise OptionError(f"--save {path}: there is no such folder, or it is one.")


def empty(dpi: int) -> Figure:
    """A figure to be saved, of which pyplot knows nothing."""
    from matplotlib.figure import Figure

    return Figure(dpi=dpi)


def save(figure: Figure, path: Path) -> None:
    """Write a figure; its suffix says as what.

    Raises:
        OutputError: It cannot be written.
    """
    import matplotlib

    kind = path.suffix.lower()
    content = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "kseg-batch"}):  # which is random otherwise
        figure.savefig(content, format=kind[1:], dpi="figure", metadata=METADATA[kind])
    with replacing(path) as file:
        file.write(content.getbuffer())


def open_window(title: str, dpi: int) -> Figure:
    """An empty figure in a window, which is seen when `wait` is called.

    Do this before OpenCV is imported: from then on, Qt would look for its plugins in OpenCV's folder.

    Raises:
        OptionError: No window can be opened.
    """
    from matplotlib import pyplot

    try:
        figure = pyplot.figure(dpi=dpi)
    except Exception as error:  # each toolkit has errors of its own
        raise OptionError(_no_window(str(error).partition("\n")[0])) from error
    if figure.canvas.required_interactive_framework is None or figure.canvas.manager is None:
        raise OptionError(_no_window(_why_no_window()))
    figure.canvas.manager.set_window_title(title.encode(errors="replace").decode())
    return figure


def wait() -> None:
    """Show the windows until they are closed."""
    from matplotlib import pyplot

    pyplot.show()


def _no_window(reason: str) -> str:
    return f"No window can be opened here ({reason}); --save FILE.png writes the figure to a file."


def _why_no_window() -> str:
    """Why matplotlib took a backend without windows, of which it says nothing."""
    if "MPLBACKEND" in os.environ:
        return f"MPLBACKEND is {os.environ['MPLBACKEND']}"
    display = os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY")
    if sys.platform == "linux" and not display:
        return "neither DISPLAY nor WAYLAND_DISPLAY is set"
    if not any(map(find_spec, TOOLKITS)):
        return (
            "there is no toolkit for it; to add one: pip install PyQt6, or on Debian apt install python3-tk"
        )
    return f"the display {display} cannot be opened" if display else "matplotlib found no toolkit that works"
