"""Flags from a file: kseg.toml, or the table [tool.kseg-batch] of a pyproject.toml. The command line wins."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kseg_batch.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

TABLE = ("tool", "kseg-batch")
PROJECT = Path("pyproject.toml")
"""Looked at in the current folder where no file is named."""


def find(named: str | None) -> Path | None:
    """The file that flags come from, if there is one.

    Raises:
        OptionError: The project's file is no TOML.
    """
    if named is not None:
        return Path(named)
    return PROJECT if PROJECT.is_file() and TABLE[1] in _read(PROJECT).get(TABLE[0], {}) else None


def flags(path: Path, known: Mapping[str, bool]) -> dict[str, Any]:
    """Flags by name, with underscores, and their values.

    Args:
        path: A TOML file with flags at its top, or in the table [tool.kseg-batch].
        known: The names that there are, with underscores, and whether each may be repeated.

    Raises:
        OptionError: It cannot be read, is no TOML, or has something that is no flag.
    """
    content = _read(path)
    if TABLE[0] in content:
        content = content[TABLE[0]].get(TABLE[1], {})
    values = {}
    for key, value in content.items():
        name = key.replace("-", "_")
        if name not in known:
            raise OptionError(f"{path}: there is no flag --{key}.")
        if isinstance(value, dict):
            raise OptionError(f"{path}: {key} must be a value or a list, not a table.")
        values[name] = [value] if known[name] and not isinstance(value, list) else value
    return values


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise OptionError(f"{path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"{path} is not TOML: {error}.") from error
