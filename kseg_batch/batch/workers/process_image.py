"""The work on one image on the CPU: load it, find its clusters, label its pixels, and write its outputs."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from kseg_batch.batch.workers.jobs import FAILURES, failed_outcome
from kseg_batch.batch.workers.load_image import load_image
from kseg_batch.batch.workers.write_outputs import write_outputs
from kseg_batch.kmeans.color_spaces import convert
from kseg_batch.kmeans.mean_colors import with_mean_colors
from kseg_batch.segmentation.regions import pack_labels
from kseg_batch.segmentation.select_k import SelectedPalette, select_k

if TYPE_CHECKING:
    from kseg_batch.backends.base import Backend
    from kseg_batch.batch.storage.scan import Job
    from kseg_batch.batch.workers.jobs import Outcome, Settings


def process_image(job: Job, settings: Settings, backend: Backend) -> Outcome:
    """Segment one image file and write its outputs. A failure is an outcome, not an exception.

    Args:
        job: The image.
        settings: What to do with the image.
        backend: The backend that clusters.
    """
    start = time.perf_counter()
    try:
        image = load_image(job, settings)
        rgb, opaque = image.photo.pixels, image.photo.opaque
        pixels = convert(rgb, settings.fit.color_space)
        histogram = backend.histogram(pixels)
        if settings.palette is not None:
            selected = SelectedPalette(backend.measure(histogram, settings.palette), None)
        else:
            selected = select_k(backend, histogram, settings.fit, settings.k_range)
        palette = selected.palette
        if opaque is None and not settings.regions:
            labels = backend.label_map(pixels, palette, histogram, masks="masks" in settings.save)
            if settings.takes_means:
                palette = with_mean_colors(palette, rgb, labels.labels)
        else:
            numbers = backend.assign(pixels, palette, histogram)
            if settings.takes_means:
                palette = with_mean_colors(palette, rgb, numbers)
            labels, palette = pack_labels(numbers, palette, settings.regions, opaque)
        return write_outputs(job, settings, image, labels, replace(selected, palette=palette), start)
    except FAILURES as error:
        return failed_outcome(job, error, start)
