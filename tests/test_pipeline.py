"""A run on a GPU, emulated: the same files as on the CPU, whatever happens on the way."""

from __future__ import annotations

import json
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kseg_batch import pipeline, worker
from kseg_batch.backends import load
from kseg_batch.backends.base import Backend
from kseg_batch.backends.gpu import GpuBackend
from kseg_batch.errors import BackendError
from kseg_batch.options import FitOptions
from kseg_batch.run import Summary, run
from kseg_batch.scan import scan
from kseg_batch.worker import Outcome, Save, Settings
from tests.conftest import EMULATED_MEMORY
from tests.emulator.device import EmulatedDevice
from tests.samples import noise, photos

ALL: frozenset[Save] = frozenset({"segmented", "masks", "labels", "masked"})


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty photos of different sizes in two folders, two of them broken."""
    folder = tmp_path_factory.mktemp("album")
    for i in range(18):
        picture = photos()["coffee"][i * 7 : i * 7 + 30 + i, i * 5 : i * 5 + 61 - i]
        path = folder / f"{'ab'[i % 2]}/{i:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(path)
    (folder / "a/broken.png").write_bytes((folder / "a/00.png").read_bytes()[:500])
    (folder / "b/text.jpg").write_text("not an image")
    return folder


def do(
    album: Path, out: Path, backend: Backend, k: int = 3, save: frozenset[Save] = ALL
) -> tuple[Summary, list[Outcome]]:
    outcomes: list[Outcome] = []
    settings = Settings(out, FitOptions(k=k, attempts=2), save, disable=(1,))
    return run(scan([album]).jobs, settings, backend, outcomes.append), outcomes


def inflated(png: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The chunks of a PNG file before the pixels, and these: ISA-L may deflate the same rows in two ways."""
    chunks, deflated, at = [], b"", 8
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        body = png[at + 8 : at + 8 + length]
        if kind == b"IDAT":
            deflated += body
        else:
            chunks.append((kind, body))
        at += 12 + length
    return chunks, zlib.decompress(deflated)


def files(out: Path) -> dict[str, tuple[list[tuple[bytes, bytes]], bytes]]:
    return {str(path.relative_to(out)): inflated(path.read_bytes()) for path in sorted(out.rglob("*.png"))}


def lines(out: Path) -> dict[str, dict[str, Any]]:
    """The manifest by source, without what depends on the machine."""
    entries = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    return {
        entry.pop("source"): {key: value for key, value in entry.items() if key not in ("seconds", "backend")}
        for entry in entries
    }


@pytest.mark.parametrize("k", [1, 2, 3, 5, 17])
def test_the_same_files_as_on_the_cpu(album: Path, tmp_path: Path, emulated: GpuBackend, k: int) -> None:
    on_cpu, _ = do(album, tmp_path / "cpu", load("numba"), k)
    on_gpu, outcomes = do(album, tmp_path / "gpu", emulated, k)
    assert (on_gpu.done, on_gpu.failed, on_gpu.fallbacks) == (18, 2, 0)
    assert (on_cpu.done, on_cpu.failed, on_cpu.pixels) == (18, 2, on_gpu.pixels)
    assert files(tmp_path / "gpu") == files(tmp_path / "cpu")
    assert lines(tmp_path / "gpu") == lines(tmp_path / "cpu")
    assert {o.palette.backend for o in outcomes if o.palette} == {"cupy"}


def test_an_image_too_large_for_the_gpu_is_done_on_the_cpu(tmp_path: Path, cache: Path) -> None:
    source = tmp_path / "photos"
    source.mkdir()
    Image.fromarray(noise(1400, 1500, 0, 9)).save(source / "large.png")
    for i in range(3):
        Image.fromarray(noise(20, 20, seed=i)).save(source / f"{i}.png")
    limit = 160 << 20
    gpu = GpuBackend("cupy", EmulatedDevice(cache, memory=limit), limit)
    summary, outcomes = do(source, tmp_path / "gpu", gpu)
    do(source, tmp_path / "cpu", load("numba"))
    assert (summary.done, summary.failed, summary.fallbacks) == (4, 0, 1)
    assert files(tmp_path / "gpu") == files(tmp_path / "cpu")
    (large,) = (o for o in outcomes if o.fallback is not None)
    assert large.source.name == "large.png"
    assert "MB of GPU memory" in str(large.fallback)
    assert large.notes == (f"it was done on the CPU: {large.fallback}",)
    assert large.palette is not None and large.palette.backend == "numba"


class FailingDevice(EmulatedDevice):
    """Works for a number of launches and never again, as a device does that is lost."""

    launches = 0

    def launch(self, *args: Any) -> None:
        """Run a kernel, while the device is there."""
        self.launches -= 1
        if self.launches < 0:
            raise BackendError("the GPU failed: it has fallen off the bus")
        super().launch(*args)


@pytest.mark.parametrize("launches", [0, 3, 8, 20])
def test_a_gpu_that_fails_in_mid_run_loses_no_image(
    album: Path, tmp_path: Path, cache: Path, launches: int
) -> None:
    device = FailingDevice(cache, memory=EMULATED_MEMORY)
    device.launches = launches
    summary, outcomes = do(album, tmp_path / "gpu", GpuBackend("cupy", device, EMULATED_MEMORY))
    do(album, tmp_path / "cpu", load("numba"))
    assert (summary.done, summary.failed) == (18, 2)
    assert summary.fallbacks > 0
    assert files(tmp_path / "gpu") == files(tmp_path / "cpu")
    for outcome in outcomes:
        if outcome.palette is not None:
            assert (outcome.palette.backend == "numba") == (outcome.fallback is not None)
    if launches == 0:
        assert summary.fallbacks == 18


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_a_run_that_is_given_up_ends_its_threads(
    album: Path, tmp_path: Path, emulated: GpuBackend, taken: int
) -> None:
    before = threading.active_count()
    settings = Settings(tmp_path / "out", FitOptions(k=2), frozenset({"labels"}))
    outcomes = pipeline.process_on_gpu(scan([album]).jobs, settings, emulated, threads=2)
    for _ in range(taken):
        next(outcomes)
    outcomes.close()
    assert threading.active_count() == before
    assert not list((tmp_path / "out").rglob("*.kseg-tmp"))


def test_a_mistake_in_the_program_is_not_swallowed(
    album: Path, tmp_path: Path, emulated: GpuBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(pipeline, "write", mistaken)
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        do(album, tmp_path / "out", emulated)
    assert threading.active_count() == before


def test_memory_does_not_grow_with_the_list(
    album: Path, tmp_path: Path, emulated: GpuBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At no time are more images decoded and not yet done than the threads can use."""
    under_way, most = 0, 0
    lock = threading.Lock()

    def count(step: int) -> None:
        nonlocal under_way, most
        with lock:
            under_way += step
            most = max(most, under_way)

    def read(*args: Any) -> Any:
        photo = worker.read(*args)
        count(1)
        return photo

    def write(*args: Any) -> Any:
        outcome = worker.write(*args)
        count(-1)
        return outcome

    monkeypatch.setattr(pipeline, "read", read)
    monkeypatch.setattr(pipeline, "write", write)
    jobs = scan([album]).jobs * 5
    settings = Settings(tmp_path, FitOptions(k=2, attempts=1), frozenset({"labels"}))
    outcomes = list(pipeline.process_on_gpu(jobs, settings, emulated, threads=2))
    assert len(outcomes) == len(jobs)
    assert 1 < most <= 2 * pipeline.IMAGES_PER_THREAD


def test_outputs_that_cannot_be_written_fail_that_image_alone(
    album: Path, tmp_path: Path, emulated: GpuBackend
) -> None:
    blocked = tmp_path / "out/labels/a/00.png"
    blocked.mkdir(parents=True)
    (tmp_path / "out/labels/.kseg-batch").touch()
    summary, outcomes = do(album, tmp_path / "out", emulated, save=frozenset({"labels"}))
    assert (summary.done, summary.failed) == (17, 3)
    (failed,) = (o for o in outcomes if o.error and "cannot be written" in o.error)
    assert failed.source == album / "a/00.png"
    assert np.all([path.is_file() for path in (tmp_path / "out/labels/b").iterdir()])
