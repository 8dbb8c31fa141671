"""Parsers for lists of colours: GIMP palettes (.gpl), and hexadecimal colours."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kseg_batch.errors import OptionError
from kseg_batch.kmeans.cluster_names import check_names, normalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

GIMP = "GIMP Palette"
"""The first line of a .gpl file."""

GIMP_HEADER = re.compile(r"(name|columns):", re.IGNORECASE)
GIMP_COLOR = re.compile(r"(\d{1,3})\s+(\d{1,3})\s+(\d{1,3})(?:\s+(.+))?")
GIMP_UNNAMED = "Untitled"
"""The name that GIMP gives to a colour without a name."""

HEX_COLOR = re.compile(r"#?([0-9a-f]{6})(?:\s+(.+))?|#([0-9a-f]{3})(?:\s+(.+))?", re.IGNORECASE)

MAX_QUOTED = 40
"""Most characters of a line that an error message quotes."""


@dataclass(frozen=True, slots=True)
class NamedColor:
    """A colour in a list, and its name."""

    rgb: tuple[int, ...]
    """R, G and B, 0 .. 255."""
    name: str = ""
    """Name of the colour; empty for none."""


def gimp_colors(lines: Iterable[str]) -> Iterator[NamedColor]:
    """Yield the colours in the lines of a .gpl file.

    Raises:
        OptionError: A line is neither a colour, a header line, a comment nor empty.
    """
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#") or number == 1 or GIMP_HEADER.match(line):
            continue
        match = GIMP_COLOR.fullmatch(line)
        rgb = () if match is None else tuple(int(channel) for channel in match.groups()[:3])
        if match is None or max(rgb) > 255:
            raise OptionError(
                f"line {number} must be three numbers from 0 to 255, with or without a name after them."
            )
        name = match[4] or ""
        yield NamedColor(rgb, "" if name == GIMP_UNNAMED else name)


def hex_colors(lines: Iterable[str]) -> Iterator[NamedColor]:
    """Yield the colours in lines such as `#2e8b57`, `2e8b57 grass` or `#abc`. Empty lines are skipped.

    Raises:
        OptionError: A line is not a colour.
    """
    for number, line in enumerate(map(str.strip, lines), 1):
        if line:
            match = HEX_COLOR.fullmatch(line)
            if match is None:
                quoted = line if len(line) <= MAX_QUOTED else f"{line[:MAX_QUOTED]}..."
                raise OptionError(f"colour {number} must be like #2e8b57 or #abc, not {quoted!r}.")
            digits = match[1] or "".join(2 * digit for digit in match[3])
            yield NamedColor(tuple(bytes.fromhex(digits)), match[2] or match[4] or "")


def drop_unusable_names(colors: Iterable[NamedColor]) -> tuple[list[NamedColor], list[str]]:
    """Clear the names that clusters cannot have, and the names that an earlier colour has.

    Returns:
        All colours in their order, and the names that were dropped.
    """
    checked, dropped = [], []
    known: set[str] = set()
    for color in colors:
        name = normalize_name(color.name)
        if name and (name in known or not _is_usable(color.name)):
            dropped.append(color.name)
            checked.append(replace(color, name=""))
        else:
            known.add(name)
            checked.append(color)
    return checked, dropped


def _is_usable(name: str) -> bool:
    try:
        check_names([name], 1)
    except OptionError:
        return False
    return True
