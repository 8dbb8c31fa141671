"""The help of a command, its flags in groups, and one sentence for a value that a flag does not take."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand

from kseg_batch.cli.exit_codes import EXIT_USAGE, exit_with_message, fail

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
        """Parse the words of the command line; a value that a flag does not take is an error of one line."""
        with exit_with_message():
            try:
                return super().parse_args(ctx, args)
            except typer.BadParameter as error:
                if error.param is None or not error.message:  # a required argument is missing
                    raise
                fail(f"{max(error.param.opts, key=len)} {error.message}", EXIT_USAGE)
