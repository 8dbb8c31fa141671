"""Two of the README's pictures: `python -m benchmarks.figures.landscape` writes them into benchmarks/results.

scene.jpg has a generated landscape, what `segment` makes of it, and one mask, side by side; keep.jpg has the
landscape with its trees alone, and without them. Given the name of a file, it writes the landscape alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kseg_batch import segment
from kseg_batch.bench.synthetic import blend, smooth_noise

RESULTS = Path(__file__).parents[1] / "results"
TARGET = RESULTS / "scene.jpg"
TREES = RESULTS / "keep.jpg"
HEIGHT, WIDTH = 360, 480
WATERLINE = 230
GAP = 12


def landscape() -> NDArray[np.uint8]:
    """(360, 480, 3) uint8 RGB: evening sky, snowy hills, a forest, and their reflection in a lake."""
    rng = np.random.default_rng(4)
    rows = np.arange(WATERLINE)[:, None] / WATERLINE * np.ones((1, WIDTH))
    picture = np.zeros((WATERLINE, WIDTH, 3))
    blend(picture, (92, 148, 205), np.ones_like(rows))
    blend(picture, (255, 222, 170), np.clip(rows * 1.25, 0, 1) ** 2)
    clouds = smooth_noise(rng, WATERLINE, WIDTH, [64, 32, 16, 8])
    blend(picture, (255, 244, 230), np.clip(clouds * 3 - 0.4, 0, 0.8) * (1 - rows * 0.4))

    for height, rough, color in ((105, 70, (128, 140, 168)), (60, 40, (88, 104, 126))):
        ridge = WATERLINE - height - rough * smooth_noise(rng, 4, WIDTH, [96, 48, 24, 12, 4])[0]
        blend(picture, color, (np.arange(WATERLINE)[:, None] > ridge).astype(float))
    snow = np.arange(WATERLINE)[:, None] < WATERLINE - 128 + 8 * smooth_noise(rng, 4, WIDTH, [16, 4])[0]
    hills = np.abs(picture - (128, 140, 168)).sum(axis=2) < 1
    blend(picture, (236, 240, 248), (snow & hills).astype(float) * 0.9)

    for color, base, tall in (((42, 78, 48), 34, 16), ((22, 50, 30), 18, 24)):
        for x in rng.integers(-10, WIDTH + 10, 150):
            top = WATERLINE - base - rng.integers(0, tall)
            y = np.arange(WATERLINE)[:, None]
            tree = (np.abs(np.arange(WIDTH)[None] - x) < (y - top) * 0.22) & (y > top)
            blend(picture, color, tree.astype(float) * rng.uniform(0.75, 1))

    ripple = (2.5 * np.sin(np.arange(HEIGHT - WATERLINE) / 2.1)).astype(int)
    mirror = np.stack([np.roll(picture[-1 - y], ripple[y], axis=0) for y in range(HEIGHT - WATERLINE)])
    blend(mirror, (38, 92, 128), 0.45 + 0.25 * np.linspace(0, 1, len(mirror))[:, None] * np.ones((1, WIDTH)))
    whole = np.concatenate([picture, mirror]) + rng.normal(0, 3.5, (HEIGHT, WIDTH, 1))
    return np.clip(whole, 0, 255).astype(np.uint8)


def panels(photo: NDArray[np.uint8]) -> dict[Path, list[NDArray[np.uint8]]]:
    """What each picture shows from left to right: (H, W, 3) uint8 RGB."""
    three, five = segment(photo, k=3), segment(photo, k=5)
    mask = np.repeat(three.mask(0)[..., None], 3, axis=2) * np.uint8(255)
    return {
        TARGET: [photo, three.segmented(), mask],
        TREES: [photo, five.masked(photo, keep="darkgreen"), five.masked(photo, disable="darkgreen")],
    }


def write_jpeg(path: Path, rgb: NDArray[np.uint8]) -> None:
    """Write a picture of the README, (H, W, 3) uint8, and say so."""
    jpeg = [cv2.IMWRITE_JPEG_QUALITY, 88]
    done, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), jpeg)
    if not done:
        raise SystemExit("OpenCV cannot encode the picture")
    path.write_bytes(bytes(data))
    print(f"wrote {path.name}")


def main() -> None:
    """Write the pictures, or the landscape alone."""
    if sys.argv[1:]:
        Image.fromarray(landscape()).save(sys.argv[1])
        return
    RESULTS.mkdir(exist_ok=True)
    gap = np.full((HEIGHT, GAP, 3), 255, np.uint8)
    for path, (left, middle, right) in panels(landscape()).items():
        row = np.concatenate([left, gap, middle, gap, right], axis=1)
        write_jpeg(path, row)


if __name__ == "__main__":
    main()
