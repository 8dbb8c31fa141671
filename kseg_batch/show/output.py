"""The outputs of a matplotlib figure: a file, or a window if there is a display."""

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
"""File suffixes, each with the metadata to omit, so that the same figure gives the same bytes."""

TOOLKITS = ("_tkinter", "PyQt6", "PySide6", "PyQt5", "PySide2", "gi", "wx")
"""Modules of the GUI toolkits that matplotlib opens windows with."""


def check_output(dpi: int, path: Path | None) -> None:
    """Check, before any other work, that a figure can be written or shown.

    Args:
        dpi: Pixels per inch of the figure.
        path: The file to write; None for a window.

    Raises:
        OptionError: matplotlib is not installed, or an argument is out of range.
    """
    try:
        import matplotlib  # noqa: F401 - the import itself is the check
    except ImportError as error:
        raise OptionError("A figure needs matplotlib; to add it: pip install matplotlib") from error
    except ValueError as error:  # MPLBACKEND has an unknown value
        raise OptionError(f"matplotlib cannot be loaded: {error}.") from error
    if not 20 <= dpi <= 600:
        raise OptionError(f"dpi must be from 20 to 600, not {dpi}.", "dpi")
    if path is not None:
        _check_save_path(path)


def _check_save_path(path: Path) -> None:
    if path.suffix.lower() not in METADATA:
        raise OptionError(f"save must be a file that ends in {', '.join(METADATA)}, not {path}.", "save")
    if os.path.isdir(path):  # noqa: PTH112 - raises no error for a name that is too long
        raise OptionError(f"save {path}: {path} is a folder; name a file.", "save")
    if not os.path.isdir(path.parent):  # noqa: PTH112 - as above
        raise OptionError(
            f"save {path}: there is no folder {path.parent}; create the folder, or name another one.",
            "save",
        )


def create_figure(dpi: int) -> Figure:
    """Return an empty figure for `save_figure`, which pyplot does not manage."""
    from matplotlib.figure import Figure

    return Figure(dpi=dpi)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure to a file in the format of its suffix.

    Raises:
        OutputError: The file cannot be written.
    """
    import matplotlib

    suffix = path.suffix.lower()
    content = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "kseg-batch"}):  # random by default
        figure.savefig(content, format=suffix[1:], dpi="figure", metadata=METADATA[suffix])
    with replacing(path) as file:
        file.write(content.getbuffer())


def open_window(title: str, dpi: int) -> Figure:
    """Return an empty figure in a window, which appears when `show_windows` is called.

    Call this function before OpenCV is imported: afterwards Qt looks for its plugins in OpenCV's folder.

    Raises:
        OptionError: No window can be opened.
    """
    from matplotlib import pyplot

    try:
        figure = pyplot.figure(dpi=dpi)
    except Exception as error:  # each toolkit has its own exception types
        raise OptionError(_no_window(str(error).partition("\n")[0])) from error
    if figure.canvas.required_interactive_framework is None or figure.canvas.manager is None:
        raise OptionError(_no_window(_why_no_window()))
    figure.canvas.manager.set_window_title(title.encode(errors="replace").decode())
    return figure


def show_windows() -> None:
    """Show the windows, and return when they are closed."""
    from matplotlib import pyplot

    pyplot.show()


def _no_window(reason: str) -> str:
    return f"No window can be opened here ({reason}); --save FILE.png writes the figure to a file."


def _why_no_window() -> str:
    """Return why matplotlib chose a backend without windows, which matplotlib does not report."""
    if "MPLBACKEND" in os.environ:
        return f"MPLBACKEND is {os.environ['MPLBACKEND']}"
    display = os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY")
    if sys.platform == "linux" and not display:
        return "neither DISPLAY nor WAYLAND_DISPLAY is set"
    if not any(map(find_spec, TOOLKITS)):
        return (
            "no GUI toolkit is installed; to add one: pip install PyQt6, or on Debian apt install python3-tk"
        )
    return f"the display {display} cannot be opened" if display else "matplotlib found no working GUI toolkit"
