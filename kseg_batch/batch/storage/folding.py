"""Names that a file system treats as equal: names of different case, or of different Unicode forms.

The disks of cameras (exFAT, FAT) and those of Windows and macOS treat photo.png and Photo.PNG as one file;
those of macOS do so with the two forms of a letter with an accent, too.
"""

from __future__ import annotations

import os
import secrets
import unicodedata
from typing import TYPE_CHECKING

from kseg_batch.kmeans.cluster_names import normalize_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Fold = Callable[[str], str]
    """Returns a text that is the same for all names that a file system treats as equal."""

PROBE = ".kseg-batch-probe-"
"""First characters of the name of the file by which a file system is probed."""

ACCENTS = ("\u00e9", "")
"""Ends of the name: a letter that has two Unicode forms; nothing, for a file system without such letters."""


def unchanged(name: str) -> str:
    """Return the name: for a file system to which no two names are equal."""
    return name


def nfc(name: str) -> str:
    """Return the name NFC-normalised: for a file system to which the Unicode forms of a name are equal."""
    return unicodedata.normalize("NFC", name)


FOLDS: dict[tuple[bool, bool], Fold] = {
    (False, False): unchanged,
    (True, False): str.casefold,
    (False, True): nfc,
    (True, True): normalize_name,
}
"""How to fold names, by whether a file system ignores their case, and their Unicode form."""


def find_fold(out: Path) -> Fold:
    """Return how the file system of an output folder folds names.

    A file is created in the folder, or in the nearest one above it that exists, looked for under another
    name, and removed. Where no file can be created, no output can be either, and names stay unchanged.
    """
    folder = out.absolute()
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    for accent in ACCENTS:
        path = folder / f"{PROBE}{secrets.token_hex(8)}{accent}"
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except OSError:
            continue
        try:
            ignores_case = os.path.lexists(path.with_name(path.name.replace(PROBE, PROBE.upper())))
            other_form = unicodedata.normalize("NFD", path.name)
            ignores_form = other_form != path.name and os.path.lexists(path.with_name(other_form))
        finally:
            path.unlink()
        return FOLDS[ignores_case, ignores_form]
    return unchanged


def is_one_file(one: Path, other: Path) -> bool:
    """Return whether two paths that a file system may treat as equal are names of one file.

    Two files are both listed by their folder. Some file systems give each name a number of its own, so that
    os.path.samefile does not find out.
    """
    if normalize_name(str(one)) != normalize_name(str(other)):
        return False
    parts, others = one.absolute().parts, other.absolute().parts
    for i, names in enumerate(zip(parts, others, strict=True)):
        if names[0] != names[1] and {*names} <= {*os.listdir(os.path.join(*parts[:i]))}:  # noqa: PTH118, PTH208
            return False
    return True
