"""One palette for a dataset: the colours of all its images are counted, and their sum is clustered.

What is counted is exact in any order, so the palette depends on the images and the options alone.
"""

from __future__ import annotations

import os
import shlex
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from kseg_batch.backends.registry import GPU_BACKENDS, load
from kseg_batch.batch.checkpoint import Checkpoint
from kseg_batch.batch.dataset_histogram import DatasetHistogram
from kseg_batch.batch.storage.lock import exclusive
from kseg_batch.errors import BackendError, OptionError, OutputError, count
from kseg_batch.kmeans.palette_files import read_json_palette, write_palette
from kseg_batch.kmeans.reference import ALGORITHM
from kseg_batch.segmentation.select_k import as_pairs, select_k

if TYPE_CHECKING:
    from pathlib import Path

    from kseg_batch.backends.base import Backend
    from kseg_batch.batch.storage.scan import Scan
    from kseg_batch.batch.summary import FitListener, FitSummary
    from kseg_batch.batch.workers.count_colors import CountPool, CountSettings
    from kseg_batch.kmeans.histogram import ColorHistogram
    from kseg_batch.kmeans.options import FitOptions, KRange
    from kseg_batch.kmeans.palette import Palette
    from kseg_batch.segmentation.select_k import SelectedPalette


@dataclass(frozen=True, slots=True)
class FitSettings:
    """A palette to make."""

    out: Path
    """Its file."""
    options: FitOptions
    """How to cluster."""
    counting: CountSettings
    """What is counted of every image."""
    names: tuple[str, ...]
    """Of the clusters; empty if they have none."""
    k_range: KRange | None = None
    """Where the number of clusters is looked for; None if `options` say it."""


def fit(
    found: Scan, settings: FitSettings, pool: CountPool, counter: str, backend: Backend, listener: FitListener
) -> tuple[FitSummary, Palette | None]:
    """Make one palette for all images, and write it.

    If it ends early, for whatever reason, a checkpoint stays, and the next fit goes on from it.

    Args:
        found: The images.
        settings: What is to be made.
        pool: Workers, which count.
        counter: Name of the backend that they count with.
        backend: What clusters.
        listener: Told of every image.

    Returns:
        The totals; and the palette, if there is one.

    Raises:
        OutputError: The palette cannot be written, or another process is about to.
        BackendError: The clustering failed.
    """
    start = time.perf_counter()
    with exclusive(settings.out):
        _refuse_to_replace(settings.out, settings.names)
        checkpoint = Checkpoint(settings.out, asdict(settings.counting))
        dataset = DatasetHistogram(settings.counting, pool, counter, checkpoint, listener)
        dataset.resume(found)
        palette, complete = None, False
        try:
            dataset.run(found)
            summary = dataset.summary
            total = dataset.total.sum()
            summary.pixels, summary.colors = total.n_pixels, total.n_colors
            if summary.signal is None and summary.images:
                selected = _cluster(total, settings, backend, counter, listener)
                palette = replace(selected.palette, names=settings.names)
                write_palette(settings.out, palette, fitted=_fitted(settings, summary, selected))
            complete = summary.signal is None
        finally:
            if complete:
                checkpoint.remove()
            else:
                dataset.save()
    summary.seconds = time.perf_counter() - start
    return summary, palette


def _refuse_to_replace(out: Path, names: tuple[str, ...]) -> None:
    """Raise an OutputError if the file is there and is no palette, or one with names that would be lost."""
    if not os.path.lexists(out):
        return
    try:
        former = read_json_palette(out)
    except OptionError as error:
        raise OutputError(f"{out} is there, and no fit wrote it: choose another -o.") from error
    if former.names and not names:
        given = shlex.quote(",".join(former.names))
        raise OutputError(f"{out} has names, which would be lost: give them by --names {given}.")


def _cluster(
    total: ColorHistogram, settings: FitSettings, backend: Backend, on_cpu: str, listener: FitListener
) -> SelectedPalette:
    """The palette of all colours; on the CPU where the GPU fails."""
    try:
        return select_k(backend, total, settings.options, settings.k_range)
    except BackendError as error:
        if backend.name not in GPU_BACKENDS:
            raise
        listener.message(f"clustered on the CPU: {backend.name}: {error}")
        return select_k(load(on_cpu), total, settings.options, settings.k_range)
    except MemoryError as error:
        pixels = count(total.n_pixels, "pixel")
        raise BackendError(f"There is not enough memory for {backend.name} and {pixels}.") from error


def _fitted(settings: FitSettings, summary: FitSummary, selected: SelectedPalette) -> dict[str, object]:
    """What the palette's file tells of how it came about: the same for the same images and options."""
    fitted: dict[str, object] = {
        "images": summary.images,
        "failed": summary.failed,
        "pixels": summary.pixels,
        "colors": summary.colors,
        "algorithm": ALGORITHM,
        **asdict(settings.options),
        "alpha": settings.counting.alpha,
        "max_pixels": settings.counting.max_pixels,
    }
    if selected.curve is not None:
        fitted |= {"k": len(selected.palette.counts), "k_curve": as_pairs(selected.curve)}
    return fitted
