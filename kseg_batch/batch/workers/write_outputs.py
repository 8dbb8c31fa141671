"""Writing the outputs of an image: encode them from its labels, and write all of them or none."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kseg_batch.batch.storage.outputs import dataset_name, mask_name, picture_name, write_all
from kseg_batch.batch.workers.jobs import Outcome
from kseg_batch.images import coco, png
from kseg_batch.images.label_map import LabelMap, black_out
from kseg_batch.segmentation.select_k import note_on_fewer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kseg_batch.batch.storage.scan import Job
    from kseg_batch.batch.workers.jobs import Settings
    from kseg_batch.batch.workers.load_image import LoadedImage
    from kseg_batch.images.decode import Photo
    from kseg_batch.kmeans.palette import Palette
    from kseg_batch.segmentation.select_k import SelectedPalette

UPRIGHT_COCO = "its COCO sizes and masks are those of the upright photo, and not of the pixels as stored"
"""Note on a photo that EXIF turned: a program that does not turn it would misplace the masks."""


def write_outputs(
    job: Job,
    settings: Settings,
    image: LoadedImage,
    labels: LabelMap,
    selected: SelectedPalette,
    start: float,
) -> Outcome:
    """Write all outputs of an image, or none.

    Args:
        job: The image.
        settings: The kinds of output to write.
        image: The decoded image. Its pixels are needed for the `masked` output only.
        labels: The packed labels.
        selected: The palette of the labels, and the curve that its number of clusters was chosen from.
        start: The time at which the image was begun, by time.perf_counter().

    Raises:
        OutputError: A file cannot be written.
    """
    palette = selected.palette
    resolved = settings.selection.resolve(palette)
    files = _encode(job, settings, image.photo, labels, palette, resolved.disabled)
    outputs = write_all(settings.out, job, files)
    fewer = note_on_fewer(palette, settings.cluster_numbers[0])
    upright = [UPRIGHT_COCO] if image.photo.turned and "coco" in settings.save else []
    notes = (*image.photo.notes, *upright, *([fewer] if fewer else []), *resolved.notes)
    return Outcome(
        job=job,
        seconds=time.perf_counter() - start,
        palette=palette,
        k_curve=selected.curve,
        size=(labels.width, labels.height),
        version=image.version,
        disabled=resolved.disabled,
        outputs=outputs,
        notes=notes,
        converted=image.photo.converted,
    )


def _encode(
    job: Job,
    settings: Settings,
    photo: Photo,
    labels: LabelMap,
    palette: Palette,
    disabled: tuple[int, ...],
) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of each output."""
    k = len(palette.counts)
    if "segmented" in settings.save:
        yield picture_name(job, "segmented"), png.encode_indexed(labels, palette.colors)
    if "masks" in settings.save:
        for cluster in range(k):
            yield mask_name(job, cluster, palette.names), png.encode_mask(labels, cluster)
    if "labels" in settings.save:
        yield picture_name(job, "labels"), png.encode_gray(labels.gray)
    if "masked" in settings.save:
        picture = black_out(photo.rgb, labels.labels, disabled)
        yield picture_name(job, "masked"), png.encode_rgb(picture, photo.opaque)
    if "kept" in settings.save:
        yield picture_name(job, "kept"), png.encode_union(labels, set(range(k)) - set(disabled))
    if "coco" in settings.save:
        yield dataset_name(job), coco.encode(job.path_below_source, labels, palette)
