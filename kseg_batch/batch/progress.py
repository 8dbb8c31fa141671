"""The progress and the summary of a run: on a terminal, in a cron log, in a log file, or as JSON.

Standard output gets the summary, or with --json an object for each image and the summary. All else goes to
standard error: a progress bar on a terminal, a line now and then elsewhere.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kseg_batch.batch.coco_dataset import ANNOTATIONS_NAME
from kseg_batch.batch.manifest import MANIFEST_NAME
from kseg_batch.console import (
    ProgressBar,
    format_duration,
    print_line,
    print_message,
    print_status,
    printable,
)
from kseg_batch.errors import OutputError, count

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from kseg_batch.batch.plan import Step
    from kseg_batch.batch.storage.passed_over import PassedOverPaths
    from kseg_batch.batch.storage.scan import Scan
    from kseg_batch.batch.summary import RunSummary
    from kseg_batch.batch.workers.jobs import Outcome, Settings


class Log:
    """A log file, which gets a line with the time for each image and message."""

    def __init__(self, path: Path | None) -> None:
        """Open the file for appending.

        Args:
            path: The log file; None for no log.

        Raises:
            OutputError: The file cannot be written.
        """
        self._path = path
        try:
            self._file = None if path is None else path.open("a", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}.") from error

    def add(self, text: str) -> None:
        """Write a line. If writing fails, print a message and stop logging: the manifest has all outcomes."""
        if self._file is None:
            return
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        try:
            self._file.write(f"{now} {printable(text)}\n")
            self._file.flush()
        except OSError as error:
            self._file = None
            print_message(f"{self._path} cannot be written: {error.strerror}; continuing without it")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class Reporter:
    """Reports the images of a run or a fit to the user: it is a `RunListener` and a `FitListener`.

    Use a reporter as a context manager.
    """

    def __init__(self, total: int, log: Log, *, as_json: bool = False, quiet: bool = False) -> None:
        """Begin with no image.

        Args:
            total: The number of images.
            log: The log file.
            as_json: Whether standard output gets a JSON object for each image.
            quiet: Whether to show no progress.
        """
        self._failed = 0
        self._fallbacks = 0
        self._log = log
        self._as_json = as_json
        self._bar = ProgressBar(total, "image", quiet=quiet)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, error, trace)

    def message(self, text: str) -> None:
        """See `RunListener.message`: print a line without disturbing the bar."""
        self._bar.clear()
        print_status(text)
        self._log.add(text)

    def unreadable(self, passed_over: PassedOverPaths) -> None:
        """Print a line for each folder that the scan could not read."""
        for folder, reason in passed_over.unreadable:
            self.message(f"failed: {folder}: it cannot be read: {reason}")

    def resumed(self, n_images: int) -> None:
        """See `FitListener.resumed`."""
        self._bar.expect_fewer(n_images)

    def skipped(self, step: Step) -> None:
        """See `RunListener.skipped`. A skipped image does not count for the rate or the time left."""
        self._bar.expect_fewer(1)
        if self._as_json:
            self._print({"source": step.entry.source, "status": "skipped", "reason": step.reason})

    def finished(self, outcome: Outcome, line: dict[str, Any]) -> None:
        """See `RunListener.finished`."""
        if self._as_json:
            self._print(line)
        source = outcome.job.source
        if outcome.fallback is not None:
            self._fallbacks += 1
            text = f"{source}: done on the CPU: {outcome.fallback}"
            if self._fallbacks == 1:  # a GPU that fails may leave thousands; the manifest names all of them
                self.message(text)
            else:
                self._log.add(text)
        if outcome.error is not None:
            self.message(f"failed: {source}: {outcome.error}")
        else:
            self._log.add(
                f"done: {source} in {outcome.seconds:.3f} s" + "".join(f"; {n}" for n in outcome.notes)
            )
        self._advance(failed=outcome.error is not None)

    def _print(self, line: dict[str, Any]) -> None:
        self._bar.clear()
        print_line(json.dumps(line))

    def _advance(self, *, failed: bool) -> None:
        self._failed += failed
        if self._failed:
            self._bar.set_note(f"{self._failed} failed", refresh=failed)
        if (progress := self._bar.advance()) is not None:
            left = format_duration(self._bar.seconds_left)
            self.message(f"{progress}, {self._failed} failed, {left} left")


def summary_lines(summary: RunSummary, scan: Scan, settings: Settings, backend: str) -> list[str]:
    """Return the summary of a run as lines of text."""
    lines = []
    if summary.done or not summary.skipped:
        rate = summary.done / summary.seconds
        lines.append(
            f"{count(summary.done, 'image')}, {summary.pixels / 1e6:.1f} megapixels in "
            f"{summary.seconds:.2f} s: {rate:.1f} images/s with {backend}"
        )
    if summary.skipped:
        lines.append(f"{count(summary.skipped, 'image')} skipped: there was nothing to do")
    if summary.failed:
        lines.append(f"{count(summary.failed, 'image')} failed: listed above and in the manifest")
    if summary.stopped is not None:
        lines.append(f"stopped early: {summary.stopped}; the same command continues with the rest")
    if summary.signal is not None:
        lines.append("interrupted: all files written are complete; the same command continues with the rest")
    if summary.fallbacks:
        lines.append(f"{count(summary.fallbacks, 'image')} done on the CPU instead: noted in the manifest")
    if summary.converted:
        lines.append(f"{count(summary.converted, 'image')} converted to sRGB: noted in the manifest")
    if summary.noted:
        lines.append(f"{count(summary.noted, 'image')} with a note in the manifest")
    if summary.swept:
        lines.append(f"{count(summary.swept, 'incomplete file')} of a killed run removed")
    lines += scan.passed_over.as_lines()
    for kind in sorted(settings.save):
        lines.append(f"{kind:<10} {settings.out / (ANNOTATIONS_NAME if kind == 'coco' else kind)}")
    lines.append(f"{'manifest':<10} {settings.out / MANIFEST_NAME}")
    return lines
