"""Runs and workers that are interrupted and killed: nothing half-written, nothing lost, nobody left."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.batch.test_run import kseg, manifest, save, tree
from tests.support.images import noise

PATIENCE = 60
"""Seconds in which anything here is over; nothing is measured by it."""

CRASHES = """
import multiprocessing, os, signal, sys, time
if multiprocessing.parent_process() is not None or "spawn_main" in " ".join(sys.orig_argv):
    import pathlib
    whole_open = pathlib.Path.open

    def crashing_open(path, *args, **kwargs):
        if path.name == "exit.png":
            os._exit(3)
        if path.name == "segfault.png":
            os.kill(os.getpid(), signal.SIGSEGV)
        if path.name == "hang.png":
            time.sleep(1000)
        return whole_open(path, *args, **kwargs)

    pathlib.Path.open = crashing_open
"""


def begin(folder: Path, *flags: object, command: str = "run", **environment: str) -> subprocess.Popen[str]:
    """A run, or another command over p, in a session of its own, as a service manager starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "kseg_batch", command, "p", "--no-gpu", *map(str, flags)],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_lines(folder: Path, process: subprocess.Popen[str], n_lines: int) -> None:
    journal = folder / "p-kseg/manifest.jsonl"
    deadline = time.monotonic() + PATIENCE
    while not journal.exists() or journal.read_bytes().count(b'"done"') < n_lines:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)


def members(session: int) -> list[int]:
    """The processes of a session that are alive."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def workers(process: subprocess.Popen[str]) -> list[int]:
    found = []
    for pid in members(process.pid):
        try:
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def wait_until_alone(session: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while members(session):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def images(folder: Path, number: int) -> Path:
    for i in range(number):
        save(noise(90, 90, seed=i), folder / f"p/{i % 3}/{i:03}.bmp")
    return folder


def pngs(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in tree(out) if name.endswith(".png")}


def check_consistent(out: Path) -> int:
    """Every image that is done has its files, which are whole; return how many there are."""
    last = {line["name"]: line for line in manifest(out)}
    done = [line for line in last.values() if line["status"] == "done"]
    for line in done:
        for name, size in line["outputs"].items():  # type: ignore[attr-defined]
            assert (out / name).stat().st_size == size
    for name in tree(out):
        if name.endswith(".png"):
            with Image.open(out / name) as picture:
                picture.load()
    return len(done)


@pytest.mark.parametrize("to_group", [False, True])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(tmp_path: Path, number: int, code: int, to_group: bool) -> None:
    images(tmp_path, 150)
    out = tmp_path / "p-kseg"
    process = begin(tmp_path)
    wait_for_lines(tmp_path, process, 4)
    if to_group:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert errors == "interrupted: ending the images under way; once more stops at once\n"
    assert "interrupted: what is written is complete; the same command goes on with the rest" in output
    wait_until_alone(process.pid)
    assert not [name for name in tree(out) if "tmp" in name]
    done = check_consistent(out)
    assert 4 <= done < 150
    assert {line["status"] for line in manifest(out)} == {"done"}  # those under way were ended
    result = kseg("run", "p", cwd=tmp_path)
    assert result.returncode == 0
    assert f"{done} images skipped" in result.stdout
    assert check_consistent(out) == 150


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_while_workers_start(tmp_path: Path, number: int, code: int) -> None:
    """A terminal sends it to all of them; none of them may have anything to say about it."""
    images(tmp_path, 9)
    process = begin(tmp_path, "--workers", 3)
    deadline = time.monotonic() + PATIENCE
    while not workers(process):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert all("interrupted: " in line for line in errors.splitlines())
    wait_until_alone(process.pid)


def test_a_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(CRASHES)
    images(tmp_path, 9)
    save(noise(4, 4), tmp_path / "p/2/hang.png")
    process = begin(tmp_path, PYTHONPATH=str(tmp_path))
    wait_for_lines(tmp_path, process, 9)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("interrupted: ")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    wait_until_alone(process.pid)
    assert sorted(str(line["status"]) for line in manifest(tmp_path / "p-kseg")) == ["done"] * 9 + ["started"]
    result = kseg("run", "p", "--dry-run", cwd=tmp_path)
    assert "do   p/2/hang.png: it was interrupted" in result.stdout


def test_the_parent_is_killed_again_and_again(tmp_path: Path, soak: bool) -> None:
    n_images, kills = (200, 20) if soak else (60, 4)
    images(tmp_path, n_images)
    assert kseg("run", "p", "-o", "whole", cwd=tmp_path).returncode == 0
    expected = pngs(tmp_path / "whole")
    out = tmp_path / "p-kseg"
    chance = random.Random(0)
    n_done = 0
    for i in range(kills):
        process = begin(tmp_path)
        wait_for_lines(tmp_path, process, max(1, n_done))
        time.sleep(chance.random() * 1.5 * (i + 1) / kills)
        process.kill()
        process.communicate(timeout=PATIENCE)
        wait_until_alone(process.pid)
        torn = (out / "manifest.jsonl").read_bytes()
        for name in tree(out):
            if name.endswith(".png"):
                assert (out / name).read_bytes() == expected[name]
        n_done = len(
            {json.loads(x)["name"] for x in torn.splitlines() if x.endswith(b"}") and b'"done"' in x}
        )
    result = kseg("run", "p", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert pngs(out) == expected
    assert not [name for name in tree(out) if "tmp" in name]
    assert len(manifest(out)) == n_images == check_consistent(out)


def test_workers_are_killed_in_mid_run(tmp_path: Path) -> None:
    images(tmp_path, 200)
    process = begin(tmp_path, "--timeout", 50)
    killed = 0
    for n_lines in (3, 12, 25):
        wait_for_lines(tmp_path, process, n_lines)
        for pid in workers(process)[:1]:
            os.kill(pid, signal.SIGKILL)
            killed += 1
    output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, "")
    assert killed == 3
    assert output.startswith("200 images,")
    assert check_consistent(tmp_path / "p-kseg") == 200


def test_images_that_kill_and_hang_their_worker(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(CRASHES)
    images(tmp_path, 20)
    for name in ("exit", "segfault", "hang"):
        save(noise(4, 4), tmp_path / f"p/{name}.png")
    process = begin(tmp_path, "--timeout", 2, PYTHONPATH=str(tmp_path))
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 3
    again = ", and again when it was tried alone"
    assert sorted(errors.splitlines()) == [
        f"failed: p/exit.png: its worker ended with exit code 3{again}",
        f"failed: p/hang.png: it took longer than 2 seconds{again}",
        f"failed: p/segfault.png: its worker was killed by SIGSEGV{again}",
    ]
    assert output.startswith("20 images,")
    assert "3 images failed" in output
    assert check_consistent(tmp_path / "p-kseg") == 20
    assert not [name for name in tree(tmp_path / "p-kseg") if "tmp" in name or "hang" in name]
    assert kseg("run", "p", "--retry-failed", cwd=tmp_path).returncode == 0
