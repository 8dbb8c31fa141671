"""Images to test with: generated, awkward ones, and photographs from the wheels of test dependencies."""

from __future__ import annotations

import functools
import itertools

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def noise(height: int, width: int, low: int = 0, high: int = 256, seed: int = 0) -> Image:
    """Uniform random channels in low .. high - 1."""
    return np.random.default_rng(seed).integers(low, high, (height, width, 3)).astype(np.uint8)


def flat(height: int, width: int, color: tuple[int, int, int] = (10, 200, 30)) -> Image:
    """One colour."""
    return np.full((height, width, 3), color, np.uint8)


def gradient(height: int, width: int) -> Image:
    """Red grows to the right, green downwards, blue both ways."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([x, y, (x + y) / 2], axis=-1).astype(np.uint8)


def blocks(colors: list[tuple[int, int, int]], side: int = 8) -> Image:
    """Squares of the given colours side by side, the i-th with i extra rows of the first colour."""
    image = np.concatenate([flat(side, side, color) for color in colors], axis=1)
    return np.concatenate([image, flat(len(colors), image.shape[1], colors[0])])


def two_colors() -> Image:
    """A checkerboard."""
    image = flat(6, 7, (0, 0, 0))
    image[::2, ::2] = (255, 254, 253)
    return image


def even_steps() -> Image:
    """Greys at even distances, so that half-way ties between centres abound."""
    values = np.arange(0, 256, 2, dtype=np.uint8)
    return np.repeat(values, 3).reshape(8, 16, 3)


def cell_borders() -> Image:
    """The colours at the corners of 8 x 8 x 8 cells."""
    edges = np.array([0, 7, 8, 15, 16, 247, 248, 255], np.uint8)
    return np.stack(np.meshgrid(edges, edges, edges), axis=-1).reshape(16, 32, 3)


AWKWARD: dict[str, Image] = {
    "1x1": flat(1, 1),
    "flat": flat(9, 13),
    "black": flat(5, 5, (0, 0, 0)),
    "white": flat(5, 5, (255, 255, 255)),
    "two colours": two_colors(),
    "row": noise(1, 301, seed=1),
    "column": noise(301, 1, seed=2),
    "even steps": even_steps(),
    "cell borders": cell_borders(),
    "gradient": gradient(64, 48),
    "noise": noise(40, 50, seed=3),
    "dark noise": noise(40, 50, 0, 12, seed=4),
    "channels reversed": noise(20, 30, seed=5)[..., ::-1],
    "rows reversed": noise(20, 30, seed=6)[::-1],
    "every third": noise(60, 90, seed=7)[::3, ::3],
    "transposed": noise(20, 30, seed=8).transpose(1, 0, 2),
    "tall view": noise(1000, 6, seed=9)[:, ::2],
}


FLAT = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)]
"""Saturated colours, at the borders of sRGB."""


APART = np.array(list(itertools.product((40, 128, 216), repeat=3)))
"""Colours that are 88 grey levels from each other, or more."""


def blobs(k: int, spread: float, seed: int, side: int = 120) -> Image:
    """Noise about k colours; the first has six times the pixels of the last."""
    rng = np.random.default_rng(seed)
    colors = APART[rng.permutation(len(APART))[:k]]
    ends = np.cumsum(np.linspace(6, 1, k))
    labels = np.searchsorted(ends / ends[-1], np.linspace(0, 1, side * side, endpoint=False), side="right")
    pixels = colors[labels] + rng.normal(0, spread, (side * side, 3))
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8).reshape(side, side, 3)


@functools.cache
def photos() -> dict[str, Image]:
    """Photographs of a quarter of a megapixel each, from scikit-image and scikit-learn."""
    from skimage import data
    from sklearn.datasets import load_sample_image

    return {
        "astronaut": data.astronaut(),
        "chelsea": data.chelsea(),
        "coffee": data.coffee(),
        "china": np.array(load_sample_image("china.jpg")),
        "flower": np.array(load_sample_image("flower.jpg")),
    }


PHOTOS = ("astronaut", "chelsea", "coffee", "china", "flower")
