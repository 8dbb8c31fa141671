"""One palette for a dataset: the colours of all its images are counted, and their sum is clustered.

The sum is exact in any order of the images, so the palette depends on the images and the options alone.
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
from kseg_batch.segmentation.fit_histogram import fit_histogram
from kseg_batch.segmentation.select_k import as_pairs

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
    """The settings of a fit."""

    out: Path
    """The file of the palette."""
    options: FitOptions
    """How to cluster."""
    count_settings: CountSettings
    """How to count the colours of an image."""
    names: tuple[str, ...]
    """Names of the clusters; empty if they have none."""
    k_range: KRange | None = None
    """The numbers of clusters to choose from; None where `options.k` is the number."""


def fit(
    scan: Scan,
    settings: FitSettings,
    pool: CountPool,
    cpu_backend: str,
    backend: Backend,
    listener: FitListener,
) -> tuple[FitSummary, Palette | None]:
    """Fit one palette to all images, and write its file.

    If the fit ends early, for whatever reason, a checkpoint stays, and the next fit continues from it.

    Args:
        scan: The images.
        settings: The settings of the fit.
        pool: The workers that count colours.
        cpu_backend: Name of the backend that the workers use, and that clusters if `backend` fails.
        backend: The backend that clusters.
        listener: The listener that is told of every image.

    Returns:
        The totals; and the palette, or None if no image was counted or the fit was interrupted.

    Raises:
        OutputError: The palette cannot be written, or another process is about to write it.
        BackendError: The clustering failed.
    """
    start = time.perf_counter()
    with exclusive(settings.out):
        _refuse_to_replace(settings.out, settings.names)
        checkpoint = Checkpoint(settings.out, asdict(settings.count_settings))
        dataset = DatasetHistogram(settings.count_settings, pool, cpu_backend, checkpoint, listener)
        dataset.resume(scan)
        palette, complete = None, False
        try:
            dataset.run(scan)
            summary = dataset.summary
            total = dataset.total.sum()
            summary.pixels, summary.colors = total.n_pixels, total.n_colors
            if summary.signal is None and summary.images:
                selected = _cluster(total, settings, backend, cpu_backend, listener)
                palette = replace(selected.palette, names=settings.names)
                write_palette(settings.out, palette, fitted=_describe_fit(settings, summary, selected))
            complete = summary.signal is None
        finally:
            if complete:
                checkpoint.remove()
            else:
                dataset.save()
    summary.seconds = time.perf_counter() - start
    return summary, palette


def _refuse_to_replace(out: Path, names: tuple[str, ...]) -> None:
    """Raise an OutputError if the file exists and is no fitted palette, or has names that would be lost.

    Args:
        out: The file of the palette.
        names: The names of the new palette's clusters.
    """
    if not os.path.lexists(out):
        return
    try:
        former = read_json_palette(out)
    except OptionError as error:
        raise OutputError(f"{out} exists, and no fit wrote it: choose another -o.") from error
    if former.names and not names:
        former_names = shlex.quote(",".join(former.names))
        raise OutputError(f"{out} has names, which would be lost: repeat them with --names {former_names}.")


def _cluster(
    total: ColorHistogram, settings: FitSettings, backend: Backend, cpu_backend: str, listener: FitListener
) -> SelectedPalette:
    """Return the palette of all colours, clustered on the CPU if the GPU fails."""
    try:
        return fit_histogram(backend, total, settings.options, settings.k_range)
    except BackendError as error:
        if backend.name not in GPU_BACKENDS:
            raise
        listener.message(f"clustered on the CPU: {backend.name}: {error}")
        return fit_histogram(load(cpu_backend), total, settings.options, settings.k_range)
    except MemoryError as error:
        pixels = count(total.n_pixels, "pixel")
        raise BackendError(f"There is not enough memory for {backend.name} and {pixels}.") from error


def _describe_fit(settings: FitSettings, summary: FitSummary, selected: SelectedPalette) -> dict[str, object]:
    """Return the field `fitted` of the palette's file, which is equal for equal images and options."""
    fitted: dict[str, object] = {
        "images": summary.images,
        "failed": summary.failed,
        "pixels": summary.pixels,
        "colors": summary.colors,
        "algorithm": ALGORITHM,
        **asdict(settings.options),
        "alpha": settings.count_settings.alpha,
        "profile": settings.count_settings.profile,
        "max_pixels": settings.count_settings.max_pixels,
    }
    if selected.curve is not None:
        fitted |= {"k": len(selected.palette.counts), "k_curve": as_pairs(selected.curve)}
    return fitted
