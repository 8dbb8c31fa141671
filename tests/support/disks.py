"""A disk that ignores the case of names, as those of cameras do."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = 16 << 20
"""Bytes of the disk."""


@contextlib.contextmanager
def exfat_disk(folder: Path) -> Iterator[Path]:
    """An exFAT disk in a file, mounted while the context lasts. Skip the test where none can be mounted."""
    image, mounted = folder / "disk.img", folder / "disk"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(SIZE)
    with contextlib.ExitStack() as cleanup:
        device = _run("losetup", "--find", "--show", image).strip()
        cleanup.callback(_run, "losetup", "--detach", device)
        _run("mkfs.exfat", device)
        _run("mount.exfat-fuse", device, mounted)
        cleanup.callback(_run, "umount", mounted)
        yield mounted


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no exFAT disk can be mounted here, as root can: {(done.stderr or done.stdout).strip()}")
    return done.stdout
