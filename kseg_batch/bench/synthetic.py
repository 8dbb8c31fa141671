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
    unit = max(8, width, height)
    rng = np.random.default_rng(seed)
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    columns = np.linspace(0, 1, width, dtype=np.float32)[None]

    def tint(*color: float) -> NDArray[np.float32]:
        return np.asarray(color, np.float32) * rng.uniform(0.85, 1.15, 3).astype(np.float32)

    def noise(*parts: int) -> NDArray[np.float32]:
        return smooth_noise(rng, height, width, [max(1, unit // part) for part in parts])

    def line(*parts: int) -> NDArray[np.float32]:
        first: NDArray[np.float32] = smooth_noise(rng, 8, width, [max(1, unit // p) for p in parts])[0]
        return first

    def below(edge: NDArray[np.float32]) -> NDArray[np.float32]:
        opacity: NDArray[np.float32] = np.clip((rows - edge) * height, 0, 1)
        return opacity

    zenith, dusk, cloud = tint(78, 128, 196), tint(236, 206, 168), tint(235, 232, 228)
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = zenith
    blend(picture, dusk, np.clip(rows / HORIZON, 0, 1) ** 2 * np.ones_like(columns))
    blend(picture, cloud, np.clip(noise(6, 12, 24, 48) * 2.6 - 0.2, 0, 0.9))
    sun = rng.uniform(0.2, 0.8)
    glow = np.exp(-(((columns - sun) ** 2) * 6 + (rows - HORIZON + 0.1) ** 2 * 20))
    blend(picture, tint(255, 226, 178), 0.5 * glow)

    haze, forest = tint(128, 142, 170), tint(38, 62, 40)
    for depth, (stands, rough) in enumerate(RIDGES):
        ridge = stands + rough * line(5, 11, 23, 61, 173)
        share = np.float32(depth / (len(RIDGES) - 1))
        shade = 1 + (0.15 + 0.25 * share) * noise(20, 60, 180, 500)
        colors = shade[..., None] * ((1 - share) * haze + share * forest)
        blend(picture, colors, below(ridge))

    meadow, straw = tint(92, 112, 48), tint(176, 150, 92)
    grass = noise(40, 120, 360, 900)
    ground = np.empty_like(picture)
    ground[:] = meadow
    blend(ground, straw, np.clip(0.5 + 1.5 * noise(4, 9, 30), 0, 1))
    ground *= (0.75 + 0.5 * (rows - HORIZON) / (1 - HORIZON) + 0.6 * grass)[..., None]
    blend(picture, ground, below(HORIZON + 0.03 * line(3, 8)))

    picture *= (1 - 0.45 * ((rows - 0.5) ** 2 + (columns - 0.5) ** 2))[..., None]
    np.clip(picture, 0, 255, out=picture)
    grain = NOISE * np.sqrt(picture / 128 + 0.05)  # the noise of a sensor grows with the light
    picture += grain * rng.standard_normal(picture.shape, dtype=np.float32)
    photo: NDArray[np.uint8] = np.clip(picture + 0.5, 0, 255).astype(np.uint8)
    return photo
