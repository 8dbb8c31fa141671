"""Flags from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import kseg
from tests.support.image_files import save
from tests.support.images import noise
from tests.support.outputs import manifest, tree


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(noise(9, 9), tmp_path / "p/a.png")
    save(noise(9, 9), tmp_path / "p/thumbnails/b.png")
    return tmp_path


def test_a_file_gives_flags_and_the_command_line_wins(folder: Path) -> None:
    (folder / "kseg.toml").write_text(
        'k = 4\nsave = ["labels", "masks"]\nmax-iter = 7\ngpu = false\nexclude = "thumbnails"\nout = "here"\n'
    )
    result = kseg("run", "p", "--config", "kseg.toml", "--save", "masks", cwd=folder)
    assert (result.returncode, result.stderr) == (0, "kseg-batch: flags from kseg.toml\n")
    assert len(manifest(folder / "here")) == 1
    assert [name for name in tree(folder / "here") if name.endswith("png")] == [
        f"masks/a_mask{i}.png" for i in range(4)
    ]
    assert kseg("run", "p", "--config", "kseg.toml", "--k", 2, "-o", "two", cwd=folder).returncode == 0
    assert len(tree(folder / "two")) == 6


def test_the_project_file_of_the_current_folder(folder: Path) -> None:
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "mine"\n[tool.kseg-batch]\nk = 2\nquiet = true\n'
    )
    result = kseg("run", "p/a.png", cwd=folder)
    assert (result.returncode, result.stderr, result.stdout) == (0, "", "")
    assert len(manifest(folder / "p/a.png-kseg")[0]["counts"]) == 2
    (folder / "pyproject.toml").write_text('[project]\nname = "mine"\n')
    assert len(kseg("run", "p/a.png", "-o", "o", cwd=folder).stdout) > 0


def test_a_project_file_whose_entry_is_no_table(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[tool]\nkseg-batch = 3\n")
    result = kseg("run", "p", cwd=folder)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "kseg-batch: pyproject.toml: tool.kseg-batch must be a table.\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("clusters = 3", "kseg.toml: there is no flag --clusters for a file."),
        ("time-out = 3", "kseg.toml: there is no flag --time-out for a file; did you mean timeout?"),
        ("quiet = 'yes'", "kseg.toml: quiet must be true or false, not 'yes'."),
        ("attempts = 2.5", "kseg.toml: --attempts must be a whole number, not '2.5'."),
        ("attempts = true", "--attempts must be a whole number, not 'True'."),
        ("alpha = 'kept'", "--alpha must be one of keep, ignore, not 'kept'; did you mean keep?"),
        ("k = {a = 1}", "kseg.toml: k must be a value or a list, not a table."),
        ("k = ", "kseg.toml is not TOML: "),
        ("config = 'x'", "kseg.toml: there is no flag --config for a file."),
        ("device = [0, 1]", "kseg.toml: device must be one value, not a list."),
        ("tool = 3", "kseg.toml has no table [tool.kseg-batch]."),
        ("[tool.other]", "kseg.toml has no table [tool.kseg-batch]."),
        ("[[tool.kseg-batch]]", "kseg.toml: tool.kseg-batch must be a table."),
        ("[tool]\nkseg-batch = 3", "kseg.toml: tool.kseg-batch must be a table."),
        ("k = 300", "--k must be from 1 to 256, not 300."),
        ("k = 'three'", "--k must be a whole number, auto, or a range such as auto:2-20, not 'three'."),
        ("seed = 'three'", "--seed must be a whole number, not 'three'."),
        ("save = 'everything'", "--save must be one or more of segmented, masks, "),
        (None, "kseg.toml cannot be read: No such file or directory."),
    ],
)
def test_a_mistake_gets_a_sentence(folder: Path, content: str | None, message: str) -> None:
    if content is not None:
        (folder / "kseg.toml").write_text(content)
    result = kseg("run", "p", "--config", "kseg.toml", cwd=folder)
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr
    assert not (folder / "p-kseg").exists()
