"""Outputs that cannot be written: of one image, or of all."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.commands import begin, command_line, kseg, wait_for_images
from tests.support.faults import as_ordinary_user, with_small_files
from tests.support.image_files import save, save_noise
from tests.support.images import noise
from tests.support.outputs import check_consistent, manifest, tree, unfinished
from tests.support.processes import PATIENCE


def test_a_file_that_may_not_be_that_large(tmp_path: Path) -> None:
    """The image fails, its other outputs are removed, and the rest go on."""
    for i in range(4):
        save(noise(30, 30, seed=i), tmp_path / f"p/{i}.bmp")
    save(noise(900, 900), tmp_path / "p/large.bmp")
    command = command_line("run", "p", "--no-gpu", "--k", 60, "--save", "segmented", "--save", "labels")
    result = subprocess.run(
        with_small_files(command, 300), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 3
    assert result.stderr.startswith(f"failed: p/large.bmp: {tmp_path}/p-kseg/")
    assert "cannot be written: File too large" in result.stderr
    assert not unfinished(tmp_path / "p-kseg")
    assert not [name for name in tree(tmp_path / "p-kseg") if "large" in name]
    assert check_consistent(tmp_path / "p-kseg") == 4


def mount(folder: Path, size: str) -> bool:
    """Mount a small file system; return whether mounting succeeded."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return (
        shutil.which("mount") is not None
        and subprocess.run(command, check=False, capture_output=True).returncode == 0
    )


def test_a_full_disk_ends_the_run(tmp_path: Path) -> None:
    save_noise(tmp_path, 120)
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
        assert not unfinished(disk / "out")
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
    """The run does not create the folder again, which may have been on a disk that was unmounted."""
    save_noise(tmp_path, 300)
    process = begin(tmp_path, "--save", "labels")
    wait_for_images(tmp_path, process, 3)
    labels = tmp_path / "p-kseg/labels"
    labels.rename(tmp_path / "gone")
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert f"stopped early: {labels} is no longer there" in output
    assert errors.count("failed: ") < 20
    assert not labels.exists()
    (tmp_path / "gone").rename(labels)
    assert kseg("run", "p", "--save", "labels", cwd=tmp_path).returncode == 0
    assert check_consistent(tmp_path / "p-kseg") == 300


def test_a_folder_without_rights(tmp_path: Path) -> None:
    save_noise(tmp_path, 9)
    assert kseg("run", "p", cwd=tmp_path).returncode == 0
    closed = tmp_path / "p-kseg/masks/1"
    closed.chmod(0o555)
    command = as_ordinary_user(command_line("run", "p", "--no-gpu", "--overwrite"))
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    closed.chmod(0o755)
    assert result.returncode == 3
    assert result.stderr.count("cannot be written: Permission denied") == 3
    assert result.stdout.startswith("6 images,")
    for line in manifest(tmp_path / "p-kseg"):
        for name in line["outputs"]:
            assert (tmp_path / "p-kseg" / name).exists()  # the outputs of the last run stay
