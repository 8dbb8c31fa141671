"""A fit after an interrupted or killed fit resumes from the checkpoint, and counts no image twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kseg_batch import read_palette, segment
from kseg_batch.batch.workers.count_colors import CountPool
from kseg_batch.errors import OptionError
from kseg_batch.kmeans.color_spaces import ColorSpace
from tests.support.commands import begin, kseg
from tests.support.exactness import assert_same_palette
from tests.support.faults import crash_workers
from tests.support.fits import files_beside, fit_by, pixels_below
from tests.support.image_files import save, save_noise
from tests.support.images import blocks, noise
from tests.support.processes import PATIENCE, wait_until, wait_until_session_is_over

READ_SLOWLY = """
import os, pathlib, sys, time
if "spawn_main" in " ".join(sys.orig_argv):
    whole_open = pathlib.Path.open

    def slow_open(path, *args, **kwargs):
        if path.suffix == ".bmp":
            time.sleep(float(os.environ.get("DELAY", "0")))
            with whole_open(pathlib.Path(os.environ["READ"]), "a") as log:
                log.write(path.name + "\\n")
        return whole_open(path, *args, **kwargs)

    pathlib.Path.open = slow_open
"""
"""For workers: record the name of each image that is read, after a delay."""


def many(folder: Path, number: int) -> Path:
    save_noise(folder, number, side=30)
    (folder / "sitecustomize.py").write_text(READ_SLOWLY)
    return folder


def begin_fit(folder: Path, *flags: object, delay: float = 0) -> subprocess.Popen[str]:
    """Start a fit whose workers record each image in read.log, after a delay."""
    (folder / "read.log").write_text("")
    log = str(folder / "read.log")
    return begin(folder, *flags, command="fit", path=folder, READ=log, DELAY=str(delay))


def read_again(folder: Path) -> int:
    names = (folder / "read.log").read_text().split()
    assert len(names) == len(set(names))
    return len(names)


def fit_again(folder: Path, *flags: object) -> tuple[int, subprocess.CompletedProcess[str]]:
    """Fit once more; return the number of images that the fit reads, and the result."""
    process = begin_fit(folder, *flags)
    output, errors = process.communicate(timeout=PATIENCE)
    result = subprocess.CompletedProcess("", process.returncode, output, errors)
    return read_again(folder), result


def test_a_fit_that_is_killed_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    many(tmp_path, 120)
    assert kseg("fit", "p", "-o", "whole.json", cwd=tmp_path).returncode == 0
    partial = tmp_path / "p-palette.json.partial"
    process = begin_fit(tmp_path, delay=0.03)
    wait_until(partial.exists, process=process, pause=0.005)
    process.kill()
    process.communicate(timeout=PATIENCE)
    wait_until_session_is_over(process.pid)
    assert files_beside(tmp_path) == ["p-palette.json.partial", "read.log", "sitecustomize.py", "whole.json"]
    with np.load(partial) as file:
        counted = len(file["images"]) // 16
    n_read, result = fit_again(tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert 0 < counted < 120
    assert n_read == 120 - counted
    assert f"{counted} images counted before" in result.stdout
    assert (tmp_path / "p-palette.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert not partial.exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_fit_that_is_interrupted_goes_on(tmp_path: Path, number: int, code: int) -> None:
    many(tmp_path, 60)
    process = begin_fit(tmp_path, delay=0.05)
    wait_until(lambda: read_again(tmp_path) >= 10, process=process, pause=0.005)
    os.killpg(process.pid, number)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert errors == "interrupted: finishing the images in progress; a second interrupt stops at once\n"
    assert "interrupted: the same command continues with the rest" in output
    wait_until_session_is_over(process.pid)
    n_before = read_again(tmp_path)
    assert 10 <= n_before < 60
    n_read, result = fit_again(tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert n_read == 60 - n_before
    assert read_palette(tmp_path / "p-palette.json").counts.sum() == 60 * 900
    assert files_beside(tmp_path) == ["p-palette.json", "read.log", "sitecustomize.py"]


@pytest.fixture
def counted(tmp_path: Path, pool: CountPool) -> Path:
    """A dataset with a checkpoint: its images were counted, and had too few colours for the names."""
    for i in range(4):
        save(blocks([(0, 0, 0), (9, 9, 9 + i % 2)]), tmp_path / f"p/{i}.bmp")
    with pytest.raises(OptionError, match="names must be 3 names, one for each cluster, or none, not 4"):
        fit_by(pool, tmp_path / "p.json", [tmp_path / "p"], 4, ("a", "b", "c", "d"))
    assert files_beside(tmp_path) == ["p.json.partial"]
    return tmp_path


def test_counts_serve_other_clusters(counted: Path, pool: CountPool) -> None:
    save(noise(5, 5), counted / "p/new.bmp")
    summary, messages = fit_by(pool, counted / "p.json", [counted / "p"], 2, ("a", "b"))
    assert (summary.counted, summary.resumed, messages) == (1, 4, [])
    palette = read_palette(counted / "p.json")
    assert palette.names == ("a", "b")
    assert files_beside(counted) == ["p.json"]
    expected = segment(pixels_below(counted / "p"), 2)
    assert np.array_equal(palette.fixed_centers, expected.palette.fixed_centers)


@pytest.mark.parametrize("color_space", ["lab", "oklab"])
def test_counts_serve_every_color_space(counted: Path, pool: CountPool, color_space: ColorSpace) -> None:
    save(noise(5, 5), counted / "p/new.bmp")
    summary, messages = fit_by(pool, counted / "p.json", [counted / "p"], 2, color_space=color_space)
    assert (summary.counted, summary.resumed, messages) == (1, 4, [])
    expected = segment(pixels_below(counted / "p"), 2, color_space=color_space)
    assert_same_palette(read_palette(counted / "p.json"), expected.palette)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("touched", "1 counted image changed or disappeared"),
        ("replaced", "1 counted image changed or disappeared"),
        ("gone", "2 counted images changed or disappeared"),
        ("other options", "it was counted with other options"),
        ("torn", "it is damaged, or not a checkpoint"),
        ("flipped", "it is damaged, or not a checkpoint"),
        ("foreign", "it is damaged, or not a checkpoint"),
        ("another array", "it is damaged, or not a checkpoint"),
        ("empty", "it is damaged, or not a checkpoint"),
    ],
)
def test_counts_of_a_changed_dataset_are_of_no_use(
    counted: Path, pool: CountPool, change: str, reason: str
) -> None:
    """Every image is counted anew, and none twice."""
    partial = counted / "p.json.partial"
    data = partial.read_bytes()
    if change == "touched":
        os.utime(counted / "p/1.bmp", ns=(1, 1))
    elif change == "replaced":
        save(noise(5, 5), counted / "p/1.bmp")
    elif change == "gone":
        (counted / "p/1.bmp").unlink()
        (counted / "p/2.bmp").unlink()
    elif change == "another array":
        with partial.open("wb") as file:
            np.save(file, np.arange(3))
    elif change == "flipped":
        middle = data.index(b"counts.npy") + 200  # in the last of the counts
        partial.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    elif change != "other options":
        content = {"torn": data[: len(data) // 2], "foreign": b"a letter", "empty": b""}
        partial.write_bytes(content[change])
    how: dict[str, Any] = {"alpha": "ignore"} if change == "other options" else {}
    summary, messages = fit_by(pool, counted / "p.json", [counted / "p"], 2, **how)
    assert messages == [f"{partial}: {reason}: starting from the beginning"]
    assert (summary.resumed, summary.counted) == (0, len(list((counted / "p").iterdir())))
    assert read_palette(counted / "p.json").counts.sum() == pixels_below(counted / "p").shape[1]
    assert files_beside(counted) == ["p.json"]


@pytest.mark.parametrize("limited", [False, True])
def test_images_that_kill_and_hang_their_worker(tmp_path: Path, limited: bool) -> None:
    """Images are counted in groups, or one by one where a time limit is set."""
    crash_workers(tmp_path)
    for i in range(20):
        save(noise(9, 9, seed=i), tmp_path / f"p/{i}.bmp")
    for name in ("exit", "segfault", "hang"):
        if name != "hang" or limited:
            save(noise(4, 4), tmp_path / f"p/{name}.png")
    again = ", and again when it was tried alone"
    expected = [
        f"failed: p/exit.png: its worker ended with exit code 3{again}",
        f"failed: p/hang.png: it took longer than 1 seconds{again}",
        f"failed: p/segfault.png: its worker was killed by SIGSEGV{again}",
    ]
    flags = ("--timeout", 1) if limited else ("--workers", 1)  # one worker makes groups of several images
    process = begin(tmp_path, *flags, command="fit", path=tmp_path)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 3
    assert sorted(errors.splitlines()) == (expected if limited else expected[::2])
    content = json.loads((tmp_path / "p-palette.json").read_text())
    assert (content["fitted"]["images"], content["fitted"]["failed"]) == (20, 3 if limited else 2)
    assert sum(content["counts"]) == 20 * 81
