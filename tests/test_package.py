"""The installed package, and the modules that an import loads."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PARTS = ("kseg_batch", "kernels", "pyproject.toml", "README.md", "LICENSE")


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

    backend = "numba" if kind == "wheel" else "opencv"  # compiling is the same for all, and takes 20 seconds
    code = f"""
import importlib.util, numpy as np
import kseg_batch, kseg_batch.kernels.numba_cpu
assert importlib.util.find_spec("kernels") is None
rgb = np.zeros((2, 2, 3), np.uint8); rgb[0] = 255
from kseg_batch.backends.cupy import FILES, kernel_folder
assert {{path.name for path in kernel_folder().glob("*.cu")}} == set(FILES.values())
assert len(list(kernel_folder().glob("*.cuh"))) >= 4
print(kseg_batch.__file__)
print(kseg_batch.segment(rgb, 2, backend="{backend}").centers.tolist())
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
