"""The help of a command, its flags in groups, and one sentence for a wrong command line."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from kseg_batch.cli.exit_codes import EXIT_USAGE, exit_with_message, fail
from kseg_batch.errors import did_you_mean

UsageError: Any = typer.BadParameter.__base__
"""Typer's error for a wrong command line, for which Typer has no public name."""

INPUT = "Input"
OUTPUT = "Output"
CLUSTERS = "Clusters"
BACKEND = "Backend"
BATCH = "Batch"
MESSAGES = "Messages"

GROUPS = (INPUT, OUTPUT, CLUSTERS, BACKEND, BATCH, MESSAGES)
"""The groups of flags, in the order of the help. A flag names its group by its `rich_help_panel`."""

MAX_NAME = 28
"""Characters of the column of flags at most. The description of a longer flag begins on the next line."""


class Command(TyperCommand):
    """A command with grouped flags."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the usage line, with each argument as its metavar has it."""
        arguments = [param for param in self.get_params(ctx) if param.param_type_name == "argument"]
        words = [str(param.metavar) for param in arguments if param.required]
        return ["[OPTIONS]", *words, *(f"[{param.metavar}]" for param in arguments if not param.required)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write a list of the flags of each group, the descriptions of all groups in one column.

        Arguments are in a group, too. Whatever names no group, such as `--help`, is among the messages.
        """
        groups: dict[str, list[tuple[str, str]]] = {group: [] for group in GROUPS}
        for param in self.get_params(ctx):
            if record := param.get_help_record(ctx):
                name = str(param.metavar) if param.param_type_name == "argument" else record[0]
                groups[getattr(param, "rich_help_panel", None) or MESSAGES].append((name, record[1]))
        names = [name for rows in groups.values() for name, _ in rows]
        width = max(len(name) for name in names if len(name) <= MAX_NAME)
        for group, rows in groups.items():
            if rows:
                with formatter.section(group):
                    formatter.write_dl([(name.ljust(width), text) for name, text in rows], col_max=width)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words of the command line. A wrong word is an error of one sentence."""
        with exit_with_message():
            try:
                return super().parse_args(ctx, args)
            except UsageError as error:
                fail(_sentence(ctx, error), EXIT_USAGE)


def _sentence(ctx: Any, error: Any) -> str:
    """Return what is wrong with the words of a command, in one sentence."""
    param = getattr(error, "param", None)
    if param is not None and error.message:  # by a parser of cli.values
        source = ctx.get_parameter_source(param.name)
        place = f"{ctx.params['config']}: " if source and source.name == "DEFAULT_MAP" else ""
        return f"{place}{max(param.opts, key=len)} {error.message}"
    advice = f"see {ctx.command_path} --help"
    if param is not None:
        return f"{param.metavar} is missing; {advice}"
    if hasattr(error, "possibilities"):  # there is no such flag
        flags = [flag for param in ctx.command.params for flag in (*param.opts, *param.secondary_opts)]
        names = [flag.removeprefix("--") for flag in flags if flag.startswith("--")]
        near = did_you_mean(error.option_name.lstrip("-"), names, "--")
        return f"{ctx.command_path} has no flag {error.option_name}{near or f'; {advice}'}"
    return f"{error.message.rstrip('.')}; {advice}"


class CommandGroup(TyperGroup):
    """The commands by their names."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the first word names. Another word is an error of one sentence."""
        if args[0] not in self.commands and not ctx.resilient_parsing:
            near = did_you_mean(args[0], self.commands)
            fail(f"there is no command {args[0]}{near or f'; see {ctx.command_path} --help'}", EXIT_USAGE)
        return super().resolve_command(ctx, args)
