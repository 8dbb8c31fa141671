"""The measuring parts of the GPU's trial, on the emulated device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchmarks.gpu import peer_comparison, plot
from benchmarks.gpu.photos import PhotoBatches, make_cut
from benchmarks.gpu.recording_device import Operation, TimedDevice, Watch
from benchmarks.gpu.report import COLUMNS, configuration_cells, configuration_line, slug, targets
from benchmarks.gpu.timing import MeasurementError, batches_of, busy, step_shares
from benchmarks.gpu.trial import Entry
from kseg_batch.backends.gpu.driver import device_problem
from tests.gpu.emulator.clock import ClockLibrary
from tests.gpu.emulator.device import EmulatedDevice
from tests.support.images import photos

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def batches() -> PhotoBatches:
    return PhotoBatches([photos()["coffee"], photos()["flower"]])


def configuration(k: int, batch: int) -> dict[str, Any]:
    """Return an entry of the step that times kernels."""
    return {
        "size": [1920, 1080],
        "k": k,
        "batch": batch,
        "pixels_per_image": 2073600.0,
        "kernels_ms_per_image": 0.3,
        "kernels_images_per_s": 3333.3,
        "copies_ms_per_image": 0.5,
        "floor_ms_per_image": 0.0028,
        "times_floor": 19.5,
        "cpu": {"two_threads": 20.0},
        "times_cpu": 66.7,
        "shares": {"histogram": 0.6, "labels": 0.4},
    }


def test_targets() -> None:
    flash = {"peer": "flash-kmeans", "size": [1920, 1080], "k": 3, "batch": 64, "kind": "ten starts"}
    peers = [{**flash, "ms_per_image": 4.0}, {**flash, "ms_per_image": 3.0}, {**flash, "error": ""}]
    found = targets(
        [
            Entry("kernels", "done", figures={"configurations": [configuration(3, 1), configuration(3, 64)]}),
            Entry("peers", "done", figures={"peers": peers}),
            Entry("end-to-end", "done", figures={"watched": {"gpu_busy": 1.0, "gpu_idle": 3.0}}),
        ]
    )
    assert [target.outcome for target in found] == [
        "missed",
        "reached",
        "not measured",
        "reached",
        "reached",
        "missed",
        "reached",
    ]
    assert all(len(line) <= 80 for target in found for line in target.shown().splitlines())
    assert {target.outcome for target in targets([])} == {"not measured"}


def test_tables_are_no_wider_than_a_terminal() -> None:
    assert len(configuration_line(COLUMNS)) <= 80
    assert len(configuration_line(configuration_cells(configuration(256, 64)))) <= 80


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    entries = [configuration(k, batch) for k in (3, 16) for batch in (64, 1)]
    whole = {"steps": [{"step": "kernels", "figures": {"configurations": entries}}]}
    for name, content in (("whole", whole), ("empty", {})):
        plot.draw(content).savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_peer_gives_figures_or_its_reason(batches: PhotoBatches, tmp_path: Path) -> None:
    """scikit-learn is installed and gives figures; PyTorch is missing or has no GPU, and gives its reason."""
    comparison = peer_comparison.PeerComparison(tmp_path, 2, 0.1)
    comparison.add((24, 16), 3, batches.batch((24, 16), 2))
    (learned,) = comparison.measure("scikit-learn", 60)
    assert learned["kind"] == "same start"
    assert learned["ms_per_image"] > 0 and learned["iterations"] >= 1
    assert learned["cost_ratio"] == pytest.approx(1, abs=0.01)  # float32 arithmetic stops at other centres
    if device_problem() is not None:
        for peer in ("torch", "torch-weighted"):
            failed = list(comparison.measure(peer, 60))
            assert [entry["kind"] for entry in failed] == ["same start", "ten starts"]
            assert all("torch" in entry["error"].lower() for entry in failed)


def test_a_peer_that_dies_or_hangs_is_recorded(batches: PhotoBatches, tmp_path: Path) -> None:
    comparison = peer_comparison.PeerComparison(tmp_path, 1, 0.1)
    comparison.add((24, 16), 3, batches.batch((24, 16), 2))
    answers = list(comparison.measure("no such peer", 60))
    assert "no such peer" in answers[0]["error"]
    assert [answer["kind"] for answer in answers] == ["same start", "ten starts"]
    late = list(comparison.measure("scikit-learn", 0.01))
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


def test_the_images_of_a_batch_differ(batches: PhotoBatches) -> None:
    images = batches.batch((16, 12), 24)
    assert {image.shape for image in images} == {(12, 16, 3)}
    assert len({image.tobytes() for image in images}) == 24
    assert np.array_equal(make_cut(images[0], 0), images[0])


def test_slugs() -> None:
    assert slug("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"
