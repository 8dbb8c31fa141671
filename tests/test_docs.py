"""Every command, flag and example of the README and of docs/ works as written."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer

import kseg_batch
from kseg_batch import errors
from kseg_batch.cli import app
from tests.support.docs import ALL_PAGES, PAGES, blocks, commands, section
from tests.support.paths import ROOT
from tests.support.videos import pan, write_video

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]

INSTALL = ["python3 -m venv .venv", ". .venv/bin/activate", "pip install ."]
MAKE = ["make test"]
"""Runs this file. `make demo`, which the README names, has a test below."""

HOME = "/home/ann"
"""The folder in which the README shows its commands."""

SOAKED = {"docs/speed.md": "40 seconds"}
"""Pages whose commands are run by --soak alone, and how long they take."""


@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks(page))])
def test_a_page_works_from_the_top(page: str, tmp_path: Path, soak: bool) -> None:
    """Its commands and Python examples, one after the other in one folder."""
    if page in SOAKED and not soak:
        pytest.skip(f"{SOAKED[page]}; run by --soak")
    collect_photos(tmp_path)
    write_video(tmp_path / "clip.mp4", pan(30))
    for language, block in blocks(page):
        if language == "console":
            for command, output in commands(block):
                if command not in (*INSTALL, *MAKE):
                    run_command(command, output, tmp_path)
        elif language == "python":
            if not needs_torch(block):
                run_example(block, page, tmp_path)
        elif language == "toml":
            (tmp_path / "kseg.toml").write_text(block)
        else:
            assert language == "dockerfile"


def test_the_readme_in_a_new_environment(tmp_path: Path, soak: bool) -> None:
    """From the installation to the last command, as in a fresh clone."""
    if not soak:
        pytest.skip("a minute; run by --soak")
    folder = clean_copy(tmp_path)
    installing, *others = (
        commands(block) for language, block in blocks("README.md") if language == "console"
    )
    assert [command for command, _ in installing] == INSTALL
    collect_photos(folder)
    script = "\n".join(["set -e", *INSTALL, *(c for block in others for c, _ in block if c not in MAKE)])
    script = script.replace("python3 ", f"{shlex.quote(sys.executable)} ")
    subprocess.run(["bash", "-c", script], cwd=folder, env=without_make(), check=True, timeout=600)
    assert (folder / "labelled/masked/coffee.png").exists()


def test_the_example_for_pytorch(tmp_path: Path, soak: bool) -> None:
    """With the PyTorch that is installed; --soak installs it for this test alone."""
    ((page, block),) = ((page, text) for page in PAGES for _, text in blocks(page) if needs_torch(text))
    path = ""
    if not find_spec("torch"):
        if not soak:
            pytest.skip("PyTorch, of several gigabytes, is not installed; --soak installs it for this test")
        path = str(tmp_path / "torch")
        pip = [sys.executable, "-m", "pip", "install", "-q", "--target", path, "torch"]
        subprocess.run(pip, check=True, timeout=600)
    collect_photos(tmp_path)
    run_command("kseg-batch run ./photos --k 3", "", tmp_path)
    run_example(block, page, tmp_path, path)


def collect_photos(folder: Path) -> None:
    """Collect the real photos of the examples into `photos`."""
    collect = [sys.executable, "-m", "benchmarks.photos", str(folder / "photos")]
    subprocess.run(collect, cwd=ROOT, check=True, capture_output=True, timeout=60)


def run_command(command: str, output: str, folder: Path) -> None:
    """Run a command of a page, and compare what it prints with what the page shows, but for times."""
    words = shlex.split(command)
    assert words[0] == "kseg-batch", command
    words[0] = str(Path(sysconfig.get_path("scripts")) / "kseg-batch")
    result = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    if output:
        assert without_times(result.stdout.replace(str(folder), HOME)) == without_times(output)


def without_times(text: str) -> str:
    return re.sub(r"[\d.]+(?= s:| images/s)", "#", text)


def needs_torch(block: str) -> bool:
    return "import torch" in block


def run_example(block: str, page: str, folder: Path, path: str = "") -> None:
    """Run a Python example; where the page shows what is printed, in an indented block, compare the lines."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    shown = re.match(r"```\n\n((?:    .*\n)+)", PAGES[page].split(block)[1])
    if shown:
        lines = [line.strip() for line in shown[1].splitlines()]
        assert result.stdout.splitlines()[-len(lines) :] == lines


def test_the_readme_fits_one_page() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= 16_000


def test_the_speed_table_has_the_medians_of_the_measurements() -> None:
    content = json.loads((ROOT / "benchmarks/results/tutorial.json").read_text(encoding="utf-8"))
    rows = re.findall(r"^\| (\d+) x (\d+) \| (\d+) \| (.*) \|$", PAGES["README.md"], re.MULTILINE)
    assert len(rows) == 6
    for width, height, k, cells in rows:
        chosen = [
            row
            for row in content["results"]
            if (row["width"], row["height"], row["k"]) == (int(width), int(height), int(k))
        ]
        names = ("ours", "cv2_one_start", "cv2")
        times = {name: 1e3 * statistics.median(row[name]["seconds"] for row in chosen) for name in names}
        factors = [
            statistics.median(row[name] for row in chosen) for name in ("speed_up_one_start", "speed_up")
        ]
        expected = (times["ours"], times["cv2_one_start"], factors[0], times["cv2"], factors[1])
        shown = [float(cell.split()[0].replace(",", "")) for cell in cells.split(" | ")]
        assert shown == [round(figure, 0 if i else 1) for i, figure in enumerate(expected)]


def test_every_link_leads_somewhere() -> None:
    def anchors(text: str) -> set[str]:
        headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}

    links = [(page, link) for page in PAGES for link in re.findall(r"\]\((.+?)\)", PAGES[page])]
    assert len(links) > 50
    for page, link in links:
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), f"{page}: {link}"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{page}: {link}"
    unlinked = {page for page in PAGES if not any(link.split("#")[0] == page for _, link in links)}
    assert unlinked == {"README.md"}


@pytest.mark.parametrize("name", ["run", "fit", "show", "live", "bench"])
def test_the_table_of_flags_is_complete_and_has_the_true_defaults(name: str) -> None:
    options = {
        flag: parameter
        for parameter in COMMANDS[name].params
        for flag in (*parameter.opts, *parameter.secondary_opts)
        if flag.startswith("-")
    }
    rows = re.findall(r"^\| (`-.*?) \| (.*?) \| .* \|$", section(f"## `kseg-batch {name} "), re.MULTILINE)
    documented = [(flag, default) for flags, default in rows for flag in re.findall(r"`(-\S+?)`", flags)]
    assert sorted(flag for flag, _ in documented) == sorted(set(options) - {"--help", "-h"})
    for flag, default in documented:
        if re.fullmatch(r"[\d.]+|`(auto|keep|rgb|200M)`", default) and options[flag].default is not None:
            shown, found = default.strip("`"), str(options[flag].default)
            assert found == shown or float(found) == float(shown), flag


def test_the_flags_of_run_are_in_the_groups_of_the_help() -> None:
    text = section("## `kseg-batch run ")
    for parameter in COMMANDS["run"].params:
        if parameter.param_type_name == "option":
            group = text.split(f"### {parameter.rich_help_panel}\n")[1].split("### ")[0]
            assert f"`{max(parameter.opts, key=len)}`" in group


def test_the_page_on_python_has_every_public_name() -> None:
    text = PAGES["docs/api.md"]
    members = [
        name
        for kind in (kseg_batch.Segmentation, kseg_batch.Palette)
        for name in vars(kind)
        if not name.startswith("_")
    ]
    assert len(members) > 15
    for name in (*kseg_batch.__all__, *members):
        assert re.search(rf"`{name}[`(]", text), name
    rows = re.findall(
        r"^\| `(\w+)` \| (.*?) \|", text.split("## `segment(")[1].split("\n## ")[0], re.MULTILINE
    )
    parameters = [*inspect.signature(kseg_batch.segment).parameters.values()][1:]
    assert [name for name, _ in rows] == [parameter.name for parameter in parameters]
    for (name, default), parameter in zip(rows, parameters, strict=True):
        value = parameter.default
        assert default.strip("`") == (json.dumps(value) if isinstance(value, str) else str(value)), name
    for name in re.findall(r"^\| `(\w+(?:Error|Warning))`", text, re.MULTILINE):
        assert hasattr(errors, name), name


def test_nobody_is_told_to_install_a_name_that_no_index_has() -> None:
    assert "kseg-batch[" not in ALL_PAGES


def clean_copy(folder: Path) -> Path:
    """Copy the files that Git tracks into an empty folder, and return its path."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in filter(None, tracked.stdout.split("\0")):
        target = folder / "clone" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    return folder / "clone"


def without_make() -> dict[str, str]:
    """Return the environment without what an outer make has set."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}


def test_make_demo_in_a_clean_copy(tmp_path: Path) -> None:
    """From an empty environment, twice."""
    folder = clean_copy(tmp_path)
    for _ in range(2):
        demo = ["make", "demo", f"PYTHON={sys.executable}", "VENV=.venv"]
        result = subprocess.run(
            demo,
            cwd=folder,
            env=without_make(),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        assert re.search(r"^\d+ images, .* images/s with numba$", result.stdout, re.MULTILINE)
        assert "Look at photos-kseg/segmented beside photos, and at photos-kseg/masks." in result.stdout
    photos = [p for p in (folder / "photos").iterdir() if p.suffix != ".txt"]
    written = list((folder / "photos-kseg/segmented").glob("*.png"))
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
