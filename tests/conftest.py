"""Options of pytest, and fixtures for all tests; the kernels are compiled before the first test."""

import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kseg_batch.backends.gpu.backend import GpuBackend
from kseg_batch.backends.registry import load
from kseg_batch.processes import usable_cores
from tests.gpu.emulator.device import emulated_gpu
from tests.support.needs import need

NEEDS_OF_FIXTURES = {"cache": "g++", "display": "Xvfb"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-gpu", action="store_true", help="fail where a test needs a GPU and has none")
    parser.addoption(
        "--require-system", action="store_true", help="fail where a test needs what the system lacks"
    )
    parser.addoption("--soak", action="store_true", help="run the long tests at their full length")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*things): needs things of tests.support.system")
    config.addinivalue_line(
        "markers", "soak: has a full length, which --soak gives (set by the fixture soak)"
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Use a process more than cores, because tests wait for other processes for a fifth of their time."""
    return usable_cores() + 1


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of the whole first, and mark tests by their fixtures.

    The tests of the whole are beside this file. Each takes long, and would be left to one process at the end.
    The marks are `soak`, so that `-m soak` selects a test, and what a fixture needs of the system.
    """
    items.sort(key=lambda item: item.path.parent != Path(__file__).parent)
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "soak" in fixtures:
            item.add_marker("soak")
        for fixture in NEEDS_OF_FIXTURES.keys() & fixtures:
            item.add_marker(pytest.mark.needs(NEEDS_OF_FIXTURES[fixture]))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test, or let it fail, whose markers `needs` name what the system lacks."""
    need(item.config, [thing for marker in item.iter_markers("needs") for thing in marker.args])


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Name each reason for which tests were skipped once, with the number of tests."""
    reasons = Counter(report.longrepr[2] for report in terminalreporter.getreports("skipped"))
    for reason, number in reasons.items():
        terminalreporter.write_line(f"{number} skipped: {reason.removeprefix('Skipped: ')}")


@pytest.fixture(scope="session")
def soak(request: pytest.FixtureRequest) -> bool:
    """Whether long tests run at their full length."""
    return bool(request.config.getoption("--soak"))


@pytest.fixture(scope="session", autouse=True)
def compiled_kernels() -> None:
    load("numba").warm_up()


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the kernels that g++ compiles for the emulator."""
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(scope="session")
def emulated(cache: Path) -> GpuBackend:
    """The cupy backend's host program and kernels on an emulated device."""
    return emulated_gpu(cache)


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """An X server without a screen, on whichever display is free."""
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "1400x900x24", "-noreset"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            yield f":{server.stdout.readline().strip()}"
        finally:
            server.terminate()
            try:
                server.wait(timeout=10)
            except subprocess.TimeoutExpired:  # Xvfb now and then loses a signal
                server.kill()
