"""The real command line of `kseg-batch bench`, run in a process."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

CPU = ("--backend", "numba", "--backend", "opencv")
TINY = ("--sizes", "0.01", "--repeat", "1", "--images", "1")


def command(folder: Path, *arguments: str, code: str = "") -> tuple[list[str], dict[str, str]]:
    """Return the words and the environment of a command line that runs some code first.

    Its processes look for modules in `folder` first.
    """
    code = f"{textwrap.dedent(code)}\nfrom kseg_batch.cli import main; import sys; sys.argv[0] = 'k'; main()"
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    return [sys.executable, "-c", code, "bench", *arguments], environment


def bench(
    folder: Path, *arguments: str, code: str = "", exit_code: int = 0, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder, and check that its exit code is the given one."""
    words, variables = command(folder, *arguments, code=code)
    result = subprocess.run(
        words,
        env=variables | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == exit_code, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result
