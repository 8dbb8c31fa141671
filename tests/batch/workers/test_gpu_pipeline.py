"""The GPU pipeline, emulated: the same files as on the CPU, also after failures."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kseg_batch.backends.gpu.backend import GpuBackend
from kseg_batch.backends.registry import load
from kseg_batch.batch.storage.scan import Job, Scan
from kseg_batch.batch.workers import gpu_pipeline
from kseg_batch.batch.workers.gpu_pipeline import process_on_gpu
from kseg_batch.batch.workers.jobs import Outcome
from kseg_batch.batch.workers.load_image import load_image
from kseg_batch.batch.workers.process_image import process_image
from kseg_batch.batch.workers.write_outputs import write_outputs
from kseg_batch.errors import BackendError
from kseg_batch.kmeans.color_spaces import ColorSpace
from kseg_batch.kmeans.options import FitOptions, RegionOptions
from kseg_batch.kmeans.palette import Palette
from tests.gpu.emulator.device import EmulatedDevice, failing_gpu
from tests.support.executors import comparable, on_cpu, on_gpu, settings_for
from tests.support.image_files import save, with_alpha
from tests.support.images import noise, photos
from tests.support.outputs import pngs


@pytest.fixture(scope="module")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of different sizes in two folders, one photo partly transparent; and two broken files."""
    folder = tmp_path_factory.mktemp("photo_folder")
    for i in range(18):
        picture = photos()["coffee"][i * 7 : i * 7 + 30 + i, i * 5 : i * 5 + 61 - i]
        save(picture, folder / f"{'ab'[i % 2]}/{i:02}.png")
    clear = with_alpha(photos()["chelsea"][:41, :67], noise(41, 67, 0, 2)[..., 0] > 0)
    save(clear, folder / "b/clear.png")
    (folder / "a/broken.png").write_bytes((folder / "a/00.png").read_bytes()[:500])
    (folder / "b/text.jpg").write_text("not an image")
    return folder


@pytest.mark.parametrize("k", [1, 2, 3, 5, 17])
def test_the_same_files_as_on_the_cpu(
    photo_folder: Path, tmp_path: Path, emulated: GpuBackend, k: int
) -> None:
    expected = on_cpu(photo_folder, tmp_path / "cpu", k)
    outcomes, lost = on_gpu(photo_folder, tmp_path / "gpu", emulated, k)
    assert not lost
    assert sum(o.error is None for o in outcomes) == 19
    assert pngs(tmp_path / "gpu") == pngs(tmp_path / "cpu")
    assert comparable(outcomes) == comparable(expected)
    assert {o.palette.backend for o in outcomes if o.palette} == {"cupy"}


def test_clean_labels_are_the_same_as_on_the_cpu(
    photo_folder: Path, tmp_path: Path, emulated: GpuBackend
) -> None:
    regions = RegionOptions(smooth=1, min_region=12)
    expected = on_cpu(photo_folder, tmp_path / "cpu", 3, regions)
    outcomes, _ = on_gpu(photo_folder, tmp_path / "gpu", emulated, 3, regions=regions)
    assert pngs(tmp_path / "gpu") == pngs(tmp_path / "cpu")
    assert (
        comparable(outcomes) == comparable(expected) != comparable(on_cpu(photo_folder, tmp_path / "plain"))
    )
    assert pngs(tmp_path / "plain") != pngs(tmp_path / "cpu")


def test_transparent_pixels_beside_256_clusters_fail_that_image_alone(
    tmp_path: Path, emulated: GpuBackend
) -> None:
    rgb = noise(20, 30)
    save(rgb, tmp_path / "p/whole.png")
    save(with_alpha(rgb, noise(20, 30, 0, 2)[..., 0] > 0), tmp_path / "p/clear.png")
    expected = on_cpu(tmp_path / "p", tmp_path / "cpu", 256)
    outcomes, _ = on_gpu(tmp_path / "p", tmp_path / "gpu", emulated, 256)
    assert comparable(outcomes) == comparable(expected)
    (failed,) = (o for o in outcomes if o.error is not None)
    assert failed.job.name == "clear" and "use 255" in str(failed.error)


@pytest.mark.parametrize("color_space", ["rgb", "lab"])
def test_the_clusters_of_a_palette(
    photo_folder: Path, tmp_path: Path, emulated: GpuBackend, color_space: ColorSpace
) -> None:
    """The clusters are not in the order of their lightness, and some have no pixel."""
    centers = 64 * np.array([[250, 1, 2], [90, 60, 40], [20, 20, 20], [90, 60, 40]], np.int32)
    palette = Palette(centers, np.zeros(4, np.int64), 0.0, None, "", color_space)
    found = {}
    for name in ("cpu", "gpu"):
        settings = replace(settings_for(tmp_path / name, 4), palette=palette)
        settings = replace(settings, fit=FitOptions(k=4, color_space=color_space))
        jobs = Scan([photo_folder]).jobs()
        if name == "cpu":
            outcomes = [process_image(job, settings, load("numba")) for job in jobs]
        else:
            outcomes = [o for o in process_on_gpu(jobs, settings, emulated) if isinstance(o, Outcome)]
        found[name] = comparable(outcomes)
        measured = [o.palette for o in outcomes if o.palette]
        assert all(np.array_equal(p.fixed_centers, centers) and p.counts[3] == 0 for p in measured)
        assert len(measured) == 19
    assert pngs(tmp_path / "gpu") == pngs(tmp_path / "cpu")
    assert found["gpu"] == found["cpu"]


def test_an_image_too_large_for_the_gpu_is_left_to_the_cpu(tmp_path: Path, cache: Path) -> None:
    source = tmp_path / "photos"
    save(noise(1400, 1500, 0, 9), source / "large.png")
    for i in range(3):
        save(noise(20, 20, seed=i), source / f"{i}.png")
    limit = 240 << 20
    gpu = GpuBackend("cupy", EmulatedDevice(cache, memory=limit), limit)
    outcomes, (large,) = on_gpu(source, tmp_path / "gpu", gpu)
    assert [o.status for o in outcomes] == ["done"] * 3
    assert large.job.name == "large"
    assert "MB of GPU memory" in large.reason


@pytest.mark.parametrize("launches", [0, 3, 8, 20])
def test_a_gpu_that_fails_ends_the_work(
    photo_folder: Path, tmp_path: Path, cache: Path, launches: int
) -> None:
    before = threading.active_count()
    with pytest.raises(BackendError, match="fallen off the bus"):
        on_gpu(photo_folder, tmp_path, failing_gpu(cache, launches))
    assert threading.active_count() == before


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_a_run_that_is_given_up_ends_its_threads(
    photo_folder: Path, tmp_path: Path, emulated: GpuBackend, taken: int
) -> None:
    before = threading.active_count()
    settings = settings_for(tmp_path / "out", 2, frozenset({"labels"}))
    outcomes = process_on_gpu(Scan([photo_folder]).jobs(), settings, emulated, threads=2)
    for _ in range(taken):
        next(outcomes)
    outcomes.close()
    assert threading.active_count() == before
    assert not list((tmp_path / "out").rglob("*.kseg-tmp"))


def test_a_mistake_in_the_program_is_not_swallowed(
    photo_folder: Path, tmp_path: Path, emulated: GpuBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(gpu_pipeline, "write_outputs", mistaken)
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        on_gpu(photo_folder, tmp_path / "out", emulated)
    assert threading.active_count() == before


def test_memory_does_not_grow_with_the_list(
    photo_folder: Path, tmp_path: Path, emulated: GpuBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never are more images decoded and not yet written than the threads can use."""
    under_way, most = 0, 0
    lock = threading.Lock()

    def count(step: int) -> None:
        nonlocal under_way, most
        with lock:
            under_way += step
            most = max(most, under_way)

    def read(*args: Any) -> Any:
        photo = load_image(*args)
        count(1)
        return photo

    def write(*args: Any) -> Any:
        outcome = write_outputs(*args)
        count(-1)
        return outcome

    monkeypatch.setattr(gpu_pipeline, "load_image", read)
    monkeypatch.setattr(gpu_pipeline, "write_outputs", write)
    jobs = [Job(job.source, Path(f"{i}-{job.name}")) for i in range(5) for job in Scan([photo_folder]).jobs()]
    settings = settings_for(tmp_path, 2, frozenset({"labels"}))
    outcomes = list(process_on_gpu(jobs, settings, emulated, threads=2))
    assert len(outcomes) == len(jobs)
    assert 1 < most <= 2 * gpu_pipeline.IMAGES_PER_THREAD


def test_outputs_that_cannot_be_written_fail_that_image_alone(
    photo_folder: Path, tmp_path: Path, emulated: GpuBackend
) -> None:
    settings_for(tmp_path / "out", save=frozenset({"labels"}))
    (tmp_path / "out/labels/a/00.png").mkdir(parents=True)
    outcomes, _ = on_gpu(photo_folder, tmp_path / "out", emulated, save=frozenset({"labels"}))
    assert sum(o.error is None for o in outcomes) == 18
    (failed,) = (o for o in outcomes if o.error and "cannot be written" in o.error)
    assert failed.job.source == photo_folder / "a/00.png"
    assert all(path.is_file() for path in (tmp_path / "out/labels/b").iterdir())
