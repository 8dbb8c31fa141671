"""Colour spaces to cluster in: conversion of 8-bit RGB images, and of centres back to RGB.

The way back is for centres whose pixels are not known, such as that of an empty cluster. The colours of other
clusters are the means of their pixels: see `mean_colors.py`.

    rgb      the channels of the file
    lab      CIE L*a*b* (1976) of sRGB, D65, in OpenCV's 8 bits: 255/100 L*, a* + 128, b* + 128
    oklab    Oklab (Ottosson, "A perceptual color space for image processing", 2020), with distances close
             to perceived differences: 240 L, 480 a + 120, 480 b + 155

All three have one byte per channel, so that the histogram, the arithmetic and the kernels are the same for
all. Pixels are converted in integers, so that the result is the same on every machine.

In OpenCV's 8 bits, L* has 2.55 times the weight of a* and b*. In Oklab, a and b have twice the weight of L:
Ottosson found that weights of 2.02 and 2.05 fit two data sets of colour differences best
(github.com/w3c/csswg-drafts/issues/6642). HSV is not offered, because hue is an angle and has no mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from kseg_batch.kmeans.flat_pixels import flat_pixels
from kseg_batch.optional import explain_numba, find_cv2

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

ColorSpace = Literal["rgb", "lab", "oklab"]

COLOR_SPACES: tuple[ColorSpace, ...] = get_args(ColorSpace)

FROM_XYZ = np.array(  # D65 to linear sRGB (IEC 61966-2-1)
    [
        [3.2404542, -1.5371385, -0.4985314],
        [-0.9692660, 1.8760108, 0.0415560],
        [0.0556434, -0.2040259, 1.0572252],
    ]
)
SRGB_TO_XYZ = np.array(  # linear sRGB to D65, with OpenCV's values
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)
WHITE = np.array([0.950456, 1.0, 1.088754])
"""X, Y and Z of the D65 white point, with OpenCV's values."""

TO_LMS = np.array(  # Oklab: linear sRGB to cone responses
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_OKLAB = np.array(  # Oklab: cube roots of cone responses to L, a, b
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
OKLAB_SCALE = np.array([240, 480, 480])
"""Integer steps per unit of L, a and b. Over sRGB, a and b span 0.51."""
OKLAB_GREY = np.array([0, 120, 155])
"""Integer values for L, a and b of 0, so that all sRGB colours lie within 0 .. 255."""
UNIT = (1 << 16) - 1
"""The integer that stands for 1.0 in the tables of `kernels/color_spaces.py`."""

PIXELS_AT_A_TIME = 1 << 18
"""Pixels that `lab_reference` converts at a time, so that its arrays stay small."""


@dataclass(frozen=True, slots=True, eq=False)
class OklabTables:
    """Lookup tables and matrices of the Oklab kernel, which `kernels/color_spaces.py` describes."""

    linear: NDArray[np.int32]
    roots: NDArray[np.int32]
    to_lms: NDArray[np.int64]
    to_oklab: NDArray[np.int64]
    offsets: NDArray[np.int64]


@cache
def oklab_tables() -> OklabTables:
    """Compute the tables in float64. No entry is so close to a half that machines could round differently."""
    to_lms = np.rint(TO_LMS * (1 << 16)).astype(np.int64)
    to_lms[:, 1] += (1 << 16) - to_lms.sum(axis=1)  # rows sum to 1.0, so that white stays white
    return OklabTables(
        linear=np.rint(UNIT * srgb_to_linear(np.arange(256) / 255)).astype(np.int32),
        roots=np.rint(UNIT * np.cbrt(np.arange(UNIT + 1) / UNIT)).astype(np.int32),
        to_lms=to_lms,
        to_oklab=np.rint(TO_OKLAB * OKLAB_SCALE[:, None] * ((1 << 24) / UNIT)).astype(np.int64),
        offsets=(OKLAB_GREY.astype(np.int64) << 24) + (1 << 23),  # plus one half, for rounding
    )


def convert(image: NDArray[np.uint8], color_space: ColorSpace) -> NDArray[np.uint8]:
    """Convert an (H, W, 3) uint8 RGB image to a colour space.

    Returns:
        (H, W, 3) uint8; for "rgb", the image itself.

    Raises:
        BackendUnavailableError: Numba cannot be imported, which "oklab" needs.
    """
    if color_space == "rgb":
        return image
    image = np.ascontiguousarray(image)
    if color_space == "lab":
        cv2 = find_cv2()
        return lab_reference(image) if cv2 is None else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2LAB))
    with explain_numba():
        from kseg_batch.kernels.color_spaces import to_oklab
    tables = oklab_tables()
    oklab = np.empty_like(image)
    arrays = tables.linear, tables.roots, tables.to_lms, tables.to_oklab, tables.offsets
    to_oklab(flat_pixels(image), *arrays, oklab.reshape(-1))
    return oklab


def oklab_reference(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert (..., 3) uint8 RGB to 8-bit Oklab in NumPy: the reference for the kernel."""
    tables = oklab_tables()
    lms = (tables.linear[image].astype(np.int64) @ tables.to_lms.T) >> 16
    oklab = (tables.roots[lms].astype(np.int64) @ tables.to_oklab.T + tables.offsets) >> 24
    result: NDArray[np.uint8] = oklab.astype(np.uint8)
    return result


@cache
def lab_tables() -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Return OpenCV's tables for 8-bit CIE Lab.

    Returns:
        (256,) linear light of each channel value, 2040 for white; (3072,) roots of light, 1 << 15 for white;
        (3, 3) weights of R, G and B in X, Y and Z, of which each sums to 1 << 12.
    """
    linear = np.rint(2040 * srgb_to_linear(np.arange(256) / 255)).astype(np.int32)
    light = np.arange(3072) / 2040
    roots = np.where(light > (6 / 29) ** 3, np.cbrt(light), light / (3 * (6 / 29) ** 2) + 4 / 29)
    roots = np.rint((1 << 15) * roots).astype(np.int32)
    roots[[49, 628]] = 9454, 22126  # close to a half, which OpenCV rounds in float32
    return linear, roots, np.rint((1 << 12) * SRGB_TO_XYZ / WHITE[:, None]).astype(np.int32)


def lab_reference(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert (..., 3) uint8 RGB to 8-bit CIE Lab in NumPy, to the same numbers as OpenCV.

    A photo of 1920 x 1080 takes 45 ms, and 5 ms with OpenCV.
    """
    linear, roots, weights = lab_tables()
    half = 1 << 14
    lab = np.empty_like(image)
    pixels, converted = image.reshape(-1, 3), lab.reshape(-1, 3)
    for start in range(0, len(pixels), PIXELS_AT_A_TIME):
        part = slice(start, start + PIXELS_AT_A_TIME)
        red, green, blue = linear[pixels[part]].T
        x, y, z = (roots[(red * r + green * g + blue * b + (1 << 11)) >> 12] for r, g, b in weights)
        converted[part, 0] = (296 * y - (16 * 255 << 15) // 100 + half) >> 15  # 296: 116 * 255 / 100
        converted[part, 1] = (500 * (x - y) + (128 << 15) + half) >> 15
        converted[part, 2] = (200 * (y - z) + (128 << 15) + half) >> 15
    return lab


def to_rgb(centers: NDArray[np.float64], color_space: ColorSpace) -> NDArray[np.float64]:
    """Convert (k, 3) centres in a colour space to RGB, 0 .. 255. Linear RGB outside sRGB is clipped."""
    if color_space == "rgb":
        return centers
    if color_space == "lab":
        lightness, a, b = (centers - np.array([0, 128, 128])).T
        y = (lightness * (100 / 255) + 16) / 116
        roots = np.stack([y + a / 500, y, y - b / 200])
        linear = FROM_XYZ @ (lab_root_to_light(roots) * WHITE[:, None])
    else:
        oklab = ((centers - OKLAB_GREY) / OKLAB_SCALE).T
        linear = np.linalg.inv(TO_LMS) @ (np.linalg.inv(TO_OKLAB) @ oklab) ** 3
    rgb: NDArray[np.float64] = 255 * np.ascontiguousarray(linear_to_srgb(np.clip(linear, 0.0, 1.0)).T)
    return rgb


def to_lab(rgb: ArrayLike) -> NDArray[np.float64]:
    """Convert (..., 3) RGB colours, 0 .. 255, to CIE L*a*b*, unrounded, with L* from 0 to 100."""
    to_xyz = np.linalg.inv(FROM_XYZ)
    xyz = srgb_to_linear(np.asarray(rgb, np.float64) / 255) @ to_xyz.T / to_xyz.sum(axis=1)  # 1 for white
    roots = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(roots, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def lab_root_to_light(root: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert a root of CIE L*a*b*, which is (L* + 16) / 116 for luminance, to light, 1 for white."""
    return np.where(root > 6 / 29, root**3, 3 * (6 / 29) ** 2 * (root - 4 / 29))


def srgb_to_linear(srgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert sRGB channels, 0 .. 1, to linear light, 0 .. 1 (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert linear light to sRGB channels: the inverse of `srgb_to_linear`."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
