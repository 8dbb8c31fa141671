"""Steps one after the other, each in a process of its own: what goes wrong in one costs that step alone.

A step is a command. It runs in a process group of its own until it ends or its time is up; then the whole
group is killed. A step writes its findings to a JSON file whenever it has some, so that one that crashes or
hangs keeps the figures that it had by then.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.support.report import write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Status = Literal["done", "failed", "skipped"]

SKIPPED = 3
"""Exit status of a step that has nothing to do here."""

LEAST_SHARE = 0.4
"""A step begins only where so much of its time is left before the deadline."""

PATIENCE = 5.0
"""Seconds that a killed process has to be gone. One that hangs in the driver may never be."""

LOG_BYTES = 1 << 20
"""Most bytes that are kept of the first part of a step's output, and as many of the last part."""


@dataclass(frozen=True, slots=True)
class Step:
    """A part of the trial."""

    name: str
    seconds: float
    """How long it may take."""
    command: tuple[str, ...]
    """`{result}` in it becomes the file for what the step finds, `{seconds}` the seconds that it has."""
    log: str = "trial.log"
    """The file that its output is appended to."""
    gate: bool = False
    """Whether its failure of any kind counts as a wrong result."""
    measures: bool = False
    """Whether it only measures, which means nothing where results are wrong."""
    seeks: bool = False
    """Whether it finds the cause of a wrong result, so that where there is one it comes next."""
    unfit: str | None = None
    """Why it cannot run here; None if it can."""


@dataclass(slots=True)
class Entry:
    """The outcome of a step."""

    step: str
    status: Status
    seconds: float = 0.0
    summary: str = ""
    """A line for people: the main figure, or why it failed or was skipped."""
    figures: dict[str, Any] = field(default_factory=dict)
    difference: dict[str, Any] | None = None
    """The first difference from the reference, where there is one."""
    trace: str | None = None
    """The end of the traceback of a failure."""


def step_command(
    step: str,
    *,
    kind: str,
    scratch: Path,
    photos: Path | None,
    result: str = "{result}",
    seconds: str = "{seconds}",
    flags: tuple[str, ...] = (),
) -> tuple[str, ...]:
    """The command of a step in `benchmarks.gpu`.

    Args:
        step: Its name there.
        kind: Of the device.
        scratch: A folder that all steps share.
        photos: The user's photos.
        result: The file for what it finds.
        seconds: How long it may take.
        flags: For Python.
    """
    python = (sys.executable, *flags, "-m", "benchmarks.gpu", step)
    told = ("--kind", kind, "--scratch", str(scratch), "--result", result, "--seconds", seconds)
    return (*python, *told, *(() if photos is None else ("--photos", str(photos))))


class Trial:
    """One run of all steps.

    Attributes:
        content: What is written to `trial.json`.
    """

    def __init__(self, out: Path, scratch: Path, seconds: float, content: dict[str, Any], cwd: Path) -> None:
        """Begin; the time counts from here.

        Args:
            out: An existing folder for `trial.json` and the logs.
            scratch: A folder for the files of the steps.
            seconds: After so many, no step begins any more, and one that still runs is stopped.
            content: What is known before the first step.
            cwd: Where commands run.
        """
        self.content = content | {"steps": [], "running": None}
        self._out = out
        self._scratch = scratch
        self._cwd = cwd
        self._begin = time.monotonic()
        self._deadline = self._begin + seconds
        self._entries: list[Entry] = []
        self._wrong = False
        self._save()

    def run(self, steps: Sequence[Step], environment: Mapping[str, str] | None = None) -> list[Entry]:
        """Run all steps, or say why not.

        Args:
            steps: The most important first.
            environment: Variables for their processes, in place of this one's.
        """
        waiting = list(steps)
        while waiting:
            step = self._next(waiting)
            waiting.remove(step)
            reason = self._reason_to_skip(step)
            if reason is None:
                self._show(f"{step.name} ...")
                self.content["running"] = step.name
                self._save()
                entry = self._run(step, environment)
            else:
                entry = Entry(step.name, "skipped", summary=reason)
            self._wrong |= entry.difference is not None or (step.gate and entry.status == "failed")
            self._entries.append(entry)
            self.content["running"] = None
            self._save()
            self._show(f"{step.name}: {entry.status}: {entry.summary}")
        return self._entries

    def _next(self, waiting: Sequence[Step]) -> Step:
        """The first step, or, where a result is wrong, the first that seeks the cause."""
        seeking = (step for step in waiting if step.seeks and self._wrong)
        return next(seeking, waiting[0])

    def _reason_to_skip(self, step: Step) -> str | None:
        if step.unfit is not None:
            return step.unfit
        if step.measures and self._wrong:
            return "results are wrong, so that figures mean nothing"
        left = self._deadline - time.monotonic()
        if left < LEAST_SHARE * step.seconds:
            return f"no time was left: {max(0.0, left):.0f} s, and it takes {step.seconds:.0f} s"
        return None

    def _run(self, step: Step, environment: Mapping[str, str] | None) -> Entry:
        begin = time.monotonic()
        seconds = min(step.seconds, self._deadline - begin)
        result, output = (self._scratch / f"{step.name}.{suffix}" for suffix in ("json", "output"))
        given = {"{result}": str(result), "{seconds}": f"{seconds:.1f}"}
        command = [given.get(part, part) for part in step.command]
        with output.open("wb") as file:
            try:
                process = subprocess.Popen(
                    command,
                    cwd=self._cwd,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                return Entry(step.name, "failed", summary=f"it cannot be started: {error}")
            code = _wait(process, seconds)
        entry = self._entry(step, code, seconds, result)
        entry.seconds = round(time.monotonic() - begin, 1)
        self._append_log(step, entry, output)
        return entry

    def _entry(self, step: Step, code: int | None, seconds: float, result: Path) -> Entry:
        """What a process has left behind. `code` is its exit status, None if its time was up."""
        try:
            found = json.loads(result.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = {}
        summary = found.get("summary", "")
        status: Status = "done" if code == 0 else "skipped" if code == SKIPPED else "failed"
        if status != "done":
            failure = found.get("failure") or _how_it_ended(code, seconds)
            summary = f"{failure}; before: {summary}" if summary else failure
        return Entry(
            step.name,
            status,
            summary=summary,
            figures=found.get("figures", {}),
            difference=found.get("difference"),
            trace=found.get("trace"),
        )

    def _append_log(self, step: Step, entry: Entry, output: Path) -> None:
        """Append a step's output, without the middle of one that is too long."""
        data = output.read_bytes()
        output.unlink()
        if len(data) > 2 * LOG_BYTES:
            cut = f"\n... {len(data) - 2 * LOG_BYTES} bytes are left out ...\n".encode()
            data = data[:LOG_BYTES] + cut + data[-LOG_BYTES:]
        with (self._out / step.log).open("ab") as log:
            log.write(f"==== {step.name}: {entry.status} after {entry.seconds} s\n".encode() + data + b"\n")

    def _save(self) -> None:
        self.content["steps"] = [asdict(entry) for entry in self._entries]
        self.content["seconds"] = round(time.monotonic() - self._begin, 1)
        write_json(self._out / "trial.json", self.content)

    def _show(self, text: str) -> None:
        print(f"{time.monotonic() - self._begin:6.1f} s  {text}"[:200], flush=True)


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit status of a process, None where its time is up. Its whole group is killed either way."""
    code: int | None = None
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(seconds)
    finally:  # also where the trial itself is interrupted
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
    return code


def _how_it_ended(code: int | None, seconds: float) -> str:
    if code is None:
        return f"it had not ended after {seconds:.0f} s"
    if code < 0:
        return f"its process was killed by {signal.Signals(-code).name}"
    return f"its process ended with status {code}"
