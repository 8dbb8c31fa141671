"""The choice of a backend, and the true reason where a backend is passed over."""

import subprocess
import sys
import types
from importlib.util import find_spec
from pathlib import Path

import pytest

from kseg_batch import segment
from kseg_batch.backends.gpu import driver
from kseg_batch.backends.registry import MODULES, Choice, UnavailableBackend, choose, load
from kseg_batch.cli.backend import choose_backend
from kseg_batch.errors import BackendUnavailableError, OptionError
from kseg_batch.kmeans.options import FitOptions
from tests.support.faults import break_module
from tests.support.gpu import compile_driver
from tests.support.images import noise


def test_auto_takes_the_first_that_works_and_says_why_not_the_others() -> None:
    choice = choose()
    tried = [*(p.name for p in choice.unavailable), choice.backend.name]
    assert tried == list(MODULES)[: len(tried)]
    assert all(p.reason for p in choice.unavailable)
    if driver.device_problem() is not None:
        assert choice.backend.name == "numba"


def test_order_of_the_registry() -> None:
    assert list(MODULES) == ["cupy", "numba-cuda", "numba", "opencv"]


@pytest.mark.parametrize("name", ["numba", "opencv"])
def test_a_named_backend_is_taken(name: str) -> None:
    assert choose(name).backend.name == name
    assert choose(name).unavailable == ()
    assert load(name) is load(name)


@pytest.mark.skipif(driver.device_problem() is None, reason="this machine has a GPU")
@pytest.mark.parametrize(("name", "package"), [("cupy", "cupy"), ("numba-cuda", "numba_cuda")])
def test_gpu_backends_give_the_true_reason(name: str, package: str) -> None:
    with pytest.raises(BackendUnavailableError) as caught:
        choose(name)
    if find_spec(package) is None:
        assert "is not installed" in str(caught.value)
        assert not caught.value.installed
    else:
        assert str(caught.value) == f"{name}: {driver.device_problem()}"
        assert caught.value.installed


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "LIBRARY", "libno-such-driver.so.1")
    assert driver.device_problem() == (
        "there is no NVIDIA driver on this machine (libno-such-driver.so.1 was not found)"
    )


@pytest.mark.needs("g++")
@pytest.mark.parametrize(
    ("init", "count", "problem"),
    [
        (999, 0, "does not start (CUDA error 999)"),
        (100, 0, "finds no GPU"),
        (0, 0, "finds no GPU"),
        (0, 2, None),
    ],
)
def test_answers_of_a_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, init: int, count: int, problem: str | None
) -> None:
    """Asked of a library compiled for the test, which answers as a driver would."""
    library = compile_driver(
        tmp_path,
        f"int cuInit(unsigned f) {{ return {init}; }}\n"
        f"int cuDeviceGetCount(int *n) {{ *n = {count}; return 0; }}\n",
    )
    monkeypatch.setattr(driver, "LIBRARY", str(library))
    answer = driver.device_problem()
    assert answer is None if problem is None else problem in str(answer)


def test_only_one_kind_of_device() -> None:
    assert choose(only="cpu").unavailable == ()
    if driver.device_problem() is not None:
        with pytest.raises(BackendUnavailableError, match=r"cupy: .*; numba-cuda: "):
            choose(only="gpu")
    with pytest.raises(OptionError, match="numba does not run on the GPU"):
        choose("numba", only="gpu")
    with pytest.raises(OptionError, match="cupy does not run on the CPU"):
        choose("cupy", only="cpu")


def test_an_unknown_backend() -> None:
    with pytest.raises(
        OptionError, match="backend must be one of auto, cupy, numba-cuda, numba, opencv, not tpu"
    ):
        choose("tpu")


def test_numba_has_no_random_init() -> None:
    with pytest.raises(OptionError, match="numba has no random init; the backend opencv has"):
        segment(noise(4, 4), init="random")


def python_without(tmp_path: Path, package: str, code: str) -> subprocess.CompletedProcess[str]:
    """Run code where importing the package fails, as with a missing or broken package."""
    break_module(tmp_path, package)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + code
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_without_numba_auto_falls_back_to_opencv_and_still_segments(tmp_path: Path) -> None:
    code = """
import numpy as np
from kseg_batch import segment
from kseg_batch.backends.registry import choose
choice = choose(only="cpu")
print(choice.backend.name, choice.unavailable[-1].reason)
rgb = np.zeros((8, 8, 3), np.uint8); rgb[4:] = 200
print(segment(rgb, 2, backend=choice.backend.name).counts.tolist())
segment(rgb, 2)
"""
    result = python_without(tmp_path, "numba", code)
    assert result.stderr.count("FallbackWarning: cv2.kmeans computes, which is slow and not exact") == 1
    assert "numba: Numba cannot be imported (no numba here)" in result.stderr
    name, counts = result.stdout.splitlines()
    assert name.startswith("opencv Numba cannot be imported (no numba here)")
    assert "pip install" in name
    assert counts == "[32, 32]"


def test_without_cv2_the_opencv_backend_names_the_package_to_install(tmp_path: Path) -> None:
    code = """
from kseg_batch.backends.registry import choose
from kseg_batch.errors import BackendUnavailableError
try:
    choose("opencv")
except BackendUnavailableError as error:
    print(error)
"""
    result = python_without(tmp_path, "cv2", code)
    assert result.stdout.startswith("opencv: OpenCV cannot be imported (no cv2 here)")
    assert "pip install --force-reinstall opencv-python" in result.stdout


@pytest.mark.parametrize(("name", "place"), [("numba-cuda", "GPU"), ("numba", "CPU")])
def test_a_backend_that_is_not_the_first_is_told_with_its_place(
    name: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = Choice(types.SimpleNamespace(name=name), (UnavailableBackend("cupy", "it is broken", True),))
    assert choose_backend(lambda *_, **__: chosen, "auto", None, False, FitOptions()) is chosen
    assert capsys.readouterr().err == f"kseg-batch: running on the {place} with {name} (cupy: it is broken)\n"
