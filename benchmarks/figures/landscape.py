"""Draw the generated landscape with its clusters (scene.jpg), and with and without its trees (keep.jpg).

python -m benchmarks.figures.landscape [--out DIR] [--photo FILE]
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.support.arguments import RESULTS, add_out, exit_with_message, make_parser
from kseg_batch import segment
from kseg_batch.bench.synthetic import blend, smooth_noise

PROGRAM = "benchmarks.figures.landscape"

TARGET = RESULTS / "scene.jpg"
TREES = RESULTS / "keep.jpg"
HEIGHT, WIDTH = 360, 480
WATERLINE = 230
GAP = 12
"""White pixels between two pictures."""


def landscape() -> NDArray[np.uint8]:
    """Return a (360, 480, 3) uint8 RGB scene: evening sky, snowy hills, a forest, and a lake."""
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
    """Return the parts of each picture from left to right, (H, W, 3) uint8 RGB."""
    three, five = segment(photo, k=3), segment(photo, k=5)
    mask = np.repeat(three.mask(0)[..., None], 3, axis=2) * np.uint8(255)
    return {
        TARGET: [photo, three.segmented(), mask],
        TREES: [photo, five.masked(photo, keep="darkgreen"), five.masked(photo, disable="darkgreen")],
    }


def side_by_side(parts: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Join (H, W, 3) uint8 pictures of one height from left to right, with a white gap between them."""
    gap = np.full((len(parts[0]), GAP, 3), 255, np.uint8)
    row = [parts[0]]
    for part in parts[1:]:
        row += [gap, part]
    return np.concatenate(row, axis=1)


def write_picture(path: Path, rgb: NDArray[np.uint8]) -> None:
    """Write a picture of the documentation, (H, W, 3) uint8 RGB, as JPEG, and print its path.

    Raises:
        OSError: The picture cannot be encoded or written.
    """
    jpeg = [cv2.IMWRITE_JPEG_QUALITY, 88]
    done, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), jpeg)
    if not done:
        raise OSError("OpenCV cannot encode the picture")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(data))
    print(f"written: {path}")


def main() -> None:
    """Write both pictures, or the landscape alone."""
    parser = make_parser(PROGRAM, __doc__)
    add_out(parser)
    parser.add_argument("--photo", metavar="FILE", type=Path, help="write the landscape alone to this file")
    given = parser.parse_args()
    photo = landscape()
    with exit_with_message(PROGRAM):
        if given.photo:
            Image.fromarray(photo).save(given.photo)
            print(f"written: {given.photo}")
            return
        for path, parts in panels(photo).items():
            write_picture(given.out / path.name, side_by_side(parts))


if __name__ == "__main__":
    main()
