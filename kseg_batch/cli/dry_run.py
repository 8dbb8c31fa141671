"""What `run --dry-run` prints."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from kseg_batch.batch.plan import Redo
    from kseg_batch.batch.storage.scan import Scan
    from kseg_batch.batch.workers.executors import Executors
    from kseg_batch.batch.workers.jobs import Settings


def _show_plan(
    found: Scan, sources: list[Path], settings: Settings, team: Executors, redo: Redo, as_json: bool
) -> None:
    """Print what a run would do, and why."""
    import json

    from kseg_batch.batch.manifest import Manifest
    from kseg_batch.batch.plan import Planner
    from kseg_batch.batch.storage.outputs import refuse_sources_inside
    from kseg_batch.errors import count

    refuse_sources_inside(settings.out, settings.save, sources)
    totals = {"do": 0, "skip": 0}
    with Manifest(settings.out) as manifest:
        for step in Planner(manifest, settings, exact=team.exact, redo=redo).steps(found.jobs()):
            action = "skip" if step.skip else "do"
            totals[action] += 1
            if as_json:
                source = os.path.abspath(step.job.source)  # noqa: PTH100 - resolve() would follow links
                typer.echo(json.dumps({"source": source, "action": action, "reason": step.reason}))
            else:
                typer.echo(f"{action:<5}{step.job.source}: {step.reason}")
    if not as_json:
        typer.echo(f"{count(totals['do'], 'image')} to do, {totals['skip']:,} to skip; nothing was written")
        for text in found.passed_over.texts():
            typer.echo(text)
