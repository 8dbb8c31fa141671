"""Check the results of a GPU, and measure the GPU backends, in a quarter of an hour.

python -m benchmarks.gpu_trial --out DIR [--photos DIR] [--commit HASH] [--seconds 330] [--only STEP,...]
                               [--backend cupy] [--emulated] [--keep [DIR]]

The steps run one after the other, the most important first, each in a process of its own with a time limit of
its own. DIR/trial.json is written whole after every step. The trial installs nothing and needs no network; it
takes the packages of the machine and of PYTHONPATH, with CuPy for CUDA 12 or 13. After a wrong result, the
next steps seek the first difference from the reference, and nothing is timed.

With --emulated the CPU emulates a device, on small images. The times in the results then mean nothing.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.gpu.report import slug, step_table, targets
from benchmarks.gpu.trial import Step, Trial, step_command
from benchmarks.support.report import write_json
from kseg_batch.backends.registry import GPU_BACKENDS
from kseg_batch.bench.environment import git_commit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.gpu.step import DeviceKind
    from benchmarks.gpu.trial import Entry

ROOT = Path(__file__).parents[1]

FAILED = 1
"""Exit status where a step failed."""

SECONDS = 330.0
"""Time limit of the trial. Most steps need less than their own limits, so that all fit."""

RESULTS = Path(__file__).parent / "results"

MEMORY_DISK = Path("/dev/shm")
"""The folder of files in memory on Linux: no disk is measured."""
ROOM = 4 << 30
"""Bytes that must be free on the memory disk."""

TOOLKIT = Path("/usr/local/cuda")
"""The folder of NVIDIA's toolkit."""

NO_GPU = "the step means nothing without a GPU"

COMPILE_CPU_KERNELS = """
from kseg_batch.backends.registry import load

load("numba").warm_up()
"""


def steps(kind: DeviceKind, scratch: Path, photos: Path | None) -> list[Step]:
    """Return all steps, the most important first.

    Args:
        kind: The backend to try, or "emulated".
        scratch: A folder for the files of the steps.
        photos: Folder of the user's photos.
    """
    unfit = NO_GPU if kind == "emulated" else None

    def step(name: str, seconds: float, **more: Any) -> Step:
        return Step(name, seconds, step_command(name, kind=kind, scratch=scratch, photos=photos), **more)

    return [
        step("versions", 20),
        step("self-test", 60, gate=True),
        step("equality", 60, gate=True),
        step("kernels", 45, measures=True),
        step("experiments", 40, measures=True, unfit=unfit),
        step("limits", 40),
        step("end-to-end", 45, measures=True),
        step("warnings", 20),
        step("tests", 50, log="tests.log"),
        step("nvjpeg", 25, measures=True, unfit=unfit),
        step("peers", 80, measures=True, unfit=unfit, log="peers.log"),
        step("numba-cuda", 60, log="tests.log"),
        step("stages", 30, seeks=True),
        step("memcheck", 60, seeks=True, unfit=unfit, log="memcheck.log"),
        step("profile", 60, measures=True, unfit=unfit, log="profile.log"),
    ]


def stretched(steps: Sequence[Step], seconds: float) -> list[Step]:
    """Return the steps with more time for each, where the trial may take longer than their sum."""
    planned = sum(step.seconds for step in steps if step.unfit is None)
    factor = max(1.0, seconds / max(1.0, planned))
    return [replace(step, seconds=factor * step.seconds) for step in steps]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    assert __doc__ is not None
    title, _, *paragraphs = __doc__.split("\n\n")
    known = [step.name for step in steps("cupy", Path(), None)]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_trial", description=title, epilog=" ".join(paragraphs)
    )
    add = parser.add_argument
    add("--out", metavar="DIR", type=Path, required=True, help="folder for trial.json and the logs")
    add("--photos", metavar="DIR", type=Path, help="photos to take beside the packaged photos")
    add("--commit", metavar="HASH", help="commit of the checkout, where there is no git")
    add(
        "--seconds",
        metavar="S",
        type=float,
        default=SECONDS,
        help="time limit of all steps; default: %(default)g",
    )
    add("--only", metavar="STEP,...", default="", help=f"these steps alone, of {', '.join(known)}")
    add("--backend", choices=GPU_BACKENDS, default=GPU_BACKENDS[0], help="default: %(default)s")
    add("--emulated", action="store_true", help="try the steps on the CPU, on small images")
    shown = RESULTS.relative_to(ROOT)
    add(
        "--keep",
        metavar="DIR",
        type=Path,
        nargs="?",
        const=RESULTS,
        help=f"copy the result to DIR, or {shown}",
    )
    given = parser.parse_args(arguments)
    given.only = tuple(name for name in given.only.split(",") if name)
    if unknown := [name for name in given.only if name not in known]:
        parser.error(f"there is no step {', '.join(unknown)}; there are {', '.join(known)}")
    if given.photos is not None and not given.photos.is_dir():
        parser.error(f"{given.photos} is not a folder")
    return given


def main() -> None:
    """Run the trial, and exit with 1 if a step failed."""
    given = parse()
    given.out.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {
        "program": "benchmarks.gpu_trial",
        "date": str(datetime.datetime.now(datetime.UTC).date()),
        "commit": given.commit or git_commit(),
        "emulated": given.emulated,
        "seconds_given": given.seconds,
    }
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(FAILED))  # so that the running step is killed, too
    temporary = tempfile.TemporaryDirectory(
        prefix="gpu-trial-", dir=_memory_disk(), ignore_cleanup_errors=True
    )
    with temporary as folder, _compiling():
        trial = Trial(given.out, Path(folder), given.seconds, content, ROOT)
        photos = None if given.photos is None else given.photos.absolute()
        kind: DeviceKind = "emulated" if given.emulated else given.backend
        every = steps(kind, Path(folder), photos)
        chosen = [step for step in every if not given.only or step.name in given.only]
        entries = trial.run(stretched(chosen, given.seconds), _environment())
    found = [] if given.emulated else targets(entries)
    trial.content["targets"] = [asdict(target) | {"outcome": target.outcome} for target in found]
    write_json(given.out / "trial.json", trial.content)
    print("", *(target.shown() for target in found), *step_table(entries), sep="\n")
    if given.emulated:
        print("emulated: no time in it means anything")
    print(f"written: {given.out / 'trial.json'}")
    if given.keep:
        print(f"written: {_keep(given.keep, trial.content, entries)}")
    sys.exit(FAILED if any(entry.status == "failed" for entry in entries) else 0)


def _environment() -> dict[str, str]:
    """Return the environment variables of the steps: Numba finds the toolkit's compiler by CUDA_HOME."""
    toolkit = {"CUDA_HOME": str(TOOLKIT)} if TOOLKIT.is_dir() else {}
    return {**toolkit, **os.environ, "PYTHONUNBUFFERED": "1"}


@contextmanager
def _compiling() -> Iterator[None]:
    """Compile the kernels of the CPU inside the context, for the steps that compare with the CPU."""
    command = [sys.executable, "-c", COMPILE_CPU_KERNELS]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _memory_disk() -> Path | None:
    """Return the memory disk if it has room; None for the usual place of temporary files."""
    try:
        return MEMORY_DISK if shutil.disk_usage(MEMORY_DISK).free > ROOM else None
    except OSError:
        return None


def _keep(folder: Path, content: dict[str, Any], entries: Sequence[Entry]) -> Path:
    """Write a result to a folder, under the name of the device and the date, and return its path."""
    name = next((e.figures["gpu"].get("name") for e in entries if "gpu" in e.figures), None) or "gpu"
    target = folder / f"gpu-{slug(name)}-{content['date']}.json"
    write_json(target, content)
    return target


if __name__ == "__main__":
    main()
