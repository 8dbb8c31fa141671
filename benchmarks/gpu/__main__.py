"""Run one step of `benchmarks.gpu_trial`.

python -m benchmarks.gpu STEP --kind cupy --scratch DIR --result FILE --seconds S [--photos DIR]
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from importlib import import_module
from pathlib import Path

from benchmarks.gpu.findings import DifferenceError, Findings, SkippedError
from benchmarks.gpu.peers import one_line
from benchmarks.gpu.step import Work
from benchmarks.gpu.trial import SKIPPED
from benchmarks.support.checks import WrongResultError

STEPS = {
    "versions": "environment",
    "self-test": "correctness",
    "warnings": "correctness",
    "equality": "correctness",
    "limits": "limits",
    "stages": "stages",
    "kernels": "kernels",
    "experiments": "experiments",
    "end-to-end": "end_to_end",
    "nvjpeg": "nvjpeg",
    "peers": "peer_comparison",
    "tests": "suites",
    "numba-cuda": "suites",
    "profile": "profile",
    "memcheck": "profile",
    "batch": "profile",
}
"""The module of each step, which has a function with the name of the step."""

TRACE = 3000
"""Last characters of a traceback that are kept."""


def main() -> None:
    """Run a step, and exit with 0 if done, 1 if failed, or `SKIPPED`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--kind", choices=("cupy", "numba-cuda", "emulated"), required=True)
    parser.add_argument("--scratch", metavar="DIR", type=Path, required=True)
    parser.add_argument("--result", metavar="FILE", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--photos", metavar="DIR", type=Path)
    given = parser.parse_args()
    findings = Findings(given.result, given.seconds)
    work = Work(given.kind, given.photos, given.scratch, findings)
    module = import_module(f"benchmarks.gpu.{STEPS[given.step]}")
    try:
        getattr(module, given.step.replace("-", "_"))(work)
    except SkippedError as reason:
        findings.content["failure"] = str(reason)
        findings.save()
        sys.exit(SKIPPED)
    except Exception as error:  # noqa: BLE001 - whatever it is, the results file tells of it
        traceback.print_exc()
        findings.content["failure"] = one_line(error)
        findings.content["trace"] = traceback.format_exc()[-TRACE:]
        if isinstance(error, DifferenceError):
            findings.content["difference"] = error.difference
        elif isinstance(error, WrongResultError):
            findings.content["difference"] = {"what": str(error)}
        findings.save()
        sys.exit(1)
    findings.save()
    sys.stdout.flush()
    os._exit(0)  # a library that crashes at exit spoils no result


if __name__ == "__main__":
    main()
