"""The benchmarks at toy sizes: each runs, checks before it times, and reports a missed target."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.figures import charts
from benchmarks.speed import end_to_end, scaling
from benchmarks.speed.scaling import Point
from benchmarks.speed.tutorial import Comparison, median_rows, target_lines
from benchmarks.studies import auto_k, quality, validity
from benchmarks.support import ceiling, command
from benchmarks.support.checks import WrongResultError
from benchmarks.support.folders import write_varied
from benchmarks.support.implementations import Measurement
from benchmarks.support.large_images import tiled
from benchmarks.support.processes import Processes
from benchmarks.support.read_back import check_exact, check_partition
from benchmarks.support.report import save
from benchmarks.support.samples import MAX_PIXELS, samples
from benchmarks.support.scripts import tutorial
from kseg_batch import segment
from tests.support.images import gradient, noise
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def run(*words: object) -> str:
    """Return the standard output of a benchmark that must succeed."""
    command = [sys.executable, "-m", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    assert set(content) == {"environment", "settings", "results"}
    return content


def outcomes(lines: list[str]) -> list[str]:
    """Return the first word of each line with a target."""
    return [line.split()[0] for line in lines if "(target:" in line]


@pytest.fixture
def jpegs(tmp_path: Path) -> list[Path]:
    """Three small files, made of two pictures."""
    return write_varied(tmp_path / "photos", [noise(60, 80), gradient(70, 90)], 3, (48, 27))


def test_end_to_end_measures_every_implementation(tmp_path: Path, jpegs: list[Path], soak: bool) -> None:
    if not soak:
        pytest.skip("half a minute on a busy machine; run by --soak")
    target = tmp_path / "found.json"
    sizes = ("--images", 3, "--size", "96x54", "--repeat", 1, "--tutorial-images", 1, "--peer-images", 2)
    printed = run("benchmarks.speed.end_to_end", jpegs[0], *sizes, "--workers", 2, "--json", target)
    rows = {row["implementation"]: row for row in read(target)["results"]}
    peer = find_spec("sklearnex") is not None
    assert set(rows) == {"kseg-batch", "ceiling", "tutorial"} | ({"intelex"} if peer else set())
    assert ("intelex is left out" in printed) != peer
    assert rows["kseg-batch"]["images"] == rows["ceiling"]["images"] == 3
    assert rows["tutorial"]["images"] == 1
    assert rows["kseg-batch"]["rate_with_start"] < rows["kseg-batch"]["rate"]
    assert len(outcomes(printed.splitlines())) == len(rows) - 1


def test_end_to_end_judges_medians_without_the_start() -> None:
    rates = {"kseg-batch": (65.0, 1.0, 900.0), "ceiling": (100.0,), "tutorial": (0.65,), "intelex": (13.0,)}
    rows = [
        end_to_end.Round(
            name, "1 process of 1 thread", i, 10, 1.0, rate, 1.0 if name == "kseg-batch" else None
        )
        for name, found in rates.items()
        for i, rate in enumerate(found)
    ]
    assert outcomes(end_to_end.target_lines(rows)) == ["reached"] * 3
    slower = [
        replace(row, rate=row.rate * 0.99) if row.implementation == "kseg-batch" else row for row in rows
    ]
    assert outcomes(end_to_end.target_lines(slower)) == ["MISSED"] * 3


def test_reading_back_finds_a_wrong_pixel(tmp_path: Path, jpegs: list[Path]) -> None:
    out = tmp_path / "out"
    ceiling.prepare(ceiling.CeilingShare(tuple(jpegs), out, 3))()
    check_exact(jpegs, out, 3)
    check_partition(jpegs, out, 3)
    _, masks = ceiling.output_paths(out, jpegs[1], 3)
    with Image.open(masks[2]) as picture:
        mask = np.array(picture)
    mask[5, 7] ^= True
    Image.fromarray(mask).save(masks[2])
    for check in (check_exact, check_partition):
        with pytest.raises(WrongResultError, match="mask"):
            check(jpegs, out, 3)
    masks[2].write_bytes(b"no image")
    with pytest.raises(WrongResultError, match="cannot be read"):
        check_partition(jpegs, out, 3)


def test_the_tutorial_script_writes_a_partition(tmp_path: Path, jpegs: list[Path]) -> None:
    tutorial(jpegs, tmp_path / "out", 3, threads=1)
    check_partition(jpegs, tmp_path / "out", 3)


def append_own_pid(path: Path) -> Callable[[], None]:
    """Return work that appends the id of its process to a file."""

    def work() -> None:
        with path.open("a") as file:
            file.write(f"{os.getpid()}\n")

    return work


def fail_at_work(path: Path) -> Callable[[], None]:
    """Return work that reads a missing file."""
    return lambda: print(path.read_text())


def test_processes_are_kept_and_their_failures_reported(tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    with Processes(append_own_pid, paths) as processes:
        assert len(processes.work()) == len(processes.work()) == 2
    first, second = (path.read_text().split() for path in paths)
    assert first[0] == first[1] != second[0] == second[1]
    with (
        Processes(fail_at_work, [tmp_path / "missing"]) as processes,
        pytest.raises(WrongResultError, match="exited"),
    ):
        processes.work()


def test_a_watched_command_has_to_do_every_image(tmp_path: Path, jpegs: list[Path]) -> None:
    source = jpegs[0].parent
    found = command.run([source], tmp_path / "out", 1, 3)
    assert found.images == 3
    assert found.seconds > found.parent_seconds > 0
    assert min(found.rate, found.steady, found.parent_bytes) > 0
    assert found.worker_bytes > 50e6  # it has loaded Numba
    with pytest.raises(WrongResultError, match="did not do every image"):
        command.run([source], tmp_path / "out", 1, 3)
    with pytest.raises(WrongResultError, match="failed"):
        command.run([tmp_path / "missing"], tmp_path / "out", 1, 1)


def test_pipeline_measures_every_part(tmp_path: Path, jpegs: list[Path], soak: bool) -> None:
    if not soak:
        pytest.skip("half a minute; run by --soak")
    target = tmp_path / "found.json"
    sizes = ("--images", 3, "--tiny", 5, "--dataset", 3, "--repeat", 1, "--workers", 2)
    printed = run("benchmarks.speed.pipeline", *jpegs, *sizes, "--json", target)
    rows = read(target)["results"]
    assert [(row["part"], row["command"], row["images"], row["workers"]) for row in rows] == [
        ("photos", "run", 3, 1),
        ("photos", "run", 3, 2),
        ("tiny", "run", 5, 2),
        ("tiny, again", "run", 5, 2),
        ("dataset", "fit", 3, 1),
        ("dataset", "run", 3, 1),
        ("dataset", "fit", 3, 2),
        ("dataset", "run", 3, 2),
    ]
    assert all(row["rate"] > 0 and row["parent_mb"] > 0 for row in rows)
    assert re.search(r"^dataset, fit, 2 workers: \d+\.\d images/s, ", printed, re.MULTILINE)
    assert len(outcomes(printed.splitlines())) == 2 + 2 + 3


def test_memory_is_that_above_the_image(tmp_path: Path) -> None:
    target = tmp_path / "found.json"
    printed = run("benchmarks.speed.memory", "--megapixels", "0.2", "--json", target)
    calls = read(target)["results"]
    assert [(call["image"], call["k"]) for call in calls] == [
        ("enlarged", 3),
        ("enlarged", 16),
        ("noise", 3),
        ("noise", 16),
    ]
    assert all(call["pixels"] == round(call["image_mb"] * 1e6 / 3) for call in calls)
    assert all(0 < call["above_mb"] < 200 for call in calls)
    assert outcomes(printed.splitlines()) == ["reached"]


def test_tutorial_compares_every_implementation(tmp_path: Path, jpegs: list[Path]) -> None:
    target = tmp_path / "found.json"
    printed = run("benchmarks.speed.tutorial", jpegs[0], "--k", 3, "--sizes", "24x18,48x27", "--json", target)
    content = read(target)
    assert content["settings"]["sizes"] == ["24x18", "48x27"]
    assert [(row["width"], row["height"]) for row in content["results"]] == [(24, 18), (48, 27)]
    for row in content["results"]:
        for other, speed_up, cost in (
            ("cv2", "speed_up", "cost_over_cv2"),
            ("cv2_one_start", "speed_up_one_start", "cost_over_one_start"),
        ):
            assert row[speed_up] == pytest.approx(row[other]["seconds"] / row["ours"]["seconds"])
            assert row[cost] == pytest.approx(row["ours"]["compactness"] / row[other]["compactness"])
        assert row["cv2_one_start"]["runs"] == row["cv2"]["runs"] == 3
        assert 0.9 < row["cost_over_sklearn"] < 1.01
    assert len(outcomes(printed.splitlines())) == 3
    assert re.findall(r"^median +(\S+) +3 ", printed, re.MULTILINE) == ["24x18", "48x27"]

    figure = charts.tutorial(content)
    assert figure.get_suptitle() == "One 48 × 27 photo, from its pixels to labels and centres"
    (axes,) = figure.axes
    assert len(axes.patches) == 4  # a bar for each implementation, at one k


def test_medians_are_over_the_photos() -> None:
    photos = [
        Comparison(f"{i}.jpg", 24, 18, 10 * i, 3, Measurement(i, 1, 9.0, 9.0), None, None, None)
        for i in (1, 2, 6)
    ]
    (cells,) = (text.split() for text in median_rows(photos))
    assert cells == ["median", "24x18", "3", "20", "2000.0", *["-"] * 8]


def test_targets_of_speed_are_for_the_largest_size() -> None:
    ours, slow, slower = (Measurement(seconds, 1, 9.0, 9.0) for seconds in (1.0, 149.0, 151.0))
    small = Comparison("a.jpg", 24, 18, 99, 3, ours, slow, ours, None)
    large = replace(small, width=48, height=27, cv2=slower)
    assert outcomes(target_lines([small, large])) == ["reached"] * 2  # speed, and cost by that of cv2
    assert outcomes(target_lines([replace(small, cv2=slower), replace(large, cv2=slow)])) == [
        "MISSED",
        "reached",
    ]


def test_live_measures_the_command_and_the_loop(tmp_path: Path, soak: bool) -> None:
    if not soak:
        pytest.skip("half a minute on a busy machine; run by --soak")
    target = tmp_path / "found.json"
    sizes = ("--size", "96x54", "--frames", 12, "--repeat", 1, "--tutorial-frames", 2)
    printed = run("benchmarks.speed.live", *sizes, "--json", target)
    rows = read(target)["results"]
    assert [row["frames"] for row in rows] == [12] * 4 + [2]
    assert all(row["rate"] > 0 for row in rows)
    steady, flickering, *_, tutorial = (row["changed"] for row in rows)
    assert steady < 0.005 < flickering < tutorial
    assert len(outcomes(printed.splitlines())) == 3


def test_scaling_measures_every_part(tmp_path: Path, soak: bool) -> None:
    if not soak:
        pytest.skip("half a minute; run by --soak")
    target = tmp_path / "found.json"
    ranges = ("--megapixels", "0.01", "--k", 2, "--images", "1,101", "--workers", 1, "--repeat", 1)
    printed = run("benchmarks.speed.scaling", *ranges, "--json", target)
    points = [Point(**row) for row in read(target)["results"]]
    cases = {(p.part, p.kind, p.images, p.k) for p in points}
    assert cases == {
        ("pixels", "tiled", 1, 3),
        ("pixels", "tiled", 1, 16),
        ("clusters", "tiled", 1, 2),
        ("worker", "tiled", 1, 3),
        ("images", "photo", 1, 3),
        ("images", "tiny", 101, 2),
    }
    assert all(p.seconds > 0 and p.peak_mb > 50 for p in points)
    assert outcomes(printed.splitlines()) == ["reached"]


def test_scaling_fits_exponents_and_judges_memory() -> None:
    sizes = (300_000, 1_000_000, 10_000_000)
    points = [Point("pixels", "tiled", n, 1, 3, 1e-3 + 1e-9 * n**1.5, 300.0) for n in sizes]
    small = replace(points[0], seconds=100.0)
    flat = [replace(point, seconds=2e-9 * point.pixels**1.5) for point in points[1:]]
    assert scaling.exponent([small, *flat]) == pytest.approx(1.5)
    assert scaling.exponent(points[:2]) is None
    assert "pixels ** 1.50" in scaling.exponent_lines([small, *flat])[0]
    worker = Point("worker", "tiled", 10_000_000, 1, 3, 1.0, 470.0, workers=1)
    assert outcomes(scaling.target_lines([worker, replace(worker, peak_mb=470.1)])) == ["reached", "MISSED"]


@pytest.mark.parametrize("megapixels", [0.000001, 0.001, 0.05, 0.2])
def test_tiles_cover_the_image_and_drift_little(megapixels: float) -> None:
    photo = gradient(90, 160)
    image = tiled(photo, megapixels)
    assert image.shape[0] * image.shape[1] == pytest.approx(megapixels * 1e6, rel=0.1)
    if megapixels > 0.02:
        assert np.array_equal(image[:90, :160], photo)
        mirrored = image[:90, 160:320].astype(int) - photo[:, ::-1][:, : image.shape[1] - 160]
        assert 0 < np.abs(mirrored).max() <= 3


def test_quality_goes_on_from_what_its_file_holds(tmp_path: Path) -> None:
    target = tmp_path / "found.json"
    small = ("--k", 2, "--starts", 1, "--samples", 1, "--json", target)
    assert "\n0 of " in run("benchmarks.studies.quality", *small)
    content = read(target)
    rows = content["results"]
    assert len(rows) >= 3
    assert all(0.5 < row["ratio"] < 1.01 and row["ours"] > 0 for row in rows)
    rows[0]["best"] /= 2
    target.write_text(json.dumps(content))
    printed = run("benchmarks.studies.quality", *small)
    assert f"{len(rows)} of {len(rows)} are known already" in printed
    again = read(target)["results"]
    assert again[0]["ratio"] == pytest.approx(2 * rows[0]["ratio"])
    assert again[1:] == rows[1:]
    assert outcomes(printed.splitlines()) == ["reached", "MISSED"]


def test_quality_takes_over_nothing_of_other_settings(tmp_path: Path) -> None:
    path, reference = tmp_path / "found.json", {"starts": 50, "scikit_learn": "1.5.0"}
    row = quality.QualityResult("a.jpg", "0123", 9, 3, ours=1.0, best=1.0, seconds=2.0, ratio=1.0)
    save(path, {**reference, "k": [3]}, [asdict(row)])
    assert quality.read_known(path, reference) == {("0123", 3): row}
    assert quality.read_known(path, {**reference, "starts": 49}) == {}
    assert quality.read_known(tmp_path / "missing", reference) == quality.read_known(None, reference) == {}
    path.write_text('{"settings": {}, "results": [{}]}')
    with pytest.raises(OSError, match="not a file of this benchmark"):
        quality.read_known(path, {})


def test_samples_are_completed_by_halves_and_kept_small(tmp_path: Path) -> None:
    Image.fromarray(np.tile(gradient(1000, 500), (2, 3, 1))).save(tmp_path / "large.png")
    few, many = samples([tmp_path / "large.png"], 1), samples([tmp_path / "large.png"], 25)
    assert [sample.name for sample in many[: len(few)]] == [sample.name for sample in few]
    assert many[len(few)].name == "large.png top"
    assert len(many) >= 25 > len(few)
    assert len({sample.name for sample in many}) == len(many)
    assert max(sample.rgb.shape[0] * sample.rgb.shape[1] for sample in many) <= MAX_PIXELS


def test_plots_draw_what_there_is_and_say_what_is_missing(tmp_path: Path) -> None:
    save(
        tmp_path / "end_to_end.json",
        {"size": "9 x 9", "k": 3, "workers": 2, "images": 10},
        [
            asdict(end_to_end.Round("kseg-batch", "2 processes of 1 thread", 1, 10, 1.0, 20.0, 10.0)),
            asdict(end_to_end.Round("ceiling", "2 processes of 1 thread", 1, 10, 1.0, 30.0, None)),
        ],
    )
    save(
        tmp_path / "scaling.json",
        {},
        [
            asdict(Point("pixels", "tiled", 10**6, 1, 3, 0.1, 300.0)),
            asdict(Point("pixels", "tiled", 10**7, 1, 3, 0.5, 300.0)),
            asdict(Point("worker", "tiled", 10**6, 1, 3, 0.1, 300.0, workers=1)),
            asdict(Point("images", "tiny", 64, 100, 2, 2.0, 100.0, workers=2)),
        ],
    )
    rows = [
        quality.QualityResult("a", "01", 9, k, ours=1.0, best=1.0, seconds=2.0, ratio=1.001) for k in (2, 3)
    ]
    save(tmp_path / "quality.json", {"starts": 50}, [asdict(row) for row in rows])
    printed = run("benchmarks.figures.plots", "--results", tmp_path, "--out", tmp_path / "pictures")
    drawn = {path.stem: path for path in (tmp_path / "pictures").iterdir()}
    assert set(drawn) == {"end_to_end", "quality", "scaling"}
    for path in drawn.values():
        with Image.open(path) as picture:
            assert picture.width == 1260
            assert len(np.unique(np.asarray(picture.convert("L")))) > 20
    assert "missing: " in printed
    assert "python -m benchmarks.speed.tutorial" in printed


def test_the_kernels_suite_passes_its_checks() -> None:
    names = ("histogram", "packing[3]", "packing[16]", "encode_indexed[3]", "encode_mask[3]", "decode_jpeg")
    tests = [f"benchmarks/test_kernels.py::test_{name}" for name in names]
    assert "6 passed" in run("pytest", "-q", "--benchmark-disable", *tests)


def test_criteria_for_k_are_those_of_scikit_learn_and_find_what_is_plain() -> None:
    from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score

    rgb = auto_k.blobs(np.random.default_rng(3), np.full(4, 0.25), noise=2, mixed=0.0)
    found = validity.fits(rgb)
    assert {validity.choice(criterion, found) for criterion in validity.CRITERIA} == {4}
    for k in (2, 4, 7):
        pixels, labels = rgb.reshape(-1, 3), segment(rgb, k).labels.reshape(-1)
        expected = calinski_harabasz_score(pixels, labels), davies_bouldin_score(pixels, labels)
        ours = (
            validity.calinski_harabasz(found, k),
            validity.davies_bouldin(found[k], found[k].mean_distances),
        )
        assert ours == pytest.approx(expected, rel=0.01)  # its centres are means, ours in steps of 1/64


def test_criteria_for_k_are_tallied() -> None:
    ks = {"a.jpg": 2, "b.jpg": 5, "c.jpg": 7, "d.jpg": 12}
    others = {**ks, "b.jpg": 6}
    variants = {"plain": ks, "grey": dict.fromkeys(ks, 12), "half": ks, "noise": others, "JPEG": ks}
    result = auto_k.Tally("one", [True, False], [True, True], variants).result()
    assert result.cells() == ("one", "50%", "100%", "2, 5, 12", "50%", "100%", "100%", "75%", "100%")
