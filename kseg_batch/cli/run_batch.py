"""The second half of `run`: carry out the request that the flags make, and report the result."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import asdict
from typing import TYPE_CHECKING

from kseg_batch.backends.registry import find, gpu_package_installed
from kseg_batch.batch.manifest import MANIFEST_NAME
from kseg_batch.batch.progress import Log, Reporter, summary_lines
from kseg_batch.batch.run import run
from kseg_batch.batch.workers.cpu import cpu_pool
from kseg_batch.batch.workers.executors import choose_executors
from kseg_batch.cli.backend import choose_backend
from kseg_batch.cli.dry_run import show_plan
from kseg_batch.cli.exit_codes import exit_code
from kseg_batch.cli.summary import print_summary
from kseg_batch.console import compiling_message, divert_kernel_warnings, print_message
from kseg_batch.errors import count
from kseg_batch.processes import private_folder, usable_cores
from kseg_batch.segmentation.regions import load_cleaner

if TYPE_CHECKING:
    from kseg_batch.batch.summary import RunSummary
    from kseg_batch.cli.run_settings import RunRequest


def carry_out(request: RunRequest) -> int:
    """Carry out a request, and return the exit code of the run."""
    settings, limits, gpus = request.settings, request.limits, request.gpus
    with ExitStack() as cleanup:
        cleanup.enter_context(private_folder())
        pool = cleanup.enter_context(
            cpu_pool(limits.workers or usable_cores(), limits.timeout, regions=bool(settings.regions))
        )
        if _needs_cpu_workers(request):
            pool.start(request.scan.total)  # in parallel to the imports of this process
        choice = choose_backend(find, gpus.backend, gpus.preferred, gpus.required, settings.fit)
        backend = choice.backend
        compiled = backend.compiled and (not settings.regions or load_cleaner().compiled)
        required = gpus.required or gpus.backend != "auto"
        executors = choose_executors(
            pool, choice, gpus.devices, gpus.options, settings.fit, required=required
        )
        if request.dry_run:
            show_plan(request, exact=executors.exact)
            return 0
        log = cleanup.enter_context(closing(Log(request.log_file)))
        sources = ", ".join(map(str, request.sources))
        log.add(f"begun: {count(request.scan.total, 'image')} in {sources}, to {settings.out}")
        with Reporter(request.scan.total, log, as_json=request.as_json, quiet=request.quiet) as reporter:
            divert_kernel_warnings(reporter.message)
            reporter.unreadable(request.scan.passed_over)
            if not (request.quiet or compiled or executors.gpus):
                reporter.message(compiling_message("the first image"))
            jobs = request.scan.jobs()
            summary = run(jobs, request.sources, settings, executors, reporter, redo=request.redo)
        _summarise(summary, request, backend.name, log)
    return exit_code(
        signal=summary.signal,
        stopped=summary.stopped is not None,
        failed=bool(summary.failed or request.scan.passed_over.unreadable),
        done=bool(summary.done or summary.skipped),
    )


def _needs_cpu_workers(request: RunRequest) -> bool:
    """Return whether CPU workers are certain to be needed, before the backend and the plan are known."""
    fresh = not (request.settings.out / MANIFEST_NAME).exists()
    return fresh and not request.dry_run and (request.gpus.preferred is False or not gpu_package_installed())


def _summarise(summary: RunSummary, request: RunRequest, backend: str, log: Log) -> None:
    """Print the totals of the run, and add them to the log."""
    lines = summary_lines(summary, request.scan, request.settings, backend)
    for line in lines:
        log.add(line)
    totals = {
        **asdict(summary),
        "images": request.scan.total,
        "passed_over": request.scan.passed_over.totals(),
    }
    print_summary(lines, totals, as_json=request.as_json, quiet=request.quiet)
    if request.quiet and summary.stopped:
        print_message(f"stopped early: {summary.stopped}")
