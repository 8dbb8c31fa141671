"""The installed package, and the modules that an import loads."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.catalog import BENCHMARKS, GPU, LINUX
from benchmarks.support.scripts import PEER
from kseg_batch.backends.gpu.library import PACKAGES
from kseg_batch.bench.libraries import LIBRARIES
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTS = ("kseg_batch", "kernels", "pyproject.toml", "README.md", "LICENSE")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]

PIP_INSTALL = re.compile(r"pip install((?: --?[\w-]+| '?[A-Za-z][\w-]*(?:\[\w*\])?'?)+)")
"""A pip command inside a message, up to the first word that is neither an option nor a package."""


def run(*command: object, cwd: Path, **environment: str) -> str:
    """Standard output of a command that has to succeed."""
    result = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": "", **environment},  # else the checkout may be on the path
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture
def source_tree(tmp_path: Path) -> Path:
    """A copy of the files of a build, so that builds leave nothing in the checkout."""
    tree = tmp_path / "tree"
    tree.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, tree / part, ignore=ignore)
        else:
            shutil.copy(ROOT / part, tree)
    return tree


@pytest.mark.parametrize("kind", ["wheel", "sdist", "editable"])
def test_installs_without_a_top_level_kernels(source_tree: Path, tmp_path: Path, kind: str) -> None:
    """Install into a fresh environment, which sees the dependencies of the current one."""
    python = tmp_path / "venv/bin/python"
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    site = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    if kind == "editable":
        what: tuple[object, ...] = ("--editable", source_tree)
    else:
        run(sys.executable, "-m", "build", "--no-isolation", f"--{kind}", source_tree, cwd=tmp_path)
        what = tuple((source_tree / "dist").iterdir())
    install = ("install", "--quiet", "--no-deps", "--no-build-isolation", "--ignore-installed", *what)
    run(sys.executable, "-m", "pip", "--python", python, *install, cwd=tmp_path)

    # One kernel is compiled, because all kernels take 20 seconds.
    code = """
import importlib.util, numpy as np
import kseg_batch
from kseg_batch.kernels.numba_cpu import splitmix64
assert splitmix64(np.uint64(0), np.uint64(0)) == 0xE220A8397B1DCDAF
assert importlib.util.find_spec("kernels") is None
rgb = np.zeros((2, 2, 3), np.uint8); rgb[0] = 255
from kseg_batch.backends.cupy import FILES, kernel_folder
assert {path.name for path in kernel_folder().glob("*.cu")} == set(FILES.values())
assert len(list(kernel_folder().glob("*.cuh"))) >= 4
print(kseg_batch.__file__)
print(kseg_batch.segment(rgb, 2, backend="opencv").centers.tolist())
"""
    where, centers = run(python, "-c", code, cwd=tmp_path).splitlines()
    assert Path(where).is_relative_to(source_tree if kind == "editable" else site)
    assert (Path(where).parent / "py.typed").exists()
    assert centers == "[[0.0, 0.0, 0.0], [255.0, 255.0, 255.0]]"
    version = run(tmp_path / "venv/bin/kseg-batch", "--version", cwd=tmp_path)
    assert version == "kseg-batch 0.1.0\n"
    if kind == "wheel":
        check_the_root_of_a_clone(python, source_tree)


CHOOSE = """
import kseg_batch
from kseg_batch.backends.registry import choose

chosen = choose()
print(kseg_batch.__file__)
print(chosen.backend.name)
print(*(f"{other.name}: {other.reason}" for other in chosen.unavailable), sep="\\n")
"""


def check_the_root_of_a_clone(python: Path, tree: Path) -> None:
    """In the root of a clone Python finds the checkout first, whatever is installed."""
    package, backend, *_ = run(python, "-c", CHOOSE, cwd=tree).splitlines()
    assert (package, backend) == (str(tree / "kseg_batch/__init__.py"), "numba")
    shutil.rmtree(tree / "kernels")
    _, backend, *unavailable = run(python, "-c", CHOOSE, cwd=tree).splitlines()
    (numba,) = (line for line in unavailable if line.startswith("numba: "))
    assert backend == "opencv"
    assert "kseg-batch is not complete" in numba and "numba" not in numba.removeprefix("numba: ").split()


@pytest.mark.parametrize("command", ["run", "live", "bench", "show"])
@pytest.mark.parametrize("how", ["import kseg_batch", "from kseg_batch.cli import main; main()"])
def test_imports_and_help_load_no_heavy_library(tmp_path: Path, how: str, command: str) -> None:
    code = f"""
import atexit, sys
sys.argv = ["kseg-batch", "{command}", "--help"]
heavy = ("numba", "llvmlite", "cupy", "cv2", "av", "isal", "rich", "matplotlib", "kseg_batch.bench")
atexit.register(lambda: print("loaded:", [name for name in heavy if name in sys.modules]))
{how}
"""
    assert run(sys.executable, "-c", code, cwd=tmp_path).splitlines()[-1] == "loaded: []"


def test_the_citation_and_the_changelog_name_the_version() -> None:
    version = re.escape(PROJECT["version"])
    assert re.search(
        rf"^version: {version}$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert re.search(
        rf"^## .*\b{version}\b", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )


def package_names(requirements: list[str]) -> set[str]:
    """The names of packages, without extras and versions."""
    return {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}


def strings(text: str) -> Iterator[str]:
    """The strings of a source file, as the program joins them; the value of an expression is left out."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield "".join(map(str, parts))


def packages_to_install(text: str) -> set[str]:
    """The packages in the pip commands of a source file."""
    commands = [command for string in strings(text) for command in PIP_INSTALL.findall(string)]
    return {
        word.strip("'").partition("[")[0]
        for command in commands
        for word in command.split()
        if not word.startswith("-")
    }


def test_packages_to_install_are_found_in_messages() -> None:
    text = """f"{error}: " f"pip install -U 'cupy[ctk]' rich, {name}"; "pip installs"; "pip install av." """
    assert packages_to_install(text) == {"cupy", "rich", "av"}


def test_messages_install_the_packages_of_the_project_and_never_an_extra_of_it() -> None:
    """No package index has kseg-batch: anybody could upload a package of this name."""
    known = package_names([*PROJECT["dependencies"], *(name for names in EXTRAS.values() for name in names)])
    known -= {"kseg-batch"}
    toolkit = {"PyQt6"}  # opens matplotlib's windows, as other toolkits do, so that no extra brings one
    sources = [
        path for name in ("kseg_batch", "benchmarks", "kernels") for path in (ROOT / name).rglob("*.py")
    ]
    texts = {str(path): path.read_text(encoding="utf-8") for path in sources}
    assert len(texts) > 150
    assert [path for path, text in texts.items() if "kseg-batch[" in text] == []
    told = {path: packages_to_install(text) for path, text in texts.items()}
    assert {path: names for path, names in told.items() if names - known - toolkit} == {}
    assert set().union(*told.values()) >= {
        "av",
        "matplotlib",
        "pillow-heif",
        "pillow-jxl-plugin",
        "pycocotools",
        "scikit-learn",
    }

    needs = {need.name for benchmark in BENCHMARKS for need in benchmark.needs} - {GPU.name, LINUX.name}
    libraries = {library.requirement.distribution for library in LIBRARIES if library.requirement}
    assert needs | libraries | {PEER} <= known
    for cuda, packages in PACKAGES.items():
        assert packages.replace("'", "").split() == [name.split(">=")[0] for name in EXTRAS[f"cuda{cuda}"]]


def test_an_import_of_the_package_leaves_numpy_to_its_use() -> None:
    """So the command line can say what is missing; the public names are there all the same."""
    code = """
import sys
import kseg_batch
assert "numpy" not in sys.modules
assert issubclass(kseg_batch.errors.ImageError, kseg_batch.errors.KsegError)
from kseg_batch import *
assert segment is kseg_batch.segment and {*kseg_batch.__all__} <= {*dir(kseg_batch)}
assert "numpy" in sys.modules and not hasattr(kseg_batch, "unknown")
"""
    run(sys.executable, "-c", code, cwd=ROOT)
