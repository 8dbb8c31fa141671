"""What the tests need of the system: installed where the user may, else named, and never missing unseen."""

from __future__ import annotations

import os
import shutil
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from tests.support import system
from tests.support.needs import need
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

INSTALL = "apt-get install g++ make exfatprogs exfat-fuse pngcheck xdotool xvfb"
THINGS = "g++", "make", "mkfs.exfat", "mount.exfat-fuse", "pngcheck", "xdotool", "Xvfb"
LACKS = f"The system lacks {', '.join(THINGS)}; to add what is missing, as root"

APT_GET = """#!/bin/sh
echo "$*" >> "$0.log"
if [ $1 = install ]; then
    for program in g++ make mkfs.exfat mount.exfat-fuse pngcheck xdotool Xvfb; do
        ln -s "$0" "${0%/*}/$program"
    done
fi
"""
BROKEN_APT_GET = "#!/bin/sh\necho there is no network\nexit 100\n"
SUDO = '#!/bin/sh\nshift\n"$@"\n'
SUDO_WITH_A_PASSWORD = "#!/bin/sh\nexit 1\n"


class Machine:
    """A folder with all programs of the machine, a user, and `make test`'s first step."""

    def __init__(self, folder: Path, user: int, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._user = user
        self._capsys = capsys

    def add(self, program: str, text: str) -> None:
        """Add a program."""
        path = self.folder / program
        path.write_text(text)
        path.chmod(0o755)

    def prepare(self) -> tuple[list[str], str]:
        """Install what is missing. Return the lines on standard output, and standard error."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", str(self.folder))
            patch.setattr(os, "geteuid", lambda: self._user)
            patch.setattr(system, "NEEDS", {"test": tuple(system.PROGRAMS)})
            patch.setattr("sys.argv", ["system", "test"])
            system.main()
        captured = self._capsys.readouterr()
        return captured.out.splitlines(), captured.err


@pytest.fixture(params=[0, 1000], ids=["root", "user"])
def machine(tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Machine:
    for program in ("env", "ln"):
        (tmp_path / program).symlink_to(shutil.which(program) or "")
    return Machine(tmp_path, request.param, capsys)


def test_what_is_missing_is_installed_once(machine: Machine) -> None:
    machine.add("apt-get", APT_GET)
    machine.add("sudo", SUDO)
    assert machine.prepare() == ([f"Installing what the system lacks: {INSTALL}"], "")
    update, install = (machine.folder / "apt-get.log").read_text().splitlines()
    assert update == "update -qq"
    assert install == INSTALL.replace("apt-get install", "install -y -qq --no-install-recommends")
    assert machine.prepare() == ([], "")
    assert (machine.folder / "apt-get.log").read_text().count("\n") == 2


@pytest.mark.parametrize("machine", [1000], indirect=True)
@pytest.mark.parametrize("sudo", [None, SUDO_WITH_A_PASSWORD])
def test_a_user_without_rights_reads_the_command(machine: Machine, sudo: str | None) -> None:
    machine.add("apt-get", APT_GET)
    if sudo:
        machine.add("sudo", sudo)
    assert machine.prepare() == ([f"{LACKS}: {INSTALL}"], "")
    assert not (machine.folder / "apt-get.log").exists()


def test_a_system_without_apt_get(machine: Machine) -> None:
    machine.add("sudo", SUDO)
    assert machine.prepare() == ([f"{LACKS}: {INSTALL}"], "")


def test_packages_that_cannot_be_installed(machine: Machine) -> None:
    machine.add("apt-get", BROKEN_APT_GET)
    machine.add("sudo", SUDO)
    lines, errors = machine.prepare()
    assert lines[1:] == [f"{LACKS}: {INSTALL}"]
    assert errors == "there is no network\n" * 2


def test_modules_and_libraries_are_found_or_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "MODULES", {"json": "", "no_such_module": ""})
    assert system.missing(["json", "no_such_module"]) == ["no_such_module"]
    assert system.missing(["libc.so.6", "libno-such-library.so.6"]) == ["libno-such-library.so.6"]


def test_a_test_whose_need_is_missing_is_skipped_or_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    reason = r"^the system lacks pngcheck, Xvfb: apt-get install pngcheck xvfb$"
    for required, outcome in ((False, pytest.skip.Exception), (True, pytest.fail.Exception)):
        config = cast("pytest.Config", SimpleNamespace(getoption={"--require-system": required}.get))
        need(config, ["libc.so.6"])
        with pytest.raises(outcome, match=reason):
            need(config, ["pngcheck", "Xvfb"])


PYTHON = """#!/bin/sh
echo "$*" >> "$0.log"
case "$*" in
    "-c import cv2") test -e "$0.headless" ;;
    "-c from importlib"*) echo 4.12.0.88 ;;
    *"install -qq opencv-python-headless==4.12.0.88") : > "$0.headless" ;;
esac
"""


@pytest.mark.needs("make")
def test_an_opencv_without_windows_takes_the_place_of_one_that_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin/python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    monkeypatch.delenv("MAKEFLAGS", raising=False)
    command = ["make", f"VENV={tmp_path}", f"{tmp_path}/demo.done"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "opencv-python-headless, which needs none and has no windows, takes its place" in done.stdout
    assert [
        line.removeprefix("-m pip ") for line in (tmp_path / "bin/python.log").read_text().splitlines()
    ] == [
        "uninstall -qq -y opencv-python-headless",
        "install -qq --editable .[photos]",
        "-c import cv2",
        '-c from importlib.metadata import version; print(version("opencv-python"))',
        "uninstall -qq -y opencv-python",
        "install -qq opencv-python-headless==4.12.0.88",
        "-c import cv2",
    ]
