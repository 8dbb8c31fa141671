"""A run: one procedure from a list of images to a complete output folder.

plan -> scheduler -> executors -> journal
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from kseg_batch.batch.coco_dataset import Annotations
from kseg_batch.batch.manifest import Journal
from kseg_batch.batch.plan import Planner
from kseg_batch.batch.scheduler import Scheduler
from kseg_batch.batch.storage.outputs import prepare_folders, remove_leftovers
from kseg_batch.batch.summary import RunSummary
from kseg_batch.batch.workers.executors import open_gpus
from kseg_batch.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from kseg_batch.batch.plan import Redo
    from kseg_batch.batch.storage.scan import Job
    from kseg_batch.batch.summary import RunListener
    from kseg_batch.batch.workers.executors import Executors
    from kseg_batch.batch.workers.jobs import Settings


def run(
    jobs: Iterable[Job],
    sources: Sequence[Path],
    settings: Settings,
    executors: Executors,
    listener: RunListener,
    *,
    redo: Redo = "changed",
) -> RunSummary:
    """Segment all images that are not done yet.

    Args:
        jobs: The images. The next image is taken when an executor has room for it.
        sources: The files and folders that the images come from.
        settings: What to do with every image.
        executors: The executors that process the images.
        listener: The listener that is told of every image, when the journal has its line.
        redo: Which images are processed again.

    Returns:
        The totals.

    Raises:
        BackendUnavailableError: A required GPU cannot be opened. Nothing was written.
        OutputError: The output folder or its journal cannot be written.
        SourceError: The outputs of an image would replace those of another image.
    """
    start = time.perf_counter()
    with ExitStack() as cleanup:
        gpus = cleanup.enter_context(open_gpus(settings, executors))
        annotations = Annotations(settings.out, wanted="coco" in settings.save)
        prepare_folders(settings.out, settings.save, sources)
        journal = cleanup.enter_context(Journal(settings.out))
        summary = RunSummary(swept=remove_leftovers(settings.out))
        steps = Planner(journal, settings, exact=executors.exact, redo=redo).steps(jobs)
        scheduler = Scheduler(settings, executors, gpus, journal, summary, listener)
        cleanup.enter_context(scheduler).run(annotations.invalidate(steps))
        try:
            for message in annotations.write(journal):
                listener.message(message)
        except OutputError as error:
            summary.stopped = summary.stopped or str(error)
        summary.seconds = time.perf_counter() - start
    return summary
