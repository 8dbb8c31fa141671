"""The order of the tests themselves: helpers live in support, and folders mirror the wings of the package."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TESTS = ROOT / "tests"
OWN_FOLDERS = {"support", "gpu", "benchmarks"}
"""Folders that mirror no wing of the package."""

IN_A_STRING = re.compile(r"^\s*from (tests[\w.]*) import (.+)|^\s*import (tests[\w.]+)", re.MULTILINE)


def imported_modules(text: str) -> Iterator[str]:
    """The modules that a file imports, also inside functions and in code that the file holds as a string."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            for source, names, module in IN_A_STRING.findall(node.value):
                yield from ([module] if module else [f"{source}.{name.strip()}" for name in names.split(",")])


def imports_of_test_modules(text: str) -> list[str]:
    """The imports of test modules, and of conftest modules, in a file."""
    return [
        name
        for name in imported_modules(text)
        if name.startswith("tests.") and re.search(r"\.(test_\w+|conftest)\b", name)
    ]


def test_no_module_imports_a_test_module() -> None:
    found = {
        str(path): imports_of_test_modules(path.read_text(encoding="utf-8")) for path in TESTS.rglob("*.py")
    }
    assert len(found) > 60
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "text",
    [
        "from TESTS.batch.test_run import kseg",
        "from TESTS.batch import test_run",
        "import TESTS.conftest",
        "def f():\n    from TESTS import conftest",
        "CODE = 'import os\\nfrom TESTS.batch.test_run import kseg'",
        "CODE = f'import os\\nfrom TESTS.batch import test_run\\n{1}'",
        "CODE = 'import TESTS.batch.test_run as runs'",
    ],
)
def test_an_import_of_a_test_module_would_be_found(text: str) -> None:
    """The examples name the package TESTS, because the name `tests` would be found in this file."""
    assert len(imports_of_test_modules(text.replace("TESTS", "tests"))) == 1


def packages_below(folder: Path) -> set[str]:
    """The folders below a folder that hold modules."""
    return {str(file.parent.relative_to(folder)) for file in folder.rglob("*.py")} - {"."}


def test_folders_mirror_the_wings_of_the_package() -> None:
    mirrored = {name for name in packages_below(TESTS) if name.split("/")[0] not in OWN_FOLDERS}
    package = packages_below(ROOT / "kseg_batch")
    assert mirrored <= package
    assert {name for name in package if "/" not in name} - {"kernels"} <= mirrored


def test_the_map_of_the_house_names_every_folder_and_no_other() -> None:
    """The table of docs/house.md has every wing, every room in a wing, and the modules of all wings."""
    text = (ROOT / "docs/house.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `([\w/.]+?)/?` \|", text, re.MULTILINE))
    top = {file.name for file in (ROOT / "kseg_batch").glob("*.py") if not file.name.startswith("__")}
    assert named == packages_below(ROOT / "kseg_batch") - {"kernels"} | top
    for path in re.findall(r"`((?:\w+/)+\w+\.py)`", text):
        assert (ROOT / "kseg_batch" / path).exists(), path


def test_the_package_stays_easy_to_survey() -> None:
    """At most 16 wings and modules stand at the top, and no module has more than 350 lines."""
    package = ROOT / "kseg_batch"
    files = [file for file in package.rglob("*.py") if "kernels" not in file.relative_to(package).parts]
    assert len({file.relative_to(package).parts[0] for file in files}) <= 16
    lines = {str(file): len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert {file: n for file, n in lines.items() if n > 350} == {}


def test_every_folder_is_a_package_and_support_holds_no_tests() -> None:
    folders = {file.parent for file in TESTS.rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []
    assert list((TESTS / "support").rglob("test_*.py")) == []
