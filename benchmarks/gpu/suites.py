"""The steps that run the tests of the project on a device, within some seconds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

from benchmarks.gpu.correctness import run_strictly
from benchmarks.gpu.findings import SkippedError, StepError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.gpu.step import Work

SLOW = "not (hundred_megapixels or every_k or sanitizer or hundred_repeats)"
"""A selection of all tests on a GPU but those that take minutes."""

OUTCOME = re.compile(r"^(tests/\S+?::.*?) (PASSED|FAILED|ERROR|SKIPPED)\b", re.MULTILINE)
"""A line of pytest -v."""

SIMULATED = ("histogram", "k = 2", "clear")
"""Groups of the simulator's cases that are run here."""


def tests(work: Work) -> None:
    """Run tests/gpu/test_on_device.py with the backend, or some tests on the emulated device."""
    if work.emulated:
        _run_tests(work, ["tests/gpu/test_emulated.py", "-k", "ragged"])
    else:
        _run_tests(work, ["tests/gpu/test_on_device.py", "--require-gpu", "-k", f"{work.kind} and {SLOW}"])


def numba_cuda(work: Work) -> None:
    """Run the self test of the other GPU backend twice, kernels cold and cached, then its tests."""
    if work.emulated:
        _simulate(work)
        return
    strict: list[str] = []
    for _ in range(2):
        try:
            run_strictly(work, "numba-cuda")
        except StepError as error:
            strict.append(str(error))
    work.findings.add(self_tests=2 - len(strict))
    _run_tests(work, ["tests/gpu/test_on_device.py", "--require-gpu", "-k", f"numba-cuda and {SLOW}"])
    if strict:
        raise StepError(strict[-1])


def _run_tests(work: Work, which: Sequence[str]) -> None:
    """Run tests to their end or to the time limit, and count the outcomes.

    Raises:
        StepError: A test failed, or no test was run.
    """
    command = [sys.executable, "-m", "pytest", "-v", "--tb=short", "-p", "no:cacheprovider", *which]
    code, text = work.run_tool(command)
    outcomes = dict(OUTCOME.findall(text))
    counts = Counter(outcomes.values())
    failed = [name for name, outcome in outcomes.items() if outcome in ("FAILED", "ERROR")]
    work.findings.add(counts=dict(counts), failed=failed, ended=code is not None)
    if failed:
        raise StepError(f"{len(failed)} of {len(outcomes)} tests fail, first {failed[0]}")
    if not counts["PASSED"]:
        raise StepError(f"no test passed; pytest ended with status {code}")
    unfinished = "" if code is not None else ", stopped when time was up"
    work.findings.summarise(f"{counts['PASSED']} tests passed{unfinished}")


def _simulate(work: Work) -> None:
    """Run some cases in Numba's simulator, in place of a device."""
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}
    for group in SIMULATED:
        command = [sys.executable, "-m", "tests.gpu.simulator", group]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        print(done.stdout, done.stderr, flush=True)
        if "No module named 'numba_cuda'" in done.stderr:
            raise SkippedError("the package numba-cuda is not installed")
        if done.returncode or "Traceback" in done.stdout:
            raise StepError(f"in Numba's simulator the group {group!r} fails")
        work.findings.append("groups", {"group": group, "cases": done.stdout.count("\n")})
    work.findings.summarise(f"{len(SIMULATED)} groups of cases equal the reference in Numba's simulator")
