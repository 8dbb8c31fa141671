"""What the tests and OpenCV need of the system, and the Debian packages that bring it.

    python3 -m tests.support.system demo   # what `make demo` needs; `test` for what the tests need, too

installs what is missing, where there is apt-get and the user is root or has sudo without a password.
Elsewhere the command names what is missing and how to install it. The command runs before there is a virtual
environment, so this module imports the standard library alone.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PROGRAMS = {
    "g++": "g++",
    "make": "make",
    "mkfs.exfat": "exfatprogs",
    "mount.exfat-fuse": "exfat-fuse",
    "pngcheck": "pngcheck",
    "xdotool": "xdotool",
    "Xvfb": "xvfb",
}
"""Programs that tests start, with their packages."""

MODULES = {"ensurepip": "python3-venv", "tkinter": "python3-tk"}
"""Modules of Python's standard library that Debian packs separately."""

LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libSM.so.6": "libsm6",
    "libX11.so.6": "libx11-6",
    "libXext.so.6": "libxext6",
    "libxcb.so.1": "libxcb1",
}
"""Libraries that opencv-python loads, some of them when it opens a window."""

PACKAGES = {**PROGRAMS, **MODULES, **LIBRARIES}
"""The Debian package of each thing."""

NEEDS = {"demo": ("ensurepip", *LIBRARIES), "test": tuple(PACKAGES)}
"""The things that a target of the Makefile needs."""


def is_here(thing: str) -> bool:
    """Return whether the system has a thing: a program, a module or a library."""
    if thing in PROGRAMS:
        return shutil.which(thing) is not None
    try:
        if thing in MODULES:
            importlib.import_module(thing)
        else:
            ctypes.CDLL(thing)
    except (ImportError, OSError):
        return False
    return True


def missing(things: Iterable[str]) -> list[str]:
    """Return the things that the system lacks."""
    return [thing for thing in things if not is_here(thing)]


def remedy(things: Iterable[str]) -> str:
    """Return the command that installs things."""
    return f"apt-get install {' '.join(PACKAGES[thing] for thing in things)}"


def administrator() -> list[str] | None:
    """Return the words ahead of a command that root has to run; None where this user may not run one."""
    if os.geteuid() == 0:
        return []
    sudo = ["sudo", "-n"]
    if shutil.which("sudo") is None:
        return None
    asked = subprocess.run([*sudo, "true"], capture_output=True, check=False)
    return sudo if asked.returncode == 0 else None


def install(things: Sequence[str]) -> None:
    """Install the packages of things where this user may, and say so. Where apt-get fails, show its words."""
    prefix = administrator()
    if prefix is None or shutil.which("apt-get") is None:
        return
    print(f"Installing what the system lacks: {remedy(things)}", flush=True)
    packages = [PACKAGES[thing] for thing in things]
    for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        done = subprocess.run(
            [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            print(done.stdout, end="", file=sys.stderr)


def main() -> None:
    """Install what a target needs, and name what is missing after that."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.support.system", description=main.__doc__)
    parser.add_argument("target", choices=NEEDS)
    needed = NEEDS[parser.parse_args().target]
    if not sys.platform.startswith("linux"):
        return
    if lacked := missing(needed):
        install(lacked)
    if lacked := missing(needed):
        print(f"The system lacks {', '.join(lacked)}; to add what is missing, as root: {remedy(lacked)}")


if __name__ == "__main__":
    main()
