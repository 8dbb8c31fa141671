"""Messages of errors: flags in place of parameters, and remedies for imports that fail."""

from __future__ import annotations

import pickle

import pytest

from kseg_batch import segment
from kseg_batch.errors import BackendUnavailableError, OptionError
from kseg_batch.optional import explain_numba
from tests.support.images import flat


@pytest.mark.parametrize(
    ("message", "parameters", "expected"),
    [
        ("k must be from 1 to 256, not 300.", ["k"], "--k must be from 1 to 256, not 300."),
        ("max_iter must be 1 or more.", ["max_iter"], "--max-iter must be 1 or more."),
        ("k must be auto or k.", ["k"], "--k must be auto or k."),
        ("keeping needs keep.", ["keep"], "keeping needs --keep."),
        ("max_k and k differ.", ["k"], "max_k and --k differ."),
        (
            "disable and keep contradict each other.",
            ["disable", "keep"],
            "--disable and --keep contradict each other.",
        ),
        ("keep and disable contradict each other.", ["disable"], "keep and --disable contradict each other."),
        ("The file is empty.", [], "The file is empty."),
    ],
)
def test_flags_in_place_of_parameters(message: str, parameters: list[str], expected: str) -> None:
    error = OptionError(message, *parameters)
    assert (str(error), error.with_flags) == (message, expected)


def test_an_error_of_the_python_interface_names_the_parameter() -> None:
    with pytest.raises(ValueError, match=r"^max_iter must be from 1 to 1000000, not 0\.$") as caught:
        segment(flat(2, 2), max_iter=0)
    assert isinstance(caught.value, OptionError)
    assert caught.value.with_flags == "--max-iter must be from 1 to 1000000, not 0."


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            ModuleNotFoundError("No module named 'numba'", name="numba"),
            "Numba cannot be imported (No module named 'numba'); to repair it: "
            "pip install --force-reinstall numba",
        ),
        (
            ImportError("libsvml.so: cannot open"),
            "Numba cannot be imported (libsvml.so: cannot open); to repair it: "
            "pip install --force-reinstall numba",
        ),
        (
            ModuleNotFoundError("No module named 'kseg_batch.kernels'", name="kseg_batch.kernels"),
            "kseg-batch is not complete (No module named 'kseg_batch.kernels'); to repair it, reinstall it",
        ),
    ],
)
def test_failures_of_numba_are_explained(error: Exception, reason: str) -> None:
    with pytest.raises(BackendUnavailableError) as caught, explain_numba():
        raise error
    assert (str(caught.value), caught.value.installed) == (reason, True)
    assert caught.value.__cause__ is error


def test_other_errors_pass() -> None:
    with pytest.raises(OSError, match="full"), explain_numba():
        raise OSError("full")


def test_errors_of_a_worker_process_arrive_whole() -> None:
    unavailable = pickle.loads(pickle.dumps(BackendUnavailableError("There is no GPU.", installed=True)))
    assert (str(unavailable), unavailable.installed) == ("There is no GPU.", True)
    option = pickle.loads(pickle.dumps(OptionError("max_k must be 2.", "max_k")))
    assert (str(option), option.with_flags) == ("max_k must be 2.", "--max-k must be 2.")
