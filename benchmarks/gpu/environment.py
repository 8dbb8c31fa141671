"""The first step: machine, driver and packages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.gpu.recording_device import gpu_facts
from benchmarks.support.report import PACKAGES
from kseg_batch.bench.environment import environment
from kseg_batch.processes import usable_cores

if TYPE_CHECKING:
    from benchmarks.gpu.step import Work


def versions(work: Work) -> None:
    """Record the machine, the driver and the versions of packages."""
    where = environment(PACKAGES)
    work.findings.add(environment={**where, "cores_usable": usable_cores()})
    gpu = {"name": "emulated"} if work.emulated else gpu_facts()
    work.findings.add(gpu=gpu)
    driver = "" if work.emulated else f", driver {gpu.get('driver')}, CUDA {gpu.get('cuda')}"
    work.findings.summarise(f"{gpu.get('name')}{driver}; {where['cpu']}, {usable_cores()} cores")
