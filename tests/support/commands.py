"""Starting kseg-batch as a user does: to its end, in the background, or in this process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

from typer.testing import CliRunner

from kseg_batch.cli import app
from tests.support.paths import ROOT
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from pathlib import Path

DEVICE_FLAGS = {"--gpu", "--no-gpu", "--require-gpu", "--device", "--gpu-memory", "--backend"}
"""Flags that choose the device."""

MAIN = "import sys; sys.argv[0] = 'kseg-batch'; from kseg_batch.cli import main; main()"


def command_line(*arguments: object, code: str = "") -> list[str]:
    """The words that start kseg-batch; `code` runs before, in the same process."""
    start = ["-c", f"{textwrap.dedent(code)}\n{MAIN}"] if code else ["-m", "kseg_batch"]
    return [sys.executable, *start, *map(str, arguments)]


def import_path(*folders: Path) -> str:
    """A PYTHONPATH by which modules in the folders come before all others, and this checkout next."""
    return os.pathsep.join(map(str, (*folders, ROOT)))


def kseg(
    *arguments: object, cwd: Path, path: Path | None = None, code: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end, in a terminal of 80 columns, and check that no traceback is shown.

    `run` and `fit` work without a GPU unless the arguments choose a device, so that a test does the same on
    every machine; and with one worker, whose start is most of what a small run costs.

    Args:
        arguments: Subcommand and flags.
        cwd: Current folder of the command.
        path: Folder whose modules come before those installed.
        code: Python that runs before, in the same process.
        environment: Variables to set.
    """
    if arguments[0] in ("run", "fit") and DEVICE_FLAGS.isdisjoint(arguments):
        arguments = (*arguments, "--no-gpu")
    if arguments[0] in ("run", "fit") and "--workers" not in arguments:
        arguments = (*arguments, "--workers", 1)
    variables = {**os.environ, "COLUMNS": "80", **environment}
    if path is not None:
        variables["PYTHONPATH"] = import_path(path)
    result = subprocess.run(
        command_line(*arguments, code=code),
        cwd=cwd,
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "Traceback" not in result.stderr + result.stdout
    return result


def begin(
    folder: Path, *flags: object, command: str = "run", path: Path | None = None, **environment: str
) -> subprocess.Popen[str]:
    """Start `run` or `fit` on the folder p, in a session of its own, as a service manager does."""
    variables = {**os.environ, **environment}
    if path is not None:
        variables["PYTHONPATH"] = import_path(path)
    return subprocess.Popen(
        command_line(command, "p", "--no-gpu", *flags),
        cwd=folder,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_images(folder: Path, process: subprocess.Popen[str], number: int) -> None:
    """Wait until a run on p has done a number of images."""
    journal = folder / "p-kseg/manifest.jsonl"
    wait_until(
        lambda: journal.exists() and journal.read_bytes().count(b'"done"') >= number,
        process=process,
        pause=0.005,
    )


def again(folder: Path, *flags: object) -> subprocess.CompletedProcess[str]:
    """Run on p into out, for the first time or once more."""
    return kseg("run", "p", "-o", "out", *flags, cwd=folder)


def done_again(folder: Path, *flags: object) -> list[str]:
    """Run on p into out; return the names of the images that the run does not skip."""
    result = again(folder, "--json", *flags)
    lines = [json.loads(line) for line in result.stdout.splitlines()[:-1]]
    return sorted(line["name"] for line in lines if line["status"] != "skipped")


def live(*words: object) -> Any:
    """Run `live` in this process and without a window, which saves the second that Python takes to start."""
    result = CliRunner().invoke(app, ["live", "--no-window", *map(str, words)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result
