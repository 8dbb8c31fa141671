"""Two thousand damaged files through the real command line."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from pathlib import Path

from tests.support.commands import command_line
from tests.support.damage import SAMPLES, damaged_files
from tests.support.outputs import check_consistent, manifest

MOST_MEMORY = 400 << 20
"""Bytes that a process of the run may hold: little more than before the first of 2,000 images."""

CRASHES = ("its worker", "it took longer")
"""The beginnings of the errors of images that killed their worker or took too long."""


def test_every_damaged_file_is_done_or_failed_with_a_reason(tmp_path: Path, soak: bool) -> None:
    seeds = range(5 if soak else 1)
    n_files = 0
    for seed in seeds:
        folder = tmp_path / f"p/{seed}"
        folder.mkdir(parents=True)
        for name, data in damaged_files(seed):
            (folder / name).write_bytes(data)
            n_files += 1
    whole = tmp_path / "p/whole"
    whole.mkdir()
    for name, data in SAMPLES.items():
        (whole / name).write_bytes(data)
    assert n_files >= 2000

    flags = ("--full-names", "--json", "--save", "labels", "--max-pixels", "1M", "--timeout", 100)
    with (tmp_path / "stdout").open("w") as stdout, (tmp_path / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            command_line("run", "p", "--no-gpu", *flags),
            cwd=tmp_path,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        memory: dict[int, int] = {}
        watcher = threading.Thread(target=watch, args=(process, memory))
        watcher.start()
        process.wait()
        watcher.join()
    assert process.returncode == 3

    *lines, summary = map(json.loads, (tmp_path / "stdout").read_text().splitlines())
    assert len(lines) == n_files + len(SAMPLES)
    failed = [line for line in lines if line["status"] == "failed"]
    assert summary["summary"]["failed"] == len(failed)
    assert summary["summary"]["done"] == len(lines) - len(failed)
    assert len(failed) > 1000
    assert {Path(line["source"]).parent.name for line in failed} == {str(seed) for seed in seeds}
    assert not [line["error"] for line in failed if line["error"].startswith(CRASHES)]
    errors = (tmp_path / "stderr").read_text()
    told = [line for line in errors.splitlines() if line.startswith("failed: p/")]
    assert len(told) == len(failed)
    assert "Traceback" not in errors
    assert len(manifest(tmp_path / "p-kseg")) == len(lines)
    assert check_consistent(tmp_path / "p-kseg") == len(lines) - len(failed)
    assert len(memory) >= 2
    assert max(memory.values()) < MOST_MEMORY


def watch(process: subprocess.Popen[bytes], memory: dict[int, int]) -> None:
    """Record the peak memory of each process of the session, until the command exits."""
    while process.poll() is None:
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if os.getsid(int(path.name)) == process.pid:
                    status = (path / "status").read_text()
                    if "VmHWM" in status:
                        held = 1024 * int(status.partition("VmHWM:")[2].split()[0])
                        memory[int(path.name)] = held
            except (FileNotFoundError, ProcessLookupError):
                continue
        time.sleep(0.05)
