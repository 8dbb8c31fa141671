"""Compile the kernels before the first test, so that no command line under test has to."""

import pytest

from kseg_batch.backends import load


@pytest.fixture(scope="session", autouse=True)
def compiled_kernels() -> None:
    load("numba").warm_up()
