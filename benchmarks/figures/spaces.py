"""Draw the generated landscape in five colours of each colour space (color_spaces.jpg), and time converting.

python -m benchmarks.figures.spaces [--out DIR]
"""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.figures.landscape import landscape, side_by_side, write_picture
from benchmarks.support.arguments import RESULTS, add_out, exit_with_message, make_parser
from benchmarks.support.stopwatch import median_seconds
from kseg_batch import segment
from kseg_batch.kmeans.color_spaces import COLOR_SPACES, convert

PROGRAM = "benchmarks.figures.spaces"

TARGET = RESULTS / "color_spaces.jpg"
CLUSTERS = 5
REPEATS = 20


def main() -> None:
    """Write the picture, and print the colours and the conversion time of each space."""
    parser = make_parser(PROGRAM, __doc__)
    add_out(parser)
    given = parser.parse_args()
    photo = landscape()
    parts = [photo]
    large = np.tile(photo, (3, 4, 1))
    for space in COLOR_SPACES:
        result = segment(photo, CLUSTERS, color_space=space)
        parts.append(result.segmented())
        colors = ", ".join(f"#{r:02x}{g:02x}{b:02x}" for r, g, b in result.palette.colors.tolist())
        milliseconds = 1e3 * median_seconds(partial(convert, large, space), REPEATS)
        print(f"{space:<6} {colors}   {milliseconds:.1f} ms to convert {large.shape[1]} x {large.shape[0]}")
    with exit_with_message(PROGRAM):
        write_picture(given.out / TARGET.name, side_by_side(parts))


if __name__ == "__main__":
    main()
