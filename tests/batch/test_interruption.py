"""Runs and workers that are interrupted and killed: no half-written file, no lost image, no process left."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.support.commands import begin, kseg, wait_for_images
from tests.support.faults import crash_workers
from tests.support.image_files import save, save_noise
from tests.support.images import noise
from tests.support.outputs import check_consistent, manifest, pngs, tree, unfinished
from tests.support.processes import PATIENCE, session_workers, wait_until, wait_until_session_is_over


@pytest.mark.parametrize("to_group", [False, True])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(tmp_path: Path, number: int, code: int, to_group: bool) -> None:
    save_noise(tmp_path, 150)
    out = tmp_path / "p-kseg"
    process = begin(tmp_path)
    wait_for_images(tmp_path, process, 4)
    if to_group:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert errors == "interrupted: finishing the images in progress; a second interrupt stops at once\n"
    assert "interrupted: all files written are complete; the same command continues with the rest" in output
    wait_until_session_is_over(process.pid)
    assert not unfinished(out)
    done = check_consistent(out)
    assert 4 <= done < 150
    assert {line["status"] for line in manifest(out)} == {"done"}  # the images under way were ended
    result = kseg("run", "p", cwd=tmp_path)
    assert result.returncode == 0
    assert f"{done} images skipped" in result.stdout
    assert check_consistent(out) == 150


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_while_workers_start(tmp_path: Path, number: int, code: int) -> None:
    """A terminal sends the signal to every process; no worker may print anything."""
    save_noise(tmp_path, 9)
    process = begin(tmp_path, "--workers", 3)
    wait_until(lambda: session_workers(process.pid) != [], process=process, pause=0.001)
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert all("interrupted: " in line for line in errors.splitlines())
    wait_until_session_is_over(process.pid)


def test_a_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    crash_workers(tmp_path)
    save_noise(tmp_path, 9)
    save(noise(4, 4), tmp_path / "p/2/hang.png")
    process = begin(tmp_path, path=tmp_path)
    wait_for_images(tmp_path, process, 9)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("interrupted: ")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    wait_until_session_is_over(process.pid)
    assert sorted(str(line["status"]) for line in manifest(tmp_path / "p-kseg")) == ["done"] * 9 + ["started"]
    result = kseg("run", "p", "--dry-run", cwd=tmp_path)
    assert "do   p/2/hang.png: it was interrupted" in result.stdout


def test_the_parent_is_killed_again_and_again(tmp_path: Path, soak: bool) -> None:
    n_images, kills = (200, 20) if soak else (60, 4)
    save_noise(tmp_path, n_images)
    assert kseg("run", "p", "-o", "whole", cwd=tmp_path).returncode == 0
    expected = pngs(tmp_path / "whole")
    out = tmp_path / "p-kseg"
    chance = random.Random(0)
    n_done = 0
    for i in range(kills):
        process = begin(tmp_path)
        wait_for_images(tmp_path, process, max(1, n_done))
        time.sleep(chance.random() * 1.5 * (i + 1) / kills)
        process.kill()
        process.communicate(timeout=PATIENCE)
        wait_until_session_is_over(process.pid)
        torn = (out / "manifest.jsonl").read_bytes()
        assert pngs(out).items() <= expected.items()
        n_done = len(
            {json.loads(x)["name"] for x in torn.splitlines() if x.endswith(b"}") and b'"done"' in x}
        )
    result = kseg("run", "p", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert pngs(out) == expected
    assert not unfinished(out)
    assert len(manifest(out)) == n_images == check_consistent(out)


def kill_one(pids: list[int]) -> bool:
    """Kill the first of the processes; return whether there was one."""
    for pid in pids[:1]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
    return False


def test_workers_are_killed_in_mid_run(tmp_path: Path) -> None:
    save_noise(tmp_path, 500)  # still at work at the third kill, also where this process has to wait
    process = begin(tmp_path, "--timeout", 50)
    for n_lines in (3, 12, 25):
        wait_for_images(tmp_path, process, n_lines)
        wait_until(lambda: kill_one(session_workers(process.pid)), process=process)
    output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, "")
    assert output.startswith("500 images,")
    assert check_consistent(tmp_path / "p-kseg") == 500


def test_images_that_kill_and_hang_their_worker(tmp_path: Path) -> None:
    crash_workers(tmp_path)
    save_noise(tmp_path, 20)
    for name in ("exit", "segfault", "hang"):
        save(noise(4, 4), tmp_path / f"p/{name}.png")
    process = begin(tmp_path, "--timeout", 2, path=tmp_path)
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
    assert not unfinished(tmp_path / "p-kseg")
    assert not [name for name in tree(tmp_path / "p-kseg") if "hang" in name]
    assert kseg("run", "p", "--retry-failed", cwd=tmp_path).returncode == 0
