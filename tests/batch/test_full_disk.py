"""Outputs that fail: one image's, or all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.batch.test_interruption import begin, check_consistent, images, wait_for_lines
from tests.batch.test_run import kseg, manifest, save, tree
from tests.support.images import noise


def test_a_file_that_may_not_be_that_large(tmp_path: Path) -> None:
    """It fails, its other outputs are taken back, and the rest go on."""
    for i in range(4):
        save(noise(30, 30, seed=i), tmp_path / f"p/{i}.bmp")
    save(noise(900, 900), tmp_path / "p/large.bmp")
    command = [sys.executable, "-m", "kseg_batch", "run", "p", "--no-gpu", "--k", "60", "--save", "segmented"]
    shell = ["sh", "-c", 'ulimit -f 300; exec "$@"', "sh", *command, "--save", "labels"]
    result = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 3
    assert result.stderr.startswith(f"failed: p/large.bmp: {tmp_path}/p-kseg/")
    assert "cannot be written: File too large" in result.stderr
    assert not [name for name in tree(tmp_path / "p-kseg") if "large" in name or "tmp" in name]
    assert check_consistent(tmp_path / "p-kseg") == 4


def mount(folder: Path, size: str) -> bool:
    """Whether a small file system could be mounted there."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return (
        shutil.which("mount") is not None
        and subprocess.run(command, check=False, capture_output=True).returncode == 0
    )


def test_a_full_disk_ends_the_run(tmp_path: Path) -> None:
    images(tmp_path, 120)
    disk = tmp_path / "disk"
    if not mount(disk, "600k"):
        pytest.skip("a file system cannot be mounted here; the limit on the size of files stands for it")
    try:
        result = kseg("run", "p", "-o", "disk/out", cwd=tmp_path)
        assert result.returncode == 1
        assert "stopped early: " in result.stdout
        assert "No space left on device" in result.stdout
        failed = [line for line in manifest(disk / "out") if line["status"] == "failed"]
        assert len(failed) < 10
        assert not [name for name in tree(disk / "out") if "tmp" in name]
        done = check_consistent(disk / "out")
        assert 0 < done < 120
        subprocess.run(["mount", "-o", "remount,size=60m", str(disk)], check=True)
        result = kseg("run", "p", "-o", "disk/out", cwd=tmp_path)
        assert result.returncode == 0
        assert f"{done} images skipped" in result.stdout
        assert check_consistent(disk / "out") == 120
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_an_output_folder_that_goes_away(tmp_path: Path) -> None:
    """It is not made anew: it may have been a disk that is no longer mounted."""
    images(tmp_path, 300)
    process = begin(tmp_path, "--save", "labels")
    wait_for_lines(tmp_path, process, 3)
    labels = tmp_path / "p-kseg/labels"
    labels.rename(tmp_path / "gone")
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"stopped early: {labels} is no longer there" in output
    assert errors.count("failed: ") < 20
    assert not labels.exists()
    (tmp_path / "gone").rename(labels)
    assert kseg("run", "p", "--save", "labels", cwd=tmp_path).returncode == 0
    assert check_consistent(tmp_path / "p-kseg") == 300


def test_a_folder_without_rights(tmp_path: Path) -> None:
    """As a user who is not root: root's right to write everywhere is dropped."""
    images(tmp_path, 9)
    assert kseg("run", "p", cwd=tmp_path).returncode == 0
    closed = tmp_path / "p-kseg/masks/1"
    closed.chmod(0o555)
    command = [sys.executable, "-m", "kseg_batch", "run", "p", "--no-gpu", "--overwrite"]
    if os.geteuid() == 0:
        rights = "-dac_override,-dac_read_search"
        command = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}", *command]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    closed.chmod(0o755)
    assert result.returncode == 3
    assert result.stderr.count("cannot be written: Permission denied") == 3
    assert result.stdout.startswith("6 images,")
    for line in manifest(tmp_path / "p-kseg"):
        for name in line["outputs"]:  # type: ignore[attr-defined]
            assert (tmp_path / "p-kseg" / name).exists()  # what the last run wrote is still there
