"""Names of clusters: which ones are allowed.

A name becomes part of file names, and flags accept a name where they accept a cluster's number or a colour.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from kseg_batch.errors import OptionError, count

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_LENGTH = 64
"""Most characters of a name."""

NUMBER = re.compile(r"[+-]?\d+")
"""Texts that are read as the number of a cluster, and so cannot be a name."""

NOT_IN_FILE_NAMES = '/\\:*?"<>|'
"""Characters that some file systems do not allow in file names."""


def check_names(names: Sequence[str], k: int) -> None:
    """Check the names of k clusters: each is usable, and no two are equal on any file system.

    Args:
        names: A name for each cluster, empty where the cluster has no name; or an empty sequence.
        k: Number of clusters.

    Raises:
        OptionError: A name is not allowed, two names are equal, or the number of names is not k.
    """
    if len(names) not in (0, k):
        raise OptionError(
            f"names must be {count(k, 'name')}, one for each cluster, or none, not {len(names)}.",
            "names",
        )
    known: dict[str, str] = {}
    for name in filter(None, names):
        if reason := _reason_against(name):
            raise OptionError(f"A cluster cannot be called {name!r}: {reason}.")
        if other := known.get(normalize_name(name)):
            raise OptionError(
                f"Two clusters cannot be called {other!r} and {name!r}: names have to differ, ignoring case."
            )
        known[normalize_name(name)] = name


def normalize_name(name: str) -> str:
    """Return the name NFC-normalised and case-folded: equal where a file system may treat two as equal."""
    return unicodedata.normalize("NFC", name).casefold()


def _reason_against(name: str) -> str | None:
    """Return why a text cannot be a name, or None if it can."""
    if len(name) > MAX_LENGTH:
        return f"it has more than {MAX_LENGTH} characters"
    if not name.isprintable() or name != name.strip():
        return "it has control characters, or spaces at an end"
    if unusable := sorted(set(name) & set(NOT_IN_FILE_NAMES)):
        return f"some file systems do not allow {unusable[0]} in file names"
    if NUMBER.fullmatch(name):
        return "it would be taken for a number"
    if name[0] in "#.":
        return "it begins with # or a dot"
    if "_mask" in f"_{normalize_name(name)}":  # so that the masks of two images never have the same name
        return "it begins with mask, or has _mask in it"
    return None
