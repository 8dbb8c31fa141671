"""Conversion to sRGB by a curve for each channel and a matrix, in integer tables.

The tables are computed in float64, and rounded to 2**-16 of white or finer. Pixels are converted in integers
by `kernels/color_profiles.py`, so that equal tables give equal bytes. Maths libraries differ in the last
digit of a power. That moves a number across the half between two integers in one profile of a million, and an
entry of its tables is one step off then.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from kseg_batch.images.profiles.icc import ProfileError
from kseg_batch.kmeans.color_spaces import linear_to_srgb
from kseg_batch.kmeans.flat_pixels import flat_pixels
from kseg_batch.optional import find_kernel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from kseg_batch.images.profiles.icc import Curve

FIELD_BITS = 21
"""Bits of a field in a table; see `kernels/color_profiles.py`."""
STEPS = 1 << 14
"""Steps of linear light from black to white by which the sRGB level is looked up.

Where the sRGB curve is steepest, a step is 0.2 levels."""
MAX_RANGE = 64.0
"""Greatest range of linear light, in multiples of white, that a field holds."""
IDENTITY = 1.5
"""A profile in which all colours move by less is taken as sRGB: one level off after rounding, at most.

The most common profiles of sRGB move saturated greens by 0.5 levels, and others by 1.4, because the digits of
their primaries differ."""


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """The tables of the kernel, for samples of 8 or of 16 bits."""

    shares: tuple[NDArray[np.uint64], ...]
    """Three arrays, (256,) or (65536,): the fields of each sample of a channel."""
    shift: np.uint64
    """Bits of a field below the index into `levels`."""
    levels: NDArray[np.uint8]
    """(n,) sRGB level of each step of linear light."""


class MatrixConversion:
    """A conversion to sRGB by curves and a matrix."""

    def __init__(
        self, curves: Sequence[Curve], matrix: NDArray[np.float64], offset: NDArray[np.float64] | None = None
    ) -> None:
        """Check the curves and the matrix. The tables are made when the first pixels are converted.

        Args:
            curves: A curve for each channel, from device values to linear light.
            matrix: (3, 3), from the linear light of the device to linear sRGB.
            offset: (3,) linear sRGB that is added; None for none.

        Raises:
            ProfileError: The colours are far outside of all that can be seen.
        """
        self._curves, self._matrix = curves, matrix
        self._offset = np.zeros(3) if offset is None else offset
        greatest_range = np.abs(matrix).sum() + np.ptp(self._offset)  # of samples of 8 and of 16 bits
        if not greatest_range < MAX_RANGE:  # nor is it where a number is not finite
            raise ProfileError("describes impossible colours")

    @cached_property
    def is_identity(self) -> bool:
        """Whether the device is sRGB: each colour of a grid, and each grey, moves by less than `IDENTITY`."""
        values = np.arange(0, 256, 17)
        grid = np.stack(np.meshgrid(values, values, values), axis=-1).reshape(-1, 3)
        if (self._matrix == self._matrix[:, :1]).all():  # a grey profile
            grid = grid[:0]
        red, green, blue = np.concatenate([grid, np.repeat(np.arange(256)[:, None], 3, axis=1)]).T
        shares = self._shares(8)
        linear = shares[0][:, red] + shares[1][:, green] + shares[2][:, blue] + self._offset[:, None]
        moved = 255 * linear_to_srgb(np.clip(linear, 0.0, 1.0)) - np.stack([red, green, blue])
        return bool(np.abs(moved).max() < IDENTITY)

    def apply(self, samples: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
        """Convert (H, W, 3) samples of 8 or 16 bits to (H, W, 3) uint8 sRGB, contiguous.

        A writeable, contiguous uint8 array is overwritten, because new memory takes 0.5 ms at 1080p.
        """
        tables = self._tables_8 if samples.dtype == np.uint8 else self._tables_16
        source: NDArray[Any] = np.ascontiguousarray(samples)
        overwrite = source.dtype == np.uint8 and source.flags.writeable
        rgb: NDArray[np.uint8] = source if overwrite else np.empty(source.shape, np.uint8)
        convert = find_kernel("color_profiles", "convert") or convert_reference
        red, green, blue = tables.shares
        convert(flat_pixels(source), red, green, blue, tables.shift, tables.levels, rgb.reshape(-1))
        return rgb

    @cached_property
    def _tables_8(self) -> Tables:
        return self._tables(8)

    @cached_property
    def _tables_16(self) -> Tables:
        return self._tables(16)

    def _shares(self, bits: int) -> NDArray[np.float64]:
        """Return (3, 3, 2**bits): by channel of the device, the linear sRGB channels of each sample."""
        signal = np.linspace(0.0, 1.0, 1 << bits)
        linear = np.stack([np.clip(curve(signal), 0.0, 1.0) for curve in self._curves])
        return self._matrix.T[:, :, None] * linear[:, None, :]

    def _tables(self, bits: int) -> Tables:
        shares = self._shares(bits)
        lowest, highest = shares.min(axis=2), shares.max(axis=2)
        darkest = lowest.sum(axis=0) + self._offset  # (3,), by sRGB channel
        brightest = highest.sum(axis=0) + self._offset
        first = float(darkest.min())
        n_steps = int((brightest.max() - first) * STEPS) + 4  # fields are rounded by two steps at most
        shift = FIELD_BITS - n_steps.bit_length()
        scale = STEPS << shift
        fields = np.rint((shares - lowest[:, :, None]) * scale).astype(np.uint64)
        half = (1 << shift) >> 1  # so that dropping the lowest bits rounds
        fields[0] += (np.rint((darkest - first) * scale) + half).astype(np.uint64)[:, None]
        places = np.array([2 * FIELD_BITS, FIELD_BITS, 0], np.uint64)[:, None]
        linear = np.clip(first + np.arange(n_steps) / STEPS, 0.0, 1.0)
        return Tables(
            shares=tuple((channel << places).sum(axis=0, dtype=np.uint64) for channel in fields),
            shift=np.uint64(shift),
            levels=np.floor(255 * linear_to_srgb(linear) + 0.5).astype(np.uint8),
        )


def convert_reference(
    samples: NDArray[np.uint8] | NDArray[np.uint16],
    red: NDArray[np.uint64],
    green: NDArray[np.uint64],
    blue: NDArray[np.uint64],
    shift: np.uint64,
    levels: NDArray[np.uint8],
    rgb: NDArray[np.uint8],
) -> None:
    """Convert pixels in NumPy: the reference for the kernel in `kernels/color_profiles.py`."""
    fields = red[samples[0::3]] + green[samples[1::3]] + blue[samples[2::3]]
    mask = np.uint64((1 << FIELD_BITS) - 1) >> shift
    for channel, place in enumerate((2 * FIELD_BITS, FIELD_BITS, 0)):
        rgb[channel::3] = levels[(fields >> (shift + np.uint64(place))) & mask]
