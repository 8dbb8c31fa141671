"""Photos to measure on: generated photos, and photos scaled to a size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from kseg_batch.optional import import_cv2

if TYPE_CHECKING:
    from numpy.typing import NDArray

Floats: TypeAlias = "NDArray[np.floating[Any]]"

HORIZON = 0.58
"""Where the ground of a generated photo begins, as a fraction of the height from the top."""

RIDGES = ((0.30, 0.16), (0.42, 0.10), (0.52, 0.06))
"""Position and amplitude of each ridge, from far to near, as fractions of the height."""

NOISE = 2.2
"""Standard deviation of the sensor noise in a middle grey, in grey levels."""


def cover(rgb: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Scale an (H, W, 3) uint8 photo to cover width x height pixels, and crop both sides evenly.

    Shrinking averages areas. Enlarging is bicubic, which adds colours between those of the photo.
    """
    cv2 = import_cv2()
    scale = max(width / rgb.shape[1], height / rgb.shape[0])
    size = (max(width, round(rgb.shape[1] * scale)), max(height, round(rgb.shape[0] * scale)))
    scaled = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return np.ascontiguousarray(scaled[top : top + height, left : left + width], dtype=np.uint8)


def smooth_noise(rng: np.random.Generator, height: int, width: int, scales: list[int]) -> NDArray[np.float32]:
    """Return (height, width) float32 noise from about -1 to 1: a sum of random grids, one for each scale.

    Args:
        rng: The random number generator.
        height: Height in pixels.
        width: Width in pixels.
        scales: Spacing of each grid, in pixels.
    """
    cv2 = import_cv2()
    total = np.zeros((height, width), np.float32)
    for scale in scales:
        grid = rng.uniform(-1, 1, (height // scale + 2, width // scale + 2)).astype(np.float32)
        total += cv2.resize(grid * scale, (width, height), interpolation=cv2.INTER_CUBIC)
    return total / np.float32(sum(scales))


def blend(base: Floats, color: tuple[float, float, float] | Floats, where: Floats) -> None:
    """Blend a colour, or (H, W, 3) colours, into an (H, W, 3) picture, in place.

    Args:
        base: The picture, which is changed.
        color: The colour, or the colours.
        where: (H, W) opacity, 0 to 1.
    """
    base += where[..., None] * (np.asarray(color, base.dtype) - base)


def photograph(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return a generated (height, width, 3) uint8 RGB photo: sky and clouds, three ridges, a meadow.

    Smooth shading, texture at every scale, dark corners as from a lens, and sensor noise give the photo about
    as many distinct colours as a real photo of the same size. The same seed gives the same scene at any size,
    apart from the noise.
    """
    scene = _Scene(width, height, seed)
    scene.paint_sky()
    scene.paint_ridges()
    scene.paint_meadow()
    return scene.expose()


class _Scene:
    """A picture while it is painted. The order of the steps decides which random numbers each one draws."""

    def __init__(self, width: int, height: int, seed: int) -> None:
        self._width, self._height = width, height
        self._rng = np.random.default_rng(seed)
        self._rows = np.linspace(0, 1, height, dtype=np.float32)[:, None]  # (height, 1), from the top
        self._columns = np.linspace(0, 1, width, dtype=np.float32)[None]  # (1, width), from the left
        self._picture = np.empty((height, width, 3), np.float32)  # grey levels

    def paint_sky(self) -> None:
        """Paint a gradient from the zenith to the horizon, clouds, and the glow of the sun."""
        zenith, dusk, cloud = self._tint(78, 128, 196), self._tint(236, 206, 168), self._tint(235, 232, 228)
        self._picture[:] = zenith
        blend(self._picture, dusk, np.clip(self._rows / HORIZON, 0, 1) ** 2 * np.ones_like(self._columns))
        blend(self._picture, cloud, np.clip(self._noise(6, 12, 24, 48) * 2.6 - 0.2, 0, 0.9))
        sun = self._rng.uniform(0.2, 0.8)
        glow = np.exp(-(((self._columns - sun) ** 2) * 6 + (self._rows - HORIZON + 0.1) ** 2 * 20))
        blend(self._picture, self._tint(255, 226, 178), 0.5 * glow)

    def paint_ridges(self) -> None:
        """Paint the ridges from far to near: the farther, the more haze."""
        haze, forest = self._tint(128, 142, 170), self._tint(38, 62, 40)
        for depth, (position, amplitude) in enumerate(RIDGES):
            edge = position + amplitude * self._outline(5, 11, 23, 61, 173)
            nearness = np.float32(depth / (len(RIDGES) - 1))
            shade = 1 + (0.15 + 0.25 * nearness) * self._noise(20, 60, 180, 500)
            colors = shade[..., None] * ((1 - nearness) * haze + nearness * forest)
            blend(self._picture, colors, self._below(edge))

    def paint_meadow(self) -> None:
        """Paint the ground, with patches of straw and the texture of grass."""
        meadow, straw = self._tint(92, 112, 48), self._tint(176, 150, 92)
        grass = self._noise(40, 120, 360, 900)
        ground = np.empty_like(self._picture)
        ground[:] = meadow
        blend(ground, straw, np.clip(0.5 + 1.5 * self._noise(4, 9, 30), 0, 1))
        ground *= (0.75 + 0.5 * (self._rows - HORIZON) / (1 - HORIZON) + 0.6 * grass)[..., None]
        blend(self._picture, ground, self._below(HORIZON + 0.03 * self._outline(3, 8)))

    def expose(self) -> NDArray[np.uint8]:
        """Darken the corners, add sensor noise, and return the (height, width, 3) uint8 photo."""
        picture = self._picture
        picture *= (1 - 0.45 * ((self._rows - 0.5) ** 2 + (self._columns - 0.5) ** 2))[..., None]
        np.clip(picture, 0, 255, out=picture)
        deviation = NOISE * np.sqrt(picture / 128 + 0.05)  # the noise of a sensor grows with the light
        picture += deviation * self._rng.standard_normal(picture.shape, dtype=np.float32)
        photo: NDArray[np.uint8] = np.clip(picture + 0.5, 0, 255).astype(np.uint8)
        return photo

    def _tint(self, *color: float) -> NDArray[np.float32]:
        """Return a (3,) colour near the given RGB colour."""
        return np.asarray(color, np.float32) * self._rng.uniform(0.85, 1.15, 3).astype(np.float32)

    def _noise(self, *parts: int) -> NDArray[np.float32]:
        """Return (height, width) noise whose grids divide the longer side into so many parts."""
        return smooth_noise(self._rng, self._height, self._width, self._scales(parts))

    def _outline(self, *parts: int) -> NDArray[np.float32]:
        """Return a (width,) curve from about -1 to 1, with grids as in `_noise`."""
        curve: NDArray[np.float32] = smooth_noise(self._rng, 8, self._width, self._scales(parts))[0]
        return curve

    def _scales(self, parts: tuple[int, ...]) -> list[int]:
        longer_side = max(8, self._width, self._height)
        return [max(1, longer_side // part) for part in parts]

    def _below(self, edge: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the (height, width) opacity of an area below a (width,) edge, 0 to 1."""
        opacity: NDArray[np.float32] = np.clip((self._rows - edge) * self._height, 0, 1)
        return opacity
