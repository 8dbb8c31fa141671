"""The README's picture of colour spaces: `python -m benchmarks.figures.spaces`.

Writes benchmarks/results/color_spaces.jpg: the generated landscape in five colours, found in each space.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.figures.landscape import GAP, landscape, write_jpeg
from kseg_batch import segment
from kseg_batch.kmeans.color_spaces import COLOR_SPACES, convert

TARGET = Path(__file__).parents[1] / "results" / "color_spaces.jpg"
CLUSTERS = 5
REPEATS = 20


def main() -> None:
    """Write the picture, and print what each space costs."""
    photo = landscape()
    gap = np.full((len(photo), GAP, 3), 255, np.uint8)
    row = [photo]
    large = np.tile(photo, (3, 4, 1))
    for space in COLOR_SPACES:
        result = segment(photo, CLUSTERS, color_space=space)
        row += [gap, result.segmented()]
        colors = ", ".join(f"#{r:02x}{g:02x}{b:02x}" for r, g, b in result.palette.colors.tolist())
        seconds = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            convert(large, space)
            seconds.append(time.perf_counter() - start)
        size = f"{large.shape[1]} x {large.shape[0]}"
        print(f"{space:<6} {colors}   {1e3 * median(seconds):.1f} ms to convert {size}")
    write_jpeg(TARGET, np.concatenate(row, axis=1))


if __name__ == "__main__":
    main()
