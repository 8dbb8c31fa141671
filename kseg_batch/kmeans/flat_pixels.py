"""Pixels as the compiled kernels expect them: flat, contiguous and read-only.

Numba compiles a kernel once for arrays that may be written, and once more for arrays that may not. Decoded
images are of both kinds. As kernels get all of them read-only, one compiled form serves all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)


def flat_pixels(samples: NDArray[T]) -> NDArray[T]:
    """Return the elements of an array of any shape and layout as a flat (n,) array that cannot be written."""
    flat = np.ascontiguousarray(samples).reshape(-1).view()
    flat.flags.writeable = False
    return flat
