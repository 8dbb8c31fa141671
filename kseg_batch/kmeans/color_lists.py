"""Lists of colours that people have: GIMP's .gpl palettes, and hexadecimal numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kseg_batch.errors import OptionError
from kseg_batch.kmeans.cluster_names import check_names, folded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

GIMP = "GIMP Palette"
"""The first line of a .gpl file."""

GIMP_HEADER = re.compile(r"(name|columns):", re.IGNORECASE)
GIMP_COLOR = re.compile(r"(\d{1,3})\s+(\d{1,3})\s+(\d{1,3})(?:\s+(.+))?")
GIMP_UNNAMED = "Untitled"
"""What GIMP calls a colour that has no name."""

HEX_COLOR = re.compile(r"#?([0-9a-f]{6})(?:\s+(.+))?|#([0-9a-f]{3})(?:\s+(.+))?", re.IGNORECASE)

SHOWN = 40
"""Most characters of a line that is quoted."""


@dataclass(frozen=True, slots=True)
class NamedColor:
    """A colour of a list."""

    rgb: tuple[int, ...]
    """0 .. 255 each."""
    name: str = ""
    """Empty if it has none."""


def gimp_colors(lines: Iterable[str]) -> Iterator[NamedColor]:
    """The colours in the lines of a .gpl file.

    Raises:
        OptionError: A line is neither a colour nor what else may stand there.
    """
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#") or number == 1 or GIMP_HEADER.match(line):
            continue
        match = GIMP_COLOR.fullmatch(line)
        rgb = () if match is None else tuple(int(channel) for channel in match.groups()[:3])
        if match is None or max(rgb) > 255:
            raise OptionError(f"line {number} must be three numbers from 0 to 255, and maybe a name.")
        name = match[4] or ""
        yield NamedColor(rgb, "" if name == GIMP_UNNAMED else name)


def hex_colors(lines: Iterable[str]) -> Iterator[NamedColor]:
    """The colours in lines such as `#2e8b57`, `2e8b57 grass` or `#abc`; empty lines have none.

    Raises:
        OptionError: A line is no colour.
    """
    for number, line in enumerate(map(str.strip, lines), 1):
        if line:
            match = HEX_COLOR.fullmatch(line)
            if match is None:
                shown = line if len(line) <= SHOWN else f"{line[:SHOWN]}..."
                raise OptionError(f"colour {number} must be like #2e8b57 or #abc, not {shown!r}.")
            digits = match[1] or "".join(2 * digit for digit in match[3])
            yield NamedColor(tuple(bytes.fromhex(digits)), match[2] or match[4] or "")


def with_usable_names(colors: Iterable[NamedColor]) -> tuple[list[NamedColor], list[str]]:
    """Colours without the names that clusters cannot have or that one before them has; and those names."""
    kept, lost = [], []
    known: set[str] = set()
    for color in colors:
        name = folded(color.name)
        if name and (name in known or not _is_usable(color.name)):
            lost.append(color.name)
            kept.append(replace(color, name=""))
        else:
            known.add(name)
            kept.append(color)
    return kept, lost


def _is_usable(name: str) -> bool:
    try:
        check_names([name], 1)
    except OptionError:
        return False
    return True
