"""The Numba CUDA kernels equal the reference, bit for bit, in the simulator of the package numba-cuda."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.gpu.simulator import GROUPS, TIMEOUT, names_of_cases

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

HIDE_NUMBA_CUDA = """
import importlib.abc, sys


class Hiding(importlib.abc.MetaPathFinder):
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] == "numba_cuda" else self.finder.find_spec(name, path, target)


# without the finder by which numba-cuda takes the place of Numba's own target
finders = [finder for finder in sys.meta_path if type(finder).__name__ != "NumbaCudaFinder"]
sys.meta_path[:] = [Hiding(finder) for finder in finders]
"""

LOAD_WITHOUT_NUMBA_CUDA = (
    HIDE_NUMBA_CUDA
    + """
from importlib.util import find_spec
from kseg_batch.backends.numba_cuda import load
from kseg_batch.errors import BackendUnavailableError
from kseg_batch.backends.gpu.options import GpuOptions

assert find_spec("numba") and not find_spec("numba_cuda")
try:
    load(GpuOptions())
except BackendUnavailableError as error:
    print(error)
assert "numba.cuda" not in sys.modules
"""
)

Outcome = tuple[dict[str, str | None], str]
"""The error of each finished case, or None, and the standard error of the program."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Choose the cases, of which there are more with --soak."""
    if "case" in metafunc.fixturenames:
        soak = bool(metafunc.config.getoption("--soak"))
        cases = [(group, case) for group in GROUPS for case in names_of_cases(group, soak)]
        metafunc.parametrize(("group", "case"), cases)


def run_group(group: str, soak: bool) -> Outcome:
    cases = names_of_cases(group, soak)
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.gpu.simulator", group, *cases]
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=TIMEOUT + 30, check=False
    )
    return dict(json.loads(line) for line in done.stdout.splitlines()), done.stderr


@pytest.fixture(scope="module")
def outcomes(soak: bool) -> Iterator[dict[str, Future[Outcome]]]:
    """The outcomes of all groups, as many groups at a time as cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {group: pool.submit(run_group, group, soak) for group in GROUPS}
        pool.shutdown(cancel_futures=True)


def test_kernels_equal_the_reference(outcomes: dict[str, Future[Outcome]], group: str, case: str) -> None:
    errors, stderr = outcomes[group].result()
    assert case in errors, f"it did not end:\n{stderr}"
    assert errors[case] is None, errors[case]
    assert stderr == ""


def test_numbas_own_target_is_not_taken_for_numba_cuda() -> None:
    command = [sys.executable, "-W", "error", "-c", LOAD_WITHOUT_NUMBA_CUDA]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    message = "the package numba-cuda is not installed; Numba's own CUDA target is deprecated, and not used"
    assert (done.stdout.strip(), done.stderr) == (message, "")
