"""The steps that run NVIDIA's tools on the kernels: Nsight Compute, and the memory checker."""

from __future__ import annotations

import csv
import io
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.gpu.findings import SkippedError, StepError
from kseg_batch.backends.gpu.backend import GpuBackend
from kseg_batch.backends.gpu.batch import BatchItem
from kseg_batch.kmeans.options import FitOptions

if TYPE_CHECKING:
    from benchmarks.gpu.step import Work

TOOLS = ":".join(
    [
        os.environ.get("PATH", ""),
        "/usr/local/cuda/bin",
        *map(str, Path("/opt/nvidia/nsight-compute").glob("*")),
    ]
)
"""Folders of programs, with the folders of NVIDIA's tools."""
KERNELS = "count_pixels|drain_table|improve_centers|converge_centers|label_pixels"
METRICS = {
    "gpu__time_duration.sum": "time",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": "compute throughput",
    "gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed": "memory throughput",
    "dram__bytes.sum": "DRAM bytes",
    "lts__t_sector_hit_rate.pct": "L2 hit rate",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "warps active",
    "launch__registers_per_thread": "registers",
}
"""Metrics of Nsight Compute, and their names in the results."""

IMAGES = 8
"""Images of the profiled batch: each kernel is run once for every few metrics."""

MEMORY_ERROR = 9
"""Exit status of the memory checker where it found an error."""


def batch(work: Work) -> None:
    """Segment one batch, which the profiler watches."""
    opened = work.open()
    gpu = GpuBackend(opened.name, opened.device)
    images = work.photos.batch(work.scale.size, IMAGES, gpu)
    tasks = [BatchItem(image, FitOptions(k=16), masks=False) for image in images]
    if len(list(gpu.segment_batches([tasks]))) != len(tasks):
        raise StepError("a result is missing")


def profile(work: Work) -> None:
    """Profile the kernels that take most of the time by Nsight Compute.

    Raises:
        SkippedError: There is no Nsight Compute, or no access to the counters.
    """
    tool = shutil.which("ncu", path=TOOLS)
    if tool is None:
        raise SkippedError("Nsight Compute (ncu) is not installed")
    command = [tool, "--csv", "--clock-control", "none", "--metrics", ",".join(METRICS)]
    _, text = work.run_tool([*command, "-k", f"regex:{KERNELS}", *work.command_of("batch")])
    rows = _rows(text)
    if not rows:
        raise SkippedError(f"Nsight Compute gives no figures: {' '.join(text.split())[-200:]}")
    work.findings.add(kernels=rows)
    work.findings.summarise(f"{len(rows)} launches of {len({row['kernel'] for row in rows})} kernels")


def memcheck(work: Work) -> None:
    """Run one small batch of each kind under the memory checker.

    Raises:
        SkippedError: There is no memory checker, or none for this device.
        StepError: The memory checker finds an error.
    """
    tool = shutil.which("compute-sanitizer", path=TOOLS)
    if tool is None:
        raise SkippedError("compute-sanitizer is not installed")
    command = [tool, "--tool", "memcheck", "--report-api-errors", "no"]
    command += ["--error-exitcode", str(MEMORY_ERROR), *work.command_of("stages")]
    code, text = work.run_tool(command)
    if "Device not supported" in text:
        raise SkippedError("compute-sanitizer does not support this device")
    errors = [line for line in text.splitlines() if "Invalid" in line or "ERROR SUMMARY" in line]
    work.findings.add(errors=errors[:20])
    if code is None:
        raise StepError("compute-sanitizer had not exited at the time limit")
    if code:
        raise StepError(f"compute-sanitizer ends with status {code}: {'; '.join(errors[:2])}")
    work.findings.summarise("compute-sanitizer finds no error")


def _rows(text: str) -> list[dict[str, object]]:
    """Read the table of Nsight Compute, a line for each launch and metric, into an entry for each launch."""
    begin = text.find('"ID"')
    launches: dict[str, dict[str, object]] = {}
    for row in csv.DictReader(io.StringIO(text[begin:])) if begin >= 0 else ():
        if row.get("Metric Name") is None:  # another printed line
            continue
        launch = launches.setdefault(row["ID"], {"kernel": row["Kernel Name"], "grid": row.get("Grid Size")})
        name = METRICS.get(row["Metric Name"])
        if name is not None:
            launch[name] = f"{row['Metric Value']} {row['Metric Unit']}".strip()
    return list(launches.values())
