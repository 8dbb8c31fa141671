"""Real processes in poor surroundings: without OpenCV, with closed and full streams, under limits.

No result changes, and where the command cannot do its work, one sentence says so.
"""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.support.commands import command_line, import_path, kseg
from tests.support.faults import break_module
from tests.support.image_files import pixels_of, save, with_alpha
from tests.support.images import noise, photos
from tests.support.outputs import entries

SAVE = [word for kind in ("segmented", "masks", "labels", "masked", "kept") for word in ("--save", kind)]
NO_LIBRARY = "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')"
NOT_INSTALLED = "raise ModuleNotFoundError(\"No module named 'cv2'\", name='cv2')"


def shell(text: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of Bash, in which `kseg` is the command line, and check that it prints no traceback."""
    script = f'kseg() {{ {shlex.join(command_line())} "$@"; }}\n{text}'
    result = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": import_path(), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "Traceback" not in result.stdout + result.stderr
    return result


def outputs(out: Path) -> dict[str, bytes]:
    """The content of each file that a run has written, but for the journal and its lock."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.parent != out
    }


def one_sentence(result: subprocess.CompletedProcess[str], code: int, *parts: str) -> None:
    """Check that a command has failed, and has printed one line on standard error that has the parts."""
    assert result.returncode == code, result.stdout + result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("kseg-batch: ")
    assert [part for part in parts if part not in line] == [], line


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three photos in p."""
    for i in range(3):
        save(noise(40, 60, seed=i), tmp_path / f"p/{i}.png")
    return tmp_path


# ---- OpenCV --------------------------------------------------------------------------------------------


def save_all_kinds(folder: Path) -> None:
    """Write a photo of each kind that OpenCV or Pillow decodes."""
    photo = photos()["coffee"][:150, :201]
    for suffix in ("avif", "bmp", "gif", "jpg", "png", "tif", "webp"):
        save(photo, folder / f"rgb.{suffix}")
        save(photo[..., 1], folder / f"gray.{suffix}")
    opaque = np.arange(photo.shape[1])[None] + np.arange(photo.shape[0])[:, None] > 99
    save(with_alpha(photo, opaque), folder / "alpha.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    for suffix in ("jpg", "png", "webp"):
        Image.fromarray(photo).save(folder / f"turned.{suffix}", exif=exif)
    Image.fromarray(photo).save(folder / "lossless.webp", lossless=True)


def test_without_opencv_the_outputs_have_the_same_bytes(tmp_path: Path, soak: bool) -> None:
    save_all_kinds(tmp_path / "p")
    deep = cv2.imencode(".png", noise(9, 9).astype(np.uint16) * 257)[1]
    (tmp_path / "p/deep.png").write_bytes(deep.tobytes())
    flags = ["p", "--full-names", "--color-space", "lab", *SAVE, "--disable", "0"]
    assert kseg("run", *flags, "-o", "with", cwd=tmp_path).returncode == 0
    expected = {name: data for name, data in outputs(tmp_path / "with").items() if "deep" not in name}
    assert len(expected) > 100
    faults = {"library": (NO_LIBRARY, "libgl1"), "package": (NOT_INSTALLED, "pip install opencv-python")}
    for name, (code, remedy) in faults.items() if soak else [("library", faults["library"])]:
        module = break_module(tmp_path / name, "cv2") / "cv2.py"
        module.write_text(code)
        result = kseg("run", *flags, "-o", f"out-{name}", cwd=tmp_path, path=tmp_path / name)
        assert result.returncode == 3
        (line,) = (line for line in result.stderr.splitlines() if "OpenCV" in line)
        assert line.startswith("failed: p/deep.png: its 16-bit samples are decoded by OpenCV: ")
        assert remedy in line
        assert outputs(tmp_path / f"out-{name}") == expected


def test_a_backend_that_needs_opencv_names_the_remedy(folder: Path) -> None:
    broken = break_module(folder / "broken", "cv2")
    (broken / "cv2.py").write_text(NO_LIBRARY)
    result = kseg("run", "p", "--backend", "opencv", cwd=folder, path=broken)
    one_sentence(result, 2, "libGL.so.1", "apt-get install libgl1")


@pytest.mark.parametrize("name", ["isal", "numpy"])
def test_a_package_that_cannot_be_imported(name: str, folder: Path) -> None:
    result = kseg("run", "p", cwd=folder, path=break_module(folder / "broken", name))
    one_sentence(result, 1, f"no {name} here", "reinstall kseg-batch")


# ---- standard streams ----------------------------------------------------------------------------------

FULL = "kseg-batch: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize(
    ("streams", "code", "error"),
    [
        ("2>&-", 0, ""),
        (">&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
        ("> /dev/full", 1, FULL),
        ("2> /dev/full", 0, ""),
        ("> /dev/full 2> /dev/full", 1, ""),
        ("| true", 0, ""),
    ],
)
def test_streams_that_are_closed_or_full(streams: str, code: int, error: str, folder: Path) -> None:
    result = shell(f"set -o pipefail; kseg --help {streams}", folder)
    assert (result.returncode, result.stderr) == (code, error)


@pytest.mark.parametrize(
    ("streams", "code"),
    [("<&- >&- 2>&-", 0), ("> /dev/full 2> /dev/full", 1), ("| head -1", 0)],
)
def test_a_run_is_complete_whatever_becomes_of_its_report(streams: str, code: int, folder: Path) -> None:
    result = shell(f"set -o pipefail; kseg run p -o out --workers 1 --no-gpu --json {streams}", folder)
    assert result.returncode == code
    if "head" in streams:
        assert json.loads(result.stdout)["status"] == "done"
    assert [entry["status"] for entry in entries(folder / "out").values()] == ["done"] * 3
    for path in (folder / "out/segmented").glob("*.png"):
        assert pixels_of(path).shape == (40, 60)


def test_other_commands_on_a_full_disk(folder: Path, soak: bool) -> None:
    commands = ["--version", "run p --dry-run --no-gpu", "doctor", "fit p --no-gpu"]
    for command in commands if soak else commands[:1]:
        result = shell(f"kseg {command} > /dev/full", folder)
        assert result.returncode == 1
        assert result.stderr.endswith(FULL)


# ---- what the system refuses ---------------------------------------------------------------------------


def test_a_limit_on_memory(folder: Path, soak: bool) -> None:
    """From the first limit at which Python starts to one that is enough; then the rest without a limit."""
    for megabytes in range(200, 1500, 20) if soak else (400,):
        result = shell(f"ulimit -v {megabytes << 10}; kseg run p -o out --no-gpu --workers 2", folder)
        if result.returncode not in (0, 3):
            one_sentence(result, 1)
    assert result.returncode == (0 if soak else 1), result.stderr
    assert kseg("run", "p", "-o", "out", cwd=folder).returncode == 0
    assert [entry["status"] for entry in entries(folder / "out").values()] == ["done"] * 3


def test_a_limit_on_open_files(folder: Path) -> None:
    one_sentence(shell("ulimit -n 16; kseg run p --no-gpu", folder), 1, "Too many open files", "--workers")


def test_without_shared_memory(folder: Path) -> None:
    """Semaphores of multiprocessing need /dev/shm."""
    namespace = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount = "mount -t tmpfs -o ro none /dev/shm"
    if subprocess.run([*namespace, mount], capture_output=True, check=False).returncode:
        pytest.skip("this user may make no namespace of mounts")
    words = command_line("run", "p", "-o", "out", "--no-gpu", "--workers", 2)
    subprocess.run([*namespace, f'{mount}; exec "$@"', "sh", *words], cwd=folder, check=True, timeout=60)
    assert [entry["status"] for entry in entries(folder / "out").values()] == ["done"] * 3


def test_in_a_folder_that_is_gone(folder: Path) -> None:
    result = shell(f"mkdir gone; cd gone; rmdir ../gone; kseg run {folder}/p --no-gpu", folder)
    one_sentence(result, 1, "The current folder is gone")


def test_a_strict_python_gives_no_other_results(folder: Path, soak: bool) -> None:
    """Warnings are errors, assertions are off, and nothing is taken from the current folder."""
    if not soak:
        pytest.skip("10 seconds; run by --soak")
    assert kseg("run", "p", "-o", "out", cwd=folder).returncode == 0
    expected = outputs(folder / "out")
    for i, flags in enumerate(["-W error", "-O", "-P", "-u", "-X dev", "-bb"]):
        words = [sys.executable, *flags.split(), *command_line("run", "p", "-o", i, "--no-gpu")[1:]]
        environment = {**os.environ, "PYTHONPATH": import_path(), "PYTHONWARNINGS": "error"}
        subprocess.run(words, cwd=folder, env=environment, check=True, timeout=300)
        assert outputs(folder / str(i)) == expected
