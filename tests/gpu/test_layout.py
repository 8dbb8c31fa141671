"""The layout of a batch in the memory of the device."""

from __future__ import annotations

from pathlib import Path

from kseg_batch.backends.gpu.layout import BY_LUMA, IMAGE, TABLE_BYTES, Layout, Request, Tuning
from kseg_batch.kmeans.options import FitOptions


def test_results_are_at_most_a_byte_a_pixel() -> None:
    for k in range(1, 257):
        request = Request(480, 640, FitOptions(k=k), masks=True)
        filter_types = 480 * (1 + k)
        assert request.output_bytes <= 480 * 640 + filter_types


def test_tables_are_for_so_many_images_as_are_counted_together(cache: Path) -> None:
    """Tables are most of the memory of a small image."""
    requests = [Request(30, 40, FitOptions(k=3), masks=True)] * 64
    few, all_of_them = (Layout.of(requests, Tuning(counted_together=n)) for n in (8, 64))
    assert few.arrays()["table"] == (8 << 24, "u4")
    assert all_of_them.n_bytes - few.n_bytes == 56 * TABLE_BYTES


def test_the_layout_has_every_column() -> None:
    layout = Layout.of([Request(3, 5, FitOptions(k=4, seed=9, eps=1.0, max_iter=17, attempts=3), True)] * 2)
    records = [dict(zip(IMAGE, row, strict=True)) for row in layout.images.tolist()]
    rows = 3 * (1 + 2)
    masks = 4 * 3 * (1 + 1)
    assert records[0] == {
        "pixels": 0,
        "height": 3,
        "width": 5,
        "clusters": 4,
        "attempts": 3,
        "seed": 9,
        "max_iter": 17,
        "max_shift": 4096,
        "order": BY_LUMA,
        "weight_shift": 0,
        "colors": 0,
        "bits": 0,
        "rows": 0,
        "masks": rows,
    }
    assert (records[1]["pixels"], records[1]["colors"]) == (16, 16)
    assert (records[1]["rows"], records[1]["masks"]) == (rows + masks, 2 * rows + masks)
