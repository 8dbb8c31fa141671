"""Draw the window of `kseg-batch live` (live.jpg): the generated landscape after the keys `o` and `1`.

python -m benchmarks.figures.live_view [--out DIR]
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.figures.landscape import landscape, write_picture
from benchmarks.support.arguments import RESULTS, add_out, exit_with_message, make_parser
from benchmarks.support.frames import RATE
from kseg_batch.backends.numba_cpu import load
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.live.rendered_frame import RenderedFrame
from kseg_batch.live.source import Frame
from kseg_batch.live.tracker import Tracker
from kseg_batch.live.view import ViewState, render_window

PROGRAM = "benchmarks.figures.live_view"

TARGET = RESULTS / "live.jpg"


def window() -> NDArray[np.uint8]:
    """Return the picture in the window, (H, W, 3) uint8 BGR."""
    rgb = landscape()
    tracked = Tracker(load(), FitOptions(k=5), margin=8.0).track(rgb)
    view = ViewState(disabled={1}, show_original=True)
    return render_window(RenderedFrame(Frame(250, 250, rgb), tracked, view.disabled), view, RATE)


def main() -> None:
    """Write the picture."""
    parser = make_parser(PROGRAM, __doc__)
    add_out(parser)
    given = parser.parse_args()
    with exit_with_message(PROGRAM):
        write_picture(given.out / TARGET.name, cv2.cvtColor(window(), cv2.COLOR_BGR2RGB))


if __name__ == "__main__":
    main()
