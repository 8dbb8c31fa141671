"""Flags from a TOML file, such as the table [tool.kseg-batch] of pyproject.toml.

Flags on the command line override those of the file.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from kseg_batch.cli.exit_codes import exit_with_message
from kseg_batch.errors import OptionError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

TABLE = "tool.kseg-batch"
"""The table with flags of a file that has other tables, too."""

PROJECT = Path("pyproject.toml")
"""The default file, in the current folder."""


def read_config(context: typer.Context, value: str | None) -> str | None:
    """Make the flags of a file the defaults of the command line.

    Args:
        context: The context of the command.
        value: The value of `--config`.

    Returns:
        The path of the file; None if there is none.
    """
    with exit_with_message():
        path = find_config(value)
        if path is not None:
            known = {
                parameter.name: parameter
                for parameter in context.command.params
                if parameter.param_type_name == "option" and parameter.name not in ("config", "help")
            }
            context.default_map = read_flags(path, known)
        return None if path is None else str(path)


def find_config(path: str | None) -> Path | None:
    """Return the file that has flags; None if there is none.

    Args:
        path: The value of `--config`; None for the default file, if that has the table [tool.kseg-batch].

    Raises:
        OptionError: The default file cannot be read, or is not TOML.
    """
    if path is not None:
        return Path(path)
    return PROJECT if PROJECT.is_file() and _own_table(_read(PROJECT)) is not None else None


def read_flags(path: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the flags in a file, by the names of the flags with underscores.

    Args:
        path: A TOML file with flags at the top level, or in the table [tool.kseg-batch].
        known: Typer's parameters of all flags, by their names with underscores.

    Raises:
        OptionError: The file cannot be read, is not TOML, or has no flags; a key is no flag; or a value is
            not of the kind that the flag takes.
    """
    content = _read(path)
    flags = _own_table(content)
    if flags is None and "tool" in content:
        raise OptionError(f"{path} has no table [{TABLE}].")
    flags = content if flags is None else flags
    if not isinstance(flags, dict):
        raise OptionError(f"{path}: {TABLE} must be a table.")
    values = {}
    for key, value in flags.items():
        name = key.replace("-", "_")
        if name not in known:
            near = did_you_mean(key, [option.replace("_", "-") for option in known]) or "."
            raise OptionError(f"{path}: there is no flag --{key} for a file{near}")
        if isinstance(value, dict):
            raise OptionError(f"{path}: {key} must be a value or a list, not a table.")
        if known[name].is_flag and not isinstance(value, bool):
            raise OptionError(f"{path}: {key} must be true or false, not {value!r}.")
        if isinstance(value, list) and not known[name].multiple:
            raise OptionError(f"{path}: {key} must be one value, not a list.")
        values[name] = [value] if known[name].multiple and not isinstance(value, list) else value
    return values


def _own_table(content: dict[str, Any]) -> Any:
    """Return the content of the table [tool.kseg-batch]; None if there is no such table."""
    tool = content.get("tool")
    return tool.get("kseg-batch") if isinstance(tool, dict) else None


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise OptionError(f"{path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"{path} is not TOML: {error}.") from error
