"""Running `kseg-batch bench` on generated photos."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from tests.support.commands import command_line, import_path

if TYPE_CHECKING:
    from pathlib import Path

CPU = ("--backend", "numba", "--backend", "opencv")
TINY = ("--sizes", "0.01", "--repeat", "1", "--images", "1")


def variables(folder: Path) -> dict[str, str]:
    """An environment in which the width of the terminal is unknown, and modules in the folder come first."""
    known = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    return known | {"PYTHONPATH": import_path(folder)}


def bench(
    folder: Path, *arguments: str, code: str = "", exit_code: int = 0, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command in the folder, and check that it exits with the given code.

    Args:
        folder: Current folder of the command, whose modules come before those installed.
        arguments: Folder of photos and flags.
        code: Python that runs before, in the same process.
        exit_code: The expected exit code.
        environment: Variables to set.
    """
    result = subprocess.run(
        command_line("bench", *arguments, code=code),
        env=variables(folder) | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == exit_code, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result
