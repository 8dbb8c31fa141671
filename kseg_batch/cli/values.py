"""Parsers that Typer calls for the values of flags, each with its own words for a wrong value; and choices.

Values come from the command line as text, and from a TOML file as numbers or text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from kseg_batch.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def whole_number(value: object) -> int:
    """Return a whole number.

    Raises:
        typer.BadParameter: The value is not a whole number.
    """
    try:
        return int(str(value))
    except ValueError:
        raise typer.BadParameter(f"must be a whole number, not {str(value)!r}.") from None


def number(value: object) -> float:
    """Return a number.

    Raises:
        typer.BadParameter: The value is not a number.
    """
    try:
        return float(str(value))
    except ValueError:
        raise typer.BadParameter(f"must be a number, not {str(value)!r}.") from None


def choice_flag(flag: str, names: Sequence[str], text: str, panel: str) -> Any:
    """Return the option of a flag whose value is one of the names, which the shell completes.

    Args:
        flag: The flag, with its dashes.
        names: The values.
        text: The help.
        panel: The group of the flag in the help.
    """
    return typer.Option(
        flag,
        parser=_choice(names),
        autocompletion=lambda: [*names],
        metavar="|".join(names),
        help=text,
        rich_help_panel=panel,
    )


def _choice(names: Sequence[str]) -> Callable[[object], str]:
    """Return a parser that takes nothing but the names.

    The parser raises typer.BadParameter for another value, with the name that the value resembles.
    """

    def parse(value: object) -> str:
        if value in names:
            return str(value)
        wrong = f"must be one of {', '.join(names)}, not {str(value)!r}"
        raise typer.BadParameter(f"{wrong}{did_you_mean(str(value), names) or '.'}")

    return parse
