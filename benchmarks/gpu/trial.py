"""Steps one after the other, each in a process of its own: a failure costs one step alone.

A step is a command. The command runs in a process group of its own until it exits or reaches its time limit;
then the whole group is killed. A step writes its findings to a JSON file as soon as it has some, so that a
step that crashes or hangs keeps its figures so far.
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
"""Exit status of a step that cannot run on this machine."""

LEAST_SHARE = 0.4
"""Share of a step's time that must be left before the deadline for the step to begin."""

PATIENCE = 5.0
"""Seconds to wait for the exit of a killed process. A process that hangs in the driver may never exit."""

LOG_BYTES = 1 << 20
"""Most bytes kept of the beginning of a step's output, and as many of its end."""


@dataclass(frozen=True, slots=True)
class Step:
    """A part of the trial."""

    name: str
    seconds: float
    """Time limit."""
    command: tuple[str, ...]
    """The command, in which `{result}` becomes the file of the findings, and `{seconds}` the time limit."""
    log: str = "trial.log"
    """The file to which the output is appended."""
    gate: bool = False
    """True where any failure of the step counts as a wrong result."""
    measures: bool = False
    """True where the step only measures, so that it is skipped after a wrong result."""
    seeks: bool = False
    """True where the step seeks the cause of a wrong result, so that it comes next after one."""
    unfit: str | None = None
    """The reason why the step cannot run on this machine; None if it can."""


@dataclass(slots=True)
class Entry:
    """The outcome of a step."""

    step: str
    status: Status
    seconds: float = 0.0
    summary: str = ""
    """A line for people: the main figure, or the reason of a failure or a skip."""
    figures: dict[str, Any] = field(default_factory=dict)
    difference: dict[str, Any] | None = None
    """The first difference from the reference; None without a difference."""
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
    """Return the command of a step in `benchmarks.gpu`.

    Args:
        step: Name of the step.
        kind: Kind of the device.
        scratch: A folder that all steps share.
        photos: Folder of the user's photos.
        result: File of the findings.
        seconds: Time limit.
        flags: Flags for Python.
    """
    python = (sys.executable, *flags, "-m", "benchmarks.gpu", step)
    told = ("--kind", kind, "--scratch", str(scratch), "--result", result, "--seconds", seconds)
    return (*python, *told, *(() if photos is None else ("--photos", str(photos))))


class Trial:
    """One run of all steps.

    Attributes:
        content: The content of `trial.json`.
    """

    def __init__(self, out: Path, scratch: Path, seconds: float, content: dict[str, Any], cwd: Path) -> None:
        """Begin the trial, and its time.

        Args:
            out: An existing folder for `trial.json` and the logs.
            scratch: A folder for the files of the steps.
            seconds: Time limit of the trial: no step begins after it, and a running step is stopped.
            content: Facts known before the first step.
            cwd: Working directory of the commands.
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
        """Run each step, or skip it with a reason.

        Args:
            steps: The steps, the most important first.
            environment: Environment variables of their processes, in place of those of this process.
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
        """Return the first step, or after a wrong result the first step that seeks the cause."""
        seeking = (step for step in waiting if step.seeks and self._wrong)
        return next(seeking, waiting[0])

    def _reason_to_skip(self, step: Step) -> str | None:
        if step.unfit is not None:
            return step.unfit
        if step.measures and self._wrong:
            return "results are wrong, so that figures mean nothing"
        left = self._deadline - time.monotonic()
        if left < LEAST_SHARE * step.seconds:
            return f"no time was left: {max(0.0, left):.0f} s of the {step.seconds:.0f} s of the step"
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
                return Entry(step.name, "failed", summary=f"the process cannot be started: {error}")
            code = _wait(process, seconds)
        entry = self._entry(step, code, seconds, result)
        entry.seconds = round(time.monotonic() - begin, 1)
        self._append_log(step, entry, output)
        return entry

    def _entry(self, step: Step, code: int | None, seconds: float, result: Path) -> Entry:
        """Return the entry of a step. `code` is the exit status, None at the time limit."""
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
        """Append the output of a step to its log; of a long output, only the beginning and the end."""
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
    """Return the exit status of a process, None at the time limit. The whole process group is killed."""
    code: int | None = None
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(seconds)
    finally:  # also if the trial is interrupted
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
    return code


def _how_it_ended(code: int | None, seconds: float) -> str:
    if code is None:
        return f"the process had not exited after {seconds:.0f} s"
    if code < 0:
        return f"the process was killed by {signal.Signals(-code).name}"
    return f"the process exited with status {code}"
