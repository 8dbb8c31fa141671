"""`kseg-batch run` and `fit` on GPUs: the process that opens a GPU, and GPUs that cannot be opened.

The command is real. The driver is a library that counts GPUs; CuPy is `tests.gpu.emulator.cupy`.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import command_line, import_path
from tests.support.gpu import compile_driver
from tests.support.image_files import save
from tests.support.images import photos
from tests.support.outputs import manifest, pngs, state

if TYPE_CHECKING:
    from kseg_batch.backends.gpu.backend import GpuBackend

DRIVER = """
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int cuInit(unsigned flags) { return 0; }
int cuDriverGetVersion(int *version) { *version = 12090; return 0; }
int cuDeviceGetCount(int *n) { *n = atoi(getenv("EMULATED_GPUS")); return 0; }
int cuDeviceGet(int *device, int i) { *device = i; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) {
    FILE *file = fopen(getenv("OPENED_GPUS"), "a");
    fprintf(file, "%d %d\\n", getpid(), device);
    fclose(file);
    return 46;
}
"""

CUPY = "from tests.gpu.emulator.cupy import RawModule, cuda, ndarray\n"

BUSY = "CuPy does not work here (the GPU failed: cudaErrorDevicesUnavailable: the device is busy)"


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has exited."""

    code: int
    output: str
    errors: str
    opened_itself: set[int]
    """GPUs that the command's own process opened."""
    opened_by_others: dict[int, set[int]]
    """The GPUs that each other process opened, by its number."""


class Machine:
    """Two GPUs, and a folder p of photos."""

    def __init__(self, folder: Path, kernels: Path) -> None:
        self.folder = folder
        self._kernels = kernels
        libraries = folder / "libraries"
        libraries.mkdir()
        compile_driver(libraries, DRIVER)
        (libraries / "cupy.py").write_text(CUPY)
        for i in range(3):
            save(photos()["coffee"][i * 50 : i * 50 + 40, : 60 - i], folder / f"p/{i}.png")

    def kseg(self, *arguments: object, broken: str = "") -> Done:
        """Run the command line; the GPUs of the numbers in `broken` cannot be opened."""
        libraries, opened = self.folder / "libraries", self.folder / "libraries/opened"
        opened.write_text("")
        environment = os.environ | {
            "PYTHONPATH": import_path(libraries),
            "LD_LIBRARY_PATH": str(libraries),
            "EMULATED_GPUS": "2",
            "EMULATED_KERNELS": str(self._kernels),
            "BROKEN_GPUS": broken,
            "OPENED_GPUS": str(opened),
        }
        process = subprocess.Popen(
            command_line(*arguments, "--workers", 1),
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        output, errors = process.communicate(timeout=300)
        by_process: dict[int, set[int]] = {}
        for line in opened.read_text().splitlines():
            pid, number = map(int, line.split())
            by_process.setdefault(pid, set()).add(number)
        return Done(process.returncode, output, errors, by_process.pop(process.pid, set()), by_process)

    def pngs(self, out: str) -> dict[str, bytes]:
        """The pictures of an output folder."""
        return pngs(self.folder / out)


@pytest.fixture
def machine(tmp_path: Path, cache: Path, emulated: GpuBackend) -> Machine:
    emulated.warm_up()  # compiles the kernels
    return Machine(tmp_path, cache)


@pytest.mark.parametrize("flags", [["--gpu"], ["--require-gpu"], ["--backend", "cupy"]])
def test_only_the_process_of_a_gpu_opens_the_gpu(machine: Machine, flags: list[str]) -> None:
    done = machine.kseg("run", "p", "--device", "all", *flags, "-o", "gpu")
    assert (done.code, done.errors) == (0, "")
    assert "images/s with cupy" in done.output
    assert done.opened_itself == set()
    assert sorted(done.opened_by_others.values(), key=min) == [{0}, {1}]
    assert {line["backend"] for line in manifest(machine.folder / "gpu")} == {"cupy"}
    assert machine.kseg("run", "p", "--no-gpu", "-o", "cpu").opened_by_others == {}
    assert machine.pngs("gpu") == machine.pngs("cpu")


def test_a_dry_run_opens_no_gpu(machine: Machine) -> None:
    done = machine.kseg("run", "p", "--gpu", "--dry-run")
    assert (done.code, done.errors) == (0, "")
    assert "3 images to do" in done.output
    assert (done.opened_itself, done.opened_by_others) == (set(), {})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--gpu", "--init", "random"], "The backend cupy has no random init; the backend opencv has."),
        (["--device", "3"], "There is no GPU 3: this machine has 2, from 0 on."),
        (["--device", "1,2", "--require-gpu"], "There is no GPU 2: this machine has 2, from 0 on."),
    ],
)
def test_refused_before_a_gpu_is_opened(machine: Machine, flags: list[str], message: str) -> None:
    done = machine.kseg("run", "p", *flags)
    assert (done.code, done.output, done.errors) == (2, "", f"kseg-batch: {message}\n")
    assert (done.opened_itself, done.opened_by_others) == (set(), {})
    assert not (machine.folder / "p-kseg").exists()


@pytest.mark.parametrize(
    ("flags", "broken"),
    [
        (["--require-gpu"], 0),
        (["--require-gpu", "--device", "1"], 1),
        (["--require-gpu", "--device", "all"], 1),
        (["--backend", "cupy"], 0),
    ],
)
def test_a_gpu_that_was_asked_for_and_cannot_be_opened(
    machine: Machine, flags: list[str], broken: int
) -> None:
    """The outputs of an earlier run stay, too."""
    assert machine.kseg("run", "p/0.png", "-o", "out", "--no-gpu").code == 0
    before = state(machine.folder / "out")
    for out in ("out", "new"):
        done = machine.kseg("run", "p", "-o", out, *flags, broken=str(broken))
        assert (done.code, done.output) == (2, "")
        assert done.errors.startswith(f"kseg-batch: GPU {broken}: {BUSY}; ")
        assert done.errors.count("\n") == 1
        assert done.opened_itself == set()
    assert not (machine.folder / "new").exists()
    assert state(machine.folder / "out") == before


def test_a_gpu_that_was_preferred_and_cannot_be_opened(machine: Machine) -> None:
    done = machine.kseg("run", "p", "--gpu", "-o", "gpu", broken="0")
    assert done.code == 0
    assert f": done on the CPU: GPU 0: {BUSY}; " in done.errors
    assert done.errors.count("\n") == 1
    assert "3 images done on the CPU instead: noted in the manifest" in done.output
    assert {line["backend"] for line in manifest(machine.folder / "gpu")} == {"numba"}
    assert machine.kseg("run", "p", "--no-gpu", "-o", "cpu").code == 0
    assert machine.pngs("gpu") == machine.pngs("cpu")


def test_fit_clusters_in_its_own_process(machine: Machine) -> None:
    done = machine.kseg("fit", "p", "--gpu")
    assert (done.code, done.errors) == (0, "")
    assert "clustered with cupy" in done.output
    assert (done.opened_itself, done.opened_by_others) == ({0}, {})
