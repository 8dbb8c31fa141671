"""The README's picture of the window: `python -m benchmarks.figures.live_view` writes results/live.jpg.

What `kseg-batch live` shows of a camera that looks at the generated landscape, after the keys `o` and `1`.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.figures.landscape import landscape, write_jpeg
from benchmarks.support.frames import RATE
from kseg_batch.backends.numba_cpu import load
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.live.rendered_frame import RenderedFrame
from kseg_batch.live.source import Frame
from kseg_batch.live.tracker import Tracker
from kseg_batch.live.view import ViewState, render_window

TARGET = Path(__file__).parents[1] / "results" / "live.jpg"


def window() -> NDArray[np.uint8]:
    """(H, W, 3) uint8 in OpenCV's order: what the window shows."""
    rgb = landscape()
    tracked = Tracker(load(), FitOptions(k=5), margin=8.0).track(rgb)
    view = ViewState(disabled={1}, show_original=True)
    return render_window(RenderedFrame(Frame(250, 250, rgb), tracked, view.disabled), view, RATE)


def main() -> None:
    """Write the picture."""
    write_jpeg(TARGET, cv2.cvtColor(window(), cv2.COLOR_BGR2RGB))


if __name__ == "__main__":
    main()
