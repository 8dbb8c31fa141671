"""Faults around a command: missing modules, crashing workers, locks, missing rights, limits on files."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CRASHES = """
import multiprocessing, os, signal, sys, time
if multiprocessing.parent_process() is not None or "spawn_main" in " ".join(sys.orig_argv):
    import pathlib
    whole_open = pathlib.Path.open

    def crashing_open(path, *args, **kwargs):
        if path.name == "exit.png":
            os._exit(3)
        if path.name == "segfault.png":
            os.kill(os.getpid(), signal.SIGSEGV)
        if path.name == "hang.png":
            time.sleep(1000)
        return whole_open(path, *args, **kwargs)

    pathlib.Path.open = crashing_open
"""


def crash_workers(folder: Path) -> None:
    """Let workers that import from the folder crash or hang at images named exit, segfault and hang.png."""
    (folder / "sitecustomize.py").write_text(CRASHES)


def hide_modules(*names: str) -> str:
    """Code after which the modules cannot be imported, as where their packages are not installed."""
    return f"import sys\nfor name in {names!r}: sys.modules[name] = None"


HIDE_LITTLECMS = """
from PIL import features
check = features.check
features.check = lambda name: name != "littlecms2" and check(name)
"""
"""Code after which Pillow says that its build has no LittleCMS."""


def break_module(folder: Path, name: str) -> Path:
    """Put a module into a folder whose import fails; return the folder."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(f"raise ImportError('no {name} here')\n")
    return folder


def as_ordinary_user(command: list[str]) -> list[str]:
    """The command without root's right to read and write everything, where this process is root."""
    if os.geteuid() != 0:
        return command
    rights = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}", *command]


NOBODY = 65534
"""The user and the group nobody."""


def as_nobody(command: list[str]) -> list[str]:
    """The command as the user nobody, who may read everything: Python itself may be in root's home."""
    ids = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    rights = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return ["setpriv", *ids, *rights, *command]


def on_small_disk(command: list[str], folder: Path, size: str) -> list[str]:
    """The command with a small file system at a folder, which only the command sees."""
    script = 'mount -t tmpfs -o "size=$1" tmpfs "$2" || exit 99; shift 2; exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, "sh", size, str(folder), *command]


def with_small_files(command: list[str], blocks: int) -> list[str]:
    """The command with a limit on the size of a file, in blocks of 512 or 1024 bytes, as the shell has it."""
    return ["sh", "-c", f'ulimit -f {blocks}; exec "$@"', "sh", *command]


LOCK = """
import sys, time
from filelock import FileLock
lock = FileLock(sys.argv[1])
lock.acquire()
print(flush=True)
time.sleep(99)
"""


@contextmanager
def held_by_another_process(lock: Path) -> Iterator[None]:
    """While another process holds a lock."""
    with subprocess.Popen([sys.executable, "-c", LOCK, lock], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            other.stdout.readline()
            yield
        finally:
            other.kill()
