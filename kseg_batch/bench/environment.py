"""The environment of a measurement: the machine, the software, the commit."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypedDict


class Environment(TypedDict):
    """The machine and the software, as JSON files have them."""

    machine: str
    """Architecture, such as x86_64."""
    cpu: str
    """Name of the processor."""
    cores: int | None
    """Number of CPU cores; None if unknown."""
    os: str
    """Name and version of the operating system."""
    python: str
    """Implementation and version of Python."""
    packages: dict[str, str | None]
    """Versions of distributions; None for those that are not installed."""
    git_commit: str | None
    """See `git_commit`."""


@cache
def environment(packages: tuple[str, ...]) -> Environment:
    """Return the machine, its processor, the system, Python, the packages' versions and the commit.

    The environment is read at the first call only: the checkout may change during a long run.

    Args:
        packages: Distributions whose versions are wanted.
    """
    return {
        "machine": platform.machine(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "os": platform.platform(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: package_version(name) for name in packages},
        "git_commit": git_commit(),
    }


def cpu_model() -> str:
    """Return the processor's name as the system reports it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or "unknown"


def package_version(name: str) -> str | None:
    """Return the installed version of a distribution; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def git_commit() -> str | None:
    """Return the commit of this checkout, with `-dirty` if tracked files differ from it.

    None outside of a git repository, and where the package is installed inside another project's checkout.
    """
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        commit = _git("rev-parse", "HEAD")
        changes = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}-dirty" if changes else commit


def _git(*arguments: str) -> str:
    """Return the output of a git command, run without locks, so that git writes nothing."""
    done = subprocess.run(
        ["git", "--no-optional-locks", *arguments],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()
