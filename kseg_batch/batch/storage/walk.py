"""The walk through a source folder: its images, in the order of their paths."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from kseg_batch.batch.storage.source import first_bytes
from kseg_batch.images.extensions import EXTENSIONS
from kseg_batch.images.formats import APPLE_DOUBLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kseg_batch.batch.storage.passed_over import PassedOverPaths

MARKER = ".kseg-batch"
"""Name of the file that marks a folder of outputs, so that no scan enters the folder."""

SYSTEM_FILES = frozenset((".DS_Store", "Thumbs.db", "thumbs.db", "ehthumbs.db", "desktop.ini", "Desktop.ini"))
"""Names of files that macOS and Windows leave in folders."""

MACOS_FOLDER = "__MACOSX"
"""Name of the folder of AppleDouble files in an archive that was made by macOS."""


@dataclass(frozen=True, slots=True)
class FileSelection:
    """Which files of a folder are images."""

    include: tuple[str, ...] = ()
    """Globs of the image files. If there are none, images are told by their extension."""
    exclude: tuple[str, ...] = ()
    """Globs of the files and folders to pass over."""

    def includes(self, relative: str, name: str) -> bool:
        """Return whether a file that is not excluded is an image by its name.

        Args:
            relative: The path of the file below its source folder.
            name: The name of the file.
        """
        if self.include:
            return _matches(self.include, relative, name)
        return os.path.splitext(name)[1].lower() in EXTENSIONS  # noqa: PTH122 - a Path costs ten times as much

    def excludes(self, relative: str, name: str) -> bool:
        """Return whether a file or folder is excluded."""
        return bool(self.exclude) and _matches(self.exclude, relative, name)


def _matches(globs: Sequence[str], relative: str, name: str) -> bool:
    """Return whether a glob matches: globs with a slash are compared with the path, others with the name."""
    return any(fnmatchcase(relative if "/" in glob else name, glob.rstrip("/")) for glob in globs)


def walk(folder: str, selection: FileSelection, passed_over: PassedOverPaths) -> Iterator[tuple[str, str]]:
    """Yield the path of each image in a folder, and its path below the folder, in the order of the paths.

    Args:
        folder: The folder.
        selection: Which files are images.
        passed_over: The record of paths that are passed over, to which others are added.
    """
    levels = [("", _list(folder, passed_over))]  # no recursion: folders may be nested a thousand deep
    while levels:
        prefix, entries = levels[-1]
        for entry in entries:
            name = entry.name
            relative = prefix + name
            try:
                if selection.excludes(relative, name):
                    passed_over.excluded += 1
                elif entry.is_dir():
                    if _enters(entry, passed_over):
                        levels.append((f"{relative}/", _list(entry.path, passed_over)))
                        break
                elif name in SYSTEM_FILES or (name.startswith("._") and _is_apple_double(entry.path)):
                    passed_over.system_files += 1
                elif selection.includes(relative, name):
                    yield entry.path, relative
                else:
                    passed_over.other_files.add(entry.path, name)
            except OSError as error:
                passed_over.unreadable.append((Path(entry.path), error.strerror or str(error)))
        else:
            levels.pop()


def _list(folder: str, passed_over: PassedOverPaths) -> Iterator[os.DirEntry[str]]:
    """Return the entries of a folder in the order of their names; none where the folder cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return iter(sorted(entries, key=lambda entry: entry.name))
    except OSError as error:
        passed_over.unreadable.append((Path(folder), error.strerror or str(error)))
        return iter(())


def _enters(entry: os.DirEntry[str], passed_over: PassedOverPaths) -> bool:
    """Return whether the walk enters a folder, and record a folder that it does not enter."""
    if entry.is_symlink():
        passed_over.links += 1
    elif entry.name == MACOS_FOLDER:
        passed_over.system_folders += 1
    elif Path(entry.path, MARKER).exists():
        passed_over.output_folders.append(Path(entry.path))
    else:
        return True
    return False


def _is_apple_double(path: str) -> bool:
    """Return whether a file with a name that begins with ._ has attributes of another file, and no image."""
    return first_bytes(path, len(APPLE_DOUBLE)) == APPLE_DOUBLE
