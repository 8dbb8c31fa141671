"""The output of `run --dry-run`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kseg_batch.batch.manifest import Manifest
from kseg_batch.batch.plan import Planner
from kseg_batch.batch.storage.outputs import refuse_sources_inside
from kseg_batch.batch.storage.source import absolute
from kseg_batch.console import output_error, print_line
from kseg_batch.errors import count

if TYPE_CHECKING:
    from kseg_batch.cli.run_settings import RunRequest


def show_plan(request: RunRequest, *, exact: bool) -> None:
    """Print which images a run would process or skip, and why.

    Args:
        request: The request of the run.
        exact: Whether the backend is exact.
    """
    settings, scan = request.settings, request.scan
    refuse_sources_inside(settings.out, settings.save, request.sources)
    totals = {"do": 0, "skip": 0}
    with Manifest(settings.out) as manifest:
        for step in Planner(manifest, settings, exact=exact, redo=request.redo).steps(scan.jobs()):
            action = "skip" if step.skip else "do"
            totals[action] += 1
            if output_error() is not None:  # such as a reader that has seen enough
                return
            if request.as_json:
                source = absolute(step.job.source)
                print_line(json.dumps({"source": source, "action": action, "reason": step.reason}))
            else:
                print_line(f"{action:<5}{step.job.source}: {step.reason}")
    if not request.as_json:
        print_line(f"{count(totals['do'], 'image')} to do, {totals['skip']:,} to skip; nothing was written")
        for line in scan.passed_over.as_lines():
            print_line(line)
