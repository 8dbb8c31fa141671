"""The same jobs on the CPU, on a GPU, and in a GPU's process; and their outcomes to compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kseg_batch.backends.registry import load
from kseg_batch.batch.storage.outputs import KINDS, Save, prepare_folders
from kseg_batch.batch.storage.scan import Scan
from kseg_batch.batch.workers.gpu_pipeline import process_on_gpu
from kseg_batch.batch.workers.gpu_process import GpuProcess
from kseg_batch.batch.workers.jobs import Lost, Outcome, Settings
from kseg_batch.batch.workers.process_image import process_image
from kseg_batch.kmeans.options import FitOptions, RegionOptions
from kseg_batch.segmentation.cluster_selection import ClusterSelection

if TYPE_CHECKING:
    from pathlib import Path
    from queue import SimpleQueue

    from kseg_batch.backends.gpu.backend import GpuBackend

ALL_KINDS: frozenset[Save] = frozenset(KINDS)

FILTER = ClusterSelection.parse(disable=[1, "saddlebrown"], tolerance=20, k=3)
"""A number and a colour, which most of the photos have and some do not."""

AS_THEY_ARE = RegionOptions()


def settings_for(
    out: Path, k: int = 3, save: frozenset[Save] = ALL_KINDS, regions: RegionOptions = AS_THEY_ARE
) -> Settings:
    """Prepare an output folder, and return the settings of a run into the folder."""
    prepare_folders(out, save, [])
    return Settings(out, FitOptions(k=k, attempts=2), save, selection=FILTER, regions=regions)


def on_cpu(source: Path, out: Path, k: int = 3, regions: RegionOptions = AS_THEY_ARE) -> list[Outcome]:
    """Process a folder by the numba backend."""
    settings = settings_for(out, k, regions=regions)
    return [process_image(job, settings, load("numba")) for job in Scan([source]).jobs()]


def on_gpu(
    source: Path,
    out: Path,
    gpu: GpuBackend,
    k: int = 3,
    save: frozenset[Save] = ALL_KINDS,
    regions: RegionOptions = AS_THEY_ARE,
) -> tuple[list[Outcome], list[Lost]]:
    """Process a folder by a GPU backend."""
    outcomes, lost = [], []
    for result in process_on_gpu(Scan([source]).jobs(), settings_for(out, k, save, regions), gpu):
        if isinstance(result, Lost):
            lost.append(result)
        else:
            outcomes.append(result)
    return outcomes, lost


def start_gpu_process(
    out: Path, gpu: Any, done: SimpleQueue[Any], timeout: float | None = None
) -> GpuProcess:
    """Start the process of a GPU, which `gpu` opens there, and whose results come by `done`."""
    return GpuProcess(gpu, settings_for(out), done, name="GPU 5", timeout=timeout, threads=2)


class RecordingListener:
    """The listener of a run or a fit, which records outcomes, lines and messages."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.lines: list[dict[str, Any]] = []
        self.messages: list[str] = []

    def skipped(self, _: Any) -> None:
        """Record nothing: the summary has the number."""

    def resumed(self, _: int) -> None:
        """Record nothing: the summary has the number."""

    def finished(self, outcome: Outcome, line: dict[str, Any]) -> None:
        """Record an image."""
        self.outcomes.append(outcome)
        self.lines.append(line)

    def message(self, text: str) -> None:
        """Record a message."""
        self.messages.append(text)


def comparable(outcomes: list[Outcome]) -> dict[str, Any]:
    """The outcome of each image, without the values that depend on the machine."""
    return {
        o.job.name: (
            *(o.error, o.size, o.version, o.outputs, o.disabled, o.notes),
            o.palette and (o.palette.centers.tolist(), o.palette.counts.tolist()),
        )
        for o in outcomes
    }
