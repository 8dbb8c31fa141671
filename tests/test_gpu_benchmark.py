"""The GPU benchmark's measuring code, on the emulated device: that it measures, and refuses what is wrong."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchmarks.gpu import peer_comparison, plot
from benchmarks.gpu.__main__ import WRONG, benchmark
from benchmarks.gpu.photos import Album, variant
from benchmarks.gpu.recording_device import Opened, Operation, TimedDevice, Watch
from benchmarks.gpu.report import COLUMNS, Report, configuration_cells, configuration_line, slug, targets
from benchmarks.gpu.sections import Settings
from benchmarks.gpu.timing import MeasurementError, batches_of, busy, step_shares
from kseg_batch.backends.cuda_driver import device_problem
from kseg_batch.backends.cupy import FILES
from kseg_batch.bench.environment import environment
from tests.emulator.device import EmulatedDevice, EmulatedStream
from tests.samples import photos

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEMORY = 8 << 30
TINY = Settings(
    sizes=((24, 16), (20, 10)),
    k=(3,),
    batches=(2, 1),
    repeats=2,
    seconds=0.1,
    minutes=30,
    peers=("scikit-learn", "torch"),
    peer_k=(3,),
    images=4,
    runs=1,
    ragged=False,
    copy_bytes=1 << 20,
)


class ClockEvent:
    """The time at which a stream came by."""

    seconds: float

    def happen(self) -> None:
        """Now."""
        self.seconds = time.perf_counter()


class ClockLibrary:
    """Events by the clock of the CPU, among the operations that an emulated stream runs."""

    def record(self, stream: EmulatedStream) -> ClockEvent:
        """Queue an event."""
        event = ClockEvent()
        stream.operations.append(event.happen)
        return event

    def milliseconds(self, start: ClockEvent, end: ClockEvent) -> float:
        """The time between two events."""
        return 1e3 * (end.seconds - start.seconds)

    def copy(self, source: NDArray[Any], target: NDArray[Any], stream: EmulatedStream) -> None:
        """Queue a copy."""
        stream.operations.append(functools.partial(np.copyto, target, source))


class LyingDevice(EmulatedDevice):
    """Changes a bit of each byte of what comes back as labels."""

    lies = True

    def download(self, source: NDArray[Any], host: NDArray[Any], stream: EmulatedStream) -> None:
        """Queue a copy, and a change of it."""
        super().download(source, host, stream)
        if self.lies and host.dtype == np.uint8:
            stream.operations.append(functools.partial(_flip, host))


def _flip(host: NDArray[Any]) -> None:
    host ^= 1


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(scope="module")
def album() -> Album:
    return Album([photos()["coffee"], photos()["flower"]])


def report_at(path: Path) -> Report:
    return Report(path, {"environment": {**environment(), "gpu": {"name": "Emulated"}}})


@pytest.fixture(scope="module")
def results(cache: Path, album: Album, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a whole run writes."""
    path = tmp_path_factory.mktemp("results") / "gpu.json"
    opened = Opened("cupy", EmulatedDevice(cache, threads=32, memory=MEMORY), ClockLibrary())
    assert benchmark(TINY, opened, album, report_at(path)) == 0
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_configurations(results: dict[str, Any]) -> None:
    assert "failures" not in results and "skipped" not in results
    assert results["oracle"] == {"images": 7, "equal": True}
    entries = results["configurations"]
    assert [(entry["size"], entry["k"], entry["batch"]) for entry in entries] == [
        ([24, 16], 3, 2),
        ([24, 16], 3, 1),
        ([20, 10], 3, 2),
        ([20, 10], 3, 1),
    ]
    for entry in entries:
        assert entry["images_checked"] == entry["batch"]
        assert entry["parts"] == 1
        assert sum(entry["shares"].values()) == pytest.approx(1)
        assert list(entry["shares"]) == ["histogram", "points", "seeding", "converging", "labels"]
        assert set(entry["kernels"]) == set(FILES)
        for spread in (*entry["batch_ms"].values(), *entry["kernels"].values()):
            assert 0 < spread["least"] <= spread["q1"] <= spread["median"] <= spread["q3"]
            assert spread["runs"] >= 2
        assert entry["kernels_ms_per_image"] > 0
        assert entry["copies_ms_per_image"] > 0 and entry["wall_ms_per_image"] > 0
        assert entry["times_floor"] > 0 and entry["times_cpu"] > 0
        assert entry["cpu"]["one_thread"] > 0 and entry["cpu"]["two_threads"] > 0
        line = configuration_line(configuration_cells({**entry, "times_floor": 19.5}))
        assert len(line) <= 80
    assert len(configuration_line(COLUMNS)) <= 80


def test_bandwidth(results: dict[str, Any]) -> None:
    assert results["bandwidth"]["n_bytes"] == 1 << 20
    assert all(results["bandwidth"][way] > 0 for way in ("device", "upload", "download"))


def test_end_to_end(results: dict[str, Any]) -> None:
    assert [entry["size"] for entry in results["end_to_end"]] == [[24, 16], [20, 10]]
    for entry in results["end_to_end"]:
        assert entry["images"] >= 4 and entry["files"] == 2
        assert 0 < entry["kernels_busy"] <= entry["gpu_busy"] <= entry["watched_wall"]
        assert entry["gpu_idle"] == pytest.approx(entry["watched_wall"] - entry["gpu_busy"])
        assert entry["decode"] > 0 and entry["encode"] > 0


def test_peers(results: dict[str, Any]) -> None:
    """scikit-learn, which is here, gives figures; PyTorch, which is not or has no GPU, its reason."""
    peers = results["peers"]
    learned = [entry for entry in peers if entry["peer"] == "scikit-learn"]
    assert [entry["kind"] for entry in learned] == ["same start"]
    assert learned[0]["ms_per_image"] > 0 and learned[0]["iterations"] >= 1
    assert learned[0]["cost_ratio"] == pytest.approx(1, abs=0.01)
    if device_problem() is not None:
        failed = [entry for entry in peers if entry["peer"] == "torch"]
        assert [entry["kind"] for entry in failed] == ["same start", "ten starts"]
        assert all("torch" in entry["error"].lower() for entry in failed)


def test_targets(results: dict[str, Any]) -> None:
    assert {target["verdict"] for target in results["targets"][:-1]} == {"not measured"}
    headline = {**results["configurations"][0], "size": [1920, 1080], "k": 3, "batch": 64}
    headline |= {"kernels_ms_per_image": 0.3, "times_floor": 19.5, "copies_ms_per_image": 0.5}
    headline["cpu"] = {"two_threads": 20.0}
    flash = {"peer": "flash-kmeans", "size": [1920, 1080], "k": 3, "batch": 64, "kind": "ten starts"}
    run = {"size": [1920, 1080], "k": 3, "gpu_busy": 1.0, "gpu_idle": 3.0}
    found = targets(
        {
            "configurations": [headline],
            "peers": [{**flash, "ms_per_image": 4.0}, {**flash, "ms_per_image": 3.0}, {**flash, "error": ""}],
            "end_to_end": [run],
        }
    )
    assert [target.verdict for target in found] == [
        "missed",
        "reached",
        "not measured",
        "reached",
        "reached",
        "missed",
        "reached",
    ]
    assert all(len(line) <= 80 for target in found for line in target.shown().splitlines())


def test_a_picture_is_drawn(results: dict[str, Any], tmp_path: Path) -> None:
    for name, content in (("whole", results), ("empty", {})):
        plot.draw(content).savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_wrong_result_is_refused(cache: Path, album: Album, tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    opened = Opened("cupy", LyingDevice(cache, memory=MEMORY), ClockLibrary())
    assert benchmark(TINY, opened, album, report_at(path)) == WRONG
    content = json.loads(path.read_text())
    assert content["failures"][0]["section"] == "oracle"
    assert "labels" in content["failures"][0]["error"]
    assert "configurations" not in content and "end_to_end" not in content


def test_a_configuration_that_is_wrong_has_no_times(
    cache: Path, album: Album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told, the others go on, and the run fails in the end."""
    device = LyingDevice(cache, memory=MEMORY)
    device.lies = False
    download = device.download

    def lying(source: NDArray[Any], host: NDArray[Any], stream: EmulatedStream) -> None:
        device.lies = len(host) == 10 * (1 + 20 // 4)  # bytes of the labels of 20 x 10 pixels, two bits each
        download(source, host, stream)

    monkeypatch.setattr(device, "download", lying)
    path = tmp_path / "gpu.json"
    settings = Settings(**{**_fields(TINY), "peers": (), "images": 0, "batches": (1,)})
    assert benchmark(settings, Opened("cupy", device, ClockLibrary()), album, report_at(path)) == WRONG
    content = json.loads(path.read_text())
    assert [entry["size"] for entry in content["configurations"]] == [[24, 16]]
    assert [failure["section"] for failure in content["failures"]] == ["20x10, k = 3, batch of 1"]


def test_no_section_begins_when_time_is_up(cache: Path, album: Album, tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    opened = Opened("cupy", EmulatedDevice(cache, memory=MEMORY), ClockLibrary())
    settings = Settings(**{**_fields(TINY), "minutes": 0})
    assert benchmark(settings, opened, album, report_at(path)) == 0
    content = json.loads(path.read_text())
    assert "configurations" not in content
    assert content["skipped"][0] == "24x16, k = 3, batch of 2"


def test_a_peer_that_dies_or_hangs_is_recorded(
    album: Album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contest = peer_comparison.Contest(tmp_path, 1, 0.1)
    contest.add((24, 16), 3, album.batch((24, 16), 2))
    answers = list(contest.ask("no such peer", 60))
    assert "no such peer" in answers[0]["error"]
    assert [answer["kind"] for answer in answers] == ["same start", "ten starts"]
    late = list(contest.ask("scikit-learn", 0.01))
    assert "stopped" in late[0]["error"]
    assert late[1]["kind"] == "same start" and "not in time" in late[1]["error"]


def test_operations_are_divided_into_batches() -> None:
    def queue(kinds: str) -> list[Operation]:
        names = {"u": "upload", "l": "launch", "d": "download", "c": "clear"}
        return [Operation(names[kind], "", 0, 1) for kind in kinds]  # type: ignore[arg-type] # as spelled

    assert [len(batch) for batch in batches_of(queue("cuuldduuldd"), 2)] == [6, 5]
    assert [len(batch) for batch in batches_of(queue("uldulduldlld"), 2)] == [6, 6]
    with pytest.raises(MeasurementError):
        batches_of(queue("uldulduld"), 2)


def test_busy_is_the_union_of_intervals() -> None:
    intervals = [(0, 2), (1, 3), (1, 2), (5, 6), (7, None)]
    assert busy([Operation("launch", "", start, end) for start, end in intervals]) == 4


def test_shares_of_steps() -> None:
    times = {"count_pixels": 1.0, "drain_table": 1.0, "label_pixels": 1.0, "new_kernel": 1.0}
    assert step_shares(times) == {"histogram": 0.5, "labels": 0.25, "other": 0.25}


def test_a_watch_records_what_it_says(cache: Path) -> None:
    device = TimedDevice(EmulatedDevice(cache), ClockLibrary())
    stream, host = device.stream(), np.zeros(4, np.uint8)
    array = device.empty(4, np.uint8)
    recorded = {}
    for watch in (Watch.NOTHING, Watch.COPIES, Watch.EVERYTHING):
        device.begin(watch)
        device.upload(host, array, stream)
        device.upload(host, array, stream)
        device.download(array, host, stream)
        device.wait(stream)
        recorded[watch] = [(op.start is not None, op.end is not None) for op in device.take()]
    assert recorded[Watch.NOTHING] == []
    assert recorded[Watch.COPIES] == [(True, False), (False, False), (False, True)]
    assert recorded[Watch.EVERYTHING] == [(True, True)] * 3


def test_the_images_of_a_batch_differ(album: Album) -> None:
    images = album.batch((16, 12), 24)
    assert {image.shape for image in images} == {(12, 16, 3)}
    assert len({image.tobytes() for image in images}) == 24
    assert np.array_equal(variant(images[0], 0), images[0])


def test_slugs() -> None:
    assert slug("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"


@pytest.mark.skipif(device_problem() is None, reason="there is a GPU on this machine")
def test_without_a_gpu_it_says_so() -> None:
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "benchmarks.gpu", "--quick"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "no GPU" in done.stderr
    assert done.stdout == ""


def _fields(settings: Settings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__slots__}
