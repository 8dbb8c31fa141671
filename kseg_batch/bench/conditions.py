"""The conditions of a benchmark: the machine with its GPUs, and the versions of the compared packages."""

from __future__ import annotations

from kseg_batch.backends.gpu.driver import read_driver
from kseg_batch.bench.environment import Environment, environment
from kseg_batch.bench.libraries import LIBRARIES
from kseg_batch.processes import usable_cores

PACKAGES = (
    "kseg-batch",
    "numpy",
    "numba",
    "opencv-python",
    "opencv-python-headless",
    "cupy-cuda12x",
    "cupy-cuda13x",
    "numba-cuda",
    *dict.fromkeys(library.requirement.distribution for library in LIBRARIES if library.requirement),
    "threadpoolctl",
)
"""Distributions whose versions are reported if they are installed."""


class Conditions(Environment):
    """The environment, with the parts that matter to backends and libraries."""

    usable_cores: int
    """Number of CPU cores that this process may use."""
    gpus: list[str]
    """Names of the NVIDIA GPUs."""


def read_conditions() -> Conditions:
    """Return the machine, its GPUs, the versions of the installed packages, and the commit."""
    facts = environment(PACKAGES)
    installed: dict[str, str | None] = {
        name: version for name, version in facts["packages"].items() if version
    }
    gpus = [str(device.name) for device in read_driver().devices]
    return {**facts, "packages": installed, "usable_cores": usable_cores(), "gpus": gpus}
