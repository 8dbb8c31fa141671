"""`kseg-batch bench` times right results, reports wrong results, and prints the conditions."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kseg_batch.backends.registry import MODULES
from kseg_batch.bench.implementations import BACKENDS
from kseg_batch.bench.synthetic import photograph
from kseg_batch.segmentation.segment import segment
from tests.support.bench_command import CPU, TINY, bench, variables
from tests.support.commands import command_line
from tests.support.faults import break_module, hide_modules
from tests.support.image_files import save
from tests.support.images import photos
from tests.support.processes import PATIENCE

LIBRARIES = (
    "sklearn KMeans, pixels",
    "sklearn KMeans, colours",
    "sklearn MiniBatch, pixels",
    "sklearn MiniBatch, colours",
    "Pillow median cut",
    "Pillow median cut, kmeans",
)
"""The libraries that are installed with the tests."""

LONGEST_NAME = max(LIBRARIES, key=len)


@pytest.fixture(scope="module")
def with_libraries(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """The output and the JSON of a run with `--peers` where the heavy libraries are not installed."""
    folder = tmp_path_factory.mktemp("libraries")
    hide = hide_modules("sklearnex", "faiss", "imagequant")
    flags = ("--peers", "--k", "3,2", "--threads", "2", "--json", "b.json")
    result = bench(folder, *CPU, *TINY, *flags, code=hide)
    return result.stdout, json.loads((folder / "b.json").read_text())


def rows_of(output: str, name: str) -> list[list[str]]:
    """The cells of an implementation's lines in a wide table, after its name."""
    lines = [line.strip() for line in output.splitlines()]
    return [re.split(r"\s{2,}", line)[1:] for line in lines if re.match(rf"{re.escape(name)}  +\d", line)]


def test_without_a_terminal_each_implementation_has_a_line_for_each_k(
    with_libraries: tuple[str, Any],
) -> None:
    output, _ = with_libraries
    assert "\N{HORIZONTAL ELLIPSIS}" not in output
    (head,) = (line for line in output.splitlines() if line.lstrip().startswith("implementation "))
    columns = re.split(r"\s{2,}", head.strip())[1:]
    assert columns[:4] == ["threads", "size", "k", "ms"]
    for name in ("numba", "opencv", *LIBRARIES):
        rows = [dict(zip(columns, cells, strict=True)) for cells in rows_of(output, name)]
        assert [row["k"] for row in rows] == ["2", "3"]  # ascending, though given in another order
        for row in rows:
            assert row["size"] == "0.01 MP"
            numbers = {column: float(row[column].replace(",", "")) for column in columns if column != "size"}
            assert 0 < numbers["least"] <= numbers["ms"] <= numbers["most"]
            assert numbers["images/s"] == pytest.approx(1e3 / numbers["ms"], rel=0.05)
            assert numbers["passes"] == 1
            assert numbers["/ best"] >= 1
            assert numbers["x cv2"] == 1 or name != "opencv"


def test_the_threads_and_the_conditions_are_printed(with_libraries: tuple[str, Any]) -> None:
    output, content = with_libraries
    assert {row[0] for name in ("numba", "Pillow median cut") for row in rows_of(output, name)} == {"1"}
    assert {row[0] for name in ("opencv", LIBRARIES[0]) for row in rows_of(output, name)} == {"2"}
    for label in ("CPU", "system", "Python", "versions", "commit", "threads", "passes", "random", "photo"):
        assert re.search(rf"^  {label} +\S", output, re.MULTILINE), label
    assert f"numpy {np.__version__}" in output
    assert content["environment"]["usable_cores"] >= 1
    assert content["settings"]["threads"] == 2


def test_missing_libraries_are_named_with_the_pip_command(
    with_libraries: tuple[str, Any],
) -> None:
    output, content = with_libraries
    for name, package in (
        ("sklearnex KMeans, pixels", "scikit-learn-intelex"),
        ("FAISS Kmeans, pixels", "faiss-cpu"),
        ("libimagequant", "imagequant"),
    ):
        assert f"{name} is not installed; to add it: pip install {package}\n" in output
        assert content["not_installed"][name] == f"pip install {package}"


def test_json_has_the_content_of_the_table(with_libraries: tuple[str, Any]) -> None:
    _, content = with_libraries
    assert set(content) == {
        *("environment", "settings", "photos", "contenders", "results", "absent", "not_installed"),
        *("unreadable", "interrupted"),
    }
    assert [(photo["name"], photo["size"]) for photo in content["photos"]] == [
        ("generated, seed 0", "133x75")
    ]
    assert list(content["contenders"]) == ["numba", "opencv", *LIBRARIES]
    results = content["results"]
    assert [(r["contender"], r["k"]) for r in results] == [
        (n, k) for k in (2, 3) for n in content["contenders"]
    ]
    assert min(r["by_best"] for r in results) == 1
    rgb = photograph(133, 75, 0)
    for result in results:
        assert result["status"] == "measured"
        figures = result["figures"]
        assert 0 < figures["least_ms"] <= figures["median_ms"] <= figures["most_ms"]
        assert figures["peak_mb"] >= 0
        if result["contender"] == "numba":
            assert figures["compactness"] == pytest.approx(segment(rgb, result["k"]).compactness, rel=1e-9)
            assert figures["peak_mb"] > 0.5  # its tables of all colours, as far as they are touched


def test_at_80_columns_nothing_is_cut(tmp_path: Path) -> None:
    """The library with the longest name stands for all."""
    code = f"""
    from kseg_batch.bench import benchmark
    benchmark.LIBRARIES = [library for library in benchmark.LIBRARIES if library.name == {LONGEST_NAME!r}]
    """
    output = bench(tmp_path, *CPU, *TINY, "--peers", "--k", "2", code=code, COLUMNS="80").stdout
    assert "\N{HORIZONTAL ELLIPSIS}" not in output
    lines = output.splitlines()
    assert all(len(line) <= 80 for line in lines if "pip install" not in line)
    for name in ("numba", "opencv", LONGEST_NAME):
        at = next(i for i, line in enumerate(lines) if re.match(rf" {name} +[\d.,]+ ", line))
        assert re.match(
            r"   [12] threads?, passes: 1 +[\d.,]+-[\d.,]+ +[\d.,]+ +[\d.]+ +\d+ *$", lines[at + 1]
        )


def test_the_picture_has_curves_only_for_varied_options(tmp_path: Path) -> None:
    widths = []
    for sizes, k in (("0.01", "2"), ("0.01,64x48", "2,3")):
        flags = ("--sizes", sizes, "--k", k, "--plot", "b.png", "--repeat", "1", "--images", "1")
        bench(tmp_path, *CPU, *flags)
        with Image.open(tmp_path / "b.png") as picture:
            assert picture.format == "PNG"
            pixels = np.asarray(picture.convert("RGB"))
        assert 400 < pixels.shape[0] < 1500
        assert 0.02 < (pixels != 255).any(axis=2).mean() < 0.9
        assert ((pixels == (213, 94, 0)).all(axis=2)).sum() > 500  # the bar of numba
        widths.append(pixels.shape[1])
    assert widths[1] > 2 * widths[0]


def test_a_picture_as_svg_and_photos_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for name in ("coffee", "chelsea"):
        save(photos()[name][:90, :120], folder / f"{name}.png")
    save(photos()["china"][:80, :100], folder / "more.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    flags = ("--images", "2", "--repeat", "1", "--json", "b.json", "--plot", "b.svg", "--k", "2")
    output = bench(tmp_path, "photos", *CPU, *flags).stdout
    content = json.loads((tmp_path / "b.json").read_text())
    assert [photo["name"] for photo in content["photos"]] == ["chelsea.png", "coffee.png"]
    assert {result["size"] for result in content["results"]} == {"120x90"}
    assert "broken.jpg was passed over: " in output
    assert (tmp_path / "b.svg").read_text().count("<path") > 10
    bench(tmp_path, "photos", *CPU, *flags, "--sizes", "0.002")
    content = json.loads((tmp_path / "b.json").read_text())
    assert {photo["size"] for photo in content["photos"]} == {"51x39"}  # scaled, and of the same shape


WRONG = """
import dataclasses, time
import numpy as np
from kseg_batch import segment
from kseg_batch.bench.implementations import BACKENDS, Clustering

def replaced(name, **changes):
    return tuple(dataclasses.replace(c, **changes) if c.name == name else c for c in BACKENDS)

def open_wrong_labels(threads):
    def cluster(rgb, options):
        found = segment(rgb, options.k, backend="numba")
        labels = found.labels.copy()
        labels[0, 0] = (labels[0, 0] + 1) % options.k
        return Clustering(labels, found.centers, found.compactness)
    return cluster

def open_other_seed(threads):
    def cluster(rgb, options):
        found = segment(rgb, options.k, attempts=1, seed=7, max_iter=1, eps=100.0, backend="numba")
        return Clustering(found.labels, found.centers, found.compactness)
    return cluster

def open_wrong_compactness(threads):
    def cluster(rgb, options):
        found = segment(rgb, options.k, attempts=options.attempts, max_iter=options.max_iter, backend="numba")
        return Clustering(found.labels, found.centers, found.compactness * 0.999)
    return cluster

def open_slow(threads):
    def cluster(rgb, options):
        time.sleep(options.k / 10 if rgb.size > 100 else 0)
        return Clustering(np.zeros(rgb.shape[:2], int), rgb.reshape(-1, 3).mean(axis=0)[None])
    return cluster
"""


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("wrong_labels", "its labels are not those of its nearest centres"),
        ("other_seed", "differ from those of the NumPy reference on a small copy"),
        ("wrong_compactness", "its compactness is given as"),
    ],
)
def test_a_wrong_backend_is_reported_and_not_timed(tmp_path: Path, how: str, expected: str) -> None:
    (tmp_path / "wrong.py").write_text(WRONG)
    code = f"""
    import wrong
    from kseg_batch.bench import benchmark
    benchmark.BACKENDS = wrong.replaced("numba", open=wrong.open_{how})
    """
    result = bench(tmp_path, *CPU, *TINY, "--k", "5", "--json", "b.json", code=code, exit_code=1)
    numba, opencv = json.loads((tmp_path / "b.json").read_text())["results"]
    assert (numba["status"], numba["figures"]) == ("WRONG", None)
    assert expected in numba["reason"]
    assert f"numba, 0.01 MP, k = 5: WRONG: {numba['reason']}" in result.stdout
    assert re.search(r"^ numba +1 +0\.01 MP +5 +WRONG *$", result.stdout, re.MULTILINE)
    assert opencv["status"] == "measured"


FAISS = """
import numpy as np

def omp_set_num_threads(threads):
    pass

class Kmeans:
    def __init__(self, d, k, **settings):
        self.k, self.index = k, self
    def train(self, x):
        self.centroids = np.full((self.k, 3), VALUE, np.float32)
    def search(self, x, k):
        return None, np.zeros((len(x), 1), int)
"""


@pytest.mark.parametrize(
    ("value", "expected"),
    [("np.nan", "its centres are no colours"), ("255", "one centre alone would better")],
)
def test_a_library_that_is_wrong_or_fails_is_reported(tmp_path: Path, value: str, expected: str) -> None:
    (tmp_path / "faiss.py").write_text(FAISS.replace("VALUE", value))
    break_module(tmp_path, "imagequant")
    (tmp_path / "sklearnex.py").write_text("import os; os._exit(3)\n")
    code = """
    from kseg_batch.bench import benchmark
    benchmark.LIBRARIES = benchmark.LIBRARIES[4:6] + benchmark.LIBRARIES[-1:]
    """
    flags = ("--backend", "numba", "--peers", "--k", "2", "--json", "b.json")
    output = bench(tmp_path, *flags, *TINY, code=code, exit_code=1).stdout
    results = {r["contender"]: r for r in json.loads((tmp_path / "b.json").read_text())["results"]}
    assert results["numba"]["status"] == "measured"
    assert results["FAISS Kmeans, pixels"]["status"] == "WRONG"
    assert expected in results["FAISS Kmeans, pixels"]["reason"]
    assert results["libimagequant"]["reason"] == "ImportError: no imagequant here"
    assert "sklearnex KMeans, pixels, 0.01 MP, k = 2: FAILED: its process ended with exit code 3" in output


def test_a_slow_implementation_is_measured_once_then_skipped_and_in_the_end_stopped(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(WRONG)
    code = """
    import wrong
    from kseg_batch.bench import benchmark
    benchmark.BACKENDS = wrong.replaced("opencv", open=wrong.open_slow)
    """
    flags = ("--backend", "opencv", *TINY, "--json", "b.json")
    output = bench(tmp_path, *flags, "--k", "2,3", "--budget", "0.1", code=code).stdout
    once, skipped = json.loads((tmp_path / "b.json").read_text())["results"]
    assert once["figures"]["passes"] == 1
    assert once["figures"]["median_ms"] >= 200
    assert skipped["status"] == "skipped"
    assert "k = 3: skipped: at 0.01 MP, k = 2 it took 0 s, and --budget is 0.1" in output
    bench(tmp_path, *flags, "--k", "20,30", "--budget", "0.1", code=code)
    stopped, skipped = json.loads((tmp_path / "b.json").read_text())["results"]
    assert (stopped["status"], stopped["reason"]) == ("stopped", "a pass took longer than 1 s")
    assert skipped["status"] == "skipped"


def test_an_interrupted_benchmark_prints_the_rows_so_far(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command_line("bench", *CPU, *TINY, "--k", ",".join(map(str, range(2, 60)))),
        env=variables(tmp_path),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("numba, 0.01 MP, k = 2: ")
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, output + errors
    assert rows_of(output, "numba")[0][1:3] == ["0.01 MP", "2"]
    assert output.endswith("interrupted: this is what was measured until then\n")
    assert "Traceback" not in errors


def test_every_backend_is_an_implementation() -> None:
    assert [backend.name for backend in BACKENDS] == list(MODULES)
