"""Folders in each other, deeper than Python's recursion goes."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from tests.support.image_files import encoded

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def nested_folders(folder: Path, depth: int, every: int = 1) -> Iterator[Path]:
    """A folder with images a.png and z.png, and a folder d that holds the same, to the given depth.

    Of the folders, only every n-th has images.
    """
    image = encoded(Image.new("RGB", (4, 4), "red"), "PNG")
    folder.mkdir()
    here = Path.cwd()
    os.chdir(folder)
    try:
        for level in range(depth):
            for name in () if level % every else ("a.png", "z.png"):
                Path(name).write_bytes(image)
            Path("d").mkdir()
            os.chdir("d")
    finally:
        os.chdir(here)
    try:
        yield folder
    finally:
        subprocess.run(["rm", "-rf", folder], check=True)  # shutil.rmtree of Python 3.11 is recursive
