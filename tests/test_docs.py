"""Every command, flag and example in the README works as written."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from kseg_batch.cli import app
from tests.support.paths import ROOT
from tests.support.videos import pan, write_video

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
SESSIONS = [
    [line.removeprefix("$ ").split(" # ")[0].strip() for line in block.splitlines() if line.startswith("$ ")]
    for language, block in BLOCKS
    if language == "console"
]
"""The commands of each block, which follow each other."""
COMMANDS = [command for session in SESSIONS for command in session]
TOOL = [command for command in COMMANDS if command.startswith("kseg-batch")]


def test_commands_are_known_kinds() -> None:
    """`make test` runs this; `make demo` and `pip install .` have tests of their own."""
    assert set(COMMANDS) - set(TOOL) == {"make demo", "make test", "pip install ."}
    assert len(TOOL) >= 5


@pytest.mark.parametrize("session", [s for s in SESSIONS if s[-1] in TOOL], ids=lambda session: session[0])
def test_each_command_succeeds(session: list[str], tmp_path: Path) -> None:
    collect = [sys.executable, "-m", "benchmarks.photos", str(tmp_path / "photos")]
    subprocess.run(collect, cwd=ROOT, check=True, capture_output=True, timeout=60)
    write_video(tmp_path / "clip.mp4", pan(30))
    program = Path(sysconfig.get_path("scripts")) / "kseg-batch"
    for command in session:
        if command in TOOL:
            words = [str(program), *shlex.split(command)[1:]]
            result = subprocess.run(
                words, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
            )
            assert result.returncode == 0, result.stderr


def test_python_examples_run(tmp_path: Path) -> None:
    """The example that reads annotations prints the lines shown below the example."""
    reading, using = (block for language, block in BLOCKS if language == "python")
    python = [sys.executable, "-W", "error"]
    subprocess.run([*python, "-c", using], cwd=tmp_path, check=True, timeout=300)
    collect = [sys.executable, "-m", "benchmarks.photos", str(tmp_path / "photos")]
    subprocess.run(collect, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (command,) = (command for command in TOOL if "--save coco" in command)
    subprocess.run([*python, "-m", "kseg_batch", *shlex.split(command)[1:]], cwd=tmp_path, check=True)
    result = subprocess.run(
        [*python, "-c", reading], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    shown = README.split(reading)[1].split("\n\n")[1]
    assert result.stdout.splitlines()[-6:] == [line.strip() for line in shown.splitlines()]


@pytest.mark.parametrize("name", ["run", "fit", "show", "live", "bench"])
def test_the_table_of_flags_is_complete_and_has_the_true_defaults(name: str) -> None:
    import typer

    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    options = {
        flag: parameter
        for parameter in command.params
        for flag in (*parameter.opts, *parameter.secondary_opts)
        if flag.startswith("-")
    }
    section = README.split(f"## `kseg-batch {name} ")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`-.*?) \| (.*?) \| .* \|$", section, re.MULTILINE)
    documented = {flag: default for flags, default in rows for flag in re.findall(r"`(-\S+?)`", flags)}
    assert set(documented) == set(options) - {"--help", "-h"}
    for flag, default in documented.items():
        if re.fullmatch(r"[\d.]+|`auto`", default):
            shown, found = default.strip("`"), str(options[flag].default)
            assert found == shown or float(found) == float(shown), flag


def test_make_demo_in_a_clean_copy(tmp_path: Path) -> None:
    """The first command of the README, from an empty environment, twice."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in filter(None, tracked.stdout.split("\0")):
        target = tmp_path / "clone" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    for _ in range(2):
        demo = ["make", "demo", f"PYTHON={sys.executable}", "VENV=.venv"]
        result = subprocess.run(
            demo,
            cwd=tmp_path / "clone",
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        assert re.search(r"^\d+ images, .* images/s with numba$", result.stdout, re.MULTILINE)
        assert "Look at photos-kseg/segmented beside photos, and at photos-kseg/masks." in result.stdout
    photos = [p for p in (tmp_path / "clone/photos").iterdir() if p.suffix != ".txt"]
    written = list((tmp_path / "clone/photos-kseg/segmented").glob("*.png"))
    assert len(written) == len(photos) >= 5


def test_the_pictures_are_made_by_their_script() -> None:
    """Equal to within the loss of JPEG, which is 0.3 to 2.8 grey levels on average.

    Another k gives 35 where the segmented scene is, and up to 8 where the trees are alone.
    """
    import cv2
    import numpy as np

    from benchmarks.figures.landscape import GAP, landscape, panels

    for path, shown in panels(landscape()).items():
        committed = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR_RGB)
        assert committed is not None
        for i, panel in enumerate(shown):
            left = i * (panel.shape[1] + GAP)
            found = committed[:, left : left + panel.shape[1]]
            assert np.abs(found.astype(int) - panel).mean() < (5 if panel.mean() > 64 else 2)


@pytest.mark.parametrize(("name", "k"), [("show.png", "4"), ("show_k.png", "2,3,4,5,6")])
def test_the_figures_are_made_by_show(name: str, k: str, tmp_path: Path) -> None:
    """Equal but for letters, which differ between versions of matplotlib, in 1.5% of the pixels."""
    import numpy as np
    from PIL import Image

    from benchmarks.figures.landscape import landscape

    Image.fromarray(landscape()).save(tmp_path / "landscape.png")
    words = ["show", "landscape.png", "--k", k, "--dpi", "70", "--save", name]
    subprocess.run([sys.executable, "-m", "kseg_batch", *words], cwd=tmp_path, check=True, timeout=120)
    drawn, committed = (
        np.asarray(Image.open(folder / name).convert("RGB")).astype(int)
        for folder in (tmp_path, ROOT / "benchmarks" / "results")
    )
    assert drawn.shape == committed.shape
    assert (np.abs(drawn - committed).max(axis=2) > 2).mean() < 0.025


def test_the_picture_of_the_window_is_made_by_its_script() -> None:
    """Equal to within JPEG's loss of 2.3 grey levels, the text left out, whose font changes with OpenCV."""
    import cv2
    import numpy as np

    from benchmarks.figures.landscape import HEIGHT
    from benchmarks.figures.live_view import TARGET, window

    committed = cv2.imdecode(np.frombuffer(TARGET.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert committed is not None
    expected = window()
    assert committed.shape == expected.shape
    assert np.abs(committed[:HEIGHT].astype(int) - expected[:HEIGHT]).mean() < 4
