"""`kseg-batch doctor` names the parts that work, the parts that do not, and the command that mends each."""

import ctypes
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kseg_batch.backends.gpu import driver
from kseg_batch.backends.gpu.backend import GpuBackend
from kseg_batch.backends.gpu.driver import Driver, Gpu
from kseg_batch.backends.machine import (
    INSTALL_DRIVER,
    MEND_DRIVER,
    UPDATE_DRIVER,
    find_problems,
    gpu_fix,
)
from kseg_batch.backends.numba_cpu import NumbaBackend
from kseg_batch.backends.registry import MODULES
from kseg_batch.backends.self_test import self_test
from kseg_batch.cli.doctor import LABEL
from kseg_batch.kmeans.histogram import ColorHistogram
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.kmeans.palette import Palette
from tests.support.commands import command_line, import_path
from tests.support.faults import HIDE_LITTLECMS, break_module
from tests.support.gpu import compile_driver

GPU = Gpu("NVIDIA Test 1", "9.0", 150 << 30, 149 << 30)
NO_DRIVER = Driver("there is no NVIDIA driver on this machine", None, None, ())
CUDA_12 = "pip install 'cupy-cuda12x[ctk]' 'numba-cuda[cu12]'"
CUDA_13 = "pip install 'cupy-cuda13x[ctk]' 'numba-cuda[cu13]'"


def driver_for(cuda: str) -> Driver:
    return Driver(None, "580.65.06", cuda, (GPU,))


def run_doctor(
    folder: Path, *arguments: str, code: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the real command line; modules and package folders in `folder` come before the installed ones."""
    outside = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("NUMBA_", "CUDA_", "PYTHON", "LD_"))
    }
    return subprocess.run(
        command_line("doctor", *arguments, code=code),
        env=outside | {"PYTHONPATH": import_path(folder)} | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def examine(folder: Path, exit_code: int, code: str = "", **environment: str) -> dict[str, Any]:
    """The JSON of a doctor that has to exit with the given code, with each backend by its name, too."""
    result = run_doctor(folder, "--json", code=code, **environment)
    assert result.returncode == exit_code, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    report: dict[str, Any] = json.loads(result.stdout)
    assert report["ok"] == (exit_code == 0)
    assert [check["name"] for check in report["backends"]] == list(MODULES)
    report |= {check["name"]: check for check in report["backends"]}
    return report


def pretend_installed(folder: Path, name: str, version: str) -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_the_table_on_a_terminal_of_80_columns(tmp_path: Path) -> None:
    result = run_doctor(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines if "/" not in line)  # paths stay whole
    labels = [line[:LABEL].strip() for line in lines]
    for label in ("kseg-batch", "Python", "System", "CPU", "NVIDIA", "Images", "Kernel cache", *MODULES):
        assert label in labels
    assert lines[labels.index("numba")][LABEL:].startswith("works: ")
    assert lines[labels.index("opencv")][LABEL:].startswith("works: ")
    assert lines[-1].split(maxsplit=1) == ["Result", "kseg-batch works here"]


def test_json_has_the_content_of_the_table(tmp_path: Path) -> None:
    report = examine(tmp_path, 0)
    assert report["machine"]["python"] == sys.version.split()[0]
    assert {"numpy", "pillow", "isal"} == set(report["packages"])
    assert report["numba"]["status"] == report["opencv"]["status"] == "works"
    assert 0 < report["numba"]["milliseconds"] < report["opencv"]["milliseconds"]
    assert "numba" in report["numba"]["packages"]
    assert report["files_problem"] is None
    codecs = {codec["name"]: codec for codec in report["codecs"]}
    rare = {"JPEG 2000", "JPEG XL", "PPM", "QOI", "TGA"}
    assert set(codecs) == {"AVIF", "BMP", "GIF", "HEIC", "JPEG", "PNG", "TIFF", "WebP"} | rare
    assert all(codec["read"] for codec in codecs.values())


def test_missing_packages_for_formats_are_named(tmp_path: Path) -> None:
    for module in ("pillow_heif", "pillow_jxl"):
        break_module(tmp_path, module)
    report = examine(tmp_path, 0)
    assert [codec["name"] for codec in report["codecs"] if not codec["read"]] == ["HEIC", "JPEG XL"]
    fixes = {finding["problem"]: finding["fix"] for finding in report["findings"]}
    assert fixes["HEIC files need one more package"] == "pip install pillow-heif"
    assert fixes["JPEG XL files need one more package"] == "pip install pillow-jxl-plugin"


def test_a_build_of_pillow_without_littlecms_is_named(tmp_path: Path) -> None:
    report = examine(tmp_path, 0, code=HIDE_LITTLECMS)
    (finding,) = (finding for finding in report["findings"] if "LittleCMS" in finding["problem"])
    assert finding["fix"] == "pip install --force-reinstall pillow"
    assert not any("LittleCMS" in finding["problem"] for finding in examine(tmp_path, 0)["findings"])


def test_without_numba_opencv_is_left(tmp_path: Path) -> None:
    break_module(tmp_path, "numba")
    report = examine(tmp_path, 0)
    assert report["numba"]["status"] == "unavailable"
    assert "no numba here" in report["numba"]["reason"] and "pip install" in report["numba"]["reason"]
    assert report["opencv"]["status"] == "works"
    assert report["kernel_cache"] is None


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        ("raise ImportError('libGL.so.1: cannot open shared object')", "apt-get install libgl1 libglib2.0-0"),
        ("raise AttributeError('damaged')", "pip install --force-reinstall opencv-python"),
        ("", "pip install --force-reinstall opencv-python"),  # as after the removal of one of two packages
    ],
)
def test_without_opencv_most_works(tmp_path: Path, code: str, fix: str) -> None:
    (tmp_path / "cv2.py").write_text(code)
    report = examine(tmp_path, 0)
    assert report["numba"]["status"] == "works"
    assert report["opencv"]["status"] == "unavailable"
    assert "OpenCV cannot be imported" in report["opencv"]["reason"]
    assert report["files_problem"] is None
    assert all(codec["read"] for codec in report["codecs"])
    (finding,) = (finding for finding in report["findings"] if "without OpenCV" in finding["problem"])
    assert finding["fix"].removesuffix("-headless") == fix


def test_without_any_backend(tmp_path: Path) -> None:
    break_module(tmp_path, "cv2")
    break_module(tmp_path, "numba")
    result = run_doctor(tmp_path)
    assert result.returncode == 1
    assert result.stderr == ""
    assert result.stdout.endswith("Result       kseg-batch does NOT work here\n")


def test_without_isal_no_file_can_be_written(tmp_path: Path) -> None:
    break_module(tmp_path, "isal")
    report = examine(tmp_path, 1)
    assert report["files_problem"] == "ImportError: no isal here"
    assert report["numba"]["status"] == "works"


WRONG_LABELS = """
from kseg_batch.backends.numba_cpu import NumbaBackend
right = NumbaBackend.assign
NumbaBackend.assign = lambda self, *given: right(self, *given) ^ 1
"""
RAISES = """
from kseg_batch.backends.numba_cpu import NumbaBackend
from kseg_batch.errors import BackendError
def fit(self, histogram, options): raise BackendError("the kernel does not\\n launch")
NumbaBackend.fit = fit
"""


def test_a_wrong_backend_fails_the_whole_although_another_works(tmp_path: Path) -> None:
    report = examine(tmp_path, 1, WRONG_LABELS)
    assert report["opencv"]["status"] == "works"
    assert report["numba"]["status"] == "FAILED"
    assert report["numba"]["reason"].startswith("its labels differ from the reference")
    assert report["numba"]["milliseconds"] is None


def test_a_backend_that_raises_fails_the_whole(tmp_path: Path) -> None:
    report = examine(tmp_path, 1, RAISES)
    assert report["numba"]["status"] == "FAILED"
    assert report["numba"]["reason"] == "BackendError: the kernel does not launch"
    assert report["numba"]["fix"] is None  # Numba can be imported, so it need not be installed again


def test_without_the_kernels_numba_is_not_to_be_installed_again(tmp_path: Path) -> None:
    report = examine(tmp_path, 0, "import sys; sys.modules['kseg_batch.kernels.numba_cpu'] = None")
    assert report["numba"]["status"] == "unavailable"
    assert report["numba"]["reason"].startswith("kseg-batch is not complete")
    assert "numba;" not in report["numba"]["reason"] and "pip" not in report["numba"]["reason"]
    assert report["numba"]["fix"] is None


class Spoiled(NumbaBackend):
    """A backend with one fault in its results."""

    def __init__(self, name: str, part: str) -> None:
        super().__init__()
        self.name = name
        self._part = part

    def fit(self, histogram: ColorHistogram, options: FitOptions, start: Palette | None = None) -> Palette:
        """See `Backend.fit`."""
        palette = super().fit(histogram, options, start)
        if self._part == "centres":
            palette = replace(palette, fixed_centers=palette.fixed_centers + np.int32(2))
        if self._part == "number of centres":
            palette = replace(palette, fixed_centers=palette.fixed_centers[1:], counts=palette.counts[1:])
        if self._part == "counts":
            palette = replace(palette, counts=palette.counts + 1)
        if self._part == "compactness":
            palette = replace(palette, compactness=palette.compactness * 1.001)
        return palette

    def assign(
        self, image: NDArray[np.uint8], palette: Palette, histogram: ColorHistogram | None = None
    ) -> NDArray[np.uint8]:
        """See `Backend.assign`."""
        labels = super().assign(image, palette, histogram)
        if self._part == "labels":
            labels[-1, -1] ^= 1
        return labels


@pytest.mark.parametrize("name", ["numba", "opencv"])
@pytest.mark.parametrize("part", ["labels", "centres", "number of centres", "counts", "compactness"])
def test_the_self_test_finds_wrong_results(name: str, part: str) -> None:
    """A pixel, a centre, a count or a thousandth of the compactness, under either tolerance."""
    assert part.split()[-1] in self_test(Spoiled(name, part))


def test_the_self_test_finds_nothing_in_a_sound_backend() -> None:
    assert self_test(NumbaBackend()) == self_test(Spoiled("opencv", "nothing")) == []


def test_a_gpu_backend_is_tested_in_a_batch_as_well(
    emulated: GpuBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert self_test(emulated) == []
    honest = GpuBackend.segment_batches

    def lying(self: GpuBackend, batches: Any) -> Any:
        for result in honest(emulated, batches):
            assert result.palette is not None
            yield replace(result, palette=replace(result.palette, counts=result.palette.counts + 1))

    monkeypatch.setattr(GpuBackend, "segment_batches", lying)
    assert self_test(emulated) == ["counts"]


def test_interpreted_kernels_are_not_waited_for(tmp_path: Path) -> None:
    report = examine(tmp_path, 0, NUMBA_DISABLE_JIT="1")
    assert report["numba"]["status"] == "unavailable"
    assert report["numba"]["reason"].startswith("NUMBA_DISABLE_JIT is set")
    assert report["numba"]["fix"] == "unset NUMBA_DISABLE_JIT"


def test_a_cache_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A file stands where the folder should be. One kernel is compiled, because all take 20 seconds."""
    (tmp_path / "file").touch()
    folder = str(tmp_path / "file" / "cache")
    code = """
import json, dataclasses, numpy as np
from kseg_batch.backends.machine import read_kernel_cache
from kseg_batch.segmentation.region_cleaner import count_labels
count_labels(np.zeros(8, np.uint8), 2)
print(json.dumps(dataclasses.asdict(read_kernel_cache())))
"""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "NUMBA_CACHE_DIR": folder},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    cache = json.loads(result.stdout)
    assert (cache["wanted"], cache["folder"]) == (folder, f"{folder}/kseg-batch")
    assert (cache["read"], cache["compiled"], cache["lost"]) == (0, 1, 1)
    assert (cache["files"], cache["size"], cache["writable"]) == (0, 0, False)
    (finding,) = cache["problems"]
    expected = (
        f"each run compiles its kernels anew, as none can be kept in {folder}/kseg-batch (Not a directory)"
    )
    assert finding["problem"] == expected
    assert finding["fix"].startswith("export NUMBA_CACHE_DIR=")


def test_the_cache_of_the_compiled_kernels(tmp_path: Path) -> None:
    examine(tmp_path, 0)
    cache = examine(tmp_path, 0)["kernel_cache"]
    assert cache["files"] == len(list(Path(cache["folder"]).glob("*.kernel"))) > 20
    assert cache["size"] > 1_000_000
    assert (cache["compiled"], cache["lost"], cache["problems"], cache["writable"]) == (0, 0, [], True)
    assert cache["read"] > 20


def test_packages_that_clash(tmp_path: Path) -> None:
    """The metadata of two OpenCVs and of two CuPys, without the packages, and a half-removed package."""
    (tmp_path / "half_removed-1.0.dist-info").mkdir()
    for name, version in (
        ("opencv-python", "4.11.0"),
        ("opencv-python-headless", "4.12.0"),
        ("cupy-cuda12x", "14.0"),
        ("cupy-cuda13x", "14.0"),
    ):
        pretend_installed(tmp_path, name, version)
    result = run_doctor(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    text = " ".join(result.stdout.split())
    assert "opencv-python and opencv-python-headless all install the module cv2" in text
    assert "fix: pip uninstall -y opencv-python opencv-python-headless fix: pip install opencv-python" in text
    assert "cupy-cuda12x and cupy-cuda13x all install the module cupy" in text
    assert "fix: pip uninstall -y cupy-cuda12x cupy-cuda13x fix: pip install 'cupy-cuda1" in text


@pytest.mark.parametrize(
    ("driver", "packages", "fix"),
    [
        (NO_DRIVER, [], INSTALL_DRIVER),
        (Driver("the NVIDIA driver does not start (CUDA error 803)", None, "13.0", ()), [], MEND_DRIVER),
        (driver_for("11.8"), [], UPDATE_DRIVER),
        (driver_for("12.4"), [], CUDA_12),
        (driver_for("13.0"), [], CUDA_13),
        (driver_for("14.2"), [], CUDA_13),
        (driver_for("13.0"), ["cupy-cuda12x"], CUDA_12),
        (driver_for("12.4"), ["cupy-cuda13x"], CUDA_12),
    ],
)
def test_commands_that_make_the_gpu_backends_work(driver: Driver, packages: list[str], fix: str) -> None:
    """A driver first; then the packages for the driver's CUDA, or for an installed CuPy that can run."""
    assert gpu_fix(driver, dict.fromkeys(packages, "14.0")) == fix


@pytest.mark.parametrize(
    ("cuda", "packages", "fixes"),
    [
        ("13.0", ["numba", "numba-cuda", "cupy-cuda12x", "opencv-python"], []),
        (
            "12.4",
            ["numba-cuda", "cupy-cuda13x"],
            [f"pip uninstall -y cupy-cuda13x && {CUDA_12}"],
        ),
        (
            "13.0",
            ["numba-cuda", "opencv-contrib-python", "opencv-python"],
            ["pip uninstall -y opencv-contrib-python opencv-python && pip install opencv-python"],
        ),
        ("11.8", ["numba-cuda"], [UPDATE_DRIVER]),
    ],
)
def test_clashes_with_the_driver(cuda: str, packages: list[str], fixes: list[str]) -> None:
    found = find_problems(dict.fromkeys(packages, "1.0"), driver_for(cuda))
    assert [finding.fix for finding in found] == fixes


FAKE_DRIVER = """
#include <string.h>
#include <stddef.h>
int balance = 0;
static void *current = 0;
int cuInit(unsigned flags) { return 0; }
int cuDriverGetVersion(int *version) { *version = 12080; return 0; }
int cuDeviceGetCount(int *n) { *n = 2; return 0; }
int cuDeviceGet(int *device, int i) { *device = 7 + i; return 0; }
int cuDeviceGetName(char *name, int length, int device) {
    strncpy(name, device == 7 ? "NVIDIA Test 1" : "NVIDIA Test 2", length); return 0;
}
int cuDeviceGetAttribute(int *value, int what, int device) {
    *value = what == 75 ? 8 : what == 76 ? 6 : -1; return 0;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = 24ull << 30; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) {
    if (device == 8) return 46;  /* another process has it alone */
    balance++; *context = &balance; return 0;
}
int cuDevicePrimaryCtxRelease_v2(int device) { balance--; return 0; }
int cuCtxPushCurrent_v2(void *context) { balance += 10; current = context; return 0; }
int cuCtxPopCurrent_v2(void **context) { balance -= 10; *context = current; current = 0; return 0; }
int cuMemGetInfo_v2(size_t *free, size_t *total) {
    if (!current) return 201;
    *free = 5ull << 30; *total = 24ull << 30; return 0;
}
"""


@pytest.fixture
def fake_driver(tmp_path: Path) -> Path:
    """A library compiled for the test, which answers as a driver for two GPUs would."""
    return compile_driver(tmp_path, FAKE_DRIVER)


@pytest.mark.needs("g++")
def test_gpus_are_read_from_the_driver_and_let_go(
    fake_driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "version").write_text("580.65.06\n")
    monkeypatch.setattr(driver, "LIBRARY", str(fake_driver))
    monkeypatch.setattr(driver, "VERSION_FILE", tmp_path / "version")
    assert driver.read_driver() == Driver(
        problem=None,
        version="580.65.06",
        cuda="12.8",
        devices=(
            Gpu("NVIDIA Test 1", "8.6", 24 << 30, 5 << 30),
            Gpu("NVIDIA Test 2", "8.6", 24 << 30, None),
        ),
    )
    assert ctypes.c_int.in_dll(ctypes.CDLL(str(fake_driver)), "balance").value == 0


@pytest.mark.needs("g++")
def test_a_driver_without_most_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = compile_driver(
        tmp_path, "int cuInit(unsigned f) { return 0; } int cuDeviceGetCount(int *n) { *n = 1; return 0; }"
    )
    monkeypatch.setattr(driver, "LIBRARY", str(library))
    found = driver.read_driver()
    assert (found.problem, found.cuda, found.devices) == (None, None, (Gpu(None, None, None, None),))


@pytest.mark.needs("g++")
def test_a_driver_that_does_not_start(tmp_path: Path) -> None:
    compile_driver(
        tmp_path,
        "int cuInit(unsigned f) { return 803; } int cuDriverGetVersion(int *v) { *v = 13000; return 0; }",
    )
    report = examine(tmp_path, 0, LD_LIBRARY_PATH=str(tmp_path))
    assert report["driver"]["problem"] == "the NVIDIA driver does not start (CUDA error 803)"
    assert report["driver"]["cuda"] == "13.0"
    assert report["driver"]["devices"] == []
    assert report["driver_fix"] == report["cupy"]["fix"] == MEND_DRIVER


@pytest.mark.needs("g++")
def test_gpus_in_the_table(fake_driver: Path) -> None:
    """The GPU backends cannot work here, because these GPUs compute nothing."""
    result = run_doctor(fake_driver.parent, LD_LIBRARY_PATH=str(fake_driver.parent))
    assert "Traceback" not in result.stderr
    text = " ".join(result.stdout.split())
    assert "for CUDA up to 12.8" in text
    assert "GPU 0 NVIDIA Test 1, compute capability 8.6 memory 24.0 GiB, free 5.0 GiB" in text
    assert "GPU 1 NVIDIA Test 2, compute capability 8.6 memory 24.0 GiB, free ?" in text
    assert CUDA_12 in text
