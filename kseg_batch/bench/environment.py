"""What a figure was measured with: the machine, the software, the commit."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("kseg-batch", "numpy", "opencv-python", "numba", "scikit-learn", "isal")
"""Distributions whose versions are told where no others are named."""


@cache
def environment(packages: tuple[str, ...] = PACKAGES) -> dict[str, object]:
    """The machine, its processor, the system, Python, the packages' versions and the commit.

    Found out once, at the first call: the checkout may move on during a long run.
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
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or "unknown"


def package_version(name: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def git_commit() -> str | None:
    """The commit of this checkout, with `-dirty` where tracked files differ from it.

    None outside of git, and where the package is installed inside a checkout of something else.
    """
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        commit = _git("rev-parse", "HEAD")
        changes = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}-dirty" if changes else commit


def _git(*arguments: str) -> str:
    """The output of a git command that takes no lock and so writes nothing."""
    done = subprocess.run(
        ["git", "--no-optional-locks", *arguments],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()
