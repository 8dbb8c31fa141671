"""The command `kseg-batch doctor`: print the diagnosis of this machine as a table or as JSON."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from kseg_batch.cli.exit_codes import EXIT_NOTHING_DONE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kseg_batch.backends.doctor import BackendCheck, Diagnosis

COLUMNS, LABEL = 80, 13
"""Widths of the table and of its first column, in characters."""

FIX = "fix: "
"""Beginning of each line with a remedy."""


def doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
) -> None:
    """Examine this machine, and test each backend."""
    import json
    from dataclasses import asdict

    from kseg_batch.backends.doctor import examine
    from kseg_batch.console import print_line, print_message

    report = examine(print_message, _use_kernels)
    if as_json:
        lines = json.dumps({"ok": report.ok, **asdict(report)}, indent=2).splitlines()
    else:
        lines = list(as_lines(report))
    for line in lines:
        print_line(line)
    if not report.ok:
        raise typer.Exit(EXIT_NOTHING_DONE)


def _use_kernels() -> None:
    """Use the CPU kernels that the test of the backend numba does not, so that the cache has all of them."""
    import numpy as np

    from kseg_batch.backends.numba_cpu import load
    from kseg_batch.images.profiles.matrix import MatrixConversion
    from kseg_batch.images.readers import jpeg_scans
    from kseg_batch.kmeans.color_spaces import convert
    from kseg_batch.kmeans.mean_colors import sum_colors
    from kseg_batch.live.session import warm_up
    from kseg_batch.segmentation.regions import load_cleaner

    pixel = np.zeros((1, 1, 3), np.uint8)
    sum_colors(convert(pixel, "oklab"), pixel[..., 0])
    conversion = MatrixConversion([lambda values: values] * 3, np.eye(3))
    conversion.apply(pixel)
    conversion.apply(pixel.astype(np.uint16))
    jpeg_scans.warm_up()
    load_cleaner().warm_up()
    warm_up(load())


def as_lines(report: Diagnosis) -> Iterator[str]:
    """Yield the lines of a table of 80 columns, in which commands and paths are not broken."""
    wrapper = textwrap.TextWrapper(COLUMNS - LABEL, break_long_words=False, break_on_hyphens=False)
    for label, text in _rows(report):
        lines = [text] if text.startswith(FIX) else wrapper.wrap(text) or [""]
        for i, line in enumerate(lines):
            yield f"{'' if i else label:<{LABEL}}{line}".rstrip()


def _rows(report: Diagnosis) -> Iterator[tuple[str, str]]:
    """Yield the label and the text of each row; both are empty between the parts of the table."""
    machine, driver = report.machine, report.driver
    yield "kseg-batch", report.version
    yield "Python", ", ".join((machine.python, *_versions(report.packages)))
    yield "System", machine.system
    of = "" if machine.cores == machine.all_cores else f" of {machine.all_cores}"
    yield "CPU", f"{machine.cores}{of} cores"
    if driver.cuda is not None:
        yield "NVIDIA", f"driver {driver.version or '(version unknown)'}, for CUDA up to {driver.cuda}"
    if driver.problem is not None:
        yield "" if driver.cuda else "NVIDIA", driver.problem
        yield from _fix_rows(report.driver_fix)
    for i, device in enumerate(driver.devices):
        memory, free = (
            f"{n / 2**30:.1f} GiB" if n is not None else "?" for n in (device.memory, device.free)
        )
        yield f"GPU {i}", f"{device.name or '?'}, compute capability {device.capability or '?'}"
        yield "", f"memory {memory}, free {free}"
    yield from _file_rows(report)
    yield "", ""
    for check in report.backends:
        yield check.name, _verdict(check)
        if check.packages:
            yield "", ", ".join(_versions(check.packages))
        if check.fix != report.driver_fix and str(check.fix) not in str(check.reason):
            yield from _fix_rows(check.fix)
    yield "", ""
    for finding in report.findings:
        yield "Problem", finding.problem
        yield from _fix_rows(finding.fix)
    yield "Result", "kseg-batch works here" if report.ok else "kseg-batch does NOT work here"


def _file_rows(report: Diagnosis) -> Iterator[tuple[str, str]]:
    if report.files_problem is None:
        names = [codec.name for codec in report.codecs if codec.read]
        yield "Images", f"{', '.join(names) or 'none'} can be read"
    else:
        yield "Images", f"none can be read: {report.files_problem}"
    cache = report.kernel_cache
    if cache is None:
        yield "Kernel cache", "not in use, as Numba cannot be imported"
    else:
        state = "writable" if cache.writable else "not writable"
        yield "Kernel cache", cache.folder
        yield "", f"{cache.files} files, {cache.size / 1e6:.1f} MB, {state}"
        if cache.others:
            yield "", f"{cache.others} files are for another version or processor"
        lost = f", of which {cache.lost} cannot be kept" if cache.lost else ""
        yield "", f"{cache.read} kernels read, {cache.compiled} compiled now{lost}"
        if cache.wanted is not None:
            yield "", f"NUMBA_CACHE_DIR={cache.wanted}"


def _fix_rows(fix: str | None) -> Iterator[tuple[str, str]]:
    """Yield a row for each command of a remedy, so that each can be copied on its own."""
    for command in fix.split(" && ") if fix else ():
        yield "", f"{FIX}{command}"


def _verdict(check: BackendCheck) -> str:
    if check.status != "works":
        return f"{check.status}: {check.reason}"
    from kseg_batch.backends.self_test import HEIGHT, WIDTH

    megapixels = HEIGHT * WIDTH / 1e6
    speed = f"{check.milliseconds:.1f} ms for {megapixels:.2f} megapixels"
    return f"works: {speed}, prepared in {check.prepare_s:.1f} s"


def _versions(packages: Mapping[str, str]) -> list[str]:
    return [f"{name} {version}" for name, version in packages.items()]
