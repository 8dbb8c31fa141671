"""`kseg-batch doctor`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from kseg_batch.cli.exit_codes import EXIT_NOTHING_DONE


def doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
) -> None:
    """Show what this machine can do, and test each backend."""
    import json
    from dataclasses import asdict

    from kseg_batch.backends.doctor import as_lines, examine

    report = examine(lambda text: print(f"kseg-batch: {text}", file=sys.stderr))
    if as_json:
        typer.echo(json.dumps({"ok": report.ok, **asdict(report)}, indent=2))
    else:
        for line in as_lines(report):
            typer.echo(line)
    if not report.ok:
        raise typer.Exit(EXIT_NOTHING_DONE)
