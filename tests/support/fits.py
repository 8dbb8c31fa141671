"""A fit in this process, and what a fit leaves behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kseg_batch.backends.base import Backend
from kseg_batch.backends.registry import load
from kseg_batch.batch.fit import FitSettings, fit
from kseg_batch.batch.storage.scan import Scan
from kseg_batch.batch.summary import FitSummary
from kseg_batch.batch.workers.count_colors import CountPool, CountSettings
from kseg_batch.images.decode import decode
from kseg_batch.kmeans.color_spaces import ColorSpace
from kseg_batch.kmeans.options import FitOptions
from tests.support.executors import RecordingListener

if TYPE_CHECKING:
    from pathlib import Path


NUMBA = load("numba")


def fit_by(
    pool: CountPool,
    out: Path,
    sources: list[Path],
    k: int = 3,
    names: tuple[str, ...] = (),
    backend: Backend = NUMBA,
    color_space: ColorSpace = "rgb",
    **how: Any,
) -> tuple[FitSummary, list[str]]:
    """Write a palette as the command does; return the totals, and the messages."""
    counting = CountSettings(**{"alpha": "keep", "profile": "convert", "max_pixels": 200_000_000, **how})
    options = FitOptions(k=k, color_space=color_space)
    listener = RecordingListener()
    found = Scan(sources, outputs=False)
    summary, _ = fit(found, FitSettings(out, options, counting, names), pool, "numba", backend, listener)
    assert len(listener.lines) == summary.counted + summary.failed == found.total - summary.resumed
    return summary, listener.messages


def pixels_below(folder: Path) -> np.ndarray:
    """(1, N, 3) all opaque pixels of all images of a folder."""
    images = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".txt"]
    found = [decode(path.read_bytes()).pixels.reshape(-1, 3) for path in images]
    return np.concatenate(found)[None]


def files_beside(folder: Path) -> list[str]:
    """The names of the files in a folder, locks left out: the palette, and the rest beside the source."""
    return sorted(p.name for p in folder.iterdir() if p.is_file() and not p.name.endswith(".kseg-lock"))
