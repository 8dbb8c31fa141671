"""Which names clusters may have: they stand in file names, and beside numbers and colours in flags."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from kseg_batch.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_LENGTH = 64
"""Characters."""

NUMBER = re.compile(r"[+-]?\d+")
"""What is taken for a cluster's number, and so cannot be its name."""

NOT_IN_FILE_NAMES = '/\\:*?"<>|'
"""Characters that one system or another does not allow there."""


def check_names(names: Sequence[str], k: int) -> None:
    """Refuse names that could not tell k clusters apart on every file system.

    Args:
        names: One for each cluster, empty where it has none; or none at all.
        k: Clusters.

    Raises:
        OptionError: One cannot be a name, or their number is another.
    """
    if len(names) not in (0, k):
        raise OptionError(f"A palette has a name for each cluster or none: {k}, not {len(names)}.")
    known: dict[str, str] = {}
    for name in filter(None, names):
        if fault := _fault(name):
            raise OptionError(f"A cluster cannot be called {name!r}: {fault}.")
        if other := known.get(folded(name)):
            raise OptionError(f"Two clusters cannot be called {other!r} and {name!r}: names have to differ.")
        known[folded(name)] = name


def folded(name: str) -> str:
    """What is the same for names that a file system may take for the same."""
    return unicodedata.normalize("NFC", name).casefold()


def _fault(name: str) -> str | None:
    """What is wrong with a name, if anything is."""
    if len(name) > MAX_LENGTH:
        return f"it has more than {MAX_LENGTH} characters"
    if not name.isprintable() or name != name.strip():
        return "it has control characters, or spaces at an end"
    if unusable := sorted(set(name) & set(NOT_IN_FILE_NAMES)):
        return f"{unusable[0]} cannot stand in a file name everywhere"
    if NUMBER.fullmatch(name):
        return "it would be taken for a number"
    if name[0] in "#.":
        return "it begins with # or a dot"
    if "_mask" in f"_{folded(name)}":  # so that no two images can have masks of the same name
        return "it begins with mask, or has _mask in it"
    return None
