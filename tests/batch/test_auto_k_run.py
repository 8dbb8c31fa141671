"""Runs with `--k auto`: the same on a GPU, done once, and done again where the range changes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from kseg_batch.backends.gpu.backend import GpuBackend
from kseg_batch.backends.registry import load
from kseg_batch.batch.plan import fingerprint
from kseg_batch.batch.storage.scan import Scan
from kseg_batch.batch.workers.gpu_pipeline import process_on_gpu
from kseg_batch.batch.workers.jobs import Lost, Outcome
from kseg_batch.batch.workers.process_image import process_image
from kseg_batch.kmeans.options import KRange
from tests.gpu.emulator.device import EmulatedDevice
from tests.support.commands import kseg
from tests.support.exactness import assert_same_palette
from tests.support.executors import settings_for
from tests.support.image_files import save, with_alpha
from tests.support.images import blobs, flat, noise, two_colors
from tests.support.outputs import manifest, n_masks, pngs, tree

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of several numbers of clusters, one partly transparent, one of a single colour."""
    folder = tmp_path_factory.mktemp("photo_folder")
    for k in (2, 3, 5):
        save(blobs(k, 5, seed=k, side=40), folder / f"{k}.png")
    save(with_alpha(blobs(4, 3, seed=9, side=40), noise(40, 40, 0, 2)[..., 0] > 0), folder / "clear.png")
    save(flat(9, 9), folder / "flat.png")
    return folder


def test_a_run_on_a_gpu_gives_the_same_files(
    photo_folder: Path, tmp_path: Path, emulated: GpuBackend
) -> None:
    k_range = KRange(2, 6)
    on_cpu, on_gpu = (replace(settings_for(tmp_path / name, k=6), k_range=k_range) for name in ("cpu", "gpu"))
    expected = [process_image(job, on_cpu, load("numba")) for job in Scan([photo_folder]).jobs()]
    found = [cast("Outcome", done) for done in process_on_gpu(Scan([photo_folder]).jobs(), on_gpu, emulated)]
    assert pngs(tmp_path / "gpu") == pngs(tmp_path / "cpu")
    curves = {outcome.job.name: outcome.k_curve for outcome in expected}
    assert {outcome.job.name: outcome.k_curve for outcome in found} == curves
    palettes = {outcome.job.name: outcome.palette for outcome in found}
    assert {name: len(p.counts) for name, p in palettes.items() if p} == {
        "2": 2, "3": 3, "5": 5, "clear": 4, "flat": 1
    }  # fmt: skip
    for outcome in expected:
        one, other = outcome.palette, palettes[outcome.job.name]
        assert one and other
        assert_same_palette(one, other)


def test_an_image_too_large_for_the_gpu_is_left_to_the_cpu(tmp_path: Path, cache: Path) -> None:
    save(noise(1400, 1500, 0, 9), tmp_path / "p/large.png")
    save(blobs(3, 3, seed=0, side=30), tmp_path / "p/small.png")
    limit = 240 << 20
    gpu = GpuBackend("cupy", EmulatedDevice(cache, memory=limit), limit)
    settings = replace(settings_for(tmp_path / "out", k=4), k_range=KRange(2, 4))
    results = {r.job.name: r for r in process_on_gpu(Scan([tmp_path / "p"]).jobs(), settings, gpu)}
    large, small = results["large"], results["small"]
    assert isinstance(large, Lost) and "MB of GPU memory" in large.reason
    assert isinstance(small, Outcome) and small.error is None


def done(folder: Path, *flags: object) -> dict[str, int]:
    """The number of clusters of each image that a run does."""
    result = kseg("run", "p", "-o", "out", "--json", *flags, cwd=folder)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()[:-1]]
    return {line["name"]: len(line["counts"]) for line in lines if line["status"] == "done"}


def test_images_are_done_once_and_again_when_the_range_changes(tmp_path: Path) -> None:
    save(blobs(5, 4, seed=1, side=40), tmp_path / "p/five.png")
    out = tmp_path / "out"
    assert done(tmp_path, "--k", 7) == {"five": 7}
    assert n_masks(out) == 7
    assert done(tmp_path, "--k", "auto") == {"five": 5}
    assert n_masks(out) == 5  # the masks of the larger k are gone
    assert done(tmp_path, "--k", "auto") == done(tmp_path, "--k", "auto:2-12") == {}
    assert done(tmp_path, "--k", "auto:2-4")["five"] <= 4
    assert done(tmp_path, "--k", 3) == {"five": 3}
    assert n_masks(out) == 3
    (line,) = manifest(out)
    assert "k_curve" not in line
    (tmp_path / "kseg.toml").write_text('k = "auto:3-9"\n')
    assert done(tmp_path, "--config", "kseg.toml") == {"five": 5}
    assert done(tmp_path, "--k", 12) == {"five": 12}  # 12 is the end of the default range, not the range


def test_fingerprints_know_the_range(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, k=12)
    ranges = (None, KRange(2, 12), KRange(3, 12))
    prints = {fingerprint(replace(settings, k_range=k_range), exact=True) for k_range in ranges}
    assert len(prints) == 3


def test_few_colours_and_disabled_clusters(tmp_path: Path) -> None:
    save(flat(8, 9, (7, 8, 9)), tmp_path / "p/flat.png")
    save(two_colors(), tmp_path / "p/two.png")
    flags = ("--k", "auto:3-6", "--save", "masked", "--disable", 1, "--disable", 5)
    assert done(tmp_path, *flags) == {"flat": 1, "two": 2}
    lines: dict[object, Any] = {line["name"]: line for line in manifest(tmp_path / "out")}
    missing = ["it has no cluster 1", "it has no cluster 5"]
    assert lines["flat"]["notes"] == ["it has 1 colour, so as many clusters", *missing]
    assert lines["two"]["notes"] == ["it has 2 colours, so as many clusters", missing[1]]
    assert lines["flat"]["k_curve"] == lines["two"]["k_curve"] == []
    assert done(tmp_path, "--k", "auto", "-o", "other") == {"flat": 1, "two": 2}
    (flat_line, two_line) = sorted(manifest(tmp_path / "other"), key=lambda line: str(line["name"]))
    assert (flat_line["k_curve"], two_line["k_curve"]) == ([], [[2, 0.0]])
    assert (flat_line["notes"], two_line["notes"]) == (["it has 1 colour, so as many clusters"], [])


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--k", "many"], "--k must be a whole number, auto, or a range such as auto:2-20, not 'many'."),
        (["--k", "auto:9-4"], "the lower number first, not 9-4."),
        (["--k", "auto", "--disable", "12"], "--disable 12: the clusters are 0 to 11."),
    ],
)
def test_wrong_values(tmp_path: Path, flags: list[str], reason: str) -> None:
    save(flat(2, 2), tmp_path / "a.png")
    result = kseg("run", "a.png", *flags, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("kseg-batch: --") and reason in result.stderr
    assert tree(tmp_path) == ["a.png"]
