"""Generated photos have any size, and as many colours as real photos."""

from __future__ import annotations

import numpy as np
import pytest

from kseg_batch.bench.exact_cost import DistinctColors
from kseg_batch.bench.synthetic import photograph


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 40), (37, 1), (301, 203)])
def test_generated_photographs_of_any_size(width: int, height: int) -> None:
    rgb = photograph(width, height, 5)
    assert rgb.shape == (height, width, 3)
    assert rgb.dtype == np.uint8
    assert np.array_equal(rgb, photograph(width, height, 5))


def test_generated_photographs_have_as_many_colors_as_real_ones() -> None:
    colors = [len(DistinctColors.of(photograph(1920, 1080, seed)).colors) for seed in (0, 1)]
    assert all(50_000 < n < 300_000 for n in colors)
    assert colors[0] != colors[1]
